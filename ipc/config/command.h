/* The verbs of a program: from one table come the choice of the verb, its --help, and the configuration it runs
 * with. Every wrong use is refused here, so that its sentence is the same in all programs. */
#ifndef IPC_CONFIG_COMMAND_H
#define IPC_CONFIG_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/base/exit.h"
#include "ipc/config/conf.h"

/* What is checked of a verb's configuration beyond each value by itself. */
enum im_command_check {
    IM_CHECK_NOTHING,
    IM_CHECK_VALUES, /* im_conf_check() */
    IM_CHECK_NETWORK /* and im_conf_check_network() */
};

struct im_command {
    const char *name;         /* the words after the program's name: "bench", "data index" */
    const char *typed;        /* what the user types: "imsuper bench trainer" */
    const char *usual;        /* flags to show beside it */
    const char *what;         /* what it does, in sentences; NULL: `words` takes --help, too */
    im_conf_commands options; /* IM_FOR_*, the flags it takes; 0: none, and the environment is not read */
    const char *required;     /* option that must be given; NULL: none */
    const char *operand;      /* option that a word without dashes sets; NULL: no such word */
    bool operand_list;        /* several such words, joined by blanks */
    const char *second;       /* option that a second such word sets; NULL: there is none */
    bool operand_needed;
    enum im_command_check check;
    bool is_inner; /* another program of imsuper starts it, which has shown the warnings */

    /* One of the two. They return an exit status (ipc/base/exit.h). */
    int (*run)(struct im_conf *conf);
    int (*words)(int argc, char **argv); /* argv[0] is the name's last word */
};

/* For main(): runs the verb that the words name. `--help` lists the verbs, `--version` and -V
 * print the program's; `VERB --describe` is the verb as JSON ("imsuper.verb/1"). Returns
 * the exit status. */
int im_command_main(const char *program, const struct im_command *commands, size_t count, int argc,
                    char **argv);

/* Prints "imsuper: " and the sentence, or what errno says of `err`; returns the exit status for it. */
int im_command_fail(int err, const struct im_text *text);

#endif
