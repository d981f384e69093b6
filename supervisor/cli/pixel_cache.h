/* --pixel-cache before a run: whether it fits, where it is, and its descriptor. */
#ifndef SUPERVISOR_CLI_PIXEL_CACHE_H
#define SUPERVISOR_CLI_PIXEL_CACHE_H

#include <limits.h>

#include "ipc/config/conf.h"
#include "ipc/pixel_cells.h"

struct sv_pixel_cache {
    bool is_on;
    struct im_pixel_shape shape;
    char path[PATH_MAX]; /* "": memory */
    uint64_t bytes;      /* that it will take, about */
    uint64_t room;       /* that there is for it */
};

/* Looks whether memory or disk have room for it, before anything is started, and sets conf->pixel_cache_limit. Makes no file. `samples` as
 * the data set has them, `hash` of their names and labels. 0, or negative errno with a sentence. */
int sv_pixel_cache_plan(struct im_conf *conf, const uint64_t samples[IM_SPLITS], const char *hash,
                        struct sv_pixel_cache *ret, struct im_text *text);

/* The descriptor for augmenters; -1: the option is off. Other negative errno with a sentence. */
int sv_pixel_cache_open(const struct sv_pixel_cache *cache, struct im_text *text);

/* What is kept where, and which pixels change: a line for the header of the run. */
const char *sv_pixel_cache_line(const struct sv_pixel_cache *cache, char *buffer, size_t n);

#endif
