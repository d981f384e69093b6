/* Jansson behind our names: the one file that includes jansson.h.
 *
 * A struct im_json is a json_t under another name; it is never defined. Text is written here and not by
 * json_dumps(), which prints 0.1 as 0.10000000000000001: metrics are read by people too. Strings still go
 * through jansson's escaping. The nesting of what comes from outside is bounded before jansson sees it, since
 * its own limit (2048) is a matter of its build.
 *
 * It does not offer jansson's reference counts: a value sits in one place. */
#include "ipc/base/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "ipc/base/msan.h"
#include "ipc/base/printable.h"
#include "ipc/base/utf8.h"

static json_t *inner(const struct im_json *j)
{
    return (json_t *)(uintptr_t)j; /* jansson takes json_t * even where it only reads */
}

struct im_json *im_json_object(void)
{
    return (struct im_json *)json_object();
}

struct im_json *im_json_array(void)
{
    return (struct im_json *)json_array();
}

void im_json_free(struct im_json **j)
{
    json_decref(inner(*j));
    *j = NULL;
}

static json_t *new_string(const char *value)
{
    json_t *string = json_string(value);
    char *repaired, *out;

    if (string)
        return string;
    repaired = out = malloc(3 * strlen(value) + 1);
    if (!repaired)
        return NULL;
    while (*value) {
        size_t n = im_utf8_length(value);

        memcpy(out, n ? value : "\xef\xbf\xbd", n ? n : 3);
        out += n ? n : 3;
        value += n ? n : 1;
    }
    *out = '\0';
    string = json_string(repaired);
    free(repaired);
    return string;
}

static json_t *new_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static int set_new(struct im_json *object, const char *key, json_t *value)
{
    if (!value)
        return -ENOMEM;
    if (!json_is_object(inner(object))) {
        json_decref(value);
        return -EINVAL;
    }
    return json_object_set_new(inner(object), key, value) == 0 ? 0 : -EINVAL;
}

static int append_new(struct im_json *array, json_t *value)
{
    if (!value)
        return -ENOMEM;
    if (!json_is_array(inner(array))) {
        json_decref(value);
        return -EINVAL;
    }
    return json_array_append_new(inner(array), value) == 0 ? 0 : -ENOMEM;
}

int im_json_set_str(struct im_json *object, const char *key, const char *value)
{
    return set_new(object, key, new_string(value));
}

int im_json_set_int(struct im_json *object, const char *key, int64_t value)
{
    return set_new(object, key, json_integer(value));
}

int im_json_set_real(struct im_json *object, const char *key, double value)
{
    return set_new(object, key, new_real(value));
}

int im_json_set_bool(struct im_json *object, const char *key, bool value)
{
    return set_new(object, key, json_boolean(value));
}

int im_json_set(struct im_json *object, const char *key, struct im_json *child)
{
    return set_new(object, key, inner(child));
}

int im_json_append_str(struct im_json *array, const char *value)
{
    return append_new(array, new_string(value));
}

int im_json_append_int(struct im_json *array, int64_t value)
{
    return append_new(array, json_integer(value));
}

int im_json_append_real(struct im_json *array, double value)
{
    return append_new(array, new_real(value));
}

int im_json_append(struct im_json *array, struct im_json *child)
{
    return append_new(array, inner(child));
}

const struct im_json *im_json_get(const struct im_json *object, const char *key)
{
    return (const struct im_json *)json_object_get(inner(object), key);
}

const struct im_json *im_json_at(const struct im_json *array, size_t i)
{
    return (const struct im_json *)json_array_get(inner(array), i);
}

size_t im_json_count(const struct im_json *j)
{
    return json_is_object(inner(j)) ? json_object_size(inner(j)) : json_array_size(inner(j));
}

bool im_json_is_object(const struct im_json *j)
{
    return json_is_object(inner(j));
}

bool im_json_is_array(const struct im_json *j)
{
    return json_is_array(inner(j));
}

const struct im_json *im_json_next(const struct im_json *object, const char **key)
{
    json_t *o = inner(object);
    void *at = *key ? json_object_iter_next(o, json_object_key_to_iter(*key)) : json_object_iter(o);

    if (!at)
        return NULL;
    *key = json_object_iter_key(at);
    return (const struct im_json *)json_object_iter_value(at);
}

int im_json_as_str(const struct im_json *j, const char **ret)
{
    if (!json_is_string(inner(j)))
        return j ? -EINVAL : -ENOENT;
    *ret = json_string_value(inner(j));
    return 0;
}

int im_json_as_int(const struct im_json *j, int64_t *ret)
{
    if (!json_is_integer(inner(j)))
        return j ? -EINVAL : -ENOENT;
    *ret = json_integer_value(inner(j));
    return 0;
}

int im_json_as_real(const struct im_json *j, double *ret)
{
    if (!json_is_number(inner(j)))
        return j ? -EINVAL : -ENOENT;
    *ret = json_number_value(inner(j));
    return 0;
}

int im_json_as_bool(const struct im_json *j, bool *ret)
{
    if (!json_is_boolean(inner(j)))
        return j ? -EINVAL : -ENOENT;
    *ret = json_is_true(inner(j));
    return 0;
}

const char *im_json_str_or(const struct im_json *object, const char *key, const char *otherwise)
{
    im_json_as_str(im_json_get(object, key), &otherwise);
    return otherwise;
}

int64_t im_json_int_or(const struct im_json *object, const char *key, int64_t otherwise)
{
    im_json_as_int(im_json_get(object, key), &otherwise);
    return otherwise;
}

double im_json_real_or(const struct im_json *object, const char *key, double otherwise)
{
    im_json_as_real(im_json_get(object, key), &otherwise);
    return otherwise;
}

bool im_json_bool_or(const struct im_json *object, const char *key, bool otherwise)
{
    im_json_as_bool(im_json_get(object, key), &otherwise);
    return otherwise;
}

/* The line where brackets first lie deeper than allowed; 0 when they never do. Brackets in strings
 * do not count. */
static int line_too_deep(const char *bytes, size_t n)
{
    int depth = 0, line = 1;
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];

        line += c == '\n';
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > IM_JSON_DEPTH_MAX)
                return line;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return 0;
}

int im_json_parse(const void *bytes, size_t n, struct im_json **ret, struct im_text *text)
{
    int line = line_too_deep(bytes, n);
    json_error_t error;
    json_t *value;

    if (line > 0)
        return im_fail(text, -EBADMSG, "line %d: nested more than %d deep", line, IM_JSON_DEPTH_MAX);
    value = json_loadb(n ? bytes : "", n, JSON_REJECT_DUPLICATES, &error);
    im_msan_written(&error, sizeof error);
    if (!value)
        return im_fail(text, json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG,
                       "line %d: %s", error.line > 0 ? error.line : 1, error.text);
    *ret = (struct im_json *)value;
    return 0;
}

/* Fewest digits that read back as the same double, and always recognisable as one: 1 becomes 1.0. */
static void write_real(FILE *f, double value)
{
    char s[40];

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, value);
        if (strtod(s, NULL) == value)
            break;
    }
    fprintf(f, "%s%s", s, strpbrk(s, ".e") ? "" : ".0");
}

/* JSON may end on a terminal too: what that would obey is escaped, as JSON does it. */
static void write_printable(FILE *f, const char *s)
{
    while (*s) {
        size_t n = im_printable_length(s);
        char escape[IM_ESCAPE_BYTES];

        if (n > 0 || *s == '\n') {
            n = n > 0 ? n : 1;
            fwrite(s, 1, n, f);
        } else if (*s == 0x7f) {
            n = 1;
            fputs("\\u007f", f);
        } else {
            n = im_printable_escape(s, escape);
            fputs(escape, f);
        }
        s += n;
    }
}

static int write_scalar(FILE *f, const json_t *value)
{
    char *s;

    if (json_is_real(value)) {
        write_real(f, json_real_value(value));
        return 0;
    }
    s = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!s)
        return -ENOMEM;
    write_printable(f, s);
    free(s);
    return 0;
}

static void write_break(FILE *f, bool indented, int depth)
{
    if (indented)
        fprintf(f, "\n%*s", 2 * depth, "");
}

static int write_key(FILE *f, const char *key, bool indented)
{
    json_t *string = json_string(key);
    int err = string ? write_scalar(f, string) : -ENOMEM;

    json_decref(string);
    fputs(indented ? ": " : ":", f);
    return err;
}

/* Recursion is bounded by IM_JSON_DEPTH_MAX. */
static int write_value(FILE *f, const struct im_json *j, bool indented, int depth)
{
    bool is_object = json_is_object(inner(j));
    const char *key = NULL;
    size_t n = im_json_count(j);
    int err = 0;

    if (!is_object && !json_is_array(inner(j)))
        return write_scalar(f, inner(j));
    if (depth >= IM_JSON_DEPTH_MAX)
        return -EINVAL;
    fputc(is_object ? '{' : '[', f);
    for (size_t i = 0; i < n && err == 0; i++) {
        const struct im_json *value = is_object ? im_json_next(j, &key) : im_json_at(j, i);

        if (i > 0)
            fputc(',', f);
        write_break(f, indented, depth + 1);
        if (is_object)
            err = write_key(f, key, indented);
        if (err == 0)
            err = write_value(f, value, indented, depth + 1);
    }
    if (n > 0)
        write_break(f, indented, depth);
    fputc(is_object ? '}' : ']', f);
    return err;
}

static char *dump(const struct im_json *j, bool indented)
{
    char *s = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&s, &n);
    int err;

    if (!f)
        return NULL;
    err = write_value(f, j, indented, 0);
    if (indented)
        fputc('\n', f);
    if (fclose(f) != 0 || err < 0) {
        free(s);
        return NULL;
    }
    return s;
}

char *im_json_dump(const struct im_json *j)
{
    return dump(j, false);
}

struct im_json *im_json_copy(const struct im_json *j)
{
    struct im_json *copy = NULL;
    char *text = j ? im_json_dump(j) : NULL;

    if (text)
        im_json_parse(text, strlen(text), &copy, NULL);
    free(text);
    return copy;
}

char *im_json_dump_indented(const struct im_json *j)
{
    return dump(j, true);
}

int im_json_print(const struct im_json *j, FILE *out)
{
    char *line = im_json_dump(j);
    int err = 0;

    if (!line)
        return -ENOMEM;
    if (fprintf(out, "%s\n", line) < 0 || fflush(out) != 0)
        err = -errno;
    free(line);
    return err;
}
