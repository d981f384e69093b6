/* `imsuper predict --serve`: weights that answer images over HTTP until somebody ends it. */
#ifndef SUPERVISOR_CLI_SERVE_IMAGES_H
#define SUPERVISOR_CLI_SERVE_IMAGES_H

#include "ipc/config/conf.h"

/* An exit status (why has been said), or a negative errno with a sentence. */
int sv_serve_images(struct im_conf *conf, struct im_text *text);

#endif
