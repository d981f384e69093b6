/* The plan: tickets and places are two names of the same thing, whatever the shape of the run. */
#include <errno.h>

#include "ipc/base/count.h"
#include "ipc/cell_word.h"
#include "ipc/config/conf.h"
#include "ipc/plan.h"
#include "tests/support/ticket.h"
#include "tests/unit/ipc/base/unit.h"

static const struct im_plan_params usual = {.samples = {100, 10},
                                            .epochs = 2,
                                            .ranks = 2,
                                            .batch_size = {8, 8},
                                            .image_size = {32, 40},
                                            .validate_every = 1};

static struct im_plan make(const struct im_plan_params *p)
{
    struct im_plan plan;
    struct im_text text;

    assert_int_equal(im_plan_init(&plan, p, &text), 0);
    return plan;
}

static void check_ticket(const struct im_plan *plan, uint64_t ticket)
{
    struct im_place at;

    assert_int_equal(im_plan_place(plan, ticket, &at), 0);
    assert_in_range(at.rank, 0, plan->ranks - 1);
    assert_true(at.place < im_plan_batch_count(plan, at.batch, at.rank));
    assert_true(at.place < at.phase->batch_size);
    assert_true(at.step < at.phase->steps);
    assert_true(at.position < at.phase->samples);
    assert_int_equal(at.phase->first_ticket + at.position, ticket);
    assert_int_equal(at.phase->first_batch + at.step, at.batch);
    assert_ptr_equal(im_plan_phase_of_batch(plan, at.batch), at.phase);
    assert_int_equal(ticket_at(plan, at.batch, at.rank, at.place), ticket);
}

/* Of phases before, and of all: what is left is known without a walk over them. */
static void check_pixels(const struct im_plan *plan)
{
    double pixels = 0;

    for (uint32_t i = 0; i < plan->phases; i++) {
        const struct im_phase *p = &plan->phase[i];

        assert_true(p->pixels == pixels);
        pixels += (double)p->samples * p->image_size * p->image_size;
    }
    assert_true(pixels > 0 && plan->pixels == pixels);
}

/* Every ticket has its own place, every place its own ticket, and the batches' counts add up. */
static void check_bijection(const struct im_plan_params *p)
{
    struct im_plan plan = make(p);
    uint64_t tickets = 0;

    check_pixels(&plan);
    for (uint64_t t = 0; t < plan.tickets; t++)
        check_ticket(&plan, t);
    for (uint64_t batch = 0; batch < plan.batches; batch++) {
        uint32_t step = 0;

        assert_int_equal(im_plan_first_ticket(&plan, batch), tickets);
        for (uint32_t rank = 0; rank < plan.ranks; rank++) {
            uint32_t count = im_plan_batch_count(&plan, batch, rank);

            step += count;
            for (uint32_t place = 0; place < count; place++) {
                struct im_place at;

                assert_int_equal(im_plan_place(&plan, ticket_at(&plan, batch, rank, place), &at), 0);
                assert_true(at.batch == batch && at.rank == rank && at.place == place);
            }
        }
        assert_int_equal(step, im_plan_step_count(&plan, batch));
        assert_true(step >= 1);
        tickets += step;
    }
    assert_int_equal(tickets, plan.tickets);
    im_plan_fini(&plan);
}

static void test_bijection_for_every_number_of_samples(void **state)
{
    (void)state;
    for (uint32_t train = 1; train <= 70; train++)
        for (uint32_t val = 0; val <= 9; val += 3)
            check_bijection(&(struct im_plan_params){.samples = {train, val},
                                                     .epochs = 2,
                                                     .ranks = 1,
                                                     .batch_size = {1, 4},
                                                     .image_size = {8, 8},
                                                     .validate_every = 1});
}

static void test_bijection_for_many_shapes(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 5; ranks++)
        for (uint32_t size = 1; size <= 7; size++)
            for (uint32_t extra = 0; extra < ranks * size; extra++)
                for (uint32_t drop = 0; drop <= 1; drop++)
                    check_bijection(&(struct im_plan_params){.samples = {ranks * size + extra, extra},
                                                             .epochs = 3,
                                                             .ranks = ranks,
                                                             .batch_size = {size, 3},
                                                             .image_size = {8, 8},
                                                             .validate_every = 2,
                                                             .drop_last = drop});
}

static void test_short_last_step_leaves_some_ranks_without_a_sample(void **state)
{
    struct im_plan_params p = usual;
    struct im_plan plan;

    (void)state;
    p.samples[IM_TRAIN] = 33; /* 2 steps of 16, then one sample for rank 0 */
    plan = make(&p);
    assert_int_equal(im_plan_step_count(&plan, 2), 1);
    assert_int_equal(im_plan_batch_count(&plan, 2, 0), 1);
    assert_int_equal(im_plan_batch_count(&plan, 2, 1), 0);
    im_plan_fini(&plan);
}

static void test_drop_last_leaves_the_short_step_out_of_training_only(void **state)
{
    struct im_plan_params p = usual;
    struct im_plan plan;

    (void)state;
    p.drop_last = 1;
    plan = make(&p);
    assert_int_equal(plan.phase[0].samples, 96);
    assert_int_equal(plan.phase[0].steps, 6);
    assert_int_equal(plan.phase[1].samples, 10);
    im_plan_fini(&plan);
}

static void test_an_evaluation_is_one_validation_pass(void **state)
{
    struct im_plan_params p = usual;
    struct im_text text = {""};
    struct im_plan plan;

    (void)state;
    p.evaluates = 1;
    p.samples[IM_TRAIN] = 0;
    plan = make(&p);
    assert_int_equal(plan.phases, p.epochs);
    assert_true(plan.phase[0].split == IM_VAL && plan.phase[0].samples == 10 &&
                plan.phase[0].first_batch == 0);
    im_plan_fini(&plan);
    p.samples[IM_VAL] = 0;
    assert_int_equal(im_plan_init(&plan, &p, &text), -EINVAL);
    assert_non_null(strstr(text.s, "no images to evaluate"));
}

static uint32_t validations(uint32_t epochs, uint32_t every, uint64_t val_samples)
{
    struct im_plan_params p = usual;
    struct im_plan plan;
    uint32_t count = 0;

    p.epochs = epochs;
    p.validate_every = every;
    p.samples[IM_VAL] = val_samples;
    plan = make(&p);
    for (uint32_t i = 0; i < plan.phases; i++)
        count += plan.phase[i].split == IM_VAL;
    im_plan_fini(&plan);
    return count;
}

static void test_validation_comes_every_so_many_epochs_and_at_the_end(void **state)
{
    (void)state;
    assert_int_equal(validations(7, 1, 10), 7);
    assert_int_equal(validations(7, 3, 10), 3); /* after 3, 6 and 7 */
    assert_int_equal(validations(6, 3, 10), 2);
    assert_int_equal(validations(7, 100, 10), 1);
}

static void test_no_validation_when_never_or_without_images(void **state)
{
    (void)state;
    assert_int_equal(validations(7, 0, 10), 0);
    assert_int_equal(validations(7, 1, 0), 0);
}

static void test_tickets_past_the_end_are_refused(void **state)
{
    struct im_plan plan = make(&usual);
    struct im_place at;

    (void)state;
    assert_int_equal(im_plan_place(&plan, plan.tickets, &at), -ERANGE);
    assert_int_equal(im_plan_place(&plan, UINT64_MAX, &at), -ERANGE);
    im_plan_fini(&plan);
}

static void test_batches_past_the_end_are_empty(void **state)
{
    struct im_plan plan = make(&usual);

    (void)state;
    assert_null(im_plan_phase_of_batch(&plan, plan.batches));
    assert_int_equal(im_plan_step_count(&plan, plan.batches), 0);
    assert_int_equal(im_plan_batch_count(&plan, UINT64_MAX, 1), 0);
    assert_int_equal(im_plan_first_ticket(&plan, plan.batches), plan.tickets);
    im_plan_fini(&plan);
}

static void test_epochs_may_differ_in_batch_and_size(void **state)
{
    static const struct im_conf_sizes train[] = {{64, 16}, {128, 7}, {224, 1}};
    struct im_plan_params p = usual;
    struct im_plan plan;

    (void)state;
    p.epochs = 3;
    p.train = train;
    p.batch_size[IM_TRAIN] = 0; /* of no meaning here */
    check_bijection(&p);
    p.drop_last = 1;
    check_bijection(&p);
    plan = make(&p);
    assert_int_equal(plan.phases, 6);
    for (int epoch = 0; epoch < 3; epoch++) {
        static const uint32_t steps[] = {3, 7, 50}, samples[] = {96, 98, 100};
        const struct im_phase *phase = &plan.phase[2 * epoch];

        assert_int_equal(phase->batch_size, train[epoch].batch_size);
        assert_int_equal(phase->image_size, train[epoch].image_size);
        assert_int_equal(phase->steps, steps[epoch]);
        assert_int_equal(phase->samples, samples[epoch]);
        assert_true(phase[1].batch_size == 8 && phase[1].image_size == 40 && phase[1].split == IM_VAL);
    }
    im_plan_fini(&plan);
}

static int refuse(const struct im_plan_params *p, struct im_text *text)
{
    struct im_plan plan = {0};
    int err;

    text->s[0] = 0;
    err = im_plan_init(&plan, p, text);
    if (err == 0)
        im_plan_fini(&plan);
    assert_true(err == 0 || text->s[0] != 0);
    return err;
}

/* What a run on one node delivers at each place, the nodes deliver there: in all, and once. */
static void check_nodes(const struct im_plan_params *p, const uint32_t *ranks, uint32_t nodes)
{
    struct im_plan one = make(p);
    unsigned char *seen = calloc(one.tickets, 1);
    uint64_t tickets = 0;
    uint32_t first = 0;

    assert_non_null(seen);
    for (uint32_t n = 0; n < nodes; first += ranks[n++]) {
        struct im_plan_params slice = *p;
        struct im_plan node;

        slice.ranks = ranks[n];
        slice.first_rank = first;
        slice.world = p->ranks;
        node = make(&slice);
        assert_true(node.batches == one.batches && node.phases == one.phases);
        for (uint64_t t = 0; t < node.tickets; t++) {
            struct im_place at, whole;
            uint64_t ticket;

            assert_int_equal(im_plan_place(&node, t, &at), 0);
            assert_true(at.rank < ranks[n] && at.place < im_plan_batch_count(&node, at.batch, at.rank));
            assert_true(t >= im_plan_first_ticket(&node, at.batch) &&
                        t < im_plan_first_ticket(&node, at.batch + 1));
            assert_int_equal(im_plan_position(&node, at.phase, at.batch, at.rank, at.place), at.position);
            assert_int_equal(im_plan_step_count(&node, at.batch), im_plan_step_count(&one, at.batch));
            for (ticket = im_plan_first_ticket(&one, at.batch);; ticket++) {
                assert_int_equal(im_plan_place(&one, ticket, &whole), 0);
                if (whole.batch != at.batch || (whole.rank == first + at.rank && whole.place == at.place))
                    break;
            }
            assert_true(whole.batch == at.batch && whole.position == at.position && !seen[ticket]);
            seen[ticket] = 1;
        }
        tickets += node.tickets;
        im_plan_fini(&node);
    }
    assert_int_equal(first, p->ranks);
    assert_int_equal(tickets, one.tickets);
    free(seen);
    im_plan_fini(&one);
}

static void test_nodes_share_the_samples_of_a_run(void **state)
{
    static const uint32_t even[] = {2, 2, 2}, uneven[] = {1, 4, 1}, two[] = {1, 5};

    (void)state;
    for (uint32_t order = 0; order <= 12; order += 4)
        for (uint32_t train = 40; train <= 61; train += 3)
            for (uint32_t val = 0; val <= 14; val++) {
                const struct im_plan_params p = {.samples = {train, val},
                                                 .epochs = 2,
                                                 .ranks = 6,
                                                 .order_ranks = order % 12,
                                                 .window = order == 4   ? 8
                                                           : order == 8 ? 16
                                                                        : 0,
                                                 .batch_size = {4, 2},
                                                 .image_size = {8, 8},
                                                 .validate_every = 1,
                                                 .drop_last = val % 2};

                check_nodes(&p, even, 3);
                check_nodes(&p, uneven, 3);
                check_nodes(&p, two, 2);
            }
}

static void test_a_node_has_ranks_of_the_world(void **state)
{
    struct im_plan_params p = usual;
    struct im_text text = {""};
    struct im_plan plan;

    (void)state;
    p.world = 4;
    p.first_rank = 3;
    assert_int_equal(im_plan_init(&plan, &p, &text), -EINVAL);
    assert_string_equal(text.s, "ranks 3 to 4 of a node, of 4 in all");
    p.world = 1;
    p.first_rank = 0;
    assert_int_equal(im_plan_init(&plan, &p, &text), -EINVAL);
}

static void test_nothing_to_train_is_refused_with_a_sentence(void **state)
{
    struct im_plan_params p;
    struct im_text text;

    (void)state;
    p = usual, p.ranks = 0;
    assert_int_equal(refuse(&p, &text), -EINVAL);
    p = usual, p.epochs = 0;
    assert_int_equal(refuse(&p, &text), -EINVAL);
    p = usual, p.batch_size[IM_VAL] = 0;
    assert_int_equal(refuse(&p, &text), -EINVAL);
    p = usual, p.samples[IM_TRAIN] = 0;
    assert_int_equal(refuse(&p, &text), -EINVAL);
    assert_string_equal(text.s, "no training images");
}

static void test_too_large_a_batch_names_the_largest_that_fits(void **state)
{
    struct im_plan_params p = usual;
    struct im_text text;

    (void)state;
    p.samples[IM_TRAIN] = 15;
    assert_int_equal(refuse(&p, &text), -EINVAL);
    assert_non_null(strstr(text.s, "use --batch-size 7 or less"));
}

static void test_too_large_a_batch_names_its_epoch(void **state)
{
    static const struct im_conf_sizes train[] = {{64, 16}, {128, 51}};
    struct im_plan_params p = usual;
    struct im_text text;

    (void)state;
    p.train = train;
    assert_int_equal(refuse(&p, &text), -EINVAL);
    assert_string_equal(text.s, "in epoch 2 of --resize-schedule, --batch-size 51 with 2 ranks asks for 102 "
                                "images a step, but the training set has 100; use --batch-size 50 or less");
}

static void test_fewer_images_than_ranks_does_not_ask_for_batch_size_0(void **state)
{
    struct im_plan_params p = usual;
    struct im_text text;

    (void)state;
    p.samples[IM_TRAIN] = 1;
    assert_int_equal(refuse(&p, &text), -EINVAL);
    assert_null(strstr(text.s, "--batch-size 0"));
    assert_non_null(strstr(text.s, "--ranks"));
}

static void test_more_samples_than_tickets_is_an_overflow(void **state)
{
    struct im_plan_params p = usual;
    struct im_text text;

    (void)state;
    p.batch_size[IM_TRAIN] = p.batch_size[IM_VAL] = 65536;
    p.samples[IM_TRAIN] = IM_NUMBER_MAX - IM_CELLS_MAX;
    p.samples[IM_VAL] = 0;
    p.epochs = 1;
    assert_int_equal(refuse(&p, &text), 0);
    p.samples[IM_TRAIN]++;
    assert_int_equal(refuse(&p, &text), -EOVERFLOW);
    p.samples[IM_TRAIN] = 1u << 20;
    p.epochs = 1u << 20;
    assert_int_equal(refuse(&p, &text), -EOVERFLOW);
}

static void test_sums_that_would_wrap_are_an_overflow(void **state)
{
    struct im_plan_params p = usual;
    struct im_text text;

    (void)state;
    p.samples[IM_VAL] = UINT64_MAX - 50; /* + 100 training samples wraps to a small sum */
    assert_int_equal(refuse(&p, &text), -EOVERFLOW);
    p.samples[IM_VAL] = UINT64_MAX;
    assert_int_equal(refuse(&p, &text), -EOVERFLOW);
    p.samples[IM_TRAIN] = UINT64_MAX;
    assert_int_equal(refuse(&p, &text), -EOVERFLOW);
}

static void test_a_step_over_32_bits_is_refused(void **state)
{
    struct im_plan_params p = usual;
    struct im_text text;

    (void)state;
    p.ranks = 1u << 20;
    p.batch_size[IM_VAL] = 1u << 20;
    p.samples[IM_TRAIN] = UINT64_C(1) << 35;
    assert_int_equal(refuse(&p, &text), -EINVAL);
}

/* The batch of step and rank of a pass, as positions in order of their places. */
static uint32_t positions_of(const struct im_plan *plan, uint32_t phase, uint32_t step, uint32_t rank,
                             uint64_t *ret)
{
    const struct im_phase *p = &plan->phase[phase];
    uint32_t count = im_plan_batch_count(plan, p->first_batch + step, rank);

    for (uint32_t place = 0; place < count; place++)
        ret[place] = im_plan_position(plan, p, p->first_batch + step, rank, place);
    return count;
}

/* Each batch of the training passes has the same samples at the same places, and is drawn for as the same, with
 * `ranks` as with the ranks that the pass was cut for; tickets and places are two names of one thing. */
static void check_recut(struct im_plan_params p, uint32_t ranks, uint32_t accumulate)
{
    struct im_plan before = make(&p), after;
    uint64_t was[64], is[64];

    p.order_ranks = p.ranks;
    p.window = p.ranks * accumulate;
    p.ranks = ranks;
    after = make(&p);
    assert_int_equal(after.tickets, before.tickets);
    for (uint64_t t = 0; t < after.tickets; t++) {
        struct im_place at;

        assert_int_equal(im_plan_place(&after, t, &at), 0);
        assert_true(at.place < im_plan_batch_count(&after, at.batch, at.rank));
        assert_int_equal(im_plan_position(&after, at.phase, at.batch, at.rank, at.place), at.position);
        assert_in_range(t, im_plan_first_ticket(&after, at.batch),
                        im_plan_first_ticket(&after, at.batch + 1) - 1);
    }
    for (uint32_t i = 0; i < after.phases; i++) {
        const struct im_phase *phase = &after.phase[i];
        uint64_t samples = 0;

        for (uint32_t step = 0; step < phase->steps; step++) {
            uint32_t in_step = 0;

            for (uint32_t rank = 0; rank < ranks; rank++) {
                uint32_t count = positions_of(&after, i, step, rank, is);
                struct im_order order = im_plan_order(&after, phase, phase->first_batch + step, rank);

                if (phase->split == IM_TRAIN && count > 0 &&
                    accumulate > 0) /* none has part of another's step */
                    assert_int_equal((order.step * phase->order_ranks + order.rank) / after.window,
                                     step / after.window_steps);
                if (phase->split == IM_TRAIN && count > 0) {
                    assert_int_equal(positions_of(&before, i, order.step, order.rank, was), count);
                    assert_memory_equal(is, was, count * sizeof *is);
                }
                in_step += count;
            }
            assert_true(in_step > 0);
            assert_int_equal(im_plan_step_count(&after, phase->first_batch + step), in_step);
            samples += in_step;
        }
        assert_int_equal(samples, phase->samples);
    }
    im_plan_fini(&before);
    im_plan_fini(&after);
}

static void test_other_ranks_keep_the_samples_of_every_batch(void **state)
{
    static const uint32_t of[][2] = {{1, 2}, {2, 1}, {2, 4}, {3, 1}, {3, 2},
                                     {4, 2}, {4, 3}, {8, 1}, {1, 1}, {2, 2}};
    struct im_plan_params p = usual;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(of); i++)
        for (uint64_t samples = 64; samples < 64 + 70; samples++)
            for (p.drop_last = 0; p.drop_last < 2; p.drop_last++) {
                p.ranks = of[i][0];
                p.samples[IM_TRAIN] = samples;
                check_recut(p, of[i][1], 0);
                for (uint32_t accumulate = 1; accumulate <= 3; accumulate++)
                    if (of[i][1] <= of[i][0] * accumulate)
                        check_recut(p, of[i][1], accumulate);
            }
}

/* Four ranks, of which one is gone: three take three batches of each step, and then the first takes the fourth. */
static void test_ranks_that_do_not_divide_a_step_take_turns(void **state)
{
    struct im_plan_params p = usual;
    struct im_plan plan;

    (void)state;
    p.samples[IM_TRAIN] = 96; /* 3 steps of 32 */
    p.ranks = 3;
    p.order_ranks = p.window = 4;
    plan = make(&p);
    assert_int_equal(plan.phase[0].steps, 6);
    assert_int_equal(plan.window_steps, 2);
    assert_int_equal(im_plan_batch_count(&plan, 3, 0), 8);
    assert_int_equal(im_plan_batch_count(&plan, 3, 1), 0);
    assert_int_equal(im_plan_order(&plan, &plan.phase[0], 3, 0).rank, 3);
    assert_int_equal(im_plan_order(&plan, &plan.phase[0], 4, 0).rank, 0);
    assert_int_equal(im_plan_order(&plan, &plan.phase[0], 4, 0).step, 2);
    im_plan_fini(&plan);
    p.window = 2;
    assert_int_equal(im_plan_init(&plan, &p, NULL), -EINVAL);
}

/* Batches of a pass in their order, whoever has them: first sample and number of samples of each. */
static uint32_t list_batches(const struct im_plan *plan, const struct im_phase *phase, uint64_t (*ret)[2])
{
    uint32_t n = 0;

    for (uint64_t g = phase->first_batch; g < phase->first_batch + phase->steps; g++) {
        uint32_t ranks = im_plan_step_ranks(plan, g);

        for (uint32_t rank = 0; rank < plan->ranks; rank++) {
            const uint32_t count = im_plan_batch_count(plan, g, rank);

            assert_int_equal(count > 0, rank < ranks);
            if (count == 0)
                continue;
            ret[n][0] = im_plan_position(plan, phase, g, rank, 0);
            ret[n++][1] = count;
        }
    }
    return n;
}

static void test_virtual_ranks_have_the_same_batches_for_any_number_of_ranks(void **state)
{
    uint64_t one[64][2], other[64][2];

    (void)state;
    for (uint32_t samples = 33; samples <= 90; samples++)
        for (uint32_t ranks = 2; ranks <= 4; ranks++) {
            struct im_plan_params p = {.samples = {samples, samples / 2},
                                       .epochs = 1,
                                       .ranks = 1,
                                       .order_ranks = 4,
                                       .val_order_ranks = 4,
                                       .window = 8,
                                       .batch_size = {4, 3},
                                       .image_size = {8, 8},
                                       .validate_every = 1};
            struct im_plan a = make(&p), b;

            p.ranks = ranks;
            b = make(&p);
            assert_int_equal(a.phases, 2);
            for (uint32_t i = 0; i < a.phases; i++) {
                const uint32_t n = list_batches(&a, &a.phase[i], one);

                assert_int_equal(n, a.phase[i].steps);
                assert_int_equal(list_batches(&b, &b.phase[i], other), n);
                assert_memory_equal(one, other, n * sizeof *one);
            }
            im_plan_fini(&a);
            im_plan_fini(&b);
        }
}

static void test_batches_are_translated_into_those_of_other_ranks(void **state)
{
    struct im_plan_params p = usual;
    struct im_plan four, three;

    (void)state;
    p.samples[IM_TRAIN] = 96;
    p.samples[IM_VAL] = 20;
    p.window = p.ranks = 4;
    four = make(&p); /* 3 steps, then 1 of validation */
    p.order_ranks = 4;
    p.ranks = 3;
    three = make(&p); /* 6, then 1 */
    assert_int_equal(im_plan_translate(&four, 0, &three, false), 0);
    assert_int_equal(im_plan_translate(&four, 2, &three, false), 4);
    assert_int_equal(im_plan_translate(&three, 4, &four, true), 2);
    assert_int_equal(im_plan_translate(&three, 5, &four, false), 2);
    assert_int_equal(im_plan_translate(&three, 5, &four, true), 3);
    assert_int_equal(im_plan_translate(&four, 3, &three, true), 6);
    assert_int_equal(im_plan_translate(&four, 5, &three, true), 9);
    assert_int_equal(im_plan_translate(&four, four.batches, &three, true), three.batches);
    im_plan_fini(&four);
    im_plan_fini(&three);
}

/* With as many batches a rank whatever their number: by the batches that are done. */
static void test_batches_of_steps_that_grow_and_shrink_are_translated_by_their_order(void **state)
{
    struct im_plan_params p = usual;
    struct im_plan four, three;

    (void)state;
    p.samples[IM_TRAIN] = 180; /* 5 steps of 32, and one of 20 in four batches */
    p.order_ranks = p.ranks = p.window = 4;
    four = make(&p);
    p.ranks = p.window = 3;
    three = make(&p);
    assert_int_equal(four.phase[0].steps, 6);
    assert_int_equal(three.phase[0].steps, 8);
    assert_int_equal(three.window_steps, 1);
    assert_int_equal(im_plan_order_batches(&four.phase[0]), 24);
    assert_int_equal(im_plan_order_batches(&three.phase[0]), 24);
    assert_int_equal(im_plan_order_at(&three, &three.phase[0], 3), 9);
    assert_int_equal(im_plan_translate(&four, 2, &three, false), 2);
    assert_int_equal(im_plan_translate(&four, 2, &three, true), 3);
    assert_int_equal(im_plan_translate(&three, 5, &four, false), 3);
    assert_int_equal(im_plan_translate(&four, 6, &three, false), 8);
    assert_int_equal(im_plan_order_samples(&three, &three.phase[0], 6, 8, false), 16);
    assert_int_equal(im_plan_order_samples(&three, &three.phase[0], 19, 24, true), 28);
    im_plan_fini(&four);
    im_plan_fini(&three);
    p.world = 3;
    p.ranks = 1;
    p.first_rank = 1;
    three = make(&p);
    assert_int_equal(im_plan_order_samples(&three, &three.phase[0], 6, 8, false), 8);
    assert_int_equal(im_plan_order_samples(&three, &three.phase[0], 6, 7, false), 0);
    im_plan_fini(&three);
}

static void test_a_run_without_other_ranks_has_the_order_that_it_had(void **state)
{
    struct im_plan_params p = usual;
    struct im_plan plain = make(&p), same;

    (void)state;
    p.order_ranks = p.ranks;
    same = make(&p);
    for (uint64_t t = 0; t < plain.tickets; t++) {
        struct im_place a, b;

        assert_int_equal(im_plan_place(&plain, t, &a), 0);
        assert_int_equal(im_plan_place(&same, t, &b), 0);
        assert_int_equal(a.position, b.position);
        assert_int_equal(a.position, t - a.phase->first_ticket);
        assert_int_equal(im_plan_order(&plain, a.phase, a.batch, a.rank).rank, a.rank);
        assert_int_equal(im_plan_order(&plain, a.phase, a.batch, a.rank).step, a.step);
    }
    im_plan_fini(&plain);
    im_plan_fini(&same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bijection_for_every_number_of_samples),
        cmocka_unit_test(test_bijection_for_many_shapes),
        cmocka_unit_test(test_short_last_step_leaves_some_ranks_without_a_sample),
        cmocka_unit_test(test_drop_last_leaves_the_short_step_out_of_training_only),
        cmocka_unit_test(test_an_evaluation_is_one_validation_pass),
        cmocka_unit_test(test_validation_comes_every_so_many_epochs_and_at_the_end),
        cmocka_unit_test(test_no_validation_when_never_or_without_images),
        cmocka_unit_test(test_epochs_may_differ_in_batch_and_size),
        cmocka_unit_test(test_too_large_a_batch_names_its_epoch),
        cmocka_unit_test(test_tickets_past_the_end_are_refused),
        cmocka_unit_test(test_batches_past_the_end_are_empty),
        cmocka_unit_test(test_nodes_share_the_samples_of_a_run),
        cmocka_unit_test(test_a_node_has_ranks_of_the_world),
        cmocka_unit_test(test_nothing_to_train_is_refused_with_a_sentence),
        cmocka_unit_test(test_too_large_a_batch_names_the_largest_that_fits),
        cmocka_unit_test(test_fewer_images_than_ranks_does_not_ask_for_batch_size_0),
        cmocka_unit_test(test_more_samples_than_tickets_is_an_overflow),
        cmocka_unit_test(test_sums_that_would_wrap_are_an_overflow),
        cmocka_unit_test(test_a_step_over_32_bits_is_refused),
        cmocka_unit_test(test_other_ranks_keep_the_samples_of_every_batch),
        cmocka_unit_test(test_ranks_that_do_not_divide_a_step_take_turns),
        cmocka_unit_test(test_virtual_ranks_have_the_same_batches_for_any_number_of_ranks),
        cmocka_unit_test(test_batches_of_steps_that_grow_and_shrink_are_translated_by_their_order),
        cmocka_unit_test(test_batches_are_translated_into_those_of_other_ranks),
        cmocka_unit_test(test_a_run_without_other_ranks_has_the_order_that_it_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
