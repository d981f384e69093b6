/* A position as metadata and back, and what a file of before 0.3 says of the best weights. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/child.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/checkpoint/position.h"
#include "trainer/checkpoint/safetensors.h"

static const uint64_t samples[IM_SPLITS] = {100, 20};

struct bytes {
    char data[16384];
    size_t n;
};

static int append(void *context, const void *data, size_t n, struct im_text *text)
{
    struct bytes *b = context;

    (void)text;
    assert_true(b->n + n <= sizeof b->data);
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return 0;
}

/* Writes the position of a run with these averages; without the pair called `omit`; reads it back. */
static struct tr_position round_trip(double ema, const double best[TR_WEIGHTS], const char *omit)
{
    struct tr_pair pairs[TR_POSITION_PAIRS];
    struct tr_position p, got;
    struct tr_position_text position;
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    struct bytes bytes = {.n = 0};
    const struct tr_sink sink = {&bytes, append};
    struct im_conf conf;
    struct im_plan plan;
    size_t count, kept = 0;

    im_conf_defaults(&conf);
    conf.ema = ema;
    conf.epochs = 3;
    conf.batch_size = 10;
    assert_int_equal(im_plan_from_conf(&conf, samples, &plan, &text), 0);
    p = tr_position_start(&conf);
    p.epochs = 1;
    p.next_batch = 12;
    memcpy(p.best_top1, best, sizeof p.best_top1);
    tr_position_write(&p, &conf, &plan, samples, &position);
    count = tr_position_pairs(&position, pairs);
    for (size_t i = 0; i < count; i++)
        if (!omit || strcmp(pairs[i].key, omit) != 0)
            pairs[kept++] = pairs[i];
    assert_int_equal(kept, omit ? count - 1 : count);
    assert_int_equal(tr_safetensors_put("test", &sink, NULL, 0, pairs, kept, &text), 0);
    assert_int_equal(tr_safetensors_parse("test", bytes.data, bytes.n, &file, &text), 0);
    if (tr_position_read(file, &conf, &plan, samples, &got, &text) < 0)
        fail_msg("%s", text.s);
    assert_int_equal(got.next_batch, 12);
    assert_int_equal(got.epochs, 1);
    tr_safetensors_close(&file);
    im_plan_fini(&plan);
    return got;
}

/* Of a run with --early-stop, read by one that may stop on something else. */
static struct tr_position stop_trip(enum im_conf_early_stop on, enum im_conf_early_stop then_on)
{
    struct tr_pair pairs[TR_POSITION_PAIRS];
    struct tr_position p, got;
    struct tr_position_text position;
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    struct bytes bytes = {.n = 0};
    const struct tr_sink sink = {&bytes, append};
    struct im_conf conf;
    struct im_plan plan;

    im_conf_defaults(&conf);
    conf.epochs = 5;
    conf.batch_size = 10;
    conf.early_stop = 4;
    conf.early_stop_on = (int32_t)on;
    assert_int_equal(im_plan_from_conf(&conf, samples, &plan, &text), 0);
    p = tr_position_start(&conf);
    p.epochs = 3;
    p.next_batch = 36;
    p.stop_epoch = 1;
    p.stop_seen = 2;
    p.stop_best = 0.5;
    tr_position_write(&p, &conf, &plan, samples, &position);
    assert_int_equal(
        tr_safetensors_put("test", &sink, NULL, 0, pairs, tr_position_pairs(&position, pairs), &text), 0);
    assert_int_equal(tr_safetensors_parse("test", bytes.data, bytes.n, &file, &text), 0);
    conf.early_stop_on = (int32_t)then_on;
    if (tr_position_read(file, &conf, &plan, samples, &got, &text) < 0)
        fail_msg("%s", text.s);
    tr_safetensors_close(&file);
    im_plan_fini(&plan);
    return got;
}

/* Of a run on four machines, as it was taken by `then` trainers in their batch `batch`, for `now` of them. */
static struct tr_position share_trip(uint32_t then, uint64_t batch, uint32_t in_window, uint32_t now)
{
    struct tr_pair pairs[TR_POSITION_PAIRS];
    struct tr_position p, got;
    struct tr_position_text position;
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    struct bytes bytes = {.n = 0};
    const struct tr_sink sink = {&bytes, append};
    struct im_conf conf, other;
    struct im_plan plan;

    im_conf_defaults(&conf);
    conf.epochs = 2;
    conf.batch_size = 5; /* five steps of 20 images an epoch */
    conf.node_count = 4;
    other = conf;
    if (then < 4)
        im_conf_take_part(&conf, then, 0);
    assert_int_equal(im_conf_world(&conf), then);
    assert_int_equal(im_conf_step_images(&conf), 20);
    assert_int_equal(im_plan_from_conf(&conf, samples, &plan, &text), 0);
    p = tr_position_start(&conf);
    p.next_batch = batch;
    p.steps = p.updates = batch / plan.window_steps;
    p.window_batches = in_window;
    p.sums[IM_TRAIN].valid = 20 * p.steps + 5 * in_window;
    p.window.valid = 5 * in_window;
    tr_position_write(&p, &conf, &plan, samples, &position);
    im_plan_fini(&plan);
    assert_int_equal(
        tr_safetensors_put("test", &sink, NULL, 0, pairs, tr_position_pairs(&position, pairs), &text), 0);
    assert_int_equal(tr_safetensors_parse("test", bytes.data, bytes.n, &file, &text), 0);
    if (now < 4)
        im_conf_take_part(&other, now, 0);
    assert_int_equal(im_plan_from_conf(&other, samples, &plan, &text), 0);
    if (tr_position_read(file, &other, &plan, samples, &got, &text) < 0)
        fail_msg("%s", text.s);
    tr_safetensors_close(&file);
    im_plan_fini(&plan);
    return got;
}

/* Three trainers take two turns for the four batches of a step, one takes four. A step that is not done begins again. */
static void other_trainers_go_on_at_the_same_optimiser_step(void **state)
{
    struct tr_position p = share_trip(4, 3, 0, 3);

    (void)state;
    assert_int_equal(p.next_batch, 6);
    assert_int_equal(p.steps, 3);
    p = share_trip(3, 6, 0, 4);
    assert_int_equal(p.next_batch, 3);
    p = share_trip(3, 7, 1, 4);
    assert_int_equal(p.next_batch, 3);
    assert_int_equal(p.window_batches, 0);
    assert_int_equal(p.sums[IM_TRAIN].valid, 60);
    p = share_trip(3, 7, 1, 3);
    assert_int_equal(p.next_batch, 7);
    assert_int_equal(p.window_batches, 1);
    p = share_trip(3, 6, 0, 1);
    assert_int_equal(p.next_batch, 12);
    p = share_trip(1, 12, 0, 3);
    assert_int_equal(p.next_batch, 6);
}

/* Of a run with so many virtual ranks, read by one with others. */
static int virtual_trip(int64_t then, int64_t now, struct im_text *text)
{
    struct tr_pair pairs[TR_POSITION_PAIRS];
    struct tr_position p, got;
    struct tr_position_text position;
    struct tr_safetensors *file = NULL;
    struct bytes bytes = {.n = 0};
    const struct tr_sink sink = {&bytes, append};
    struct im_conf conf;
    struct im_plan plan;
    int err;

    im_conf_defaults(&conf);
    conf.epochs = 2;
    conf.batch_size = 10;
    conf.order_ranks = 2; /* the same steps in all */
    conf.accumulate = 2;
    conf.virtual_ranks = then;
    assert_int_equal(im_plan_from_conf(&conf, samples, &plan, text), 0);
    p = tr_position_start(&conf);
    tr_position_write(&p, &conf, &plan, samples, &position);
    assert_int_equal(
        tr_safetensors_put("test", &sink, NULL, 0, pairs, tr_position_pairs(&position, pairs), text), 0);
    assert_int_equal(tr_safetensors_parse("test", bytes.data, bytes.n, &file, text), 0);
    conf.virtual_ranks = now;
    err = tr_position_read(file, &conf, &plan, samples, &got, text);
    tr_safetensors_close(&file);
    im_plan_fini(&plan);
    return err;
}

static void virtual_ranks_stay_what_they_were(void **state)
{
    struct im_text text = {""};

    (void)state;
    assert_int_equal(virtual_trip(0, 0, &text), 0);
    assert_int_equal(virtual_trip(2, 2, &text), 0);
    assert_int_equal(virtual_trip(2, 0, &text), -EINVAL);
    assert_non_null(strstr(text.s, "this run began with --virtual-ranks 2, not --virtual-ranks 0"));
    assert_int_equal(virtual_trip(0, 2, &text), -EINVAL);
    assert_non_null(strstr(text.s, "this run began with --virtual-ranks 0, not --virtual-ranks 2"));
}

/* Of --elastic drop: a state of `then` trainers with so many batches of the pass done, read by `now`. */
static struct tr_position drop_trip(uint32_t then, uint64_t step, uint64_t order, uint32_t in_window,
                                    uint32_t now)
{
    struct tr_pair pairs[TR_POSITION_PAIRS];
    struct tr_position p, got;
    struct tr_position_text position;
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    struct bytes bytes = {.n = 0};
    const struct tr_sink sink = {&bytes, append};
    struct im_conf conf, other;
    struct im_plan plan;

    im_conf_defaults(&conf);
    conf.epochs = 2;
    conf.batch_size = 5;
    conf.accumulate = 2;
    conf.elastic = IM_ELASTIC_DROP;
    conf.node_count = 4;
    other = conf;
    im_conf_take_part(&conf, then, 0);
    assert_int_equal(im_conf_step_images(&conf), 10 * then);
    assert_int_equal(im_plan_from_conf(&conf, samples, &plan, &text), 0);
    p = tr_position_start(&conf);
    p.next_batch = step;
    p.order = order;
    p.window_order = order - in_window * then;
    p.window_batches = in_window;
    p.steps = 3;
    p.sums[IM_TRAIN].valid = 60 + 5 * then * in_window;
    p.window.valid = 5 * then * in_window;
    tr_position_write(&p, &conf, &plan, samples, &position);
    im_plan_fini(&plan);
    assert_int_equal(
        tr_safetensors_put("test", &sink, NULL, 0, pairs, tr_position_pairs(&position, pairs), &text), 0);
    assert_int_equal(tr_safetensors_parse("test", bytes.data, bytes.n, &file, &text), 0);
    im_conf_take_part(&other, now, 0);
    assert_int_equal(im_plan_from_conf(&other, samples, &plan, &text), 0);
    if (tr_position_read(file, &other, &plan, samples, &got, &text) < 0)
        fail_msg("%s", text.s);
    tr_safetensors_close(&file);
    im_plan_fini(&plan);
    return got;
}

static void with_elastic_drop_no_batch_is_done_twice(void **state)
{
    struct tr_position p = drop_trip(2, 4, 8, 0, 3);

    (void)state;
    assert_int_equal(p.next_batch, 2); /* of its batches 6 to 8 the first two are done */
    assert_int_equal(p.order, 8);
    assert_int_equal(p.steps, 3);
    p = drop_trip(3, 2, 8, 0, 2);
    assert_int_equal(p.next_batch, 4);
    assert_int_equal(p.order, 8);
    p = drop_trip(2, 5, 10, 1, 3); /* the step that is half done begins again */
    assert_int_equal(p.next_batch, 2);
    assert_int_equal(p.order, 8);
    assert_int_equal(p.window_batches, 0);
    assert_int_equal(p.sums[IM_TRAIN].valid, 60);
    p = drop_trip(2, 5, 10, 1, 2);
    assert_int_equal(p.next_batch, 5);
    assert_int_equal(p.order, 10);
    assert_int_equal(p.window_order, 8);
    assert_int_equal(p.window_batches, 1);
    p = drop_trip(2, 0, 1, 0, 1); /* that came from one trainer, and has made no step */
    assert_int_equal(p.next_batch, 1);
    assert_int_equal(p.order, 1);
}

static void each_kind_of_weights_has_its_best(void **state)
{
    const struct tr_position plain = round_trip(0, (double[]){0.25, -1}, NULL);
    const struct tr_position both = round_trip(0.9, (double[]){0.25, 0.5}, NULL);

    (void)state;
    assert_true(plain.best_top1[TR_PLAIN] == 0.25 && plain.best_top1[TR_AVERAGED] == -1);
    assert_true(both.best_top1[TR_PLAIN] == 0.25 && both.best_top1[TR_AVERAGED] == 0.5);
}

static void the_one_best_of_an_older_file_is_the_averages(void **state)
{
    const struct tr_position old = round_trip(0.9, (double[]){0.5, 0.75}, "best.ema.top1");

    (void)state;
    assert_true(old.best_top1[TR_PLAIN] == -1 && old.best_top1[TR_AVERAGED] == 0.5);
}

static void what_early_stopping_counts_is_kept(void **state)
{
    const struct tr_position kept = stop_trip(IM_EARLY_STOP_TOP1, IM_EARLY_STOP_TOP1),
                             other = stop_trip(IM_EARLY_STOP_TOP1, IM_EARLY_STOP_LOSS);

    (void)state;
    assert_true(kept.stop_best == 0.5 && kept.stop_epoch == 1 && kept.stop_seen == 2);
    /* Accuracies and losses do not compare: it begins anew. */
    assert_true(isinf(other.stop_best) && other.stop_epoch == 3 && other.stop_seen == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_trainers_go_on_at_the_same_optimiser_step),
        cmocka_unit_test(with_elastic_drop_no_batch_is_done_twice),
        cmocka_unit_test(virtual_ranks_stay_what_they_were),
        cmocka_unit_test(each_kind_of_weights_has_its_best),
        cmocka_unit_test(what_early_stopping_counts_is_kept),
        cmocka_unit_test(the_one_best_of_an_older_file_is_the_averages),
    };

    return cmocka_run_group_tests_name("position", tests, NULL, NULL);
}
