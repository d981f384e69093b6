#include "supervisor/cli/dry_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/printable.h"

#define AT_DEFAULT "  # default"

void sv_dry_run_options(const struct im_conf *conf)
{
    char *yaml = im_conf_dump_yaml(conf, IM_FOR_START), *rest = yaml;
    const char *line;

    im_say(stderr,
           "options, as in config.yaml (flags override the environment, which overrides --config, which "
           "overrides --recipe):");
    while ((line = strsep(&rest, "\n"))) {
        const size_t n = strlen(line), end = strlen(AT_DEFAULT);

        if (*line && *line != '#' && (n < end || strcmp(line + n - end, AT_DEFAULT) != 0))
            im_say(stderr, "  %s", line);
    }
    free(yaml);
}
