#include "supervisor/report/series.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/file.h"

#define LINE_BYTES_MAX ((size_t)1 << 20)

/* The next line, without its newline: its length, or -1 at the end, and for a last line that has none yet. Of a
 * line that is too long only the beginning is kept. */
static ssize_t next_line(FILE *f, char *line)
{
    size_t n = 0;
    int c;

    while ((c = getc_unlocked(f)) != EOF) {
        if (c == '\n') {
            line[n] = 0;
            return (ssize_t)n;
        }
        if (n < LINE_BYTES_MAX - 1)
            line[n++] = (char)c;
    }
    return -1;
}

int64_t sv_each_line(const char *path, int64_t offset, sv_take_line *take, void *context,
                     struct im_text *text)
{
    struct stat st;
    int fd = im_open_regular(path, &st, text), err = 0;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    char *line = malloc(LINE_BYTES_MAX);
    ssize_t n;

    if (fd >= 0 && !f)
        close(fd);
    if (fd >= 0 && (!f || !line))
        err = -ENOMEM;
    else if (fd < 0)
        err = fd;
    else if (fseeko(f, offset, SEEK_SET) < 0)
        err = im_fail(text, -errno, "cannot read %s: %s", path, strerror(errno));
    while (err == 0 && (n = next_line(f, line)) >= 0) {
        struct im_json *object = NULL;

        offset = ftello(f);
        if (im_json_parse(line, (size_t)n, &object, NULL) == 0)
            err = take(context, object);
        im_json_free(&object);
    }
    if (f)
        fclose(f);
    free(line);
    return err < 0 ? err : offset;
}

static int grow(struct sv_series *s)
{
    const size_t room = s->room ? 2 * s->room : 256;

    for (int c = 0; c < SV_SERIES_COLUMNS; c++) {
        double *larger = realloc(s->value[c], room * sizeof *larger);

        if (!larger)
            return -ENOMEM;
        s->value[c] = larger;
    }
    s->room = room;
    return 0;
}

static int series_take(void *context, const struct im_json *line)
{
    static const char *const keys[SV_SERIES_COLUMNS] = {"step", "loss", "lr", "top1", "grad_norm"};
    struct sv_series *s = context;

    if (im_json_as_real(im_json_get(line, "step"), &(double){0}) < 0 ||
        im_json_as_real(im_json_get(line, "lr"), &(double){0}) < 0)
        return 0;
    if (s->count > 0 && im_json_real_or(line, "step", 0) == s->value[SV_SERIES_STEP][s->count - 1])
        return 0; /* the line of an epoch, behind that of its last step */
    if (s->count == s->room && grow(s) < 0)
        return -ENOMEM;
    for (int c = 0; c < SV_SERIES_COLUMNS; c++)
        s->value[c][s->count] = im_json_real_or(line, keys[c], (double)NAN);
    s->count++;
    return 0;
}

int sv_series_load(struct sv_series *s, const char *directory, struct im_text *text)
{
    char path[PATH_MAX];
    int64_t end;

    *s = (struct sv_series){.count = 0};
    snprintf(path, sizeof path, "%s/metrics.jsonl", directory);
    end = sv_each_line(path, 0, series_take, s, text);
    if (end < 0)
        sv_series_free(s);
    return end < 0 ? (int)end : 0;
}

void sv_series_free(struct sv_series *s)
{
    for (int c = 0; c < SV_SERIES_COLUMNS; c++)
        free(s->value[c]);
    *s = (struct sv_series){.count = 0};
}
