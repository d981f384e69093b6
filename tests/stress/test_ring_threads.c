/* The whole protocol with threads in one process, over one mapping: the only way ThreadSanitizer sees both
 * sides of the rings.
 *
 * Cells are few and small, so that each wraps hundreds of times. Readers and augmenters die at random steps:
 * their thread leaves and lets everything lie as it is; the supervisor (the main thread) buries it once it is
 * known to be gone, and starts another. Trainers do not die here: that needs the whole data plane to go back,
 * which stress_ring_kills tests with processes.
 *
 * IMSUPER_STRESS_SEED chooses the seed, IMSUPER_STRESS_SECONDS repeats with further seeds for that long. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/process.h"
#include "ipc/wait.h"
#include "tests/stress/sim.h"

enum { DIE_ONE_IN = 60, STUCK_SECONDS = 20 };

struct thread {
    pthread_t id;
    struct sim_worker worker;
    enum sim_end end;
    _Atomic uint32_t gone;
};

struct crew {
    struct sim sim;
    struct thread thread[SIM_WORKERS_MAX];
    struct im_event event_gone;
    uint64_t deaths;
};

struct start {
    struct crew *crew;
    struct thread *thread;
};

static void *run_thread(void *argument)
{
    struct start start = *(struct start *)argument;

    free(argument);
    start.thread->end = sim_work(&start.thread->worker);
    atomic_store_explicit(&start.thread->gone, 1, memory_order_release);
    im_event_broadcast(&start.crew->event_gone);
    return NULL;
}

static int start_worker(struct crew *crew, uint32_t number)
{
    struct thread *t = &crew->thread[number];
    struct start *start = malloc(sizeof *start);

    if (!start || sim_announce(&crew->sim, number, &t->worker) < 0)
        return -ENOMEM;
    if (t->worker.role != IM_ROLE_TRAINER)
        t->worker.die_one_in = DIE_ONE_IN;
    atomic_store_explicit(&t->gone, 0, memory_order_relaxed);
    *start = (struct start){.crew = crew, .thread = t};
    return -pthread_create(&t->id, NULL, run_thread, start);
}

/* Buries and replaces who is gone. Trainers leave when they are done. */
static int tend(struct crew *crew)
{
    for (uint32_t i = 0; i < sim_worker_count(&crew->sim); i++) {
        struct thread *t = &crew->thread[i];

        if (!atomic_load_explicit(&t->gone, memory_order_acquire) || t->worker.role == IM_ROLE_TRAINER)
            continue;
        pthread_join(t->id, NULL);
        if (t->end != SIM_DIED) {
            fprintf(stderr, "worker %" PRIu32 " ended with %d\n", i, (int)t->end);
            return -EIO;
        }
        sim_bury(&crew->sim, &t->worker);
        crew->deaths++;
        if (!sim_ready_places_are_open(&crew->sim) || start_worker(crew, i) < 0)
            return -EIO;
    }
    return 0;
}

static void supervise(struct crew *crew)
{
    uint64_t progress = 0;
    im_ns moved = im_now();
    int err = 0;

    while (err == 0 && !sim_is_over(&crew->sim)) {
        uint32_t look = im_event_look(&crew->event_gone);

        err = tend(crew);
        if (sim_progress(&crew->sim) != progress) {
            progress = sim_progress(&crew->sim);
            moved = im_now();
        } else if (im_now() - moved > STUCK_SECONDS * IM_SECOND) {
            fprintf(stderr, "stuck\n");
            err = -ETIMEDOUT;
        }
        im_event_wait(&crew->event_gone, look, 5 * IM_MS);
    }
    if (err < 0) {
        sim_dump(&crew->sim);
        _Exit(1); /* threads that wait for each other cannot be joined */
    }
}

static int run_once(const struct sim_shape *shape)
{
    struct crew *crew = calloc(1, sizeof *crew);
    int faults = 0;

    if (!crew || sim_open(&crew->sim, shape) < 0)
        return 1;
    for (uint32_t i = 0; i < sim_worker_count(&crew->sim); i++)
        if (start_worker(crew, i) < 0)
            return 1;
    supervise(crew);
    sim_end(&crew->sim);
    for (uint32_t i = 0; i < sim_worker_count(&crew->sim); i++)
        pthread_join(crew->thread[i].id, NULL);
    faults += sim_check(&crew->sim);
    printf("%" PRIu32 " readers, %" PRIu32 " augmenters, %" PRIu32 " ranks, %" PRIu32 " cells: %" PRIu64
           " samples, %" PRIu64 " deaths, %d faults\n",
           shape->readers, shape->augmenters, shape->ranks, shape->cells, crew->sim.plan.tickets,
           crew->deaths, faults);
    sim_close(&crew->sim);
    free(crew);
    return faults;
}

int main(void)
{
    static const struct sim_shape shapes[] = {
        {.samples = {97, 13},
         .epochs = 12,
         .readers = 1,
         .augmenters = 1,
         .ranks = 1,
         .cells = 1,
         .batches = 1,
         .batch_size = 1},
        {.samples = {211, 47},
         .epochs = 10,
         .readers = 2,
         .augmenters = 3,
         .ranks = 2,
         .cells = 5,
         .batches = 2,
         .batch_size = 3},
        {.samples = {499, 0},
         .epochs = 6,
         .readers = 3,
         .augmenters = 4,
         .ranks = 3,
         .cells = 16,
         .batches = 3,
         .batch_size = 5},
    };
    const char *seed_text = getenv("IMSUPER_STRESS_SEED"), *seconds_text = getenv("IMSUPER_STRESS_SECONDS");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : im_now();
    im_ns until = im_now() + (seconds_text ? strtoull(seconds_text, NULL, 10) : 0) * IM_SECOND;
    int faults = 0;

    do {
        printf("seed %" PRIu64 " (IMSUPER_STRESS_SEED)\n", seed);
        fflush(stdout);
        for (size_t i = 0; i < IM_COUNT(shapes); i++) {
            struct sim_shape shape = shapes[i];

            shape.seed = seed;
            faults += run_once(&shape);
        }
        seed++;
    } while (faults == 0 && im_now() < until);
    return faults != 0;
}
