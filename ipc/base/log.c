/* Log lines: see log.h for the form.
 *
 * Identity, level and the count of dropped lines are the one mutable global of the product. A log line must
 * be possible from every depth of every library without a context that only serves for it; the values are set
 * once at start-up by main, and no behaviour but the text of log lines (and fault rules, which exist in
 * tests) depends on them.
 *
 * It does not buffer, rotate or colour: whoever owns descriptor 2 does. */
#include "ipc/base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/printable.h"

static struct {
    char role[32];
    int id;
    atomic_int level;
    atomic_uint_fast64_t dropped; /* all of them */
    atomic_uint_fast64_t untold;  /* dropped since a line last got through */
} self = {.role = "imsuper", .level = IM_LOG_INFO};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* A bounded text that remembers whether it was cut. */
struct cursor {
    char *at, *end;
    bool cut;
};

static void log_put(struct cursor *c, const char *s, size_t n)
{
    if (c->cut || (size_t)(c->end - c->at) < n) {
        c->cut = true;
        return;
    }
    memcpy(c->at, s, n);
    c->at += n;
}

/* Copies s with control characters and bytes that are no UTF-8 escaped; inside quotes also
 * quote and backslash. */
static void put_escaped(struct cursor *c, const char *s, bool in_quotes)
{
    while (*s && !c->cut) {
        size_t n = im_printable_length(s);
        char escape[IM_ESCAPE_BYTES];

        if (in_quotes && (*s == '"' || *s == '\\')) {
            escape[0] = '\\';
            escape[1] = *s;
            log_put(c, escape, 2);
            n = 1;
        } else if (n > 0) {
            log_put(c, s, n);
        } else {
            n = im_printable_escape(s, escape);
            log_put(c, escape, strlen(escape));
        }
        s += n;
    }
}

static void put_stamp(struct cursor *c, enum im_log_level level)
{
    struct timespec now;
    struct tm utc;
    char s[160];
    int n;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    n = snprintf(s, sizeof s, "ts=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s role=%s id=%d msg=\"",
                 utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                 now.tv_nsec / 1000000, level_names[level], self.role, self.id);
    log_put(c, s, (size_t)n);
}

/* The room after a cut text always holds the mark, because the cursor's end lies that much
 * before the buffer's. */
static void close_cut(struct cursor *c, const char *mark)
{
    size_t n = strlen(mark);

    memcpy(c->at, mark, n);
    c->at += n;
    c->end = c->at;
}

/* `told` is the number of dropped lines that this one tells of; they stay untold if it is dropped itself. */
static void write_line(const struct cursor *c, const char *line, uint64_t told)
{
    ssize_t n;

    do
        n = write(STDERR_FILENO, line, (size_t)(c->at - line));
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        atomic_fetch_add_explicit(&self.dropped, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&self.untold, told + 1, memory_order_relaxed);
    }
}

void im_log(enum im_log_level level, const char *msg, const char *kv_format, ...)
{
    char line[PIPE_BUF];
    char kv[PIPE_BUF];
    struct cursor c = {line, line + sizeof line - 64, false}; /* 64: marks, log_dropped and the newline */
    int saved_errno = errno;
    uint64_t untold;
    va_list args;
    int n;

    if ((int)level < atomic_load_explicit(&self.level, memory_order_relaxed))
        return;
    put_stamp(&c, level);
    put_escaped(&c, msg, true);
    if (c.cut)
        close_cut(&c, "...");
    c.end += 1; /* the quote's own byte of the 64 */
    *c.at++ = '"';

    va_start(args, kv_format);
    n = vsnprintf(kv, sizeof kv, kv_format, args);
    va_end(args);
    if (n > 0 && !c.cut) {
        log_put(&c, " ", 1);
        put_escaped(&c, kv, false);
        if (c.cut)
            close_cut(&c, "...");
    }
    untold = atomic_exchange_explicit(&self.untold, 0, memory_order_relaxed);
    if (untold > 0)
        c.at += snprintf(c.at, 40, " log_dropped=%llu", (unsigned long long)untold);
    *c.at++ = '\n';
    write_line(&c, line, untold);
    errno = saved_errno;
}

void im_log_identity(const char *role, int id)
{
    snprintf(self.role, sizeof self.role, "%s", role);
    self.id = id;
}

const char *im_log_role(void)
{
    return self.role;
}

int im_log_id(void)
{
    return self.id;
}

void im_log_level(enum im_log_level level)
{
    atomic_store_explicit(&self.level, (int)level, memory_order_relaxed);
}

const char *im_log_quote(struct im_quoted *q, const char *value)
{
    struct cursor c = {q->s + 1, q->s + sizeof q->s - 5, false}; /* 5: "..." quote and NUL */

    q->s[0] = '"';
    put_escaped(&c, value ? value : "", true);
    if (c.cut)
        close_cut(&c, "...");
    *c.at++ = '"';
    *c.at = '\0';
    return q->s;
}
