#include "augment/pixel_cache.h"

#include <errno.h>
#include <string.h>

#include "ipc/base/log.h"

#define NOT_THERE (-EAGAIN)

static struct au_shrink shrink_of(const struct au_pixel_cache *c, const struct au_job *job,
                                  enum im_split split)
{
    return (struct au_shrink){.side = c->cells.shape.side[split],
                              .enlarges = split == IM_VAL,
                              .scaled_decode = job->crop.scaled_decode};
}

int au_pixel_cache_open(struct au_pixel_cache *c, struct im_child *child, int fd,
                        const struct au_limits *limits)
{
    struct im_pixel_shape shape;
    uint32_t largest;

    *c = (struct au_pixel_cache){.cells = {.fd = -1}, .limits = limits};
    if (!im_conf_has_pixel_cache(child->conf))
        return 0;
    shape = im_pixel_shape_of(child->conf, child->run->geometry.samples);
    largest = shape.side[IM_TRAIN] > shape.side[IM_VAL] ? shape.side[IM_TRAIN] : shape.side[IM_VAL];
    if (au_buffer_reserve(&c->image, im_pixel_room(largest) + IMK_SLACK) < 0)
        return -ENOMEM;
    if (im_pixel_cells_take(fd, &shape, (uint64_t)child->conf->pixel_cache_limit,
                            im_conf_pixel_cache_is_memory(child->conf), &c->cells) < 0) {
        c->cells = (struct im_pixel_cells){.fd = -1, .shape = shape};
        im_log(IM_LOG_WARN, "the pixel cache cannot be read; nothing is kept", "");
    }
    for (int split = 0; split < IM_SPLITS; split++)
        c->settings[split] =
            im_pixel_settings(child->conf, (enum im_split)split, child->run->control->build_hash);
    c->child = child;
    return 0;
}

void au_pixel_cache_close(struct au_pixel_cache *c)
{
    au_buffer_fini(&c->image);
    c->child = NULL;
}

/* Rows of the cell that was found. */
static int cell_rows(void *context, uint32_t first, uint32_t count, struct au_pixels *ret)
{
    struct au_pixel_cache *c = context;
    const size_t stride = (size_t)3 * c->cell.width;

    if (im_pixel_cells_rows(&c->cells, &c->cell, first, count, c->image.data) != 1)
        return NOT_THERE;
    *ret = (struct au_pixels){c->image.data + first * stride, stride};
    return 0;
}

/* Rows of the image that was made. */
static int made_rows(void *context, uint32_t first, uint32_t count, struct au_pixels *ret)
{
    struct au_pixel_cache *c = context;
    const size_t stride = (size_t)3 * c->cell.width;

    (void)count;
    *ret = (struct au_pixels){c->image.data + first * stride, stride};
    return 0;
}

static void count(struct au_pixel_cache *c, enum im_counter counter)
{
    im_stats_add(c->child->stats, counter, 1);
}

void au_pixel_cache_keep(struct au_pixel_cache *c, const struct au_cached *what)
{
    int err;

    if (!c->is_new)
        return;
    c->is_new = false;
    if (c->cells.is_memory &&
        atomic_load_explicit(&c->child->run->control->pixels_state, memory_order_acquire) != IM_PIXELS_GROW)
        return;
    err = im_pixel_cells_put(&c->cells, what->split, what->sample, &c->cell, c->image.data);
    if (err == 0)
        count(c, IM_C_PIXELS_MADE);
    else if (c->cells.fd >= 0 && !c->told_full) {
        c->told_full = true;
        im_log(IM_LOG_WARN, "an image is not kept in the pixel cache; it will be decoded again", "why=%s",
               im_log_quote(&(struct im_quoted){0},
                            err == -ENOSPC || err == -EDQUOT
                                ? "the cache has its size, or the disk less than 256 MiB left"
                                : strerror(-err)));
    }
}

bool au_pixel_cache_load(struct au_pixel_cache *c, const struct au_job *job, const struct au_cached *what)
{
    const struct im_pixel_name name = {.stamp = what->stamp};
    struct imk_box box;

    if (!c->child || im_pixel_cells_find(&c->cells, what->split, what->sample, &name, &c->cell) != 1 ||
        c->cell.memory > c->limits->memory_max)
        return false;
    box = au_crop_make(job, c->cell.width, c->cell.height).box; /* no pixel outside of it is looked at */
    return im_pixel_cells_rows(&c->cells, &c->cell, box.y, box.h, c->image.data) == 1;
}

/* The sample, from pixels that are there. */
static int render_made(struct au_pixel_cache *c, struct au_renderer *renderer, const struct au_job *job,
                       unsigned char *out)
{
    const struct au_ready ready = {c->cell.width, c->cell.height, made_rows, c};

    return au_render_ready(renderer, job, &ready, out, NULL);
}

/* The sample, from the cell that was found. */
static int render_cell(struct au_pixel_cache *c, struct au_renderer *renderer, const struct au_job *job,
                       const struct au_cached *what, unsigned char *out)
{
    const struct au_ready ready = {c->cell.width, c->cell.height, cell_rows, c};
    const int result = au_render_ready(renderer, job, &ready, out, NULL);

    if (result != 0)
        return result;
    count(c, IM_C_PIXELS_USED);
    if (what->stamp != 0 && what->stamp != c->cell.name.stamp)
        im_pixel_cells_restamp(&c->cells, &c->cell, what->stamp);
    return 0;
}

int au_pixel_cache_render(struct au_pixel_cache *c, struct au_renderer *renderer, const struct au_job *job,
                          const struct au_cached *what, unsigned char *out)
{
    const struct au_shrink shrink = shrink_of(c, job, what->split);
    struct im_pixel_name name = {.stamp = what->stamp};
    struct au_shrunk made;
    int result, found;

    c->has_decoded = c->is_new = false;
    if (!what->bytes) {
        count(c, IM_C_PIXELS_USED);
        return render_made(c, renderer, job, out);
    }
    name.key = im_pixel_key(c->settings[what->split], what->key, what->n);
    found = im_pixel_cells_find(&c->cells, what->split, what->sample, &name, &c->cell);
    if (found == 1 && c->cell.memory <= c->limits->memory_max) {
        result = render_cell(c, renderer, job, what, out);
        if (result != NOT_THERE)
            return result;
    }
    c->has_decoded = true;
    result =
        au_render_shrunk(renderer, &shrink, what->bytes, what->n, im_pixel_fits, c->image.data, &made, NULL);
    if (result == AU_SHRINK_NONE) /* too long */
        return au_render(renderer, job, what->bytes, what->n, out, NULL);
    if (result)
        return result;
    memset(&c->cell, 0, sizeof c->cell);
    c->cell.name = name;
    c->cell.width = made.width;
    c->cell.height = made.height;
    c->cell.memory = made.memory > what->n ? made.memory : what->n;
    c->is_new = found != -EAGAIN;
    return render_made(c, renderer, job, out);
}
