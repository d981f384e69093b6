/* How cuDNN's engines are chosen, with a GPU, a cuDNN and a clock that are made of tables: the fastest, only
 * those that keep their promise, the ones from the cache, and what happens when things fail. */
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"
#include "tests/cuda/unit/fake_table.h"
#include "trainer/backends/cuda/dnn.h"
#include "trainer/backends/cuda/plan_cache.h"

static char folder[] = "/tmp/imsuper-choices-XXXXXX", cache[64];
static const struct tr_dnn_conv_shape shape = {2, 8, 8, 16, 32, 3, 1, 1};

static int wipe(const char *file, const struct stat *unused, int type, struct FTW *place)
{
    (void)unused, (void)type;
    return place->level ? remove(file) : 0;
}

static int setup(void **state)
{
    (void)state;
    nftw(folder, wipe, 8, FTW_DEPTH | FTW_PHYS);
    memset(&fake, 0, sizeof fake);
    fake.counts[0] = fake.counts[1] = ENGINES;
    fake.can_save = true;
    for (int way = 0; way < WAYS; way++)
        for (int i = 0; i < MANY; i++)
            fake.engines[way][i].ns = (uint64_t)(10000 - 100 * i); /* the last is the fastest */
    return 0;
}

static struct tr_dnn *open_dnn(bool deterministic)
{
    struct tr_dnn *dnn = NULL;

    assert_int_equal(tr_dnn_open(&(struct tr_dnn_config){.gpu = &fake_gpu,
                                                         .deterministic = deterministic,
                                                         .cache = cache,
                                                         .workspace_limit = 4096},
                                 &dnn, NULL),
                     0);
    return dnn;
}

static struct tr_dnn_conv *plan(struct tr_dnn *dnn, enum tr_dnn_conv_kind kind)
{
    struct tr_dnn_conv *conv = NULL;
    struct im_text text = {0};

    if (tr_dnn_conv_new(dnn, &shape, kind, IMK_BF16, &conv, &text) < 0)
        fail_msg("%s", text.s);
    return conv;
}

/* The engine that is chosen for one convolution by a library of its own. */
static void chosen(bool deterministic, enum tr_dnn_conv_kind kind, const char *want)
{
    struct tr_dnn *dnn = open_dnn(deterministic);
    struct tr_dnn_conv *conv = plan(dnn, kind);

    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    assert_string_equal(tr_dnn_conv_kernel(conv), want);
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
    assert_int_equal(fake.memory_used, 0);
}

static void fastest_engine_is_chosen(void **state)
{
    (void)state;
    fake.engines[0][1].ns = 50;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e1");
}

static void engines_that_refuse_or_fail_are_passed_over(void **state)
{
    (void)state;
    fake.engines[0][3].refuses = true;
    fake.engines[0][2].fails = true;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e1");
}

static void engine_that_does_not_add_is_not_chosen(void **state)
{
    (void)state;
    fake.engines[0][3].forgets = true;
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "0/e2");
}

static void other_way_is_taken_when_no_engine_of_the_first_adds(void **state)
{
    (void)state;
    for (int i = 0; i < ENGINES; i++)
        fake.engines[0][i].forgets = true;
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "1/e3");
}

static void other_way_is_taken_when_the_first_has_no_engine(void **state)
{
    (void)state;
    fake.counts[0] = 0;
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "1/e3");
}

static void nothing_that_adds_is_an_error(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_BACKWARD_ADD);
    struct im_text text = {0};

    (void)state;
    for (int way = 0; way < WAYS; way++)
        for (int i = 0; i < ENGINES; i++)
            fake.engines[way][i].forgets = true;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text), -ENOTSUP);
    assert_true(*text.s != '\0');
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

static void deterministic_takes_the_first_and_no_clock(void **state)
{
    (void)state;
    chosen(true, TR_DNN_CONV_FORWARD, "0/e0");
    assert_int_equal(fake.runs, 0);
}

/* Its code, not which one it is: where the first does not do, the next one is not written down. */
static void deterministic_keeps_the_first(void **state)
{
    (void)state;
    chosen(true, TR_DNN_CONV_FORWARD, "0/e0");
    chosen(true, TR_DNN_CONV_BACKWARD_ADD, "0/e0");
    fake.planned = fake.runs = 0;
    chosen(true, TR_DNN_CONV_FORWARD, "0/e0");
    chosen(true, TR_DNN_CONV_BACKWARD_ADD, "0/e0");
    assert_int_equal(fake.loaded, 2);
    assert_int_equal(fake.planned + fake.runs, 0);
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3"); /* nobody else's choice */
    fake.engines[0][0].refuses = true;
    assert_int_equal(remove(cache), 0);
    chosen(true, TR_DNN_CONV_FORWARD, "0/e1");
    assert_int_equal(access(cache, F_OK), -1);
}

static void deterministic_takes_the_first_that_adds(void **state)
{
    (void)state;
    fake.engines[0][0].forgets = fake.engines[0][1].forgets = true;
    chosen(true, TR_DNN_CONV_BACKWARD_ADD, "0/e2");
}

static void second_run_takes_the_plan_from_the_cache(void **state)
{
    (void)state;
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "0/e3");
    fake.asked = fake.planned = fake.runs = 0;
    fake.engines[0][0].ns = 1; /* it does not look again */
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "0/e3");
    assert_int_equal(fake.loaded, 1);
    assert_int_equal(fake.asked + fake.planned + fake.runs, 0);
}

static void plan_that_cannot_be_saved_is_made_again_from_its_name(void **state)
{
    (void)state;
    fake.can_save = false;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
    fake.planned = fake.runs = 0;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
    assert_int_equal(fake.planned, 1);
    assert_int_equal(fake.runs, 0);
}

static void engine_that_is_gone_is_chosen_anew(void **state)
{
    (void)state;
    fake.can_save = false;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
    fake.counts[0] = 2;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e1");
}

static void layers_that_are_alike_share_a_choice(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *a = plan(dnn, TR_DNN_CONV_FORWARD), *b = plan(dnn, TR_DNN_CONV_FORWARD);
    struct tr_dnn_stats facts;

    (void)state;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    tr_dnn_stats(dnn, &facts);
    assert_int_equal(facts.plans, 1);
    assert_int_equal(facts.timed, 1);
    tr_dnn_conv_free(dnn, a);
    assert_int_equal(tr_dnn_conv_run(dnn, b, NULL, NULL, NULL), 0);
    tr_dnn_conv_free(dnn, b);
    tr_dnn_close(dnn);
}

static void workspace_is_that_of_what_was_chosen_and_says_when_it_moves(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *a, *b;
    struct tr_dnn_stats facts;
    bool moved;

    (void)state;
    fake.engines[0][0].workspace = 4000; /* not chosen */
    fake.engines[0][3].workspace = 100;
    a = plan(dnn, TR_DNN_CONV_FORWARD);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, &moved, NULL), 0);
    assert_true(moved);
    tr_dnn_stats(dnn, &facts);
    assert_int_equal(facts.workspace_bytes, 100);
    b = plan(dnn, TR_DNN_CONV_BACKWARD_DATA);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, &moved, NULL), 0);
    assert_false(moved);
    tr_dnn_conv_free(dnn, a);
    tr_dnn_conv_free(dnn, b);
    tr_dnn_close(dnn);
}

static void gradient_of_weights_is_widened(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_BACKWARD_WEIGHTS);
    float dw[32 * 9 * 16] = {0};

    (void)state;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    assert_int_equal(tr_dnn_conv_run(dnn, conv, NULL, dw, NULL), 0);
    assert_int_equal(fake.casts, 1);
    assert_int_equal(fake.cast_count, 32 * 9 * 16);
    assert_true(dw[32 * 9 * 16 - 1] != 0);
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
    assert_int_equal(fake.memory_used, 0);
}

static void run_weights(struct tr_dnn *dnn, struct tr_dnn_conv *conv, enum tr_gpu_stream_id stream)
{
    float dw[32 * 9 * 16];

    assert_int_equal(tr_dnn_conv_run(dnn, conv, NULL, dw, NULL), 0);
    assert_ptr_equal(fake.ran_on, tr_gpu_stream(&fake_gpu, stream));
    assert_ptr_equal(fake.cast_on, tr_gpu_stream(&fake_gpu, stream));
    assert_ptr_equal(fake.cast_from, fake.weights);
}

/* Two runs at once share no memory, and what comes next is on COMPUTE again. */
static void what_runs_apart_has_a_stream_and_memory_of_its_own(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *here = plan(dnn, TR_DNN_CONV_BACKWARD_WEIGHTS),
                       *other = plan(dnn, TR_DNN_CONV_FORWARD);
    struct tr_dnn_conv *apart = plan(dnn, TR_DNN_CONV_BACKWARD_WEIGHTS);
    const void *workspace, *weights;
    struct tr_dnn_stats facts;

    (void)state;
    for (int i = 0; i < ENGINES; i++)
        fake.engines[0][i].workspace = 100;
    tr_dnn_conv_set_apart(apart);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    assert_ptr_equal(fake.ran_on, tr_gpu_stream(&fake_gpu, TR_GPU_COMPUTE));
    tr_dnn_stats(dnn, &facts);
    assert_int_equal(facts.workspace_bytes, 100);
    assert_int_equal(facts.apart_bytes, 100);
    run_weights(dnn, here, TR_GPU_COMPUTE);
    workspace = fake.workspace;
    weights = fake.weights;
    run_weights(dnn, apart, TR_GPU_WEIGHTS);
    assert_true(fake.workspace && fake.workspace != workspace);
    assert_true(fake.weights && fake.weights != weights);
    assert_int_equal(tr_dnn_conv_run(dnn, other, NULL, NULL, NULL), 0);
    assert_ptr_equal(fake.ran_on, tr_gpu_stream(&fake_gpu, TR_GPU_COMPUTE));
    assert_ptr_equal(fake.workspace, workspace);
    tr_dnn_conv_free(dnn, here);
    tr_dnn_conv_free(dnn, other);
    tr_dnn_conv_free(dnn, apart);
    tr_dnn_close(dnn);
    assert_int_equal(fake.memory_used, 0);
}

/* Where all gradients of weights are apart, COMPUTE keeps no memory for them. */
static void memory_is_that_of_the_stream_that_runs(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_BACKWARD_WEIGHTS);
    struct tr_dnn_stats facts;

    (void)state;
    fake.engines[0][ENGINES - 1].workspace = 100;
    tr_dnn_conv_set_apart(conv);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    tr_dnn_stats(dnn, &facts);
    assert_int_equal(facts.workspace_bytes, 0);
    assert_int_equal(facts.apart_bytes, 100);
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

/* Scratch memory is the tensors', the cache's twice and 4096 for workspaces. */
static void without_scratch_memory_the_first_engine_stays(void **state)
{
    (void)state;
    fake.memory_limit = 5000;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e0");
    assert_int_equal(fake.runs, 0);
}

static void without_scratch_memory_additions_are_not_taken_on_trust(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_BACKWARD_ADD);
    struct im_text text = {0};

    (void)state;
    fake.memory_limit = 5000;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text), -ENOMEM);
    assert_non_null(strstr(text.s, "smaller batch"));
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

/* The arena of a network: no memory is needed beside it. */
static void scratch_memory_can_be_lent(void **state)
{
    static char arena[1 << 18] __attribute__((aligned(256)));
    const struct tr_dnn_scratch lent = {.memory = arena, .bytes = sizeof arena};
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_BACKWARD_ADD);
    struct im_text text = {0};

    (void)state;
    fake.memory_limit = 1;
    if (tr_dnn_tune(dnn, &lent, NULL, &text) < 0)
        fail_msg("%s", text.s);
    assert_string_equal(tr_dnn_conv_kernel(conv), "0/e3");
    assert_int_equal(fake.memory_used, 0);
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

/* A GPU is faster on zeros. */
static void engines_are_timed_on_numbers(void **state)
{
    (void)state;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
    assert_true(fake.runs > 0);
    assert_int_equal(fake.blank, 0);
}

static struct tr_dnn *open_in_haste(bool recovers)
{
    struct tr_dnn *dnn = NULL;

    assert_int_equal(tr_dnn_open(&(struct tr_dnn_config){.gpu = &fake_gpu,
                                                         .cache = cache,
                                                         .workspace_limit = 4096,
                                                         .recovers = recovers,
                                                         .first_ns = 1,
                                                         .more_ns = 100 * IM_MS},
                                 &dnn, NULL),
                     0);
    return dnn;
}

/* One start with little time: what it chooses; how many engines it has planned. */
static int start_briefly(bool recovers, enum tr_dnn_conv_kind kind, char name[16])
{
    const int planned = fake.planned;
    struct tr_dnn *dnn = open_in_haste(recovers);
    struct tr_dnn_conv *conv = plan(dnn, kind);

    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    snprintf(name, 16, "%s", tr_dnn_conv_kernel(conv));
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
    assert_int_equal(fake.memory_used, 0);
    return fake.planned - planned;
}

/* Each compiles for so long that no start has time for all of them. */
static void engines_are_compiled_at_once_and_by_start_after_start(void **state)
{
    const bool alone = sysconf(_SC_NPROCESSORS_ONLN) == 1;
    char name[16], before[16];
    int starts = 1;

    (void)state;
    fake.counts[0] = fake.counts[1] = MANY;
    fake.compile_ms = 220;
    start_briefly(false, TR_DNN_CONV_FORWARD, name);
    assert_string_not_equal(name, "0/e15");
    memcpy(before, name, sizeof before);
    assert_int_equal(start_briefly(true, TR_DNN_CONV_FORWARD, name), 0); /* others wait for it */
    assert_string_equal(name, before);
    for (; strcmp(name, "0/e15") != 0; starts++) {
        assert_true(start_briefly(false, TR_DNN_CONV_FORWARD, name) > 0);
        assert_true(starts < MANY);
    }
    assert_true(starts > 1);
    assert_true(fake.planned <= MANY + 1); /* none was tried twice */
    assert_true(alone || fake.busiest > 1);
    assert_int_equal(start_briefly(false, TR_DNN_CONV_FORWARD, name), 0);
    assert_string_equal(name, "0/e15");
}

/* Trainers that start together: one goes on, the other takes what that has found. */
static void of_several_starts_one_goes_on(void **state)
{
    struct tr_dnn *dnn[2];
    struct tr_dnn_conv *conv[2];
    char name[16];
    int planned;

    (void)state;
    fake.counts[0] = MANY;
    fake.compile_ms = 220;
    start_briefly(false, TR_DNN_CONV_FORWARD, name);
    for (int i = 0; i < 2; i++) {
        dnn[i] = open_in_haste(false);
        conv[i] = plan(dnn[i], TR_DNN_CONV_FORWARD);
        assert_string_equal(tr_dnn_conv_kernel(conv[i]), name);
    }
    assert_int_equal(tr_dnn_tune(dnn[0], &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    assert_string_not_equal(tr_dnn_conv_kernel(conv[0]), name);
    planned = fake.planned;
    assert_int_equal(tr_dnn_tune(dnn[1], &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    assert_string_equal(tr_dnn_conv_kernel(conv[1]), tr_dnn_conv_kernel(conv[0]));
    assert_int_equal(fake.planned, planned);
    for (int i = 0; i < 2; i++) {
        tr_dnn_conv_free(dnn[i], conv[i]);
        tr_dnn_close(dnn[i]);
    }
}

/* What was told, and where to say no. */
struct listener {
    int calls, stop_at;
    int at, of, unknown;
    _Atomic int waits;
};

static int listen(void *context, const char *what, int at, int of)
{
    struct listener *l = context;

    assert_non_null(what);
    l->at = at;
    l->of = of > l->of ? of : l->of;
    l->unknown += of == 0 && at > 0;
    l->waits += of < 0;
    return ++l->calls == l->stop_at;
}

static struct tr_dnn *open_heard(struct listener *l)
{
    struct tr_dnn *dnn = NULL;

    assert_int_equal(
        tr_dnn_open(
            &(struct tr_dnn_config){
                .gpu = &fake_gpu, .cache = cache, .workspace_limit = 4096, .progress = listen, .context = l},
            &dnn, NULL),
        0);
    return dnn;
}

static void progress_is_told_to_its_end(void **state)
{
    struct listener l = {0};
    struct tr_dnn *dnn = open_heard(&l);
    struct tr_dnn_conv *forward = plan(dnn, TR_DNN_CONV_FORWARD),
                       *weights = plan(dnn, TR_DNN_CONV_BACKWARD_WEIGHTS);

    (void)state;
    assert_int_equal(l.unknown, 2);
    assert_int_equal(l.at, 2);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    assert_int_equal(l.of, 2);
    assert_int_equal(l.calls, 2 + 2 * ENGINES + 1);
    assert_int_equal(l.at, 0);
    tr_dnn_conv_free(dnn, forward);
    tr_dnn_conv_free(dnn, weights);
    tr_dnn_close(dnn);
}

/* At any place: an error, no leak, and the next start goes on from what was timed. */
static void planning_can_be_given_up_anywhere(void **state)
{
    (void)state;
    for (int stop_at = 1; stop_at <= 2 + 2 * ENGINES; stop_at++) {
        struct listener l = {.stop_at = stop_at};
        struct tr_dnn_conv *convs[2] = {NULL, NULL};
        struct im_text text = {0};
        struct tr_dnn *dnn;
        int err = setup(NULL);

        dnn = open_heard(&l);
        for (int i = 0; i < 2 && err == 0; i++)
            err = tr_dnn_conv_new(dnn, &shape, i ? TR_DNN_CONV_BACKWARD_WEIGHTS : TR_DNN_CONV_FORWARD,
                                  IMK_BF16, &convs[i], &text);
        assert_int_equal(err, stop_at <= 2 ? -ECANCELED : 0);
        if (err == 0)
            assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text), -ECANCELED);
        for (int i = 0; i < 2; i++)
            tr_dnn_conv_free(dnn, convs[i]);
        tr_dnn_close(dnn);
        assert_int_equal(fake.memory_used, 0);
        fake.planned = 0;
        chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
        if (stop_at > 2 + ENGINES)
            assert_int_equal(fake.planned, 0);
    }
}

static void *second_process(void *context)
{
    struct listener *l = context;
    struct tr_dnn *dnn = open_heard(l);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_FORWARD);
    struct tr_dnn_stats facts;

    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    tr_dnn_stats(dnn, &facts);
    l->at = facts.timed;
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
    return NULL;
}

static void one_process_plans_and_others_wait(void **state)
{
    struct listener l = {0};
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_FORWARD); /* which misses, and so begins */
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, second_process, &l), 0);
    while (l.waits == 0)
        poll(NULL, 0, 1);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(l.at, 0); /* it timed nothing */
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

static void who_waits_for_plans_can_leave(void **state)
{
    struct listener l = {.stop_at = 3};
    struct tr_dnn *dnn = open_dnn(false), *other = open_heard(&l);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_FORWARD), *none = NULL;
    struct im_text text = {0};

    (void)state;
    assert_int_equal(tr_dnn_conv_new(other, &shape, TR_DNN_CONV_FORWARD, IMK_BF16, &none, &text), -ECANCELED);
    assert_int_equal(l.waits, 2);
    tr_dnn_close(other);
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

static void gpu_that_breaks_is_an_error(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_FORWARD);
    struct im_text text = {0};

    (void)state;
    fake.broken = true;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text), -EIO);
    assert_string_equal(text.s, "the table broke");
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
    assert_int_equal(fake.memory_used, 0);
}

static void no_engine_is_a_sentence_that_names_the_operation(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = NULL;
    struct im_text text = {0};

    (void)state;
    fake.counts[0] = 0;
    assert_int_equal(tr_dnn_conv_new(dnn, &shape, TR_DNN_CONV_FORWARD, IMK_BF16, &conv, &text), -ENOTSUP);
    assert_null(conv);
    assert_non_null(strstr(text.s, "conv forward bf16"));
    assert_non_null(strstr(text.s, "table is empty"));
    tr_dnn_close(dnn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(fastest_engine_is_chosen, setup),
        cmocka_unit_test_setup(engines_that_refuse_or_fail_are_passed_over, setup),
        cmocka_unit_test_setup(engine_that_does_not_add_is_not_chosen, setup),
        cmocka_unit_test_setup(other_way_is_taken_when_no_engine_of_the_first_adds, setup),
        cmocka_unit_test_setup(other_way_is_taken_when_the_first_has_no_engine, setup),
        cmocka_unit_test_setup(nothing_that_adds_is_an_error, setup),
        cmocka_unit_test_setup(deterministic_takes_the_first_and_no_clock, setup),
        cmocka_unit_test_setup(deterministic_keeps_the_first, setup),
        cmocka_unit_test_setup(deterministic_takes_the_first_that_adds, setup),
        cmocka_unit_test_setup(second_run_takes_the_plan_from_the_cache, setup),
        cmocka_unit_test_setup(plan_that_cannot_be_saved_is_made_again_from_its_name, setup),
        cmocka_unit_test_setup(engine_that_is_gone_is_chosen_anew, setup),
        cmocka_unit_test_setup(layers_that_are_alike_share_a_choice, setup),
        cmocka_unit_test_setup(what_runs_apart_has_a_stream_and_memory_of_its_own, setup),
        cmocka_unit_test_setup(memory_is_that_of_the_stream_that_runs, setup),
        cmocka_unit_test_setup(workspace_is_that_of_what_was_chosen_and_says_when_it_moves, setup),
        cmocka_unit_test_setup(gradient_of_weights_is_widened, setup),
        cmocka_unit_test_setup(without_scratch_memory_the_first_engine_stays, setup),
        cmocka_unit_test_setup(without_scratch_memory_additions_are_not_taken_on_trust, setup),
        cmocka_unit_test_setup(scratch_memory_can_be_lent, setup),
        cmocka_unit_test_setup(engines_are_timed_on_numbers, setup),
        cmocka_unit_test_setup(engines_are_compiled_at_once_and_by_start_after_start, setup),
        cmocka_unit_test_setup(of_several_starts_one_goes_on, setup),
        cmocka_unit_test_setup(progress_is_told_to_its_end, setup),
        cmocka_unit_test_setup(planning_can_be_given_up_anywhere, setup),
        cmocka_unit_test_setup(one_process_plans_and_others_wait, setup),
        cmocka_unit_test_setup(who_waits_for_plans_can_leave, setup),
        cmocka_unit_test_setup(gpu_that_breaks_is_an_error, setup),
        cmocka_unit_test_setup(no_engine_is_a_sentence_that_names_the_operation, setup),
    };
    int failed;

    if (!mkdtemp(folder))
        return 2;
    snprintf(cache, sizeof cache, "%s/cuda.plans", folder);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nftw(folder, wipe, 8, FTW_DEPTH | FTW_PHYS);
    rmdir(folder);
    return failed;
}
