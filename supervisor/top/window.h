/* The terminal of `imsuper top`, by ncurses. One a process. */
#ifndef SUPERVISOR_TOP_WINDOW_H
#define SUPERVISOR_TOP_WINDOW_H

#include <stdbool.h>

#include "ipc/base/err.h"
#include "supervisor/top/canvas.h"

enum sv_key {
    SV_KEY_NONE = -1, /* nothing was typed. Characters are themselves */
    SV_KEY_UP = 0x110000,
    SV_KEY_DOWN,
    SV_KEY_PAGE_UP,
    SV_KEY_PAGE_DOWN,
    SV_KEY_HOME,
    SV_KEY_END,
    SV_KEY_HELP,
    SV_KEY_QUIT,
    SV_KEY_ESCAPE,
    SV_KEY_RESIZED
};

struct sv_window {
    void *screen; /* of ncurses */
    bool colored;
};

/* -EINVAL with a sentence: the terminal cannot show a full screen. */
int sv_window_open(struct sv_window *w, bool color, struct im_text *text);
void sv_window_close(struct sv_window *w); /* the terminal is as before */

void sv_window_size(int *ret_columns, int *ret_rows);
void sv_window_show(const struct sv_window *w, const struct sv_canvas *c);

/* The next key that was typed; does not wait. */
int sv_window_key(void);

#endif
