#include "supervisor/report/run_classes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/file.h"

#define BYTES_MAX ((size_t)1 << 28)

static uint32_t count_lines(const char *bytes)
{
    uint32_t n = 0;

    for (; (bytes = strchr(bytes, '\n')); bytes++)
        n++;
    return n;
}

int sv_run_classes_read(const char *run_dir, struct sv_run_classes *ret, struct im_text *text)
{
    char path[PATH_MAX], *next;
    uint32_t room;
    size_t n;
    int err;

    *ret = (struct sv_run_classes){0};
    if (snprintf(path, sizeof path, "%s/classes.txt", run_dir) >= (int)sizeof path)
        return im_fail(text, -ENAMETOOLONG, "%.300s: the path is too long", run_dir);
    err = im_read_file(path, BYTES_MAX, &ret->bytes, &n, text);
    if (err < 0)
        return err;
    room = count_lines(ret->bytes) + 1;
    ret->name = calloc(room, sizeof *ret->name);
    if (!ret->name)
        return -ENOMEM;
    for (char *line = ret->bytes; *line && ret->count < room; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = 0;
        ret->name[ret->count++] = line;
    }
    return 0;
}

void sv_run_classes_free(struct sv_run_classes *c)
{
    free(c->bytes);
    free(c->name);
    *c = (struct sv_run_classes){0};
}

/* A field at `at`, in quotes or not, which becomes a string; returns where the next one begins, at the end of the line
 * what follows it. */
static char *take_field(char *at, char **ret, bool *ret_last)
{
    char *to = at, *from = at;

    *ret = at;
    if (*from == '"') {
        for (from++; *from && (*from != '"' || from[1] == '"'); from++) {
            from += *from == '"';
            *to++ = *from;
        }
        from += *from == '"';
    }
    while (*from && *from != ',' && *from != '\n')
        *to++ = *from++;
    *ret_last = *from != ',';
    from += *from != 0;
    *to = 0;
    return from;
}

static char *take_line(char *at, struct sv_class_line *ret)
{
    char *none = at + strlen(at);
    bool last = false;

    *ret = (struct sv_class_line){.name = none};
    at = take_field(at, &ret->name, &last);
    for (int i = 0; i < SV_TABLE_COLUMNS; i++) {
        ret->cell[i] = none;
        if (!last)
            at = take_field(at, &ret->cell[i], &last);
    }
    while (!last)
        at = take_field(at, &(char *){NULL}, &last);
    ret->f1 = strtod(ret->cell[4], NULL);
    return at;
}

static int parse(struct sv_class_table *t)
{
    const uint32_t room = count_lines(t->bytes) + 1;
    struct sv_class_line heading;
    char *at;

    t->line = calloc(room, sizeof *t->line);
    if (!t->line)
        return -ENOMEM;
    at = take_line(t->bytes, &heading);
    t->has_average_precision = heading.cell[5][0] != 0;
    while (*at && t->count < room)
        at = take_line(at, &t->line[t->count++]);
    return 0;
}

int sv_class_table_read_last(const char *run_dir, uint32_t epoch, bool averaged, struct sv_class_table *ret,
                             struct im_text *text)
{
    char path[PATH_MAX];
    size_t n;

    *ret = (struct sv_class_table){0};
    if (snprintf(path, sizeof path, "%s/" IM_PER_CLASS_FOLDER, run_dir) >= (int)sizeof path ||
        access(path, F_OK) < 0)
        return -ENOENT;
    for (; epoch > 0; epoch--) {
        int err;

        if (snprintf(path, sizeof path, "%s/" IM_PER_CLASS_FOLDER "/" IM_PER_CLASS_TABLE, run_dir, epoch,
                     im_per_class_of(averaged)) >= (int)sizeof path)
            return -ENOENT;
        if (access(path, F_OK) < 0)
            continue;
        ret->epoch = epoch;
        err = im_read_file(path, BYTES_MAX, &ret->bytes, &n, text);
        return err < 0 ? err : parse(ret);
    }
    return -ENOENT;
}

void sv_class_table_free(struct sv_class_table *t)
{
    free(t->bytes);
    free(t->line);
    *t = (struct sv_class_table){0};
}
