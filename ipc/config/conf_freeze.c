/* The configuration as text: the frozen form for children, and the effective config.yaml for users.
 *
 * The frozen form is one "key=value" line for each key, all of them, so that a child built from another table
 * notices. Values cannot hold a newline (conf.c refuses control characters), so no quoting is needed. */
#include "ipc/config/conf_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int im_conf_freeze(const struct im_conf *conf, char *frozen, size_t room)
{
    size_t used = 0;

    for (int key = 0; key < IM_KEY_COUNT; key++) {
        char value[IM_CONF_TEXT_BYTES];
        int n;

        im_conf_value(conf, (enum im_conf_key_id)key, value);
        n = snprintf(frozen + used, room - used, "%s=%s\n", im_conf_keys[key].name, value);
        if (n < 0 || (size_t)n >= room - used)
            return -ENOSPC;
        used += (size_t)n;
    }
    return 0;
}

/* One line of n bytes without its newline. */
static int thaw_line(struct im_conf *conf, const char *line, size_t n, bool *seen, struct im_text *text)
{
    struct im_conf_place place = {.source = IM_CONF_FROZEN};
    char name[IM_CONF_NAME_BYTES], value[IM_CONF_TEXT_BYTES];
    const char *equals = memchr(line, '=', n);
    size_t name_length = equals ? (size_t)(equals - line) : 0;
    size_t value_length = equals ? n - name_length - 1 : 0;

    if (!equals || name_length >= sizeof name || value_length >= sizeof value)
        return im_fail(text, -EBADMSG, "frozen configuration: a line is not key=value");
    memcpy(name, line, name_length);
    name[name_length] = '\0';
    memcpy(value, equals + 1, value_length);
    value[value_length] = '\0';
    for (int key = 0; key < IM_KEY_COUNT; key++) {
        if (strcmp(im_conf_keys[key].name, name) != 0)
            continue;
        if (seen[key])
            return im_fail(text, -EBADMSG, "frozen configuration: %s stands twice", name);
        seen[key] = true;
        place.written = im_conf_keys[key].name;
        return im_conf_put(conf, key, value, &place, text) < 0 ? -EBADMSG : 0;
    }
    return im_fail(text, -EBADMSG, "frozen configuration: unknown key %s", name);
}

int im_conf_thaw(struct im_conf *conf, const char *frozen, struct im_text *text)
{
    bool seen[IM_KEY_COUNT] = {false};
    struct im_conf thawed;

    im_conf_defaults(&thawed);
    while (*frozen) {
        const char *newline = strchr(frozen, '\n');
        int err;

        if (!newline)
            return im_fail(text, -EBADMSG, "frozen configuration: the last line is cut off");
        err = thaw_line(&thawed, frozen, (size_t)(newline - frozen), seen, text);
        if (err < 0)
            return err;
        frozen = newline + 1;
    }
    for (int key = 0; key < IM_KEY_COUNT; key++) {
        if (!seen[key])
            return im_fail(text, -EBADMSG, "frozen configuration: %s is missing", im_conf_keys[key].name);
    }
    *conf = thawed;
    return 0;
}

/* Texts are always quoted: a plain `no` or `1.0` would be something else to other YAML readers. */
static void write_value(FILE *f, const struct im_conf *conf, int key)
{
    char value[IM_CONF_TEXT_BYTES];

    im_conf_value(conf, (enum im_conf_key_id)key, value);
    if (im_conf_keys[key].kind != IM_CONF_TEXT) {
        fputs(value, f);
        return;
    }
    fputc('"', f);
    for (const char *s = value; *s; s++)
        fprintf(f, "%s%c", *s == '"' || *s == '\\' ? "\\" : "", *s);
    fputc('"', f);
}

static void write_source(FILE *f, const struct im_conf_origin *origin)
{
    static const char *const sources[] = {
        [IM_CONF_DEFAULT] = "default", [IM_CONF_FILE] = "file",     [IM_CONF_ENVIRONMENT] = "environment",
        [IM_CONF_FLAG] = "flag",       [IM_CONF_FROZEN] = "frozen", [IM_CONF_CODE] = "chosen",
        [IM_CONF_SET] = "set",         [IM_CONF_RECIPE] = "recipe",
    };

    fprintf(f, "  # %s", sources[origin->source]);
    if (origin->line > 0)
        fprintf(f, ", line %d", (int)origin->line);
    fputc('\n', f);
}

char *im_conf_dump_yaml(const struct im_conf *conf, im_conf_commands commands)
{
    char *s = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&s, &n);

    if (!f)
        return NULL;
    fputs("# The configuration in effect, and where each value came from.\n", f);
    if (conf->config[0])
        fprintf(f, "# file: %s\n", conf->config);
    if (conf->recipe[0])
        fprintf(f, "# recipe: %s\n", conf->recipe);
    for (int group = 0; group < IM_GROUP_COUNT; group++) {
        bool is_begun = false;

        for (int key = 0; key < IM_KEY_COUNT; key++) {
            const struct im_conf_key *k = &im_conf_keys[key];

            if ((int)k->group != group || !(k->commands & commands) || key == IM_KEY_config ||
                key == IM_KEY_recipe)
                continue;
            if (!is_begun)
                fprintf(f, "\n# %s\n", im_conf_groups[group]);
            is_begun = true;
            fprintf(f, "%s: ", k->name);
            write_value(f, conf, key);
            write_source(f, &conf->origin[key]);
        }
    }
    if (fclose(f) != 0) {
        free(s);
        return NULL;
    }
    return s;
}
