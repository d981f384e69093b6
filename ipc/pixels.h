/* Samples outside of a run, from `imsuper-augmenter pixels` to whoever started it, through a pipe: records one after the
 * other, each followed by its path, the sample (size * size RGB pixels) and, where it was asked for, the decoded image
 * (width * height RGB pixels). A record of an image that could not be decoded has a verdict and only its path behind it. */
#ifndef IPC_PIXELS_H
#define IPC_PIXELS_H

#include <stdint.h>

struct im_pixels_record {
    uint64_t id; /* of the image in the index */
    uint32_t verdict;
    uint32_t path_bytes;
    uint32_t size;          /* of the sample */
    uint32_t width, height; /* of the image; 0: it is not sent */
    uint32_t unused;
};

#endif
