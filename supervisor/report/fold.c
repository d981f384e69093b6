#include "supervisor/report/fold.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <wchar.h>

#include "ipc/base/printable.h"
#include "ipc/base/utf8.h"

#define LABEL_MAX 12
#define PLAIN_INDENT 4

/* Columns and bytes of the character at `s`. A byte that is no UTF-8, and what is unknown to the locale, is one. */
static int width_of(const char *s, size_t *ret_bytes)
{
    static const unsigned char lead[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const size_t n = im_utf8_length(s);
    wchar_t c = 0;
    int width;

    *ret_bytes = n > 0 ? n : 1;
    if (n <= 1)
        return 1;
    c = (unsigned char)s[0] & lead[n];
    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((unsigned char)s[i] & 0x3f);
    width = wcwidth(c);
    return width >= 0 ? width : 1;
}

static bool is_ascii(const char *s, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)s[i] >= 0x80)
            return false;
    return true;
}

/* wcwidth() depends on the thread's locale: one of UTF-8 for the time, where there is one. Zero: as it was. */
struct utf8_locale {
    locale_t made, before;
};

static struct utf8_locale enter_utf8(void)
{
    struct utf8_locale l = {0};

    if (sv_locale_is_utf8())
        return l;
    l.made = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (l.made)
        l.before = uselocale(l.made);
    return l;
}

static void leave_utf8(const struct utf8_locale *l)
{
    if (!l->made)
        return;
    uselocale(l->before);
    freelocale(l->made);
}

static int width_within(const char *s, size_t bytes)
{
    struct utf8_locale locale;
    int columns = 0;

    if (is_ascii(s, bytes))
        return (int)bytes;
    locale = enter_utf8();

    for (size_t at = 0, n = 0; at < bytes; at += n)
        columns += width_of(s + at, &n);
    leave_utf8(&locale);
    return columns;
}

int sv_text_width(const char *s)
{
    return width_within(s, strlen(s));
}

const char *sv_cell(struct sv_cell_text *room, const char *s, int columns, bool right)
{
    char shown[sizeof room->s / 2];
    const struct utf8_locale locale = enter_utf8();
    size_t at = 0, n = 0;
    int used = 0, pad;

    columns = columns < 200 ? columns : 200;
    im_printable(s, shown, sizeof shown);
    for (int width; shown[at] && used + (width = width_of(shown + at, &n)) <= columns; at += n)
        used += width;
    leave_utf8(&locale);
    shown[at] = 0;
    pad = columns - used;
    snprintf(room->s, sizeof room->s, "%*s%s%*s", right ? pad : 0, "", shown, right ? 0 : pad, "");
    return room->s;
}

/* Where the text behind a label begins. */
static int indent_of(const char *line, int columns)
{
    const size_t label = strcspn(line, " "), gap = strspn(line + label, " ");
    int indent = PLAIN_INDENT;

    if (label == 0)
        indent = (int)gap;
    else if (label <= LABEL_MAX && gap >= 2)
        indent = (int)(label + gap);
    return indent <= columns / 3 ? indent : columns / 3;
}

struct folded {
    char *buffer;
    size_t n, used;
    int column;
};

static void fold_put(struct folded *f, const char *s, size_t bytes)
{
    if (f->used + bytes >= f->n)
        return;
    memcpy(f->buffer + f->used, s, bytes);
    f->used += bytes;
    f->buffer[f->used] = 0;
}

static void new_line(struct folded *f, int indent)
{
    fold_put(f, "\n", 1);
    for (int i = 0; i < indent; i++)
        fold_put(f, " ", 1);
    f->column = indent;
}

const char *sv_fold(const char *line, int columns, char *buffer, size_t n)
{
    struct folded f = {.buffer = buffer, .n = n};
    const int indent = columns > 0 ? indent_of(line, columns) : 0;

    buffer[0] = 0;
    if (columns <= 0) {
        fold_put(&f, line, strlen(line));
        return buffer;
    }
    while (*line) {
        const size_t gap = strspn(line, " "), word = strcspn(line + gap, " ");
        const int width = width_within(line + gap, word);

        if (f.column > indent && f.column + (int)gap + width > columns && word > 0) {
            new_line(&f, indent);
        } else {
            fold_put(&f, line, word > 0 ? gap : 0);
            f.column += (int)gap;
        }
        fold_put(&f, line + gap, word);
        f.column += width;
        line += gap + word;
    }
    return buffer;
}

bool sv_locale_is_utf8(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

int sv_terminal_columns(int fd)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    const long wanted = columns ? strtol(columns, NULL, 10) : 0;

    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return wanted >= 20 && wanted <= 1000 ? (int)wanted : 80;
}
