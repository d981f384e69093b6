#include "supervisor/cli/data_flags.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "supervisor/cli/program.h"

enum { ANSWER_BYTES = 1 << 20, TIMEOUT_MS = 600000, WORDS_MAX = 24 };

int sv_data_flags_make(const struct im_conf *conf, struct sv_data_flags *ret)
{
    const size_t room = sizeof ret->text[0];
    int n = 0;

    snprintf(ret->text[n++], room, "--data-dir=%s", conf->data_dir);
    snprintf(ret->text[n++], room, "--layout=%s", im_conf_choice(IM_KEY_layout, conf->layout));
    if (*conf->labels)
        snprintf(ret->text[n++], room, "--labels=%s", conf->labels);
    if (*conf->val_labels)
        snprintf(ret->text[n++], room, "--val-labels=%s", conf->val_labels);
    if (conf->multi_label)
        snprintf(ret->text[n++], room, "--multi-label");
    if (conf->val_split > 0) { /* the seed alone would be refused as without effect */
        snprintf(ret->text[n++], room, "--val-split=%.17g", conf->val_split);
        snprintf(ret->text[n++], room, "--val-split-seed=%" PRId64, conf->val_split_seed);
    }
    return n;
}

int sv_ask_data(const struct im_conf *conf, const char *program, const char *words, const char *const more[],
                struct im_json **ret)
{
    struct sv_data_flags *flags = malloc(sizeof *flags);
    char *answer = malloc(ANSWER_BYTES), *argv[WORDS_MAX] = {0}, path[PATH_MAX], *copy = strdup(words),
         *next = copy, *word;
    char *copies[WORDS_MAX];
    int n = 0, extra = 0, flag_count, status = -ENOMEM;

    *ret = NULL;
    if (flags && answer && copy) {
        sv_program_find(program, path, sizeof path);
        argv[n++] = path;
        while ((word = strsep(&next, " ")) && n < WORDS_MAX / 2)
            argv[n++] = word;
        flag_count = sv_data_flags_make(conf, flags);
        for (int i = 0; i < flag_count; i++)
            argv[n++] = flags->text[i];
        for (; more[extra] && n + 1 < WORDS_MAX; extra++) {
            copies[extra] = strdup(more[extra]);
            if (!copies[extra])
                break;
            argv[n++] = copies[extra];
        }
        status = sv_program_read(argv, TIMEOUT_MS, answer, ANSWER_BYTES);
        im_json_parse(answer, strlen(answer), ret, NULL);
    }
    for (int i = 0; i < extra; i++)
        free(copies[i]);
    free(copy);
    free(flags);
    free(answer);
    return status;
}
