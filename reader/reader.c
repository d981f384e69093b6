/* The loop of a reader: keep up to --queue-depth files in flight, each into its own cell.
 *
 * What to read is a pure function of the ticket (plan, order, index), so that any reader can read any ticket
 * again. What a file is (missing, a directory, empty, larger than a cell) is written in the cell's meta, never
 * by leaving. A read that fails keeps its cell and is tried again, until it succeeds or the file turns out to
 * be at fault (retry.h). Reads that hang are reported to the supervisor, which ends this process where they can be
 * done again (supervisor/reads.c); the loop goes on meanwhile and touches no file itself. */
#include "reader/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipc/bad_samples.h"
#include "ipc/base/fault.h"
#include "ipc/base/hash.h"
#include "ipc/base/log.h"
#include "ipc/base/verdict.h"
#include "ipc/encoded.h"
#include "ipc/sandbox.h"
#include "ipc/wait.h"
#include "reader/dataset/index.h"
#include "reader/dataset/mirror.h"
#include "reader/index_wait.h"
#include "reader/io.h"
#include "reader/object.h"
#include "reader/order.h"
#include "reader/pixels.h"
#include "reader/probe.h"
#include "reader/ranges.h"
#include "reader/retry.h"
#include "reader/shards.h"

#define REAP_MAX 64
#define CLOSE_TIMEOUT_NS (2 * IM_SECOND)
#define WATCH_EVERY_NS (100 * IM_MS)
#define PROBE_EVERY_NS (250 * IM_MS)
#define BEING_WRITTEN                                                                                        \
    3 /* seconds since a file changed last, after an outage: whoever copies it is not done yet */
#define PROBE_PATIENCE_MAX_NS                                                                                \
    (3600 * IM_SECOND) /* a probe that hangs is given up after the read deadline, the
                                                    next after twice that: a few threads, however long it lasts */
#define OPEN_WAIT_NS                                                                                         \
    (2 * IM_SECOND) /* for the data directory, at the start; then it is asked for by probes */
#define OPEN_PAUSE_NS (IM_MS / 10)
#define LOOK_EVERY_NS (5 * IM_MS)     /* for an object that is on its way */
#define DAMAGED_WAIT_NS (100 * IM_MS) /* until a damaged one is looked at again */
#define NAME_EVERY_NS IM_SECOND       /* for another folder in place of that of the objects */

/* A claimed cell and the reading of its file. */
struct flight {
    struct im_encoded cell;
    enum im_split split;
    im_ns claimed;
    im_ns began;    /* the try under way; 0: it waits for the next one */
    uint64_t order; /* of the try */
    struct rd_tries tries;
    struct im_place place;
    struct rd_range range; /* of the try */
    bool is_whole;         /* parts of the file did not do */
    im_ns looked;          /* for an object that is not here yet; 0: it is, or lies here */
    uint32_t seal;         /* of the object, as it was when the try began */
    bool is_part;          /* of a container, which does not go away */
    bool used;
    uint32_t next_free; /* list of unused flights */
};

struct reader {
    struct im_child *child;
    struct rd_index index;
    struct rd_io *io;
    struct flight *flight;
    uint32_t depth, free_flight;
    uint32_t held, failing; /* flights in use; of them, those that wait for another try */
    int root_err;           /* why the data directory could not be opened last; 0: it was */
    bool stale;             /* another file system is mounted, which our sandbox does not let us read */
    bool careful;           /* the storage asks a server, or hung once */
    int root_fd; /* keeps its number; what it refers to is replaced when the directory is opened again */
    struct rd_order order;
    bool is_remote;       /* objects come one by one (dataset/mirror.h) */
    char below[PATH_MAX]; /* the root, in its mirror */
    int64_t since;        /* CLOCK_REALTIME of the run's start */
    uint32_t awaiting;    /* flights whose object is not here yet */
    bool told_changed;    /* of a shard, that a member is not in its place */
    struct rd_pixels pixels;
    struct rd_ranges ranges;
    struct rd_shards shards;      /* which of them are others than when they were indexed */
    im_ns next_look;              /* whether the folder is still the one of that name */
    uint64_t tries, newest_ended; /* tries begun; the newest of those that ended */

    struct rd_storage storage;
    struct rd_probe probe;
    im_ns probe_began, next_probe, probe_patience;
    uint64_t probes;
    im_ns watched, unproven_since;
};

static void set_name(struct im_encoded_meta *meta, const char *path)
{
    size_t n = strlen(path);

    if (n < sizeof meta->name)
        memcpy(meta->name, path, n + 1);
    else
        snprintf(meta->name, sizeof meta->name, "...%s", path + n - (sizeof meta->name - 4));
}

static uint32_t tag_of(const struct reader *r, const struct flight *flight)
{
    return (uint32_t)(flight - r->flight);
}

/* Which parts of the image there are, and the link that it has or is to get. */
static void describe_parts(struct reader *r, struct flight *flight)
{
    struct im_encoded_meta *meta = flight->cell.meta;
    const struct rd_range *range = &flight->range;

    meta->link = range->link;
    meta->phase = range->phase;
    if (range->two.to == 0)
        return;
    meta->image = range->image;
    meta->image_bytes = range->bytes;
    meta->head = range->two.head;
    meta->from = range->two.from;
    meta->to = range->two.to;
    im_stats_add(r->child->stats, IM_C_PARTS, 1);
}

/* What was read of the file is in the cell. Parts that keep their places get zeros around them. */
static void describe_bytes(struct reader *r, struct flight *flight, uint32_t bytes)
{
    const struct rd_io_two *two = &flight->range.two;

    flight->cell.meta->bytes = bytes;
    describe_parts(r, flight);
    if (two->to == 0 || flight->range.bytes > r->child->run->geometry.cell_bytes)
        return;
    flight->cell.meta->bytes = flight->range.bytes;
    memset(flight->cell.bytes + two->head, 0, two->from - two->head);
    memset(flight->cell.bytes + two->to, 0, flight->range.bytes - two->to);
}

/* Passes the cell on, with meta->bytes of the file or a verdict. */
static int publish(struct reader *r, struct flight *flight)
{
    struct im_encoded_meta *meta = flight->cell.meta;
    struct im_stats *stats = r->child->stats;
    uint32_t bytes = /* once published, the cell and its meta are the augmenter's */
        meta->to > 0 && !meta->by_reference ? meta->head + (meta->to - meta->from) : meta->bytes;
    const bool is_read = meta->to == 0 || !meta->by_reference;
    bool bad = meta->verdict != IM_VERDICT_OK;
    int err;

    atomic_store_explicit(&meta->slow_ns, 0, memory_order_relaxed);
    im_encoded_seal(&flight->cell);
    err = im_encoded_publish(r->child->run, r->child->incarnation, &flight->cell);
    flight->used = false;
    flight->next_free = r->free_flight;
    r->free_flight = tag_of(r, flight);
    r->held--;
    im_stats_add(stats, IM_C_SAMPLES, 1);
    im_stats_add(stats, IM_C_BYTES, bytes);
    im_stats_add(stats, IM_C_BAD, bad);
    if (is_read)
        rd_ranges_count(&r->ranges, bytes);
    im_stats_since(stats, IM_H_ITEM, flight->claimed);
    atomic_fetch_add_explicit(&r->child->entry->progress, 1, memory_order_relaxed);
    return err;
}

static int publish_verdict(struct reader *r, struct flight *flight, enum im_verdict verdict)
{
    flight->cell.meta->verdict = (uint32_t)verdict;
    flight->cell.meta->by_reference = 0;
    flight->cell.meta->bytes = 0;
    return publish(r, flight);
}

/* The augmenter finds the image elsewhere: it reads the file itself, or the parts of it that the crop needs, which are larger
 * than a cell, or has its pixels. */
static int refer(struct reader *r, struct flight *flight, uint32_t by_reference)
{
    struct im_encoded_meta *meta = flight->cell.meta;
    int n = rd_index_reference(&r->index, flight->split, meta->sample, (char *)flight->cell.bytes,
                               r->child->run->geometry.cell_bytes);

    if (n < 0)
        return publish_verdict(r, flight, IM_VERDICT_READ_ERROR);
    meta->verdict = IM_VERDICT_OK;
    meta->by_reference = by_reference;
    meta->bytes = (uint32_t)n + 1;
    describe_parts(r, flight);
    if (r->is_remote && by_reference == IM_BY_FILE)
        meta->image = flight->seal;
    return publish(r, flight);
}

/* The object is not here; the fetcher has been asked for it. */
static int await(struct reader *r, struct flight *flight)
{
    r->awaiting++;
    flight->looked = im_now();
    flight->began = 0;
    return 0;
}

/* The object is not what was fetched: says so to the fetcher, which fetches it again. */
static int await_another(struct reader *r, struct flight *flight)
{
    /* Release: pairs with the fetcher's acquire; nothing else is read for it. */
    atomic_store_explicit(&flight->cell.meta->damaged, flight->cell.ticket + 1, memory_order_release);
    await(r, flight);
    flight->looked += DAMAGED_WAIT_NS;
    return 0;
}

static void end_wait(struct reader *r, struct flight *flight)
{
    if (flight->looked != 0)
        r->awaiting--;
    else if (flight->tries.failures > 0)
        r->failing--;
    flight->looked = 0;
}

static int submit_read(struct reader *r, struct flight *flight, const struct rd_source_of *source,
                       const char *path)
{
    flight->range = (struct rd_range){0};
    if (!r->careful)
        flight->range =
            rd_ranges_find(&r->ranges, &flight->place, rd_order_item(&r->order, &r->index, &flight->place),
                           source, path, r->child->run->geometry.cell_bytes, flight->is_whole);
    if (flight->range.is_too_large)
        return refer(r, flight, IM_BY_FILE);
    return rd_io_submit(r->io,
                        &(struct rd_io_request){.path = path,
                                                .buffer = flight->cell.bytes,
                                                .capacity = (uint32_t)r->child->run->geometry.cell_bytes,
                                                .tag = tag_of(r, flight),
                                                .container = source->container,
                                                .has_header = source->container != 0,
                                                .mark = source->mark,
                                                .offset = source->offset,
                                                .bytes = source->bytes,
                                                .two = flight->range.two});
}

/* Parts of the file were read, in a try that goes on. */
static int read_whole(struct reader *r, struct flight *flight)
{
    struct rd_source_of source;
    char path[4096];

    flight->is_whole = true;
    im_stats_add(r->child->stats, IM_C_PARTS_WRONG, 1);
    if (rd_index_source(&r->index, flight->split, flight->cell.meta->sample, &source, path, sizeof path) < 0)
        return publish_verdict(r, flight, IM_VERDICT_READ_ERROR);
    return submit_read(r, flight, &source, path);
}

/* Gives the file to the engine. 0 or negative errno: the engine is broken. */
static int begin_try(struct reader *r, struct flight *flight)
{
    const uint64_t sample = flight->cell.meta->sample;
    struct rd_source_of source;
    char path[4096], name[4096];
    int err = rd_index_source(&r->index, flight->split, sample, &source, path, sizeof path);
    int object = RD_OBJECT_HERE;

    if (err < 0) /* no system call takes such a path */
        return publish_verdict(r, flight, IM_VERDICT_READ_ERROR);
    if (r->is_remote)
        object = rd_mirror_look(r->root_fd, r->below, path, r->since, &flight->seal);
    end_wait(r, flight);
    flight->is_part = source.container != 0;
    if (flight->tries.failures == 0)
        set_name(flight->cell.meta,
                 rd_index_relative(&r->index, flight->split, sample, name, sizeof name) < 0 ? path : name);
    if (flight->is_part && !r->is_remote && !r->careful)
        rd_shards_look(&r->shards, &r->index, r->root_fd, source.container, path);
    if (object == RD_OBJECT_FAILED) /* the fetcher has said why */
        return publish_verdict(r, flight, IM_VERDICT_READ_ERROR);
    if (object == RD_OBJECT_AWAY) {
        atomic_store_explicit(&flight->cell.meta->damaged, 0, memory_order_relaxed);
        return await(r, flight);
    }
    if (!r->careful && rd_pixels_have(&r->pixels, flight->split, sample, r->root_fd, path, &source,
                                      &flight->cell.meta->stamp)) {
        im_stats_add(r->child->stats, IM_C_PIXELS_USED, 1);
        return refer(r, flight, IM_BY_PIXELS);
    }
    flight->began = im_now();
    flight->order = ++r->tries;
    rd_tries_begin(&flight->tries, &r->storage);
    return submit_read(r, flight, &source, path);
}

/* Starts reading a claimed ticket's file. 0 or negative errno. */
static int submit(struct reader *r, const struct im_encoded *cell)
{
    struct flight *flight = &r->flight[r->free_flight];
    struct im_place at;

    if (im_plan_place(r->child->plan, cell->ticket, &at) < 0)
        return -ERANGE;
    r->free_flight = flight->next_free;
    *flight = (struct flight){
        .cell = *cell, .split = (enum im_split)at.phase->split, .claimed = im_now(), .used = true};
    flight->place = at;
    flight->is_whole = im_encoded_asks_whole(cell);
    r->held++;
    cell->meta->link = cell->meta->image = 0;
    cell->meta->head = cell->meta->from = cell->meta->to = cell->meta->phase = cell->meta->image_bytes = 0;
    atomic_store_explicit(&cell->meta->slow_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&cell->meta->ended, 0, memory_order_relaxed);
    atomic_store_explicit(&cell->meta->damaged, 0, memory_order_relaxed);
    cell->meta->sample = rd_order_sample(&r->order, &r->index, &at);
    cell->meta->stamp = 0;
    cell->meta->label = rd_index_label(&r->index, flight->split, cell->meta->sample);
    if (im_bad_is_quarantined(r->child->run, im_bad_key(flight->split, cell->meta->sample) | IM_BAD_HANGS)) {
        char path[4096];

        set_name(cell->meta,
                 rd_index_relative(&r->index, flight->split, cell->meta->sample, path, sizeof path) < 0
                     ? "?"
                     : path);
        return publish_verdict(r, flight, IM_VERDICT_READ_HUNG);
    }
    /* An augmenter, which reads what is larger than a cell, found it damaged. */
    return r->is_remote && flight->is_whole ? await_another(r, flight) : begin_try(r, flight);
}

/* The read failed: the file waits for another try, or is left out. */
static int failed(struct reader *r, struct flight *flight, int err)
{
    r->storage.settling = im_run_data_settles(r->child->run, im_now());
    if (flight->tries.failures == 0) {
        rd_storage_file(&r->storage, err == -ETXTBSY ? 0 : err);
        flight->tries.known =
            im_bad_is_recorded(r->child->run, im_bad_key(flight->split, flight->cell.meta->sample));
    }
    atomic_store_explicit(&r->child->entry->read_error, (uint32_t) - (r->root_err ? r->root_err : err),
                          memory_order_relaxed);
    if (rd_tries_failed(&flight->tries, &r->storage, err, im_now())) {
        if (err == -EBADMSG && !r->told_changed)
            im_log(IM_LOG_WARN,
                   "a shard is another one than when it was indexed: what is not in its place is left out",
                   "file=%s", im_log_quote(&(struct im_quoted){0}, flight->cell.meta->name));
        r->told_changed |= err == -EBADMSG;
        im_log(IM_LOG_INFO, "a file cannot be read", "file=%s error=%s tries=%u",
               im_log_quote(&(struct im_quoted){0}, flight->cell.meta->name),
               im_log_quote(&(struct im_quoted){0}, strerror(-err)), flight->tries.failures);
        return publish_verdict(r, flight, IM_VERDICT_READ_ERROR);
    }
    atomic_store_explicit(&flight->cell.meta->slow_ns, 0, memory_order_relaxed);
    flight->began = 0;
    r->failing++;
    return 0;
}

/* A file that somebody is copying back has a part of its bytes. What the kernel has without asking a server; a clock
 * of a server that differs is not made up for. */
static bool is_being_written(const struct reader *r, const struct flight *flight)
{
    struct rd_source_of source;
    struct timespec now;
    struct statx st;
    char path[4096];

    if (!im_run_data_settles(r->child->run, im_now()) ||
        rd_index_source(&r->index, flight->split, flight->cell.meta->sample, &source, path, sizeof path) <
            0 ||
        statx(r->root_fd, path, AT_STATX_DONT_SYNC, STATX_MTIME, &st) < 0)
        return false;
    clock_gettime(CLOCK_REALTIME, &now);
    return st.stx_mtime.tv_sec + BEING_WRITTEN > now.tv_sec &&
           st.stx_mtime.tv_sec < now.tv_sec + BEING_WRITTEN;
}

/* Were parts asked for, and came something else? Then the whole file is read, which tells more. */
static bool parts_failed(struct reader *r, const struct flight *flight, const struct rd_io_result *result)
{
    if (flight->range.two.to == 0)
        return false;
    return result->bytes < 0 || IM_FAULT_ERR("reader.parts") < 0 ||
           !rd_ranges_agree(&r->ranges, &flight->range, flight->cell.bytes);
}

static int ended(struct reader *r, const struct rd_io_result *result)
{
    struct flight *flight = &r->flight[result->tag];
    int injected = IM_FAULT_ERR("reader.result");

    if (flight->order > r->newest_ended)
        r->newest_ended = flight->order;
    if (r->is_remote && rd_object_is_damaged(flight->seal, flight->cell.bytes, result))
        return await_another(r, flight);
    if (parts_failed(r, flight, result))
        return read_whole(r, flight);
    if (result->bytes < 0 || injected < 0)
        return failed(r, flight, injected < 0 ? injected : (int)result->bytes);
    if (r->is_remote && result->bytes == 0 && !flight->is_part) /* it has just made room for another */
        return await(r, flight);
    rd_storage_read(&r->storage, flight->began);
    if (is_being_written(r, flight))
        return failed(r, flight, -ETXTBSY);
    rd_storage_file(&r->storage, 0);
    atomic_store_explicit(&r->child->entry->read_ns, im_now(), memory_order_relaxed);
    if (result->too_large)
        return refer(r, flight, IM_BY_FILE);
    flight->cell.meta->verdict = IM_VERDICT_OK;
    flight->cell.meta->by_reference = 0;
    describe_bytes(r, flight, (uint32_t)result->bytes);
    return publish(r, flight);
}

/* Claims and submits until the queue is full or no cell is free. */
static int fill_queue(struct reader *r)
{
    int err = 0;

    while (err == 0 && r->held < r->depth) {
        struct im_encoded cell;

        if (!im_encoded_claim(r->child->run, r->child->incarnation, r->child->plan->tickets, &cell))
            break;
        err = submit(r, &cell);
    }
    return err;
}

/* Tries again what is due; lowers *wait to the time until the next is. */
static int try_again(struct reader *r, im_ns *wait)
{
    im_ns now = im_now();
    int err = 0;

    if (r->failing > 0)
        r->storage.settling = im_run_data_settles(r->child->run, now);

    for (uint32_t i = 0; i < r->depth && r->failing + r->awaiting > 0 && err == 0; i++) {
        struct flight *flight = &r->flight[i];
        im_ns due;

        if (!flight->used || flight->began != 0)
            continue;
        due = flight->looked ? flight->looked + LOOK_EVERY_NS : rd_tries_due(&flight->tries, &r->storage);
        if (due <= now)
            err = begin_try(r, flight);
        else if (due - now < *wait)
            *wait = due - now;
    }
    return err;
}

static int reap(struct reader *r, im_ns wait)
{
    struct rd_io_result results[REAP_MAX];
    int n;

    im_stats_enter(r->child->stats, IM_WAIT_IO);
    n = rd_io_reap(r->io, results, REAP_MAX, wait);
    im_stats_enter(r->child->stats, IM_WORK);
    for (int i = 0; i < n; i++) {
        int err = results[i].bytes == -EACCES && im_sandbox_is_stale(r->child->sandbox)
                      ? -ESTALE /* the next one may read there */
                      : ended(r, &results[i]);

        if (err < 0)
            return err;
    }
    return n < 0 ? n : 0;
}

static bool is_held(const struct reader *r, enum im_split split, uint64_t sample)
{
    for (uint32_t i = 0; i < r->depth; i++)
        if (r->flight[i].used && r->flight[i].split == split && r->flight[i].cell.meta->sample == sample)
            return true;
    return false;
}

/* A file that is not being read: some other one each time. */
static void choose_probe(struct reader *r, char *ret_path, size_t size)
{
    uint64_t n = rd_index_count(&r->index, IM_TRAIN), sample = 0;
    struct rd_source_of source;

    *ret_path = 0;
    for (int i = 0; i < 16; i++) {
        r->probes++;
        sample = im_hash64(&r->probes, sizeof r->probes, r->child->incarnation) % n;
        if (!is_held(r, IM_TRAIN, sample))
            break;
    }
    if (rd_index_source(&r->index, IM_TRAIN, sample, &source, ret_path, size) < 0)
        *ret_path = 0;
}

static void take_root(struct reader *r, const struct rd_probe_result *result)
{
    r->root_err = result->root_fd >= 0 ? 0 : result->err;
    if (result->root_fd < 0)
        return;
    dup3(result->root_fd, r->root_fd, O_CLOEXEC); /* the engine uses the number */
    close(result->root_fd);
    if (r->io)
        rd_io_forget(r->io);
    rd_shards_forget(&r->shards);
}

/* Objects are waited for in a folder on a local disk, which somebody may have moved away; the fetcher then makes
 * another. 0, or -ESTALE: our sandbox does not let us read there. */
static int follow_name(struct reader *r)
{
    struct rd_probe_result root = {.root_fd = -1};
    struct stat ours, named;
    im_ns now = im_now();

    if (r->awaiting == 0 || now < r->next_look)
        return 0;
    r->next_look = now + NAME_EVERY_NS;
    root.root_fd = open(rd_index_root(&r->index), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root.root_fd < 0)
        return errno == EACCES && im_sandbox_is_stale(r->child->sandbox) ? -ESTALE : 0;
    if (fstat(root.root_fd, &named) == 0 && fstat(r->root_fd, &ours) == 0 && ours.st_ino == named.st_ino &&
        ours.st_dev == named.st_dev)
        close(root.root_fd);
    else
        take_root(r, &root);
    return 0;
}

static void take_probe(struct reader *r, const struct rd_probe_result *result)
{
    r->stale = result->err == -EACCES && im_sandbox_is_stale(r->child->sandbox);
    take_root(r, result);
    rd_storage_file(&r->storage, result->err);
    if (result->err != 0)
        return;
    rd_storage_probed(&r->storage, result->began);
    atomic_store_explicit(&r->child->entry->probed_ns, r->storage.probed, memory_order_relaxed);
    atomic_store_explicit(&r->child->entry->read_ns, im_now(), memory_order_relaxed);
}

static void probe(struct reader *r, bool wanted, im_ns now)
{
    struct rd_probe_result result;
    char path[4096];

    if (rd_probe_take(&r->probe, &result)) {
        take_probe(r, &result);
        r->next_probe = now + PROBE_EVERY_NS;
        r->probe_patience = (im_ns)r->child->conf->read_deadline_ms * IM_MS;
    } else if (r->probe.job && now - r->probe_began > r->probe_patience) {
        rd_probe_abandon(&r->probe);
        if (r->probe_patience < PROBE_PATIENCE_MAX_NS)
            r->probe_patience *= 2;
    }
    if (!wanted || r->probe.job || now < r->next_probe)
        return;
    choose_probe(r, path, sizeof path);
    r->probe_began = now;
    r->next_probe = now + PROBE_EVERY_NS;
    rd_probe_start(&r->probe, rd_index_root(&r->index), path);
}

/* A read that takes long, and not only because it stands behind others that do: a younger one has ended, or
 * it is the oldest. */
static bool is_slow(const struct reader *r, const struct flight *flight, uint64_t oldest, im_ns now)
{
    im_ns long_time = (im_ns)r->child->conf->read_deadline_ms * IM_MS / 2;

    return now > flight->began && now - flight->began >= long_time &&
           (flight->order < r->newest_ended || flight->order == oldest);
}

/* Marks the slow reads for the supervisor. Returns how many there are, also of those behind others. */
static uint32_t mark_slow(struct reader *r, im_ns now)
{
    im_ns long_time = (im_ns)r->child->conf->read_deadline_ms * IM_MS / 2;
    uint64_t oldest = UINT64_MAX;
    uint32_t slow = 0;

    for (uint32_t i = 0; i < r->depth; i++)
        if (r->flight[i].used && r->flight[i].began != 0 && r->flight[i].order < oldest)
            oldest = r->flight[i].order;
    for (uint32_t i = 0; i < r->depth; i++) {
        struct flight *flight = &r->flight[i];

        if (!flight->used || flight->began == 0)
            continue;
        slow += now > flight->began && now - flight->began >= long_time;
        /* Release: the name is complete; pairs with the supervisor's acquire. */
        if (is_slow(r, flight, oldest, now))
            atomic_store_explicit(&flight->cell.meta->slow_ns, flight->began, memory_order_release);
    }
    return slow;
}

/* Files that failed, and of them those whose failure may be the storage's. */
static uint32_t count_failed(const struct reader *r, uint32_t *ret_unproven)
{
    uint32_t count = 0;

    *ret_unproven = 0;
    for (uint32_t i = 0; i < r->depth; i++) {
        const struct flight *flight = &r->flight[i];

        if (!flight->used || flight->tries.failures == 0)
            continue;
        count++;
        *ret_unproven += rd_tries_unproven(&flight->tries, &r->storage);
    }
    return count;
}

/* Tells the supervisor how the reads are going, and asks the storage while they are not going well. */
static void watch(struct reader *r)
{
    struct im_process *entry = r->child->entry;
    im_ns now = im_now();
    uint32_t slow, failing, unproven;

    if (now - r->watched < WATCH_EVERY_NS)
        return;
    r->watched = now;
    slow = mark_slow(r, now);
    if (slow > 0 || atomic_load_explicit(&r->child->run->control->reads_careful, memory_order_relaxed))
        rd_io_be_careful(r->io);
    failing = count_failed(r, &unproven);
    if (unproven == 0)
        r->unproven_since = 0;
    else if (r->unproven_since == 0 || /* a proof came, and another failure, since the last look */
             (r->storage.probed > r->unproven_since && !rd_storage_fails_many(&r->storage)))
        r->unproven_since = now;
    atomic_store_explicit(&entry->slow_reads, slow, memory_order_relaxed);
    atomic_store_explicit(&entry->failing_reads, failing, memory_order_relaxed);
    atomic_store_explicit(&entry->waiting_ns, r->unproven_since, memory_order_relaxed);
    probe(r, slow > 0 || unproven > 0, now);
}

static int reader_loop(struct reader *r)
{
    struct im_event *freed = &r->child->run->control->event_free;
    int leave, err;

    for (;;) {
        uint32_t seen = im_event_look(freed);
        im_ns wait = IM_WAIT_MAX_NS;
        bool retired;

        leave = im_child_should_leave(r->child);
        if (leave)
            return leave;
        retired = im_child_is_retired(r->child);
        if (retired && r->held == 0)
            return IM_EXIT_OK;
        im_stats_enter(r->child->stats, IM_WORK);
        err = retired ? 0 : fill_queue(r);
        if (err == 0)
            err = try_again(r, &wait);
        watch(r);
        if (err == 0)
            err = follow_name(r);
        if (r->stale)
            return -ESTALE; /* the next one may read there */
        if (err == 0 && rd_io_in_flight(r->io) > 0)
            err = reap(r, wait);
        else if (err == 0) {
            im_stats_enter(r->child->stats, r->awaiting > 0 ? IM_WAIT_INPUT
                                            : r->held > 0   ? IM_WAIT_IO
                                                            : IM_WAIT_OUTPUT);
            im_event_wait(freed, seen, wait);
        }
        if (err < 0)
            return err;
    }
}

static int open_engine(struct reader *r, struct im_text *text)
{
    static const enum rd_io_kind kinds[] = {
        [IM_IO_AUTO] = RD_IO_AUTO, [IM_IO_URING] = RD_IO_URING, [IM_IO_PREAD] = RD_IO_PREAD};
    const struct rd_io_options options = {
        .kind = kinds[r->child->conf->io],
        .depth = r->depth,
        .careful =
            r->careful || atomic_load_explicit(&r->child->run->control->reads_careful, memory_order_relaxed),
        .root_fd = r->root_fd};
    struct im_text note = {0};
    int err = rd_io_open(&options, &r->io, &note, text);

    if (err == 0 && note.s[0] && r->child->index == 0) /* said once in a run, not once in a process */
        im_log(IM_LOG_WARN, "reading with threads instead of io_uring", "cause=%s",
               im_log_quote(&(struct im_quoted){0}, note.s));
    return err < 0 && options.kind == RD_IO_URING ? -ENODEV : err; /* asked for, and not available here */
}

/* Opens the data directory in a thread that may hang. Where it cannot be opened now, reads fail until a probe
 * brings it. */
static int open_root(struct reader *r, struct im_text *text)
{
    const char *root = rd_index_root(&r->index);
    struct rd_probe_result result;
    im_ns until = im_now() + OPEN_WAIT_NS;
    int err = rd_probe_start(&r->probe, root, "");

    while (err == -EAGAIN && im_now() < until) {
        nanosleep(&(struct timespec){.tv_nsec = OPEN_PAUSE_NS}, NULL);
        err = rd_probe_start(&r->probe, root, "");
    }
    if (err < 0)
        return im_fail(text, err, "cannot start a thread to open %s: %s%s", root, strerror(-err),
                       err == -EAGAIN ? " (see ulimit -u)" : "");
    r->probe_began = im_now();
    r->probe_patience = (im_ns)r->child->conf->read_deadline_ms * IM_MS;
    r->careful = true;
    r->root_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* no directory: every path below it is -ENOTDIR */
    if (r->root_fd < 0)
        return im_fail(text, -errno, "/dev/null: %s", strerror(errno));
    while (im_now() < until) {
        if (rd_probe_take(&r->probe, &result)) {
            r->careful = !result.is_local;
            take_root(r, &result);
            return 0;
        }
        nanosleep(&(struct timespec){.tv_nsec = OPEN_PAUSE_NS}, NULL);
    }
    return 0;
}

static int open_all(struct reader *r, struct im_text *text)
{
    const struct im_geometry *g = &r->child->run->geometry;
    int err = rd_wait_for_index(r->child, &r->index, text);

    if (err != 0)
        return err;
    if (rd_index_count(&r->index, IM_TRAIN) != g->samples[IM_TRAIN] ||
        rd_index_count(&r->index, IM_VAL) != g->samples[IM_VAL])
        return im_fail(text, -EBADMSG, "%s changed since the run started", r->child->conf->index_file);
    err = rd_order_open(r->child->conf, &r->index, &r->order);
    r->is_remote = im_conf_is_remote(r->child->conf->data_dir);
    if (err == 0 && r->is_remote)
        err = rd_mirror_below(r->child->conf->data_dir, r->child->conf->cache_dir, rd_index_root(&r->index),
                              r->below, sizeof r->below, &(size_t){0});
    r->since = rd_realtime(r->child->run->control->created_ns);
    rd_pixels_open(&r->pixels, r->child);
    rd_ranges_open(&r->ranges, r->child, rd_index_root(&r->index));
    if (err == 0)
        err = open_root(r, text);
    if (err < 0)
        return err;
    r->depth = (uint32_t)r->child->conf->queue_depth < g->encoded_cells
                   ? (uint32_t)r->child->conf->queue_depth
                   : g->encoded_cells;
    r->flight = calloc(r->depth, sizeof *r->flight);
    if (!r->flight)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->depth; i++)
        r->flight[i].next_free = i + 1;
    return open_engine(r, text);
}

int rd_run(struct im_child *child, struct im_text *text)
{
    struct reader r = {.child = child, .root_fd = -1};
    int err = open_all(&r, text), close_err;

    if (err == 0) {
        im_child_ready(child);
        err = reader_loop(&r);
    }
    im_stats_enter(child->stats, IM_IDLE);
    rd_probe_abandon(&r.probe);
    close_err = rd_io_close(&r.io, CLOSE_TIMEOUT_NS);
    if (close_err < 0)
        im_log(IM_LOG_WARN, "abandoned reads: the file system does not respond", "");
    if (r.root_fd >= 0)
        close(r.root_fd);
    free(r.flight);
    rd_order_close(&r.order);
    rd_ranges_close(&r.ranges);
    rd_shards_forget(&r.shards);
    rd_index_close(&r.index);
    return err;
}
