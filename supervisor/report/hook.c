#include "supervisor/report/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/thread.h"

enum {
    LOOK_MS = 50,              /* how often a command is looked at */
    OUTPUT_BYTES_MAX = 1 << 20 /* that it may print for one event */
};

struct sv_hook {
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    pthread_t thread;
    struct sv_hook_limits limits;
    char *command, *log;
    /* Under the lock. */
    char *queue[SV_HOOK_EVENTS]; /* a ring */
    size_t first, count;
    bool busy, closing, ended, orphan; /* orphan: the thread frees it */
    uint64_t dropped, dropped_told;
    bool failing, untold; /* the last command failed; one did, which was not said */
    struct im_text why;
};

static void free_hook(struct sv_hook *h)
{
    for (size_t i = 0; i < h->count; i++)
        free(h->queue[(h->first + i) % SV_HOOK_EVENTS]);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->wake);
    pthread_cond_destroy(&h->done);
    free(h->command);
    free(h->log);
    free(h);
}

/* A file of the line, for a standard input that nobody has to fill: a pipe would wait for its reader. */
static int make_input(const char *line)
{
    int fd = memfd_create("event", MFD_CLOEXEC), err;

    if (fd < 0)
        return -errno;
    err = im_write_all(fd, line, strlen(line));
    if (err == 0)
        err = im_write_all(fd, "\n", 1);
    if (err == 0 && lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    close(fd);
    return err < 0 ? err : -EIO;
}

/* The hook inherits nothing: no descriptor, which would hold the run's lock, and no ignored signal. A group of its
 * own can be killed as a whole, and gets no Ctrl-C. */
static int start_hook(const struct sv_hook *h, int input, int output, pid_t *ret)
{
    char shell[] = "sh", flag[] = "-c";
    char *argv[] = {shell, flag, h->command, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t all, none;
    int err;

    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setpgroup(&how, 0);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    err = posix_spawn_file_actions_adddup2(&files, input, 0);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&files, output, 1);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&files, output, 2);
    if (err == 0)
        err = posix_spawn_file_actions_addclosefrom_np(&files, 3);
    if (err == 0)
        err = posix_spawn(ret, "/bin/sh", &files, &how, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return -err;
}

static off_t size_of(int file)
{
    struct stat st;

    return fstat(file, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : 0;
}

/* Its wait status, or -ETIMEDOUT or -EFBIG: it was killed. */
static int wait_for(pid_t pid, int output, off_t output_max, im_ns timeout)
{
    const int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    const im_ns by = im_now() + timeout;
    int status = 0, ready = 0, err = 0;

    while (pidfd >= 0 && ready <= 0 && err == 0) {
        ready = poll(&p, 1, LOOK_MS);
        err = size_of(output) > output_max ? -EFBIG : ready <= 0 && im_now() >= by ? -ETIMEDOUT : 0;
    }
    if (pidfd >= 0)
        close(pidfd);
    if (err < 0)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (err == -EFBIG && ftruncate(output, output_max) < 0)
        return -errno;
    return err < 0 ? err : status;
}

/* Runs the command for one event; 0, or with a sentence why it was not passed on. */
static int pass_on(const struct sv_hook *h, const char *line, struct im_text *text)
{
    int input = make_input(line), output, err = input < 0 ? input : 0, status;
    off_t before;
    pid_t pid;

    output = open(h->log, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0666);
    if (output < 0)
        output = open("/dev/null", O_WRONLY | O_CLOEXEC);
    before = size_of(output);
    if (err == 0)
        err = output < 0 ? -EBADF : start_hook(h, input, output, &pid);
    if (input >= 0)
        close(input);
    if (err < 0) {
        if (output >= 0)
            close(output);
        return im_fail(text, err, "it cannot be started: %s", strerror(-err));
    }
    status = wait_for(pid, output, before + OUTPUT_BYTES_MAX, h->limits.command);
    close(output);
    if (status == -EFBIG)
        return im_fail(text, status, "it printed more than %d MiB and was killed", OUTPUT_BYTES_MAX >> 20);
    if (status < 0 && status != -ETIMEDOUT)
        return im_fail(text, status, "what it printed cannot be cut: %s", strerror(-status));
    if (status == -ETIMEDOUT)
        return im_fail(text, status, "it took longer than %.0f s and was killed",
                       (double)h->limits.command / 1e9);
    if (WIFSIGNALED(status))
        return im_fail(text, -EIO, "it died of signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return im_fail(text, -EIO, "it ended with exit status %d", WEXITSTATUS(status));
    return 0;
}

static char *hook_take(struct sv_hook *h)
{
    char *line;

    while (h->count == 0 && !h->closing)
        pthread_cond_wait(&h->wake, &h->lock);
    if (h->count == 0 || h->orphan)
        return NULL;
    line = h->queue[h->first];
    h->first = (h->first + 1) % SV_HOOK_EVENTS;
    h->count--;
    h->busy = true;
    return line;
}

static void *hook_thread(void *context)
{
    struct sv_hook *h = context;
    bool orphan;
    char *line;

    im_thread_interrupt_nobody();
    pthread_mutex_lock(&h->lock);
    while ((line = hook_take(h))) {
        struct im_text text = {""};
        int err;

        pthread_mutex_unlock(&h->lock);
        err = pass_on(h, line, &text);
        free(line);
        pthread_mutex_lock(&h->lock);
        h->busy = false;
        if (err < 0 && !h->failing) {
            h->untold = true;
            h->why = text;
        }
        h->failing = err < 0;
    }
    h->ended = true;
    orphan = h->orphan;
    pthread_cond_signal(&h->done);
    pthread_mutex_unlock(&h->lock);
    if (orphan)
        free_hook(h);
    return NULL;
}

int sv_hook_open(struct sv_hook **ret, const char *command, const char *log,
                 const struct sv_hook_limits *limits)
{
    struct sv_hook *h = calloc(1, sizeof *h);
    pthread_condattr_t clock;
    int err;

    if (!h)
        return -ENOMEM;
    h->limits = *limits;
    h->command = strdup(command);
    h->log = strdup(log);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&h->done, &clock);
    pthread_condattr_destroy(&clock);
    err = h->command && h->log ? im_thread_begin(hook_thread, h, &h->thread) : -ENOMEM;
    if (err < 0)
        free_hook(h);
    else
        *ret = h;
    return err;
}

void sv_hook_event(struct sv_hook *h, const char *line)
{
    char *copy = strdup(line);

    pthread_mutex_lock(&h->lock);
    if (!copy) {
        h->dropped++;
    } else {
        if (h->count == SV_HOOK_EVENTS) {
            free(h->queue[h->first]);
            h->first = (h->first + 1) % SV_HOOK_EVENTS;
            h->count--;
            h->dropped++;
        }
        h->queue[(h->first + h->count++) % SV_HOOK_EVENTS] = copy;
    }
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

bool sv_hook_news(struct sv_hook *h, struct im_text *ret)
{
    bool news = false;

    pthread_mutex_lock(&h->lock);
    if (h->untold) {
        im_fail(ret, 0, "the command of --on-event fails: %s; what it prints is in %s", h->why.s, h->log);
        h->untold = false;
        news = true;
    } else if (h->dropped > 0 && h->dropped_told == 0) {
        im_fail(ret, 0,
                "events come faster than the command of --on-event takes them; the oldest are dropped");
        news = true;
        h->dropped_told = h->dropped;
    }
    pthread_mutex_unlock(&h->lock);
    return news;
}

uint64_t sv_hook_pending(struct sv_hook *h)
{
    uint64_t pending;

    pthread_mutex_lock(&h->lock);
    pending = h->count + h->busy;
    pthread_mutex_unlock(&h->lock);
    return pending;
}

uint64_t sv_hook_close(struct sv_hook **hook, im_ns timeout)
{
    struct sv_hook *h = *hook;
    const im_ns by = im_now() + timeout;
    const struct timespec until = {.tv_sec = (time_t)(by / IM_SECOND), .tv_nsec = (long)(by % IM_SECOND)};
    uint64_t lost;
    bool ended;

    *hook = NULL;
    if (!h)
        return 0;
    pthread_mutex_lock(&h->lock);
    h->closing = true;
    pthread_cond_signal(&h->wake);
    while (!h->ended && pthread_cond_timedwait(&h->done, &h->lock, &until) == 0)
        ;
    ended = h->ended;
    h->orphan = !ended;
    lost = h->dropped + h->count;
    if (!ended) /* the thread frees all, as soon as it has the lock */
        pthread_detach(h->thread);
    pthread_mutex_unlock(&h->lock);
    if (!ended)
        return lost;
    pthread_join(h->thread, NULL);
    free_hook(h);
    return lost;
}
