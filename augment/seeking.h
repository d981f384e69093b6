/* The seek index in a run: looks up the index of an image's bytes, has the decoder use it, and passes a new one on to
 * the supervisor, which owns the file (ipc/seek_file.h). Pixels do not depend on any of it. */
#ifndef AUGMENT_SEEKING_H
#define AUGMENT_SEEKING_H

#include "augment/decode/decode.h"
#include "ipc/child.h"
#include "ipc/seek_file.h"
#include "ipc/seek_link.h"

struct au_seeking {
    struct im_child *child; /* NULL: there is no index */
    struct au_decoder *decoder;
    struct im_seek_file file;
    struct im_seek_ring *ring;
    uint64_t key;      /* of the image at hand */
    bool has_begun;    /* and was not ended */
    bool is_part;      /* of which there are parts */
    bool wants_link;   /* that has none, or another image's */
    uint64_t link_key; /* by which it is found */
    uint32_t phase;    /* of the link */
    const unsigned char *image;
    size_t n;
    struct im_seek_link link;
    unsigned char bytes[IM_SEEK_BYTES_MAX];
};

/* Opens the file that the configuration names. Without one, images are decoded as ever. */
void au_seeking_open(struct au_seeking *s, struct im_child *child, struct au_decoder *decoder);
void au_seeking_close(struct au_seeking *s);

/* Before an image is decoded whose bytes have this key, and after it, its bytes being there still. meta: what the reader says of
 * them. false: there are only parts of the file, and no index for them. */
bool au_seeking_begin(struct au_seeking *s, uint64_t key, const void *bytes, size_t n,
                      const struct im_encoded_meta *meta);
void au_seeking_end(struct au_seeking *s);
/* Are these, at their places, the parts of the image that meta is of? */
bool au_seeking_proves(struct au_seeking *s, const struct im_encoded_meta *meta, const void *bytes);
/* Is au_seeking_end() going to pass anything on? */
bool au_seeking_learns(const struct au_seeking *s);
/* The link of the image that the decoder has just used or made an index of: its bytes, their key, and the phase of where they begin.
 * Returns the size of the record, which begins at `ret`; 0: it has none. */
size_t au_seeking_link(const struct au_decoder *decoder, uint64_t key, uint32_t phase, const void *bytes,
                       size_t n, struct im_seek_link *ret);
/* Has the decoder, before au_seeking_end(), used the index? */
bool au_seeking_was_used(const struct au_seeking *s);

#endif
