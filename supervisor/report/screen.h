/* What the user sees while a run goes on: one live line on a terminal, key=value lines otherwise. Goes to
 * stderr, never waits for it (terminal.h), and shows no byte from outside that a terminal would obey
 * (ipc/base/printable.h). Data goes to files. */
#ifndef SUPERVISOR_REPORT_SCREEN_H
#define SUPERVISOR_REPORT_SCREEN_H

#include <stdbool.h>

#include "ipc/base/clock.h"
#include "supervisor/report/observe.h"
#include "supervisor/report/terminal.h"

struct sv_screen {
    bool live; /* rewrite one line */
    bool color, utf8, quiet;
    bool folds;            /* long lines are broken between words: it is a terminal */
    im_ns status_interval; /* between key=value lines */
    im_ns last;
    bool line_is_drawn;
    struct sv_terminal *terminal;
};

/* What the line tells. */
struct sv_progress {
    const struct sv_view *view;
    const struct im_phase *phase; /* NULL before the first and after the last */
    uint32_t epochs;
    uint64_t step;  /* within the phase */
    uint64_t steps; /* of a learning-rate range test, which has no epochs: `step` counts up to it; 0: a run */
    double eta_epoch, eta_run; /* seconds; negative = not known yet */
    const char *state;         /* "training", "validating", "starting", "stopping", ... */
};

/* color: 0 auto, 1 always, 2 never. Honours NO_COLOR, TERM=dumb, COLUMNS. */
void sv_screen_init(struct sv_screen *s, int color, bool plain, bool quiet, im_ns status_interval);

/* Waits at most `timeout` until all is shown. */
void sv_screen_close(struct sv_screen *s, im_ns timeout);

/* Draws or prints progress when it is time to. `force` prints now. */
void sv_screen_progress(struct sv_screen *s, const struct sv_progress *p, bool force);

/* Prints a whole line above the live line. */
void sv_screen_say(struct sv_screen *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with the time of day and "WARN" or "ERROR" before it; in any case, --quiet too. */
enum sv_weight { SV_WARN, SV_ERROR };
void sv_screen_warn(struct sv_screen *s, enum sv_weight weight, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Columns that lines are folded to; 0: they are not. */
int sv_screen_columns(const struct sv_screen *s);

/* A line of the header, before there is a screen: to stderr, folded on a terminal unless `plain`. */
void sv_say_header(bool plain, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the live line. */
void sv_screen_end(struct sv_screen *s);

/* "1h02m", "3m20s", "12s", "-" for a negative number. Returns buffer. */
const char *sv_format_seconds(double seconds, char *buffer, int n);

/* "9,842" or "12.3" for small numbers. Returns buffer. */
const char *sv_format_rate(double per_second, char *buffer, int n);

/* "1.25 GiB", below one "12.5 MiB", below one "4.5 KiB". */
const char *sv_format_bytes(uint64_t bytes, char *buffer, int n);

/* "1,281,167". Returns buffer. */
const char *sv_format_count(uint64_t count, char *buffer, int n);

/* Are loss and learning rate those of a step? */
bool sv_view_has_step(const struct sv_view *v);

/* One live line of at most `columns` columns (live.c), without colour codes or newline: loss, lr, img/s, time left and
 * what limits first, then the rest as it fits. */
void sv_format_line(const struct sv_screen *s, const struct sv_progress *p, int columns, char *buffer, int n);

#endif
