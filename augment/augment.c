/* The loop of an augmenter: take the oldest ticket whose place waits for it, render straight into the batch, check
 * the bytes, commit, give the cell back.
 *
 * The bytes are compared with what was read after they were decoded, when they are in the cache: that costs a third
 * of what it would before. They are once a process has died, and before anything is learnt from them: a verdict, a seek
 * index, a cell of the pixel cache; else those of a few (ipc/encoded.h). Where bytes name a file, or an augmenter ended on them, they are
 * compared first.
 *
 * Everything drawn is a pure function of (seed, epoch, sample): whoever renders a ticket again makes the same
 * pixels. A file that cannot be used is a verdict on its sample and grey pixels, never a reason to leave; nor
 * is one that there is no memory for: the next may need less, and so no single file can end a run. */
#include "augment/augment.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "augment/options.h"
#include "augment/pixel_cache.h"
#include "augment/seeking.h"
#include "ipc/bad_samples.h"
#include "ipc/base/fault.h"
#include "ipc/base/log.h"
#include "ipc/base/reference.h"
#include "ipc/batch.h"
#include "ipc/encoded.h"
#include "ipc/object_seal.h"
#include "ipc/sandbox.h"
#include "ipc/shuffle.h"
#include "ipc/wait.h"

#define REJECTED_MAX 3     /* cells in a row whose bytes were not those that were read */
#define FILE_TRIES 3       /* of a file larger than a cell, that readers can read and we cannot */
#define DAMAGED (-EBADMSG) /* the bytes of the cell are not those that were read */
#define PARTIAL (-ENODATA) /* they are parts of a file, and more of it is needed */
#define GREY 124 /* about the mean of ImageNet: what a sample without an image shows to batch norm */

struct augmenter {
    struct im_child *child;
    struct au_renderer *renderer;
    struct au_options options;
    struct au_seeking seeking;
    struct au_pixel_cache pixels;
    bool loaded;       /* the sample's pixels are there */
    bool compared;     /* the bytes in the cell are those that were read */
    uint32_t rejected; /* in a row */
    char
        *file; /* of a sample whose image is larger than a cell, or parts of it at their places; NULL: none */
    size_t file_bytes;
    int file_err;
    uint64_t unread; /* the ticket whose file could not be read last, + 1 */
    uint32_t unread_times;
    bool told_of_memory;
};

/* What the sample's random numbers and its place in the ledger go by. With --sampler balanced a sample comes more
 * than once in an epoch: it is the draw, of which each comes once. */
static uint64_t item_of(const struct augmenter *a, const struct im_place *at, const struct im_encoded *e)
{
    const struct im_child *child = a->child;

    if (child->conf->sampler != IM_SAMPLER_BALANCED || at->phase->split != IM_TRAIN)
        return e->meta->sample;
    return im_shuffle(child->conf->seed, at->phase->epoch, child->run->geometry.samples[IM_TRAIN],
                      at->position);
}

static struct au_job job_of(const struct augmenter *a, const struct im_place *at, uint64_t item)
{
    return au_run_job(&a->options, at->phase->split != IM_VAL, a->child->conf->seed, at->phase->epoch, item,
                      at->phase->image_size);
}

/* The image of a cell without bytes, from the pixel cache. */
static bool load_pixels(struct augmenter *a, const struct im_place *at, const struct im_encoded *e)
{
    const struct au_job job = job_of(a, at, item_of(a, at, e));

    return au_pixel_cache_load(&a->pixels, &job,
                               &(struct au_cached){.split = (enum im_split)at->phase->split,
                                                   .sample = e->meta->sample,
                                                   .stamp = e->meta->stamp});
}

/* Is there anything that outlives the sample, or blames its file? */
static bool learns(const struct augmenter *a, int verdict)
{
    return verdict != 0 || (au_pixel_cache_is_on(&a->pixels) ? au_pixel_cache_has_decoded(&a->pixels)
                                                             : au_seeking_learns(&a->seeking));
}

/* Once an image was rendered: are its bytes, if they are of the cell and are to be compared, those that were read? */
static bool bytes_were_right(struct augmenter *a, const struct im_encoded *e, int verdict)
{
    if (a->compared || (au_pixel_cache_is_on(&a->pixels) && !au_pixel_cache_has_decoded(&a->pixels)))
        return true;
    if (!learns(a, verdict) && !im_encoded_must_compare(a->child->run, e))
        return true;
    a->compared = im_encoded_is_whole(e);
    return a->compared;
}

/* What was learnt from an image whose bytes are right. */
static void learn(struct augmenter *a, const struct au_cached *image)
{
    if (au_pixel_cache_is_on(&a->pixels))
        au_pixel_cache_keep(&a->pixels, image);
    else
        au_seeking_end(&a->seeking);
}

/* Decodes an image that is not in the pixel cache. A result on parts of a file counts only where the index led through them. */
static int render_decoded(struct augmenter *a, const struct au_job *job, const struct au_cached *image,
                          const struct im_encoded_meta *meta, unsigned char *out)
{
    int verdict;

    if (!au_seeking_begin(&a->seeking, image->key, image->bytes, image->n, meta))
        return PARTIAL;
    verdict = au_render(a->renderer, job, image->bytes, image->n, out, NULL);
    if (meta->to > 0 && verdict != -ENOMEM &&
        (verdict != 0 || !au_seeking_was_used(&a->seeking) || IM_FAULT_ERR("augmenter.parts") < 0))
        return PARTIAL;
    return verdict;
}

/* Renders an image's bytes; a verdict, -ENOMEM, -ELIBACC, DAMAGED or PARTIAL. */
static int render_bytes(struct augmenter *a, const struct im_place *at, const struct im_encoded *e,
                        const struct au_cached *image, unsigned char *out)
{
    const uint64_t sample = item_of(a, at, e);
    const struct au_job job = job_of(a, at, sample);
    struct au_times times;
    im_ns began = im_now();
    int verdict;

    IM_FAULT("augmenter.render");
    if (at->phase->split == IM_TRAIN)
        IM_FAULT_ITEM("augmenter.sample", sample);
    if (au_pixel_cache_is_on(&a->pixels)) {
        verdict = au_pixel_cache_render(&a->pixels, a->renderer, &job, image, out);
    } else {
        verdict = render_decoded(a, &job, image, e->meta, out);
    }
    im_stats_since(a->child->stats, IM_H_RENDER, began);
    if (!bytes_were_right(a, e, verdict))
        return DAMAGED;
    learn(a, image);
    if (verdict == 0) {
        times = au_renderer_times(a->renderer);
        im_stats_time(a->child->stats, IM_H_DECODE, times.decode);
        im_stats_time(a->child->stats, IM_H_RESIZE, times.resize);
        if (times.transform > 0)
            im_stats_time(a->child->stats, IM_H_TRANSFORM, times.transform);
    }
    return verdict;
}

/* Has the whole file read, or its object fetched again. 1, or negative errno. */
static int reject_parts(struct augmenter *a, const struct im_encoded *e)
{
    im_encoded_ask_whole(a->child->run, e);
    return im_encoded_reject(a->child->run, a->child->incarnation, e) < 0 ? -ESTALE : 1;
}

/* The most bytes of a file that are taken. */
static size_t file_bytes_max(const struct augmenter *a)
{
    const size_t file_max = (size_t)a->child->conf->max_file_bytes, memory = a->options.limits.memory_max;

    return file_max < memory ? file_max : memory;
}

/* Parts of an image that is larger than a cell to their places in memory of our own: from the cell, where they follow one another, or
 * from the file. 0 or negative errno. */
static int fetch_parts(struct augmenter *a, const struct im_encoded *e)
{
    const struct im_encoded_meta *m = e->meta;

    if (m->image_bytes > file_bytes_max(a))
        return -EFBIG;
    a->file_bytes = m->image_bytes;
    if (m->by_reference)
        return m->bytes == 0 || e->bytes[m->bytes - 1] != 0
                   ? -EINVAL
                   : im_reference_read_two((const char *)e->bytes, m->image_bytes,
                                           (const size_t[]){m->head, m->from, m->to}, &a->file, NULL);
    a->file = calloc(1, m->image_bytes);
    if (!a->file)
        return -ENOMEM;
    memcpy(a->file, e->bytes, m->head);
    memcpy(a->file + m->from, e->bytes + m->head, m->to - m->from);
    return 0;
}

/* The same; where it fails, the whole file is read, which tells why. As read_file(). */
static int read_parts(struct augmenter *a, const struct im_encoded *e)
{
    a->file_err = fetch_parts(a, e);
    if (a->file_err == -EACCES && im_sandbox_is_stale(a->child->sandbox))
        return -ESTALE; /* the next one may read there */
    if (a->file_err == 0 && (!e->meta->by_reference || au_seeking_proves(&a->seeking, e->meta, a->file)))
        return 0;
    im_stats_add(a->child->stats, IM_C_PARTS_WRONG, 1);
    return reject_parts(a, e);
}

/* A file larger than a cell, or one whose pixels turn out not to be in the cache: read here, into memory of our own, before its place is claimed; it counts as the
 * image's memory. Where that fails, a reader is to try again, for readers tell an outage from a bad file; a few
 * times. 1: the cell was given back; 0, or negative errno about this process. */
static int read_file(struct augmenter *a, enum im_split split, const struct im_encoded *e)
{
    a->file_err = -EINVAL;
    if (e->meta->bytes == 0 || e->bytes[e->meta->bytes - 1] != 0)
        return 0;
    a->file_err =
        im_reference_read((const char *)e->bytes, file_bytes_max(a), &a->file, &a->file_bytes, NULL);
    if (a->file_err == 0 && e->meta->by_reference == IM_BY_FILE && e->meta->image != 0 &&
        im_object_seal(im_seek_key(a->file, a->file_bytes)) != e->meta->image)
        return reject_parts(a, e); /* an object of the cache that is damaged */
    if (a->file_err == 0 || a->file_err == -EFBIG || a->file_err == -ENOMEM)
        return 0;
    if (a->file_err == -EACCES && im_sandbox_is_stale(a->child->sandbox))
        return -ESTALE;                        /* the next one may read there */
    if (e->meta->by_reference == IM_BY_PIXELS) /* the reader is to look at the file */
        im_pixel_cells_drop(&a->pixels.cells, split, e->meta->sample);
    a->unread_times = a->unread == e->ticket + 1 ? a->unread_times + 1 : 1;
    a->unread = e->ticket + 1;
    if (a->unread_times > FILE_TRIES)
        return 0;
    return im_encoded_reject(a->child->run, a->child->incarnation, e) < 0 ? -ESTALE : 1;
}

/* What is to be decoded, where it is not in the cell as it is. As read_file(). */
static int bring_file(struct augmenter *a, enum im_split split, const struct im_encoded *e)
{
    if (im_encoded_is_packed(e->meta) || (e->meta->by_reference && e->meta->to > 0))
        return read_parts(a, e);
    return e->meta->by_reference ? read_file(a, split, e) : 0;
}

static int render_file(struct augmenter *a, const struct im_place *at, const struct im_encoded *e,
                       unsigned char *out)
{
    const size_t file_max = (size_t)a->child->conf->max_file_bytes, memory = a->options.limits.memory_max;

    if (a->file_err == -EFBIG)
        return file_max < memory ? IM_VERDICT_TOO_LARGE : IM_VERDICT_MEMORY_LIMIT;
    if (a->file_err < 0)
        return a->file_err == -ENOMEM ? -ENOMEM : IM_VERDICT_READ_ERROR;
    return render_bytes(
        a, at, e,
        &(struct au_cached){.split = (enum im_split)at->phase->split,
                            .sample = e->meta->sample,
                            .stamp = e->meta->stamp,
                            .key = e->meta->to > 0 ? e->meta->image : im_seek_key(a->file, a->file_bytes),
                            .bytes = a->file,
                            .n = a->file_bytes},
        out);
}

static int render(struct augmenter *a, const struct im_place *at, const struct im_encoded *e,
                  unsigned char *out)
{
    uint64_t key = im_bad_key((enum im_split)at->phase->split, e->meta->sample);
    uint32_t quarantined = im_bad_is_quarantined(a->child->run, key);

    if (e->meta->verdict != IM_VERDICT_OK)
        return (int)e->meta->verdict;
    if (quarantined)
        return (int)quarantined;
    if (a->loaded)
        return render_bytes(
            a, at, e,
            &(struct au_cached){.split = (enum im_split)at->phase->split, .sample = e->meta->sample}, out);
    if (e->meta->by_reference || im_encoded_is_packed(e->meta))
        return render_file(a, at, e, out);
    return render_bytes(a, at, e,
                        &(struct au_cached){.split = (enum im_split)at->phase->split,
                                            .sample = e->meta->sample,
                                            .stamp = e->meta->stamp,
                                            .key = e->meta->to > 0 ? e->meta->image : e->meta->key,
                                            .bytes = e->bytes,
                                            .n = e->meta->bytes},
                        out);
}

/* The verdict where there was no memory for the sample. */
static int no_memory(struct augmenter *a, const struct im_encoded *e)
{
    if (!a->told_of_memory)
        im_log(IM_LOG_WARN, "no memory to decode an image; it is skipped", "sample=%llu",
               (unsigned long long)e->meta->sample);
    a->told_of_memory = true;
    return IM_VERDICT_MEMORY_LIMIT;
}

bool au_needs_avif(const struct im_child *child)
{
    return child->conf->has_avif ||
           atomic_load_explicit(&child->run->control->has_avif, memory_order_relaxed) != 0;
}

/* An image whose library the sandbox keeps out: the next one in our place, and all that start later, have it. */
static int leave_for_library(struct augmenter *a)
{
    im_log(IM_LOG_INFO, "the first AVIF image: starting again with its library", "");
    atomic_store_explicit(&a->child->run->control->has_avif, 1, memory_order_relaxed);
    return -ESTALE;
}

/* Fills the claimed place. 0, DAMAGED, PARTIAL, or another negative errno about this process. */
static int fill_place(struct augmenter *a, const struct im_place *at, const struct im_encoded *e)
{
    struct im_process *entry = a->child->entry;
    size_t pixels = (size_t)at->phase->image_size * at->phase->image_size * 3;
    struct im_batch_view batch;
    unsigned char *out;
    int verdict;

    im_run_batch_view(a->child->run, at->rank, at->batch, &batch);
    out = batch.pixels + at->place * pixels;
    atomic_store_explicit(&a->child->stats->active_need, a->file ? a->file_bytes : 0, memory_order_relaxed);
    atomic_store_explicit(&entry->active_ticket, e->ticket + 1, memory_order_relaxed);
    atomic_store_explicit(&entry->active_since_ns, im_now(), memory_order_relaxed);
    verdict = render(a, at, e, out);
    if (verdict == -ENOMEM)
        verdict = no_memory(a, e);
    if (verdict == -ELIBACC)
        verdict = leave_for_library(a);
    atomic_store_explicit(&entry->active_since_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->active_ticket, 0, memory_order_relaxed);
    if (verdict < 0)
        return verdict;
    if (verdict > 0) {
        memset(out, GREY, pixels);
        im_bad_record(a->child->run, im_bad_key((enum im_split)at->phase->split, e->meta->sample),
                      (uint32_t)verdict, e->meta->name);
        im_stats_add(a->child->stats, IM_C_BAD, 1);
    }
    im_batch_describe(&batch, at, item_of(a, at, e), (int32_t)e->meta->label, (uint32_t)verdict);
    return 0;
}

/* Bytes that are not what was read have been overwritten: they are read again, a few times. 1, or negative errno. */
static int reject(struct augmenter *a, const struct im_encoded *e)
{
    im_log(IM_LOG_ERROR, "the bytes of a cell changed after they were read; reading again", "ticket=%llu",
           (unsigned long long)e->ticket);
    im_stats_add(a->child->stats, IM_C_FAULTS, 1);
    if (++a->rejected > REJECTED_MAX)
        return -EIO;
    return im_encoded_reject(a->child->run, a->child->incarnation, e) < 0 ? -ESTALE : 1;
}

/* What must hold before anything is done with a cell. 0; 1: the cell was given back; or negative errno. */
static int check_cell(struct augmenter *a, const struct im_encoded *e)
{
    a->compared = false;
    if (!im_encoded_is_sealed(a->child->run, e))
        return reject(a, e);
    if (!e->meta->by_reference && !atomic_load_explicit(&e->meta->ended, memory_order_relaxed))
        return 0;
    a->compared = im_encoded_is_whole(e);
    return a->compared ? 0 : reject(a, e);
}

/* Claims the sample's place, fills and commits it. 0; 1: the cell was given back; or negative errno. */
static int deliver(struct augmenter *a, const struct im_place *at, const struct im_encoded *e)
{
    struct im_child *child = a->child;
    int err = im_batch_claim(child->run, at, child->incarnation);

    if (err != 0) /* 1: a predecessor has delivered it */
        return err < 0 ? err : 0;
    err = fill_place(a, at, e);
    if (err == DAMAGED || err == PARTIAL) {
        int fault;

        im_stats_add(child->stats, IM_C_PARTS_WRONG, err == PARTIAL);
        fault = im_batch_abandon(child->run, at, child->incarnation);

        if (fault < 0)
            return fault;
        return err == DAMAGED ? reject(a, e) : reject_parts(a, e);
    }
    if (err < 0)
        return err;
    a->rejected = 0;
    return im_batch_commit(child->run, at, child->incarnation);
}

static int one_sample(struct augmenter *a, const struct im_encoded *taken)
{
    struct im_child *child = a->child;
    struct im_encoded_meta meta = *taken->meta; /* what is checked is what is used */
    const struct im_encoded own = {
        .ticket = taken->ticket, .cell = taken->cell, .meta = &meta, .bytes = taken->bytes};
    const struct im_encoded *e = &own;
    struct im_place at;
    int err = check_cell(a, e);

    if (im_plan_place(child->plan, e->ticket, &at) < 0)
        return -ERANGE;
    a->loaded = err == 0 && e->meta->verdict == IM_VERDICT_OK && e->meta->by_reference == IM_BY_PIXELS &&
                load_pixels(a, &at, e);
    if (err == 0 && e->meta->verdict == IM_VERDICT_OK && !a->loaded)
        err = bring_file(a, (enum im_split)at.phase->split, e);
    if (err)
        return err < 0 ? err : 0;
    err = deliver(a, &at, e);
    if (err)
        return err < 0 ? err : 0;
    return im_encoded_release(child->run, child->incarnation, e);
}

static int augmenter_loop(struct augmenter *a)
{
    struct im_child *child = a->child;
    struct im_event *ready = &child->run->control->event_ready;

    for (;;) {
        uint32_t seen = im_event_look(ready);
        struct im_encoded e;
        uint32_t bytes;
        im_ns began;
        int err, leave = im_child_should_leave(child);

        if (leave)
            return leave;
        if (im_child_is_retired(child))
            return IM_EXIT_OK;
        if (!im_encoded_take(child->run, child->plan, child->incarnation, &e)) {
            /* READY cells whose batch is not free yet: the trainer is behind. None at all:
             * the readers are. */
            im_stats_enter(child->stats,
                           im_encoded_count(child->run, IM_READY) ? IM_WAIT_OUTPUT : IM_WAIT_INPUT);
            im_event_wait(ready, seen, IM_WAIT_MAX_NS);
            continue;
        }
        im_stats_enter(child->stats, IM_WORK);
        began = im_now();
        bytes = e.meta->bytes; /* once released, the cell and its meta are a reader's */
        err = one_sample(a, &e);
        free(a->file);
        a->file = NULL;
        if (err < 0)
            return err;
        im_stats_add(child->stats, IM_C_SAMPLES, 1);
        im_stats_add(child->stats, IM_C_BYTES, bytes);
        im_stats_since(child->stats, IM_H_ITEM, began);
        atomic_fetch_add_explicit(&child->entry->progress, 1, memory_order_relaxed);
    }
}

int au_run(struct im_child *child, struct im_text *text)
{
    struct augmenter a = {.child = child};
    int err = au_options_make(child->conf, &a.options);

    if (err == 0)
        err = au_renderer_new(&a.renderer, &a.options.limits, imk_cpu_flags());
    if (err == 0)
        err = au_pixel_cache_open(&a.pixels, child, child->pixels_fd, &a.options.limits);
    if (err < 0)
        return im_fail(text, err, "cannot start the augmenter: %s", strerror(-err));
    au_renderer_tell_need(a.renderer, &child->stats->active_need);
    au_seeking_open(&a.seeking, child, au_renderer_decoder(a.renderer));
    im_child_ready(child);
    err = augmenter_loop(&a);
    im_stats_enter(child->stats, IM_IDLE);
    au_seeking_close(&a.seeking);
    au_pixel_cache_close(&a.pixels);
    au_renderer_free(&a.renderer);
    return err;
}
