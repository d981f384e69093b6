/* --pixel-cache in a run: each image is decoded and resized, kept (ipc/pixel_cells.h), and cropped from what is kept. Its
 * pixels are the same whether they come from the cache or not, so what is there, torn or full decides the time alone. */
#ifndef AUGMENT_PIXEL_CACHE_H
#define AUGMENT_PIXEL_CACHE_H

#include "augment/decode/buffer.h"
#include "augment/render.h"
#include "ipc/child.h"
#include "ipc/pixel_cells.h"

struct au_pixel_cache {
    struct im_child *child; /* NULL: the option is off */
    const struct au_limits *limits;
    struct im_pixel_cells cells;
    struct au_buffer image; /* one cell's pixels */
    struct im_pixel_cell cell;
    uint64_t settings[IM_SPLITS];
    bool has_decoded; /* the image at hand */
    bool is_new;      /* it is to be kept */
    bool told_full;
};

/* Of a run with the option; `fd` is the inherited descriptor. Without a file that can be used, nothing is kept. `limits` is borrowed.
 * 0 or -ENOMEM. */
int au_pixel_cache_open(struct au_pixel_cache *cache, struct im_child *child, int fd,
                        const struct au_limits *limits);
void au_pixel_cache_close(struct au_pixel_cache *cache);
static inline bool au_pixel_cache_is_on(const struct au_pixel_cache *cache)
{
    return cache->child != NULL;
}

/* What a job asks for. */
struct au_cached {
    enum im_split split;
    uint64_t sample;   /* its place in the index, which the cell is of */
    uint64_t key;      /* im_seek_key() of the bytes */
    uint64_t stamp;    /* of the file; 0: not known */
    const void *bytes; /* NULL: au_pixel_cache_load() has its pixels */
    size_t n;
};

/* Reads what the job needs of the cell of a file that is known by its stamp. False: it is not there, and the file is to be read. */
bool au_pixel_cache_load(struct au_pixel_cache *cache, const struct au_job *job,
                         const struct au_cached *what);

/* As au_render(). Nothing is kept yet. */
int au_pixel_cache_render(struct au_pixel_cache *cache, struct au_renderer *renderer,
                          const struct au_job *job, const struct au_cached *what, unsigned char *out);

/* Whether the image that was rendered last was decoded, and not found. */
static inline bool au_pixel_cache_has_decoded(const struct au_pixel_cache *cache)
{
    return cache->has_decoded;
}

/* Keeps the image that was rendered last, if it is new. */
void au_pixel_cache_keep(struct au_pixel_cache *cache, const struct au_cached *what);

#endif
