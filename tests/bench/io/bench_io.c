/* Files per second of both engines over a data set's training images, from the page cache: bench_io
 * INDEX [PASSES]. Not a test; the first pass of each engine only warms up. INDEX is what
 * `imsuper data index` names. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "reader/dataset/index.h"
#include "reader/io.h"

#define CAPACITY ((uint32_t)1 << 20)
#define DEPTH_MAX 64

static double cpu_seconds(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static int run_pass(struct rd_io *io, const struct rd_index *index, unsigned depth, char *buffers,
                    uint64_t *ret_bytes)
{
    uint64_t count = rd_index_count(index, IM_TRAIN), next = 0, done = 0;
    struct rd_io_result results[DEPTH_MAX];
    unsigned free[DEPTH_MAX], free_count = depth;
    char path[PATH_MAX];

    for (unsigned i = 0; i < depth; i++)
        free[i] = i;
    while (done < count) {
        int got;

        while (free_count > 0 && next < count) {
            unsigned b = free[--free_count];

            rd_index_relative(index, IM_TRAIN, next++, path, sizeof path);
            if (rd_io_submit(io, &(struct rd_io_request){.path = path,
                                                         .buffer = buffers + (size_t)b * CAPACITY,
                                                         .capacity = CAPACITY,
                                                         .tag = b}) < 0)
                return -1;
        }
        got = rd_io_reap(io, results, depth, IM_SECOND);
        if (got < 0)
            return got;
        for (int i = 0; i < got; i++) {
            if (results[i].bytes < 0)
                return (int)results[i].bytes;
            *ret_bytes += (uint64_t)results[i].bytes;
            free[free_count++] = (unsigned)results[i].tag;
        }
        done += (uint64_t)got;
    }
    return 0;
}

static void measure(const struct rd_index *index, int root_fd, enum rd_io_kind kind, unsigned depth,
                    unsigned threads, int passes)
{
    struct rd_io_options options = {.kind = kind, .depth = depth, .threads = threads, .root_fd = root_fd};
    char *buffers = malloc((size_t)depth * CAPACITY);
    struct im_text note, text = {""};
    uint64_t bytes = 0, files = rd_index_count(index, IM_TRAIN) * (uint64_t)passes;
    const char *name = kind == RD_IO_URING ? "uring" : "pread";
    struct rd_io *io;
    double cpu, seconds;
    im_ns start;

    if (!buffers || rd_io_open(&options, &io, &note, &text) < 0 ||
        run_pass(io, index, depth, buffers, &bytes) < 0) {
        printf("%-5s failed: %s\n", name, text.s);
        free(buffers);
        return;
    }
    bytes = 0;
    cpu = cpu_seconds();
    start = im_now();
    for (int i = 0; i < passes; i++)
        run_pass(io, index, depth, buffers, &bytes);
    seconds = (double)(im_now() - start) / (double)IM_SECOND;
    printf("%-5s depth %2u threads %u: %8.0f files/s, %5.2f GB/s, %5.1f us CPU/file\n", name, depth, threads,
           (double)files / seconds, (double)bytes / seconds / 1e9,
           (cpu_seconds() - cpu) * 1e6 / (double)files);
    rd_io_close(&io, IM_SECOND);
    free(buffers);
}

int main(int argc, char **argv)
{
    int passes = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 50, root_fd;
    struct im_text text = {""};
    struct rd_index index;

    if (argc < 2 || rd_index_open(argv[1], &index, &text) < 0) {
        fprintf(stderr, "usage: bench_io INDEX [PASSES] %s\n", text.s);
        return 2;
    }
    root_fd = open(rd_index_root(&index), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned depth = 1; depth <= DEPTH_MAX; depth *= 8)
        measure(&index, root_fd, RD_IO_URING, depth, 0, passes);
    for (unsigned threads = 1; threads <= 8; threads *= 2)
        measure(&index, root_fd, RD_IO_PREAD, 64, threads, passes);
    close(root_fd);
    rd_index_close(&index);
    return 0;
}
