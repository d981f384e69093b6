/* flip_words PID REGION SEED COUNT PAUSE_MS: flips single bits in the shared memory of a running run, as a faulty
 * memory cell or a stray write would.
 *
 * PID is a trainer, whose descriptors lead to the segments. REGION is one of the names below, or "all". Each flip is
 * printed. Exit status: 0, 2 wrong use, 3 the process is gone. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/rng.h"
#include "ipc/run.h"

struct region {
    const char *name;
    unsigned char *base;
    uint64_t bytes;
};

static void *map_fd(const char *pid, int number, uint64_t *ret_bytes)
{
    char path[64];
    struct stat st;
    void *map;
    int fd;

    snprintf(path, sizeof path, "/proc/%s/fd/%d", pid, number);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
        return NULL;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    *ret_bytes = (uint64_t)st.st_size;
    return map == MAP_FAILED ? NULL : map;
}

static size_t find_regions(const char *pid, struct region *r)
{
    uint64_t control_bytes, snapshot_bytes, batch_bytes;
    unsigned char *control = map_fd(pid, IM_FD_CONTROL, &control_bytes), *batch, *snapshot;
    struct im_geometry g;
    struct im_offsets l;
    size_t n = 0;

    if (!control)
        return 0;
    g = ((const struct im_control *)(const void *)control)->geometry;
    if (im_offsets_compute(&g, &l) < 0 || l.control_bytes != control_bytes)
        return 0;
    r[n++] = (struct region){"header", control, sizeof(struct im_control)};
    r[n++] = (struct region){"conf", control + l.conf, IM_CONF_BYTES / 4};
    r[n++] = (struct region){"processes", control + l.processes, g.slots * sizeof(struct im_process)};
    r[n++] = (struct region){"stats", control + l.stats, g.slots * sizeof(struct im_stats)};
    r[n++] = (struct region){"encoded_words", control + l.encoded_words, g.encoded_cells * sizeof(uint64_t)};
    r[n++] = (struct region){"encoded_meta", control + l.encoded_meta,
                             g.encoded_cells * sizeof(struct im_encoded_meta)};
    r[n++] = (struct region){"batch_words", control + l.batch_words,
                             (uint64_t)g.ranks * g.batches * g.batch_size_max * sizeof(uint64_t)};
    r[n++] = (struct region){"bad_samples", control + l.bad_samples, 4 * sizeof(struct im_bad_entry)};
    r[n++] = (struct region){"peers", control + l.peers, 256};
    r[n++] = (struct region){"stamps", control + l.stamps[IM_TRAIN], g.samples[IM_TRAIN] * sizeof(uint32_t)};
    r[n++] = (struct region){"quarantine",
                             (unsigned char *)((struct im_control *)(void *)control)->quarantine, 64};
    batch = map_fd(pid, IM_FD_BATCH, &batch_bytes);
    for (uint32_t b = 0; batch && b < g.batches; b++)
        r[n++] = (struct region){"batch", batch + b * l.batch_stride + l.batch_labels,
                                 l.batch_samples + g.batch_size_max * sizeof(uint64_t) - l.batch_labels};
    snapshot = map_fd(pid, IM_FD_SNAPSHOT, &snapshot_bytes);
    if (snapshot)
        r[n++] = (struct region){"snapshot", snapshot, sizeof(struct im_snapshot_header)};
    return n;
}

static bool is_named(const struct region *r, const char *name)
{
    return strcmp(name, "all") == 0 || strcmp(name, r->name) == 0;
}

int main(int argc, char **argv)
{
    struct region all[32 + IM_BATCHES_MAX], chosen[32 + IM_BATCHES_MAX];
    size_t count = argc == 6 ? find_regions(argv[1], all) : 0, n = 0;
    struct timespec pause;
    struct im_rng rng;
    long flips, ms;

    if (argc != 6)
        return 2;
    if (count == 0)
        return 3;
    for (size_t i = 0; i < count; i++)
        if (is_named(&all[i], argv[2]))
            chosen[n++] = all[i];
    if (n == 0)
        return 2;
    rng = im_rng_at(strtoull(argv[3], NULL, 10), IM_RNG_TEST, 0, 0);
    flips = strtol(argv[4], NULL, 10);
    ms = strtol(argv[5], NULL, 10);
    pause = (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    for (long i = 0; i < flips; i++) {
        const struct region *r = &chosen[im_rng_below(&rng, n)];
        uint64_t byte = im_rng_below(&rng, r->bytes), bit = im_rng_below(&rng, 8);

        __atomic_fetch_xor(r->base + byte, (unsigned char)(1u << bit), __ATOMIC_SEQ_CST);
        printf("%s byte %" PRIu64 " bit %" PRIu64 "\n", r->name, byte, bit);
        fflush(stdout);
        nanosleep(&pause, NULL);
    }
    return 0;
}
