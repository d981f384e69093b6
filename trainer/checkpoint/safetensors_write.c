/* Writes safetensors files. The header is built in memory (some 100 bytes a tensor); tensor bytes go directly
 * into the temporary file, so a checkpoint needs no second copy of the weights.
 *
 * Values are written in host byte order: the format is little-endian, and so is every supported machine. */
#include "trainer/checkpoint/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are written as they lie in memory");

/* Sets a key that must be new; takes ownership of `child`. */
static int set_new(struct im_json *object, const char *key, struct im_json *child)
{
    if (im_json_get(object, key)) {
        im_json_free(&child);
        return -EINVAL;
    }
    return im_json_set(object, key, child);
}

static struct im_json *describe_tensor(const struct tr_tensor *t, uint64_t begin, uint64_t end)
{
    struct im_json *entry = im_json_object(), *shape = im_json_array(), *offsets = im_json_array();
    int err = entry && shape && offsets ? 0 : -ENOMEM;

    for (int i = 0; i < t->rank && err == 0; i++)
        err = im_json_append_int(shape, (int64_t)t->shape[i]);
    if (err == 0)
        err = im_json_append_int(offsets, (int64_t)begin);
    if (err == 0)
        err = im_json_append_int(offsets, (int64_t)end);
    if (err == 0)
        err = im_json_set_str(entry, "dtype", tr_dtype_name(t->dtype));
    if (err == 0) {
        err = im_json_set(entry, "shape", shape);
        shape = NULL;
    }
    if (err == 0) {
        err = im_json_set(entry, "data_offsets", offsets);
        offsets = NULL;
    }
    im_json_free(&shape);
    im_json_free(&offsets);
    if (err < 0)
        im_json_free(&entry);
    return entry;
}

static int add_metadata(struct im_json *header, const struct tr_pair *metadata, size_t count,
                        struct im_text *text)
{
    struct im_json *object;
    int err = 0;

    if (!count)
        return 0;
    object = im_json_object();
    for (size_t i = 0; i < count && err == 0 && object; i++) {
        if (im_json_get(object, metadata[i].key))
            err = im_fail(text, -EINVAL, "duplicate metadata key \"%s\"", metadata[i].key);
        else
            err = im_json_set_str(object, metadata[i].key, metadata[i].value);
    }
    if (err == 0)
        return im_json_set(header, "__metadata__", object);
    im_json_free(&object);
    return err;
}

static int add_tensors(struct im_json *header, const struct tr_tensor *tensors, const size_t *order,
                       size_t count, struct im_text *text)
{
    uint64_t at = 0;

    for (size_t i = 0; i < count; i++) {
        const struct tr_tensor *t = &tensors[order[i]];
        size_t bytes;
        int err = tr_tensor_bytes(t, &bytes);

        if (err == 0 && (bytes > TR_SAFETENSORS_BYTES_MAX || at + bytes > TR_SAFETENSORS_BYTES_MAX))
            err = -EOVERFLOW;
        if (err < 0)
            return im_fail(text, err, "the shape of tensor \"%s\" is too large", t->name);
        err = strcmp(t->name, "__metadata__") == 0
                  ? -EINVAL
                  : set_new(header, t->name, describe_tensor(t, at, at + bytes));
        if (err == -EINVAL)
            return im_fail(text, err, "the tensor name \"%s\" is reserved or a duplicate", t->name);
        if (err < 0)
            return err;
        at += bytes;
    }
    return 0;
}

/* The header as text, the caller's to free(); it has room for 7 blanks after its end. */
static int make_header(const struct tr_tensor *tensors, const size_t *order, size_t count,
                       const struct tr_pair *metadata, size_t metadata_count, char **ret_text,
                       struct im_text *text)
{
    struct im_json *header = im_json_object();
    char *dumped = NULL, *grown;
    int err = header ? add_metadata(header, metadata, metadata_count, text) : -ENOMEM;

    if (err == 0)
        err = add_tensors(header, tensors, order, count, text);
    if (err == 0) {
        dumped = im_json_dump(header);
        grown = dumped ? realloc(dumped, strlen(dumped) + 8) : NULL;
        if (!grown) {
            free(dumped);
            err = -ENOMEM;
        } else {
            *ret_text = grown;
        }
    }
    im_json_free(&header);
    return err;
}

static int put_parts(const struct tr_sink *sink, const char *header, uint64_t header_bytes,
                     const struct tr_tensor *tensors, const size_t *order, size_t count, struct im_text *text)
{
    int err = sink->write(sink->context, &header_bytes, sizeof header_bytes, text);

    if (err == 0)
        err = sink->write(sink->context, header, header_bytes, text);
    for (size_t i = 0; i < count && err == 0; i++) {
        const struct tr_tensor *t = &tensors[order[i]];
        size_t bytes;

        err = tr_tensor_bytes(t, &bytes);
        if (err == 0 && bytes)
            err = sink->write(sink->context, t->data, bytes, text);
    }
    return err;
}

int tr_safetensors_put(const char *name, const struct tr_sink *sink, const struct tr_tensor *tensors,
                       size_t count, const struct tr_pair *metadata, size_t metadata_count,
                       struct im_text *text)
{
    size_t *order = malloc((count + 1) * sizeof *order);
    char *header = NULL;
    size_t n, padded;
    int err = -ENOMEM;

    if (!order)
        goto out;
    tr_safetensors_order(tensors, count, order);
    err = make_header(tensors, order, count, metadata, metadata_count, &header, text);
    if (err != 0)
        goto out;
    n = strlen(header);
    padded = (n + 7) / 8 * 8;
    memset(header + n, ' ', padded - n);
    if (padded > TR_SAFETENSORS_HEADER_MAX)
        err = im_fail(text, -EFBIG, "cannot write %s: its header would have %zu bytes", name, padded);
    else
        err = put_parts(sink, header, padded, tensors, order, count, text);
out:
    if (err == -ENOMEM)
        im_fail(text, err, "cannot write %s: out of memory", name);
    free(order);
    free(header);
    return err;
}

static int write_to_file(void *context, const void *bytes, size_t n, struct im_text *text)
{
    return im_file_write(context, bytes, n, text);
}

int tr_safetensors_write(const char *path, const struct tr_tensor *tensors, size_t count,
                         const struct tr_pair *metadata, size_t metadata_count, struct im_text *text)
{
    struct im_file_writer w = {.fd = -1};
    const struct tr_sink sink = {.context = &w, .write = write_to_file};
    int err = im_file_begin(&w, path, text);

    if (err == 0)
        err = tr_safetensors_put(path, &sink, tensors, count, metadata, metadata_count, text);
    if (err == 0)
        err = im_file_commit(&w, text);
    im_file_abort(&w);
    return err;
}
