/* A line of log.txt taken apart: `ts=... level=info role=trainer id=0 msg="network ready" seconds=0.2`. Lines of libraries are
 * anything. */
#ifndef SUPERVISOR_REPORT_LOG_LINE_H
#define SUPERVISOR_REPORT_LOG_LINE_H

#include <stddef.h>

struct im_json;

/* enum im_log_level; -1 for a line of somebody else (a library, a sanitizer). */
int sv_log_level(const char *line);

/* Copies the value of `key`, without its quotes and escapes; empty when there is none. */
void sv_log_value(const char *line, const char *key, char *ret, size_t n);

/* What stands behind the message, with the blank before it: " seconds=0.2"; empty when there is nothing. */
const char *sv_log_rest(const char *line);

/* "imsuper.log/1", the caller's: time, process, level, text (message and what stands behind it). Of somebody else's line
 * there is the text alone. */
struct im_json *sv_log_json(const char *line);

#endif
