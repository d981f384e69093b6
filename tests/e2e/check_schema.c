/* Does each line of a file, or all of it, keep the schema that it names? An answer with "schema": "imsuper.eval/1" is held against
 * FOLDER/eval-1.json (JSON Schema; of its words: type, const, required, properties, items, additionalProperties).
 *
 *   check_schema FOLDER FILE [TYPE]     TYPE: the answers must be of this schema, such as imsuper.eval/1
 *
 * Prints what is wrong and ends with 1. */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/file.h"
#include "ipc/base/json.h"

#define BYTES_MAX ((size_t)256 << 20)

static int wrong;

static void complain(const char *where, const char *what, const char *which)
{
    wrong++;
    fprintf(stderr, "%s: %s%s\n", where, what, which);
}

static bool is_null(const struct im_json *j)
{
    const char *s;
    double d;
    bool b;

    return j && !im_json_is_array(j) && !im_json_is_object(j) && im_json_as_str(j, &s) < 0 &&
           im_json_as_real(j, &d) < 0 && im_json_as_bool(j, &b) < 0;
}

static bool is_of(const struct im_json *j, const char *type)
{
    const char *s;
    int64_t i;
    double d;
    bool b;

    if (strcmp(type, "string") == 0)
        return im_json_as_str(j, &s) == 0;
    if (strcmp(type, "integer") == 0)
        return im_json_as_int(j, &i) == 0;
    if (strcmp(type, "number") == 0)
        return im_json_as_real(j, &d) == 0;
    if (strcmp(type, "boolean") == 0)
        return im_json_as_bool(j, &b) == 0;
    if (strcmp(type, "null") == 0)
        return is_null(j);
    if (strcmp(type, "array") == 0)
        return im_json_is_array(j);
    return strcmp(type, "object") == 0 && im_json_is_object(j);
}

static void check_type(const struct im_json *type, const struct im_json *j, const char *where)
{
    const char *one;
    bool fits = false;

    if (!type)
        return;
    if (im_json_as_str(type, &one) == 0)
        fits = is_of(j, one);
    for (size_t i = 0; i < im_json_count(type); i++)
        fits |= im_json_as_str(im_json_at(type, i), &one) == 0 && is_of(j, one);
    if (!fits)
        complain(where, "is of another type", "");
}

static void check(const struct im_json *schema, const struct im_json *j, const char *where);

static void check_object(const struct im_json *schema, const struct im_json *j, const char *where)
{
    const struct im_json *required = im_json_get(schema, "required"),
                         *properties = im_json_get(schema, "properties"),
                         *others = im_json_get(schema, "additionalProperties");
    const struct im_json *value;
    const char *name;
    char path[512];

    for (size_t i = 0; i < im_json_count(required); i++)
        if (im_json_as_str(im_json_at(required, i), &name) == 0 && !im_json_get(j, name))
            complain(where, "lacks ", name);
    name = NULL;
    while ((value = im_json_next(j, &name)) != NULL) {
        const struct im_json *of = im_json_get(properties, name);

        snprintf(path, sizeof path, "%.400s.%.100s", where, name);
        if (of || im_json_is_object(others))
            check(of ? of : others, value, path);
    }
}

static void check(const struct im_json *schema, const struct im_json *j, const char *where)
{
    const char *wanted, *is = "";
    char path[512];

    check_type(im_json_get(schema, "type"), j, where);
    if (im_json_as_str(im_json_get(schema, "const"), &wanted) == 0 &&
        (im_json_as_str(j, &is) < 0 || strcmp(is, wanted) != 0))
        complain(where, "is not ", wanted);
    if (im_json_is_object(j))
        check_object(schema, j, where);
    for (size_t i = 0; im_json_is_array(j) && im_json_get(schema, "items") && i < im_json_count(j); i++) {
        snprintf(path, sizeof path, "%.400s[%zu]", where, i);
        check(im_json_get(schema, "items"), im_json_at(j, i), path);
    }
}

/* "imsuper.eval/1" is FOLDER/eval-1.json. */
static struct im_json *load_schema(const char *folder, const char *type)
{
    char path[PATH_MAX], *bytes = NULL, *slash;
    struct im_json *j = NULL;
    struct im_text text = {""};
    size_t n = 0;

    if (strncmp(type, "imsuper.", 8) != 0 || !strchr(type, '/')) {
        complain(type, "is no name of a schema", "");
        return NULL;
    }
    snprintf(path, sizeof path, "%s/%s.json", folder, type + 8);
    slash = strrchr(path, '/');
    *slash = '-';
    if (im_read_file(path, BYTES_MAX, &bytes, &n, &text) < 0 || im_json_parse(bytes, n, &j, &text) < 0)
        complain(path, text.s, "");
    free(bytes);
    return j;
}

static void check_answer(const char *folder, const struct im_json *answer, const char *type)
{
    const char *named = im_json_str_or(answer, "schema", "");
    struct im_json *schema = load_schema(folder, named);

    if (type && strcmp(named, type) != 0)
        complain(named, "is not ", type);
    if (schema)
        check(schema, answer, named);
    im_json_free(&schema);
}

int main(int argc, char **argv)
{
    const char *type = argc > 3 ? argv[3] : NULL;
    struct im_json *j = NULL;
    struct im_text text = {""};
    char *bytes = NULL, *rest = NULL;
    size_t n = 0, answers = 0;

    if (argc < 3 || im_read_file(argv[2], BYTES_MAX, &bytes, &n, &text) < 0) {
        fprintf(stderr, "check_schema: %s\n", text.s);
        return 1;
    }
    if (im_json_parse(bytes, n, &j, NULL) == 0) {
        check_answer(argv[1], j, type);
        answers = 1;
    } else {
        for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), answers++) {
            if (im_json_parse(line, strlen(line), &j, &text) < 0)
                complain(argv[2], text.s, "");
            else
                check_answer(argv[1], j, type);
            im_json_free(&j);
        }
    }
    if (answers == 0)
        complain(argv[2], "holds no answer", "");
    im_json_free(&j);
    free(bytes);
    return wrong ? 1 : 0;
}
