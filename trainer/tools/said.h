/* What the verbs of weights say of the images that the network takes. */
#ifndef TRAINER_TOOLS_SAID_H
#define TRAINER_TOOLS_SAID_H

#include "trainer/export/source.h"

/* "trained on images resized to 37 px, cropped to 32 px, mean ..., std ...", where the program that uses the file must do
 * it. */
void tr_say_input(const struct tr_source *s);

/* That nobody has said it, if so, and what changes it. */
void tr_say_unsaid(const struct tr_source *s);

#endif
