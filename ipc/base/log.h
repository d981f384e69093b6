/* Log lines in logfmt, one write(2) of at most PIPE_BUF bytes each to descriptor 2, so that lines of many
 * processes never mix:
 *
 *     ts=2026-11-21T20:30:03.123Z level=info role=reader id=0 msg="opened the index" images=50000
 *
 * Library code logs at debug only; roles and main log the rest. Callable from any thread, not
 * from signal handlers. */
#ifndef IPC_BASE_LOG_H
#define IPC_BASE_LOG_H

#include <stdint.h>

enum im_log_level { IM_LOG_DEBUG, IM_LOG_INFO, IM_LOG_WARN, IM_LOG_ERROR };

/* A line with nothing to add says so with "": that is no mistake to warn of. */
#pragma GCC diagnostic ignored "-Wformat-zero-length"

/* Writes one line. `kv_format` makes "key=value ..." and may be ""; values that may hold spaces, quotes or
 * bytes from outside go through im_log_quote(). Control characters are escaped everywhere, so a line is
 * always one line. Never blocks on a non-blocking stderr: the line is dropped, and the next one that gets
 * through carries log_dropped=N. */
void im_log(enum im_log_level level, const char *msg, const char *kv_format, ...)
    __attribute__((format(printf, 3, 4)));

/* Who writes, for every later line and for fault rules; once, before there are threads. `role` is cut
 * to 31 bytes. */
void im_log_identity(const char *role, int id);
const char *im_log_role(void); /* "imsuper" until set */
int im_log_id(void);

/* Lines below `level` are not written; IM_LOG_INFO until set. */
void im_log_level(enum im_log_level level);

/* Room for a quoted value; longer ones are cut and end in "...". */
struct im_quoted {
    char s[512];
};

/* Makes `value` safe in a line: quoted where it must be, escaped, cut to fit. Returns q->s. Use it in place:
 * im_log(IM_LOG_WARN, "skipped", "path=%s", im_log_quote(&(struct im_quoted){0}, path)). NULL gives "". */
const char *im_log_quote(struct im_quoted *q, const char *value);

#endif
