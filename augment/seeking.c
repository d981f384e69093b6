#include "augment/seeking.h"

#include <errno.h>

#include "ipc/base/log.h"
#include "ipc/seek_ring.h"

static_assert((int)AU_SEEK_BYTES_MAX <= IM_SEEK_BYTES_MAX, "an index fits a record");

void au_seeking_open(struct au_seeking *s, struct im_child *child, struct au_decoder *decoder)
{
    struct im_text text = {""};

    *s = (struct au_seeking){.file = {.fd = -1}};
    if (!*child->conf->seek_file)
        return;
    if (im_seek_open(child->conf->seek_file, &s->file, &text) < 0) {
        im_log(IM_LOG_WARN, "images are decoded without a seek index", "why=%s",
               im_log_quote(&(struct im_quoted){0}, text.s));
        return;
    }
    s->child = child;
    s->decoder = decoder;
    s->ring = &child->run->seek_ring[child->index];
}

void au_seeking_close(struct au_seeking *s)
{
    im_seek_close(&s->file);
}

static bool is_wanted(const struct au_seeking *s)
{
    return atomic_load_explicit(&s->child->run->control->seek_wanted, memory_order_relaxed) != 0;
}

/* What led to parts of a file that do not do is forgotten. */
static void drop_link(struct au_seeking *s)
{
    if (s->is_part && s->link_key != 0)
        im_seek_ring_put(s->ring, s->link_key, NULL, 0);
}

bool au_seeking_begin(struct au_seeking *s, uint64_t key, const void *bytes, size_t n,
                      const struct im_encoded_meta *meta)
{
    enum au_seek_mode mode = AU_SEEK_OFF;
    int found;

    s->is_part = meta->to > 0;
    if (!s->child)
        return !s->is_part;
    s->key = key;
    s->image = bytes;
    s->n = n;
    s->link_key = meta->link;
    s->phase = meta->phase;
    s->wants_link = s->link_key != 0 && !s->is_part && is_wanted(s);
    found = im_seek_find(&s->file, key, s->bytes, sizeof s->bytes);
    if (found > 0 && au_seek_unpack(au_decoder_seek(s->decoder), s->bytes, (size_t)found))
        mode = AU_SEEK_USE;
    else if (found == 0 && is_wanted(s) && !s->is_part)
        mode = AU_SEEK_RECORD;
    else if (found > 0)
        im_seek_ring_put(s->ring, key, NULL, 0);
    s->has_begun = !s->is_part || mode == AU_SEEK_USE;
    if (!s->has_begun)
        drop_link(s);
    else if (s->is_part)
        au_decoder_seek_parts(s->decoder, meta->from > meta->head ? meta->from : 0, meta->to);
    else
        au_decoder_seek_mode(s->decoder, mode);
    return s->has_begun;
}

bool au_seeking_proves(struct au_seeking *s, const struct im_encoded_meta *meta, const void *bytes)
{
    const struct im_seek_parts parts = {.link = meta->link,
                                        .image = meta->image,
                                        .bytes = meta->image_bytes,
                                        .phase = meta->phase,
                                        .head = meta->head,
                                        .from = meta->from,
                                        .to = meta->to,
                                        .first = bytes,
                                        .second = (const unsigned char *)bytes + meta->from};

    return s->child && im_seek_link_proves(&s->file, &parts, &s->link);
}

bool au_seeking_was_used(const struct au_seeking *s)
{
    return s->child && au_decoder_seek_result(s->decoder) == AU_SEEK_USED;
}

size_t au_seeking_link(const struct au_decoder *decoder, uint64_t key, uint32_t phase, const void *bytes,
                       size_t n, struct im_seek_link *ret)
{
    const struct au_scan_shape shape = au_decoder_scan(decoder);
    const struct au_image image = au_decoder_image(decoder);

    if (shape.mcu_width == 0 || shape.at >= n || image.width > UINT16_MAX || image.height > UINT16_MAX)
        return 0;
    *ret = (struct im_seek_link){.image = key,
                                 .scan = (uint32_t)shape.at,
                                 .width = (uint16_t)image.width,
                                 .height = (uint16_t)image.height,
                                 .mcu_width = (uint8_t)shape.mcu_width,
                                 .mcu_height = (uint8_t)shape.mcu_height,
                                 .looks_sideways = shape.looks_sideways,
                                 .looks_up = shape.looks_up,
                                 .phase = phase};
    return im_seek_link_fill(ret, bytes, n);
}

/* The image has an index, which is in the file or on its way there. */
static void make_link(struct au_seeking *s)
{
    const size_t n =
        s->wants_link ? au_seeking_link(s->decoder, s->key, s->phase, s->image, s->n, &s->link) : 0;

    if (n == 0)
        return;
    im_seek_ring_put(s->ring, s->link_key, NULL, 0); /* that of another image, which was here before */
    im_seek_ring_put(s->ring, s->link_key, &s->link, n);
}

static void pass_on(struct au_seeking *s)
{
    size_t n = 0;

    if (au_decoder_seek_finish(s->decoder))
        n = au_seek_pack(au_decoder_seek(s->decoder), s->bytes, sizeof s->bytes);
    if (n > 0 && im_seek_ring_put(s->ring, s->key, s->bytes, n)) {
        im_stats_add(s->child->stats, IM_C_SEEK_MADE, 1);
        make_link(s);
    }
}

bool au_seeking_learns(const struct au_seeking *s)
{
    enum au_seek_result result;

    if (!s->child || !s->has_begun)
        return false;
    result = au_decoder_seek_result(s->decoder);
    return result != AU_SEEK_NONE && (result != AU_SEEK_USED || s->wants_link);
}

void au_seeking_end(struct au_seeking *s)
{
    if (!s->child || !s->has_begun)
        return;
    s->has_begun = false;
    switch (au_decoder_seek_result(s->decoder)) {
    case AU_SEEK_USED:
        im_stats_add(s->child->stats, IM_C_SEEK_USED, 1);
        make_link(s);
        break;
    case AU_SEEK_WRONG:
        im_stats_add(s->child->stats, IM_C_SEEK_WRONG, 1);
        im_seek_ring_put(s->ring, s->key, NULL, 0);
        drop_link(s);
        break;
    case AU_SEEK_BEGUN:
        pass_on(s);
        break;
    default:
        break;
    }
}
