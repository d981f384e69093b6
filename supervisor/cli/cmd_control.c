/* `imsuper pause`, `resume`, `restart` and `scale`: a request each to the supervisor of a run that goes on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "ipc/base/printable.h"
#include "supervisor/cli/ask.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/stage.h"

static struct im_json *make_request(const char *cmd)
{
    struct im_json *request = im_json_object();

    im_json_set_str(request, "cmd", cmd);
    return request;
}

static int send_request(struct im_conf *conf, struct im_json *request)
{
    struct im_json *answer = NULL;
    int status = sv_ask(conf, request, &answer);

    if (status)
        return status;
    if (conf->json)
        im_json_print(answer, stdout);
    else
        im_say(stdout, "%s  %s", conf->run_name, im_json_str_or(answer, "ok", "?"));
    im_json_free(&answer);
    return IM_EXIT_OK;
}

int sv_cmd_pause(struct im_conf *conf)
{
    return send_request(conf, make_request("pause"));
}

int sv_cmd_resume(struct im_conf *conf)
{
    return send_request(conf, make_request("resume"));
}

int sv_cmd_restart(struct im_conf *conf)
{
    struct sv_stage_name stage;
    struct im_json *request;

    if (sv_stage_parse(conf->stage, &stage) < 0)
        return sv_stage_refuse(conf->stage);
    request = make_request("restart");
    im_json_set_str(request, "stage", stage.name);
    if (stage.index >= 0)
        im_json_set_int(request, "index", stage.index);
    if (conf->node >= 0)
        im_json_set_int(request, "node", conf->node);
    return send_request(conf, request);
}

/* Takes "node1." off a word. 0, or -EINVAL: it names another machine than a word before, or --node. */
static int take_node(char **word, struct im_json *request)
{
    char *dot = strchr(*word, '.');
    int64_t node;

    if (strncmp(*word, "node", 4) != 0 || !dot)
        return 0;
    *dot = 0;
    node = strcmp(*word + 4, "0") == 0 ? 0 : sv_stage_count(*word + 4);
    *dot = '.';
    if (node < 0 || node != im_json_int_or(request, "node", node))
        return -EINVAL;
    *word = dot + 1;
    return im_json_set_int(request, "node", node);
}

/* One "augmenters=4" or "readers=auto" (0). 0, or -EINVAL. */
static int add_count(char *word, struct im_json *request)
{
    static const char *const keys[] = {"readers", "augmenters"};
    char *equals = strchr(word, '=');
    int64_t count = !equals ? -1 : strcmp(equals + 1, "auto") == 0 ? 0 : sv_stage_count(equals + 1);

    if (count < 0 || (count == 0 && strcmp(equals + 1, "auto") != 0))
        return -EINVAL;
    *equals = 0;
    for (size_t i = 0; i < IM_COUNT(keys); i++)
        if (strcmp(word, keys[i]) == 0)
            return im_json_set_int(request, keys[i], count);
    *equals = '=';
    return -EINVAL;
}

/* "augmenters=4 readers=2", also with commas; "node1.augmenters=4": of that machine alone. */
int sv_cmd_scale(struct im_conf *conf)
{
    struct im_json *request = make_request("scale");
    char text[IM_CONF_TEXT_BYTES], *rest = text, *word;

    if (conf->node >= 0)
        im_json_set_int(request, "node", conf->node);
    memcpy(text, conf->counts, sizeof text);
    while ((word = strtok_r(rest, " ,", &rest))) {
        if (take_node(&word, request) < 0 || add_count(word, request) < 0) {
            im_json_free(&request);
            im_say(stderr,
                   "imsuper: \"%.100s\": expected augmenters=N or readers=N, where N is 1 or more, or auto; "
                   "node1.augmenters=N for one machine, the same in all words",
                   word);
            return IM_EXIT_USAGE;
        }
    }
    return send_request(conf, request);
}
