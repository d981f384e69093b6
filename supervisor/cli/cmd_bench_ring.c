/* `imsuper bench ring`: what a hop through each ring costs, and how long a sleeper takes to wake.
 *
 * Hops are measured without contention, in blocks of a ring's turn (one clock reading is dearer than one
 * hop): a value is the mean of a block, p50 and p99 are over blocks. The rings have an ImageNet run's shape:
 * 512 cells, 3 batches of 256. Wakes are measured one by one from before the signal to after the wait, the
 * woken being asleep in the kernel at that time; with 4 consumers, one signal wakes one of them and any may
 * answer. No bytes are moved: memcpy is not what is asked. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/earlier.h"
#include "ipc/base/json.h"
#include "ipc/base/output.h"
#include "ipc/base/speedscope.h"
#include "ipc/batch.h"
#include "ipc/encoded.h"
#include "ipc/wait.h"
#include "supervisor/cli/commands.h"

enum {
    CELLS = 512,
    BATCH = 256,
    BATCHES = 3,
    STEPS = 1000,
    WAKES = 5000,
    ROUNDS = 2000, /* of all parts, as WAKES */
    HOPS = 4,
    RESULTS = HOPS + 2,
    CONSUMERS_MAX = 4,
    PARTS = 10,      /* of a measurement, for its spread */
    WAKES_LEAST = 20 /* of a part */
};

/* On a busy machine a wake takes milliseconds: a part then has fewer of them. */
#define PART_NS (300 * IM_MS)

#define SCHEMA "imsuper.bench-ring/2"

static const double shares[] = {0.1, 0.5, 0.9, 0.99, 0.999, 1};
enum { QUANTILES = IM_COUNT(shares) };

struct result {
    const char *name;
    double p50_ns, p99_ns;
    size_t blocks;
    double quantile_ns[QUANTILES]; /* profile */
    double part_ns
        [PARTS]; /* of each part the value that 10 % do not exceed: what else runs is in few of those */
    struct im_earlier earlier;
};

/* Values of a result, part after part. */
struct values {
    const char *name;
    double *ns;
    size_t a_part;       /* room */
    size_t taken[PARTS]; /* of it */
};

struct bench {
    struct im_run run;
    struct im_plan plan;
    struct result results[RESULTS];
    int result_count;
    struct values values[RESULTS];
    uint64_t turns; /* of the rings, since they were made */
};

static void add_result(struct bench *b, const struct values *v)
{
    struct result *r = &b->results[b->result_count++];
    double *values = v->ns;
    size_t n = 0;

    *r = (struct result){.name = v->name};
    for (size_t i = 0; i < PARTS; i++) {
        memmove(values + n, v->ns + i * v->a_part, v->taken[i] * sizeof *values);
        im_series_sort(values + n, v->taken[i]);
        r->part_ns[i] = im_series_quantile(values + n, v->taken[i], 0.1);
        n += v->taken[i];
    }
    r->blocks = n;
    im_series_sort(values, n);
    r->p50_ns = values[n / 2];
    r->p99_ns = values[n - 1 - n / 100];
    for (size_t i = 0; i < QUANTILES; i++)
        r->quantile_ns[i] = im_series_quantile(values, n, shares[i]);
}

static int open_bench(struct bench *b, struct im_text *text)
{
    const struct im_geometry g = {.samples = {(uint64_t)BATCH * STEPS, 0},
                                  .cell_bytes = IM_PAGE,
                                  .batch_pixels_max = BATCH * 3,
                                  .encoded_cells = CELLS,
                                  .ranks = 1,
                                  .batches = BATCHES,
                                  .batch_size_max = BATCH,
                                  .readers_max = 1,
                                  .augmenters_max = 1,
                                  .slots = 4,
                                  .classes = 10};
    const struct im_plan_params params = {.samples = {(uint64_t)BATCH * STEPS, 0},
                                          .epochs = 1000,
                                          .ranks = 1,
                                          .batch_size = {BATCH, BATCH},
                                          .image_size = {1, 1}};
    int err = im_run_create(&g, "", 1, &b->run, text);

    if (err == 0)
        err = im_plan_init(&b->plan, &params, text);
    if (err == 0)
        im_run_reset(&b->run, &b->plan, 0);
    return err;
}

/* One batch of tickets goes round: each of the four hops is timed over all of them. */
static void hop_batch(struct bench *b, uint64_t batch, double *into[4], size_t at)
{
    struct im_encoded e[BATCH];
    im_ns mark[5];

    mark[0] = im_now();
    for (int i = 0; i < BATCH; i++) {
        im_assert(im_encoded_claim(&b->run, 1, b->plan.tickets, &e[i]) == 1);
        im_assert(im_encoded_publish(&b->run, 1, &e[i]) == 0);
    }
    mark[1] = im_now();
    for (int i = 0; i < BATCH; i++)
        im_assert(im_encoded_take(&b->run, &b->plan, 2, &e[i]) == 1);
    for (int i = 0; i < BATCH; i++)
        im_assert(im_encoded_release(&b->run, 2, &e[i]) == 0);
    mark[2] = im_now();
    for (int i = 0; i < BATCH; i++) {
        struct im_place place;

        im_assert(im_plan_place(&b->plan, e[i].ticket, &place) == 0 &&
                  im_batch_claim(&b->run, &place, 2) == 0 && im_batch_commit(&b->run, &place, 2) == 0);
    }
    mark[3] = im_now();
    im_assert(im_batch_done(&b->run, 0, batch, 0, BATCH) == BATCH);
    im_batch_free(&b->run, 0, batch);
    mark[4] = im_now();
    for (int hop = 0; hop < 4; hop++)
        into[hop][at] = (double)(mark[hop + 1] - mark[hop]) / (hop < 3 ? BATCH : 1);
}

static void bench_hops(struct bench *b, size_t part)
{
    double *into[HOPS];

    for (int hop = 0; hop < HOPS; hop++)
        into[hop] = b->values[hop].ns + part * b->values[hop].a_part;
    for (size_t i = 0; i < b->values[0].a_part / 10; i++)
        hop_batch(b, b->turns++, into, 0); /* warm up */
    for (size_t i = 0; i < b->values[0].a_part; i++)
        hop_batch(b, b->turns++, into, i);
}

struct wake_table {
    struct im_event call;
    struct im_event answer;
    _Atomic uint64_t calls, answers, answered_ns;
    _Atomic uint32_t stop;
};

static void *answer_calls(void *argument)
{
    struct wake_table *t = argument;

    for (;;) {
        uint32_t seen = im_event_look(&t->call);
        uint64_t answers = atomic_load_explicit(&t->answers, memory_order_acquire);

        if (atomic_load_explicit(&t->stop, memory_order_acquire))
            return NULL;
        if (answers < atomic_load_explicit(&t->calls, memory_order_acquire) &&
            atomic_compare_exchange_strong_explicit(&t->answers, &answers, answers + 1, memory_order_acq_rel,
                                                    memory_order_relaxed)) {
            atomic_store_explicit(&t->answered_ns, im_now(), memory_order_release);
            im_event_signal(&t->answer, 1);
            continue;
        }
        im_event_wait(&t->call, seen, IM_WAIT_MAX_NS);
    }
}

/* Calls, waits for the answer, and returns how long it was until somebody was awake. */
static double wake_once(struct wake_table *t, uint32_t sleepers)
{
    uint64_t mine = atomic_load_explicit(&t->calls, memory_order_relaxed) + 1;
    im_ns began, pause = im_now() + 20000;

    while (atomic_load_explicit(&t->call.waiters, memory_order_acquire) < sleepers || im_now() < pause)
        sched_yield(); /* all asleep: counted, and given the time to get there */
    atomic_store_explicit(&t->answered_ns, 0, memory_order_relaxed);
    began = im_now();
    atomic_store_explicit(&t->calls, mine, memory_order_release);
    im_event_signal(&t->call, 1);
    for (;;) {
        uint32_t seen = im_event_look(&t->answer);
        im_ns at = atomic_load_explicit(&t->answered_ns, memory_order_acquire);

        if (at != 0)
            return (double)(at - began);
        im_event_wait(&t->answer, seen, IM_WAIT_MAX_NS);
    }
}

static int bench_wake(uint32_t consumers, double *ns, size_t n, size_t *ret_taken)
{
    const im_ns end = im_now() + PART_NS;
    struct wake_table *t = aligned_alloc(IM_LINE, sizeof *t);
    pthread_t thread[CONSUMERS_MAX];
    uint32_t started = 0;
    int err = t ? 0 : -ENOMEM;

    if (t)
        memset(t, 0, sizeof *t);
    while (err == 0 && started < consumers) {
        err = -pthread_create(&thread[started], NULL, answer_calls, t);
        started += err == 0;
    }
    *ret_taken = 0;
    while (err == 0 && *ret_taken < n && (*ret_taken < WAKES_LEAST || im_now() < end))
        ns[(*ret_taken)++] = wake_once(t, consumers);
    if (t) {
        atomic_store_explicit(&t->stop, 1, memory_order_release);
        im_event_broadcast(&t->call);
    }
    for (uint32_t i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    free(t);
    return err;
}

static int make_values(struct bench *b)
{
    static const char *const names[RESULTS] = {
        "encoded: claim + publish",   "encoded: take + release", "batch: place + claim + commit",
        "batch of 256: check + free", "wake, 1 consumer",        "wake, 4 consumers"};

    for (int i = 0; i < RESULTS; i++) {
        const size_t n = i < HOPS ? ROUNDS : WAKES;

        b->values[i] = (struct values){names[i], calloc(n, sizeof(double)), n / PARTS, {0}};
        for (size_t part = 0; i < HOPS && part < PARTS; part++)
            b->values[i].taken[part] = b->values[i].a_part;
        if (!b->values[i].ns)
            return -ENOMEM;
    }
    return 0;
}

/* Each part has rings of its own, and all are measured in it: where memory lies and what else runs differ between two
 * measurements, so they have to differ between the parts of one. */
static int measure_part(struct bench *b, size_t part, struct im_text *text)
{
    int err = open_bench(b, text);

    b->turns = 0;
    if (err == 0)
        bench_hops(b, part);
    for (int i = HOPS; i < RESULTS && err == 0; i++)
        err = bench_wake(i == HOPS ? 1 : CONSUMERS_MAX, b->values[i].ns + part * b->values[i].a_part,
                         b->values[i].a_part, &b->values[i].taken[part]);
    im_plan_fini(&b->plan);
    im_run_close(&b->run);
    return err;
}

/* Of the earlier measurement the result of the same name. */
static void find_earlier(struct bench *b, const struct im_json *old)
{
    const struct im_json *list = im_json_get(old, "results");

    for (int i = 0; i < b->result_count; i++)
        for (size_t k = 0; k < im_json_count(list); k++)
            if (strcmp(im_json_str_or(im_json_at(list, k), "name", ""), b->results[i].name) == 0)
                im_earlier_take(im_json_get(im_json_at(list, k), "parts_p10_ns"), RESULTS,
                                &b->results[i].earlier);
}

static void bench_ring_print_text(struct bench *b)
{
    printf("%-32s %10s %10s\n", "ns", "p50", "p99");
    for (int i = 0; i < b->result_count; i++)
        printf("%-32s %10.1f %10.1f\n", b->results[i].name, b->results[i].p50_ns, b->results[i].p99_ns);
    for (int i = 0; i < b->result_count; i++) {
        const struct im_summary now = im_series_summary(b->results[i].part_ns, PARTS);
        struct im_text compared;

        if (*im_earlier_sentence(&b->results[i].earlier, &now, false, "ns", &compared))
            printf("%scompared  %s: %s\n", i ? "" : "\n", b->results[i].name, compared.s);
    }
}

static void print_profile(const struct bench *b)
{
    printf("%-32s %9s %9s %9s %9s %9s %9s\n", "ns", "p10", "p50", "p90", "p99", "p99.9", "max");
    for (int i = 0; i < b->result_count; i++) {
        printf("%-32s", b->results[i].name);
        for (size_t q = 0; q < QUANTILES; q++)
            printf(" %9.1f", b->results[i].quantile_ns[q]);
        putchar('\n');
    }
}

static struct im_json *result_json(struct result *r, bool is_profile)
{
    static const char *const names[QUANTILES] = {"p10_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"};
    struct im_json *j = im_json_object();
    struct im_summary now;

    im_json_set_str(j, "name", r->name);
    im_json_set_int(j, "values", (int64_t)r->blocks);
    for (size_t q = 0; is_profile && q < QUANTILES; q++)
        im_json_set_real(j, names[q], r->quantile_ns[q]);
    if (is_profile)
        return j;
    im_json_set_real(j, "p50_ns", r->p50_ns);
    im_json_set_real(j, "p99_ns", r->p99_ns);
    im_json_set(j, "parts_p10_ns", im_earlier_list(r->part_ns, PARTS));
    now = im_series_summary(r->part_ns, PARTS);
    im_earlier_add_json(&r->earlier, &now, false, j);
    return j;
}

static int bench_ring_print_json(struct bench *b, bool is_profile)
{
    struct im_json *j = im_json_object(), *list = im_json_array();
    int err;

    im_json_set_str(j, "schema", is_profile ? "imsuper.profile-ring/1" : SCHEMA);
    for (int i = 0; i < b->result_count; i++)
        im_json_append(list, result_json(&b->results[i], is_profile));
    im_json_set(j, "results", list);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

/* The time of all hops, by the quantiles of each. Sorts the values. */
static int write_profile(const struct bench *b, const char *path, struct im_text *text)
{
    static const char *const names[] = {"up to p50", "p50 to p90", "p90 to p99", "above p99"};
    static const double ends[] = {0.5, 0.9, 0.99, 1};
    struct im_speedscope *p = im_speedscope_new("rings");

    if (!p)
        return -ENOMEM;
    for (int i = 0; i < RESULTS; i++) {
        const size_t n = b->values[i].a_part * PARTS;
        size_t at = 0;

        im_series_sort(b->values[i].ns, n);
        for (size_t q = 0; q < IM_COUNT(ends); q++) {
            double ns = 0;

            for (; at < (size_t)(ends[q] * (double)n); at++)
                ns += b->values[i].ns[at];
            im_speedscope_add(p, (const char *const[]){b->values[i].name, names[q]}, 2, ns / 1e6);
        }
    }
    return im_speedscope_write(p, path, text);
}

static int run(struct im_conf *conf, bool is_profile)
{
    const bool shown = isatty(STDERR_FILENO) && !conf->quiet && !conf->plain;
    struct bench b = {.result_count = 0};
    struct im_text text = {""};
    struct im_json *old = NULL;
    int err = is_profile ? 0 : im_earlier_open(conf->compare, SCHEMA, &old, &text);

    if (err == 0 && is_profile && conf->output[0])
        err = im_output_check(conf->output, &text);
    if (err == 0)
        err = make_values(&b);
    for (size_t part = 0; part < PARTS && err == 0; part++) {
        if (shown)
            fprintf(stderr, "\r\033[Kmeasuring: part %zu of %d", part + 1, (int)PARTS);
        err = measure_part(&b, part, &text);
    }
    if (shown)
        fputs("\r\033[K", stderr);
    for (int i = 0; i < RESULTS && err == 0; i++)
        add_result(&b, &b.values[i]);
    if (err == 0 && is_profile && conf->output[0])
        err = write_profile(&b, conf->output, &text);
    for (int i = 0; i < RESULTS; i++)
        free(b.values[i].ns);
    if (err == 0 && old)
        find_earlier(&b, old);
    if (err == 0 && conf->json)
        err = bench_ring_print_json(&b, is_profile);
    else if (err == 0 && is_profile)
        print_profile(&b);
    else if (err == 0)
        bench_ring_print_text(&b);
    im_json_free(&old);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}

int sv_cmd_bench_ring(struct im_conf *conf)
{
    return run(conf, false);
}

int sv_cmd_profile_ring(struct im_conf *conf)
{
    return run(conf, true);
}
