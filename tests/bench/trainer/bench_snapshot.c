/* How long a snapshot of a model's training state takes, and going on from it.
 *
 *     bench_snapshot --model resnet50 [--classes 1000] [--rounds 20] [--adamw]
 *
 * Prints one line of key=value: bytes of the shared memory; milliseconds of reserving it, of the first
 * snapshot (which touches every page), of the others (by the clock, and of the processor's time, which other
 * work on the machine disturbs less), and of reading, verifying and restoring one. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "trainer/checkpoint/snapshot.h"

struct options {
    const char *model;
    int classes, rounds;
    enum im_optimizer optimizer;
};

static struct options parse(int argc, char **argv)
{
    struct options o = {.model = "resnet50", .classes = 1000, .rounds = 20, .optimizer = IM_OPTIMIZER_SGD};
    const struct option table[] = {
        {"model", required_argument, NULL, 'm'},
        {"classes", required_argument, NULL, 'c'},
        {"rounds", required_argument, NULL, 'r'},
        {"adamw", no_argument, NULL, 'a'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (c) {
        case 'm':
            o.model = optarg;
            break;
        case 'c':
            o.classes = (int)strtol(optarg, NULL, 10);
            break;
        case 'r':
            o.rounds = (int)strtol(optarg, NULL, 10);
            break;
        case 'a':
            o.optimizer = IM_OPTIMIZER_ADAMW;
            break;
        default:
            fprintf(stderr, "usage: bench_snapshot [--model M] [--classes N] [--rounds N] [--adamw]\n");
            exit(2);
        }
    }
    if (o.rounds < 3)
        o.rounds = 3;
    return o;
}

struct times {
    double *ms, *cpu_ms; /* [rounds] */
    double open_ms, restore_ms;
    size_t bytes;
};

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double now_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int take_all(struct tr_snapshot *s, struct tr_state *state, int rounds, struct times *ret,
                    struct im_text *text)
{
    const struct tr_position_text position = {.count = 0};
    int err = 0;

    for (int i = 0; i < rounds && err == 0; i++) {
        double wall = now_ms(CLOCK_MONOTONIC), cpu = now_ms(CLOCK_PROCESS_CPUTIME_ID);

        err = tr_snapshot_take(s, state, &position, (uint64_t)i, text);
        ret->ms[i] = now_ms(CLOCK_MONOTONIC) - wall;
        ret->cpu_ms[i] = now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    }
    return err;
}

static int restore(int fd, struct tr_state *state, struct times *ret, struct im_text *text)
{
    double began = now_ms(CLOCK_MONOTONIC);
    struct tr_safetensors *file = NULL;
    char *bytes = NULL;
    int err = im_snapshot_read(fd, &bytes, &ret->bytes, text);

    if (err == 0)
        err = tr_checkpoint_take("the snapshot", bytes, ret->bytes, &file, text);
    if (err == 0)
        err = tr_state_restore(state, file, false, text);
    ret->restore_ms = now_ms(CLOCK_MONOTONIC) - began;
    tr_safetensors_close(&file);
    return err;
}

static int measure(struct tr_state *state, int rounds, struct times *ret, struct im_text *text)
{
    static struct im_stats stats;
    static struct im_conf conf;
    static struct im_plan plan; /* of one machine */
    const struct tr_position_text position = {.count = 0};
    struct im_child child = {.conf = &conf,
                             .plan = &plan,
                             .stats = &stats,
                             .snapshot_fd = im_segment_create_empty("the bench", text)};
    struct tr_snapshot snapshot = {0};
    double began;
    int err;

    im_conf_defaults(&conf);
    if (child.snapshot_fd < 0)
        return child.snapshot_fd;
    began = now_ms(CLOCK_MONOTONIC);
    err = tr_snapshot_open(&snapshot, &child, state, &position, 0, false, text);
    ret->open_ms = now_ms(CLOCK_MONOTONIC) - began;
    if (err == 0)
        err = take_all(&snapshot, state, rounds, ret, text);
    if (err == 0)
        err = restore(child.snapshot_fd, state, ret, text);
    tr_snapshot_close(&snapshot);
    close(child.snapshot_fd);
    return err;
}

static void print(const struct options *o, const struct times *t)
{
    double first = t->ms[0];
    int rest = o->rounds - 2; /* both slots are touched then */

    qsort(t->ms + 2, (size_t)rest, sizeof *t->ms, compare);
    qsort(t->cpu_ms + 2, (size_t)rest, sizeof *t->cpu_ms, compare);
    printf("model=%s bytes=%zu memory_bytes=%llu open_ms=%.1f first_ms=%.1f min_ms=%.1f median_ms=%.1f "
           "max_ms=%.1f min_cpu_ms=%.1f median_cpu_ms=%.1f restore_ms=%.1f\n",
           o->model, t->bytes, (unsigned long long)im_snapshot_segment_bytes(t->bytes), t->open_ms, first,
           t->ms[2], t->ms[2 + rest / 2], t->ms[o->rounds - 1], t->cpu_ms[2], t->cpu_ms[2 + rest / 2],
           t->restore_ms);
}

int main(int argc, char **argv)
{
    const struct options o = parse(argc, argv);
    const struct tr_network_config config = {.model = o.model,
                                             .classes = o.classes,
                                             .backend = "onednn",
                                             .threads = 1,
                                             .optimizer = o.optimizer,
                                             .std = {1, 1, 1}};
    struct times times = {.ms = calloc((size_t)o.rounds, sizeof *times.ms),
                          .cpu_ms = calloc((size_t)o.rounds, sizeof *times.cpu_ms)};
    struct tr_network *net = NULL;
    struct im_text text = {""};
    struct tr_state state = {0};
    int err = times.ms && times.cpu_ms ? tr_network_new(&config, &net, &text) : -ENOMEM;

    if (err == 0)
        err = tr_state_init(&state, net);
    if (err == 0)
        err = measure(&state, o.rounds, &times, &text);
    if (err == 0)
        print(&o, &times);
    else
        fprintf(stderr, "bench_snapshot: %s\n", text.s[0] ? text.s : strerror(-err));
    tr_state_fini(&state);
    tr_network_free(net);
    free(times.ms);
    free(times.cpu_ms);
    return err < 0;
}
