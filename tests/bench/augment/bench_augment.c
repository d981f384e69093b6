/* What decoding and augmenting cost on real files, one thread, bytes in memory:
 *
 *     bench_augment [--passes N] [--cpu-flags N] [--size N]
 *
 * N passes over all files of the sample. The best time of each file counts, because other work on the machine
 * only ever adds to it. The crops are those of training, the same for each figure. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "augment/render.h"
#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "tests/unit/augment/jpeg_file.h"
#include "tests/unit/augment/sample.h"

#define SKIPPED 77

struct bench {
    struct sample sample;
    struct au_decoder *decoder;
    struct au_renderer *renderer;
    struct imk_image_ops ops;
    struct au_crop plans[SAMPLE_MAX];
    struct au_image images[SAMPLE_MAX];
    struct {
        unsigned char *bytes; /* NULL: it is not worth one */
        size_t n;
        uint32_t points;
    } index[SAMPLE_MAX];
    im_ns best[SAMPLE_MAX];                      /* of the figure being measured */
    im_ns other[SAMPLE_MAX];                     /* of the one measured beside it */
    unsigned char *source, *rows, *out, *tables; /* for the resize alone */
    uint32_t size;
};

/* What a pass does with one image. 0, or -1. */
typedef int (*step)(struct bench *b, size_t i);

static struct au_job job_of(const struct bench *b, size_t i, enum im_split split)
{
    struct au_job job = {.split = split, .seed = 1, .sample = i, .size = b->size, .crop = AU_CROP_DEFAULT};

    job.crop.eval_resize = b->size * 8 / 7;
    return job;
}

static int open_header(struct bench *b, size_t i)
{
    struct au_image image;

    return au_decoder_open(b->decoder, b->sample.files[i].bytes, b->sample.files[i].n, &image, NULL);
}

static int decode_box(struct bench *b, size_t i, const struct imk_box *box)
{
    struct au_pixels pixels;

    return open_header(b, i) ? -1 : au_decoder_region(b->decoder, box, &pixels, NULL);
}

static int decode_whole(struct bench *b, size_t i)
{
    struct imk_box whole = {0, 0, b->images[i].width, b->images[i].height};

    return decode_box(b, i, &whole);
}

static int decode_crop(struct bench *b, size_t i)
{
    return decode_box(b, i, &b->plans[i].box);
}

/* Resizes a crop of the plan's size; its pixels do not matter. */
static int resize_crop(struct bench *b, size_t i)
{
    const struct imk_box *box = &b->plans[i].box;
    struct imk_axis h_axis = {box->w, b->size, 0, b->size, b->plans[i].flip},
                    v_axis = {box->h, b->size, 0, b->size, false};
    size_t out_stride = (size_t)3 * b->size, stride = out_stride + IMK_SLACK;
    struct imk_taps h, v;

    imk_taps_fill(&h, &h_axis, 0.0, (double)h_axis.in, &b->ops, b->tables);
    imk_taps_fill(&v, &v_axis, 0.0, (double)v_axis.in, &b->ops,
                  b->tables + ((imk_taps_bytes(&h_axis) + 63) & ~(size_t)63));
    b->ops.resize_rows(b->rows, stride, b->source, (size_t)3 * box->w, box->h, &h);
    b->ops.resize_columns(b->out, out_stride, b->rows, stride, out_stride, &v);
    return 0;
}

static int fill_tables(struct bench *b, size_t i)
{
    const struct imk_box *box = &b->plans[i].box;
    struct imk_axis h_axis = {box->w, b->size, 0, b->size, false},
                    v_axis = {box->h, b->size, 0, b->size, false};
    struct imk_taps taps;

    imk_taps_fill(&taps, &h_axis, 0.0, (double)h_axis.in, &b->ops, b->tables);
    imk_taps_fill(&taps, &v_axis, 0.0, (double)v_axis.in, &b->ops, b->tables);
    return 0;
}

static int render_train(struct bench *b, size_t i)
{
    struct au_job job = job_of(b, i, IM_TRAIN);

    return au_render(b->renderer, &job, b->sample.files[i].bytes, b->sample.files[i].n, b->out, NULL);
}

static int render_eval(struct bench *b, size_t i)
{
    struct au_job job = job_of(b, i, IM_VAL);

    return au_render(b->renderer, &job, b->sample.files[i].bytes, b->sample.files[i].n, b->out, NULL);
}

/* ---- the seek index, in memory ---- */

static void forget_time(im_ns *best, size_t count)
{
    for (size_t i = 0; i < count; i++)
        best[i] = UINT64_MAX;
}

static int render_with_index(struct bench *b, size_t i)
{
    struct au_decoder *decoder = au_renderer_decoder(b->renderer);

    if (!b->index[i].bytes)
        return render_train(b, i);
    if (!au_seek_unpack(au_decoder_seek(decoder), b->index[i].bytes, b->index[i].n))
        return -1;
    au_decoder_seek_mode(decoder, AU_SEEK_USE);
    return render_train(b, i) == 0 && au_decoder_seek_result(decoder) == AU_SEEK_USED ? 0 : -1;
}

/* The decode of a crop that also writes the index down, to the scan's end. */
static int render_and_record(struct bench *b, size_t i)
{
    static unsigned char bytes[AU_SEEK_BYTES_MAX];
    struct au_decoder *decoder = au_renderer_decoder(b->renderer);
    size_t n;

    au_decoder_seek_mode(decoder, AU_SEEK_RECORD);
    if (render_train(b, i) != 0)
        return -1;
    if (!au_decoder_seek_finish(decoder))
        return 0;
    n = au_seek_pack(au_decoder_seek(decoder), bytes, sizeof bytes);
    if (n == 0 || b->index[i].bytes)
        return n == 0 ? -1 : 0;
    b->index[i].bytes = malloc(n);
    if (!b->index[i].bytes)
        return -1;
    memcpy(b->index[i].bytes, bytes, n);
    b->index[i].n = n;
    b->index[i].points = au_decoder_seek(decoder)->count;
    return 0;
}

static im_ns sum_of(const im_ns *best, size_t count)
{
    im_ns total = 0;

    for (size_t i = 0; i < count; i++)
        total += best[i];
    return total;
}

static int time_one(struct bench *b, size_t i, step do_one, im_ns *best)
{
    im_ns start = im_now(), took;

    if (do_one(b, i) != 0)
        return -1;
    took = im_now() - start;
    if (took < *best)
        *best = took;
    return 0;
}

/* The same crops without and with what is measured, in turns. */
static int compare(struct bench *b, const char *name, step without, step with, int passes)
{
    double ms[2];

    forget_time(b->best, b->sample.count);
    forget_time(b->other, b->sample.count);
    for (int pass = 0; pass < passes; pass++)
        for (size_t i = 0; i < b->sample.count; i++)
            if (time_one(b, i, pass % 2 ? with : without, pass % 2 ? &b->other[i] : &b->best[i]) < 0 ||
                time_one(b, i, pass % 2 ? without : with, pass % 2 ? &b->best[i] : &b->other[i]) < 0) {
                fprintf(stderr, "bench_augment: %s failed on %s\n", name, b->sample.files[i].name);
                return -1;
            }
    ms[0] = (double)sum_of(b->best, b->sample.count) / 1e6 / (double)b->sample.count;
    ms[1] = (double)sum_of(b->other, b->sample.count) / 1e6 / (double)b->sample.count;
    printf("%-14s %8.3f ms/image, without %.3f: %.3f times as fast\n", name, ms[1], ms[0], ms[0] / ms[1]);
    return 0;
}

static int compare_index(struct bench *b, int passes)
{
    uint64_t points = 0, bytes = 0, files = 0, packed = 0;

    if (compare(b, "record index", render_train, render_and_record, passes) < 0)
        return -1;
    for (size_t i = 0; i < b->sample.count; i++) {
        points += b->index[i].points;
        packed += b->index[i].n;
        files += b->index[i].bytes != NULL;
        bytes += b->sample.files[i].n;
    }
    printf("%-14s %8.1f points an image, %llu of %zu images; %.0f bytes, %.2f %% of the files\n", "",
           (double)points / (double)files, (unsigned long long)files, b->sample.count,
           (double)packed / (double)files, 100.0 * (double)packed / (double)bytes);
    return compare(b, "use index", render_train, render_with_index, passes);
}

/* ---- what a reader would read that knew the index: the header and the crop's rows ---- */

enum { WHOLE_BELOW = 32768, DRAWS = 20 };

/* Pages of so many bytes of a file that hold the header, and the rows of the box with one more above and below, which upsampling
 * looks at. */
static uint64_t pages_of(const struct sample_file *file, const struct au_image *image,
                         const struct au_seek *seek, const struct imk_box *box, uint64_t page)
{
    const uint64_t all = (file->n + page - 1) / page, scan = seek->points[seek->count - 1].bit / 8;
    const uint32_t mcu = (image->height + 8 * seek->mcu_rows - 1) / (8 * seek->mcu_rows) * 8;
    uint32_t first = box->y / mcu, last = (box->y + box->h - 1) / mcu;
    uint64_t header = file->n > scan ? file->n - scan : 0, from, to;

    first -= first > 0;
    last += last + 1 < seek->mcu_rows;
    from = (header + seek->points[(uint64_t)first * seek->per_row].bit / 8) / page;
    to = (header + seek->points[(uint64_t)(last + 1) * seek->per_row].bit / 8 + 8) / page + 1;
    header = (header + page - 1) / page;
    to = to < all ? to : all;
    return file->n < WHOLE_BELOW || from <= header ? (file->n < WHOLE_BELOW ? all : to) : header + to - from;
}

static int count_bytes(struct bench *b, uint64_t page)
{
    struct au_decoder *decoder = au_renderer_decoder(b->renderer);
    uint64_t whole = 0, part = 0, large = 0;

    for (size_t i = 0; i < b->sample.count; i++)
        for (uint32_t epoch = 0; epoch < DRAWS; epoch++) {
            struct au_job job = job_of(b, i, IM_TRAIN);
            const struct sample_file *file = &b->sample.files[i];
            uint64_t all = (file->n + page - 1) / page, pages = all;
            struct au_crop plan;

            job.epoch = epoch;
            plan = au_crop_make(&job, b->images[i].width, b->images[i].height);
            if (b->index[i].bytes) {
                if (!au_seek_unpack(au_decoder_seek(decoder), b->index[i].bytes, b->index[i].n))
                    return -1;
                pages = pages_of(file, &b->images[i], au_decoder_seek(decoder), &plan.box, page);
            }
            whole += all;
            part += pages;
            large += pages < all;
        }
    printf("%-14s %8.1f KiB/image in pieces of %llu, whole files %.1f: %.3f times fewer; %.0f %% of reads in "
           "parts\n",
           "crop's bytes", (double)(part * page) / 1024 / (double)(b->sample.count * DRAWS),
           (unsigned long long)page, (double)(whole * page) / 1024 / (double)(b->sample.count * DRAWS),
           (double)whole / (double)part, 100.0 * (double)large / (double)(b->sample.count * DRAWS));
    return 0;
}

static int measure(struct bench *b, const char *name, step do_one, int passes)
{
    im_ns total = 0;
    double ms;

    for (size_t i = 0; i < b->sample.count; i++)
        b->best[i] = UINT64_MAX;
    for (int pass = 0; pass < passes; pass++) {
        for (size_t i = 0; i < b->sample.count; i++) {
            im_ns start = im_now(), took;

            if (do_one(b, i) != 0) {
                fprintf(stderr, "bench_augment: %s failed on %s\n", name, b->sample.files[i].name);
                return -1;
            }
            took = im_now() - start;
            if (took < b->best[i])
                b->best[i] = took;
        }
    }
    for (size_t i = 0; i < b->sample.count; i++)
        total += b->best[i];
    ms = (double)total / 1e6 / (double)b->sample.count;
    printf("%-14s %8.3f ms/image %8.0f images/s\n", name, ms, 1000.0 / ms);
    return 0;
}

static int set_up(struct bench *b, unsigned cpu_flags)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    size_t source_max = 0, table_max = 0, rows_max = 0;

    if (au_decoder_new(&b->decoder, &limits) < 0 || au_renderer_new(&b->renderer, &limits, cpu_flags) < 0)
        return -1;
    imk_image_ops_init(&b->ops, cpu_flags);
    for (size_t i = 0; i < b->sample.count; i++) {
        struct au_job job = job_of(b, i, IM_TRAIN);
        const struct sample_file *file = &b->sample.files[i];

        if (au_decoder_open(b->decoder, file->bytes, file->n, &b->images[i], NULL) != 0)
            return -1;
        b->plans[i] = au_crop_make(&job, b->images[i].width, b->images[i].height);
        struct imk_box box = b->plans[i].box;
        struct imk_axis h = {box.w, b->size, 0, b->size, false}, v = {box.h, b->size, 0, b->size, false};
        size_t source = (size_t)3 * box.w * box.h, tables = imk_taps_bytes(&h) + imk_taps_bytes(&v) + 64;

        source_max = source > source_max ? source : source_max;
        table_max = tables > table_max ? tables : table_max;
        rows_max = box.h > rows_max ? box.h : rows_max;
    }
    b->source = calloc(1, source_max + IMK_SLACK);
    b->rows = malloc(((size_t)3 * b->size + IMK_SLACK) * rows_max);
    b->out = malloc((size_t)3 * b->size * b->size);
    b->tables = malloc(table_max);
    return b->source && b->rows && b->out && b->tables ? 0 : -1;
}

static void tear_down(struct bench *b)
{
    for (size_t i = 0; i < b->sample.count; i++)
        free(b->index[i].bytes);
    free(b->source);
    free(b->rows);
    free(b->out);
    free(b->tables);
    au_decoder_free(&b->decoder);
    au_renderer_free(&b->renderer);
    sample_close(&b->sample);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"passes", required_argument, NULL, 'p'},
                                            {"cpu-flags", required_argument, NULL, 'c'},
                                            {"size", required_argument, NULL, 's'},
                                            {0}};
    static const struct {
        const char *name;
        step do_one;
    } figures[] = {{"header", open_header},      {"decode whole", decode_whole},
                   {"decode crop", decode_crop}, {"filter tables", fill_tables},
                   {"resize crop", resize_crop}, {"render train", render_train},
                   {"render eval", render_eval}};
    unsigned cpu_flags = imk_cpu_flags();
    static struct bench b = {.size = 224};
    int passes = 5, failed = 0, option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 0) : 0;

        if (option == 'p' && value >= 1 && value <= 1000)
            passes = (int)value;
        else if (option == 's' && value >= 1 && value <= AU_SIZE_MAX / 2)
            b.size = (uint32_t)value;
        else if (option == 'c')
            cpu_flags &= (unsigned)value;
        else {
            fprintf(stderr, "usage: bench_augment [--passes N] [--cpu-flags N] [--size N]\n");
            return 2;
        }
    }
    if (sample_open(&b.sample) < 0)
        return SKIPPED;
    if (set_up(&b, cpu_flags) < 0) {
        fprintf(stderr, "bench_augment: cannot set up\n");
        return 1;
    }
    printf("%zu files, %s kernels, %u x %u, best of %d\n", b.sample.count, b.ops.name, b.size, b.size,
           passes);
    for (size_t i = 0; i < IM_COUNT(figures) && !failed; i++)
        failed = measure(&b, figures[i].name, figures[i].do_one, passes) < 0;
    if (!failed)
        failed = compare_index(&b, passes) < 0 || count_bytes(&b, 1) < 0 || count_bytes(&b, 4096) < 0;
    tear_down(&b);
    return failed;
}
