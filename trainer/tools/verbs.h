/* The verbs of imsuper-trainer, which run without a supervisor.
 *
 * In this folder: a file for each verb. It parses its flags, calls the folders above and prints; what a run needs as
 * well belongs there, not here. */
#ifndef TRAINER_TOOLS_VERBS_H
#define TRAINER_TOOLS_VERBS_H

/* For main(): runs the verb that the words name. Returns the exit status. */
int tr_verb_main(int argc, char **argv);

#endif
