#include "supervisor/cli/sizes.h"

#include <errno.h>
#include <inttypes.h>

#define CELLS_MIN 64
#define CELLS_MAX 1024
#define SHARE_FOR_CELLS 16 /* of the memory, at most one part in this many */
#define ROOM_MIN 8         /* readers and augmenters that can be asked for while the run goes on */
#define SHARE_FOR_ALL 2    /* shared memory may take half of what is available */
#define DECODE_LEAST ((uint64_t)128 << 20) /* for one image: a photo of 40 million pixels */

static uint64_t clamp(uint64_t x, uint64_t low, uint64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* On a machine without a GPU the trainer's threads do nearly all the work: one reader serves any number of
 * cores from the page cache, and decoding costs a small part of a training step. */
static void choose_for_cpu(struct im_conf *conf, const struct sv_machine *m)
{
    if (conf->readers == 0)
        conf->readers = 1;
    if (conf->augmenters == 0)
        conf->augmenters = (int64_t)clamp(m->cpus / 4, 1, 64);
    if (conf->trainer_threads == 0)
        conf->trainer_threads = (int64_t)clamp(m->cpus / (uint64_t)conf->ranks, 1, 256);
}

/* On GPUs the cores do the decoding: a GPU eats what ten of them decode, and its trainer takes one or two
 * itself. A reader serves two of the fastest GPUs. */
static void choose_for_gpus(struct im_conf *conf, const struct sv_machine *m)
{
    const uint64_t ranks = (uint64_t)conf->ranks;
    uint64_t taken;

    if (conf->readers == 0)
        conf->readers = (int64_t)clamp((ranks + 1) / 2, 1, 32);
    taken = ranks + (uint64_t)conf->readers;
    if (conf->augmenters == 0)
        conf->augmenters = (int64_t)clamp(m->cpus > taken ? m->cpus - taken : 1, 1, 512);
    if (conf->trainer_threads == 0)
        conf->trainer_threads = 1;
}

static uint64_t largest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The largest batch of any pass, in images and in bytes of pixels. */
static void measure_batches(const struct im_conf *conf, const struct im_conf_resize *resize,
                            struct im_geometry *g)
{
    const struct im_conf_sizes last = im_conf_last_sizes(conf);
    uint64_t eval = (uint64_t)im_conf_eval_image_size(conf), images = last.batch_size;
    uint64_t bytes = images * eval * eval * 3;

    for (uint32_t epoch = 0; epoch < (uint32_t)conf->epochs; epoch++) {
        const struct im_conf_sizes s = im_conf_resize_at(resize, epoch);

        images = largest(images, s.batch_size);
        bytes = largest(bytes, (uint64_t)s.batch_size * s.image_size * s.image_size * 3);
    }
    g->batch_size_max = (uint32_t)images;
    g->batch_pixels_max = bytes;
}

static void choose_cells(struct im_conf *conf, const struct sv_machine *m, uint64_t batch)
{
    uint64_t wanted = clamp(2 * batch * (uint64_t)conf->ranks, CELLS_MIN, CELLS_MAX);
    uint64_t affordable = m->memory_bytes / SHARE_FOR_CELLS / (uint64_t)conf->cell_bytes;

    if (conf->encoded_cells == 0)
        conf->encoded_cells = (int64_t)clamp(wanted, 16, affordable < 16 ? 16 : affordable);
}

static uint32_t room_for(uint32_t count, uint32_t cpus)
{
    uint32_t room = 2 * count > cpus ? 2 * count : cpus;

    return room > ROOM_MIN ? room : ROOM_MIN;
}

/* Room for `imsuper scale` and for --augmenters auto: an entry and a page of statistics each. */
static void reserve_room(const struct sv_machine *m, struct im_geometry *g)
{
    uint32_t left = IM_SLOTS_MAX - 1 - g->fetchers - g->ranks - g->readers_max - g->augmenters_max;
    uint32_t readers = room_for(g->readers_max, m->cpus), augmenters = room_for(g->augmenters_max, m->cpus);
    uint32_t more = augmenters - g->augmenters_max < left ? augmenters - g->augmenters_max : left;

    g->augmenters_max += more;
    left -= more;
    more = readers - g->readers_max < left ? readers - g->readers_max : left;
    g->readers_max += more;
}

/* As many as --augmenters asks for; where their number is left to the run, as many as it can come to. */
static uint64_t most_augmenters(const struct im_conf *conf, const struct sv_machine *m)
{
    return conf->augmenters_auto ? largest((uint64_t)conf->augmenters, m->cpus) : (uint64_t)conf->augmenters;
}

/* Half of all memory, the rings taken off, is for the augmenters, and each may use its part on one image. Of
 * all memory, not of what is free: the same images are to be left out whatever else the machine does. The limit
 * stays for the whole run; `imsuper scale` warns of more augmenters than fit. */
static void choose_decode_memory(struct im_conf *conf, const struct sv_machine *m,
                                 const struct im_geometry *g)
{
    uint64_t total = m->memory_total, rings = sv_sizes_bytes(g);
    uint64_t part = (total > rings ? total - rings : 0) / SHARE_FOR_ALL / most_augmenters(conf, m);
    uint64_t least = total / SHARE_FOR_ALL < DECODE_LEAST ? total / SHARE_FOR_ALL : DECODE_LEAST;

    if (conf->decode_memory_mib != 0)
        return;
    conf->decode_memory_mib = im_conf_decode_memory_mib(conf);
    if (total > 0)
        conf->decode_memory_mib =
            (int64_t)clamp(clamp(part, least, (uint64_t)conf->decode_memory_mib << 20) >> 20, 1, 65536);
}

uint64_t sv_sizes_bytes(const struct im_geometry *g)
{
    struct im_offsets l;

    if (im_offsets_compute(g, &l) < 0)
        return 0;
    return l.control_bytes + l.encoded_bytes + l.batch_bytes * g->ranks;
}

int sv_sizes_choose(struct im_conf *conf, const struct sv_machine *m, const uint64_t samples[IM_SPLITS],
                    uint32_t classes, struct im_geometry *ret, struct im_text *text)
{
    struct im_conf_resize resize;
    struct im_geometry g = {0};
    uint64_t bytes;
    int err = im_conf_resize(conf, &resize, text);

    if (err < 0)
        return err;
    conf->readers_auto = conf->readers == 0;
    conf->augmenters_auto = conf->augmenters == 0;
    if (m->gpus)
        choose_for_gpus(conf, m);
    else
        choose_for_cpu(conf, m);
    measure_batches(conf, &resize, &g);
    conf->cell_bytes = (conf->cell_bytes + IM_PAGE - 1) / IM_PAGE * IM_PAGE;
    choose_cells(conf, m, g.batch_size_max);
    if (im_conf_world(conf) > IM_RANKS_MAX)
        return im_fail(text, -EINVAL, "--ranks %" PRId64 ": at most %d on all machines", conf->ranks,
                       IM_RANKS_MAX);
    if (1 + conf->readers + conf->augmenters + conf->ranks + 1 > IM_SLOTS_MAX)
        return im_fail(text, -EINVAL, "--readers, --augmenters and --ranks together must stay below %d",
                       IM_SLOTS_MAX);
    if (conf->encoded_cells > IM_CELLS_MAX)
        return im_fail(text, -EINVAL, "--encoded-cells %" PRId64 ": at most %d", conf->encoded_cells,
                       IM_CELLS_MAX);
    g = (struct im_geometry){
        .samples = {samples[IM_TRAIN], samples[IM_VAL]},
        .cell_bytes = (uint64_t)conf->cell_bytes,
        .batch_pixels_max = g.batch_pixels_max,
        .encoded_cells = (uint32_t)conf->encoded_cells,
        .ranks = (uint32_t)conf->ranks,
        .batches = (uint32_t)conf->batches_ahead,
        .batch_size_max = g.batch_size_max,
        .readers_max = (uint32_t)conf->readers,
        .augmenters_max = (uint32_t)conf->augmenters,
        .classes = classes,
        .fetchers = im_conf_is_remote(conf->data_dir),
        .remote_ranks = (uint32_t)(im_conf_world(conf) - conf->ranks),
        .first_rank = (uint32_t)im_conf_first_rank(conf),
    };
    reserve_room(m, &g);
    g.slots = 1 + g.readers_max + g.augmenters_max + g.ranks + g.fetchers;
    bytes = sv_sizes_bytes(&g);
    if (bytes == 0)
        return im_fail(text, -EINVAL, "the run's sizes are out of range");
    if (bytes > m->memory_bytes / SHARE_FOR_ALL)
        return im_fail(
            text, -ENOMEM,
            "the rings need %" PRIu64
            " bytes (%.2f GiB) of shared memory, more than half of the %.2f GiB available; use smaller "
            "--batch-size, --image-size (or --resize-schedule), --batches-ahead or --encoded-cells",
            bytes, (double)bytes / (1 << 30), (double)m->memory_bytes / (1 << 30));
    choose_decode_memory(conf, m, &g);
    *ret = g;
    return 0;
}
