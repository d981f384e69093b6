/* Reads untrusted safetensors files.
 *
 * The whole file is read into memory before it is parsed: a mapping would turn a concurrent truncation into
 * SIGBUS. Then the header is parsed (ipc/base/json.h rejects duplicate keys, bad UTF-8 and numbers out of
 * range), each entry is checked alone (type, shape, and that they match its size), and at last all together:
 * sorted by offset, each must begin where the one before ended and the last must end with the file. That
 * single rule excludes gaps, overlaps and data outside the file. Fuzzed by tests/fuzz/fuzz_safetensors.c. */
#include "trainer/checkpoint/safetensors.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"

/* A tensor with the offsets of its bytes in the data section. */
struct entry {
    struct tr_tensor tensor;
    uint64_t begin, end;
    char *renamed; /* NULL: the name is the header's */
};

struct tr_safetensors {
    struct im_json *header; /* owns the names and the metadata */
    char *bytes;            /* the file, if the object owns it */
    struct entry *entries;
    size_t count;
    struct tr_pair *metadata;
    size_t metadata_count;
    const void *whole; /* as it was read */
    size_t whole_bytes;
};

static int bad(struct im_text *text, const char *path, const char *name, const char *what)
{
    return im_fail(text, -EBADMSG, "%s is not a valid safetensors file: %s%.200s%s%s", path,
                   name ? "tensor \"" : "", name ? name : "", name ? "\": " : "", what);
}

static bool find_dtype(const char *name, enum tr_dtype *ret_dtype)
{
    for (int i = 0; i < TR_DTYPE_COUNT; i++) {
        if (strcmp(name, tr_dtype_name((enum tr_dtype)i)) == 0) {
            *ret_dtype = (enum tr_dtype)i;
            return true;
        }
    }
    return false;
}

/* A dimension or offset: an integer, not negative. */
static bool read_extent(const struct im_json *j, uint64_t *ret)
{
    int64_t value;

    if (im_json_as_int(j, &value) < 0 || value < 0)
        return false;
    *ret = (uint64_t)value;
    return true;
}

static int read_shape(const struct im_json *shape, const char *path, struct tr_tensor *t,
                      struct im_text *text)
{
    size_t rank = im_json_count(shape);

    if (!im_json_is_array(shape))
        return bad(text, path, t->name, "no shape");
    if (rank > TR_TENSOR_RANK_MAX)
        return im_fail(text, -ENOTSUP, "%s: tensor \"%.200s\" has %zu dimensions, at most %d are supported",
                       path, t->name, rank, TR_TENSOR_RANK_MAX);
    t->rank = (int)rank;
    for (size_t i = 0; i < rank; i++)
        if (!read_extent(im_json_at(shape, i), &t->shape[i]))
            return bad(text, path, t->name, "a dimension of its shape is not a non-negative integer");
    return 0;
}

static int read_entry(const struct im_json *object, const char *name, const char *path, uint64_t data_bytes,
                      struct entry *ret_entry, struct im_text *text)
{
    const struct im_json *offsets = im_json_get(object, "data_offsets");
    struct entry e = {.tensor.name = name};
    const char *dtype;
    size_t bytes;
    int err;

    if (im_json_as_str(im_json_get(object, "dtype"), &dtype) < 0)
        return bad(text, path, name, "no dtype");
    if (!find_dtype(dtype, &e.tensor.dtype))
        return im_fail(text, -ENOTSUP, "%s: tensor \"%.200s\" has dtype \"%.20s\", which is not supported",
                       path, name, dtype);
    err = read_shape(im_json_get(object, "shape"), path, &e.tensor, text);
    if (err < 0)
        return err;
    if (!im_json_is_array(offsets) || im_json_count(offsets) != 2 ||
        !read_extent(im_json_at(offsets, 0), &e.begin) || !read_extent(im_json_at(offsets, 1), &e.end))
        return bad(text, path, name, "data_offsets are not two non-negative integers");
    if (e.begin > e.end || e.end > data_bytes)
        return bad(text, path, name, "its data are outside of the file");
    if (tr_tensor_bytes(&e.tensor, &bytes) < 0 || bytes != e.end - e.begin)
        return bad(text, path, name, "its shape and dtype do not match its size in bytes");
    *ret_entry = e;
    return 0;
}

static int read_metadata(struct tr_safetensors *f, const struct im_json *object, const char *path,
                         struct im_text *text)
{
    const struct im_json *value;

    if (!im_json_is_object(object))
        return bad(text, path, NULL, "__metadata__ is not an object");
    f->metadata = calloc(im_json_count(object) + 1, sizeof *f->metadata);
    if (!f->metadata)
        return -ENOMEM;
    for (const char *key = NULL; (value = im_json_next(object, &key));) {
        struct tr_pair *pair = &f->metadata[f->metadata_count];

        pair->key = key;
        if (im_json_as_str(value, &pair->value) < 0)
            return bad(text, path, NULL, "a value of __metadata__ is not a string");
        f->metadata_count++;
    }
    return 0;
}

/* Empty tensors can share an offset; then the writer's order applies, so that a file has only one order. */
static int compare_place(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    if (x->tensor.dtype != y->tensor.dtype)
        return x->tensor.dtype > y->tensor.dtype ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

static int read_header(struct tr_safetensors *f, const char *path, const char *data, uint64_t data_bytes,
                       struct im_text *text)
{
    const struct im_json *value;
    uint64_t at = 0;
    int err = 0;

    f->entries = calloc(im_json_count(f->header) + 1, sizeof *f->entries);
    if (!f->entries)
        return -ENOMEM;
    for (const char *name = NULL; err == 0 && (value = im_json_next(f->header, &name));) {
        if (strcmp(name, "__metadata__") == 0)
            err = read_metadata(f, value, path, text);
        else
            err = read_entry(value, name, path, data_bytes, &f->entries[f->count++], text);
    }
    if (err < 0)
        return err;
    if (f->count)
        qsort(f->entries, f->count, sizeof *f->entries, compare_place);
    for (size_t i = 0; i < f->count; i++) {
        struct entry *e = &f->entries[i];

        if (e->begin != at)
            return bad(text, path, e->tensor.name,
                       e->begin > at ? "a gap before its data" : "its data overlap another tensor's");
        e->tensor.data = data + e->begin;
        at = e->end;
    }
    return at == data_bytes ? 0 : bad(text, path, NULL, "bytes after the last tensor");
}

int tr_safetensors_parse(const char *path, const void *bytes, size_t n, struct tr_safetensors **ret_file,
                         struct im_text *text)
{
    const char *start = bytes;
    struct tr_safetensors *f;
    struct im_text why = {""};
    uint64_t header_bytes;
    int err;

    if (n < sizeof header_bytes)
        return bad(text, path, NULL, "too short for a header");
    memcpy(&header_bytes, start, sizeof header_bytes);
    if (header_bytes > TR_SAFETENSORS_HEADER_MAX || header_bytes > n - sizeof header_bytes)
        return bad(text, path, NULL, "the header's length exceeds the file's or 100 MB");
    start += sizeof header_bytes;
    if (header_bytes == 0 || start[0] != '{')
        return bad(text, path, NULL, "the header does not begin with {");
    f = calloc(1, sizeof *f);
    if (!f)
        return im_fail(text, -ENOMEM, "cannot read %s: out of memory", path);
    f->whole = bytes;
    f->whole_bytes = n;
    err = im_json_parse(start, header_bytes, &f->header, &why);
    if (err == -EBADMSG)
        err = bad(text, path, NULL, why.s);
    if (err == 0)
        err = read_header(f, path, start + header_bytes, n - sizeof header_bytes - header_bytes, text);
    if (err == -ENOMEM)
        im_fail(text, err, "cannot read %s: out of memory", path);
    if (err < 0)
        tr_safetensors_close(&f);
    else
        *ret_file = f;
    return err;
}

int tr_safetensors_take(const char *path, char *bytes, size_t n, struct tr_safetensors **ret_file,
                        struct im_text *text)
{
    int err = tr_safetensors_parse(path, bytes, n, ret_file, text);

    if (err == 0)
        (*ret_file)->bytes = bytes;
    return err;
}

int tr_safetensors_open(const char *path, struct tr_safetensors **ret_file, struct im_text *text)
{
    char *bytes;
    size_t n;
    int err = im_read_file(path, TR_SAFETENSORS_BYTES_MAX, &bytes, &n, text);

    if (err < 0)
        return err;
    err = tr_safetensors_take(path, bytes, n, ret_file, text);
    if (err < 0)
        free(bytes);
    return err;
}

void tr_safetensors_close(struct tr_safetensors **file)
{
    struct tr_safetensors *f = *file;

    if (!f)
        return;
    im_json_free(&f->header);
    for (size_t i = 0; f->entries && i < f->count; i++)
        free(f->entries[i].renamed);
    free(f->entries);
    free(f->metadata);
    free(f->bytes);
    free(f);
    *file = NULL;
}

const void *tr_safetensors_bytes(const struct tr_safetensors *file, size_t *ret_n)
{
    *ret_n = file->whole_bytes;
    return file->whole;
}

size_t tr_safetensors_count(const struct tr_safetensors *file)
{
    return file->count;
}

const struct tr_tensor *tr_safetensors_at(const struct tr_safetensors *file, size_t i)
{
    return i < file->count ? &file->entries[i].tensor : NULL;
}

const struct tr_tensor *tr_safetensors_find(const struct tr_safetensors *file, const char *name)
{
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->entries[i].tensor.name, name) == 0)
            return &file->entries[i].tensor;
    return NULL;
}

int tr_safetensors_rename(struct tr_safetensors *file, size_t i, const char *name)
{
    struct entry *e = &file->entries[i];
    char *copy = strdup(name);

    im_assert(i < file->count);
    if (!copy)
        return -ENOMEM;
    free(e->renamed);
    e->renamed = copy;
    e->tensor.name = copy;
    return 0;
}

void tr_safetensors_reshape(struct tr_safetensors *file, size_t i, int rank, const uint64_t *shape)
{
    im_assert(i < file->count && rank >= 0 && rank <= TR_TENSOR_RANK_MAX);
    file->entries[i].tensor.rank = rank;
    memcpy(file->entries[i].tensor.shape, shape, (size_t)rank * sizeof *shape);
}

size_t tr_safetensors_metadata_count(const struct tr_safetensors *file)
{
    return file->metadata_count;
}

struct tr_pair tr_safetensors_metadata_at(const struct tr_safetensors *file, size_t i)
{
    im_assert(i < file->metadata_count);
    return file->metadata[i];
}

const char *tr_safetensors_metadata(const struct tr_safetensors *file, const char *key)
{
    for (size_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0)
            return file->metadata[i].value;
    return NULL;
}
