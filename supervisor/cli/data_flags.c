#include "supervisor/cli/data_flags.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "ipc/config/command_line.h"
#include "supervisor/cli/program.h"

enum { ANSWER_BYTES = 1 << 20, TIMEOUT_MS = 600000 };

int sv_ask_data(const struct im_conf *conf, const char *program, const char *words, const char *const more[],
                struct im_json **ret)
{
    char *answer = malloc(ANSWER_BYTES), path[PATH_MAX], *copy = strdup(words), *next = copy, *word;
    struct im_command_line line;
    int status = -ENOMEM;

    *ret = NULL;
    sv_program_find(program, path, sizeof path);
    im_command_line_begin(&line, path);
    while ((word = strsep(&next, " ")))
        im_command_line_word(&line, word);
    im_command_line_data(&line, conf);
    for (size_t i = 0; more[i]; i++)
        im_command_line_word(&line, more[i]);
    if (answer && copy && line.words) {
        status = sv_program_read(line.words, TIMEOUT_MS, answer, ANSWER_BYTES);
        im_json_parse(answer, strlen(answer), ret, NULL);
    }
    im_command_line_free(&line);
    free(copy);
    free(answer);
    return status;
}
