/* See writer.h. The owner appends to lists of lines under a lock; the thread takes a file's whole list and
 * works without the lock, so that a call that hangs holds nobody.
 *
 * Any error closes the file. Opening it again cuts off what of a line got in, so that what follows is not
 * glued to it, and a file system that came back gives a new descriptor. */
#include "ipc/base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/file.h"
#include "ipc/base/thread.h"

#define FIRST_DELAY_NS (100 * IM_MS) /* before what failed is tried again; doubled each time */
#define LAST_DELAY_NS (5 * IM_SECOND)
#define END_DELAY_NS (50 * IM_MS) /* while the writer is being closed */

enum { FILES_MAX = 4, WORKS_MAX = 8 };

struct line {
    struct line *next;
    size_t bytes;
    char s[];
};

/* What is known of a file or a work, under the lock. */
struct health {
    int err; /* of the last try; 0: it went well */
    bool told;
    struct im_text text;
    im_ns busy_since; /* of the call that runs now; 0: none */
    /* The owner's, who looks at it: which call it has seen, since when, and what the thread had run by then. */
    im_ns seen, seen_at, ran;
};

struct file {
    const char *name;
    struct health health;
    /* Under the lock: lines that the thread has not taken yet, and counts of all. */
    struct line *first, **end;
    size_t bytes;
    uint64_t lines, lost;
    /* The thread's own. */
    char path[PATH_MAX];
    im_writer_open_file *open;
    void *context;
    struct line *taken;
    int fd;
    bool by_name; /* a file that was renamed or removed is not written any more */
    im_ns try_at, delay;
};

struct work {
    im_writer_work *run;
    void *context;
    const char *name;
    struct health health;
    bool asked, runs;
};

struct im_writer {
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    pthread_t thread;
    bool started, ended;      /* ended: the thread has left */
    bool closing, abandoned;  /* abandoned: nobody waits any more */
    bool orphan;              /* the thread frees it */
    int schedule_fd;          /* of the kernel's account of the thread; -1: none */
    uint64_t wanted, reached; /* numbers of im_writer_wait() */
    bool sync;
    int result;
    struct file file[FILES_MAX];
    int files;
    struct work work[WORKS_MAX];
    int works;
};

static void set_health(struct im_writer *w, struct health *h, int err, const struct im_text *text)
{
    pthread_mutex_lock(&w->lock);
    h->busy_since = 0;
    h->err = err < 0 ? err : 0;
    if (err < 0)
        snprintf(h->text.s, sizeof h->text.s, "%.*s", (int)sizeof h->text.s - 1,
                 text->s[0] ? text->s : strerror(-err));
    pthread_mutex_unlock(&w->lock);
}

/* -ECANCELED: nothing waits any more, and the rest was reported as lost. */
static int set_busy(struct im_writer *w, struct health *h)
{
    bool abandoned;

    pthread_mutex_lock(&w->lock);
    abandoned = w->abandoned;
    h->busy_since = abandoned ? 0 : im_now();
    pthread_mutex_unlock(&w->lock);
    return abandoned ? -ECANCELED : 0;
}

static int open_file(struct file *f, struct im_text *text)
{
    if (f->open)
        f->fd = f->open(f->context, text);
    else
        f->fd = im_lines_open(f->path, text);
    if (!f->open && (f->fd == -EISDIR || f->fd == -ELOOP) && im_move_aside(f->path, text) == 0)
        f->fd = im_lines_open(f->path, text);
    if (f->fd >= 0)
        f->open = NULL;
    return f->fd < 0 ? f->fd : 0;
}

/* The file was renamed or removed, as rotation of logs does: a new one of its name takes the lines. Where none can be
 * made (its folder is away) they go on into the one that is open. */
static void follow_name(struct file *f)
{
    struct stat open, named;
    int fd;

    if (!f->by_name || fstat(f->fd, &open) < 0 || !S_ISREG(open.st_mode))
        return;
    if (stat(f->path, &named) == 0 ? named.st_ino == open.st_ino && named.st_dev == open.st_dev
                                   : errno != ENOENT)
        return;
    fd = im_lines_open(f->path, NULL);
    if (fd < 0)
        return;
    close(f->fd);
    f->fd = fd;
}

/* The first of the taken lines is written. */
static void drop_first(struct im_writer *w, struct file *f)
{
    struct line *line = f->taken;

    f->taken = line->next;
    pthread_mutex_lock(&w->lock);
    f->bytes -= line->bytes;
    f->lines--;
    pthread_mutex_unlock(&w->lock);
    free(line);
}

/* 0: nothing is left to write. */
static int write_lines(struct im_writer *w, struct file *f, bool sync, struct im_text *text)
{
    int err = set_busy(w, &f->health);

    if (err == 0 && f->fd < 0)
        err = open_file(f, text);
    while (err == 0 && f->taken) {
        err = set_busy(w, &f->health);
        if (err == 0) {
            follow_name(f);
            err = im_append_line(f->fd, f->taken->s);
        }
        if (err == 0)
            drop_first(w, f);
    }
    if (err == 0 && sync && fsync(f->fd) < 0 && errno != EINVAL && errno != EROFS)
        err = -errno;
    if (err < 0 && f->fd >= 0) {
        close(f->fd);
        f->fd = -1;
    }
    return err;
}

static int write_file(struct im_writer *w, struct file *f, bool now, bool sync)
{
    struct im_text text = {""};
    struct line **end = &f->taken;
    int err;

    pthread_mutex_lock(&w->lock);
    while (*end)
        end = &(*end)->next;
    *end = f->first;
    f->first = NULL;
    f->end = &f->first;
    err = f->health.err;
    pthread_mutex_unlock(&w->lock);
    if (!f->taken && f->fd >= 0 && !sync && err == 0)
        return 0;
    if (err < 0 && !now && im_now() < f->try_at)
        return err;
    err = write_lines(w, f, sync, &text);
    f->delay = err == 0                       ? 0
               : f->delay == 0                ? FIRST_DELAY_NS
               : f->delay * 2 > LAST_DELAY_NS ? LAST_DELAY_NS
                                              : f->delay * 2;
    f->try_at = im_now() + f->delay;
    set_health(w, &f->health, err, &text);
    return err;
}

static void do_work(struct im_writer *w, struct work *work)
{
    struct im_text text = {""};
    bool asked;
    int err;

    pthread_mutex_lock(&w->lock);
    asked = work->asked && !w->abandoned;
    work->asked = false;
    work->runs = asked;
    if (asked)
        work->health.busy_since = im_now();
    pthread_mutex_unlock(&w->lock);
    if (!asked)
        return;
    err = work->run(work->context, &text);
    set_health(w, &work->health, err, &text);
    pthread_mutex_lock(&w->lock);
    work->runs = false;
    pthread_mutex_unlock(&w->lock);
}

/* Sleeps until there is something new, or time to try again; under the lock. */
static void rest(struct im_writer *w)
{
    const bool closing = w->closing;
    im_ns until = UINT64_MAX, now = im_now();
    bool asked = w->wanted != w->reached;

    for (int i = 0; i < w->files; i++) {
        const struct file *f = &w->file[i];
        im_ns at = closing && f->try_at > now + END_DELAY_NS ? now + END_DELAY_NS : f->try_at;

        asked |= f->health.err == 0 && f->first;
        if (f->health.err < 0 && at < until)
            until = at;
    }
    for (int i = 0; i < w->works; i++)
        asked |= w->work[i].asked;
    if (asked)
        return;
    if (until == UINT64_MAX) {
        pthread_cond_wait(&w->wake, &w->lock);
    } else {
        struct timespec at = {.tv_sec = (time_t)(until / IM_SECOND), .tv_nsec = (long)(until % IM_SECOND)};

        pthread_cond_timedwait(&w->wake, &w->lock, &at);
    }
}

static bool all_written(const struct im_writer *w)
{
    bool busy = false;

    for (int i = 0; i < w->files; i++)
        busy |= w->file[i].lines > 0;
    for (int i = 0; i < w->works; i++)
        busy |= w->work[i].asked || w->work[i].runs;
    return !busy;
}

/* Under the lock, which is given up while it works. */
static void one_turn(struct im_writer *w)
{
    const uint64_t wanted = w->wanted;
    const bool now = wanted != w->reached || w->closing, sync = now && w->sync;
    const int files = w->files, works = w->works;
    int result = 0;

    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < files; i++) {
        int err = write_file(w, &w->file[i], now, sync);

        result = result < 0 ? result : err;
    }
    for (int i = 0; i < works; i++)
        do_work(w, &w->work[i]);
    pthread_mutex_lock(&w->lock);
    if (wanted != w->reached) {
        w->reached = wanted;
        w->result = result;
        w->sync = false;
    }
    pthread_cond_broadcast(&w->done);
}

static void free_lines(struct line *line)
{
    while (line) {
        struct line *next = line->next;

        free(line);
        line = next;
    }
}

static void free_writer(struct im_writer *w)
{
    for (int i = 0; i < w->files; i++) {
        free_lines(w->file[i].taken);
        free_lines(w->file[i].first);
        free(w->file[i].context);
        if (w->file[i].fd >= 0)
            close(w->file[i].fd);
    }
    if (w->schedule_fd >= 0)
        close(w->schedule_fd);
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->done);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void *writer_thread(void *context)
{
    struct im_writer *w = context;

    bool orphan;

    im_thread_interrupt_nobody();
    pthread_mutex_lock(&w->lock);
    w->schedule_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    while (!w->abandoned && (!w->closing || !all_written(w))) {
        rest(w);
        one_turn(w);
    }
    w->ended = true;
    orphan = w->orphan;
    pthread_cond_broadcast(&w->done);
    pthread_mutex_unlock(&w->lock);
    if (orphan)
        free_writer(w);
    return NULL;
}

/* Under the lock. */
static void start_thread(struct im_writer *w)
{
    if (!w->started)
        w->started = im_thread_begin(writer_thread, w, &w->thread) == 0;
}

int im_writer_open(struct im_writer **ret)
{
    struct im_writer *w = calloc(1, sizeof *w);
    pthread_condattr_t clock;

    if (!w)
        return -ENOMEM;
    w->schedule_fd = -1;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &clock);
    pthread_cond_init(&w->done, &clock);
    pthread_condattr_destroy(&clock);
    *ret = w;
    return 0;
}

int im_writer_file(struct im_writer *w, const char *path, const char *name, int fd, im_writer_open_file *open,
                   void *context)
{
    struct file *f = &w->file[w->files];

    if (w->files == FILES_MAX)
        return -ENOSPC;
    if (strlen(path) >= sizeof f->path)
        return -ENAMETOOLONG;
    pthread_mutex_lock(&w->lock);
    *f = (struct file){.name = name, .open = open, .context = context, .fd = fd};
    f->by_name = fd < 0 && !open;
    memcpy(f->path, path, strlen(path) + 1);
    f->end = &f->first;
    w->files++;
    pthread_mutex_unlock(&w->lock);
    return w->files - 1;
}

void im_writer_line(struct im_writer *w, int file, const char *line)
{
    const size_t n = strlen(line) + 1;
    struct file *f = &w->file[file];
    struct line *added = malloc(sizeof *added + n);

    pthread_mutex_lock(&w->lock);
    if (!added || f->bytes + n > IM_WRITER_FILE_BYTES) {
        f->lost++;
        free(added);
    } else {
        added->next = NULL;
        added->bytes = n;
        memcpy(added->s, line, n);
        *f->end = added;
        f->end = &added->next;
        f->bytes += n;
        f->lines++;
    }
    start_thread(w);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void im_writer_do(struct im_writer *w, im_writer_work *work, void *context, const char *name)
{
    int i = 0;

    pthread_mutex_lock(&w->lock);
    while (i < w->works && (w->work[i].run != work || w->work[i].context != context))
        i++;
    im_assert(i < WORKS_MAX);
    if (i == w->works)
        w->work[w->works++] = (struct work){.run = work, .context = context, .name = name};
    w->work[i].asked = true;
    start_thread(w);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* How long the thread has run or waited for a processor, since it began; 0: the kernel does not say it. */
static im_ns time_run(const struct im_writer *w)
{
    char s[128];
    const ssize_t n = w->schedule_fd < 0 ? -1 : pread(w->schedule_fd, s, sizeof s - 1, 0);
    char *end = s;
    im_ns on_cpu;

    if (n <= 0)
        return 0;
    s[n] = '\0';
    on_cpu = strtoull(s, &end, 10);
    return end == s ? 0 : on_cpu + strtoull(end, &end, 10); /* and how long it waited for a processor */
}

/* A call that has waited for long, and not for a processor: charts are drawn on machines that have much else to do. */
static bool is_stuck(const struct im_writer *w, struct health *h)
{
    im_ns ran, now = im_now();

    if (h->busy_since == 0)
        return false;
    ran = time_run(w);
    if (h->seen != h->busy_since) {
        h->seen = h->busy_since;
        h->seen_at = now;
        h->ran = ran;
    }
    return now - h->seen_at > IM_WRITER_SILENCE_NS + (ran - h->ran);
}

/* A call that has not returned for long is an error too. */
static bool tell(const struct im_writer *w, struct health *h, const char *name, bool is_work, uint64_t *lost,
                 struct im_writer_news *ret)
{
    const bool stuck = is_stuck(w, h);
    const int err = stuck ? -ETIMEDOUT : h->busy_since > 0 && h->told ? -EAGAIN : h->err;

    if ((err < 0) == h->told)
        return false;
    *ret =
        (struct im_writer_news){.name = name, .err = err, .is_work = is_work, .lost = err == 0 ? *lost : 0};
    if (stuck)
        im_fail(&ret->text, err, "the file system has not answered for %d s%s",
                (int)(IM_WRITER_SILENCE_NS / IM_SECOND), time_run(w) > 0 ? "" : ", or the machine is busy");
    else if (err < 0)
        ret->text = h->text;
    h->told = err < 0;
    if (err == 0)
        *lost = 0;
    return true;
}

bool im_writer_news(struct im_writer *w, struct im_writer_news *ret)
{
    bool told = false;

    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->files && !told; i++)
        told = tell(w, &w->file[i].health, w->file[i].name, false, &w->file[i].lost, ret);
    for (int i = 0; i < w->works && !told; i++)
        told = tell(w, &w->work[i].health, w->work[i].name, true, &(uint64_t){0}, ret);
    pthread_mutex_unlock(&w->lock);
    return told;
}

/* Waits for the thread's sign until `until`; false when that has passed. Under the lock. */
static bool await(struct im_writer *w, im_ns until)
{
    const struct timespec at = {.tv_sec = (time_t)(until / IM_SECOND), .tv_nsec = (long)(until % IM_SECOND)};

    return pthread_cond_timedwait(&w->done, &w->lock, &at) != ETIMEDOUT;
}

int im_writer_wait(struct im_writer *w, bool sync, im_ns timeout)
{
    const im_ns until = im_now() + timeout;
    bool in_time = true;
    uint64_t mine;
    int result = 0;

    pthread_mutex_lock(&w->lock);
    start_thread(w);
    if (sync || !all_written(w)) {
        mine = ++w->wanted;
        w->sync |= sync;
        pthread_cond_signal(&w->wake);
        while (in_time && w->reached < mine)
            in_time = await(w, until);
        result = w->reached < mine ? -ETIMEDOUT : w->result;
    }
    pthread_mutex_unlock(&w->lock);
    return result;
}

uint64_t im_writer_close(struct im_writer **ref, im_ns timeout)
{
    return im_writer_close_each(ref, timeout, NULL);
}

uint64_t im_writer_close_each(struct im_writer **ref, im_ns timeout, uint64_t *ret_lost)
{
    struct im_writer *w = *ref;
    const im_ns until = im_now() + timeout;
    bool in_time = true, ended, started;
    pthread_t thread;
    uint64_t left = 0;

    *ref = NULL;
    if (!w)
        return 0;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    for (int i = 0; i < w->works; i++)
        w->work[i].asked |= w->work[i].health.err < 0;
    pthread_cond_signal(&w->wake);
    while (in_time && w->started && !w->ended)
        in_time = await(w, until);
    for (int i = 0; i < w->files; i++) {
        left += w->file[i].lines + w->file[i].lost;
        if (ret_lost)
            ret_lost[i] = w->file[i].lines + w->file[i].lost;
    }
    w->abandoned = true;
    pthread_cond_signal(&w->wake);
    for (in_time = true; in_time && w->started && !w->ended;)
        in_time = await(w, until + END_DELAY_NS);
    ended = !w->started || w->ended;
    w->orphan = !ended;
    started = w->started;
    thread = w->thread;
    pthread_mutex_unlock(&w->lock);
    if (ended && started)
        pthread_join(thread, NULL);
    else if (!ended)
        pthread_detach(thread);
    if (ended)
        free_writer(w);
    return left;
}
