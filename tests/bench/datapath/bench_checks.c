/* What the checks on the way of an image cost, on real files:
 *
 *     bench_checks DIR [PASSES]        DIR has class folders, as for `imsuper start`; 12 passes by default
 *
 * One thread fills cells as a reader does, another takes them a ring later and renders them as an augmenter does. Whether the
 * bytes are hashed goes round from image to image: not at all, and where they are, by the reader always, and by the augmenter after it has decoded them, of one
 * image in IM_COMPARED_EACH or of all. In three passes
 * each image is once of each kind, with the same crop, so that other work on the machine and its changing clock fall on all kinds
 * alike. (A hash with wide vectors that lower the clock would be paid for by the image behind it, too, and not be seen.) Figures are
 * microseconds of processor time an image, and shares of all of it; a hash brings bytes to a cache that the decoder would wait for
 * otherwise, so that the difference of the sums is the cost, and not the time in the hash. The last column is that difference from
 * three passes to three passes: their mean, and its standard error.
 *
 * The ledger is measured alone, over as many samples as ImageNet has, in random order. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "augment/render.h"
#include "ipc/base/hash.h"
#include "ipc/encoded.h"
#include "ipc/ledger.h"
#include "ipc/shuffle.h"
#include "kernels/image.h"

enum { PASSES_MAX = 10000 };
enum {
    CELLS = 128,
    CELL_BYTES = 1 << 20,
    FILES_MAX = 5000,
    SIZE = 224,
    BATCH = 256,
    IMAGES = 1281167,
    SEED = 7
};
enum kind { NONE, SOME, ALL, KINDS };

static struct {
    char *path[FILES_MAX];
    int files;
    unsigned passes;
    unsigned char *cell[CELLS];
    size_t bytes[CELLS];
    uint64_t hash[CELLS];
    _Atomic uint64_t filled, freed;
    double read_us[KINDS], hash_read_us[KINDS], render_us[KINDS], hash_render_us[KINDS];
    uint64_t images[KINDS], wrong;
    double sum_us[PASSES_MAX / KINDS + 2][KINDS]
                 [2]; /* of KINDS passes, with the hash; of the thread that reads, and of the other */
} b;

static double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int add(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type == FTW_F && b.files < FILES_MAX && st->st_size > 0 && st->st_size <= CELL_BYTES)
        b.path[b.files++] = strdup(path);
    return 0;
}

static enum kind kind_of(uint64_t item)
{
    return (enum kind)((item % (uint64_t)b.files + item / (uint64_t)b.files) % KINDS);
}

static uint64_t hash(enum kind kind, const void *bytes, size_t n)
{
    return kind == NONE ? 0 : im_hash_bulk(bytes, n, SEED);
}

/* The augmenter's look at the bytes of a cell. */
static void check(enum kind kind, uint64_t at)
{
    const double began = cpu_us();

    b.wrong += hash(kind, b.cell[at], b.bytes[at]) != b.hash[at];
    b.hash_render_us[kind] += cpu_us() - began;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

static void *read_all(void *arg)
{
    const uint64_t all = (uint64_t)b.files * b.passes, warm = (uint64_t)b.files * KINDS;

    (void)arg;
    for (uint64_t i = 0; i < all; i++) {
        const uint64_t at = i % CELLS;
        const enum kind kind = kind_of(i);
        double t0, t1;
        ssize_t n;
        int fd;

        while (i - atomic_load_explicit(&b.freed, memory_order_acquire) >= CELLS)
            nap();
        t0 = cpu_us();
        fd = open(b.path[i % (uint64_t)b.files], O_RDONLY | O_CLOEXEC);
        n = read(fd, b.cell[at], CELL_BYTES);
        close(fd);
        t1 = cpu_us();
        b.bytes[at] = n > 0 ? (size_t)n : 0;
        b.hash[at] = hash(kind, b.cell[at], b.bytes[at]);
        b.hash_read_us[kind] += cpu_us() - t1;
        b.read_us[kind] += t1 - t0;
        b.sum_us[i / warm][kind][0] += cpu_us() - t0;
        atomic_store_explicit(&b.filled, i + 1, memory_order_release);
    }
    return NULL;
}

static void render_all(struct au_renderer *renderer, unsigned char *out)
{
    const uint64_t all = (uint64_t)b.files * b.passes, warm = (uint64_t)b.files * KINDS;

    for (uint64_t i = 0; i < all; i++) {
        const uint64_t at = i % CELLS;
        const enum kind kind = kind_of(i);
        struct au_job job = {
            .split = IM_TRAIN, .seed = 1, .sample = i % (uint64_t)b.files, .crop = AU_CROP_DEFAULT};
        double t0, began;

        job.epoch = (uint32_t)(i / warm);
        job.size = SIZE;
        /* A full ring, as where augmenters limit: its bytes were written some time ago. */
        while (atomic_load_explicit(&b.filled, memory_order_acquire) <
               (i + CELLS - 1 < all ? i + CELLS - 1 : all))
            nap();
        if (i == warm) /* files and code are in memory by now */
            for (int k = 0; k < KINDS; k++)
                b.render_us[k] = b.hash_render_us[k] = 0, b.images[k] = 0;
        began = cpu_us();
        t0 = cpu_us();
        b.wrong += au_render(renderer, &job, b.cell[at], b.bytes[at], out, NULL) != 0;
        b.render_us[kind] += cpu_us() - t0;
        if (kind == ALL || (kind == SOME && i % IM_COMPARED_EACH == 0))
            check(kind, at);
        b.sum_us[i / warm][kind][1] += cpu_us() - began;
        b.images[kind]++;
        atomic_store_explicit(&b.freed, i + 1, memory_order_release);
    }
}

/* Nanoseconds a sample. */
static double ledger_ns(void)
{
    static struct im_control control;
    struct im_run run = {.control = &control};
    static uint64_t samples[BATCH];
    static uint32_t verdicts[BATCH];
    double t0;

    run.stamp[IM_TRAIN] = calloc(IMAGES, sizeof *run.stamp[IM_TRAIN]);
    run.geometry.samples[IM_TRAIN] = IMAGES;
    if (!run.stamp[IM_TRAIN])
        return 0;
    t0 = cpu_us();
    im_ledger_begin(&run, IM_TRAIN);
    for (uint64_t i = 0; i + BATCH <= IMAGES; i += BATCH) {
        for (uint64_t k = 0; k < BATCH; k++)
            samples[k] = (i + k) * 7919 % IMAGES;
        im_ledger_enter(&run, IM_TRAIN, 0, samples, verdicts, BATCH);
    }
    t0 = cpu_us() - t0;
    free(run.stamp[IM_TRAIN]);
    return t0 * 1e3 / IMAGES;
}

/* What a kind costs more than none, in parts of it: the mean over all KINDS passes but the first ones, and its standard error. */
static void paired(enum kind kind, double *ret_mean, double *ret_error)
{
    const unsigned groups = b.passes / KINDS;
    const double n = groups - 1;
    double sum = 0, squares = 0;

    for (unsigned i = 1; i < groups; i++) {
        const double none = b.sum_us[i][NONE][0] + b.sum_us[i][NONE][1];
        const double more = (b.sum_us[i][kind][0] + b.sum_us[i][kind][1] - none) / none;

        sum += more;
        squares += more * more;
    }
    *ret_mean = sum / n;
    *ret_error = n > 1 ? sqrt((squares - sum * sum / n) / (n - 1) / n) : 0;
}

/* 0: it is no number from 1 to 10,000. */
static unsigned passes_of(const char *word)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(word, &end, 10);
    return errno || end == word || *end || n > PASSES_MAX ? 0 : (unsigned)n;
}

int main(int argc, char **argv)
{
    static const char *const names[KINDS] = {"no hash", "some", "all"};
    static unsigned char out[SIZE * SIZE * 3];
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_renderer *renderer;
    double base = 0, read_passes;
    pthread_t reader;

    if (argc < 2 || nftw(argv[1], add, 32, FTW_PHYS) < 0 || b.files < CELLS) {
        fprintf(stderr, "usage: bench_checks DIR [PASSES]: a folder of %d images or more\n", CELLS);
        return 2;
    }
    b.passes = ((argc > 2 ? passes_of(argv[2]) : 12) + KINDS - 1) / KINDS * KINDS + KINDS;
    for (int i = 0; i < CELLS; i++)
        if (!(b.cell[i] = aligned_alloc(4096, CELL_BYTES)))
            return 1;
    if (au_renderer_new(&renderer, &limits, imk_cpu_flags()) < 0 ||
        pthread_create(&reader, NULL, read_all, NULL))
        return 1;
    render_all(renderer, out);
    pthread_join(reader, NULL);
    au_renderer_free(&renderer);
    read_passes = (double)b.passes / (b.passes - KINDS); /* the reader counts the first passes, too */
    printf("%d files, %u passes, %llu wrong\n%-10s %8s %8s %10s %8s %8s\n", b.files, b.passes - KINDS,
           (unsigned long long)b.wrong, "us/image", "read", "hash", "check", "render", "sum");
    for (int k = 0; k < KINDS; k++) {
        const double n = (double)b.images[k], m = n * read_passes;
        const double sum =
            (b.read_us[k] + b.hash_read_us[k]) / m + (b.render_us[k] + b.hash_render_us[k]) / n;

        double more, error;

        base = k == NONE ? sum : base;
        paired((enum kind)k, &more, &error);
        printf("%-10s %8.1f %8.2f %10.2f %8.1f %8.1f  %+.2f %%  %+.2f +- %.2f %%\n", names[k],
               b.read_us[k] / m, b.hash_read_us[k] / m, b.hash_render_us[k] / n, b.render_us[k] / n, sum,
               100 * (sum - base) / base, 100 * more, 100 * error);
    }
    printf("ledger: %.1f ns a sample\n", ledger_ns());
    return b.wrong != 0;
}
