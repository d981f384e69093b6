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

void au_seeking_begin(struct au_seeking *s, uint64_t key)
{
    enum au_seek_mode mode = AU_SEEK_OFF;
    int n;

    if (!s->child)
        return;
    s->key = key;
    n = im_seek_find(&s->file, key, s->bytes, sizeof s->bytes);
    if (n > 0 && au_seek_unpack(au_decoder_seek(s->decoder), s->bytes, (size_t)n))
        mode = AU_SEEK_USE;
    else if (n == 0 && is_wanted(s))
        mode = AU_SEEK_RECORD;
    else if (n > 0)
        im_seek_ring_put(s->ring, key, NULL, 0);
    au_decoder_seek_mode(s->decoder, mode);
}

static void pass_on(struct au_seeking *s)
{
    size_t n = 0;

    if (au_decoder_seek_finish(s->decoder))
        n = au_seek_pack(au_decoder_seek(s->decoder), s->bytes, sizeof s->bytes);
    if (n > 0 && im_seek_ring_put(s->ring, s->key, s->bytes, n))
        im_stats_add(s->child->stats, IM_C_SEEK_MADE, 1);
}

void au_seeking_end(struct au_seeking *s)
{
    if (!s->child)
        return;
    switch (au_decoder_seek_result(s->decoder)) {
    case AU_SEEK_USED:
        im_stats_add(s->child->stats, IM_C_SEEK_USED, 1);
        break;
    case AU_SEEK_WRONG:
        im_stats_add(s->child->stats, IM_C_SEEK_WRONG, 1);
        im_seek_ring_put(s->ring, s->key, NULL, 0);
        break;
    case AU_SEEK_BEGUN:
        pass_on(s);
        break;
    default:
        break;
    }
}
