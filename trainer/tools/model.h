/* `imsuper model`: the layers of a network and their cost. */
#ifndef TRAINER_TOOLS_MODEL_H
#define TRAINER_TOOLS_MODEL_H

/* argv[0] is the command's name, flags follow. Returns an exit status (ipc/child.h). */
int tr_cmd_model(int argc, char **argv);

#endif
