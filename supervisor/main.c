/* imsuper: the user's command. Its verbs are in cli/verbs.c. */
#include <locale.h>
#include <stdbool.h>
#include <string.h>

#include "ipc/base/exit.h"
#include "supervisor/cli/commands.h"
#include "supervisor/limits.h"

static int run_supervisor(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "help";
    const bool json = argc > 2 && strcmp(argv[argc - 1], "--json") == 0;
    const int words = argc - json; /* without it */
    char *help[] = {argv[0], words > 2 ? argv[2] : "help", words > 3 ? argv[3] : "--help", "--help", NULL,
                    NULL};

    setlocale(LC_CTYPE, "");
    if (strcmp(verb, "help") == 0 || strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
        argv = help; /* `help WORD...` is `WORD... --help` */
        argc = words > 3 ? 4 : words > 2 ? 3 : 2;
        help[argc] = json ? "--json" : NULL;
        argc += json;
    }
    return sv_command_main(argc, argv);
}

int main(int argc, char **argv)
{
    return sv_limits_stack() ? run_supervisor(argc, argv) : IM_EXIT_UNAVAILABLE;
}
