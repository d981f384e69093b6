/* Text in a page: all that comes from a file or a name goes through here. */
#ifndef SUPERVISOR_REPORT_PAGE_TEXT_H
#define SUPERVISOR_REPORT_PAGE_TEXT_H

#include <stdint.h>
#include <stdio.h>

#include "supervisor/report/options.h"

/* The beginning of the page, with the style of light and dark screens. */
void sv_page_begin(FILE *f, const char *title);

/* The text, with what a page or a terminal would obey as escapes. */
void sv_page_put(FILE *f, const char *s);

/* A row of two cells. */
void sv_page_row(FILE *f, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The last table of each class up to that epoch; nothing where there is none. */
void sv_page_classes(FILE *f, const char *run_dir, uint32_t epoch);

/* The command that starts such a run: every option that somebody chose, with quotes as a shell needs them. */
void sv_page_command(FILE *f, const struct sv_options *options);

#endif
