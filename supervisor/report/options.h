/* The options of a run as its config.yaml lists them: text alone, so that a run of another version can be read, too.
 * The writer is im_conf_dump_yaml(). */
#ifndef SUPERVISOR_REPORT_OPTIONS_H
#define SUPERVISOR_REPORT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/base/err.h"

struct sv_option {
    const char *name, *value; /* printable: a byte that is not is shown as "?" */
    const char *source;       /* "default", "flag", "recipe, line 3", ... */
};

struct sv_options {
    char *text; /* the file; owned */
    struct sv_option *option;
    size_t count;
};

/* Reads DIRECTORY/config.yaml. -ENOENT: the run has not begun. With a sentence. */
int sv_options_load(struct sv_options *o, const char *directory, struct im_text *text);
void sv_options_free(struct sv_options *o); /* zeroed is fine */

/* The option's value; NULL: there is none of this name. */
const char *sv_options_value(const struct sv_options *o, const char *name);

/* Does the option say what the run does? Where its folder is and what it shows or tells does not. */
bool sv_option_matters(const char *name);

#endif
