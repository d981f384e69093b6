/* safetensors files, the format in which the ecosystem exchanges weights (Hugging Face, safetensors 0.4 and
 * later):
 *
 *     u64 N | N bytes of JSON, padded with blanks | the tensors' bytes, row-major; all little-endian
 *
 * In the JSON: "__metadata__":{"key":"value"} and "name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}.
 * Offsets count from the end of the header, begin and end; the tensors fill the rest of the file without
 * holes or overlaps.
 *
 * The writer lays tensors out as the reference implementation does (by descending dtype, then by name; N
 * padded to a multiple of 8), so that equal content gives equal bytes. The reader accepts untrusted files:
 * every number in the header is checked before use, and a file that violates any rule of the format is
 * rejected as a whole. */
#ifndef TRAINER_CHECKPOINT_SAFETENSORS_H
#define TRAINER_CHECKPOINT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

struct im_text;

/* In the order of the reference implementation's enum, which sorts by size and defines the layout of a
 * file. */
enum tr_dtype { TR_BOOL, TR_U8, TR_F16, TR_BF16, TR_I32, TR_F32, TR_F64, TR_I64 };
#define TR_DTYPE_COUNT 8

#define TR_TENSOR_RANK_MAX 8
#define TR_SAFETENSORS_HEADER_MAX ((size_t)100000000)
#define TR_SAFETENSORS_BYTES_MAX ((size_t)1 << 36)

/* A tensor somewhere in memory. rank 0 is a scalar; an extent may be 0. */
struct tr_tensor {
    const char *name;
    enum tr_dtype dtype;
    int rank;
    uint64_t shape[TR_TENSOR_RANK_MAX]; /* the first `rank` count */
    const void *data;                   /* of a file that was read: unaligned, so copy it out */
};

/* One entry of the metadata; both are text, UTF-8. */
struct tr_pair {
    const char *key, *value;
};

size_t tr_dtype_bytes(enum tr_dtype dtype);
const char *tr_dtype_name(enum tr_dtype dtype);
/* Element i of bytes that need not be aligned; of TR_F16, TR_BF16, TR_F32 and TR_F64. */
float tr_dtype_element(enum tr_dtype dtype, const void *data, size_t i);

/* Bytes of a tensor; -EOVERFLOW when they do not fit, -EINVAL for a rank out of range. */
int tr_tensor_bytes(const struct tr_tensor *t, size_t *ret_bytes);

/* The writer's order of tensors, as indices: ret_order[count]. */
void tr_safetensors_order(const struct tr_tensor *tensors, size_t count, size_t *ret_order);

/* Replaces the file at `path`, crash-safely (ipc/base/file.h). -EINVAL: duplicate names or metadata keys, or
 * a tensor called __metadata__. Other errors: negative errno. Each with a sentence. */
int tr_safetensors_write(const char *path, const struct tr_tensor *tensors, size_t count,
                         const struct tr_pair *metadata, size_t metadata_count, struct im_text *text);

/* Receives a file's bytes in order and in pieces, such as memory or a counter. 0, or a negative errno with a
 * sentence, which stops the writing. */
struct tr_sink {
    void *context;
    int (*write)(void *context, const void *bytes, size_t n, struct im_text *text);
};

/* Sends the bytes that tr_safetensors_write() would write to a sink. `name` names them in errors. */
int tr_safetensors_put(const char *name, const struct tr_sink *sink, const struct tr_tensor *tensors,
                       size_t count, const struct tr_pair *metadata, size_t metadata_count,
                       struct im_text *text);

/* A parsed file with its contents. */
struct tr_safetensors;

/* Reads and checks a whole file. -EBADMSG: malformed, with a sentence that says where; -ENOTSUP: an
 * unsupported dtype or rank; -EFBIG; other negative errno from reading. */
int tr_safetensors_open(const char *path, struct tr_safetensors **ret_file, struct im_text *text);

/* The same from memory, which must outlive the result; `path` names it in errors. */
int tr_safetensors_parse(const char *path, const void *bytes, size_t n, struct tr_safetensors **ret_file,
                         struct im_text *text);
/* The same; on success the result owns `bytes`, which are malloc'ed. */
int tr_safetensors_take(const char *path, char *bytes, size_t n, struct tr_safetensors **ret_file,
                        struct im_text *text);
void tr_safetensors_close(struct tr_safetensors **file); /* nulls */

/* Tensors in the order of their bytes in the file. They live as long as the file is open. */
size_t tr_safetensors_count(const struct tr_safetensors *file);
const struct tr_tensor *tr_safetensors_at(const struct tr_safetensors *file,
                                          size_t i); /* NULL past the end */
const struct tr_tensor *tr_safetensors_find(const struct tr_safetensors *file,
                                            const char *name); /* NULL: not there */

/* Gives tensor i another name (copied), or another shape of the same number of elements. Its place stays. */
int tr_safetensors_rename(struct tr_safetensors *file, size_t i, const char *name); /* 0 or -ENOMEM */
void tr_safetensors_reshape(struct tr_safetensors *file, size_t i, int rank, const uint64_t *shape);

/* The metadata, in the order of the file. */
size_t tr_safetensors_metadata_count(const struct tr_safetensors *file);
struct tr_pair tr_safetensors_metadata_at(const struct tr_safetensors *file, size_t i);  /* i < count */
const char *tr_safetensors_metadata(const struct tr_safetensors *file, const char *key); /* NULL: not there */

#endif
