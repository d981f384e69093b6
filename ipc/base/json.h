/* JSON values for control messages, metrics lines, safetensors headers and checkpoint metadata.
 *
 * A value has one owner. Objects keep their keys in the order they were set; a key is there once. Integers
 * are int64; a larger number (a 64-bit seed, a hash) travels as a string. One thread at a time. */
#ifndef IPC_BASE_JSON_H
#define IPC_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ipc/base/err.h"

struct im_json;

enum {
    IM_JSON_DEPTH_MAX = 64 /* arrays and objects inside each other, parsed or dumped */
};

/* An empty object or array, the caller's; NULL when out of memory. */
struct im_json *im_json_object(void);
struct im_json *im_json_array(void);
void im_json_free(struct im_json **j); /* with all it holds; nulls */

/* Sets a key of an object (at the end; an existing key keeps its place). 0, -EINVAL (no object), -ENOMEM. A
 * string that is not UTF-8 (a file's name can be anything) gets U+FFFD for each bad byte; a double that is
 * not finite becomes null. im_json_set() takes `child` in every case, failure too; a NULL child gives
 * -ENOMEM, so constructors can be nested. */
int im_json_set_str(struct im_json *object, const char *key, const char *value);
int im_json_set_int(struct im_json *object, const char *key, int64_t value);
int im_json_set_real(struct im_json *object, const char *key, double value);
int im_json_set_bool(struct im_json *object, const char *key, bool value);
int im_json_set(struct im_json *object, const char *key, struct im_json *child);

/* The same at the end of an array. */
int im_json_append_str(struct im_json *array, const char *value);
int im_json_append_int(struct im_json *array, int64_t value);
int im_json_append_real(struct im_json *array, double value);
int im_json_append(struct im_json *array, struct im_json *child);

/* Looking in. What is returned belongs to its holder and lives until that changes. NULL: no such key, no such
 * index, no object or array. */
const struct im_json *im_json_get(const struct im_json *object, const char *key);
const struct im_json *im_json_at(const struct im_json *array, size_t i);
size_t im_json_count(const struct im_json *j); /* of keys or items; 0 for others */
bool im_json_is_object(const struct im_json *j);
bool im_json_is_array(const struct im_json *j);

/* The next key after *key in order, NULL to begin; NULL at the end:
 * for (const char *key = NULL; (value = im_json_next(object, &key));) */
const struct im_json *im_json_next(const struct im_json *object, const char **key);

/* A value of exactly this type: 0, -ENOENT where `j` is NULL, -EINVAL for another type (an integer is also a
 * real). So im_json_as_int(im_json_get(o, "step"), &step) tells a missing key from a wrong one. *ret is
 * written on success only. */
int im_json_as_str(const struct im_json *j, const char **ret);
int im_json_as_int(const struct im_json *j, int64_t *ret);
int im_json_as_real(const struct im_json *j, double *ret);
int im_json_as_bool(const struct im_json *j, bool *ret);

/* The key's value, or `otherwise` where it is missing or of another type. */
const char *im_json_str_or(const struct im_json *object, const char *key, const char *otherwise);
int64_t im_json_int_or(const struct im_json *object, const char *key, int64_t otherwise);
double im_json_real_or(const struct im_json *object, const char *key, double otherwise);
bool im_json_bool_or(const struct im_json *object, const char *key, bool otherwise);

/* Parses one object or array. Rejects duplicate keys, NUL in strings, bad UTF-8, numbers that do not fit,
 * nesting over IM_JSON_DEPTH_MAX and anything after the value. 0; -EBADMSG with "line 3: ..." in `text`. *ret
 * is the caller's. */
int im_json_parse(const void *bytes, size_t n, struct im_json **ret, struct im_text *text);

/* As text, malloc'ed, the caller's to free(): on one line without spaces, or with two spaces of indent per
 * level and a final newline. Doubles get the fewest digits that read back the same. NULL: out of memory, or
 * nested over IM_JSON_DEPTH_MAX. */
char *im_json_dump(const struct im_json *j);
char *im_json_dump_indented(const struct im_json *j);

/* A value of its own, the caller's to free. NULL: out of memory, or `j` is NULL. */
struct im_json *im_json_copy(const struct im_json *j);

/* im_json_dump() as a line of `out`, which is flushed. -ENOMEM as there, or why it could not be written. */
int im_json_print(const struct im_json *j, FILE *out);

#endif
