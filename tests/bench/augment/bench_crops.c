/* Two versions of the decoder against each other: what a training crop of a real file takes with its seek index, and a hash of all pixels.
 *
 *     bench_crops [--passes N] [--epochs N] [--best FILE]
 *
 * One thread, bytes and index in memory, crops of 224 pixels. Of each crop the least processor time of all passes counts,
 * because other work on the machine only ever adds to it; FILE keeps the least times from run to run. Build each version,
 * keep its program under a name of its own, and run them in turns with a FILE each: crops.sh does it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "augment/render.h"
#include "tests/unit/augment/sample.h"

#define SKIPPED 77

enum { SIZE = 224, EPOCHS_MAX = 16 };

struct bench {
    struct sample sample;
    struct au_renderer *renderer;
    struct {
        unsigned char *bytes; /* NULL: the file has none */
        size_t n;
    } index[SAMPLE_MAX];
    uint64_t best[SAMPLE_MAX * EPOCHS_MAX]; /* ns of processor time */
    uint64_t hash;                          /* FNV-1a of the first pass's pixels */
    unsigned char out[3 * SIZE * SIZE];
};

static uint64_t cpu_time(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int make_index(struct bench *b, size_t i)
{
    static unsigned char bytes[AU_SEEK_BYTES_MAX];
    struct au_decoder *decoder = au_renderer_decoder(b->renderer);
    struct au_image image;
    size_t n;

    if (au_decoder_open(decoder, b->sample.files[i].bytes, b->sample.files[i].n, &image, NULL) != 0)
        return -1;
    if (!au_decoder_seek_make(decoder))
        return 0;
    n = au_seek_pack(au_decoder_seek(decoder), bytes, sizeof bytes);
    b->index[i].bytes = malloc(n + 1);
    if (!b->index[i].bytes)
        return -1;
    memcpy(b->index[i].bytes, bytes, n);
    b->index[i].n = n;
    return 0;
}

static int render(struct bench *b, size_t i, uint32_t epoch)
{
    struct au_job job = {
        .split = IM_TRAIN, .seed = 1, .epoch = epoch, .sample = i, .size = SIZE, .crop = AU_CROP_DEFAULT};
    struct au_decoder *decoder = au_renderer_decoder(b->renderer);

    job.crop.eval_resize = SIZE * 8 / 7;
    if (b->index[i].bytes && au_seek_unpack(au_decoder_seek(decoder), b->index[i].bytes, b->index[i].n))
        au_decoder_seek_mode(decoder, AU_SEEK_USE);
    if (au_render(b->renderer, &job, b->sample.files[i].bytes, b->sample.files[i].n, b->out, NULL) != 0)
        return -1;
    return !b->index[i].bytes || au_decoder_seek_result(decoder) == AU_SEEK_USED ? 0 : -1;
}

static int pass(struct bench *b, uint32_t epochs, bool hashes)
{
    for (size_t at = 0; at < b->sample.count * epochs; at++) {
        uint64_t start = cpu_time(), took;

        if (render(b, at % b->sample.count, (uint32_t)(at / b->sample.count)) < 0)
            return fprintf(stderr, "bench_crops: cannot render %s\n",
                           b->sample.files[at % b->sample.count].name),
                   -1;
        took = cpu_time() - start;
        b->best[at] = took < b->best[at] ? took : b->best[at];
        for (size_t k = 0; hashes && k < sizeof b->out; k++)
            b->hash = (b->hash ^ b->out[k]) * UINT64_C(0x100000001b3);
    }
    return 0;
}

/* Reads or writes the least times; a file that is not there leaves them. */
static int keep(struct bench *b, const char *path, const char *mode)
{
    FILE *f = path ? fopen(path, mode) : NULL;
    size_t n = sizeof b->best, done;

    if (!f)
        return path && *mode == 'w' ? -1 : 0;
    done = *mode == 'w' ? fwrite(b->best, 1, n, f) : fread(b->best, 1, n, f);
    return fclose(f) == 0 && done == n ? 0 : -1;
}

static int measure(struct bench *b, uint32_t epochs, int passes, const char *path)
{
    uint64_t total = 0;
    size_t crops = b->sample.count * epochs;
    double ms;

    memset(b->best, 0xff, sizeof b->best);
    if (keep(b, path, "r") < 0)
        return fprintf(stderr, "bench_crops: %s is no file of least times\n", path), -1;
    for (int i = 0; i < passes; i++)
        if (pass(b, epochs, i == 0) < 0)
            return -1;
    if (keep(b, path, "w") < 0)
        return fprintf(stderr, "bench_crops: cannot write %s\n", path), -1;
    for (size_t i = 0; i < crops; i++)
        total += b->best[i];
    ms = (double)total / 1e6 / (double)crops;
    printf("%zu crops  %.4f ms/image  %.0f images/s  pixels %016llx\n", crops, ms, 1000 / ms,
           (unsigned long long)b->hash);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"passes", required_argument, NULL, 'p'},
                                            {"epochs", required_argument, NULL, 'e'},
                                            {"best", required_argument, NULL, 'b'},
                                            {0}};
    static struct bench b = {.hash = UINT64_C(0xcbf29ce484222325)};
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    const char *path = NULL;
    int passes = 5, epochs = 2, option, failed = 0;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        const unsigned long value = option == 'p' || option == 'e' ? strtoul(optarg, NULL, 10) : 1;

        passes = option != 'p' ? passes : value <= 1000 ? (int)value : 0;
        epochs = option != 'e' ? epochs : value <= EPOCHS_MAX ? (int)value : 0;
        path = option == 'b' ? optarg : path;
        if (option == '?' || passes < 1 || epochs < 1)
            return fprintf(stderr, "usage: bench_crops [--passes N] [--epochs 1...16] [--best FILE]\n"), 2;
    }
    if (sample_open(&b.sample) < 0)
        return SKIPPED;
    failed = au_renderer_new(&b.renderer, &limits, imk_cpu_flags()) < 0;
    for (size_t i = 0; i < b.sample.count && !failed; i++)
        failed = make_index(&b, i) < 0;
    failed = failed || measure(&b, (uint32_t)epochs, passes, path) < 0;
    for (size_t i = 0; i < b.sample.count; i++)
        free(b.index[i].bytes);
    if (b.renderer)
        au_renderer_free(&b.renderer);
    sample_close(&b.sample);
    return failed;
}
