#include "reader/tools/class_weights.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/aside.h"
#include "ipc/base/file.h"
#include "ipc/base/printable.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)
#define BLANKS " \t\r"

struct weights {
    const struct rd_index *index;
    uint32_t classes;
    double *weight;   /* [classes]; negative: none yet */
    uint64_t *images; /* [classes], of training */
};

/* ---- the file ---- */

struct line {
    const char *path;
    unsigned number;
    char *name; /* "": the line has only a weight */
    double weight;
};

/* NAME;1,5 as spreadsheets write it where a comma is the decimal point: becomes NAME;1.5. Lines whose last semicolon has no
 * number behind it are left. */
static void use_points(char *s)
{
    char *number = strrchr(s, ';'), *comma;

    if (!number || strspn(number + 1, "0123456789,") != strlen(number + 1))
        return;
    comma = strchr(number, ',');
    if (comma && comma == strrchr(number, ','))
        *comma = '.';
}

/* "a ""b"", c" becomes a "b", c. */
static void unquote(char *s)
{
    const size_t n = strlen(s);
    char *to = s;

    if (n < 2 || s[0] != '"' || s[n - 1] != '"')
        return;
    s[n - 1] = 0;
    for (const char *from = s + 1; *from; from++) {
        *to++ = *from;
        if (from[0] == '"' && from[1] == '"')
            from++;
    }
    *to = 0;
}

/* Cuts the line into name and weight. False: its last word is no number. */
static bool cut(char *s, struct line *ret)
{
    size_t end = strlen(s), at;
    char *rest;

    while (end > 0 && strchr(BLANKS, s[end - 1]))
        end--;
    s[end] = 0;
    use_points(s);
    for (at = end; at > 0 && !strchr(BLANKS ",;", s[at - 1]); at--)
        ;
    ret->weight = strtod(s + at, &rest);
    if (rest == s + at || *rest)
        return false;
    while (at > 0 && strchr(BLANKS ",;", s[at - 1]))
        at--;
    s[at] = 0;
    ret->name = s + strspn(s, BLANKS);
    unquote(ret->name);
    return true;
}

static int find_class(const struct weights *w, const char *name, uint32_t *ret_class)
{
    for (uint32_t c = 0; c < w->classes; c++)
        if (strcmp(rd_index_class(w->index, c), name) == 0) {
            *ret_class = c;
            return 0;
        }
    return -ENOENT;
}

/* place: of the line among those with a weight. */
static int class_weights_take(struct weights *w, const struct line *line, uint32_t place,
                              struct im_text *text)
{
    uint32_t class = place;

    if (!isfinite(line->weight) || line->weight < 0)
        return im_fail(text, -EINVAL, "class-weights: %.300s:%u: %g is no weight, which is 0 or more",
                       line->path, line->number, line->weight);
    if (line->name[0] && find_class(w, line->name, &class) < 0)
        return im_fail(text, -EINVAL, "class-weights: %.300s:%u: the data set has no class '%.100s'",
                       line->path, line->number, line->name);
    if (class >= w->classes)
        return im_fail(text, -EINVAL, "class-weights: %.300s has more than %u weights, one for each class",
                       line->path, w->classes);
    if (w->weight[class] >= 0)
        return im_fail(text, -EINVAL, "class-weights: %.300s:%u: class '%.100s' has a weight already",
                       line->path, line->number, rd_index_class(w->index, class));
    w->weight[class] = line->weight;
    return 0;
}

static int check_all(const struct weights *w, const char *path, struct im_text *text)
{
    for (uint32_t c = 0; c < w->classes; c++)
        if (w->weight[c] < 0)
            return im_fail(text, -EINVAL, "class-weights: %.300s has no weight for class '%.100s'", path,
                           rd_index_class(w->index, c));
    return 0;
}

static int parse(struct weights *w, const char *path, char *bytes, struct im_text *text)
{
    struct line line = {.path = path};
    uint32_t count = 0;
    char *next = bytes + (strncmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0); /* a byte order mark */
    bool names = false;

    while (next) {
        char *s = next;
        int err;

        next = strchr(s, '\n');
        if (next)
            *next++ = 0;
        line.number++;
        if (s[strspn(s, BLANKS)] == 0 || s[strspn(s, BLANKS)] == '#')
            continue;
        if (!cut(s, &line)) {
            if (line.number == 1)
                continue;
            return im_fail(text, -EINVAL, "class-weights: %.300s:%u: the line ends with no number", path,
                           line.number);
        }
        if (count > 0 && names != (line.name[0] != 0))
            return im_fail(text, -EINVAL,
                           "class-weights: %.300s:%u: either all lines name their class, or none does", path,
                           line.number);
        names = line.name[0] != 0;
        err = class_weights_take(w, &line, count++, text);
        if (err < 0)
            return err;
    }
    return check_all(w, path, text);
}

static int read_file(struct weights *w, const char *path, struct im_text *text)
{
    struct im_text why = {""};
    char *bytes = NULL;
    size_t n;
    int err = im_read_file(path, FILE_BYTES_MAX, &bytes, &n, &why);

    if (err < 0)
        return im_fail(text, -EINVAL, "class-weights: %s%s", why.s,
                       err == -ENOENT ? " (balanced, or a file with a line NAME,WEIGHT for each class)" : "");
    err = parse(w, path, bytes, text);
    free(bytes);
    return err;
}

/* ---- weights ---- */

static void count_image(struct weights *w, uint32_t label)
{
    if (rd_index_set_words(w->index) == 0)
        w->images[label]++;
    for (uint32_t c = 0; rd_index_set_words(w->index) > 0 && c < w->classes; c++)
        w->images[c] += rd_index_has(w->index, label, c);
}

/* Of labels of which an image has any number: as many images without it as one with it, torch's pos_weight. */
static void balance_labels(struct weights *w)
{
    const double n = (double)rd_index_count(w->index, IM_TRAIN);

    for (uint32_t c = 0; c < w->classes; c++)
        w->weight[c] = w->images[c] > 0 && (double)w->images[c] < n
                           ? (n - (double)w->images[c]) / (double)w->images[c]
                           : 1;
}

static void balance(struct weights *w)
{
    uint64_t n = 0;
    uint32_t present = 0;

    for (uint32_t c = 0; c < w->classes; c++) {
        n += w->images[c];
        present += w->images[c] > 0;
    }
    for (uint32_t c = 0; c < w->classes; c++)
        w->weight[c] = w->images[c] > 0 ? (double)n / ((double)present * (double)w->images[c]) : 1;
}

static int check_sum(const struct weights *w, struct im_text *text)
{
    double sum = 0;

    for (uint32_t c = 0; c < w->classes; c++)
        sum += w->weight[c] * (double)w->images[c];
    return sum > 0 && isfinite(sum)
               ? 0
               : im_fail(
                     text, -EINVAL,
                     "class-weights: all classes with training images have the weight 0, or a weight is too "
                     "large");
}

static int write_all(const struct weights *w, const char *folder, struct im_text *text)
{
    char path[PATH_MAX], *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    struct im_shown shown;
    int err;

    if (!out)
        return -ENOMEM;
    for (uint32_t c = 0; c < w->classes; c++)
        fprintf(out, "%.17g\t%" PRIu64 "\t%s\n", w->weight[c], w->images[c],
                im_shown(&shown, rd_index_class(w->index, c)));
    err = ferror(out) | fclose(out) ? -ENOMEM : 0;
    if (err == 0 && (size_t)snprintf(path, sizeof path, "%s/" RD_CLASS_WEIGHTS_FILE, folder) >= sizeof path)
        err = im_fail(text, -ENAMETOOLONG, "the path '%.700s' is too long", folder);
    if (err == 0)
        err = im_file_replace_any(path, bytes, size, text);
    free(bytes);
    return err;
}

int rd_class_weights_write(const struct rd_index *index, const char *how, const char *folder,
                           struct im_text *text)
{
    struct weights w = {.index = index, .classes = rd_index_class_count(index)};
    int err = 0;

    w.weight = calloc((size_t)w.classes + 1, sizeof *w.weight);
    w.images = calloc((size_t)w.classes + 1, sizeof *w.images);
    if (!w.weight || !w.images)
        err = -ENOMEM;
    for (uint32_t c = 0; c < w.classes && err == 0; c++)
        w.weight[c] = -1;
    for (uint64_t id = 0; id < rd_index_count(index, IM_TRAIN) && err == 0; id++)
        count_image(&w, rd_index_label(index, IM_TRAIN, id));
    if (err == 0 && strcmp(how, "balanced") == 0 && rd_index_set_words(index) > 0)
        balance_labels(&w);
    else if (err == 0 && strcmp(how, "balanced") == 0)
        balance(&w);
    else if (err == 0)
        err = read_file(&w, how, text);
    if (err == 0)
        err = check_sum(&w, text);
    if (err == 0)
        err = write_all(&w, folder, text);
    free(w.weight);
    free(w.images);
    return err;
}
