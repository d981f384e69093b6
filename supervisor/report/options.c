#include "supervisor/report/options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/printable.h"

#define CONFIG_BYTES_MAX ((size_t)1 << 20)

/* Takes quotes and their escapes away, in place; returns what follows the value. */
static char *unquote(char *value)
{
    char *to = value, *s = value + 1;

    while (*s && *s != '"') {
        s += *s == '\\' && s[1];
        *to++ = *s++;
    }
    s += *s == '"';
    if (to < s)
        *to = 0;
    return s;
}

/* `name: value  # source` */
static bool parse_line(char *line, struct sv_option *ret)
{
    char *value = strstr(line, ": "), *end;

    if (line[0] == '#' || !value)
        return false;
    *value = 0;
    value += 2;
    end = *value == '"' ? unquote(value) : value + strcspn(value, " ");
    *ret = (struct sv_option){line, value, ""};
    if (strncmp(end, "  # ", 4) == 0)
        ret->source = end + 4;
    if (*end == ' ')
        *end = 0;
    return true;
}

/* What a path may hold and no page or message: bytes that are no UTF-8, and control characters. */
static void make_printable(char *s)
{
    while (*s) {
        size_t n = *s == '\n' ? 1 : im_printable_length(s);

        if (n == 0)
            *s = '?';
        s += n > 0 ? n : 1;
    }
}

int sv_options_load(struct sv_options *o, const char *directory, struct im_text *text)
{
    char path[PATH_MAX];
    size_t n, lines = 1;
    int err;

    *o = (struct sv_options){.count = 0};
    snprintf(path, sizeof path, "%s/config.yaml", directory);
    err = im_read_file(path, CONFIG_BYTES_MAX, &o->text, &n, text);
    if (err < 0)
        return err;
    make_printable(o->text);
    for (size_t i = 0; i < n; i++)
        lines += o->text[i] == '\n';
    o->option = calloc(lines, sizeof *o->option);
    if (!o->option) {
        sv_options_free(o);
        return -ENOMEM;
    }
    for (char *line = o->text, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = 0;
        o->count += parse_line(line, &o->option[o->count]);
    }
    return 0;
}

void sv_options_free(struct sv_options *o)
{
    free(o->text);
    free(o->option);
    *o = (struct sv_options){.count = 0};
}

const char *sv_options_value(const struct sv_options *o, const char *name)
{
    for (size_t i = 0; i < o->count; i++)
        if (strcmp(o->option[i].name, name) == 0)
            return o->option[i].value;
    return NULL;
}

bool sv_option_matters(const char *name)
{
    static const char *const others[] = {
        "run-name", "workspace", "resume",      "dry-run",  "quiet",           "plain",  "color",
        "json",     "log-level", "tensorboard", "on-event", "status-interval", "config", "metrics-listen"};

    for (size_t i = 0; i < IM_COUNT(others); i++)
        if (strcmp(name, others[i]) == 0)
            return false;
    return true;
}
