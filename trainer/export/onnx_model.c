#include "trainer/export/onnx_model.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <onnx.pb-c.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/file.h"

#define BYTES_MAX ((size_t)INT32_MAX) /* what readers of protobuf take */

enum { INPUTS_MAX = 8, INT64 = 7 /* TensorProto.DataType */ };

/* Memory of the model, in a list. */
struct piece {
    struct piece *next;
    max_align_t bytes[];
};

struct tr_onnx {
    struct piece *pieces;
    int err;
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset;
    Onnx__OperatorSetIdProto *opsets[1];
    size_t node_room, initializer_room, input_room, output_room, metadata_room;
};

void *tr_onnx_alloc(struct tr_onnx *o, size_t bytes)
{
    struct piece *p = o->err == 0 ? calloc(1, sizeof *p + bytes) : NULL;

    if (!p) {
        o->err = -ENOMEM;
        return NULL;
    }
    p->next = o->pieces;
    o->pieces = p;
    return p->bytes;
}

/* What protobuf-c declares as char * it only reads. */
static char *copy_text(struct tr_onnx *o, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = tr_onnx_alloc(o, n);

    if (copy)
        memcpy(copy, s, n);
    return copy;
}

const char *tr_onnx_text(struct tr_onnx *o, const char *format, ...)
{
    char room[512];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(room, sizeof room, format, args);
    va_end(args);
    im_assert(n >= 0 && n < (int)sizeof room);
    return copy_text(o, room);
}

/* Appends to one of protobuf-c's arrays of pointers. */
static void append(struct tr_onnx *o, void *array, size_t *count, size_t *room, void *item)
{
    void **list, **grown;

    if (o->err < 0)
        return;
    memcpy(&list, array, sizeof list);
    if (*count == *room) {
        *room = *room ? 2 * *room : 16;
        grown = tr_onnx_alloc(o, *room * sizeof *grown);
        if (!grown)
            return;
        if (*count)
            memcpy(grown, list, *count * sizeof *grown);
        list = grown;
        memcpy(array, &list, sizeof list);
    }
    list[(*count)++] = item;
}

struct tr_onnx *tr_onnx_new(const char *graph_name)
{
    struct tr_onnx *o = calloc(1, sizeof *o);

    if (!o)
        return NULL;
    onnx__model_proto__init(&o->model);
    onnx__graph_proto__init(&o->graph);
    onnx__operator_set_id_proto__init(&o->opset);
    o->model.has_ir_version = 1;
    o->model.ir_version = TR_ONNX_IR;
    o->model.producer_name = copy_text(o, "imsuper");
    o->model.producer_version = copy_text(o, IMSUPER_VERSION);
    o->model.graph = &o->graph;
    o->opset.domain = copy_text(o, "");
    o->opset.has_version = 1;
    o->opset.version = TR_ONNX_OPSET;
    o->opsets[0] = &o->opset;
    o->model.opset_import = o->opsets;
    o->model.n_opset_import = 1;
    o->graph.name = copy_text(o, graph_name);
    return o;
}

void tr_onnx_free(struct tr_onnx **o)
{
    struct piece *p = *o ? (*o)->pieces : NULL;

    while (p) {
        struct piece *next = p->next;

        free(p);
        p = next;
    }
    free(*o);
    *o = NULL;
}

/* ---- nodes ---- */

struct tr_onnx_node {
    Onnx__NodeProto proto;
    size_t attribute_room;
    char *inputs[INPUTS_MAX], *outputs[1];
};

struct tr_onnx_node *tr_onnx_add(struct tr_onnx *o, const char *op, const char *output,
                                 const char *const *inputs)
{
    struct tr_onnx_node *node = tr_onnx_alloc(o, sizeof *node);

    if (!node)
        return NULL;
    onnx__node_proto__init(&node->proto);
    for (; *inputs; inputs++) {
        im_assert(node->proto.n_input < INPUTS_MAX);
        node->inputs[node->proto.n_input++] = copy_text(o, *inputs);
    }
    node->outputs[0] = copy_text(o, output);
    node->proto.input = node->inputs;
    node->proto.output = node->outputs;
    node->proto.n_output = 1;
    node->proto.name = node->outputs[0];
    node->proto.op_type = copy_text(o, op);
    append(o, &o->graph.node, &o->graph.n_node, &o->node_room, &node->proto);
    return node;
}

/* NULL: there is no memory. */
static Onnx__AttributeProto *add_attribute(struct tr_onnx *o, struct tr_onnx_node *node, const char *name,
                                           Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *a = node ? tr_onnx_alloc(o, sizeof *a) : NULL;

    if (!a)
        return NULL;
    onnx__attribute_proto__init(a);
    a->name = copy_text(o, name);
    a->has_type = 1;
    a->type = type;
    append(o, &node->proto.attribute, &node->proto.n_attribute, &node->attribute_room, a);
    return a;
}

void tr_onnx_set_int(struct tr_onnx *o, struct tr_onnx_node *node, const char *name, int64_t value)
{
    Onnx__AttributeProto *a = add_attribute(o, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);

    if (a) {
        a->has_i = 1;
        a->i = value;
    }
}

void tr_onnx_set_float(struct tr_onnx *o, struct tr_onnx_node *node, const char *name, float value)
{
    Onnx__AttributeProto *a = add_attribute(o, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);

    if (a) {
        a->has_f = 1;
        a->f = value;
    }
}

static int64_t *copy_ints(struct tr_onnx *o, const int64_t *values, size_t n)
{
    int64_t *copy = tr_onnx_alloc(o, n * sizeof *copy + 1);

    if (copy && n)
        memcpy(copy, values, n * sizeof *copy);
    return copy;
}

void tr_onnx_set_ints(struct tr_onnx *o, struct tr_onnx_node *node, const char *name, const int64_t *values,
                      size_t n)
{
    Onnx__AttributeProto *a = add_attribute(o, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);

    if (a) {
        a->ints = copy_ints(o, values, n);
        a->n_ints = a->ints ? n : 0;
    }
}

void tr_onnx_set_text(struct tr_onnx *o, struct tr_onnx_node *node, const char *name, const char *value)
{
    Onnx__AttributeProto *a = add_attribute(o, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);

    if (a) {
        a->has_s = 1;
        a->s.data = (uint8_t *)copy_text(o, value);
        a->s.len = a->s.data ? strlen(value) : 0;
    }
}

/* ---- constants ---- */

static Onnx__TensorProto *add_tensor(struct tr_onnx *o, const char *name, const int64_t *shape, size_t rank,
                                     int32_t type)
{
    Onnx__TensorProto *t = tr_onnx_alloc(o, sizeof *t);

    if (!t)
        return NULL;
    onnx__tensor_proto__init(t);
    t->name = copy_text(o, name);
    t->dims = copy_ints(o, shape, rank);
    t->n_dims = t->dims ? rank : 0;
    t->has_data_type = 1;
    t->data_type = type;
    append(o, &o->graph.initializer, &o->graph.n_initializer, &o->initializer_room, t);
    return t;
}

const char *tr_onnx_floats(struct tr_onnx *o, const char *name, const int64_t *shape, size_t rank,
                           const float *values)
{
    Onnx__TensorProto *t = add_tensor(o, name, shape, rank, TR_ONNX_FLOAT);
    size_t n = sizeof *values;

    for (size_t i = 0; i < rank; i++)
        n *= (size_t)shape[i];
    if (t) {
        t->has_raw_data = 1;
        t->raw_data.len = n;
        memcpy(&t->raw_data.data, &values, sizeof values); /* protobuf-c's type is not const */
    }
    return name;
}

const char *tr_onnx_ints(struct tr_onnx *o, const char *name, const int64_t *values, size_t n)
{
    const int64_t count = (int64_t)n;
    Onnx__TensorProto *t = add_tensor(o, name, &count, 1, INT64);

    if (t) {
        t->has_raw_data = 1;
        t->raw_data.data = (uint8_t *)copy_ints(o, values, n);
        t->raw_data.len = t->raw_data.data ? n * sizeof *values : 0;
    }
    return name;
}

/* ---- the graph's ends ---- */

static Onnx__TensorShapeProto *make_shape(struct tr_onnx *o, const struct tr_onnx_extent *extents,
                                          size_t rank)
{
    Onnx__TensorShapeProto *shape = tr_onnx_alloc(o, sizeof *shape);
    size_t room = 0;

    if (!shape)
        return NULL;
    onnx__tensor_shape_proto__init(shape);
    for (size_t i = 0; i < rank; i++) {
        Onnx__TensorShapeProto__Dimension *d = tr_onnx_alloc(o, sizeof *d);

        if (!d)
            return NULL;
        onnx__tensor_shape_proto__dimension__init(d);
        if (extents[i].name) {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim_param = copy_text(o, extents[i].name);
        } else {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            d->dim_value = extents[i].value;
        }
        append(o, &shape->dim, &shape->n_dim, &room, d);
    }
    return shape;
}

static Onnx__ValueInfoProto *make_value(struct tr_onnx *o, const char *name, enum tr_onnx_type type,
                                        const struct tr_onnx_extent *extents, size_t rank)
{
    Onnx__ValueInfoProto *value = tr_onnx_alloc(o, sizeof *value);
    Onnx__TypeProto *of = tr_onnx_alloc(o, sizeof *of);
    Onnx__TypeProto__Tensor *tensor = tr_onnx_alloc(o, sizeof *tensor);

    if (!value || !of || !tensor)
        return NULL;
    onnx__value_info_proto__init(value);
    onnx__type_proto__init(of);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = 1;
    tensor->elem_type = (int32_t)type;
    tensor->shape = make_shape(o, extents, rank);
    of->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    of->tensor_type = tensor;
    value->name = copy_text(o, name);
    value->type = of;
    return value;
}

void tr_onnx_input(struct tr_onnx *o, const char *name, enum tr_onnx_type type,
                   const struct tr_onnx_extent *extents, size_t rank)
{
    append(o, &o->graph.input, &o->graph.n_input, &o->input_room, make_value(o, name, type, extents, rank));
}

void tr_onnx_output(struct tr_onnx *o, const char *name, enum tr_onnx_type type,
                    const struct tr_onnx_extent *extents, size_t rank)
{
    append(o, &o->graph.output, &o->graph.n_output, &o->output_room,
           make_value(o, name, type, extents, rank));
}

void tr_onnx_metadata(struct tr_onnx *o, const char *key, const char *value)
{
    Onnx__StringStringEntryProto *e = tr_onnx_alloc(o, sizeof *e);

    if (!e)
        return;
    onnx__string_string_entry_proto__init(e);
    e->key = copy_text(o, key);
    e->value = copy_text(o, value);
    append(o, &o->model.metadata_props, &o->model.n_metadata_props, &o->metadata_room, e);
}

/* ---- the file ---- */

/* protobuf-c has no way to stop: the first error is kept. */
struct sink {
    ProtobufCBuffer base;
    struct im_file_writer file;
    struct im_text *text;
    int err;
};

static void take_bytes(ProtobufCBuffer *buffer, size_t n, const uint8_t *bytes)
{
    struct sink *sink = (struct sink *)buffer;

    if (sink->err == 0)
        sink->err = im_file_write(&sink->file, bytes, n, sink->text);
}

int tr_onnx_write(struct tr_onnx *o, const char *path, struct im_text *text)
{
    struct sink sink = {.base = {.append = take_bytes}, .text = text};
    size_t bytes;

    if (o->err < 0)
        return im_fail(text, o->err, "cannot write %.300s: out of memory", path);
    bytes = onnx__model_proto__get_packed_size(&o->model);
    if (bytes > BYTES_MAX)
        return im_fail(text, -EFBIG,
                       "cannot write %.300s: ONNX files end at 2 GiB, and it would have %zu bytes", path,
                       bytes);
    sink.err = im_file_begin(&sink.file, path, text);
    if (sink.err < 0)
        return sink.err;
    onnx__model_proto__pack_to_buffer(&o->model, &sink.base);
    if (sink.err == 0)
        return im_file_commit(&sink.file, text);
    im_file_abort(&sink.file);
    return sink.err;
}
