/* `imsuper top`. */
#include <stdio.h>
#include <unistd.h>

#include "ipc/base/printable.h"
#include "supervisor/cli/commands.h"
#include "supervisor/report/rundir.h"
#include "supervisor/top/top.h"

int sv_cmd_top(struct im_conf *conf)
{
    struct im_text text = {""};
    int err = 0;

    if (!conf->json && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))) {
        fprintf(stderr, "imsuper: top needs a terminal; --json prints what it shows\n");
        return IM_EXIT_USAGE;
    }
    if (conf->run_name[0] && sv_rundir_find(conf, &text) < 0) {
        im_say(stderr, "imsuper: %s", text.s);
        return IM_EXIT_UNKNOWN_RUN;
    }
    err = conf->json ? sv_top_print(conf, &text) : sv_top_main(conf, &text);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
