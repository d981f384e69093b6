/* libFuzzer target: bytes of a stranger's file through decode, crop, resize and flip.
 *
 * The first four bytes choose the job, the rest is the file. Limits are small, so that one input takes well
 * under the second that a run allows it. Every output byte is looked at, for MemorySanitizer, and the output
 * has its own allocation of exactly its size, for AddressSanitizer. */
#include "augment/render.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define JOB_BYTES 4

static struct au_job job_from(const uint8_t *data)
{
    struct au_job job = {
        .split = data[0] & 1 ? AU_EVAL : AU_TRAIN,
        .seed = data[1],
        .sample = data[2],
        .size = 1 + data[3] % 96u,
        .recipe = AU_RECIPE_DEFAULT,
    };

    if (data[0] & 2)
        job.recipe.train_crop = AU_CROP_PADDED;
    job.recipe.eval_resize = job.size + (data[0] >> 4);
    return job;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct au_limits limits = {
        .side_max = 4096, .pixels_max = 1 << 20, .scans_max = 16, .memory_max = (size_t)32 << 20};
    struct au_renderer *renderer;
    struct im_text text = {""};
    struct au_job job;
    unsigned char *out;
    uint32_t sum = 0;
    int result;

    if (n < JOB_BYTES)
        return 0;
    job = job_from(data);
    out = malloc((size_t)job.size * job.size * 3);
    if (!out || au_renderer_new(&renderer, &limits, imk_cpu_flags()) < 0)
        abort();
    result = au_render(renderer, &job, data + JOB_BYTES, n - JOB_BYTES, out, &text);
    im_assert(result < IM_VERDICT_COUNT);
    im_assert(result == 0 || text.s[0] != '\0');
    for (size_t i = 0; result == 0 && i < (size_t)job.size * job.size * 3; i++)
        sum += out[i];
    im_assert(sum < UINT32_MAX);
    au_renderer_free(&renderer);
    free(out);
    return 0;
}
