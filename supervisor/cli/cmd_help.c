/* `imsuper help`, `version`, and the hidden `supervise`. */
#include <stdio.h>
#include <string.h>

#include "ipc/base/image_type.h"
#include "ipc/base/printable.h"
#include "ipc/base/sysinfo.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/overview.h"
#include "supervisor/supervise.h"

/* 0, or what wrong words are answered with. */
static int refuse_words(int argc, char **argv)
{
    if (argc == 1)
        return 0;
    im_say(stderr, "imsuper: unexpected argument '%.200s' (see `imsuper %s --help`)", argv[1], argv[0]);
    return IM_EXIT_USAGE;
}

static int print_verbs(void)
{
    struct im_json *j = im_json_object(), *verbs = im_json_array(), *exits = im_json_array();

    im_json_set_str(j, "schema", "imsuper.help/1");
    for (size_t i = 0; i < sv_overview_count; i++) {
        struct im_json *verb = im_json_object();

        im_json_set_str(verb, "group", sv_overview[i].group);
        im_json_set_str(verb, "verb", sv_overview[i].name);
        im_json_set_str(verb, "what", sv_overview[i].what);
        im_json_append(verbs, verb);
    }
    im_json_set(j, "verbs", verbs);
    for (size_t i = 0; i < sv_exit_count; i++) {
        struct im_json *one = im_json_object();

        im_json_set_int(one, "status", sv_exits[i].status);
        im_json_set_str(one, "what", sv_exits[i].what);
        im_json_append(exits, one);
    }
    im_json_set(j, "exit_statuses", exits);
    return sv_print_answer(j);
}

int sv_cmd_help(int argc, char **argv)
{
    const bool json = sv_take_json(&argc, argv);
    const int status = refuse_words(argc, argv);

    if (status)
        return status;
    if (json)
        return print_verbs();
    sv_overview_print(stdout);
    return IM_EXIT_OK;
}

static struct im_json *list_types(bool decoded)
{
    struct im_json *list = im_json_array();
    struct im_image_type_list names;
    char *rest, *name;

    im_image_types_list(&names, decoded);
    rest = names.s;
    while (rest && *rest) {
        name = rest;
        rest = strstr(rest, ", ");
        if (rest) {
            *rest = 0;
            rest += 2;
        }
        im_json_append_str(list, name);
    }
    return list;
}

int sv_cmd_version(int argc, char **argv)
{
    struct im_image_type_list decoded, others;
    const bool json = sv_take_json(&argc, argv);
    const int status = refuse_words(argc, argv);
    struct im_json *j;

    if (status)
        return status;
    if (json) {
        j = im_json_object();
        im_json_set_str(j, "schema", "imsuper.version/1");
        im_json_set_str(j, "version", IMSUPER_VERSION);
        im_json_set_str(j, "build", im_build_id());
        im_json_set(j, "images", list_types(true));
        im_json_set(j, "images_not", list_types(false));
        return sv_print_answer(j);
    }
    printf("imsuper %s (%s)\n", IMSUPER_VERSION, im_build_id());
    printf("images: %s; not: %s\n", im_image_types_list(&decoded, true), im_image_types_list(&others, false));
    return IM_EXIT_OK;
}

int sv_cmd_supervise(struct im_conf *conf)
{
    (void)conf;
    return sv_supervise();
}
