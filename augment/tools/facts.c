#include "augment/tools/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "augment/decode/decode.h"
#include "augment/limits.h"
#include "augment/sandbox.h"
#include "augment/tools/jpeg_facts.h"
#include "augment/tools/likeness.h"
#include "ipc/base/hash.h"
#include "ipc/base/printable.h"
#include "ipc/base/reference.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"

enum { JOBS_MAX = 1024, LOOK_MS = 20, FAILED_STARTS_MAX = 3, DEATHS_MAX = 2 };
#define DEADLINE_NS (60 * IM_SECOND) /* for one image */
#define SHOW_NS (IM_SECOND / 5)

/* Shared by all. */
struct board {
    _Atomic uint64_t next;         /* the name that nobody has taken */
    _Atomic uint64_t at[JOBS_MAX]; /* W: each job its own; the name that it works on, + 1 */
    _Atomic int error;             /* why a job could not begin; a negative errno */
};

struct job {
    pid_t pid;
    uint64_t seen; /* of board->at */
    im_ns since;
};

struct collector {
    struct im_conf *conf;
    const struct au_names *names;
    struct au_facts *facts;
    struct au_options options;
    struct board *board;
    struct job job[JOBS_MAX];
    int failed_starts;
};

struct sums {
    uint64_t sum[3], squares[3];
    uint32_t width;
    struct au_likeness *likeness; /* NULL: not wanted */
};

/* Rows of a decoded image; begins anew at the first. */
static void add_rows(void *context, uint32_t first, uint32_t count, const struct au_pixels *rows)
{
    struct sums *s = context;

    if (first == 0)
        *s = (struct sums){.width = s->width, .likeness = s->likeness};
    if (s->likeness)
        au_likeness_rows(s->likeness, first, count, rows);
    for (uint32_t y = 0; y < count; y++) {
        const unsigned char *p = rows->data + (size_t)y * rows->stride;
        uint32_t r = 0, g = 0, b = 0, rr = 0, gg = 0, bb = 0; /* of 65500 pixels at most: all fit */

        for (const unsigned char *end = p + 3 * (size_t)s->width; p < end; p += 3) {
            r += p[0], g += p[1], b += p[2];
            rr += (uint32_t)p[0] * p[0], gg += (uint32_t)p[1] * p[1], bb += (uint32_t)p[2] * p[2];
        }
        s->sum[0] += r, s->sum[1] += g, s->sum[2] += b;
        s->squares[0] += rr, s->squares[1] += gg, s->squares[2] += bb;
    }
}

/* A verdict, or a negative errno about this process. */
static int decode(struct au_decoder *decoder, const char *bytes, size_t n, bool likeness, struct au_fact *f)
{
    struct au_likeness like;
    struct sums sums = {.likeness = likeness ? &like : NULL};
    const struct au_sink sink = {add_rows, &sums};
    struct au_image image;
    struct imk_box box = {0};
    int result = n == 0 ? IM_VERDICT_EMPTY : au_decoder_open(decoder, bytes, n, &image, NULL);
    double pixels;

    if (result)
        return result;
    f->type = (uint8_t)image.type, f->width = image.width, f->height = image.height;
    sums.width = box.w = image.width;
    box.h = image.height;
    au_likeness_begin(&like, image.width, image.height);
    result = au_decoder_rows(decoder, 1, &box, &sink, NULL);
    pixels = (double)image.width * image.height;
    for (int c = 0; result == 0 && c < 3; c++) {
        f->mean[c] = (float)((double)sums.sum[c] / pixels / 255);
        f->square[c] = (float)((double)sums.squares[c] / pixels / 255 / 255);
    }
    if (result == 0 && likeness)
        f->has_likeness = au_likeness_hash(&like, &f->likeness);
    return result;
}

static void look_at(const struct collector *c, struct au_decoder *decoder, size_t i)
{
    struct au_fact *f = &c->facts->facts[i];
    const char *reference = c->names->names[i].reference;
    struct au_jpeg_facts jpeg;
    char *bytes = NULL;
    size_t n = 0;
    int err = im_reference_read(reference, (size_t)c->conf->max_file_bytes, &bytes, &n, NULL);

    f->type = IM_IMAGE_TYPE_COUNT;
    if (err < 0) {
        f->verdict = err == -EFBIG    ? IM_VERDICT_TOO_LARGE
                     : err == -ENOMEM ? IM_VERDICT_MEMORY_LIMIT
                                      : IM_VERDICT_READ_ERROR;
    } else {
        f->hash = im_hash64(bytes, n, 0);
        f->bytes = n;
        jpeg = au_jpeg_facts_read((const unsigned char *)bytes, n);
        f->components = (uint8_t)jpeg.components;
        f->orientation = (uint8_t)jpeg.orientation;
        f->is_progressive = jpeg.is_progressive;
        err = decode(decoder, bytes, n, c->conf->near_duplicates > 0, f);
        f->verdict = (uint8_t)(err < 0 ? IM_VERDICT_MEMORY_LIMIT : err);
    }
    free(bytes);
    f->is_done = 1;
}

/* The name that a job looks at next: `again`, + 1, or 0 for one that nobody has taken. */
static uint64_t take_name(const struct collector *c, uint64_t again)
{
    return again ? again - 1 : atomic_fetch_add_explicit(&c->board->next, 1, memory_order_relaxed);
}

/* A job's whole life. */
static void collect_facts(const struct collector *c, int job, uint64_t again)
{
    struct im_sandbox_state state;
    struct im_text why = {""};
    struct au_decoder *decoder;
    uint64_t i;
    int err;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_DFL);
    au_limit_memory(c->conf);
    err = au_decoder_new(&decoder, &c->options.limits);
    if (err == 0)
        err = au_sandbox_enter(c->names->root, NULL, true, false, &state, &why);
    if (err < 0) {
        atomic_store_explicit(&c->board->error, err, memory_order_relaxed);
        im_say(stderr, "imsuper: %s", why.s[0] ? why.s : strerror(-err));
        _exit(IM_EXIT_FAILED);
    }
    for (; (i = take_name(c, again)) < c->names->count; again = 0) {
        atomic_store_explicit(&c->board->at[job], i + 1, memory_order_release);
        look_at(c, decoder, i);
    }
    atomic_store_explicit(&c->board->at[job], 0, memory_order_release);
    _exit(0);
}

static int start_job(struct collector *c, int job, uint64_t again)
{
    struct job *j = &c->job[job];

    atomic_store_explicit(&c->board->at[job], 0, memory_order_release);
    fflush(NULL);
    *j = (struct job){.pid = fork(), .since = im_now()};
    if (j->pid == 0)
        collect_facts(c, job, again);
    return j->pid < 0 ? -errno : 0;
}

/* A job has ended. Its image, if it had one, is looked at by another one: somebody may have killed the job, or stopped it.
 * The second time it is the image. Returns the one to look at again, + 1; 0: none. */
static uint64_t bury_job(struct collector *c, int job, unsigned verdict)
{
    const uint64_t at = atomic_load_explicit(&c->board->at[job], memory_order_acquire);
    struct au_fact *f = at ? &c->facts->facts[at - 1] : NULL;

    c->job[job].pid = 0;
    if (!f || f->is_done)
        return 0;
    if (++f->deaths < DEATHS_MAX) {
        *f = (struct au_fact){.deaths = f->deaths};
        return at;
    }
    f->type = IM_IMAGE_TYPE_COUNT;
    f->verdict = (uint8_t)verdict;
    f->is_done = 1;
    return 0;
}

/* A finished one is closed; another takes its place while images are left. */
static int watch_job(struct collector *c, int job)
{
    struct job *j = &c->job[job];
    const uint64_t at = atomic_load_explicit(&c->board->at[job], memory_order_acquire);
    uint64_t again;
    bool is_late;
    int status = 0;
    pid_t got;

    if (at != j->seen)
        j->seen = at, j->since = im_now();
    is_late = at != 0 && im_now() - j->since > DEADLINE_NS;
    if (is_late)
        kill(j->pid, SIGKILL);
    got = waitpid(j->pid, &status, is_late ? 0 : WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
        return 0;
    again = bury_job(c, job, is_late ? IM_VERDICT_DEADLINE : IM_VERDICT_KILLED);
    if (atomic_load_explicit(&c->board->error, memory_order_relaxed) < 0)
        return atomic_load_explicit(&c->board->error, memory_order_relaxed);
    if (atomic_load_explicit(&c->board->at[job], memory_order_acquire) == 0 &&
        !(WIFEXITED(status) && WEXITSTATUS(status) == 0) && ++c->failed_starts > FAILED_STARTS_MAX)
        return -ECHILD; /* it dies before its first image */
    return again || atomic_load_explicit(&c->board->next, memory_order_relaxed) < c->names->count
               ? start_job(c, job, again)
               : 0;
}

static void show(const struct collector *c, im_ns began, im_ns *shown)
{
    const uint64_t next = atomic_load_explicit(&c->board->next, memory_order_relaxed),
                   done = next < c->names->count ? next : c->names->count;

    if (im_now() - *shown < SHOW_NS)
        return;
    *shown = im_now();
    fprintf(stderr, "\r\033[K%" PRIu64 " of %zu images, %.0f images/s", done, c->names->count,
            (double)done * 1e9 / (double)(*shown - began));
    fflush(stderr);
}

static int run_jobs(struct collector *c, struct im_text *text)
{
    const bool is_shown = isatty(STDERR_FILENO) && !c->conf->quiet && !c->conf->plain;
    const im_ns began = im_now();
    im_ns shown = began;
    int err = 0, alive = 1;

    for (int job = 0; err == 0 && job < c->facts->jobs; job++)
        err = start_job(c, job, 0);
    while (err == 0 && alive) {
        alive = 0;
        poll(NULL, 0, LOOK_MS);
        for (int job = 0; err == 0 && job < c->facts->jobs; job++) {
            if (c->job[job].pid > 0)
                err = watch_job(c, job);
            alive += c->job[job].pid > 0;
        }
        if (is_shown)
            show(c, began, &shown);
    }
    if (is_shown)
        fputs("\r\033[K", stderr);
    for (int job = 0; job < c->facts->jobs; job++)
        if (c->job[job].pid > 0) {
            kill(c->job[job].pid, SIGKILL);
            waitpid(c->job[job].pid, NULL, 0);
        }
    c->facts->seconds = (double)(im_now() - began) / 1e9;
    return err < 0 ? im_fail(text, err, "processes that decode cannot work: %s", strerror(-err)) : 0;
}

static void *map_shared(size_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return map == MAP_FAILED ? NULL : map;
}

/* As many jobs as there are cores, and images for them; memory for each as in a run. */
static void choose_jobs(struct im_conf *conf, size_t images, int64_t *ret)
{
    const uint64_t total = im_memory_total();
    int64_t jobs = conf->jobs ? conf->jobs : im_cpu_count(), part;

    jobs = jobs < JOBS_MAX ? jobs : JOBS_MAX;
    jobs = (uint64_t)jobs < images ? jobs : (int64_t)images;
    jobs = jobs > 0 ? jobs : 1;
    part = (int64_t)(total / 2 / (uint64_t)jobs >> 20);
    if (conf->decode_memory_mib == 0) {
        conf->decode_memory_mib = im_conf_decode_memory_mib(conf);
        if (total > 0 && part < conf->decode_memory_mib)
            conf->decode_memory_mib = part > 128 ? part : 128;
    }
    *ret = jobs;
}

/* Decodes all of the names with conf->jobs processes. au_facts_free() in every case. 0, or a negative errno with a
 * sentence. */
static int decode_names(struct im_conf *conf, const struct au_names *names, struct au_facts *ret,
                        struct im_text *text)
{
    struct collector *c = calloc(1, sizeof *c);
    int err;

    *ret = (struct au_facts){.count = names->count};
    choose_jobs(conf, names->count, &ret->jobs);
    ret->facts = map_shared((names->count + 1) * sizeof *ret->facts);
    if (c) {
        *c = (struct collector){.conf = conf, .names = names, .facts = ret};
        c->board = map_shared(sizeof *c->board);
    }
    err = c && c->board && ret->facts ? au_options_make(conf, &c->options)
                                      : im_fail(text, -ENOMEM, "no memory for %zu images", names->count);
    if (err == 0)
        err = run_jobs(c, text);
    if (c && c->board)
        munmap(c->board, sizeof *c->board);
    free(c);
    return err;
}

void au_facts_free(struct au_facts *facts)
{
    if (facts->facts)
        munmap(facts->facts, (facts->count + 1) * sizeof *facts->facts);
    *facts = (struct au_facts){0};
}

int au_facts_open(struct im_conf *conf, struct au_names *names, struct au_facts *facts)
{
    struct im_text text = {""};
    int err = au_names_load(conf, names, &text);

    *facts = (struct au_facts){0};
    if (err > 0)
        return err;
    if (err == 0 && names->count == 0)
        err = im_fail(&text, -ENOENT, "no images in %.700s", conf->data_dir);
    if (err == 0)
        err = decode_names(conf, names, facts, &text);
    return err < 0 ? im_command_fail(err, &text) : 0;
}
