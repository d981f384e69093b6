/* Man pages and shell completion, made from the overview and from what each verb says of itself (`VERB --describe`).
 * cmake installs them. */
#ifndef SUPERVISOR_CLI_DOCUMENTS_H
#define SUPERVISOR_CLI_DOCUMENTS_H

#include <stddef.h>
#include <stdio.h>

#include "ipc/base/json.h"
#include "supervisor/cli/overview.h"

struct sv_verb {
    const struct sv_overview_line *line;
    struct im_json *facts; /* "imsuper.verb/1"; options is an array of objects */
};

/* man.c: imsuper(1), and the page of a verb, imsuper-data-index(1). */
void sv_man_overview(FILE *out, const struct sv_verb *verbs, size_t count);
void sv_man_verb(FILE *out, const struct sv_verb *verb);

/* completion.c */
void sv_complete_bash(FILE *out, const struct sv_verb *verbs, size_t count);
void sv_complete_zsh(FILE *out, const struct sv_verb *verbs, size_t count);
void sv_complete_fish(FILE *out, const struct sv_verb *verbs, size_t count);

#endif
