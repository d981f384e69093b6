#include "reader/ranges.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "ipc/base/log.h"

#define FILE_MIN 32768u /* bytes; smaller files are read whole */
#define SAVED_MIN 8192u /* so that a second request is worth it */
#define LOOK_EVERY 64   /* images */
#define COLD_FROM 4     /* 1/4 of what is read comes from the disk */
#define COLD_UNTIL 16

/* Bytes that this process has had read from disks so far. */
static uint64_t bytes_of_disk(void)
{
    struct rusage usage = {0};

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_inblock * 512;
}

void rd_ranges_open(struct rd_ranges *r, const struct im_child *child, const char *root)
{
    const struct im_conf *conf = child->conf;
    struct im_text text = {""};

    *r = (struct rd_ranges){.file = {.fd = -1}, .root = root, .seed = conf->seed};
    if (conf->read_ranges == IM_RANGES_OFF || !*conf->seek_file || im_conf_has_pixel_cache(conf) ||
        conf->scaled_decode || im_conf_is_remote(conf->data_dir) ||
        au_crop_options_make(conf, &r->crop) != 0 || r->crop.train_crop != AU_CROP_RESIZED)
        return;
    if (im_seek_open(conf->seek_file, &r->file, &text) < 0) {
        im_log(IM_LOG_WARN, "files are read whole", "why=%s", im_log_quote(&(struct im_quoted){0}, text.s));
        return;
    }
    r->is_auto = conf->read_ranges == IM_RANGES_AUTO;
    r->is_cold = !r->is_auto;
    r->disk = bytes_of_disk();
}

void rd_ranges_close(struct rd_ranges *r)
{
    im_seek_close(&r->file);
    au_seek_fini(&r->seek);
}

void rd_ranges_count(struct rd_ranges *r, uint64_t bytes)
{
    uint64_t disk;

    if (r->file.fd < 0 || !r->is_auto)
        return;
    r->bytes += bytes;
    if (++r->images < LOOK_EVERY)
        return;
    disk = bytes_of_disk() - r->disk;
    r->is_cold = disk > r->bytes / (r->is_cold ? COLD_UNTIL : COLD_FROM);
    r->disk += disk;
    r->images = r->bytes = 0;
}

static uint32_t at_most(uint32_t n, uint32_t most)
{
    return n < most ? n : most;
}

/* The key of an image's link; 0: its path is longer than any. */
static uint64_t key_of(const struct rd_ranges *r, const char *path, uint64_t offset)
{
    const char *root = *path == '/' ? "" : r->root, *slash = *path == '/' ? "" : "/";
    char absolute[PATH_MAX];
    const int n = snprintf(absolute, sizeof absolute, "%s%s%s", root, slash, path);

    return n < 0 || (size_t)n >= sizeof absolute ? 0 : im_seek_link_key(absolute, offset);
}

/* The bytes of the image that the crop is decoded from, in whole blocks. */
static bool choose_range(struct rd_ranges *r, const struct im_place *at, uint64_t item, struct rd_range *ret)
{
    const struct im_seek_link *link = &r->link;
    const struct au_scan_shape shape = {.at = link->scan,
                                        .mcu_width = link->mcu_width,
                                        .mcu_height = link->mcu_height,
                                        .looks_sideways = link->looks_sideways,
                                        .looks_up = link->looks_up};
    const struct au_job job = {.split = IM_TRAIN,
                               .seed = r->seed,
                               .sample = item,
                               .epoch = at->phase->epoch,
                               .size = at->phase->image_size,
                               .crop = r->crop};
    struct rd_io_two *two = &ret->two;
    uint64_t from, to;
    struct au_crop crop;

    if (link->width == 0 || link->height == 0)
        return false;
    crop = au_crop_make(&job, link->width, link->height);
    if (!au_seek_extent(&r->seek, &shape, &crop.box, &from, &to) || to > link->bytes + 1)
        return false;
    ret->image = link->image;
    ret->bytes = link->bytes;
    two->head = at_most(im_seek_link_up(link->phase, link->scan), link->bytes);
    two->from = im_seek_link_down(link->phase, (uint32_t)from);
    two->from = two->from > two->head ? two->from : two->head;
    two->to = at_most(im_seek_link_up(link->phase, (uint32_t)to), link->bytes);
    two->to = two->to > two->from ? two->to : two->from;
    return ret->bytes - (two->to - two->from) - two->head >= SAVED_MIN;
}

/* Where the second part goes in a cell of `room` bytes. */
static void place_range(struct rd_range *range, uint64_t room)
{
    struct rd_io_two *two = &range->two;

    two->at = range->bytes <= room ? two->from : two->head;
    range->is_too_large = (uint64_t)two->at + (two->to - two->from) > room;
}

struct rd_range rd_ranges_find(struct rd_ranges *r, const struct im_place *at, uint64_t item,
                               const struct rd_source_of *source, const char *path, uint64_t room,
                               bool is_whole)
{
    const struct rd_range whole = {0};
    struct rd_range range = {0};
    int n;

    if (r->file.fd < 0 || !r->is_cold || at->phase->split != IM_TRAIN)
        return whole;
    range.link = key_of(r, path, source->offset);
    range.phase = im_seek_link_phase(source->offset);
    if (is_whole || range.link == 0)
        return range;
    n = im_seek_link_find(&r->file, range.link, &r->link);
    if (n == 0 ||
        (n > 0 && (r->link.phase != range.phase || (source->container && r->link.bytes != source->bytes))))
        return range;
    if (n < 0 || r->link.bytes < FILE_MIN)
        return whole;
    n = im_seek_find(&r->file, r->link.image, r->record, sizeof r->record);
    if (n == 0)
        return range;
    if (n < 0 || !au_seek_unpack(&r->seek, r->record, (size_t)n) || !choose_range(r, at, item, &range))
        return whole;
    place_range(&range, room);
    return range;
}

bool rd_ranges_agree(struct rd_ranges *r, const struct rd_range *range, const unsigned char *bytes)
{
    const struct im_seek_parts parts = {.link = range->link,
                                        .image = range->image,
                                        .bytes = range->bytes,
                                        .phase = range->phase,
                                        .head = range->two.head,
                                        .from = range->two.from,
                                        .to = range->two.to,
                                        .first = bytes,
                                        .second = bytes + range->two.at};

    return im_seek_link_proves(&r->file, &parts, &r->link);
}
