/* `imsuper predict --serve`: what passes between its process and the two that it starts, through their standard input
 * and output. `imsuper-augmenter images` takes files of images and answers samples; `imsuper-trainer answers` takes
 * samples and answers records (ipc/outcome.h). Both say first that they are ready, answer one request after the other
 * in their order, and end with their input. */
#ifndef IPC_SERVING_H
#define IPC_SERVING_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/base/err.h"
#include "ipc/config/conf.h"

#define IM_SERVING_OPTIONS_FD 3 /* holds the frozen configuration */

enum { IM_SERVING_BATCH_MAX = 32 };

struct im_serving_ready {
    uint32_t size;          /* of a sample, in pixels */
    uint32_t classes, tops; /* of the trainer */
};

struct im_serving_image { /* followed by the file */
    uint64_t bytes;
};

struct im_serving_sample { /* followed by size * size RGB pixels where the verdict is 0 */
    uint32_t verdict;      /* enum im_verdict */
    uint32_t size;
};

struct im_serving_batch { /* followed by the samples; answered by as many records of im_outcome_bytes() */
    uint32_t images;      /* 1 to IM_SERVING_BATCH_MAX */
    uint32_t size;
};

/* For the two: their options. -EBADMSG with a sentence. */
int im_serving_options(struct im_conf *ret, struct im_text *text);

/* Reads n bytes. 1; 0: the end came before the first of them; negative errno (-EBADMSG: the end came in between). */
int im_serving_read(int fd, void *to, size_t n);

#endif
