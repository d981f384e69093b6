/* An ONNX model in memory, built node by node and written by protobuf-c. All that it holds lives as long as it; what goes
 * wrong on the way (memory) is kept and told by tr_onnx_write(). */
#ifndef TRAINER_EXPORT_ONNX_MODEL_H
#define TRAINER_EXPORT_ONNX_MODEL_H

#include <stddef.h>
#include <stdint.h>

struct im_text;
struct tr_onnx;
struct tr_onnx_node;

#define TR_ONNX_OPSET 18
#define TR_ONNX_IR 8

/* Elements of inputs and outputs: TensorProto.DataType. */
enum tr_onnx_type { TR_ONNX_FLOAT = 1, TR_ONNX_UINT8 = 2 };

struct tr_onnx *tr_onnx_new(const char *graph_name); /* NULL: no memory */
void tr_onnx_free(struct tr_onnx **o);               /* nulls */

/* Text and memory that live as long as the model. NULL: no memory. */
const char *tr_onnx_text(struct tr_onnx *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *tr_onnx_alloc(struct tr_onnx *o, size_t bytes);

/* Appends a node; `inputs` ends with NULL ("": an optional input that is left out). The node and its output are called
 * `output`. */
struct tr_onnx_node *tr_onnx_add(struct tr_onnx *o, const char *op, const char *output,
                                 const char *const *inputs);
void tr_onnx_set_int(struct tr_onnx *o, struct tr_onnx_node *node, const char *name, int64_t value);
void tr_onnx_set_float(struct tr_onnx *o, struct tr_onnx_node *node, const char *name, float value);
void tr_onnx_set_ints(struct tr_onnx *o, struct tr_onnx_node *node, const char *name, const int64_t *values,
                      size_t n);
void tr_onnx_set_text(struct tr_onnx *o, struct tr_onnx_node *node, const char *name, const char *value);

/* A constant tensor. Floats are borrowed until the model is written; integers are copied and have rank 1. Returns
 * `name`. */
const char *tr_onnx_floats(struct tr_onnx *o, const char *name, const int64_t *shape, size_t rank,
                           const float *values);
const char *tr_onnx_ints(struct tr_onnx *o, const char *name, const int64_t *values, size_t n);

/* An extent: a number, or a name where it is open. */
struct tr_onnx_extent {
    const char *name; /* NULL: value */
    int64_t value;
};
void tr_onnx_input(struct tr_onnx *o, const char *name, enum tr_onnx_type type,
                   const struct tr_onnx_extent *extents, size_t rank);
void tr_onnx_output(struct tr_onnx *o, const char *name, enum tr_onnx_type type,
                    const struct tr_onnx_extent *extents, size_t rank);
void tr_onnx_metadata(struct tr_onnx *o, const char *key, const char *value);

/* Replaces the file at `path`, crash-safely. -EFBIG: protobuf files end at 2 GiB. */
int tr_onnx_write(struct tr_onnx *o, const char *path, struct im_text *text);

#endif
