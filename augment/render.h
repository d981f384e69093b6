/* One sample from encoded bytes to finished pixels: decode what is needed, crop, resize, flip, and the
 * transforms that follow. */
#ifndef AUGMENT_RENDER_H
#define AUGMENT_RENDER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "augment/decode/decode.h"
#include "augment/transform/crop.h"
#include "augment/transform/transform.h"
#include "ipc/base/clock.h"
#include "ipc/base/err.h"

struct au_renderer;

/* One per thread. cpu_flags: what the pixel kernels may use (imk_cpu_flags() for all that there is).
 * 0 or -ENOMEM. */
int au_renderer_new(struct au_renderer **ret, const struct au_limits *limits, unsigned cpu_flags);
void au_renderer_free(struct au_renderer **renderer);

/* Writes job->size * job->size RGB pixels (8 bits, rows from the top, interleaved) to `out`, and nothing
 * outside. job->size and job->crop.eval_resize are in 1 .. AU_SIZE_MAX, padding in 0 .. AU_SIZE_MAX.
 *
 * Returns 0; or a verdict > 0 (enum im_verdict) on the bytes, which they will get each time; or a negative
 * errno about this process (-ENOMEM), which says nothing about them. With anything but 0, `text` (may be
 * NULL) is a sentence and `out` holds no part of an image that may be used.
 *
 * Own memory grows while larger images than before turn up and then no more; the decoding libraries allocate
 * per image. */
int au_render(struct au_renderer *renderer, const struct au_job *job, const void *bytes, size_t n,
              unsigned char *out, struct im_text *text);

/* From now on each sample adds to *need the bytes that decoding its image takes, before they are taken: for
 * whoever asks what this process was about to do when it ended. */
void au_renderer_tell_need(struct au_renderer *renderer, _Atomic uint64_t *need);

/* Where the time of the last au_render() went. The decoder's includes reading the header. */
struct au_times {
    im_ns decode, resize, transform;
};
struct au_times au_renderer_times(const struct au_renderer *renderer);

/* The transforms of the last au_render(). */
const struct au_draw *au_renderer_draw(const struct au_renderer *renderer);

/* The canvas, for measurements of its steps. */
struct au_canvas *au_renderer_canvas(struct au_renderer *renderer);

/* The decoder, for measurements of it alone; between two samples only. */
struct au_decoder *au_renderer_decoder(struct au_renderer *renderer);

/* For tests, which show that memory stays what it is: bytes that the renderer keeps between samples. */
size_t au_renderer_bytes(const struct au_renderer *renderer);

#endif
