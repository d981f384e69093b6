/* Synthetic images with labels: enough to try the whole program, and to test that it learns, without
 * downloading anything. */
#ifndef READER_TOOLS_SYNTH_H
#define READER_TOOLS_SYNTH_H

#include <stdint.h>

#include "ipc/base/err.h"

struct rd_synth {
    const char *folder; /* gets train/class_000/00000.jpg ..., val/class_000/... */
    uint32_t class_count, per_class, val_per_class;
    uint64_t seed;
    uint32_t size_min, size_max; /* pixels a side, each side drawn on its own */
    int quality;                 /* of JPEG, 1 .. 100 */
};

#define RD_SYNTH_CLASSES_MAX 10000
#define RD_SYNTH_PER_CLASS_MAX 10000000
#define RD_SYNTH_SIZE_MIN 8
#define RD_SYNTH_SIZE_MAX 8192

/* Draws image `i` of a class into rgb (size_max^2 * 3 bytes suffice) and says how large it is. Training
 * images are i = 0 .. per_class-1, validation images follow. A pure function of the struct's numbers, class
 * and i. */
void rd_synth_draw(const struct rd_synth *synth, uint32_t class, uint32_t i, uint8_t *rgb,
                   uint32_t *ret_width, uint32_t *ret_height);

/* Makes all files with several threads. `tick` as in rd_parallel. -EEXIST with a sentence where the folder
 * holds something; -EINVAL for numbers out of range; I/O errors. */
int rd_synth_write(const struct rd_synth *synth, void (*tick)(void *context, uint64_t done), void *context,
                   struct im_text *text);

#endif
