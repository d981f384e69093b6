/* The flags by which a program of ours is told of the same data set. */
#ifndef SUPERVISOR_CLI_DATA_FLAGS_H
#define SUPERVISOR_CLI_DATA_FLAGS_H

#include "ipc/config/conf.h"

enum { SV_DATA_FLAGS = 7 };

struct sv_data_flags {
    char text[SV_DATA_FLAGS][IM_CONF_TEXT_BYTES + 32];
};

/* --data-dir, --layout, --labels, --val-labels, --multi-label; --val-split and --val-split-seed where there is a split. Returns how many. */
int sv_data_flags_make(const struct im_conf *conf, struct sv_data_flags *ret);

/* Runs `program` with `words` (separated by blanks), these flags and the texts of `more`, up to NULL, and reads its answer as
 * JSON. Its exit status, or a negative errno; *ret NULL where it gave no such answer. */
struct im_json;
int sv_ask_data(const struct im_conf *conf, const char *program, const char *words, const char *const more[],
                struct im_json **ret);

#endif
