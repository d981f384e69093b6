#include "supervisor/report/terminal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/thread.h"

#define RETRY_MS 500 /* after an error that may pass: a full disk, a terminal of another group */
#define CLOSE_WAIT_NS (50 * IM_MS)
#define AT_ONCE_BYTES 512 /* a terminal or pipe that is ready takes them without waiting */

struct text {
    struct text *next;
    enum sv_text_kind kind;
    size_t n, written;
    char s[];
};

struct sv_terminal {
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    pthread_t thread;
    int fd;
    bool started, ended, closing, abandoned, orphan;
    bool gone; /* nobody will ever read: texts are thrown away */
    struct text *first, **end;
    struct text *taken; /* the one being written, not in the list */
    size_t bytes;       /* of all that waits */
    uint64_t dropped;
    im_ns took_at; /* when it last took bytes */
    im_ns silence; /* of the time in which texts were dropped */
    bool news;
};

/* Writes some of it. 0, a negative errno that may pass, or 1: it is over. */
static int write_some(struct sv_terminal *t, struct text *text)
{
    ssize_t n = write(t->fd, text->s + text->written, text->n - text->written);

    if (n >= 0) {
        text->written += (size_t)n;
        return 0;
    }
    switch (errno) {
    case EINTR:
        return 0;
    case EPIPE:
    case EBADF:
    case ENXIO:
    case ECONNRESET:
        return 1;
    default:
        return -errno;
    }
}

/* The descriptor may be non-blocking by another's doing. */
static void wait_before_retry(struct sv_terminal *t, int err)
{
    struct pollfd p = {.fd = t->fd, .events = POLLOUT};
    struct timespec rest = {.tv_nsec = RETRY_MS * 1000000L};

    if (err == -EAGAIN)
        poll(&p, 1, RETRY_MS);
    else
        nanosleep(&rest, NULL);
}

static void throw_all_away(struct sv_terminal *t)
{
    while (t->first) {
        struct text *next = t->first->next;

        free(t->first);
        t->first = next;
    }
    t->end = &t->first;
    t->bytes = 0;
}

static void free_terminal(struct sv_terminal *t)
{
    throw_all_away(t);
    pthread_cond_destroy(&t->wake);
    pthread_cond_destroy(&t->done);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Under the lock, which is given up while it writes. */
static void write_first(struct sv_terminal *t)
{
    struct text *text = t->first;
    int err = 0;

    t->taken = text;
    t->first = text->next;
    if (!t->first)
        t->end = &t->first;
    while (err <= 0 && text->written < text->n && !t->abandoned) {
        pthread_mutex_unlock(&t->lock);
        err = write_some(t, text);
        if (err < 0)
            wait_before_retry(t, err);
        pthread_mutex_lock(&t->lock);
        if (err == 0) {
            im_ns now = im_now();

            if (t->dropped > 0 && !t->news) {
                t->silence = now - t->took_at;
                t->news = true;
            }
            t->took_at = now;
        }
    }
    if (text->written == text->n || err > 0) {
        t->bytes -= text->n;
        t->taken = NULL;
        free(text);
    }
    if (err > 0) {
        t->gone = true;
        throw_all_away(t);
    }
}

static void *terminal_thread(void *context)
{
    struct sv_terminal *t = context;
    bool orphan;

    pthread_mutex_lock(&t->lock);
    while (!t->abandoned && (t->first || !t->closing)) {
        if (t->first)
            write_first(t);
        else
            pthread_cond_wait(&t->wake, &t->lock);
    }
    free(t->taken);
    t->ended = true;
    orphan = t->orphan;
    pthread_cond_broadcast(&t->done);
    pthread_mutex_unlock(&t->lock);
    if (orphan)
        free_terminal(t);
    return NULL;
}

struct sv_terminal *sv_terminal_open(int fd)
{
    struct sv_terminal *t = calloc(1, sizeof *t);
    pthread_condattr_t clock;

    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &clock);
    pthread_cond_init(&t->done, &clock);
    pthread_condattr_destroy(&clock);
    t->fd = fd;
    t->end = &t->first;
    t->took_at = im_now();
    return t;
}

/* A thread that cannot be made now is made for a later text. */
static void start_thread(struct sv_terminal *t)
{
    if (!t->started)
        t->started = im_thread_begin(terminal_thread, t, &t->thread) == 0;
}

/* Takes a text out of the list. A redrawn line is no loss. */
static void drop(struct sv_terminal *t, struct text **at)
{
    struct text *text = *at;

    *at = text->next;
    if (!*at)
        t->end = at;
    t->bytes -= text->n;
    t->dropped += text->kind != SV_TEXT_REDRAW;
    free(text);
}

static bool drop_oldest(struct sv_terminal *t, bool progress)
{
    for (struct text **at = &t->first; *at; at = &(*at)->next)
        if (!progress || (*at)->kind != SV_TEXT_LINE) {
            drop(t, at);
            return true;
        }
    return false;
}

static void make_room(struct sv_terminal *t, size_t n)
{
    while (t->bytes + n > SV_TERMINAL_BYTES && drop_oldest(t, true))
        continue;
    while (t->bytes + n > SV_TERMINAL_BYTES && drop_oldest(t, false))
        continue;
}

static void replace_redraw(struct sv_terminal *t)
{
    for (struct text **at = &t->first; *at; at = &(*at)->next)
        if (!(*at)->next && (*at)->kind == SV_TEXT_REDRAW) {
            drop(t, at);
            return;
        }
}

void sv_terminal_put(struct sv_terminal *t, enum sv_text_kind kind, const char *s, size_t n)
{
    struct text *text = t ? malloc(sizeof *text + n) : NULL;

    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    if (!text) {
        t->dropped++;
    } else if (t->gone || n > SV_TERMINAL_BYTES) {
        free(text);
    } else {
        *text = (struct text){.kind = kind, .n = n};
        memcpy(text->s, s, n);
        if (kind == SV_TEXT_REDRAW)
            replace_redraw(t);
        make_room(t, n);
        if (!t->first && !t->taken) /* it has waited for us, not we for it */
            t->took_at = im_now();
        *t->end = text;
        t->end = &text->next;
        t->bytes += n;
    }
    start_thread(t);
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

bool sv_terminal_news(struct sv_terminal *t, uint64_t *ret_dropped, im_ns *ret_silence)
{
    bool news;

    if (!t)
        return false;
    pthread_mutex_lock(&t->lock);
    news = t->news;
    if (news) {
        *ret_dropped = t->dropped;
        *ret_silence = t->silence;
        t->news = false;
        t->dropped = 0;
    }
    pthread_mutex_unlock(&t->lock);
    return news;
}

static bool await_end(struct sv_terminal *t, im_ns until)
{
    const struct timespec at = {.tv_sec = (time_t)(until / IM_SECOND), .tv_nsec = (long)(until % IM_SECOND)};
    bool in_time = true;

    while (in_time && t->started && !t->ended)
        in_time = pthread_cond_timedwait(&t->done, &t->lock, &at) != ETIMEDOUT;
    return !t->started || t->ended;
}

/* No thread could be had (ulimit -u): what fits at once is written by who closes it, who must not wait. */
static void write_without_thread(struct sv_terminal *t)
{
    struct pollfd p = {.fd = t->fd, .events = POLLOUT};

    while (t->first && poll(&p, 1, 0) == 1 && p.revents & POLLOUT) {
        struct text *text = t->first;
        size_t n = text->n - text->written;
        ssize_t took = write(t->fd, text->s + text->written, n < AT_ONCE_BYTES ? n : AT_ONCE_BYTES);

        if (took <= 0)
            return;
        text->written += (size_t)took;
        if (text->written < text->n)
            continue;
        t->first = text->next;
        t->bytes -= text->n;
        free(text);
    }
    if (!t->first)
        t->end = &t->first;
}

bool sv_terminal_close(struct sv_terminal **ref, im_ns timeout)
{
    struct sv_terminal *t = *ref;
    const im_ns until = im_now() + timeout;
    bool ended, started, all;
    pthread_t thread;

    *ref = NULL;
    if (!t)
        return true;
    pthread_mutex_lock(&t->lock);
    t->closing = true;
    if (t->first)
        start_thread(t);
    if (!t->started)
        write_without_thread(t);
    pthread_cond_signal(&t->wake);
    await_end(t, until);
    all = !t->first && !t->taken;
    t->abandoned = true;
    pthread_cond_signal(&t->wake);
    ended = await_end(t, until + CLOSE_WAIT_NS);
    t->orphan = !ended;
    started = t->started;
    thread = t->thread;
    pthread_mutex_unlock(&t->lock);
    if (ended && started)
        pthread_join(thread, NULL);
    else if (!ended)
        pthread_detach(thread);
    if (ended)
        free_terminal(t);
    return all;
}
