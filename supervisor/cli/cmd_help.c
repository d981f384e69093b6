/* `imsuper help`, `version`, and the hidden `supervise`. */
#include <stdio.h>

#include "ipc/base/image_type.h"
#include "ipc/base/sysinfo.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/overview.h"
#include "supervisor/supervise.h"

int sv_cmd_help(struct im_conf *conf)
{
    (void)conf;
    sv_overview_print(stdout);
    return IM_EXIT_OK;
}

int sv_cmd_version(struct im_conf *conf)
{
    struct im_image_type_list decoded, others;

    (void)conf;
    printf("imsuper %s (%s)\n", IMSUPER_VERSION, im_build_id());
    printf("images: %s; not: %s\n", im_image_types_list(&decoded, true), im_image_types_list(&others, false));
    return IM_EXIT_OK;
}

int sv_cmd_supervise(struct im_conf *conf)
{
    (void)conf;
    return sv_supervise();
}
