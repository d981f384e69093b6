/* The first images that a run trains on, as its augmenters made them: rank 0 writes them once into the run directory, the
 * supervisor draws them (supervisor/report/picture_grid.c). */
#ifndef IPC_FIRST_BATCH_H
#define IPC_FIRST_BATCH_H

#include <stdint.h>

#define IM_FIRST_BATCH_FILE ".first_batch.bin"
#define IM_FIRST_BATCH_PICTURE "first_batch.png"
#define IM_FIRST_BATCH_MAGIC 0x31424d49u /* "IMB1" */

enum {
    IM_FIRST_BATCH_IMAGES_MAX = 64,
    IM_FIRST_BATCH_SMALL = 64,
    IM_FIRST_BATCH_LARGE_IMAGES = 16,
    IM_FIRST_BATCH_SIDE_MAX = 8192
};

/* Behind it: int32_t label[images], -1 where there is no image, and uint8_t pixels[images][side][side][3]. */
struct im_first_batch {
    uint32_t magic, images, side;
};

/* How many are shown: large ones need room. */
static inline uint32_t im_first_batch_images(uint32_t n, uint32_t side)
{
    const uint32_t most =
        side <= IM_FIRST_BATCH_SMALL ? IM_FIRST_BATCH_IMAGES_MAX : IM_FIRST_BATCH_LARGE_IMAGES;

    return n < most ? n : most;
}

#endif
