/* Lines that fit a terminal: the width of a text, and a line broken between words. */
#ifndef SUPERVISOR_REPORT_FOLD_H
#define SUPERVISOR_REPORT_FOLD_H

#include <stdbool.h>
#include <stddef.h>

/* Columns that a printable text (ipc/base/printable.h) takes on a terminal of UTF-8, whatever the locale. */
int sv_text_width(const char *s);

/* For an argument of printf: the text as a cell of a table, printable, cut after a whole character and padded with blanks
 * to this many columns (at most 200), at its end or, with `right`, before it. */
struct sv_cell_text {
    char s[1024];
};
const char *sv_cell(struct sv_cell_text *room, const char *s, int columns, bool right);

/* Breaks a printable line between words so that none of its lines takes more than `columns`, but for a word that is
 * longer by itself: a path is not broken, so that it can be copied. The lines after the first begin under what stands
 * behind the first's label ("data    2,000 train, ..."). 0 columns: as it is. Returns the buffer. */
const char *sv_fold(const char *line, int columns, char *buffer, size_t n);

/* Can the terminal show UTF-8? */
bool sv_locale_is_utf8(void);

/* Columns of the terminal of this descriptor, else COLUMNS, else 80. */
int sv_terminal_columns(int fd);

#endif
