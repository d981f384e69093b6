#include "reader/tools/bench_read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/json.h"
#include "reader/ranges.h"
#include "reader/tools/data_cmd.h"

enum { LOOKED_AT = 64, REAP = 32 };
#define READ_TIMEOUT_NS (60 * IM_SECOND)

int rd_bench_list(struct im_conf *conf, uint64_t most, struct rd_bench_files *ret)
{
    struct im_text text = {""};
    struct rd_data data = {0};
    struct rd_source source = rd_cmd_source(conf);
    uint64_t count, wanted = conf->sample ? (uint64_t)conf->sample : most;
    int err = rd_data_open(&source, &(struct rd_progress){0}, &data, &text);

    *ret = (struct rd_bench_files){0};
    if (err < 0)
        return rd_cmd_fail(err, &text);
    count = rd_index_count(&data.index, IM_TRAIN);
    wanted = wanted < most ? wanted : most;
    wanted = wanted < count ? wanted : count;
    ret->paths = calloc(wanted + 1, sizeof *ret->paths);
    ret->sources = calloc(wanted + 1, sizeof *ret->sources);
    ret->samples = calloc(wanted + 1, sizeof *ret->samples);
    if (rd_cmd_seek_path(conf, rd_index_root(&data.index), conf->seek_file, sizeof conf->seek_file, NULL) <
            0 ||
        (conf->read_ranges != IM_RANGES_ON && access(conf->seek_file, R_OK) < 0)) /* as good as none */
        conf->seek_file[0] = 0;
    for (uint64_t i = 0; ret->paths && ret->sources && ret->samples && i < wanted && err >= 0; i++) {
        char inside[PATH_MAX], path[PATH_MAX];

        ret->samples[i] = i * count / wanted;
        err =
            rd_index_source(&data.index, IM_TRAIN, ret->samples[i], &ret->sources[i], inside, sizeof inside);
        if (err >= 0 &&
            (size_t)snprintf(path, sizeof path, "%s/%s", rd_index_root(&data.index), inside) >= sizeof path)
            err = -ENAMETOOLONG;
        ret->paths[i] = err < 0 ? NULL : strdup(path);
        ret->count += ret->paths[i] != NULL;
        err = err < 0 ? err : ret->paths[i] ? 0 : -ENOMEM;
    }
    rd_data_close(&data);
    if (err == 0 && (!ret->paths || !ret->sources || !ret->samples))
        err = -ENOMEM;
    if (err < 0)
        rd_bench_files_free(ret);
    return err < 0 ? err : 0;
}

void rd_bench_files_free(struct rd_bench_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->paths[i]);
    free(files->paths);
    free(files->sources);
    free(files->samples);
    *files = (struct rd_bench_files){0};
}

/* The share of a file's pages that the page cache holds; -1: unknown. */
static double cached_share(int fd)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages, have = 0;
    unsigned char *held;
    struct stat st;
    void *map;

    if (fstat(fd, &st) < 0 || st.st_size <= 0)
        return -1;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -1;
    pages = ((size_t)st.st_size + page - 1) / page;
    held = calloc(pages, 1);
    if (!held || mincore(map, (size_t)st.st_size, held) < 0)
        pages = 0;
    for (size_t i = 0; i < pages; i++)
        have += held[i] & 1;
    free(held);
    munmap(map, (size_t)st.st_size);
    return pages ? (double)have / (double)pages : -1;
}

/* Drops the files from the page cache, and checks some of them. */
static double drop_files(const struct rd_bench_files *files)
{
    double sum = 0;
    size_t looked = 0;

    for (size_t i = 0; i < files->count; i++) {
        const bool is_same = i > 0 && files->sources[i].container &&
                             files->sources[i].container == files->sources[i - 1].container;
        int fd = is_same ? -1 : open(files->paths[i], O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        double share = -1;

        if (fd < 0)
            continue;
        fdatasync(fd); /* what is not written yet stays */
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (i % (files->count / LOOKED_AT + 1) == 0)
            share = cached_share(fd);
        close(fd);
        sum += share >= 0 ? share : 0;
        looked += share >= 0;
    }
    return looked ? sum / (double)looked : 0;
}

struct pass {
    const struct rd_bench_files *files;
    struct rd_io *io;
    char *buffers; /* depth of them */
    uint32_t capacity;
    unsigned depth, *free, free_count;
    im_ns *began; /* of each buffer's file */
    size_t *which;
    struct rd_range *range;
    struct rd_ranges ranges;
    struct im_phase phase; /* each pass is an epoch */
    struct rd_bench *bench;
    double *latency; /* the next one's place; NULL: not measured */
};

static void take_result(struct pass *p, const struct rd_io_result *r)
{
    const unsigned slot = (unsigned)r->tag;

    p->free[p->free_count++] = slot;
    if (!p->latency)
        return;
    *p->latency++ = (double)(im_now() - p->began[slot]) / 1e6;
    p->bench->bytes += r->bytes > 0 ? (double)r->bytes : 0;
    p->bench->cut += r->too_large != 0;
    if (r->bytes > 0 && p->range[slot].two.to > 0) {
        const unsigned char *bytes = (const unsigned char *)p->buffers + (size_t)slot * p->capacity;

        p->bench->parts++;
        p->bench->changed += !rd_ranges_agree(&p->ranges, &p->range[slot], bytes);
    }
    if (r->bytes < 0 && p->bench->failed++ == 0)
        snprintf(p->bench->failed_path, sizeof p->bench->failed_path, "%s", p->files->paths[p->which[slot]]);
}

/* What a crop needs of a file. What does not fit a cell is read by augmenters in a run, and here as far as it goes. */
static void find_range(struct pass *p, size_t i, struct rd_range *ret)
{
    const struct im_place at = {.phase = &p->phase};

    *ret = rd_ranges_find(&p->ranges, &at, p->files->samples[i], &p->files->sources[i], p->files->paths[i],
                          p->capacity, false);
    if (ret->is_too_large)
        *ret = (struct rd_range){0};
}

static int submit_next(struct pass *p, size_t i)
{
    const unsigned slot = p->free[--p->free_count];
    struct rd_io_request request = {.path = p->files->paths[i],
                                    .buffer = p->buffers + (size_t)slot * p->capacity,
                                    .capacity = p->capacity,
                                    .tag = slot,
                                    .container = p->files->sources[i].container,
                                    .offset = p->files->sources[i].offset,
                                    .bytes = p->files->sources[i].bytes};

    p->began[slot] = im_now();
    p->which[slot] = i;
    find_range(p, i, &p->range[slot]);
    request.two = p->range[slot].two;
    return rd_io_submit(p->io, &request);
}

/* Reads each file once, as many at a time as there are buffers. */
static int one_pass(struct pass *p)
{
    struct rd_io_result results[REAP];
    size_t next = 0, done = 0;

    while (done < p->files->count) {
        int err = 0, got;

        while (err == 0 && next < p->files->count && p->free_count > 0)
            err = submit_next(p, next++);
        got = err < 0 ? err : rd_io_reap(p->io, results, REAP, READ_TIMEOUT_NS);
        if (got <= 0)
            return got < 0 ? got : -ETIMEDOUT;
        for (int i = 0; i < got; i++)
            take_result(p, &results[i]);
        done += (size_t)got;
    }
    return 0;
}

static double cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run_passes(const struct im_conf *conf, struct pass *p, bool cold)
{
    struct rd_bench *bench = p->bench;
    const struct rd_line line = {.is_shown = isatty(STDERR_FILENO) && !conf->quiet && !conf->plain};
    int err = cold ? 0 : one_pass(p); /* fills the page cache */

    for (int64_t pass = 0; err == 0 && pass < conf->passes; pass++) {
        double cpu;
        im_ns began;

        rd_line_show(&line, "reading %s, %u files in flight: pass %" PRId64 " of %" PRId64,
                     cold ? "cold" : "warm", p->depth, pass + 1, conf->passes);
        if (cold)
            bench->still_cached += drop_files(p->files) / (double)conf->passes;
        bench->bytes = 0, bench->failed = bench->cut = bench->parts = bench->changed = 0;
        p->phase.epoch = (uint32_t)pass;
        p->latency = bench->latency_ms + bench->latencies;
        cpu = cpu_now(), began = im_now();
        err = one_pass(p);
        bench->seconds[pass] = (double)(im_now() - began) / 1e9;
        bench->cpu_seconds += cpu_now() - cpu;
        bench->latencies += p->files->count;
        bench->passes++;
    }
    rd_line_clear(&line);
    im_series_sort(bench->latency_ms, bench->latencies);
    return err;
}

int rd_bench_run(const struct im_conf *conf, const struct rd_bench_files *files, unsigned depth, bool cold,
                 struct rd_bench *ret, struct im_text *text)
{
    const struct rd_io_options options = {
        .kind = (enum rd_io_kind)conf->io, .depth = depth, .root_fd = AT_FDCWD};
    struct pass p = {.files = files,
                     .capacity = (uint32_t)conf->cell_bytes,
                     .depth = depth,
                     .phase = {.split = IM_TRAIN, .image_size = (uint32_t)conf->image_size},
                     .bench = ret};
    const struct im_child child = {.conf = conf};
    int err = -ENOMEM;

    *ret = (struct rd_bench){0};
    p.buffers = malloc((size_t)depth * p.capacity);
    p.free = calloc(depth, sizeof *p.free);
    p.began = calloc(depth, sizeof *p.began);
    p.which = calloc(depth, sizeof *p.which);
    p.range = calloc(depth, sizeof *p.range);
    rd_ranges_open(&p.ranges, &child, "");
    p.ranges.is_cold = p.ranges.is_auto ? cold : p.ranges.is_cold;
    ret->seconds = calloc((size_t)conf->passes, sizeof *ret->seconds);
    ret->latency_ms = calloc((size_t)conf->passes * files->count + 1, sizeof *ret->latency_ms);
    if (p.buffers && p.free && p.began && p.which && p.range && ret->seconds && ret->latency_ms)
        err = rd_io_open(&options, &p.io, &ret->note, text);
    if (err == 0) {
        ret->kind = rd_io_kind(p.io);
        for (unsigned i = 0; i < depth; i++)
            p.free[p.free_count++] = i;
        err = run_passes(conf, &p, cold);
        if (err == -ETIMEDOUT)
            im_fail(text, err, "no file was read for a minute: the storage does not answer");
        if (rd_io_close(&p.io, IM_SECOND) < 0)
            p.buffers = NULL; /* reads are still under way to it */
    }
    free(p.buffers);
    free(p.free);
    free(p.began);
    free(p.which);
    free(p.range);
    rd_ranges_close(&p.ranges);
    return err;
}

void rd_bench_free(struct rd_bench *bench)
{
    free(bench->seconds);
    free(bench->latency_ms);
    bench->seconds = bench->latency_ms = NULL;
}

int rd_cmd_io(struct im_conf *conf)
{
    struct rd_io_options options = {.kind = RD_IO_AUTO, .root_fd = AT_FDCWD};
    struct im_text note = {""}, text = {""};
    struct im_json *j;
    struct rd_io *io;
    int err;

    (void)conf;
    options.depth = 64; /* --queue-depth's default */
    err = rd_io_open(&options, &io, &note, &text);
    if (err < 0)
        return im_command_fail(err, &text);
    j = im_json_object();
    im_json_set_str(j, "schema", "imsuper.io/1");
    im_json_set_str(j, "engine", rd_io_kind(io) == RD_IO_URING ? "uring" : "pread");
    im_json_set_str(j, "why", note.s);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    rd_io_close(&io, IM_SECOND);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}

int rd_cmd_drop(struct im_conf *conf)
{
    struct rd_bench_files files;
    struct im_text text = {""};
    struct im_json *j;
    int err = rd_bench_list(conf, UINT64_MAX, &files);

    if (err)
        return err < 0 ? im_command_fail(err, &text) : err;
    j = im_json_object();
    im_json_set_str(j, "schema", "imsuper.drop/1");
    im_json_set_int(j, "files", (int64_t)files.count);
    im_json_set_real(j, "still_cached", drop_files(&files));
    err = im_json_print(j, stdout);
    im_json_free(&j);
    rd_bench_files_free(&files);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
