/* `imsuper top`: the runs of a workspace on a full screen. */
#ifndef SUPERVISOR_TOP_TOP_H
#define SUPERVISOR_TOP_TOP_H

#include "ipc/config/conf.h"

/* Shows conf's run, or with none named the newest, until somebody types q. 0, or a negative errno with a sentence. */
int sv_top_main(struct im_conf *conf, struct im_text *text);

/* Prints what the screen shows, of conf's run or of all that go on (none: the newest), as one JSON object
 * ("imsuper.top/1"); with conf->follow an object each second, until none goes on. */
int sv_top_print(struct im_conf *conf, struct im_text *text);

#endif
