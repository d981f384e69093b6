/* What verbs have in common that read words alone. */
#include <string.h>

#include "supervisor/cli/commands.h"

bool sv_take_json(int *argc, char **argv)
{
    int kept = 1;

    for (int i = 1; i < *argc; i++)
        if (strcmp(argv[i], "--json") != 0)
            argv[kept++] = argv[i];
    if (kept == *argc)
        return false;
    argv[kept] = NULL;
    *argc = kept;
    return true;
}

int sv_print_answer(struct im_json *answer)
{
    const struct im_text none = {""};
    const int err = im_json_print(answer, stdout);

    im_json_free(&answer);
    return err < 0 ? im_command_fail(err, &none) : IM_EXIT_OK;
}
