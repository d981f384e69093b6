/* See sim.h. The content of ticket t is drawn from a generator keyed by t; the pixels of its sample are drawn
 * from the hash of the bytes that the augmenter found in the cell. So a stale, torn or mixed-up cell shows in
 * the pixels. */
#include "tests/stress/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "ipc/base/fault.h"
#include "ipc/base/hash.h"
#include "ipc/batch.h"
#include "ipc/encoded.h"
#include "ipc/ledger.h"
#include "ipc/process.h"
#include "ipc/reclaim.h"
#include "ipc/shuffle.h"
#include "ipc/wait.h"
#include "tests/support/ticket.h"

enum { IMAGE_SIZE = 4, PIXELS = IMAGE_SIZE * IMAGE_SIZE * 3, FILE_BYTES_MAX = 1024 };

static size_t make_file(const struct sim *sim, uint64_t ticket, unsigned char *ret)
{
    struct im_rng rng = im_rng_at(sim->seed, IM_RNG_TEST, 0, ticket);
    size_t n = 16 + (size_t)im_rng_below(&rng, FILE_BYTES_MAX / 16) * 8;

    for (size_t i = 0; i < n; i += 8) {
        uint64_t x = im_rng_u64(&rng);

        memcpy(ret + i, &x, 8);
    }
    return n;
}

static void make_pixels(const unsigned char *file, size_t n, unsigned char ret[PIXELS])
{
    uint64_t key = im_hash64(file, n, 0);

    for (size_t i = 0; i < PIXELS; i += 8) {
        uint64_t x = im_hash64(&key, sizeof key, i);

        memcpy(ret + i, &x, 8);
    }
}

static uint64_t sample_of(const struct sim *sim, const struct im_place *at)
{
    if (at->phase->split == IM_VAL)
        return at->position;
    return im_shuffle(sim->seed, at->phase->epoch, sim->run.geometry.samples[IM_TRAIN], at->position);
}

int sim_open(struct sim *sim, const struct sim_shape *shape)
{
    struct im_geometry g = {
        .samples = {shape->samples[IM_TRAIN], shape->samples[IM_VAL]},
        .cell_bytes = IM_PAGE,
        .batch_pixels_max = (uint64_t)PIXELS * shape->batch_size,
        .encoded_cells = shape->cells,
        .ranks = shape->ranks,
        .batches = shape->batches,
        .batch_size_max = shape->batch_size,
        .readers_max = shape->readers,
        .augmenters_max = shape->augmenters,
        .slots = 1 + shape->readers + shape->augmenters + shape->ranks,
        .classes = 10,
    };
    const struct im_plan_params params = {
        .samples = {shape->samples[IM_TRAIN], shape->samples[IM_VAL]},
        .epochs = shape->epochs,
        .ranks = shape->ranks,
        .batch_size = {shape->batch_size, shape->batch_size},
        .image_size = {IMAGE_SIZE, IMAGE_SIZE},
        .validate_every = 1,
    };
    struct im_text text = {""};
    int err;

    *sim = (struct sim){.seed = shape->seed,
                        .readers = shape->readers,
                        .augmenters = shape->augmenters,
                        .ranks = shape->ranks};
    err = im_plan_init(&sim->plan, &params, &text);
    if (err == 0)
        err = im_run_create(&g, "", 1, &sim->run, &text);
    if (err == 0)
        err = im_run_check_plan(&sim->run, &sim->plan, &text);
    if (err < 0) {
        fprintf(stderr, "sim_open: %s (%s)\n", text.s, strerror(-err));
        return err;
    }
    sim->shared = mmap(NULL, sizeof *sim->shared + sim->plan.tickets, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sim->shared == MAP_FAILED)
        return -ENOMEM;
    im_run_reset(&sim->run, &sim->plan, 0);
    atomic_store_explicit(&sim->run.control->run_state, IM_RUN_RUNNING, memory_order_release);
    return 0;
}

void sim_close(struct sim *sim)
{
    munmap(sim->shared, sizeof *sim->shared + sim->plan.tickets);
    im_plan_fini(&sim->plan);
    im_run_close(&sim->run);
}

uint32_t sim_worker_count(const struct sim *sim)
{
    return sim->readers + sim->augmenters + sim->ranks;
}

int sim_announce(struct sim *sim, uint32_t number, struct sim_worker *ret)
{
    enum im_role role = number < sim->readers                     ? IM_ROLE_READER
                        : number < sim->readers + sim->augmenters ? IM_ROLE_AUGMENTER
                                                                  : IM_ROLE_TRAINER;
    uint32_t index = role == IM_ROLE_READER      ? number
                     : role == IM_ROLE_AUGMENTER ? number - sim->readers
                                                 : number - sim->readers - sim->augmenters;
    uint32_t incarnation = im_process_announce(&sim->run, role, index);

    if (incarnation == 0)
        return -EOVERFLOW;
    *ret = (struct sim_worker){
        .sim = sim,
        .role = role,
        .index = index,
        .slot = im_run_slot(&sim->run, role, index),
        .incarnation = incarnation,
        .rng = im_rng_at(sim->seed, IM_RNG_TEST, 1, incarnation),
    };
    return 0;
}

/* A step at which a worker may die: processes by a fault rule for it, threads by a throw of the dice. */
static bool dies(struct sim_worker *w, const char *step)
{
    IM_FAULT(step);
    return w->die_one_in != 0 && im_rng_below(&w->rng, w->die_one_in) == 0;
}

static void linger(struct sim_worker *w)
{
    const struct timespec nap = {.tv_nsec = 1000000};

    if (w->sim->linger != 0 && im_rng_below(&w->rng, w->sim->linger) == 0)
        nanosleep(&nap, NULL);
}

static enum sim_end fenced(struct sim_worker *w)
{
    atomic_fetch_add_explicit(&w->sim->shared->fenced, 1, memory_order_relaxed);
    return SIM_FENCED;
}

/* One cell filled. SIM_LEFT: done, or there was none (*ret_found 0). */
static enum sim_end read_one(struct sim_worker *w, bool *ret_found)
{
    struct sim *sim = w->sim;
    unsigned char file[FILE_BYTES_MAX + 16];
    struct im_encoded e;
    struct im_place at;
    size_t n;

    *ret_found = im_encoded_claim(&sim->run, w->incarnation, sim->plan.tickets, &e) == 1;
    if (!*ret_found)
        return SIM_LEFT;
    if (im_plan_place(&sim->plan, e.ticket, &at) < 0)
        return SIM_FAILED;
    if (dies(w, "sim.reader.claimed"))
        return SIM_DIED;
    n = make_file(sim, e.ticket, file);
    memcpy(e.bytes, file, n / 2);
    if (dies(w, "sim.reader.halfway"))
        return SIM_DIED;
    memcpy(e.bytes + n / 2, file + n / 2, n - n / 2);
    *e.meta = (struct im_encoded_meta){
        .sample = sample_of(sim, &at), .bytes = (uint32_t)n, .label = (uint32_t)(e.ticket % 10)};
    im_encoded_seal(&e);
    linger(w);
    if (dies(w, "sim.reader.filled"))
        return SIM_DIED;
    return im_encoded_publish(&sim->run, w->incarnation, &e) == 0 ? SIM_LEFT : fenced(w);
}

/* Fills the claimed place, in two halves. */
static bool render(struct sim_worker *w, const struct im_place *at, const struct im_encoded *e)
{
    unsigned char pixels[PIXELS];
    struct im_batch_view batch;

    im_run_batch_view(&w->sim->run, at->rank, at->batch, &batch);
    make_pixels(e->bytes, e->meta->bytes, pixels);
    memcpy(batch.pixels + (size_t)at->place * PIXELS, pixels, PIXELS / 2);
    if (dies(w, "sim.augmenter.halfway"))
        return false;
    memcpy(batch.pixels + (size_t)at->place * PIXELS + PIXELS / 2, pixels + PIXELS / 2, PIXELS / 2);
    batch.labels[at->place] = (int32_t)e->meta->label;
    batch.verdicts[at->place] = 0;
    batch.samples[at->place] = e->meta->sample;
    return true;
}

/* Place first, then ticket: see B4. */
static enum sim_end give_back(struct sim_worker *w, const struct im_place *at, const struct im_encoded *e)
{
    struct im_run *run = &w->sim->run;

    if (im_batch_abandon(run, at, w->incarnation) < 0)
        return fenced(w);
    if (dies(w, "sim.augmenter.abandoned"))
        return SIM_DIED;
    return im_encoded_reject(run, w->incarnation, e) == 0 ? SIM_LEFT : fenced(w);
}

static enum sim_end augment_one(struct sim_worker *w, bool *ret_found)
{
    struct sim *sim = w->sim;
    struct im_encoded e;
    struct im_place at;
    int err;

    *ret_found = im_encoded_take(&sim->run, &sim->plan, w->incarnation, &e) == 1;
    if (!*ret_found)
        return SIM_LEFT;
    if (im_plan_place(&sim->plan, e.ticket, &at) < 0 || !im_encoded_is_sealed(&sim->run, &e) ||
        !im_encoded_is_whole(&e))
        return SIM_FAILED;
    if (im_rng_below(&w->rng, 64) == 0) /* as if the hash had been wrong: the reader has to do it again */
        return im_encoded_reject(&sim->run, w->incarnation, &e) == 0 ? SIM_LEFT : fenced(w);
    if (dies(w, "sim.augmenter.taken"))
        return SIM_DIED;
    err = im_batch_claim(&sim->run, &at, w->incarnation);
    if (err < 0)
        return fenced(w);
    if (err == 0) {
        if (dies(w, "sim.augmenter.claimed") || !render(w, &at, &e))
            return SIM_DIED;
        linger(w);
        if (im_rng_below(&w->rng, 8) == 0) /* as if the bytes had turned out to be others */
            return give_back(w, &at, &e);
        if (im_batch_commit(&sim->run, &at, w->incarnation) < 0)
            return fenced(w);
    }
    if (dies(w, "sim.augmenter.committed"))
        return SIM_DIED;
    return im_encoded_release(&sim->run, w->incarnation, &e) == 0 ? SIM_LEFT : fenced(w);
}

static void check_place(struct sim *sim, const struct im_batch_view *batch, uint32_t place, uint64_t ticket)
{
    unsigned char file[FILE_BYTES_MAX + 16], pixels[PIXELS];
    struct im_place at;

    make_pixels(file, make_file(sim, ticket, file), pixels);
    if (im_plan_place(&sim->plan, ticket, &at) < 0 ||
        memcmp(batch->pixels + (size_t)place * PIXELS, pixels, PIXELS) != 0 ||
        batch->labels[place] != (int32_t)(ticket % 10) || batch->samples[place] != sample_of(sim, &at))
        atomic_fetch_add_explicit(&sim->shared->wrong, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sim->shared->seen[ticket], 1, memory_order_relaxed);
}

static bool must_leave(const struct sim_worker *w)
{
    return im_run_state(&w->sim->run) == IM_RUN_ENDED;
}

static bool wait_phase(struct sim_worker *w, _Atomic uint32_t *word, uint32_t want)
{
    struct im_event *event = &w->sim->shared->event_phase;

    for (;;) {
        uint32_t look = im_event_look(event);

        if (atomic_load_explicit(word, memory_order_acquire) >= want)
            return true;
        if (must_leave(w))
            return false;
        im_event_wait(event, look, IM_WAIT_MAX_NS);
    }
}

static void say_phase(struct sim_worker *w, _Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
    im_event_broadcast(&w->sim->shared->event_phase);
}

/* The ledger's pass is trainer 0's to open and close, when no other trainer is in it. */
static bool enter_phase(struct sim_worker *w, const struct im_phase *phase)
{
    uint32_t number = (uint32_t)(phase - w->sim->plan.phase);

    if (w->index != 0)
        return wait_phase(w, &w->sim->shared->phase_begun, number + 1);
    im_ledger_begin(&w->sim->run, (enum im_split)phase->split);
    say_phase(w, &w->sim->shared->phase_begun, number + 1);
    return true;
}

static bool leave_phase(struct sim_worker *w, const struct im_phase *phase, uint64_t from)
{
    struct sim *sim = w->sim;
    uint32_t number = (uint32_t)(phase - sim->plan.phase);

    say_phase(w, &sim->shared->phase_done[w->index], number + 1);
    if (w->index != 0)
        return true;
    for (uint32_t r = 1; r < sim->ranks; r++)
        if (!wait_phase(w, &sim->shared->phase_done[r], number + 1))
            return false;
    im_ledger_end(
        &sim->run, (enum im_split)phase->split,
        &(struct im_ledger_pass){.phase = number, .start = from, .from = from, .total = phase->samples});
    return true;
}

static bool wait_batch(struct sim_worker *w, uint64_t batch, uint32_t count)
{
    struct im_event *done = &w->sim->run.control->event_done[w->index];
    uint32_t have = 0;

    for (;;) {
        uint32_t look = im_event_look(done);

        have += im_batch_done(&w->sim->run, w->index, batch, have, count);
        if (have == count)
            return true;
        if (must_leave(w))
            return false;
        im_event_wait(done, look, IM_WAIT_MAX_NS);
    }
}

static bool consume_batch(struct sim_worker *w, const struct im_phase *phase, uint64_t g)
{
    struct sim *sim = w->sim;
    uint32_t count = im_plan_batch_count(&sim->plan, g, w->index);
    struct im_batch_view batch;

    if (!wait_batch(w, g, count))
        return false;
    im_run_batch_view(&sim->run, w->index, g, &batch);
    for (uint32_t place = 0; place < count; place++)
        check_place(sim, &batch, place, ticket_at(&sim->plan, g, w->index, place));
    im_ledger_enter(&sim->run, (enum im_split)phase->split, (uint32_t)(phase - sim->plan.phase),
                    batch.samples, batch.verdicts, count);
    IM_FAULT("sim.trainer.stepped");
    linger(w);
    im_batch_free(&sim->run, w->index, g);
    return true;
}

static enum sim_end train(struct sim_worker *w)
{
    struct sim *sim = w->sim;
    _Atomic uint64_t *next = &sim->shared->next_batch[w->index];
    uint64_t g = atomic_load_explicit(next, memory_order_relaxed);

    while (g < sim->plan.batches) {
        const struct im_phase *phase = im_plan_phase_of_batch(&sim->plan, g);
        uint64_t last = phase->first_batch + phase->steps;
        uint64_t from = im_plan_first_ticket(&sim->plan, g) - phase->first_ticket;

        if (!enter_phase(w, phase))
            return SIM_LEFT;
        for (; g < last; g++) {
            if (!consume_batch(w, phase, g))
                return SIM_LEFT;
            if (g + 1 < last)
                atomic_store_explicit(next, g + 1, memory_order_release);
        }
        if (!leave_phase(w, phase, from))
            return SIM_LEFT;
        atomic_store_explicit(next, g, memory_order_release);
    }
    return SIM_LEFT;
}

static enum sim_end produce(struct sim_worker *w)
{
    struct im_control *c = w->sim->run.control;
    struct im_event *event = w->role == IM_ROLE_READER ? &c->event_free : &c->event_ready;
    enum sim_end end = SIM_LEFT;

    while (end == SIM_LEFT) {
        uint32_t look = im_event_look(event);
        bool found;

        if (must_leave(w))
            return SIM_LEFT;
        if (!im_process_is_current(&w->sim->run, w->slot, w->incarnation))
            return fenced(w);
        end = w->role == IM_ROLE_READER ? read_one(w, &found) : augment_one(w, &found);
        if (end == SIM_LEFT && !found)
            im_event_wait(event, look, IM_WAIT_MAX_NS);
    }
    return end;
}

enum sim_end sim_work(struct sim_worker *w)
{
    if (im_process_enter(&w->sim->run, w->slot, w->incarnation) < 0)
        return fenced(w);
    return w->role == IM_ROLE_TRAINER ? train(w) : produce(w);
}

void sim_bury(struct sim *sim, const struct sim_worker *w)
{
    struct im_reclaimed returned;

    im_process_mark_dead(&sim->run, w->slot, w->incarnation);
    im_reclaim(&sim->run, &sim->plan, w->incarnation, &returned);
    im_process_clear(&sim->run, w->slot);
}

void sim_reset(struct sim *sim)
{
    uint64_t first = UINT64_MAX;

    for (uint32_t r = 0; r < sim->ranks; r++) {
        uint64_t next = atomic_load_explicit(&sim->shared->next_batch[r], memory_order_acquire);

        first = next < first ? next : first;
    }
    for (uint32_t r = 0; r < sim->ranks; r++) {
        atomic_store_explicit(&sim->shared->next_batch[r], first, memory_order_relaxed);
        atomic_store_explicit(&sim->shared->phase_done[r], 0, memory_order_relaxed);
    }
    atomic_store_explicit(&sim->shared->phase_begun, 0, memory_order_relaxed);
    for (uint64_t t = im_plan_first_ticket(&sim->plan, first); t < sim->plan.tickets; t++)
        atomic_store_explicit(&sim->shared->seen[t], 0, memory_order_relaxed);
    im_run_reset(&sim->run, &sim->plan, first);
}

void sim_end(struct sim *sim)
{
    struct im_control *c = sim->run.control;

    atomic_store_explicit(&c->run_state, IM_RUN_ENDED, memory_order_release);
    im_event_broadcast(&c->event_free);
    im_event_broadcast(&c->event_ready);
    im_event_broadcast(&sim->shared->event_phase);
    for (uint32_t r = 0; r < sim->ranks; r++)
        im_event_broadcast(&c->event_done[r]);
}
