/* Errors: functions return 0 or a positive count, or a negative errno. Where a user must repair something (a
 * file, a flag, a limit) the function also fills a struct im_text with a sentence that names it.
 *
 * In this folder: helpers that do not depend on runs: errors, log, clock, files, JSON, hashes, random
 * numbers, fault points. They use only libc and small libraries, and include nothing from other folders.
 * Random numbers and hashes define results and formats: their outputs do not change. */
#ifndef IPC_BASE_ERR_H
#define IPC_BASE_ERR_H

#include <stddef.h>

/* A sentence for a person. Empty when there is nothing to say. */
struct im_text {
    char s[1024];
};

/* Writes the sentence, truncated to fit, as it may be shown on a terminal (ipc/base/printable.h); `text` may be
 * NULL. Returns `err` so that callers can `return im_fail(...)`. */
int im_fail(struct im_text *text, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* For errors of this program, never for data from outside: prints the condition with its place and aborts; on in
 * every build. */
#define im_assert(condition) ((condition) ? (void)0 : im_assert_failed(#condition, __FILE__, __LINE__))
__attribute__((noreturn)) void im_assert_failed(const char *condition, const char *file, int line);

#endif
