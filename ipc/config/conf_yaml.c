/* The YAML file: libyaml's events, the one file that includes yaml.h.
 *
 *     batch-size: 128
 *     training: {lr: 0.1, seed: 7}      # a group's name may stand before its keys
 *     rrc: {scale-min: 0.25}            # nested names are joined: rrc-scale-min
 *     gpus: [0, 2]                      # a list of plain values is joined with commas
 *
 * One document, one mapping. A key that stands twice, an unknown one, an empty value, an anchor or a tag's
 * reference is an error with its line: a file must not silently differ from what happens. */
#include "ipc/config/conf_table.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "ipc/base/file.h"
#include "ipc/base/msan.h"
#include "ipc/config/preset.h"

enum { FILE_BYTES_MAX = 1 << 20, DEPTH_MAX = 4 };

struct reader {
    struct im_conf *conf;
    struct im_text *text;
    const char *path;
    enum im_conf_source source;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; deleted by the next */
    bool has_event;
    int wrong;                   /* values that were refused; the text has their sentences */
    int seen_line[IM_KEY_COUNT]; /* where the key stood before; 0: nowhere */
};

static int line_of(const struct reader *r)
{
    return (int)r->event.start_mark.line + 1;
}

static int next(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event) == 1;
    im_msan_written(&r->event, sizeof r->event);
    im_msan_written(&r->parser, sizeof r->parser);
    if (r->has_event)
        return 0;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return im_fail(r->text, -ENOMEM, "%s: out of memory", r->path);
    return im_fail(r->text, -EINVAL, "%s:%zu: not YAML: %s", r->path, r->parser.problem_mark.line + 1,
                   r->parser.problem ? r->parser.problem : "it cannot be read");
}

static int yaml_error(struct reader *r, const char *problem)
{
    return im_fail(r->text, -EINVAL, "%s:%d: %s", r->path, line_of(r), problem);
}

/* The current scalar as a string of our own; a NUL inside would hide its end. */
static int take_scalar(struct reader *r, char *s, size_t room)
{
    size_t n = r->event.data.scalar.length;

    if (n >= room)
        return yaml_error(r, "a name or value is too long");
    if (memchr(r->event.data.scalar.value, '\0', n))
        return yaml_error(r, "a name or value holds a NUL byte");
    memcpy(s, r->event.data.scalar.value, n);
    s[n] = '\0';
    return 0;
}

/* Scalars up to the list's end, joined with commas. A list of one device stays a list by its comma. */
static int take_list(struct reader *r, char *s, size_t room)
{
    size_t used = 0;
    int err, count = 0;

    s[0] = '\0';
    for (err = next(r); err == 0 && r->event.type == YAML_SCALAR_EVENT; err = next(r)) {
        if (count++ > 0 && used + 1 < room)
            s[used++] = ',';
        err = take_scalar(r, s + used, room - used);
        if (err < 0)
            return err;
        used += strlen(s + used);
    }
    if (err < 0)
        return err;
    if (r->event.type != YAML_SEQUENCE_END_EVENT)
        return yaml_error(r, "a list may hold plain values only");
    if (count == 1 && used + 1 < room)
        memcpy(s + used, ",", 2);
    return 0;
}

/* The key of a joined name, also behind its group's name. */
static int conf_yaml_find(const char *name, const char **ret_value)
{
    int key = im_conf_find(name, ret_value);

    for (int g = 0; key < 0 && g < IM_GROUP_COUNT; g++) {
        size_t n = strlen(im_conf_groups[g]);

        if (strncasecmp(name, im_conf_groups[g], n) != 0 || name[n] != '-')
            continue;
        key = im_conf_find(name + n + 1, ret_value);
        if (key >= 0 && (int)im_conf_keys[key].group != g)
            key = -1;
    }
    return key;
}

static int conf_yaml_put_one(struct reader *r, const char *written, const char *name, int line,
                             const char *value)
{
    struct im_conf_place place = {.source = r->source, .file = r->path, .line = line, .written = written};
    const char *fixed;
    int key = conf_yaml_find(name, &fixed);

    if (key < 0 && im_conf_find(written, &fixed) >= 0)
        return im_fail(r->text, -EINVAL, "%s:%d: %s does not belong under this section", r->path, line,
                       written);
    if (key < 0 || name[1] == '\0')
        return im_conf_unknown(name, IM_FOR_ANY, &place, r->text);
    if (fixed)
        return im_fail(r->text, -EINVAL, "%s:%d: %s exists as a flag only; write %s: %s", r->path, line,
                       written, im_conf_keys[key].name, fixed);
    if (key == IM_KEY_config || key == IM_KEY_recipe)
        return im_fail(r->text, -EINVAL, "%s:%d: a file cannot name another file", r->path, line);
    if (r->seen_line[key])
        return im_fail(r->text, -EINVAL, "%s:%d: %s is given twice (also in line %d)", r->path, line, written,
                       r->seen_line[key]);
    r->seen_line[key] = line;
    return im_conf_put(r->conf, key, value, &place, r->text);
}

/* One message for all wrong values: a file is mended at once. */
static int conf_yaml_put(struct reader *r, const char *written, const char *name, int line, const char *value)
{
    struct im_text before = {""};
    int err;

    if (r->wrong > 0 && r->text)
        before = *r->text;
    err = conf_yaml_put_one(r, written, name, line, value);
    if (err != -EINVAL)
        return err;
    r->wrong++;
    if (r->text && r->wrong > 1 && strlen(before.s) + strlen(r->text->s) + 3 < sizeof before.s)
        im_fail(r->text, 0, "%s; %s", before.s, r->text->s);
    else if (r->wrong > 1 && r->text)
        *r->text = before;
    return 0;
}

static bool is_null(const yaml_event_t *event)
{
    const char *s = (const char *)event->data.scalar.value;

    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

static int take_mapping(struct reader *r, const char *prefix, int depth);

/* The value of `written`, whose joined name is `name`. */
static int take_value(struct reader *r, const char *written, const char *name, int line, int depth)
{
    char value[IM_CONF_TEXT_BYTES];
    int err = next(r);

    if (err < 0)
        return err;
    switch (r->event.type) {
    case YAML_MAPPING_START_EVENT:
        return take_mapping(r, name, depth + 1);
    case YAML_SEQUENCE_START_EVENT:
        err = take_list(r, value, sizeof value);
        break;
    case YAML_SCALAR_EVENT:
        if (is_null(&r->event))
            return im_fail(r->text, -EINVAL, "%s:%d: %s has no value", r->path, line, written);
        err = take_scalar(r, value, sizeof value);
        break;
    default:
        return yaml_error(r, "aliases (*name) are not supported");
    }
    return err < 0 ? err : conf_yaml_put(r, written, name, line, value);
}

/* From behind a mapping's start to its end. Recursion is bounded by DEPTH_MAX. */
static int take_mapping(struct reader *r, const char *prefix, int depth)
{
    if (depth > DEPTH_MAX)
        return yaml_error(r, "nested too deeply");
    for (;;) {
        char written[IM_CONF_NAME_BYTES], joined[2 * IM_CONF_NAME_BYTES], name[IM_CONF_NAME_BYTES];
        int err = next(r), line;

        if (err < 0 || r->event.type == YAML_MAPPING_END_EVENT)
            return err;
        if (r->event.type != YAML_SCALAR_EVENT)
            return yaml_error(r, "a key must be a plain name");
        line = line_of(r);
        err = take_scalar(r, written, sizeof written);
        if (err < 0)
            return err;
        snprintf(joined, sizeof joined, "%s%s%s", prefix, *prefix ? "-" : "", written);
        if (!*written || !im_conf_normal(joined, name))
            return yaml_error(r, "a key is empty or too long");
        err = take_value(r, written, name, line, depth);
        if (err < 0)
            return err;
    }
}

static int take_document(struct reader *r)
{
    int err = next(r); /* stream start */

    if (err == 0)
        err = next(r);
    if (err < 0 || r->event.type == YAML_STREAM_END_EVENT)
        return err; /* an empty file changes nothing */
    err = next(r);
    if (err < 0)
        return err;
    if (r->event.type == YAML_SCALAR_EVENT && is_null(&r->event))
        err = 0; /* only comments between the marks of a document */
    else if (r->event.type != YAML_MAPPING_START_EVENT)
        return yaml_error(r, "expected \"key: value\" lines");
    else
        err = take_mapping(r, "", 1);
    if (err == 0)
        err = next(r); /* document end */
    if (err == 0)
        err = next(r);
    if (err < 0 || r->event.type == YAML_STREAM_END_EVENT)
        return err;
    return yaml_error(r, "a second document; only one is allowed");
}

static int parse(struct im_conf *conf, enum im_conf_source source, const char *path, const char *bytes,
                 size_t n, struct im_text *text)
{
    struct reader r = {.conf = conf, .text = text, .path = path, .source = source};
    int err;

    if (!yaml_parser_initialize(&r.parser))
        return im_fail(text, -ENOMEM, "%s: out of memory", path);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, n);
    err = take_document(&r);
    if (err == 0 && r.wrong > 0)
        err = -EINVAL;
    if (r.has_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return err;
}

static int load(struct im_conf *conf, enum im_conf_source source, const char *path, struct im_text *text)
{
    char *bytes;
    size_t n;
    int err = im_read_file(path, FILE_BYTES_MAX, &bytes, &n, text);

    if (err < 0)
        return err;
    err = parse(conf, source, path, bytes, n, text);
    free(bytes);
    return err;
}

int im_conf_parse_yaml(struct im_conf *conf, const char *path_for_errors, const char *bytes, size_t n,
                       struct im_text *text)
{
    return parse(conf, IM_CONF_FILE, path_for_errors, bytes, n, text);
}

int im_conf_load_yaml(struct im_conf *conf, const char *path, struct im_text *text)
{
    return load(conf, IM_CONF_FILE, path, text);
}

int im_conf_load_recipe(struct im_conf *conf, const char *name, struct im_text *text)
{
    char path[PATH_MAX];
    int err = im_preset_path(name, path, sizeof path, text);

    return err < 0 ? err : load(conf, IM_CONF_RECIPE, path, text);
}
