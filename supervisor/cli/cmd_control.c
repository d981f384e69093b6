/* `imsuper pause`, `resume`, `restart` and `scale`: a request each to the supervisor of a run that goes on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "ipc/base/printable.h"
#include "ipc/base/suggest.h"
#include "supervisor/cli/ask.h"
#include "supervisor/cli/commands.h"

#define COUNT_DIGITS_MAX 6

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

/* A number of few digits, to its end. -1: it is none. */
static int64_t parse_count(const char *s)
{
    size_t digits = strspn(s, "0123456789");

    return digits == 0 || digits > COUNT_DIGITS_MAX || s[digits] ? -1 : strtoll(s, NULL, 10);
}

static int refuse(const char *written, const char *expected, const char *const *words, size_t count)
{
    const char *near = words ? im_nearest(written, words, count) : NULL;

    im_say(stderr, "imsuper: \"%.100s\": expected %s%s%s%s", written, expected, near ? "; did you mean " : "",
           near ? near : "", near ? "?" : "");
    return IM_EXIT_USAGE;
}

/* "augmenter", "augmenters" or "augmenter#1". */
int sv_cmd_restart(struct im_conf *conf)
{
    static const char *const stages[] = {"reader", "augmenter", "trainer"};
    static const char expected[] = "reader, augmenter or trainer, or one of them such as augmenter#1";
    struct im_json *request;
    char stage[32];
    size_t length = strcspn(conf->stage, "#");
    int64_t index = conf->stage[length] ? parse_count(conf->stage + length + 1) : -1;

    if (length >= sizeof stage || (conf->stage[length] && index < 0))
        return refuse(conf->stage, expected, NULL, 0);
    memcpy(stage, conf->stage, length);
    stage[length] = 0;
    if (length > 1 && stage[length - 1] == 's')
        stage[length - 1] = 0;
    for (size_t i = 0; i < IM_COUNT(stages); i++) {
        if (strcmp(stage, stages[i]) != 0)
            continue;
        request = make_request("restart");
        im_json_set_str(request, "stage", stage);
        if (index >= 0)
            im_json_set_int(request, "index", index);
        return send_request(conf, request);
    }
    return refuse(stage, expected, stages, IM_COUNT(stages));
}

/* One "augmenters=4" or "readers=auto" (0). 0, or -EINVAL. */
static int add_count(char *word, struct im_json *request)
{
    static const char *const keys[] = {"readers", "augmenters"};
    char *equals = strchr(word, '=');
    int64_t count = !equals ? -1 : strcmp(equals + 1, "auto") == 0 ? 0 : parse_count(equals + 1);

    if (count < 0 || (count == 0 && strcmp(equals + 1, "auto") != 0))
        return -EINVAL;
    *equals = 0;
    for (size_t i = 0; i < IM_COUNT(keys); i++)
        if (strcmp(word, keys[i]) == 0)
            return im_json_set_int(request, keys[i], count);
    *equals = '=';
    return -EINVAL;
}

/* "augmenters=4 readers=2", also with commas. */
int sv_cmd_scale(struct im_conf *conf)
{
    struct im_json *request = make_request("scale");
    char text[IM_CONF_TEXT_BYTES], *rest = text, *word;

    memcpy(text, conf->counts, sizeof text);
    while ((word = strtok_r(rest, " ,", &rest))) {
        if (add_count(word, request) < 0) {
            im_json_free(&request);
            return refuse(word, "augmenters=N or readers=N, where N is 1 or more, or auto", NULL, 0);
        }
    }
    return send_request(conf, request);
}
