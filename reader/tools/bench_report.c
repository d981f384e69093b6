/* `imsuper bench read` and `imsuper profile reader`: one depth in numbers, and latency over depths, cold and warm. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/earlier.h"
#include "ipc/base/json.h"
#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "ipc/base/speedscope.h"
#include "reader/tools/bench_read.h"

enum { FILES_MAX = 4096, BUCKETS = 24, BAR = 40 };
#define BUCKET_LEAST_MS 0.001
#define CACHED_SHARE 0.25 /* of the files' pages in memory: not cold any more */

#define SCHEMA "imsuper.bench-read/1"

static const char *engine_name(const struct rd_bench *b)
{
    return b->kind == RD_IO_URING ? "io_uring" : "pread";
}

/* images/s of each pass, in place of its seconds. */
static struct im_summary rates(const struct rd_bench *b, size_t files)
{
    double *v = calloc(b->passes + 1, sizeof *v);
    struct im_summary s = {0};

    for (size_t i = 0; v && i < b->passes; i++)
        v[i] = (double)files / b->seconds[i];
    if (v)
        s = im_series_summary(v, b->passes);
    free(v);
    return s;
}

static double quantile(const struct rd_bench *b, double share)
{
    return im_series_quantile(b->latency_ms, b->latencies, share);
}

/* Bucket i holds latencies from 2^i us up to twice that; the first also less, the last also more. */
static int bucket_of(double ms)
{
    double bound = 2 * BUCKET_LEAST_MS;
    int bucket = 0;

    while (bucket + 1 < BUCKETS && ms >= bound)
        bucket++, bound *= 2;
    return bucket;
}

static void count_buckets(const struct rd_bench *b, uint64_t counts[BUCKETS])
{
    for (size_t i = 0; i < b->latencies; i++)
        counts[bucket_of(b->latency_ms[i])]++;
}

/* The latencies of a row, summed up by bucket. */
static void add_to_profile(struct im_speedscope *p, const struct rd_bench *b, unsigned depth, bool cold)
{
    double sum[BUCKETS] = {0}, bound = BUCKET_LEAST_MS;
    char in_flight[32], range[48];

    snprintf(in_flight, sizeof in_flight, "%u in flight", depth);
    for (size_t i = 0; i < b->latencies; i++)
        sum[bucket_of(b->latency_ms[i])] += b->latency_ms[i];
    for (int i = 0; i < BUCKETS; i++, bound *= 2) {
        snprintf(range, sizeof range, "%.3f to %.3f ms", bound, 2 * bound);
        if (sum[i] > 0)
            im_speedscope_add(p,
                              (const char *const[]){cold ? "from the disk" : "from memory", in_flight, range},
                              3, sum[i]);
    }
}

static struct im_json *bench_json(const struct rd_bench *b, size_t files, unsigned depth, bool cold)
{
    const struct im_summary s = rates(b, files);
    struct im_json *j = im_json_object(), *passes = im_json_array(), *histogram = im_json_array();
    uint64_t counts[BUCKETS] = {0};

    count_buckets(b, counts);
    im_json_set_str(j, "engine", engine_name(b));
    im_json_set_str(j, "note", b->note.s);
    im_json_set_int(j, "queue_depth", depth);
    im_json_set_bool(j, "cold", cold);
    im_json_set_real(j, "images_per_second", s.mean);
    im_json_set_real(j, "sigma", s.sigma);
    im_json_set_real(j, "megabytes_per_second", s.mean * b->bytes / (double)files / 1e6);
    im_json_set_real(j, "cpu_ms_per_image", 1e3 * b->cpu_seconds / (double)b->latencies);
    im_json_set_real(j, "p50_ms", quantile(b, 0.5));
    im_json_set_real(j, "p99_ms", quantile(b, 0.99));
    im_json_set_real(j, "p999_ms", quantile(b, 0.999));
    im_json_set_real(j, "max_ms", quantile(b, 1));
    im_json_set_int(j, "failed", (int64_t)b->failed);
    im_json_set_int(j, "cut", (int64_t)b->cut);
    im_json_set_int(j, "parts", (int64_t)b->parts);
    im_json_set_real(j, "bytes_per_image", b->bytes / (double)files);
    if (cold)
        im_json_set_real(j, "still_cached", b->still_cached);
    for (size_t i = 0; i < b->passes; i++)
        im_json_append_real(passes, (double)files / b->seconds[i]);
    im_json_set(j, "passes", passes);
    for (int i = 0; i < BUCKETS; i++)
        im_json_append_int(histogram, (int64_t)counts[i]);
    im_json_set(j, "latency_histogram_from_1us_doubling", histogram);
    return j;
}

static void say_problems(const struct rd_bench *b, bool cold)
{
    if (b->note.s[0])
        im_say(stderr, "imsuper: %s", b->note.s);
    if (b->failed)
        im_say(stderr, "imsuper: %" PRIu64 " files cannot be read, such as %.700s", b->failed,
               b->failed_path);
    if (b->cut)
        im_say(stderr,
               "imsuper: %" PRIu64
               " files are larger than a cell (--cell-bytes): read as far as it goes, as in a run",
               b->cut);
    if (b->changed)
        im_say(stderr,
               "imsuper: %" PRIu64 " files were written since their ranges were learnt: a run reads them "
               "whole, and learns them anew",
               b->changed);
    if (cold && b->still_cached > CACHED_SHARE)
        im_say(stderr,
               "imsuper: %.0f%% of the files' pages stayed in memory (tmpfs, or mapped by others): not cold",
               100 * b->still_cached);
}

static void print_bench(const struct im_conf *conf, const struct rd_bench *b, size_t files,
                        const struct im_earlier *earlier)
{
    const struct im_summary s = rates(b, files);
    struct im_text compared;

    printf("%zu files of %.1f KB, %zu passes, %s, %" PRId64 " in flight, one reader, %s\n", files,
           b->bytes / (double)files / 1e3, b->passes, engine_name(b), conf->queue_depth,
           conf->cold ? "cold" : "warm");
    if (b->parts > 0)
        printf("ranges    of %" PRIu64 " files, what a random resized crop needs (--read-ranges)\n",
               b->parts);
    printf("images/s  %.0f +- %.0f (%.0f to %.0f)\n", s.mean, s.sigma, s.least, s.most);
    printf("MB/s      %.1f\n", s.mean * b->bytes / (double)files / 1e6);
    printf("latency   p50 %.3f  p99 %.3f  p99.9 %.3f  max %.3f ms\n", quantile(b, 0.5), quantile(b, 0.99),
           quantile(b, 0.999), quantile(b, 1));
    printf("CPU       %.4f ms an image\n", 1e3 * b->cpu_seconds / (double)b->latencies);
    if (*im_earlier_sentence(earlier, &s, true, "images/s", &compared))
        printf("compared  %s\n", compared.s);
}

static int list(struct im_conf *conf, struct rd_bench_files *files)
{
    struct im_text text = {""};
    int err = rd_bench_list(conf, FILES_MAX, files);

    if (err == 0 && files->count == 0) {
        im_fail(&text, 0, "no training images in %.700s", conf->data_dir);
        err = IM_EXIT_BAD_DATA;
        im_say(stderr, "imsuper: %s", text.s);
    }
    return err < 0 ? im_command_fail(err, &text) : err;
}

int rd_cmd_bench(struct im_conf *conf)
{
    struct rd_bench_files files;
    struct im_text text = {""};
    struct im_earlier earlier;
    struct rd_bench b;
    int err = im_earlier_load(conf->compare, SCHEMA, "passes", &earlier, &text);

    if (err < 0)
        return im_command_fail(err, &text);
    err = list(conf, &files);
    if (err)
        return err;
    err = rd_bench_run(conf, &files, (unsigned)conf->queue_depth, conf->cold, &b, &text);
    if (err == 0 && conf->json) {
        const struct im_summary now = rates(&b, files.count);
        struct im_json *j = bench_json(&b, files.count, (unsigned)conf->queue_depth, conf->cold);

        im_earlier_add_json(&earlier, &now, true, j);
        im_json_set_str(j, "schema", SCHEMA);
        im_json_set_int(j, "files", (int64_t)files.count);
        err = im_json_print(j, stdout);
        im_json_free(&j);
    } else if (err == 0) {
        print_bench(conf, &b, files.count, &earlier);
    }
    if (err == 0)
        say_problems(&b, conf->cold);
    rd_bench_free(&b);
    rd_bench_files_free(&files);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}

static void print_histogram(const struct rd_bench *b)
{
    uint64_t counts[BUCKETS] = {0}, most = 1;
    double bound = BUCKET_LEAST_MS;
    int first = BUCKETS, last = 0;

    count_buckets(b, counts);
    for (int i = 0; i < BUCKETS; i++) {
        most = counts[i] > most ? counts[i] : most;
        if (counts[i] && first == BUCKETS)
            first = i;
        if (counts[i])
            last = i;
    }
    printf("files of the row above, by the time from asking to having:\n");
    for (int i = 0; i <= last; i++, bound *= 2) {
        if (i < first)
            continue;
        printf("  %9.3f ms %9" PRIu64 "  %.*s\n", bound, counts[i], (int)(BAR * counts[i] / most),
               "########################################");
    }
}

/* What `imsuper profile reader` makes beside what it prints. */
struct profile {
    struct im_json *rows;
    struct im_speedscope *stacks; /* NULL: no -o */
};

/* One row. */
static int sweep_step(struct im_conf *conf, const struct rd_bench_files *files, unsigned depth, bool cold,
                      bool last, struct profile *p, struct im_text *text)
{
    struct rd_bench b;
    int err = rd_bench_run(conf, files, depth, cold, &b, text);

    if (err == 0 && p->stacks)
        add_to_profile(p->stacks, &b, depth, cold);
    if (err == 0 && conf->json) {
        im_json_append(p->rows, bench_json(&b, files->count, depth, cold));
    } else if (err == 0) {
        const struct im_summary s = rates(&b, files->count);

        printf("%-5s %8u %10.0f +- %-6.0f %8.1f %8.3f %8.3f %8.3f %8.4f\n",
               !cold                           ? "warm"
               : b.still_cached > CACHED_SHARE ? "cold?"
                                               : "cold",
               depth, s.mean, s.sigma, s.mean * b.bytes / (double)files->count / 1e6, quantile(&b, 0.5),
               quantile(&b, 0.99), quantile(&b, 1), 1e3 * b.cpu_seconds / (double)b.latencies);
        if (last)
            print_histogram(&b);
    }
    if (err == 0 && last)
        say_problems(&b, cold);
    rd_bench_free(&b);
    return err;
}

/* 1, 4, 16, ... and --queue-depth. */
static int sweep(struct im_conf *conf, const struct rd_bench_files *files, bool cold, struct profile *p,
                 struct im_text *text)
{
    const unsigned most = (unsigned)conf->queue_depth;
    int err = 0;

    for (unsigned depth = 1; err == 0 && depth < most; depth *= 4)
        err = sweep_step(conf, files, depth, cold, false, p, text);
    return err == 0 ? sweep_step(conf, files, most, cold, true, p, text) : err;
}

int rd_cmd_profile(struct im_conf *conf)
{
    struct rd_bench_files files = {0};
    struct im_text text = {""};
    struct profile p = {.rows = im_json_array(),
                        .stacks = conf->output[0] ? im_speedscope_new("reader") : NULL};
    struct im_json *j = im_json_object();
    int err = conf->output[0] ? im_output_check(conf->output, &text) : 0;

    if (err == 0)
        err = list(conf, &files);
    if (err == 0 && !conf->json) {
        printf("%zu files, one reader; latency is from the request to its result\n", files.count);
        printf("%-5s %8s %20s %8s %8s %8s %8s %8s\n", "cache", "inflight", "images/s", "MB/s", "p50 ms",
               "p99 ms", "max ms", "CPU ms");
    }
    if (err == 0)
        err = sweep(conf, &files, true, &p, &text);
    if (err == 0 && !conf->cold)
        err = sweep(conf, &files, false, &p, &text);
    if (err == 0 && conf->json) {
        im_json_set_str(j, "schema", "imsuper.profile-reader/1");
        im_json_set_int(j, "files", (int64_t)files.count);
        im_json_set(j, "rows", p.rows), p.rows = NULL;
        err = im_json_print(j, stdout);
    }
    if (p.stacks && err == 0) {
        err = im_speedscope_write(p.stacks, conf->output, &text);
        p.stacks = NULL;
    }
    im_speedscope_free(&p.stacks);
    im_json_free(&p.rows);
    im_json_free(&j);
    rd_bench_files_free(&files);
    return err < 0 ? im_command_fail(err, &text) : err;
}
