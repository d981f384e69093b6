/* The options of a run, from the files in its folder. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/config/conf.h"

#define ENVIRONMENT_BYTES_MAX ((size_t)1 << 20)

/* The folder in which the run was started; "": it is not known (runs of before 0.3). */
static void find_directory(const char *run_dir, char ret[PATH_MAX])
{
    char path[PATH_MAX], *bytes = NULL;
    struct im_json *j = NULL;
    size_t n = 0;

    *ret = 0;
    if (snprintf(path, sizeof path, "%s/env.json", run_dir) >= (int)sizeof path ||
        im_read_file(path, ENVIRONMENT_BYTES_MAX, &bytes, &n, NULL) < 0)
        return;
    if (im_json_parse(bytes, n, &j, NULL) == 0)
        snprintf(ret, PATH_MAX, "%s", im_json_str_or(j, "directory", ""));
    im_json_free(&j);
    free(bytes);
}

/* A path that was relative to where the run was started becomes absolute, if something is there. */
static void resolve(char value[IM_CONF_TEXT_BYTES], const char *directory)
{
    char path[PATH_MAX];

    if (!*value || *value == '/' ||
        snprintf(path, sizeof path, "%s/%s", directory, value) >= (int)sizeof path)
        return;
    if (strlen(path) < IM_CONF_TEXT_BYTES && access(path, F_OK) == 0)
        memcpy(value, path, strlen(path) + 1);
}

int im_conf_load_run(struct im_conf *conf, const char *run_dir, struct im_text *text)
{
    char path[PATH_MAX], directory[PATH_MAX];
    char *const paths[] = {conf->data_dir, conf->labels, conf->val_labels};
    int err;

    if (snprintf(path, sizeof path, "%s/config.yaml", run_dir) >= (int)sizeof path)
        return im_fail(text, -ENAMETOOLONG, "%.300s: the path is too long", run_dir);
    err = im_conf_load_yaml(conf, path, text);
    find_directory(run_dir, directory);
    for (size_t i = 0; i < IM_COUNT(paths) && err == 0 && *directory; i++)
        resolve(paths[i], directory);
    return err;
}
