/* Another program with pipes at its standard output and, where asked for, its standard input. Its other descriptors
 * close, its standard error is ours. */
#ifndef IPC_BASE_PIPED_H
#define IPC_BASE_PIPED_H

#include <stdbool.h>
#include <sys/types.h>

#include "ipc/base/err.h"

enum { IM_PIPED_FD = 3 };

struct im_piped {
    pid_t pid;
    int to, from; /* to: -1 without */
};

#define IM_PIPED_NONE ((struct im_piped){.to = -1, .from = -1})

struct im_piped_how {
    bool with_input;
    bool without_errors; /* its standard error is nobody's */
    const int *passed;   /* a descriptor that it gets as IM_PIPED_FD; NULL: none */
    char **environment;  /* NULL: ours */
};

/* argv[0] is its path, or a name that PATH has. 0, or negative errno with a sentence; then there is nothing to end. */
int im_piped_start(struct im_piped *p, char *const argv[], const struct im_piped_how *how,
                   struct im_text *text);

/* Closes what is open of the pipes (-1: closed already) and waits. Its status as waitpid() has it. */
int im_piped_end(struct im_piped *p);

#endif
