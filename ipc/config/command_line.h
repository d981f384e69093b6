/* The command line of another program of imsuper, with flags from a configuration. Each is --NAME=VALUE of the option
 * table, so that any value arrives as it is: with blanks, '=', or a '-' in front. An empty text is left out,
 * which is what it means; as a flag it would be refused. */
#ifndef IPC_CONFIG_COMMAND_LINE_H
#define IPC_CONFIG_COMMAND_LINE_H

#include <stddef.h>

#include "ipc/config/conf.h"

struct im_command_line {
    char **words; /* as execv() takes them; NULL: no memory */
    size_t count;
};

/* `path` of the program; then words as they are, such as the verb. */
void im_command_line_begin(struct im_command_line *l, const char *path);
void im_command_line_word(struct im_command_line *l, const char *word);

/* What `conf` has for the key, or `value` in its place. */
void im_command_line_flag(struct im_command_line *l, const struct im_conf *conf, enum im_conf_key_id key);
void im_command_line_value(struct im_command_line *l, enum im_conf_key_id key, const char *value);

/* The flags that say which data set is meant. */
void im_command_line_data(struct im_command_line *l, const struct im_conf *conf);

void im_command_line_free(struct im_command_line *l);

#endif
