/* imsuper-augmenter seek FILE ROOT WORKERS IMAGES SHOWN: makes the seek indexes of the images whose paths come from
 * standard input, each ended by a NUL, and adds them to FILE. imsuper-reader starts it, for `imsuper data index --seek`.
 *
 * This process owns the file and looks into no image. Workers do, in the augmenter's sandbox: each is sent a path and
 * answers with a message, through a socket that keeps messages apart. A worker that dies or hangs costs its image, and
 * another takes its place. An image that has an index is read and hashed, not decoded: so the same command goes on
 * where a killed one ended. */
#include "augment/tools/session.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "augment/limits.h"
#include "augment/sandbox.h"
#include "augment/seeking.h"
#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/fault.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "ipc/base/reference.h"
#include "ipc/child.h"
#include "ipc/seek_file.h"

enum { WORKERS_MAX = 1024, SOCKET = 3, TOLD_MAX = 5, DEATHS_MAX = 16 };
#define PATIENCE_NS (60 * IM_SECOND) /* with one image */
#define SHOW_EVERY_NS (200 * IM_MS)

/* What became of an image. */
enum outcome { MADE, PRESENT, WITHOUT, UNREADABLE, OUTCOMES };

struct answer {
    uint64_t key, file_bytes;
    uint32_t outcome, bytes,
        link_bytes; /* of the index, if it was made, and of the link behind it, if it is new */
    unsigned char records[2 * IM_SEEK_BYTES_MAX];
};
#define ANSWER_HEAD offsetof(struct answer, records)

/* ---- a worker ---- */

struct work {
    struct au_decoder *decoder;
    struct im_seek_file file;
    size_t bytes_max; /* of an image's file */
    struct im_seek_link link;
    struct answer answer;
};

/* Where an image begins in its file, and the key of its link. */
static uint64_t link_key(const char *reference, uint64_t *ret_offset)
{
    uint64_t bytes;
    char path[PATH_MAX] = "";
    const size_t n = im_reference_parse(reference, ret_offset, &bytes);

    if (n < sizeof path)
        memcpy(path, reference, n);
    return im_seek_link_key(path, *ret_offset);
}

/* Decodes an image for what is not there of its index and its link. */
static enum outcome decode(struct work *w, const char *bytes, size_t n, uint32_t phase, bool has_index)
{
    struct answer *a = &w->answer;
    struct au_image image;
    size_t link;

    if (au_decoder_open(w->decoder, bytes, n, &image, NULL) != 0 || !au_decoder_seek_make(w->decoder))
        return has_index ? PRESENT : WITHOUT;
    if (!has_index)
        a->bytes = (uint32_t)au_seek_pack(au_decoder_seek(w->decoder), a->records, IM_SEEK_BYTES_MAX);
    if (!has_index && a->bytes == 0)
        return WITHOUT;
    link = au_seeking_link(w->decoder, a->key, phase, bytes, n, &w->link);
    memcpy(a->records + a->bytes, &w->link, link);
    a->link_bytes = (uint32_t)link;
    return has_index ? PRESENT : MADE;
}

static enum outcome make_index(struct work *w, const char *path)
{
    struct answer *a = &w->answer;
    enum outcome outcome = PRESENT;
    bool has_index, has_link;
    uint64_t offset;
    const uint64_t key = link_key(path, &offset);
    const uint32_t phase = im_seek_link_phase(offset);
    char *bytes;
    size_t n;

    if (im_reference_read(path, w->bytes_max, &bytes, &n, NULL) < 0)
        return UNREADABLE;
    a->file_bytes = n;
    a->key = im_seek_key(bytes, n);
    IM_FAULT("seek.index");
    has_index = im_seek_find(&w->file, a->key, a->records, IM_SEEK_BYTES_MAX) > 0;
    has_link = im_seek_link_find(&w->file, key, &w->link) > 0 && w->link.image == a->key &&
               w->link.bytes == n && w->link.phase == phase;
    if (!has_index || !has_link)
        outcome = decode(w, bytes, n, phase, has_index);
    free(bytes);
    return outcome;
}

/* Until the socket ends. */
static int serve(struct work *w)
{
    char path[PATH_MAX];
    ssize_t n;

    while ((n = read(SOCKET, path, sizeof path - 1)) > 0) {
        path[n] = '\0';
        memset(&w->answer, 0, ANSWER_HEAD);
        w->answer.outcome = (uint32_t)make_index(w, path);
        n = (ssize_t)(ANSWER_HEAD + w->answer.bytes + w->answer.link_bytes);
        if (write(SOCKET, &w->answer, (size_t)n) != n)
            return IM_EXIT_FAILED;
    }
    return IM_EXIT_OK;
}

/* In a new process: keeps its socket, and nothing that it could write to but the errors. */
static int begin_work(int fd, const char *seek_file, const char *root)
{
    struct work *w = calloc(1, sizeof *w);
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct im_conf conf;
    struct im_sandbox_state state;
    struct im_text text = {""};
    int none = open("/dev/null", O_RDWR);

    if (!w || none < 0 || dup2(none, STDIN_FILENO) < 0 || dup2(none, STDOUT_FILENO) < 0 ||
        dup2(fd, SOCKET) < 0 || close_range(SOCKET + 1, ~0u, 0) < 0)
        return IM_EXIT_FAILED;
    im_conf_defaults(&conf);
    w->bytes_max = (size_t)conf.max_file_bytes;
    if (im_seek_open(seek_file, &w->file, &text) < 0 || au_decoder_new(&w->decoder, &limits) < 0)
        return IM_EXIT_FAILED;
    w->file.may_wait = true;
    au_limit_memory(&conf);
    if (au_sandbox_enter(root, NULL, true, false, &state, &text) < 0) {
        im_say(stderr, "imsuper: %s", text.s);
        return IM_EXIT_FAILED;
    }
    return serve(w);
}

/* ---- the owner ---- */

struct worker {
    pid_t pid;
    int fd;      /* < 0: there is none */
    im_ns began; /* with its image; 0: it has none */
    char *path;  /* of the image */
    size_t room; /* of the path */
};

struct making {
    const char *seek_file, *root;
    struct im_seek_owner owner;
    struct worker workers[WORKERS_MAX];
    size_t count;
    uint64_t images, done[OUTCOMES], bytes, file_bytes;
    uint32_t told;   /* images that were named */
    uint32_t deaths; /* since the last answer */
    bool is_shown, at_end;
    im_ns began, shown;
    struct answer answer;
};

static int start_worker(struct making *m, struct worker *w, struct im_text *text)
{
    int fds[2];

    w->began = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return im_fail(text, -errno, "cannot make a socket: %s", strerror(errno));
    w->pid = fork();
    if (w->pid == 0)
        _exit(begin_work(fds[1], m->seek_file, m->root));
    close(fds[1]);
    w->fd = w->pid < 0 ? -1 : fds[0];
    if (w->pid > 0)
        return 0;
    close(fds[0]);
    return im_fail(text, -EAGAIN, "cannot start a process: %s", strerror(errno));
}

/* Names an image of which nothing comes. */
static void tell(struct making *m, const char *path, const char *what)
{
    if (m->is_shown)
        fputs("\r\033[K", stderr);
    if (m->told++ < TOLD_MAX)
        im_say(stderr, "imsuper: %s: %s", path, what);
}

/* A worker that died or hangs: another one, and its image is passed over. */
static int replace(struct making *m, struct worker *w, const char *what, struct im_text *text)
{
    kill(w->pid, SIGKILL);
    close(w->fd);
    w->fd = -1;
    if (++m->deaths > DEATHS_MAX) /* it would be so with all images */
        return im_fail(text, -ECHILD, "the processes that make seek indexes die, the last at '%.700s'",
                       w->path);
    m->done[UNREADABLE]++;
    tell(m, w->path, what);
    return start_worker(m, w, text);
}

/* The next image for a worker. */
static int send_path(struct making *m, struct worker *w, struct im_text *text)
{
    ssize_t n = getdelim(&w->path, &w->room, '\0', stdin);

    w->began = 0;
    if (n <= 1 || w->path[n - 1] != '\0') {
        m->at_end = true;
        return 0;
    }
    w->began = im_now();
    if (send(w->fd, w->path, (size_t)n - 1, MSG_NOSIGNAL) == n - 1)
        return 0;
    return replace(m, w, "a process died before it", text);
}

/* Does a message of n bytes hold what it says? Whoever sent it has parsed a stranger's bytes. */
static bool is_answer(const struct answer *a, ssize_t n)
{
    return n >= (ssize_t)ANSWER_HEAD && a->outcome < OUTCOMES && a->bytes <= IM_SEEK_BYTES_MAX &&
           a->link_bytes <= IM_SEEK_BYTES_MAX && a->bytes + a->link_bytes == (size_t)n - ANSWER_HEAD &&
           (a->outcome == MADE) == (a->bytes > 0) &&
           (a->link_bytes == 0 || a->outcome == MADE || a->outcome == PRESENT);
}

/* Adds what was made for an image. As im_seek_add() of the index. */
static int add_records(struct making *m, const struct answer *a, const char *path)
{
    uint64_t offset;
    const uint64_t key = link_key(path, &offset);
    int err = 0, link_err = 0;

    if (a->outcome == MADE)
        err = im_seek_add(&m->owner, a->key, a->records, a->bytes);
    if (a->link_bytes > 0 && (err == 0 || err == -EEXIST)) {
        im_seek_drop(&m->owner, key); /* that of another image, which was here before */
        link_err = im_seek_add(&m->owner, key, a->records + a->bytes, a->link_bytes);
    }
    return link_err < 0 ? link_err : err;
}

static int take_answer(struct making *m, struct worker *w, struct im_text *text)
{
    struct answer *a = &m->answer;
    ssize_t n = recv(w->fd, a, sizeof *a, 0);
    int err;

    if (n < 0 && errno == EINTR)
        return 0;
    if (!is_answer(a, n))
        return replace(m, w, "a process died on it", text);
    m->deaths = 0;
    err = add_records(m, a, w->path);
    if (err < 0 && err != -EEXIST)
        return im_fail(text, err, "'%.700s': %s; what was made is kept, the same command goes on",
                       m->seek_file, err == -ENOSPC ? "the disk is full, or nearly so" : strerror(-err));
    m->done[err == -EEXIST ? PRESENT : a->outcome]++;
    m->bytes += (err == 0 ? a->bytes : 0) + a->link_bytes;
    m->file_bytes += a->file_bytes;
    if (a->outcome == UNREADABLE)
        tell(m, w->path, "cannot be read");
    return send_path(m, w, text);
}

static uint64_t count_done(const struct making *m)
{
    uint64_t done = 0;

    for (int i = 0; i < OUTCOMES; i++)
        done += m->done[i];
    return done;
}

static void show(struct making *m)
{
    im_ns now = im_now();
    uint64_t done = count_done(m);
    double rate = (double)done * 1e9 / (double)(now - m->began + 1);

    if (!m->is_shown || now - m->shown < SHOW_EVERY_NS)
        return;
    m->shown = now;
    fprintf(stderr, "\r\033[Kseek index: %" PRIu64 " of %" PRIu64 " images, %.0f/s, %.0f s to go", done,
            m->images, rate, done > 0 && m->images > done ? (double)(m->images - done) / rate : 0.0);
    fflush(stderr);
}

/* Waits for answers, of which `polled` tells; those that hang are ended. Returns how many have an image. */
static int seek_turn(struct making *m, struct pollfd *polled, struct im_text *text)
{
    const im_ns now = im_now();
    int busy = 0, err = 0;

    for (size_t i = 0; i < m->count; i++) {
        polled[i] = (struct pollfd){.fd = m->workers[i].began ? m->workers[i].fd : -1, .events = POLLIN};
        busy += m->workers[i].began != 0;
    }
    if (busy > 0 && poll(polled, m->count, 200) < 0 && errno != EINTR)
        return im_fail(text, -errno, "poll: %s", strerror(errno));
    for (size_t i = 0; i < m->count && err == 0; i++) {
        struct worker *w = &m->workers[i];

        if (polled[i].fd >= 0 && polled[i].revents)
            err = take_answer(m, w, text);
        else if (w->began && now > w->began && now - w->began > PATIENCE_NS)
            err = replace(m, w, "a process took longer than a minute with it", text);
        if (err == 0 && w->began == 0 && !m->at_end)
            err = send_path(m, w, text);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    show(m);
    return err < 0 ? err : busy;
}

static int make_all(struct making *m, struct im_text *text)
{
    struct pollfd polled[WORKERS_MAX];
    int err = 0;

    for (size_t i = 0; i < m->count && err == 0; i++)
        err = start_worker(m, &m->workers[i], text);
    for (size_t i = 0; i < m->count && err == 0 && !m->at_end; i++)
        err = send_path(m, &m->workers[i], text);
    do {
        if (err >= 0)
            err = seek_turn(m, polled, text);
    } while (err > 0);
    if (m->is_shown)
        fputs("\r\033[K", stderr);
    for (size_t i = 0; i < m->count; i++) {
        if (m->workers[i].fd >= 0)
            close(m->workers[i].fd);
        free(m->workers[i].path);
    }
    return err;
}

static int print_counts(const struct making *m)
{
    struct im_json *j = im_json_object();
    int err;

    im_json_set_int(j, "made", (int64_t)m->done[MADE]);
    im_json_set_int(j, "present", (int64_t)m->done[PRESENT]);
    im_json_set_int(j, "without", (int64_t)m->done[WITHOUT]);
    im_json_set_int(j, "failed", (int64_t)m->done[UNREADABLE]);
    im_json_set_int(j, "made_bytes", (int64_t)m->bytes);
    im_json_set_int(j, "image_bytes", (int64_t)m->file_bytes);
    im_json_set_real(j, "seconds", (double)(im_now() - m->began) / 1e9);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int au_words_seek(int argc, char **argv)
{
    struct making *m = calloc(1, sizeof *m);
    struct im_text text = {""};
    int err;

    if (!m)
        return im_command_fail(-ENOMEM, &text);
    if (argc != 6)
        return im_command_fail(im_fail(&text, -EINVAL, "this is for `imsuper data index --seek`"), &text);
    *m = (struct making){.seek_file = argv[1],
                         .root = argv[2],
                         .count = (size_t)strtoul(argv[3], NULL, 10),
                         .images = strtoull(argv[4], NULL, 10),
                         .is_shown = strcmp(argv[5], "1") == 0,
                         .began = im_now()};
    if (m->count < 1 || m->count > WORKERS_MAX)
        m->count = 1;
    for (size_t i = 0; i < m->count; i++)
        m->workers[i].fd = -1;
    err = im_seek_own(m->seek_file, m->images, &m->owner, &text);
    if (err == 0)
        err = make_all(m, &text);
    im_seek_disown(&m->owner);
    if (err == 0)
        err = print_counts(m);
    free(m);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
