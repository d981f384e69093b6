#include "supervisor/cluster/pmi.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_NS (10 * IM_SECOND)
#define SAY_NS (10 * IM_SECOND)
#define LOOK_MS 100

/* A server that is gone is an error, not a signal. */
static ssize_t write_some(int fd, const char *bytes, size_t n)
{
    const ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

    return sent < 0 && errno == ENOTSOCK ? write(fd, bytes, n) : sent;
}

static int write_line(struct sv_pmi *p, struct im_text *text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int write_line(struct sv_pmi *p, struct im_text *text, const char *format, ...)
{
    char line[SV_PMI_LINE_MAX];
    size_t n, done = 0;
    va_list args;

    va_start(args, format);
    n = (size_t)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n >= sizeof line)
        return im_fail(text, -EMSGSIZE, "a line for the launcher's PMI server is too long");
    while (done < n) {
        const ssize_t w = write_some(p->fd, line + done, n - done);

        if (w < 0 && errno != EINTR)
            return im_fail(text, -errno, "cannot write to the launcher's PMI server (PMI_FD=%d): %s", p->fd,
                           strerror(errno));
        done += w > 0 ? (size_t)w : 0;
    }
    return 0;
}

/* Takes the first line of what was read; false: there is no whole one yet. */
static bool take_line(struct sv_pmi *p, char ret[SV_PMI_LINE_MAX])
{
    const char *end = memchr(p->have, '\n', p->n);
    const size_t n = end ? (size_t)(end - p->have) : 0;

    if (!end)
        return false;
    memcpy(ret, p->have, n);
    ret[n] = '\0';
    p->n -= n + 1;
    memmove(p->have, end + 1, p->n);
    return true;
}

static void say_waiting(struct sv_pmi *p, im_ns since)
{
    char line[160];

    if (!p->say)
        return;
    snprintf(line, sizeof line,
             "waiting at the launcher's PMI barrier until all processes of the step are there, since %.0f s",
             (double)(im_now() - since) / IM_SECOND);
    p->say(p->context, line);
}

static int read_line(struct sv_pmi *p, im_ns patience, char ret[SV_PMI_LINE_MAX], struct im_text *text)
{
    const im_ns since = im_now();
    im_ns said = since;

    while (!take_line(p, ret)) {
        struct pollfd wait = {.fd = p->fd, .events = POLLIN};
        ssize_t n;

        if (p->leave && p->leave(p->context))
            return im_fail(text, -EINTR, "asked to end while waiting for the launcher's PMI server");
        if (p->n == sizeof p->have)
            return im_fail(text, -EPROTO, "the launcher's PMI server sends a line of more than %zu bytes",
                           p->n);
        if (im_now() - since > patience)
            return im_fail(text, -ETIMEDOUT,
                           "the launcher's PMI server (PMI_FD=%d) has not answered for %.0f s", p->fd,
                           (double)patience / IM_SECOND);
        if (im_now() - said >= SAY_NS) {
            said = im_now();
            say_waiting(p, since);
        }
        if (poll(&wait, 1, LOOK_MS) <= 0)
            continue;
        n = read(p->fd, p->have + p->n, sizeof p->have - p->n);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            return im_fail(text, -ECONNRESET,
                           "the launcher's PMI server (PMI_FD=%d) has closed the connection%s%s", p->fd,
                           n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
        p->n += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* The word after "name=" in a line of such words. False: there is none, or it is longer. */
static bool word(const char *line, const char *name, char *ret, size_t size)
{
    const size_t length = strlen(name);

    for (const char *s = line; *s; s += strcspn(s, " "), s += strspn(s, " ")) {
        const size_t n = strcspn(s, " ");

        if (n <= length || strncmp(s, name, length) != 0 || s[length] != '=')
            continue;
        if (n - length - 1 >= size)
            return false;
        memcpy(ret, s + length + 1, n - length - 1);
        ret[n - length - 1] = '\0';
        return true;
    }
    return false;
}

/* The answer must be `cmd`; rc, where there is one, 0. */
static int await(struct sv_pmi *p, const char *cmd, im_ns patience, char line[SV_PMI_LINE_MAX],
                 struct im_text *text)
{
    char got[64] = "", rc[16] = "0";
    int err = read_line(p, patience, line, text);

    if (err < 0)
        return err;
    if (!word(line, "cmd", got, sizeof got) || strcmp(got, cmd) != 0)
        return im_fail(text, -EPROTO, "the launcher's PMI server answers \"%.200s\", not cmd=%s", line, cmd);
    word(line, "rc", rc, sizeof rc);
    return strcmp(rc, "0") == 0 ? 0 : -EREMOTEIO;
}

static int refused(int err, const char *what, const char *line, struct im_text *text)
{
    if (err != -EREMOTEIO)
        return err;
    return im_fail(text, -EPROTO, "the launcher's PMI server refuses %s: \"%.200s\"", what, line);
}

int sv_pmi_init(struct sv_pmi *p, int fd, struct im_text *text)
{
    char line[SV_PMI_LINE_MAX] = "";
    int err;

    p->fd = fd;
    p->n = 0;
    err = write_line(p, text, "cmd=init pmi_version=1 pmi_subversion=1\n");
    if (err == 0)
        err = refused(await(p, "response_to_init", ANSWER_NS, line, text), "cmd=init", line, text);
    if (err == 0)
        err = write_line(p, text, "cmd=get_my_kvsname\n");
    if (err == 0)
        err = refused(await(p, "my_kvsname", ANSWER_NS, line, text), "cmd=get_my_kvsname", line, text);
    if (err == 0 && !word(line, "kvsname", p->kvs, sizeof p->kvs))
        err = im_fail(text, -EPROTO, "the launcher's PMI server gives no kvsname: \"%.200s\"", line);
    return err;
}

int sv_pmi_put(struct sv_pmi *p, const char *key, const char *value, struct im_text *text)
{
    char line[SV_PMI_LINE_MAX] = "";
    int err;

    if (strlen(value) >= SV_PMI_VALUE_MAX)
        return im_fail(text, -EMSGSIZE, "a value for the launcher's PMI server is too long");
    err = write_line(p, text, "cmd=put kvsname=%s key=%s value=%s\n", p->kvs, key, value);
    if (err == 0)
        err = refused(await(p, "put_result", ANSWER_NS, line, text), "cmd=put", line, text);
    return err;
}

int sv_pmi_barrier(struct sv_pmi *p, struct im_text *text)
{
    char line[SV_PMI_LINE_MAX] = "";
    int err = write_line(p, text, "cmd=barrier_in\n");

    if (err == 0)
        err = await(p, "barrier_out", p->patience, line, text);
    if (err == -ETIMEDOUT)
        return im_fail(
            text, err,
            "not all processes of this step have come to the launcher's PMI barrier in %.0f s: see which of "
            "them have not started",
            (double)p->patience / IM_SECOND);
    return refused(err, "cmd=barrier_in", line, text);
}

int sv_pmi_get(struct sv_pmi *p, const char *key, char ret[SV_PMI_VALUE_MAX], struct im_text *text)
{
    char line[SV_PMI_LINE_MAX] = "";
    int err = write_line(p, text, "cmd=get kvsname=%s key=%s\n", p->kvs, key);

    if (err == 0)
        err = await(p, "get_result", ANSWER_NS, line, text);
    if (err == -EREMOTEIO)
        return im_fail(text, -ENOENT, "no process has put %s: are all of them imsuper of the same version?",
                       key);
    if (err == 0 && !word(line, "value", ret, SV_PMI_VALUE_MAX))
        err = im_fail(text, -EPROTO, "the launcher's PMI server gives no value: \"%.200s\"", line);
    return err;
}

int sv_pmi_finalize(struct sv_pmi *p, struct im_text *text)
{
    char line[SV_PMI_LINE_MAX] = "";
    int err = write_line(p, text, "cmd=finalize\n");

    if (err == 0)
        err = refused(await(p, "finalize_ack", ANSWER_NS, line, text), "cmd=finalize", line, text);
    return err;
}
