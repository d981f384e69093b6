/* The programs of a run, held open from its start: an upgrade or a removal while it goes on changes nothing, and
 * no process of another version joins it. */
#ifndef SUPERVISOR_WARDEN_PROGRAMS_H
#define SUPERVISOR_WARDEN_PROGRAMS_H

#include <limits.h>

#include "ipc/abi.h"
#include "ipc/base/err.h"

enum sv_program {
    SV_PROGRAM_SUPERVISOR,
    SV_PROGRAM_READER,
    SV_PROGRAM_AUGMENTER,
    SV_PROGRAM_TRAINER,
    SV_PROGRAM_FETCHER, /* fd -1: this build has none */
    SV_PROGRAMS
};

struct sv_programs {
    int fd[SV_PROGRAMS];           /* close-on-exec */
    int module;                    /* imsuper-cuda.so; -1: there is none */
    char directory[PATH_MAX - 32]; /* where all lie: beside this program */
};

/* Opens them. 0, or negative errno with a sentence; nothing is open then. */
int sv_programs_open(struct sv_programs *ret, struct im_text *text);
void sv_programs_close(struct sv_programs *p);

enum sv_program sv_program_of(enum im_role role);
const char *sv_program_name(enum sv_program program);

#endif
