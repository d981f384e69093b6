/* imsuper-trainer answers: the network of `imsuper predict --serve`. */
#ifndef TRAINER_TOOLS_ANSWERS_H
#define TRAINER_TOOLS_ANSWERS_H

/* Returns an exit status. */
int tr_words_answers(int argc, char **argv);

#endif
