/* The loop of a reader: keep up to --queue-depth files in flight, each into its own cell.
 *
 * What to read is a pure function of the ticket (plan, order, index), so that any reader can read any ticket
 * again. What a file is (missing, a directory, empty, larger than a cell) is told in the cell's meta, never
 * by leaving. */
#include "reader/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/base/hash.h"
#include "ipc/base/log.h"
#include "ipc/base/verdict.h"
#include "ipc/encoded.h"
#include "ipc/sandbox.h"
#include "ipc/shuffle.h"
#include "ipc/wait.h"
#include "reader/dataset/index.h"
#include "reader/io.h"

#define REAP_MAX 64
#define CLOSE_TIMEOUT_NS (2 * IM_SECOND)

/* A file in flight. */
struct flight {
    struct im_encoded cell;
    enum im_split split;
    im_ns began;
    uint32_t next_free; /* list of unused flights */
};

struct reader {
    struct im_child *child;
    struct rd_index index;
    struct rd_io *io;
    struct flight *flight;
    uint32_t depth, free_flight;
    int root_fd;
    struct im_shuffle order; /* of the epoch last used */
    uint32_t order_epoch;
};

static uint64_t sample_of(struct reader *r, const struct im_place *at)
{
    if (at->phase->split == IM_VAL)
        return at->position;
    if (r->order.n == 0 || r->order_epoch != at->phase->epoch) {
        r->order = im_shuffle_at(r->child->conf->seed, at->phase->epoch, rd_index_count(&r->index, IM_TRAIN));
        r->order_epoch = at->phase->epoch;
    }
    return im_shuffle_item(&r->order, at->position);
}

static void set_name(struct im_encoded_meta *meta, const char *path)
{
    size_t n = strlen(path);

    if (n < sizeof meta->name)
        memcpy(meta->name, path, n + 1);
    else
        snprintf(meta->name, sizeof meta->name, "...%s", path + n - (sizeof meta->name - 4));
}

/* Starts reading a claimed ticket's file. 0 or negative errno: the engine is broken. */
static int submit(struct reader *r, const struct im_encoded *cell)
{
    uint32_t tag = r->free_flight;
    struct flight *flight = &r->flight[tag];
    char path[4096];
    struct im_place at;
    int err;

    if (im_plan_place(r->child->plan, cell->ticket, &at) < 0)
        return -ERANGE;
    r->free_flight = flight->next_free;
    *flight = (struct flight){.cell = *cell, .split = (enum im_split)at.phase->split, .began = im_now()};
    cell->meta->sample = sample_of(r, &at);
    cell->meta->label = rd_index_label(&r->index, flight->split, cell->meta->sample);
    err = rd_index_relative(&r->index, flight->split, cell->meta->sample, path, sizeof path);
    if (err < 0)
        return err;
    set_name(cell->meta, path);
    return rd_io_submit(r->io,
                        &(struct rd_io_request){.path = path,
                                                .buffer = cell->bytes,
                                                .capacity = (uint32_t)r->child->run->geometry.cell_bytes,
                                                .tag = tag});
}

/* A file that is larger than a cell: the augmenter reads it itself. */
static void refer(struct reader *r, struct flight *flight)
{
    struct im_encoded_meta *meta = flight->cell.meta;
    int n = rd_index_path(&r->index, flight->split, meta->sample, (char *)flight->cell.bytes,
                          r->child->run->geometry.cell_bytes);

    if (n < 0) {
        meta->verdict = IM_VERDICT_READ_ERROR;
        return;
    }
    meta->by_reference = 1;
    meta->bytes = (uint32_t)n + 1;
}

static int publish(struct reader *r, const struct rd_io_result *result)
{
    struct flight *flight = &r->flight[result->tag];
    struct im_encoded_meta *meta = flight->cell.meta;
    struct im_stats *stats = r->child->stats;
    uint32_t bytes;
    bool bad;
    int err;

    meta->by_reference = 0;
    meta->verdict = IM_VERDICT_OK;
    meta->bytes = 0;
    if (result->bytes < 0)
        meta->verdict = IM_VERDICT_READ_ERROR;
    else if (result->too_large)
        refer(r, flight);
    else
        meta->bytes = (uint32_t)result->bytes;
    meta->hash = im_hash64(flight->cell.bytes, meta->bytes, flight->cell.ticket);
    bytes = meta->bytes; /* once published, the cell and its meta are the augmenter's */
    bad = meta->verdict != IM_VERDICT_OK;
    err = im_encoded_publish(r->child->run, r->child->incarnation, &flight->cell);
    flight->next_free = r->free_flight;
    r->free_flight = (uint32_t)result->tag;
    im_stats_add(stats, IM_C_SAMPLES, 1);
    im_stats_add(stats, IM_C_BYTES, bytes);
    im_stats_add(stats, IM_C_BAD, bad);
    im_stats_time(stats, IM_H_ITEM, im_now() - flight->began);
    atomic_fetch_add_explicit(&r->child->entry->progress, 1, memory_order_relaxed);
    return err;
}

/* Claims and submits until the queue is full or no cell is free. */
static int fill_queue(struct reader *r)
{
    int err = 0;

    while (err == 0 && rd_io_in_flight(r->io) < r->depth) {
        struct im_encoded cell;

        if (!im_encoded_claim(r->child->run, r->child->incarnation, r->child->plan->tickets, &cell))
            break;
        err = submit(r, &cell);
    }
    return err;
}

static int reap(struct reader *r)
{
    struct rd_io_result results[REAP_MAX];
    int n;

    im_stats_enter(r->child->stats, IM_WAIT_IO);
    n = rd_io_reap(r->io, results, REAP_MAX, IM_WAIT_MAX_NS);
    im_stats_enter(r->child->stats, IM_WORK);
    for (int i = 0; i < n; i++) {
        int err = results[i].bytes == -EACCES && im_sandbox_is_stale(r->child->sandbox)
                      ? -ESTALE /* the next one may read there */
                      : publish(r, &results[i]);

        if (err < 0)
            return err;
    }
    return n < 0 ? n : 0;
}

static int work(struct reader *r)
{
    struct im_event *freed = &r->child->run->control->event_free;
    int leave, err;

    for (;;) {
        uint32_t seen = im_event_look(freed);

        leave = im_child_should_leave(r->child);
        if (leave)
            return leave;
        im_stats_enter(r->child->stats, IM_WORK);
        err = fill_queue(r);
        if (err == 0 && rd_io_in_flight(r->io) > 0)
            err = reap(r);
        else if (err == 0) {
            im_stats_enter(r->child->stats, IM_WAIT_OUTPUT);
            im_event_wait(freed, seen, IM_WAIT_MAX_NS);
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
        .kind = kinds[r->child->conf->io], .depth = r->depth, .root_fd = r->root_fd};
    struct im_text note = {0};
    int err = rd_io_open(&options, &r->io, &note, text);

    if (err == 0 && note.s[0] && r->child->index == 0) /* said once in a run, not once in a process */
        im_log(IM_LOG_WARN, "reading with threads instead of io_uring", "cause=%s",
               im_log_quote(&(struct im_quoted){0}, note.s));
    return err < 0 && options.kind == RD_IO_URING ? -ENODEV : err; /* asked for, and not to be had here */
}

static int open_all(struct reader *r, struct im_text *text)
{
    const struct im_geometry *g = &r->child->run->geometry;
    int err = rd_index_open(r->child->conf->index_file, &r->index, text);

    if (err < 0)
        return err;
    if (rd_index_count(&r->index, IM_TRAIN) != g->samples[IM_TRAIN] ||
        rd_index_count(&r->index, IM_VAL) != g->samples[IM_VAL])
        return im_fail(text, -EBADMSG, "%s changed since the run started", r->child->conf->index_file);
    r->root_fd = open(rd_index_root(&r->index), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->root_fd < 0)
        return im_fail(text, -errno, "%s: %s", rd_index_root(&r->index), strerror(errno));
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
        err = work(&r);
    }
    im_stats_enter(child->stats, IM_IDLE);
    close_err = rd_io_close(&r.io, CLOSE_TIMEOUT_NS);
    if (close_err < 0)
        im_log(IM_LOG_WARN, "abandoned reads: the file system does not respond", "");
    if (r.root_fd >= 0)
        close(r.root_fd);
    free(r.flight);
    rd_index_close(&r.index);
    return err;
}
