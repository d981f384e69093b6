/* The verbs that users see, a line each, in the order of `imsuper help`; what exit statuses mean. From here come the help,
 * the man pages and the shell completion. */
#ifndef SUPERVISOR_CLI_OVERVIEW_H
#define SUPERVISOR_CLI_OVERVIEW_H

#include <stddef.h>
#include <stdio.h>

struct sv_overview_line {
    const char *group; /* "Train" */
    const char *name;  /* "data index" */
    const char *what;  /* a phrase */
};

extern const struct sv_overview_line sv_overview[];
extern const size_t sv_overview_count;

struct sv_exit_line {
    int status;
    const char *what;
};

extern const struct sv_exit_line sv_exits[];
extern const size_t sv_exit_count;

/* What imsuper is, in a sentence without its name: "trains image classifiers ...". */
extern const char *const sv_overview_what;

void sv_overview_print(FILE *out);

#endif
