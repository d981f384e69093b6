/* `imsuper plot`: charts of one run or of several in a picture, from their files alone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/exit.h"
#include "ipc/base/printable.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/run_list.h"

int sv_cmd_plot(struct im_conf *conf)
{
    const struct sv_chart_style style = {conf->smooth, conf->log_x, conf->log_y};
    const char *path = *conf->output ? conf->output : "plot.png";
    struct sv_run_list *list = calloc(1, sizeof *list);
    struct im_text text = {""};
    int err = list ? sv_run_list_load(list, conf, &text) : -ENOMEM;

    if (err < 0) {
        free(list);
        return sv_fail_of_runs(err, &text);
    }
    err = sv_run_list_draw(list, *conf->metric ? conf->metric : "loss", &style, path, &text);
    if (err == 0 && !conf->quiet)
        im_say(stdout, "%s", path);
    sv_run_list_free(list);
    free(list);
    return err < 0 ? sv_fail_of_runs(err, &text) : IM_EXIT_OK;
}
