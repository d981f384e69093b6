/* libFuzzer target: bytes of a stranger's file through decode, crop, resize and flip.
 *
 * The first four bytes choose the job, the rest is the file. Limits are small, so that one input takes well
 * under the second that a run allows it. MemorySanitizer checks every output byte, and the output
 * has its own allocation of exactly its size, for AddressSanitizer. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "augment/render.h"
#include "augment/tools/jpeg_facts.h"
#include "ipc/base/msan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define JOB_BYTES 4

/* MemorySanitizer does not follow what the SIMD versions do: they multiply what lies beyond a row by zero. */
#ifdef IM_MSAN
#define KERNELS 0
#else
#define KERNELS imk_cpu_flags()
#endif

static struct au_job job_from(const uint8_t *data)
{
    struct au_job job = {
        .split = data[0] & 1 ? IM_VAL : IM_TRAIN,
        .seed = data[1],
        .sample = data[2],
        .size = 1 + data[3] % 96u,
        .crop = AU_CROP_DEFAULT,
    };

    if (data[0] & 2)
        job.crop.train_crop = AU_CROP_PADDED;
    job.crop.scaled_decode = data[0] & 4;
    job.crop.eval_resize = job.size + (data[0] >> 4);
    return job;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct au_limits limits = {
        .side_max = 4096, .pixels_max = 1 << 20, .scans_max = 16, .memory_max = (size_t)32 << 20};
    struct au_renderer *renderer;
    struct au_jpeg_facts facts;
    struct im_text text = {""};
    struct au_job job;
    unsigned char *out;
    int result;

    if (n < JOB_BYTES)
        return 0;
    facts = au_jpeg_facts_read(data + JOB_BYTES, n - JOB_BYTES); /* of data verify */
    im_assert(facts.orientation >= 0 && facts.orientation <= 8);
    job = job_from(data);
    out = malloc((size_t)job.size * job.size * 3);
    if (!out || au_renderer_new(&renderer, &limits, KERNELS) < 0)
        abort();
    im_msan_unwritten(out, (size_t)job.size * job.size * 3);
    result = au_render(renderer, &job, data + JOB_BYTES, n - JOB_BYTES, out, &text);
    im_assert(result < IM_VERDICT_COUNT);
    im_assert(result == 0 || text.s[0] != '\0');
    if (result == 0)
        im_msan_check(out, (size_t)job.size * job.size * 3);
    im_msan_written(out, (size_t)job.size * job.size * 3);
    au_renderer_free(&renderer);
    free(out);
    return 0;
}
