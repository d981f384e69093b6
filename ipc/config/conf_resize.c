/* resize-schedule: image size and batch of each training epoch.
 *
 *     entries   ENTRY[,ENTRY...]          in order, without gaps, from epoch 1 to the run's last or further
 *     ENTRY     EPOCHS:SIZE[xBATCH]       no BATCH: batch-size
 *     EPOCHS    A-B, A, or A- (A to the end of the run)
 *     SIZE      PIXELS, or PIXELS..PIXELS: from the first to the second over these epochs, in steps of 32
 *
 * A ramp has its first size in its first epoch, its second in its last, and between them the line's value
 * rounded to the nearest multiple of 32 (halves to the even one), but never outside of the two:
 * get_resolution() of ffcv-imagenet, whose epochs count from 0 and whose sizes are such multiples. Its
 * start_ramp 11, end_ramp 13, 160 to 192 px over 16 epochs is "1-11:160,12-14:160..192,15-:192".
 *
 * Entries behind the last epoch are allowed, so that one schedule serves shorter runs too. */
#include "ipc/config/conf_table.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EPOCHS_MAX = 100000, SIZE_MIN = 8, SIZE_MAX_PX = 1024, BATCH_MAX = 65536, RAMP_STEP = 32 };

/* A whole number of at most seven digits; false: none. */
static bool take_number(const char **s, uint32_t *ret)
{
    size_t digits = strspn(*s, "0123456789");

    if (digits < 1 || digits > 7)
        return false;
    *ret = (uint32_t)strtoul(*s, NULL, 10);
    *s += digits;
    return true;
}

static bool conf_resize_take(const char **s, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(*s, word, n) != 0)
        return false;
    *s += n;
    return true;
}

/* The form alone; the numbers are judged by check_entry(). */
static bool parse_entry(const char **s, struct im_conf_resize_entry *e)
{
    if (!take_number(s, &e->first))
        return false;
    e->last = e->first;
    if (conf_resize_take(s, "-") && !take_number(s, &e->last))
        e->last = UINT32_MAX;
    if (!conf_resize_take(s, ":") || !take_number(s, &e->from))
        return false;
    e->to = e->from;
    if (conf_resize_take(s, "..") && !take_number(s, &e->to))
        return false;
    return !conf_resize_take(s, "x") || take_number(s, &e->batch);
}

static int check_size(const struct im_conf *conf, const char *entry, uint32_t size, struct im_text *text)
{
    if (size < SIZE_MIN || size > SIZE_MAX_PX)
        return im_fail(text, -EINVAL,
                       "resize-schedule: \"%s\": %u pixels are out of range (expected %d to %d)", entry, size,
                       SIZE_MIN, SIZE_MAX_PX);
    if (size < im_conf_stride(conf))
        return im_fail(text, -EINVAL,
                       "resize-schedule: \"%s\": %u pixels are fewer than the stride of %s, %u", entry, size,
                       im_conf_choice(IM_KEY_model, conf->model), im_conf_stride(conf));
    return 0;
}

/* `expected`: the epoch that follows the entry before. */
static int check_entry(const struct im_conf *conf, const char *entry, const struct im_conf_resize_entry *e,
                       uint32_t expected, struct im_text *text)
{
    int err;

    if (e->last < e->first || e->first < 1 || (e->last > EPOCHS_MAX && e->last != UINT32_MAX))
        return im_fail(text, -EINVAL, "resize-schedule: \"%s\": epochs start at 1", entry);
    if (e->first > expected)
        return im_fail(text, -EINVAL, "resize-schedule: no entry covers epoch %u, before \"%s\"", expected,
                       entry);
    if (e->first < expected)
        return im_fail(text, -EINVAL, "resize-schedule: \"%s\" overlaps the entry before it", entry);
    if (e->batch < 1 || e->batch > BATCH_MAX)
        return im_fail(text, -EINVAL,
                       "resize-schedule: \"%s\": a batch of %u is out of range (expected 1 to %d)", entry,
                       e->batch, BATCH_MAX);
    if (e->from != e->to && e->first == e->last)
        return im_fail(text, -EINVAL, "resize-schedule: \"%s\": a ramp needs two epochs or more", entry);
    if (e->from != e->to && e->last == UINT32_MAX)
        return im_fail(text, -EINVAL, "resize-schedule: \"%s\": a ramp needs its last epoch", entry);
    err = check_size(conf, entry, e->from, text);
    return err < 0 ? err : check_size(conf, entry, e->to, text);
}

int im_conf_resize(const struct im_conf *conf, struct im_conf_resize *ret, struct im_text *text)
{
    struct im_conf_resize r = {.entry = {{1, UINT32_MAX, (uint32_t)conf->image_size,
                                          (uint32_t)conf->image_size, (uint32_t)conf->batch_size}},
                               .count = 1,
                               .uses_batch_size = true};
    const char *s = conf->resize_schedule;
    uint32_t expected = 1;

    if (*s)
        r = (struct im_conf_resize){.count = 0};
    while (*s) {
        struct im_conf_resize_entry *e = &r.entry[r.count];
        const char *start = s;
        char entry[64];
        bool good;
        int err;

        if (r.count++ == IM_CONF_RESIZE_MAX)
            return im_fail(text, -EINVAL, "resize-schedule: more than %d entries", IM_CONF_RESIZE_MAX);
        *e = (struct im_conf_resize_entry){.batch = UINT32_MAX};
        good = parse_entry(&s, e) && (*s == '\0' || *s == ',');
        if (e->batch == UINT32_MAX) {
            e->batch = (uint32_t)conf->batch_size;
            r.uses_batch_size = true;
        }
        snprintf(entry, sizeof entry, "%.*s", (int)strcspn(start, ","), start);
        if (!good)
            return im_fail(text, -EINVAL,
                           "resize-schedule: \"%s\" is not an entry such as 1-30:64x256 (epochs:pixels"
                           "[xbatch]) or 12-14:160..192 (a ramp)",
                           entry);
        err = check_entry(conf, entry, e, expected, text);
        if (err < 0)
            return err;
        expected = e->last == UINT32_MAX ? EPOCHS_MAX + 1 : e->last + 1;
        s += *s == ',';
    }
    if (*conf->resize_schedule && expected <= (uint64_t)conf->epochs)
        return im_fail(text, -EINVAL, "resize-schedule: no entry covers epoch %u of %lld", expected,
                       (long long)conf->epochs);
    *ret = r;
    return 0;
}

struct im_conf_sizes im_conf_resize_at(const struct im_conf_resize *r, uint32_t epoch)
{
    const struct im_conf_resize_entry *e = r->entry;
    double share, size;

    while (e + 1 < r->entry + r->count && e->last < epoch + 1)
        e++;
    if (e->from == e->to || epoch + 1 <= e->first)
        return (struct im_conf_sizes){e->from, e->batch};
    if (epoch + 1 >= e->last)
        return (struct im_conf_sizes){e->to, e->batch};
    share = (double)(epoch + 1 - e->first) / (double)(e->last - e->first);
    size = rint(((double)e->from + ((double)e->to - (double)e->from) * share) / RAMP_STEP) * RAMP_STEP;
    size = fmin(fmax(size, fmin(e->from, e->to)), fmax(e->from, e->to));
    return (struct im_conf_sizes){(uint32_t)size, e->batch};
}

int im_conf_check_resize(const struct im_conf *conf, struct im_text *text)
{
    struct im_conf_resize r;
    int err = im_conf_resize(conf, &r, text);

    if (err < 0 || !*conf->resize_schedule)
        return err;
    if (conf->origin[IM_KEY_image_size].source == IM_CONF_FLAG)
        return im_fail(text, -EINVAL,
                       "image-size has no effect with resize-schedule; --resize-schedule= turns that off");
    if (conf->origin[IM_KEY_batch_size].source == IM_CONF_FLAG && !r.uses_batch_size)
        return im_fail(
            text, -EINVAL,
            "batch-size has no effect with this resize-schedule, whose entries all set a batch: change "
            "the entries");
    return 0;
}

struct im_conf_sizes im_conf_last_sizes(const struct im_conf *conf)
{
    struct im_conf_resize r;

    if (im_conf_resize(conf, &r, NULL) < 0) /* not checked yet: what the keys say */
        return (struct im_conf_sizes){(uint32_t)conf->image_size, (uint32_t)conf->batch_size};
    return im_conf_resize_at(&r, (uint32_t)conf->epochs - 1);
}

uint32_t im_conf_smallest_image_size(const struct im_conf *conf)
{
    struct im_conf_resize r;
    uint32_t smallest = UINT32_MAX;

    if (im_conf_resize(conf, &r, NULL) < 0)
        return (uint32_t)conf->image_size;
    for (int i = 0; i < r.count; i++) {
        smallest = r.entry[i].from < smallest ? r.entry[i].from : smallest;
        smallest = r.entry[i].to < smallest ? r.entry[i].to : smallest;
    }
    return smallest;
}

int64_t im_conf_eval_image_size(const struct im_conf *conf)
{
    return conf->eval_image_size ? conf->eval_image_size : im_conf_last_sizes(conf).image_size;
}

int64_t im_conf_decode_memory_mib(const struct im_conf *conf)
{
    return conf->decode_memory_mib ? conf->decode_memory_mib : 2048;
}

int64_t im_conf_eval_resize(const struct im_conf *conf)
{
    return conf->eval_resize ? conf->eval_resize : (im_conf_eval_image_size(conf) * 256 + 112) / 224;
}
