/* `imsuper plot`: charts of one run or of several in a picture, from their files alone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/exit.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/run_list.h"

static int print_json(const struct sv_run_list *list, const char *metrics, const char *path)
{
    struct im_json *j = im_json_object(), *runs = im_json_array(), *names = im_json_array();
    int err;

    im_json_set_str(j, "schema", "imsuper.plot/1");
    im_json_set_str(j, "file", path);
    for (size_t i = 0; i < list->count; i++)
        im_json_append_str(runs, list->directory[i]);
    im_json_set(j, "runs", runs);
    for (const char *at = metrics; *at; at += *at == ',') {
        char name[64];

        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, ","), at);
        im_json_append_str(names, name);
        at += strcspn(at, ",");
    }
    im_json_set(j, "metrics", names);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int sv_cmd_plot(struct im_conf *conf)
{
    const struct sv_chart_style style = {conf->smooth, conf->log_x, conf->log_y};
    const char *path = *conf->output ? conf->output : "plot.png",
               *metrics = *conf->metric ? conf->metric : "loss";
    struct sv_run_list *list = calloc(1, sizeof *list);
    struct im_text text = {""};
    int err = list ? sv_run_list_load(list, conf, &text) : -ENOMEM;

    if (err < 0) {
        free(list);
        return sv_fail_of_runs(err, &text);
    }
    err = sv_run_list_draw(list, metrics, &style, path, &text);
    if (err == 0 && conf->json)
        err = print_json(list, metrics, path);
    else if (err == 0 && !conf->quiet)
        im_say(stdout, "%s", path);
    sv_run_list_free(list);
    free(list);
    return err < 0 ? sv_fail_of_runs(err, &text) : IM_EXIT_OK;
}
