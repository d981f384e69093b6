#include "ipc/config/class_names.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/printable.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)

static const char byte_order_mark[] = "\xef\xbb\xbf";

struct named {
    const char *name;
    uint32_t place;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    const int order = strcmp(x->name, y->name);

    return order ? order : (x->place > y->place) - (x->place < y->place);
}

static int check_twice(const char *value, const struct im_class_names *names, struct im_text *text)
{
    struct named *sorted = calloc(names->count + 1, sizeof *sorted);
    int err = sorted ? 0 : -ENOMEM;

    for (uint32_t i = 0; sorted && i < names->count; i++)
        sorted[i] = (struct named){names->name[i], i};
    if (sorted)
        qsort(sorted, names->count, sizeof *sorted, by_name);
    for (uint32_t i = 1; err == 0 && i < names->count; i++)
        if (strcmp(sorted[i - 1].name, sorted[i].name) == 0)
            err = im_fail(text, -EBADMSG, "%.300s names the class '%.100s' twice (names %u and %u)", value,
                          sorted[i].name, sorted[i - 1].place + 1, sorted[i].place + 1);
    free(sorted);
    return err;
}

/* The names between commas, without the blanks around them. A slash is that of a file that is not there. */
static int read_list(const char *value, struct im_class_names *ret, struct im_text *text)
{
    if (!strchr(value, ',') || strchr(value, '/'))
        return im_fail(text, -EINVAL,
                       "--class-names %.300s: there is no such file; it takes a file with a name a line, or "
                       "names separated by commas: cat,dog",
                       value);
    ret->bytes = strdup(value);
    return ret->bytes ? 0 : -ENOMEM;
}

static char *trim(char *s)
{
    size_t n;

    s += strspn(s, " ");
    n = strlen(s);
    while (n > 0 && s[n - 1] == ' ')
        s[--n] = '\0';
    return s;
}

static int split(struct im_class_names *names, size_t bytes, bool is_list)
{
    const char *marks = is_list ? "," : "\r\n";
    char *rest, *at = names->bytes;
    size_t most = 1;

    for (size_t i = 0; i < bytes; i++)
        most += strchr(marks, at[i]) != NULL;
    names->name = calloc(most, sizeof *names->name);
    if (!names->name)
        return -ENOMEM;
    if (strncmp(at, byte_order_mark, strlen(byte_order_mark)) == 0)
        at += strlen(byte_order_mark);
    for (char *name = strtok_r(at, marks, &rest); name; name = strtok_r(NULL, marks, &rest))
        names->name[names->count++] = is_list ? trim(name) : name;
    return 0;
}

int im_class_names_read(const char *value, struct im_class_names *ret, struct im_text *text)
{
    const bool is_list = access(value, F_OK) < 0;
    size_t n = 0;
    int err =
        is_list ? read_list(value, ret, text) : im_read_file(value, FILE_BYTES_MAX, &ret->bytes, &n, text);

    if (err < 0)
        return err == -EISDIR ? -EINVAL : err;
    n = is_list ? strlen(ret->bytes) : n;
    if (strlen(ret->bytes) < n)
        return im_fail(text, -EBADMSG, "%.300s is no text: it has a NUL at byte %zu", value,
                       strlen(ret->bytes));
    err = split(ret, n, is_list);
    if (err == 0 && ret->count == 0)
        err = im_fail(text, -EBADMSG, "%.300s names no classes", value);
    return err < 0 ? err : check_twice(value, ret, text);
}

struct im_json *im_class_names_json(const struct im_class_names *names)
{
    struct im_json *array = im_json_array();

    for (uint32_t i = 0; array && i < names->count; i++)
        im_json_append_str(array, names->name[i]);
    return array;
}

void im_class_names_fini(struct im_class_names *names)
{
    free(names->bytes);
    free(names->name);
    *names = (struct im_class_names){0};
}

static bool is_shown_as_it_is(const char *name)
{
    while (*name) {
        const size_t n = im_printable_length(name);

        if (n == 0)
            return false;
        name += n;
    }
    return true;
}

int im_class_names_check(const struct im_class_names *names, const char *value, int64_t outputs,
                         const char *weights, struct im_text *text)
{
    for (uint32_t i = 0; i < names->count; i++) {
        struct im_shown shown;

        if (!names->name[i][strspn(names->name[i], " ")])
            return im_fail(text, -EBADMSG, "--class-names %.300s: name %u is of blanks", value, i + 1);
        if (!is_shown_as_it_is(names->name[i]))
            return im_fail(
                text, -EBADMSG,
                "--class-names %.300s: name %u, '%.200s', has a control character or bytes that are no "
                "UTF-8: give it a name in plain UTF-8",
                value, i + 1, im_shown(&shown, names->name[i]));
    }
    if (names->count == outputs)
        return 0;
    return im_fail(text, -EINVAL, "--class-names %.300s names %u classes, and %.300s has %" PRId64 " outputs",
                   value, names->count, weights, outputs);
}
