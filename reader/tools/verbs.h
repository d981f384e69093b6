/* The verbs of imsuper-reader. */
#ifndef READER_TOOLS_VERBS_H
#define READER_TOOLS_VERBS_H

/* For main(): runs the verb that the words name. Returns the exit status. */
int rd_verb_main(int argc, char **argv);

#endif
