/* The verbs of imsuper-trainer. */
#ifndef TRAINER_TOOLS_VERBS_H
#define TRAINER_TOOLS_VERBS_H

/* For main(): runs the verb that the words name. Returns the exit status. */
int tr_verb_main(int argc, char **argv);

#endif
