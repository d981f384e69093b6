#include "supervisor/top/window.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <curses.h>

#include "ipc/base/count.h"

static const struct {
    enum sv_style style;
    short foreground;
    attr_t with_color, without;
} styles[] = {
    {SV_PLAIN, -1, A_NORMAL, A_NORMAL},
    {SV_BOLD, -1, A_BOLD, A_BOLD},
    {SV_FAINT, -1, A_DIM, A_NORMAL},
    {SV_GOOD, COLOR_GREEN, A_NORMAL, A_NORMAL},
    {SV_BUSY, COLOR_YELLOW, A_BOLD, A_BOLD},
    {SV_BAD, COLOR_RED, A_BOLD, A_BOLD},
    {SV_ACCENT, COLOR_CYAN, A_NORMAL, A_NORMAL},
    {SV_HEADING, -1, A_REVERSE, A_REVERSE},
    {SV_CHOSEN, COLOR_CYAN, A_REVERSE, A_REVERSE | A_BOLD},
};

/* Without this a terminal cannot be drawn on ("dumb"). */
static bool can_move(void)
{
    static const char capability[] = "cup";
    const char *code = tigetstr(capability);

    return code && (intptr_t)code != -1;
}

int sv_window_open(struct sv_window *w, bool color, struct im_text *text)
{
    const char *term = getenv("TERM");

    *w = (struct sv_window){.screen = newterm(NULL, stdout, stdin)};
    if (w->screen && !can_move())
        sv_window_close(w);
    if (!w->screen)
        return im_fail(
            text, -EINVAL,
            "this terminal (TERM=%.40s) cannot show a full screen; `imsuper status` shows a run in lines",
            term ? term : "");
    w->colored = color && has_colors() && start_color() == OK;
    if (w->colored)
        use_default_colors();
    for (size_t i = 0; w->colored && i < IM_COUNT(styles); i++)
        init_pair((short)(1 + styles[i].style), styles[i].foreground, -1);
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(50);
    curs_set(0);
    return 0;
}

void sv_window_close(struct sv_window *w)
{
    if (!w->screen)
        return;
    endwin();
    delscreen(w->screen);
    w->screen = NULL;
}

void sv_window_size(int *ret_columns, int *ret_rows)
{
    getmaxyx(stdscr, *ret_rows, *ret_columns);
}

static attr_t attributes_of(const struct sv_window *w, unsigned char style)
{
    return w->colored ? styles[style].with_color | (attr_t)COLOR_PAIR(1 + style) : styles[style].without;
}

void sv_window_show(const struct sv_window *w, const struct sv_canvas *c)
{
    for (int row = 0; row < c->rows; row++) {
        move(row, 0);
        for (int column = 0; column < c->columns; column++) {
            const struct sv_cell *cell = &c->cells[row * c->columns + column];

            attrset((int)attributes_of(w, cell->style));
            addstr(cell->s);
        }
    }
    refresh();
}

int sv_window_key(void)
{
    static const struct {
        int curses;
        enum sv_key ours;
    } keys[] = {{KEY_UP, SV_KEY_UP},         {KEY_DOWN, SV_KEY_DOWN},       {KEY_PPAGE, SV_KEY_PAGE_UP},
                {KEY_HOME, SV_KEY_HOME},     {KEY_NPAGE, SV_KEY_PAGE_DOWN}, {KEY_END, SV_KEY_END},
                {KEY_F(1), SV_KEY_HELP},     {KEY_F(10), SV_KEY_QUIT},      {27, SV_KEY_ESCAPE},
                {KEY_RESIZE, SV_KEY_RESIZED}};
    const int key = getch();

    for (size_t i = 0; i < IM_COUNT(keys); i++)
        if (keys[i].curses == key)
            return (int)keys[i].ours;
    return key == ERR ? SV_KEY_NONE : key;
}
