/* The options of a run that is named again without them. */
#include "ipc/config/conf_table.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whether `first`, what flags and environment say, names a run whose own options are enough. A config or a recipe
 * says what the run is, and so do images. */
static bool conf_again_find(const struct im_conf *first, im_conf_commands commands, char ret[PATH_MAX])
{
    const im_conf_commands others = IM_FOR_LR_FIND | IM_FOR_BENCH_DATA | IM_FOR_STEPS;
    const bool newest = !first->run_name[0] && strcmp(first->resume, "auto") == 0;
    char path[PATH_MAX];

    if (!(commands & IM_FOR_START) || (commands & others) || first->data_dir[0] || first->config[0] ||
        first->recipe[0] || (!newest && (!first->run_name[0] || strchr(first->run_name, '/'))))
        return false;
    return snprintf(ret, PATH_MAX, "%s/%s", first->workspace, newest ? "latest" : first->run_name) <
               PATH_MAX &&
           snprintf(path, sizeof path, "%s/config.yaml", ret) < (int)sizeof path && access(path, F_OK) == 0;
}

int im_conf_load_again(struct im_conf *conf, const struct im_conf *first, im_conf_commands commands,
                       struct im_text *note, struct im_text *text)
{
    char run_dir[PATH_MAX];
    int err;

    if (!conf_again_find(first, commands, run_dir))
        return 0;
    err = im_conf_load_run(conf, run_dir, text);
    if (err < 0)
        return err;
    /* Where the run lies comes from this command, and so does whether to continue. */
    memcpy(conf->workspace, first->workspace, sizeof conf->workspace);
    conf->origin[IM_KEY_workspace] = first->origin[IM_KEY_workspace];
    conf->resume[0] = 0;
    conf->origin[IM_KEY_resume] = first->origin[IM_KEY_resume];
    conf->dry_run = false;
    im_fail(note, 0, "options are those of %.500s/config.yaml; flags override them", run_dir);
    return 0;
}
