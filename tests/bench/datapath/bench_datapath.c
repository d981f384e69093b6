/* What the way of an image from file to batch costs, on real files:
 *
 *     bench_datapath [--data-dir DIR] [--size N] [--images N] [--repeat N] [--readers N]
 *                    [--augmenters N,N,...] [--io auto|uring|pread] [--json]
 *
 *     read      readers alone: a stand-in takes each cell and gives it back unread
 *     decode    one thread, bytes in memory, the crops of training
 *     render    the same with resize and flip: all that an augmenter does with an image
 *     threads   readers and augmenters as threads of this process; the batches are given back at once
 *     programs  the same as imsuper-reader and imsuper-augmenter beside this program
 *
 * The repetitions go round: each figure once, then all again, so that other work on the machine falls on all
 * of them. images/s is by the clock on the wall, cpu by the clocks of the processes: the second stands still
 * while others run. Without --data-dir: the real sample (IMSUPER_DATA); files lie in the page cache. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "augment/render.h"
#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/encoded.h"
#include "ipc/process.h"
#include "ipc/wait.h"
#include "reader/dataset/index.h"
#include "supervisor/warden/spawn.h"
#include "tests/support/dataset.h"
#include "tests/support/pipeline.h"

enum { FIGURES_MAX = 16, REPEAT_MAX = 100, WORKERS_MAX = 64, BATCH = 32, SKIPPED = 77 };

enum kind { READ, DECODE, RENDER, THREADS, PROGRAMS };

struct figure {
    enum kind kind;
    uint32_t augmenters;
    char name[32];
    double rate[REPEAT_MAX], cpu_ms[REPEAT_MAX]; /* images/s; CPU milliseconds an image */
};

struct file {
    char *bytes;
    size_t n;
};

struct bench {
    struct dataset set;
    struct im_conf conf;
    struct file *files; /* [count], in the order of sample ids */
    uint64_t count;
    struct au_decoder *decoder;
    struct au_renderer *renderer;
    unsigned char *out;
    uint32_t images; /* a repetition */
    int repeat, done;
    struct figure figure[FIGURES_MAX];
    int figures;
    pid_t pid[WORKERS_MAX]; /* programs that run now */
    int pids;
    struct sv_spawn_fds spawn; /* what they are started with; the lease's writing end among it */
};

static im_ns cpu_now(clockid_t clock)
{
    struct timespec t;

    return clock_gettime(clock, &t) == 0 ? (im_ns)t.tv_sec * IM_SECOND + (im_ns)t.tv_nsec : 0;
}

/* CPU time of this process, or of the programs that it started. */
static im_ns cpu_used(const struct bench *b)
{
    im_ns sum = 0;
    clockid_t clock;

    if (b->pids == 0)
        return cpu_now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < b->pids; i++)
        if (clock_getcpuclockid(b->pid[i], &clock) == 0)
            sum += cpu_now(clock);
    return sum;
}

static void note(struct bench *b, struct figure *f, uint64_t images, im_ns wall, im_ns cpu)
{
    f->rate[b->done] = (double)images * 1e9 / (double)wall;
    f->cpu_ms[b->done] = (double)cpu / 1e6 / (double)images;
}

static struct au_job job_of(const struct bench *b, uint64_t sample)
{
    struct au_job job = {.split = IM_TRAIN, .seed = b->conf.seed, .sample = sample, .crop = AU_CROP_DEFAULT};

    job.epoch = (uint32_t)b->done;
    job.size = (uint32_t)b->conf.image_size;
    return job;
}

static int decode_one(struct bench *b, uint64_t sample)
{
    const struct file *file = &b->files[sample];
    struct au_job job = job_of(b, sample);
    struct au_image image;
    struct au_pixels pixels;
    struct au_crop plan;

    if (au_decoder_open(b->decoder, file->bytes, file->n, &image, NULL) != 0)
        return -EBADMSG;
    plan = au_crop_make(&job, image.width, image.height);
    return au_decoder_region(b->decoder, &plan.box, &pixels, NULL) == 0 ? 0 : -EBADMSG;
}

static int render_one(struct bench *b, uint64_t sample)
{
    struct au_job job = job_of(b, sample);

    return au_render(b->renderer, &job, b->files[sample].bytes, b->files[sample].n, b->out, NULL) == 0
               ? 0
               : -EBADMSG;
}

/* Whole passes over the files, as many as are at least `images` images. */
static int run_alone(struct bench *b, struct figure *f, struct im_text *text)
{
    uint64_t passes = (b->images + b->count - 1) / b->count;
    im_ns wall = im_now(), cpu = cpu_used(b);

    for (uint64_t i = 0; i < passes * b->count; i++)
        if ((f->kind == DECODE ? decode_one : render_one)(b, i % b->count) < 0)
            return im_fail(text, -EBADMSG, "sample %llu cannot be decoded",
                           (unsigned long long)(i % b->count));
    note(b, f, passes * b->count, im_now() - wall, cpu_used(b) - cpu);
    return 0;
}

/* Stands in for an augmenter: moves the words, and never looks at a byte. */
static int release_slots(struct im_child *child, struct im_text *text)
{
    struct im_event *ready = &child->run->control->event_ready;

    (void)text;
    for (;;) {
        uint32_t seen = im_event_look(ready);
        int leave = im_child_should_leave(child);
        struct im_encoded e;
        struct im_place at;

        if (leave)
            return leave;
        if (!im_encoded_take(child->run, child->plan, child->incarnation, &e)) {
            im_event_wait(ready, seen, IM_WAIT_MAX_NS);
            continue;
        }
        if (im_plan_place(child->plan, e.ticket, &at) < 0 ||
            im_batch_claim(child->run, &at, child->incarnation) < 0 ||
            im_batch_commit(child->run, &at, child->incarnation) < 0 ||
            im_encoded_release(child->run, child->incarnation, &e) < 0)
            return -EIO;
    }
}

static int start_programs(struct bench *b, struct pipeline *p, struct im_text *text)
{
    struct im_run *run = pipeline_run(p);
    struct sv_warden_fds fds = {.log_read = open("/dev/null", O_RDONLY | O_CLOEXEC),
                                .log_write = dup(STDERR_FILENO),
                                .lock = open("/dev/null", O_RDONLY | O_CLOEXEC),
                                .index = -1,
                                .pixels = -1,
                                .meeting = -1,
                                .listener = -1};
    int lease[2], err = sv_programs_open(&fds.programs, text);

    if (err < 0)
        return err;
    if (pipe2(lease, O_CLOEXEC) < 0)
        return -errno;
    fds.lease_read = lease[0];
    fds.lease_write = lease[1];
    err = sv_spawn_prepare(run, &fds, &b->spawn);
    const uint32_t readers = (uint32_t)b->conf.readers, augmenters = (uint32_t)b->conf.augmenters;
    for (uint32_t i = 0; i < readers + augmenters && err == 0; i++) {
        bool reader = i < readers;
        enum im_role role = reader ? IM_ROLE_READER : IM_ROLE_AUGMENTER;
        uint32_t index = reader ? i : i - readers;
        pid_t pid = sv_spawn_role(&b->spawn, role, index, im_process_announce(run, role, index));

        if (pid < 0)
            err = im_fail(text, pid, "imsuper-%s: %s", im_role_name(role), strerror(-pid));
        else
            b->pid[b->pids++] = pid;
    }
    close(fds.lock);
    return err;
}

static void end_programs(struct bench *b, struct pipeline *p)
{
    pipeline_set_state(p, IM_RUN_ENDED);
    if (b->pids == 0)
        return;
    while (b->pids > 0)
        waitpid(b->pid[--b->pids], NULL, 0);
    const int fds[] = {b->spawn.control,    b->spawn.encoded,     b->spawn.batch[0],
                       b->spawn.lease_read, b->spawn.lease_write, b->spawn.log_read,
                       b->spawn.log_write,  b->spawn.lock,        b->spawn.null};
    for (size_t i = 0; i < IM_COUNT(fds); i++)
        close(fds[i]);
}

static int start_workers(struct bench *b, const struct figure *f, struct pipeline *p, struct im_text *text)
{
    int err = 0;

    if (f->kind == PROGRAMS)
        return start_programs(b, p, text);
    if (f->kind == THREADS)
        return pipeline_start_workers(p);
    for (uint32_t i = 0; i < b->conf.readers && err == 0; i++)
        err = pipeline_start(p, IM_ROLE_READER, i, NULL);
    return err == 0 ? pipeline_start(p, IM_ROLE_AUGMENTER, 0, release_slots) : err;
}

/* From a full pipeline to a full pipeline: the first batches are not counted, and the run's plan goes on
 * after the last. */
static int measure(struct bench *b, struct figure *f, struct pipeline *p, struct im_text *text)
{
    uint64_t warm = (uint64_t)b->conf.batches_ahead, batches = (b->images + BATCH - 1) / BATCH;
    int err = pipeline_consume(p, 0, 0, warm, NULL, NULL, text);
    im_ns wall = im_now(), cpu = cpu_used(b);

    if (err == 0)
        err = pipeline_consume(p, 0, warm, warm + batches, NULL, NULL, text);
    note(b, f, batches * BATCH, im_now() - wall, cpu_used(b) - cpu);
    return err;
}

static int run_pipeline(struct bench *b, struct figure *f, struct im_text *text)
{
    struct pipeline *p;
    int err;

    b->conf.augmenters = f->augmenters;
    err = pipeline_open(&p, &b->conf, text);
    if (err < 0)
        return err;
    pipeline_begin(p, 0);
    err = start_workers(b, f, p, text);
    if (err == 0)
        err = measure(b, f, p, text);
    end_programs(b, p);
    pipeline_close(&p);
    return err;
}

static int run_all(struct bench *b, struct im_text *text)
{
    for (b->done = 0; b->done < b->repeat; b->done++) {
        for (int i = 0; i < b->figures; i++) {
            struct figure *f = &b->figure[i];
            int err =
                f->kind == DECODE || f->kind == RENDER ? run_alone(b, f, text) : run_pipeline(b, f, text);

            if (err < 0)
                return err;
        }
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct spread {
    double mean, min, median, max;
};

static struct spread spread_of(const double *values, int n)
{
    double sorted[REPEAT_MAX];
    struct spread s = {0};

    memcpy(sorted, values, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare);
    for (int i = 0; i < n; i++)
        s.mean += sorted[i] / n;
    s.min = sorted[0];
    s.median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    s.max = sorted[n - 1];
    return s;
}

static double cpu_of(const struct bench *b, enum kind kind)
{
    for (int i = 0; i < b->figures; i++)
        if (b->figure[i].kind == kind)
            return spread_of(b->figure[i].cpu_ms, b->repeat).median;
    return 0;
}

static void print_table(const struct bench *b)
{
    double read = cpu_of(b, READ), decode = cpu_of(b, DECODE), render = cpu_of(b, RENDER),
           sum = read + render;

    printf("%llu files, %lld x %lld, %u images a figure, %d repetitions\n", (unsigned long long)b->count,
           (long long)b->conf.image_size, (long long)b->conf.image_size, b->images, b->repeat);
    printf("%-24s %10s %8s %8s %8s %14s %8s\n", "", "images/s", "median", "min", "max", "cpu ms/image",
           "min");
    for (int i = 0; i < b->figures; i++) {
        struct spread rate = spread_of(b->figure[i].rate, b->repeat),
                      cpu = spread_of(b->figure[i].cpu_ms, b->repeat);

        printf("%-24s %10.1f %8.1f %8.1f %8.1f %14.3f %8.3f\n", b->figure[i].name, rate.mean, rate.median,
               rate.min, rate.max, cpu.median, cpu.min);
    }
    printf("shares of the stages' cpu: read %.1f %%, decode %.1f %%, resize %.1f %%\n", 100 * read / sum,
           100 * decode / sum, 100 * (render - decode) / sum);
}

static void print_json(const struct bench *b)
{
    struct im_json *j = im_json_object();
    char *text;

    im_json_set_str(j, "schema", "imsuper.bench.datapath/1");
    im_json_set_int(j, "image_size", b->conf.image_size);
    im_json_set_int(j, "files", (int64_t)b->count);
    im_json_set_int(j, "images", b->images);
    im_json_set_int(j, "repetitions", b->repeat);
    for (int i = 0; i < b->figures; i++) {
        struct spread rate = spread_of(b->figure[i].rate, b->repeat),
                      cpu = spread_of(b->figure[i].cpu_ms, b->repeat);
        struct im_json *f = im_json_object();

        im_json_set_real(f, "images_per_second_mean", rate.mean);
        im_json_set_real(f, "images_per_second_median", rate.median);
        im_json_set_real(f, "images_per_second_min", rate.min);
        im_json_set_real(f, "images_per_second_max", rate.max);
        im_json_set_real(f, "cpu_ms_per_image_median", cpu.median);
        im_json_set_real(f, "cpu_ms_per_image_min", cpu.min);
        im_json_set(j, b->figure[i].name, f);
    }
    text = im_json_dump_indented(j);
    if (text)
        puts(text);
    free(text);
    im_json_free(&j);
}

static int load_files(struct bench *b, struct im_text *text)
{
    struct rd_index index;
    int err = rd_index_open(b->set.index_file, &index, text);

    if (err < 0)
        return err;
    b->count = rd_index_count(&index, IM_TRAIN);
    b->files = calloc(b->count, sizeof *b->files);
    err = b->files ? 0 : -ENOMEM;
    for (uint64_t i = 0; i < b->count && err == 0; i++) {
        char path[PATH_MAX];

        err = rd_index_path(&index, IM_TRAIN, i, path, sizeof path);
        if (err >= 0)
            err =
                im_read_file(path, (size_t)b->conf.max_file_bytes, &b->files[i].bytes, &b->files[i].n, text);
    }
    rd_index_close(&index);
    return err;
}

static int set_up(struct bench *b, const char *folder, struct im_text *text)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    int err = folder ? dataset_use(&b->set, folder, text) : dataset_unpack_sample(&b->set, text);

    if (err == 0)
        err = dataset_configure(&b->set, "bench", &b->conf, text);
    if (err == 0)
        err = load_files(b, text);
    if (err == 0)
        err = au_decoder_new(&b->decoder, &limits);
    if (err == 0)
        err = au_renderer_new(&b->renderer, &limits, imk_cpu_flags());
    b->out = malloc((size_t)(b->conf.image_size * b->conf.image_size * 3));
    return err == 0 && !b->out ? -ENOMEM : err;
}

static void tear_down(struct bench *b)
{
    for (uint64_t i = 0; b->files && i < b->count; i++)
        free(b->files[i].bytes);
    free(b->files);
    free(b->out);
    au_decoder_free(&b->decoder);
    au_renderer_free(&b->renderer);
    dataset_remove(&b->set);
}

static void add(struct bench *b, enum kind kind, uint32_t augmenters, const char *format)
{
    struct figure *f = &b->figure[b->figures++];

    *f = (struct figure){.kind = kind, .augmenters = augmenters};
    snprintf(f->name, sizeof f->name, "%s %u+%u", format, (unsigned)b->conf.readers, augmenters);
    if (kind == READ || kind == DECODE || kind == RENDER)
        snprintf(f->name, sizeof f->name, "%s", format);
}

/* "1,2": the numbers of augmenters. */
static int add_figures(struct bench *b, const char *list)
{
    add(b, READ, 1, "read");
    add(b, DECODE, 0, "decode");
    add(b, RENDER, 0, "render");
    while (*list) {
        char *end;
        unsigned long n = strtoul(list, &end, 10);

        if (end == list || n < 1 || n > WORKERS_MAX / 2 || b->figures + 2 > FIGURES_MAX ||
            (*end && *end != ','))
            return -EINVAL;
        add(b, THREADS, (uint32_t)n, "threads");
        add(b, PROGRAMS, (uint32_t)n, "programs");
        list = *end ? end + 1 : end;
    }
    return 0;
}

struct flags {
    const char *folder, *augmenters;
    bool json;
};

static int parse(struct bench *b, struct flags *flags, int argc, char **argv)
{
    static const struct option options[] = {{"data-dir", required_argument, NULL, 'd'},
                                            {"size", required_argument, NULL, 's'},
                                            {"images", required_argument, NULL, 'n'},
                                            {"repeat", required_argument, NULL, 'r'},
                                            {"readers", required_argument, NULL, 'R'},
                                            {"augmenters", required_argument, NULL, 'a'},
                                            {"io", required_argument, NULL, 'i'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    struct im_text text = {""};
    int option, err = 0;

    while (err == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 10) : 0;

        if (option == 'd')
            flags->folder = optarg;
        else if (option == 's')
            err = im_conf_set(&b->conf, "image-size", optarg, &text);
        else if (option == 'i')
            err = im_conf_set(&b->conf, "io", optarg, &text);
        else if (option == 'n' && value >= 1 && value <= 10000000)
            b->images = (uint32_t)value;
        else if (option == 'r' && value >= 1 && value <= REPEAT_MAX)
            b->repeat = (int)value;
        else if (option == 'R' && value >= 1 && value <= WORKERS_MAX / 2)
            b->conf.readers = (int64_t)value;
        else if (option == 'a')
            flags->augmenters = optarg;
        else if (option == 'j')
            flags->json = true;
        else
            err = -EINVAL;
    }
    return err;
}

int main(int argc, char **argv)
{
    static struct bench b = {.images = 600, .repeat = 5};
    struct flags flags = {.augmenters = "1,2"};
    struct im_text text = {""};
    int err;

    im_conf_defaults(&b.conf);
    b.conf.readers = 1;
    b.conf.batch_size = BATCH;
    b.conf.epochs = 100000; /* never the end */
    if (parse(&b, &flags, argc, argv) < 0 || add_figures(&b, flags.augmenters) < 0) {
        fprintf(stderr,
                "usage: bench_datapath [--data-dir DIR] [--size N] [--images N] [--repeat N] [--readers N]\n"
                "                      [--augmenters N,N,...] [--io auto|uring|pread] [--json]\n");
        return 2;
    }
    err = set_up(&b, flags.folder, &text);
    if (err == 0)
        err = run_all(&b, &text);
    if (err == 0)
        (flags.json ? print_json : print_table)(&b);
    tear_down(&b);
    if (err == -ENOENT && !flags.folder)
        return SKIPPED;
    if (err < 0)
        fprintf(stderr, "bench_datapath: %s\n", text.s[0] ? text.s : strerror(-err));
    return err < 0;
}
