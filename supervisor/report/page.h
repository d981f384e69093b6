/* report.html of a run: one page without anything from outside, made from the files of its folder. */
#ifndef SUPERVISOR_REPORT_PAGE_H
#define SUPERVISOR_REPORT_PAGE_H

#include "ipc/base/err.h"

/* Replaces DIRECTORY/report.html. Nothing where the run has no configuration yet. */
int sv_page_write(const char *directory, struct im_text *text);

#endif
