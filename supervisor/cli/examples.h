/* Command lines as people type them, for the EXAMPLES of the man pages. */
#ifndef SUPERVISOR_CLI_EXAMPLES_H
#define SUPERVISOR_CLI_EXAMPLES_H

#include <stddef.h>

struct sv_example {
    const char *verb; /* as in the overview: "data index" */
    const char *line, *what;
};

/* Those of one verb lie beside each other. */
extern const struct sv_example sv_examples[];
extern const size_t sv_example_count;

#endif
