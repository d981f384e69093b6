/* Layout, creation and checked attachment of a run's segments.
 *
 * The layout is a pure function of the geometry, computed again by everyone who attaches: no offset is ever
 * read from shared memory. A child trusts nothing but its own copy of the geometry after im_run_attach() has
 * checked it. */
#include "ipc/run.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/hash.h"
#include "ipc/base/sysinfo.h"
#include "ipc/cell_word.h"

/* Each size below 2^31 apart from samples (< 2^32) and byte counts (< 2^40), so that no product here can
 * overflow 64 bits. */
static bool geometry_is_sane(const struct im_geometry *g)
{
    return g->samples[IM_TRAIN] + g->samples[IM_VAL] >= 1 && g->samples[IM_TRAIN] < UINT32_MAX &&
           g->samples[IM_VAL] < UINT32_MAX && g->cell_bytes >= IM_PAGE &&
           g->cell_bytes <= UINT64_C(1) << 30 && g->cell_bytes % IM_PAGE == 0 && g->batch_pixels_max >= 1 &&
           g->batch_pixels_max <= UINT64_C(1) << 40 && g->encoded_cells >= 1 &&
           g->encoded_cells <= IM_CELLS_MAX && g->ranks >= 1 && g->ranks <= IM_RANKS_MAX &&
           g->remote_ranks <= IM_RANKS_MAX - g->ranks && g->first_rank <= g->remote_ranks &&
           g->batches >= 1 && g->batches <= IM_BATCHES_MAX && g->batch_size_max >= 1 &&
           g->batch_size_max <= 65536 && g->readers_max >= 1 && g->augmenters_max >= 1 &&
           g->readers_max <= IM_SLOTS_MAX && g->augmenters_max <= IM_SLOTS_MAX && g->fetchers <= 1 &&
           g->slots == 1 + g->readers_max + g->augmenters_max + g->ranks + g->fetchers &&
           g->slots <= IM_SLOTS_MAX && g->classes >= 1;
}

static uint64_t run_take(uint64_t *at, uint64_t bytes, uint64_t align)
{
    uint64_t offset = (*at + align - 1) / align * align;

    *at = offset + bytes;
    return offset;
}

int im_offsets_compute(const struct im_geometry *g, struct im_offsets *ret)
{
    struct im_offsets l = {0};
    uint64_t at = sizeof(struct im_control);

    if (!geometry_is_sane(g))
        return -EINVAL;
    l.conf = run_take(&at, IM_CONF_BYTES, IM_PAGE);
    l.processes = run_take(&at, g->slots * sizeof(struct im_process), IM_PAGE);
    l.stats = run_take(&at, g->slots * sizeof(struct im_stats), IM_PAGE);
    l.encoded_words = run_take(&at, g->encoded_cells * sizeof(uint64_t), IM_PAGE);
    l.encoded_meta = run_take(&at, g->encoded_cells * sizeof(struct im_encoded_meta), IM_PAGE);
    l.batch_words =
        run_take(&at, (uint64_t)g->ranks * g->batches * g->batch_size_max * sizeof(uint64_t), IM_PAGE);
    l.bad_samples = run_take(&at, IM_BAD_MAX * sizeof(struct im_bad_entry), IM_PAGE);
    l.peers = run_take(&at, (g->ranks + g->remote_ranks) * sizeof(struct im_peer), IM_PAGE);
    l.seek_rings = run_take(&at, g->augmenters_max * sizeof(struct im_seek_ring), IM_PAGE);
    for (int s = 0; s < IM_SPLITS; s++)
        l.stamps[s] = run_take(&at, g->samples[s] * sizeof(uint32_t), IM_PAGE);
    l.control_bytes = run_take(&at, 0, IM_PAGE);
    l.encoded_bytes = g->cell_bytes * g->encoded_cells;

    at = g->batch_pixels_max;
    l.batch_labels = run_take(&at, g->batch_size_max * sizeof(int32_t), IM_LINE);
    l.batch_verdicts = run_take(&at, g->batch_size_max * sizeof(uint32_t), IM_LINE);
    l.batch_samples = run_take(&at, g->batch_size_max * sizeof(uint64_t), IM_LINE);
    l.batch_checks = run_take(&at, g->batch_size_max * sizeof(uint64_t), IM_LINE);
    l.batch_stride = run_take(&at, 0, IM_PAGE);
    l.batch_bytes = l.batch_stride * g->batches;
    *ret = l;
    return 0;
}

static void place_tables(struct im_run *run)
{
    char *base = run->control_segment.map;

    run->control = run->control_segment.map;
    run->conf = base + run->layout.conf;
    run->process = (struct im_process *)(void *)(base + run->layout.processes);
    run->stats = (struct im_stats *)(void *)(base + run->layout.stats);
    run->encoded_word = (_Atomic uint64_t *)(void *)(base + run->layout.encoded_words);
    run->encoded_meta = (struct im_encoded_meta *)(void *)(base + run->layout.encoded_meta);
    run->batch_word = (_Atomic uint64_t *)(void *)(base + run->layout.batch_words);
    run->bad_sample = (struct im_bad_entry *)(void *)(base + run->layout.bad_samples);
    run->peer = (struct im_peer *)(void *)(base + run->layout.peers);
    run->seek_ring = (struct im_seek_ring *)(void *)(base + run->layout.seek_rings);
    for (int s = 0; s < IM_SPLITS; s++)
        run->stamp[s] = (_Atomic uint32_t *)(void *)(base + run->layout.stamps[s]);
}

static void set_part(struct im_run *run, uint64_t share)
{
    const struct im_geometry *g = &run->geometry;

    run->world = share ? (uint32_t)(share >> 32) : g->ranks + g->remote_ranks;
    run->first_rank = share ? (uint32_t)share : g->first_rank;
}

static bool part_is_sane(const struct im_run *run)
{
    const struct im_geometry *g = &run->geometry;

    return run->world >= g->ranks && run->world <= g->ranks + g->remote_ranks &&
           run->first_rank <= run->world - g->ranks;
}

void im_run_take_part(struct im_run *run, uint32_t world, uint32_t first_rank)
{
    const struct im_geometry *g = &run->geometry;
    const bool all = world == g->ranks + g->remote_ranks;
    const uint64_t share = all ? 0 : (uint64_t)world << 32 | first_rank;

    set_part(run, share);
    im_assert(part_is_sane(run) && (!all || first_rank == g->first_rank));
    /* A place may change between a rank of this node and one of another, whose cards carry another kind of number. */
    for (uint32_t rank = 0; rank < g->ranks + g->remote_ranks; rank++)
        atomic_store_explicit(&run->peer[rank].card, 0, memory_order_relaxed);
    atomic_store_explicit(&run->control->node_share, share, memory_order_release);
}

static uint64_t build_hash(void)
{
    const char *id = im_build_id();

    return im_hash64(id, strlen(id), 0);
}

uint64_t im_run_header_check(const struct im_control *c, const char *conf)
{
    uint64_t check = im_hash64(c, offsetof(struct im_control, run_state), IM_MAGIC);

    return im_hash64(conf, c->conf_bytes <= IM_CONF_BYTES ? c->conf_bytes : 0, check);
}

static int fill_header(struct im_run *run, const char *conf, uint32_t conf_bytes, struct im_text *text)
{
    struct im_control *c = run->control;

    if (conf_bytes > IM_CONF_BYTES)
        return im_fail(text, -E2BIG, "a configuration of %" PRIu32 " bytes; at most %d", conf_bytes,
                       IM_CONF_BYTES);
    if (getrandom(&c->run_id, sizeof c->run_id, 0) != (ssize_t)sizeof c->run_id)
        return -errno;
    c->magic = IM_MAGIC;
    c->abi_version = IM_ABI_VERSION;
    c->control_bytes_of_header = sizeof *c;
    c->build_hash = build_hash();
    c->segment_bytes = run->layout.control_bytes;
    c->created_ns = im_now();
    c->geometry = run->geometry;
    c->conf_bytes = conf_bytes;
    c->warden_pid = (uint32_t)getpid();
    memcpy(run->conf, conf, conf_bytes);
    c->header_check = im_run_header_check(c, run->conf);
    atomic_store_explicit(&c->next_incarnation, 1, memory_order_relaxed);
    return 0;
}

int im_run_create(const struct im_geometry *g, const char *conf, uint32_t conf_bytes, struct im_run *ret,
                  struct im_text *text)
{
    struct im_run run = {.geometry = *g};
    int err = im_offsets_compute(g, &run.layout);

    if (err < 0)
        return im_fail(text, err,
                       "the run's sizes are out of range (ranks <= %d, readers+augmenters+ranks < %d)",
                       IM_RANKS_MAX, IM_SLOTS_MAX);
    err = im_segment_create("the control segment", run.layout.control_bytes, &run.control_segment, text);
    if (err == 0)
        err = im_segment_create("the encoded ring", run.layout.encoded_bytes, &run.encoded_segment, text);
    for (uint32_t r = 0; r < g->ranks && err == 0; r++)
        err = im_segment_create("a batch ring", run.layout.batch_bytes, &run.batch_segment[r], text);
    if (err == 0) {
        place_tables(&run);
        set_part(&run, 0);
        err = fill_header(&run, conf, conf_bytes, text);
    }
    if (err < 0) {
        im_run_close(&run);
        return err;
    }
    *ret = run;
    return 0;
}

static int check_header(const struct im_segment *s, struct im_run *run, struct im_text *text)
{
    const struct im_control *c = s->map;

    if (c->magic != IM_MAGIC)
        return im_fail(text, -EBADMSG, "not a run's control segment");
    if (c->abi_version != IM_ABI_VERSION || c->control_bytes_of_header != sizeof *c)
        return im_fail(text, -EBADMSG, "shared-memory layout %" PRIu32 ", this program uses %u",
                       c->abi_version, IM_ABI_VERSION);
    if (c->build_hash != build_hash())
        return im_fail(text, -EBADMSG, "the run belongs to another build of imsuper than this program (%s)",
                       im_build_id());
    run->geometry = c->geometry;
    if (im_offsets_compute(&run->geometry, &run->layout) < 0)
        return im_fail(text, -EBADMSG, "the control segment's sizes are out of range");
    if (run->layout.control_bytes != c->segment_bytes || run->layout.control_bytes > s->bytes ||
        c->conf_bytes > IM_CONF_BYTES)
        return im_fail(text, -EBADMSG, "the control segment's sizes contradict each other");
    return 0;
}

/* What control_segment holds, checked, as tables. */
static int find_tables(struct im_run *run, struct im_text *text)
{
    int err = check_header(&run->control_segment, run, text);

    if (err < 0)
        return err;
    place_tables(run);
    set_part(run, atomic_load_explicit(&run->control->node_share, memory_order_acquire));
    if (!part_is_sane(run))
        return im_fail(text, -EBADMSG, "the control segment's part of the machines is out of range");
    if (run->control->header_check != im_run_header_check(run->control, run->conf))
        return im_fail(text, -EBADMSG,
                       "the run's sizes or its configuration in shared memory are not what they were at its "
                       "start: this machine's memory may be faulty; the same command continues the run");
    return 0;
}

int im_run_attach(const struct im_attach *how, struct im_run *ret, struct im_text *text)
{
    struct im_run run = {0};
    int err = im_segment_attach(how->first_fd, 1, sizeof(struct im_control), &run.control_segment, text);

    if (err == 0)
        err = find_tables(&run, text);
    if (err == 0) {
        if (how->encoded_read || how->encoded_write)
            err = im_segment_attach(how->first_fd + IM_FD_ENCODED - IM_FD_CONTROL, how->encoded_write,
                                    run.layout.encoded_bytes, &run.encoded_segment, text);
    }
    for (uint32_t r = 0; r < run.geometry.ranks && err == 0; r++)
        if (how->batch_write || how->batch_read_rank == (int)r)
            err = im_segment_attach(how->first_fd + IM_FD_BATCH - IM_FD_CONTROL + (int)r, how->batch_write,
                                    run.layout.batch_bytes, &run.batch_segment[r], text);
    if (err < 0) {
        im_run_close(&run);
        return err;
    }
    *ret = run;
    return 0;
}

int im_run_watch(int fd, struct im_run *ret, struct im_text *text)
{
    struct im_run run = {0};
    int err = im_segment_attach(fd, 0, sizeof(struct im_control), &run.control_segment, text);

    if (err < 0)
        close(fd);
    else
        err = find_tables(&run, text);
    if (err < 0) {
        im_run_close(&run);
        return err;
    }
    *ret = run;
    return 0;
}

int im_run_check_plan(const struct im_run *run, const struct im_plan *plan, struct im_text *text)
{
    const struct im_geometry *g = &run->geometry;

    if (plan->ranks != g->ranks || plan->world != run->world || plan->first_rank != run->first_rank)
        return im_fail(text, -EBADMSG,
                       "the configuration has %" PRIu32 " rank(s) of %" PRIu32 ", the shared memory %" PRIu32
                       " of %" PRIu32,
                       plan->ranks, plan->world, g->ranks, run->world);
    for (uint32_t i = 0; i < plan->phases; i++) {
        const struct im_phase *phase = &plan->phase[i];
        uint64_t pixels = (uint64_t)phase->image_size * phase->image_size; /* < 2^64 */

        if (phase->batch_size > g->batch_size_max || pixels > g->batch_pixels_max / 3 / phase->batch_size ||
            phase->samples > g->samples[phase->split])
            return im_fail(text, -EBADMSG,
                           "a batch of the configuration does not fit its place in shared memory");
    }
    return 0;
}

void im_run_copy_header(const struct im_run *run, struct im_header_copy *ret)
{
    memcpy(ret->bytes, run->control, sizeof ret->bytes);
    memcpy(ret->conf, run->conf, sizeof ret->conf);
    ret->check = run->control->header_check;
}

bool im_run_repair_header(struct im_run *run, const struct im_header_copy *copy)
{
    struct im_control *c = run->control;

    if (memcmp(copy->bytes, c, sizeof copy->bytes) == 0 &&
        memcmp(copy->conf, run->conf, sizeof copy->conf) == 0 && c->header_check == copy->check)
        return false;
    memcpy(c, copy->bytes, sizeof copy->bytes);
    memcpy(run->conf, copy->conf, sizeof copy->conf);
    c->header_check = copy->check;
    return true;
}

void im_run_close(struct im_run *run)
{
    im_segment_close(&run->control_segment);
    im_segment_close(&run->encoded_segment);
    for (int r = 0; r < IM_RANKS_MAX; r++)
        im_segment_close(&run->batch_segment[r]);
    *run = (struct im_run){0};
}

unsigned char *im_run_cell_bytes(const struct im_run *run, uint32_t cell)
{
    return (unsigned char *)run->encoded_segment.map + (uint64_t)cell * run->geometry.cell_bytes;
}

_Atomic uint64_t *im_run_batch_word(const struct im_run *run, uint32_t rank, uint64_t batch, uint32_t place)
{
    uint64_t slot = (uint64_t)rank * run->geometry.batches + batch % run->geometry.batches;

    return &run->batch_word[slot * run->geometry.batch_size_max + place];
}

void im_run_batch_view(const struct im_run *run, uint32_t rank, uint64_t batch, struct im_batch_view *ret)
{
    unsigned char *base = (unsigned char *)run->batch_segment[rank].map +
                          batch % run->geometry.batches * run->layout.batch_stride;

    *ret = (struct im_batch_view){
        .pixels = base,
        .labels = (int32_t *)(void *)(base + run->layout.batch_labels),
        .verdicts = (uint32_t *)(void *)(base + run->layout.batch_verdicts),
        .samples = (uint64_t *)(void *)(base + run->layout.batch_samples),
        .checks = (_Atomic uint64_t *)(void *)(base + run->layout.batch_checks),
    };
}

void im_run_reset(struct im_run *run, const struct im_plan *plan, uint64_t batch)
{
    const struct im_geometry *g = &run->geometry;
    uint64_t ticket = im_plan_first_ticket(plan, batch);

    for (uint64_t t = ticket; t < ticket + g->encoded_cells; t++)
        atomic_store_explicit(&run->encoded_word[t % g->encoded_cells], im_word(IM_FREE, 0, t),
                              memory_order_release);
    for (uint32_t rank = 0; rank < g->ranks + g->remote_ranks; rank++)
        atomic_store_explicit(&run->peer[rank].round, 0, memory_order_release);
    for (uint32_t rank = 0; rank < g->ranks; rank++)
        for (uint64_t b = batch; b < batch + g->batches; b++)
            for (uint32_t place = 0; place < g->batch_size_max; place++)
                atomic_store_explicit(im_run_batch_word(run, rank, b, place), im_word(IM_EMPTY, 0, b),
                                      memory_order_release);
    for (int s = 0; s < IM_SPLITS; s++) {
        for (uint64_t i = 0; i < g->samples[s]; i++)
            atomic_store_explicit(&run->stamp[s][i], 0, memory_order_relaxed);
        atomic_store_explicit(&run->control->ledger[s].delivered, 0, memory_order_relaxed);
        atomic_store_explicit(&run->control->ledger[s].duplicates, 0, memory_order_relaxed);
        atomic_store_explicit(&run->control->ledger[s].bad, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&run->control->encoded_free_hint, ticket, memory_order_relaxed);
    atomic_store_explicit(&run->control->encoded_ready_hint, ticket, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->control->generation, 1, memory_order_release);
}

uint32_t im_run_slot(const struct im_run *run, enum im_role role, uint32_t index)
{
    const struct im_geometry *g = &run->geometry;

    switch (role) {
    case IM_ROLE_READER:
        return 1 + index;
    case IM_ROLE_AUGMENTER:
        return 1 + g->readers_max + index;
    case IM_ROLE_TRAINER:
        return 1 + g->readers_max + g->augmenters_max + index;
    case IM_ROLE_FETCHER:
        return 1 + g->readers_max + g->augmenters_max + g->ranks + index;
    default:
        return 0;
    }
}

const char *im_role_name(enum im_role role)
{
    static const char *const names[IM_ROLES] = {"none",      "supervisor", "reader",
                                                "augmenter", "trainer",    "fetcher"};

    return (unsigned)role < IM_ROLES ? names[role] : "unknown";
}
