/* --pixel-cache and what goes with it. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/suggest.h"
#include "ipc/config/conf_table.h"

bool im_conf_has_pixel_cache(const struct im_conf *conf)
{
    return !conf->evaluate && *conf->pixel_cache && strcmp(conf->pixel_cache, "off") != 0;
}

bool im_conf_pixel_cache_is_memory(const struct im_conf *conf)
{
    return strcmp(conf->pixel_cache, "ram") == 0;
}

static int64_t largest_image_size(const struct im_conf *conf)
{
    const int64_t last = im_conf_last_sizes(conf).image_size;

    return last > conf->image_size ? last : conf->image_size;
}

int64_t im_conf_pixel_cache_side(const struct im_conf *conf)
{
    const int64_t side = (largest_image_size(conf) * 256 + 112) / 224;

    if (conf->pixel_cache_side)
        return conf->pixel_cache_side;
    return side < IM_CONF_PIXEL_SIDE_MAX ? side : IM_CONF_PIXEL_SIDE_MAX;
}

/* Words that nobody means as the name of a folder. */
static int check_words(const char *s, struct im_text *text)
{
    static const struct {
        const char *word, *meant;
    } words[] = {{"false", "off"}, {"no", "off"}, {"none", "off"}, {"0", "off"},
                 {"never", "off"}, {"", "off"},   {"true", "ram"}, {"yes", "ram"},
                 {"on", "ram"},    {"1", "ram"},  {"auto", "ram"}, {"memory", "ram"}};
    static const char *const choices[] = {"off", "ram", "disk"};
    const char *near;

    for (size_t i = 0; i < IM_COUNT(words); i++)
        if (strcasecmp(s, words[i].word) == 0)
            return im_fail(
                text, -EINVAL,
                "pixel-cache: \"%s\" is neither off, ram nor disk; did you mean %s? (./%s names a folder)", s,
                words[i].meant, s);
    near = strchr(s, '/') || access(s, F_OK) == 0 ? NULL : im_nearest(s, choices, IM_COUNT(choices));
    if (near && strcmp(near, s) != 0)
        return im_fail(text, -EINVAL, "pixel-cache: \"%s\": did you mean %s? (./%s names a folder)", s, near,
                       s);
    return 0;
}

int im_conf_check_pixel_cache(const struct im_conf *conf, struct im_text *text)
{
    uint64_t bytes;
    int err = check_words(conf->pixel_cache, text);

    if (err == 0 && im_conf_cache_size(conf->pixel_cache_size, &bytes) < 0)
        return im_fail(
            text, -EINVAL,
            "pixel-cache-size: \"%.100s\" is neither auto nor a number of bytes such as 500M, 200G or 2T "
            "(at least 64K)",
            conf->pixel_cache_size);
    if (err < 0 || !im_conf_has_pixel_cache(conf))
        return err;
    if (conf->pixel_cache_side && conf->pixel_cache_side < largest_image_size(conf))
        return im_fail(
            text, -EINVAL,
            "pixel-cache-side %lld is smaller than the %lld pixels of a sample, which would be cut from it",
            (long long)conf->pixel_cache_side, (long long)largest_image_size(conf));
    if (im_conf_eval_resize(conf) > IM_CONF_PIXEL_SIDE_MAX)
        return im_fail(text, -EINVAL,
                       "pixel-cache: eval-resize %lld is larger than the %d pixels that are kept",
                       (long long)im_conf_eval_resize(conf), IM_CONF_PIXEL_SIDE_MAX);
    return 0;
}
