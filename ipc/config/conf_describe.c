/* The options of a command as JSON: what man pages and shell completion are made of (supervisor/cli/documents.c), and
 * their values for programs. */
#include <stdio.h>
#include <string.h>

#include "ipc/base/json.h"
#include "ipc/config/conf_table.h"

static struct im_json *describe_choices(const char *const *choices)
{
    struct im_json *list = im_json_array();

    for (int i = 0; choices[i]; i++)
        im_json_append_str(list, choices[i]);
    return list;
}

static struct im_json *describe_key(const struct im_conf *defaults, im_conf_commands commands, int key)
{
    const struct im_conf_key *k = &im_conf_keys[key];
    const char letter[2] = {im_conf_letter(commands, k->name)};
    char name[IM_CONF_NAME_BYTES], help[512];
    struct im_json *option = im_json_object();
    int used;

    snprintf(name, sizeof name, "%s", k->name);
    if (strncmp(name, "aug-", 4) == 0) /* as --help shows them */
        name[3] = '.';
    used = snprintf(help, sizeof help, "%s", im_conf_help_of(commands, key));
    im_assert(used < (int)sizeof help);
    im_conf_limits(defaults, key, help + used, sizeof help - (size_t)used);
    im_json_set_str(option, "name", name);
    if (letter[0])
        im_json_set_str(option, "letter", letter);
    im_json_set_bool(option, "is_bool", k->kind == IM_CONF_BOOL);
    im_json_set_str(option, "metavar", k->metavar);
    if (k->choices)
        im_json_set(option, "choices", describe_choices(k->choices));
    im_json_set_str(option, "group", im_conf_groups[k->group]);
    im_json_set_str(option, "help", help);
    return option;
}

struct im_json *im_conf_describe(im_conf_commands commands)
{
    struct im_json *options = im_json_array();
    struct im_conf defaults;

    im_conf_defaults(&defaults);
    for (int group = 0; group < IM_GROUP_COUNT; group++)
        for (int key = 0; key < IM_KEY_COUNT; key++)
            if ((int)im_conf_keys[key].group == group && (im_conf_keys[key].commands & commands))
                im_json_append(options, describe_key(&defaults, commands, key));
    return options;
}

static void set_value(struct im_json *j, const struct im_conf *conf, int key)
{
    const struct im_conf_key *k = &im_conf_keys[key];
    const void *field = (const char *)conf + k->offset;
    char value[IM_CONF_TEXT_BYTES];

    switch (k->kind) {
    case IM_CONF_BOOL:
        im_json_set_bool(j, k->name, *(const bool *)field);
        break;
    case IM_CONF_INT:
        im_json_set_int(j, k->name, *(const int64_t *)field);
        break;
    case IM_CONF_REAL:
        im_json_set_real(j, k->name, *(const double *)field);
        break;
    case IM_CONF_SEED: /* may be larger than an int64_t */
    case IM_CONF_TEXT:
    case IM_CONF_ENUM:
        im_conf_value(conf, (enum im_conf_key_id)key, value);
        im_json_set_str(j, k->name, value);
        break;
    }
}

struct im_json *im_conf_values(const struct im_conf *conf, im_conf_commands commands, int source)
{
    struct im_json *values = im_json_object();

    for (int key = 0; key < IM_KEY_COUNT; key++) {
        const int from = conf->origin[key].source;

        if ((im_conf_keys[key].commands & commands) &&
            (source < 0 ? from != IM_CONF_DEFAULT : from == source))
            set_value(values, conf, key);
    }
    return values;
}
