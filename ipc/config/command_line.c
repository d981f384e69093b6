#include "ipc/config/command_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"

/* Takes `word`, which is malloc'ed; NULL: no memory. */
static void take_word(struct im_command_line *l, char *word)
{
    char **grown = word && l->words ? realloc(l->words, (l->count + 2) * sizeof *grown) : NULL;

    if (!grown) {
        free(word);
        im_command_line_free(l);
        return;
    }
    grown[l->count++] = word;
    grown[l->count] = NULL;
    l->words = grown;
}

void im_command_line_begin(struct im_command_line *l, const char *path)
{
    *l = (struct im_command_line){.words = calloc(1, sizeof *l->words)};
    im_command_line_word(l, path);
}

void im_command_line_word(struct im_command_line *l, const char *word)
{
    take_word(l, strdup(word));
}

void im_command_line_value(struct im_command_line *l, enum im_conf_key_id key, const char *value)
{
    char *word;

    if (*value)
        take_word(l, asprintf(&word, "--%s=%s", im_conf_name(key), value) < 0 ? NULL : word);
}

void im_command_line_flag(struct im_command_line *l, const struct im_conf *conf, enum im_conf_key_id key)
{
    char value[IM_CONF_TEXT_BYTES];

    im_conf_value(conf, key, value);
    im_command_line_value(l, key, value);
}

void im_command_line_data(struct im_command_line *l, const struct im_conf *conf)
{
    static const enum im_conf_key_id keys[] = {IM_KEY_data_dir, IM_KEY_layout, IM_KEY_labels,
                                               IM_KEY_val_labels};

    for (size_t i = 0; i < IM_COUNT(keys); i++)
        im_command_line_flag(l, conf, keys[i]);
    if (conf->multi_label)
        im_command_line_flag(l, conf, IM_KEY_multi_label);
    if (conf->val_split > 0) { /* the seed alone would be refused as without effect */
        im_command_line_flag(l, conf, IM_KEY_val_split);
        im_command_line_flag(l, conf, IM_KEY_val_split_seed);
    }
}

void im_command_line_free(struct im_command_line *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->words[i]);
    free(l->words);
    *l = (struct im_command_line){.words = NULL};
}
