/* Arbitrary bytes in a run's control segment: a child that attaches to it must refuse it with a sentence or
 * work on it without a step outside, in bounded time and memory.
 *
 * The input is laid over a sound segment, so that a few bytes reach deep. Its first byte says where and how:
 *   bits 0-1   header / configuration / process table and statistics / words of both rings
 *   bit 2      the header's geometry alone is overlaid, and the sizes that follow from it are put right again
 *   bit 3      the segment is as long as its geometry says (sparse), not as long as the sound one */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/bad_samples.h"
#include "ipc/batch.h"
#include "ipc/child.h"
#include "ipc/encoded.h"
#include "ipc/process.h"
#include "ipc/reclaim.h"
#include "tests/fuzz/fuzz.h"

enum { FIRST_FD = 500, STEPS_MAX = 64 };
#define SPARSE_MAX (UINT64_C(1) << 40)
#define CELLS_TO_RECLAIM (UINT64_C(1) << 18)

static const struct im_geometry sound = {.samples = {40, 7},
                                         .cell_bytes = IM_PAGE,
                                         .batch_pixels_max = 4 * 64 * 64 * 3,
                                         .encoded_cells = 8,
                                         .ranks = 2,
                                         .batches = 2,
                                         .batch_size_max = 4,
                                         .readers_max = 2,
                                         .augmenters_max = 2,
                                         .slots = 7,
                                         .classes = 10};

static void must(int good)
{
    if (!good)
        abort();
}

/* A sound run, made once. */
static const struct im_run *sound_run(void)
{
    static char frozen[IM_CONF_FROZEN_BYTES];
    static struct im_run run;
    struct im_conf conf;

    if (run.control)
        return &run;
    im_conf_defaults(&conf);
    conf.batch_size = 4;
    conf.image_size = 64;
    conf.ranks = 2;
    conf.epochs = 2;
    must(im_conf_freeze(&conf, frozen, sizeof frozen) == 0);
    must(im_run_create(&sound, frozen, sizeof frozen, &run, NULL) == 0);
    for (uint64_t t = 0; t < sound.encoded_cells; t++)
        atomic_store_explicit(&run.encoded_word[t], im_word(IM_READY, 0, t), memory_order_relaxed);
    return &run;
}

static void lay_over(char *at, size_t room, const uint8_t *data, size_t size)
{
    memcpy(at, data, size < room ? size : room);
}

/* The sound segment with the input over it, in *fd; also an encoded segment as long as the
 * geometry asks for. */
static int make_segments(const struct im_run *run, uint8_t mode, const uint8_t *data, size_t size)
{
    uint64_t bytes = run->layout.control_bytes, encoded_bytes = run->layout.encoded_bytes;
    char *image = malloc(bytes);
    struct im_control *c = (void *)image;
    struct im_offsets layout = run->layout;
    uint64_t from[] = {0, layout.conf, layout.processes, layout.encoded_words};
    int fd = memfd_create("control", MFD_CLOEXEC), encoded_fd = memfd_create("encoded", MFD_CLOEXEC);

    must(image && fd >= 0 && encoded_fd >= 0);
    memcpy(image, run->control_segment.map, bytes);
    if (mode & 4)
        lay_over((char *)&c->geometry, sizeof c->geometry, data, size);
    else
        lay_over(image + from[mode & 3], bytes - from[mode & 3], data, size);
    if (im_offsets_compute(&c->geometry, &layout) == 0) {
        if (mode & 4)
            c->segment_bytes = layout.control_bytes;
        if (mode & 8 && layout.encoded_bytes <= SPARSE_MAX)
            encoded_bytes = layout.encoded_bytes;
    }
    if (!(mode & 16)) /* else the header is found to have changed, and little behind it is tried */
        c->header_check = im_run_header_check(c, image + run->layout.conf);
    must(write(fd, image, bytes) == (ssize_t)bytes);
    if (mode & 8)
        must(ftruncate(fd, (off_t)(layout.control_bytes > bytes ? layout.control_bytes : bytes)) == 0);
    must(ftruncate(encoded_fd, (off_t)encoded_bytes) == 0);
    must(dup2(fd, FIRST_FD) >= 0 && dup2(encoded_fd, FIRST_FD + 1) >= 0);
    close(fd);
    close(encoded_fd);
    free(image);
    return 0;
}

/* What a status line reads. */
static void observe(const struct im_run *run)
{
    struct im_stats_view view;

    for (uint32_t i = 0; i < run->geometry.slots; i++) {
        im_stats_read(&run->stats[i], im_now(), &view);
        im_stats_quantile(&run->stats[i], IM_H_ITEM, 0.5);
        im_process_state(run, i);
        im_process_is_current(run, i, 1);
    }
    must(im_encoded_count(run, IM_READY) <= run->geometry.encoded_cells);
    im_bad_is_quarantined(run, im_bad_key(IM_TRAIN, 1));
}

/* What a reader, an augmenter and the supervisor do with the words they find. */
static void work(struct im_run *run, const struct im_plan *plan)
{
    uint64_t places = (uint64_t)run->geometry.ranks * run->geometry.batches * run->geometry.batch_size_max;
    struct im_reclaimed returned;
    struct im_encoded e;
    struct im_place at;

    for (int i = 0; i < STEPS_MAX && im_encoded_claim(run, 3, plan->tickets, &e) == 1; i++) {
        must(e.ticket < plan->tickets && e.cell < run->geometry.encoded_cells);
        im_encoded_publish(run, 3, &e);
    }
    for (int i = 0; i < STEPS_MAX && im_encoded_take(run, plan, 4, &e) == 1; i++) {
        must(im_plan_place(plan, e.ticket, &at) == 0);
        must(at.rank < run->geometry.ranks && at.place < run->geometry.batch_size_max);
        if (im_batch_claim(run, &at, 4) == 0)
            im_batch_commit(run, &at, 4);
        im_encoded_release(run, 4, &e);
    }
    if (places > CELLS_TO_RECLAIM)
        return;
    for (uint32_t r = 0; r < run->geometry.ranks; r++)
        must(im_batch_ready_count(run, plan, r, 0) <= run->geometry.batches);
    im_reclaim(run, plan, 1, &returned);
    im_bad_record(run, im_bad_key(IM_VAL, 3), 1, "x");
}

/* As im_child_open() does it. */
static int use(struct im_run *run, struct im_text *text)
{
    struct im_conf conf;
    struct im_plan plan;
    int err;

    observe(run);
    if (!memchr(run->conf, 0, IM_CONF_BYTES))
        return im_fail(text, -EBADMSG, "no end");
    err = im_conf_thaw(&conf, run->conf, text);
    if (err == 0)
        err = im_plan_from_conf(&conf, run->geometry.samples, &plan, text);
    if (err < 0)
        return err;
    err = im_run_check_plan(run, &plan, text);
    if (err == 0)
        work(run, &plan);
    im_plan_fini(&plan);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct im_attach how = {.encoded_read = true, .batch_read_rank = -1, .first_fd = FIRST_FD};
    struct im_text text = {""};
    struct im_run run;
    int err;

    if (size == 0)
        return 0;
    make_segments(sound_run(), data[0], data + 1, size - 1);
    err = im_run_attach(&how, &run, &text);
    if (err == 0) {
        err = use(&run, &text);
        im_run_close(&run);
    } else {
        close(FIRST_FD);
        close(FIRST_FD + 1);
    }
    must(err == 0 || err == -ENOMEM || text.s[0] != 0);
    return 0;
}
