/* The layout of `imsuper top`: pure, for any size of the screen. */
#ifndef SUPERVISOR_TOP_DRAW_H
#define SUPERVISOR_TOP_DRAW_H

#include "supervisor/top/canvas.h"
#include "supervisor/top/run.h"

enum { SV_TOP_COLUMNS_MIN = 40, SV_TOP_ROWS_MIN = 8 }; /* smaller screens show a sentence */

struct sv_top_screen {
    const struct sv_top_run *run; /* NULL: there is none */
    int runs, at;                 /* it is number `at` (from 1) of those that Tab shows */
    const char *workspace;
    im_ns now;
    int chosen; /* process of the run */
    bool utf8, help;
    const char *message; /* the answer to a key; NULL: none */
    const char *log;     /* lines of the process's log, instead of the tables; NULL: the tables */
    const char *log_of;
    int log_back; /* lines that are scrolled back */
};

void sv_top_draw(const struct sv_top_screen *s, struct sv_canvas *c);

/* Parts of the layout; row by row. They return the row behind what they drew (draw_parts.c). */
int sv_top_draw_pipeline(const struct sv_top_screen *s, struct sv_canvas *c, int row);
int sv_top_draw_stages(const struct sv_top_screen *s, struct sv_canvas *c, int row);
int sv_top_draw_past(const struct sv_top_screen *s, struct sv_canvas *c, int row);
int sv_top_draw_nodes(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows);
int sv_top_draw_gpus(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows);
int sv_top_draw_processes(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows);
int sv_top_draw_events(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows);
int sv_top_draw_epochs(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows);
int sv_top_draw_log(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows);
int sv_top_draw_help(struct sv_canvas *c, int row, int rows);

#endif
