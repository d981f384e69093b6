/* Asks a program of imsuper about the same data set. */
#ifndef SUPERVISOR_CLI_DATA_FLAGS_H
#define SUPERVISOR_CLI_DATA_FLAGS_H

#include "ipc/config/conf.h"

/* Runs `program` with `words` (separated by blanks), the flags of the data set and the texts of `more`, up to NULL, and reads its answer as
 * JSON. Its exit status, or a negative errno; *ret NULL where it gave no such answer. */
struct im_json;
int sv_ask_data(const struct im_conf *conf, const char *program, const char *words, const char *const more[],
                struct im_json **ret);

#endif
