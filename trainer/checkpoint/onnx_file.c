#include "trainer/checkpoint/onnx_file.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <onnx.pb-c.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/utf8.h"
#include "trainer/backends/backend.h"

#define TENSORS_MAX 100000
#define WEIGHTS_MAX 10000 /* whose names are compared with each other */
#define NAME_BYTES 512
#define ALIASES_MAX 16 /* Identity behind Identity */
/* Bytes of what is unpacked, and of all tensors as floats: at most this, or several times the file's. */
#define TOTAL_FLOOR ((uint64_t)64 << 20)
#define TOTAL_TIMES 4

/* ---- memory ---- */

struct budget {
    uint64_t left;
};

static void *take_bytes(void *context, size_t n)
{
    struct budget *b = context;

    if (n + 32 > b->left)
        return NULL;
    b->left -= n + 32;
    return malloc(n ? n : 1);
}

static void give_bytes(void *context, void *at)
{
    (void)context;
    free(at);
}

/* ---- what is there, by name ---- */

struct named {
    const char *name;
    const void *of;
};

struct names {
    struct named *list;
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static const void *onnx_file_find(const struct names *n, const char *name)
{
    const struct named key = {.name = name};
    const struct named *found = n->count ? bsearch(&key, n->list, n->count, sizeof key, by_name) : NULL;

    return found ? found->of : NULL;
}

/* A weight on its way out. */
struct weight {
    char *name;
    int rank;
    uint64_t shape[TR_TENSOR_RANK_MAX], count;
    float *value;
};

struct model {
    const Onnx__ModelProto *proto;
    const Onnx__GraphProto *graph;
    const struct tr_onnx_data *data;
    struct names tensors, aliases; /* TensorProto; the name that an Identity's output stands for */
    struct names norms;            /* the BatchNormalization that reads the name */
    struct names adds;             /* the Add that reads the name */
    struct weight *weight;
    size_t weights, room;
    uint64_t left; /* bytes that tensors may still take */
};

static bool is_op(const Onnx__NodeProto *node, const char *op)
{
    return node->op_type && strcmp(node->op_type, op) == 0 && (!node->domain || !*node->domain);
}

static const Onnx__AttributeProto *attribute(const Onnx__NodeProto *node, const char *name)
{
    for (size_t i = 0; i < node->n_attribute; i++)
        if (node->attribute[i]->name && strcmp(node->attribute[i]->name, name) == 0)
            return node->attribute[i];
    return NULL;
}

static void add_name(struct names *n, const char *name, const void *of)
{
    if (name && *name && of)
        n->list[n->count++] = (struct named){name, of};
}

static int index_names(struct model *m, struct im_text *text)
{
    const Onnx__GraphProto *g = m->graph;
    struct names *const all[] = {&m->tensors, &m->aliases, &m->norms, &m->adds};
    const size_t room = g->n_initializer + 2 * g->n_node;

    if (g->n_initializer > TENSORS_MAX || g->n_node > TENSORS_MAX)
        return im_fail(text, -EBADMSG, "it has more than %d tensors or nodes", TENSORS_MAX);
    for (size_t i = 0; i < IM_COUNT(all); i++) {
        all[i]->list = calloc(room + 1, sizeof *all[i]->list);
        if (!all[i]->list)
            return im_fail(text, -ENOMEM, "out of memory for its names");
    }
    for (size_t i = 0; i < g->n_initializer; i++)
        add_name(&m->tensors, g->initializer[i]->name, g->initializer[i]);
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *node = g->node[i];
        const Onnx__AttributeProto *value = is_op(node, "Constant") ? attribute(node, "value") : NULL;

        if (value && node->n_output == 1)
            add_name(&m->tensors, node->output[0], value->t);
        if (is_op(node, "Identity") && node->n_output == 1 && node->n_input == 1)
            add_name(&m->aliases, node->output[0], node->input[0]);
        if (is_op(node, "BatchNormalization") && node->n_input == 5)
            add_name(&m->norms, node->input[0], node);
        for (size_t k = 0; k < node->n_input && k < 2 && is_op(node, "Add"); k++)
            add_name(&m->adds, node->input[k], node);
    }
    for (size_t i = 0; i < IM_COUNT(all); i++)
        qsort(all[i]->list, all[i]->count, sizeof *all[i]->list, by_name);
    return 0;
}

/* The tensor of the name, also where the name stands for another's. NULL: it is computed. */
static const Onnx__TensorProto *tensor_of(const struct model *m, const char *name)
{
    for (int i = 0; i < ALIASES_MAX && name && *name; i++) {
        const Onnx__TensorProto *t = onnx_file_find(&m->tensors, name);

        if (t)
            return t;
        name = onnx_file_find(&m->aliases, name);
    }
    return NULL;
}

/* ---- numbers ---- */

/* False: of a type that no weights here have. */
static bool find_dtype(int32_t type, enum tr_dtype *ret)
{
    switch (type) {
    case 1:
        *ret = TR_F32;
        return true;
    case 10:
        *ret = TR_F16;
        return true;
    case 11:
        *ret = TR_F64;
        return true;
    case 16:
        *ret = TR_BF16;
        return true;
    default:
        return false;
    }
}

static const char *external(const Onnx__TensorProto *t, const char *key)
{
    for (size_t i = 0; i < t->n_external_data; i++)
        if (t->external_data[i]->key && strcmp(t->external_data[i]->key, key) == 0)
            return t->external_data[i]->value;
    return NULL;
}

/* The bytes of a tensor in the second file. */
static int find_external(const struct model *m, const Onnx__TensorProto *t, uint64_t need, const void **ret,
                         struct im_text *text)
{
    const char *location = external(t, "location"), *offset = external(t, "offset");
    const uint64_t at = offset ? strtoull(offset, NULL, 10) : 0;

    if (!location || !m->data || strcmp(location, m->data->name) != 0)
        return im_fail(
            text, -ENOTSUP,
            "its tensors lie in another file, \"%.200s\", and none but FILE.data beside it is read; "
            "onnx.save(onnx.load(FILE), OTHER) writes one file",
            location ? location : "?");
    if (at > m->data->n || need > m->data->n - at)
        return im_fail(text, -EBADMSG, "tensor %.200s lies behind the end of %.200s", t->name, location);
    *ret = (const char *)m->data->bytes + at;
    return 0;
}

/* The bytes of `count` elements, or their values in one of the typed lists. */
static int fill(const struct model *m, const Onnx__TensorProto *t, enum tr_dtype dtype, struct weight *w,
                struct im_text *text)
{
    const uint64_t need = w->count * tr_dtype_bytes(dtype);
    const void *from = NULL;
    int err = 0;

    if (t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        err = find_external(m, t, need, &from, text);
    else if (t->has_raw_data && t->raw_data.len == need)
        from = t->raw_data.data;
    else if (dtype == TR_F32 && t->n_float_data == w->count)
        from = t->float_data;
    else if (dtype == TR_F64 && t->n_double_data == w->count)
        from = t->double_data;
    if (err < 0)
        return err;
    if (from || w->count == 0) {
        for (uint64_t i = 0; i < w->count; i++)
            w->value[i] = tr_dtype_element(dtype, from, i);
        return 0;
    }
    if (tr_dtype_bytes(dtype) != 2 || t->n_int32_data != w->count)
        return im_fail(text, -EBADMSG, "tensor %.200s has not as many numbers as its shape says", t->name);
    for (uint64_t i = 0; i < w->count; i++) {
        const uint16_t bits = (uint16_t)t->int32_data[i];

        w->value[i] = tr_dtype_element(dtype, &bits, 0);
    }
    return 0;
}

static int decode(struct model *m, const Onnx__TensorProto *t, struct weight *w, struct im_text *text)
{
    uint64_t bytes = sizeof *w->value;
    enum tr_dtype dtype = TR_F32;

    *w = (struct weight){.count = 1};
    if (!t->name || t->n_dims > TR_TENSOR_RANK_MAX || !find_dtype(t->data_type, &dtype))
        return im_fail(text, -ENOTSUP,
                       "tensor %.200s is of type %d with %zu extents, which no weights here have",
                       t->name ? t->name : "?", (int)t->data_type, t->n_dims);
    w->rank = (int)t->n_dims;
    for (int d = 0; d < w->rank; d++) {
        w->shape[d] = (uint64_t)t->dims[d];
        if (t->dims[d] < 0 || __builtin_mul_overflow(bytes, w->shape[d], &bytes))
            bytes = UINT64_MAX;
    }
    if (bytes > m->left)
        return im_fail(text, -EBADMSG, "its tensors are many times larger than the file");
    m->left -= bytes;
    w->count = bytes / sizeof *w->value;
    w->value = malloc(bytes ? bytes : 1);
    if (!w->value)
        return im_fail(text, -ENOMEM, "out of memory for tensor %.200s", t->name);
    return fill(m, t, dtype, w, text);
}

/* ---- the weights ---- */

/* Takes the numbers over. One that was there before under the name stays: two nodes may share a tensor. */
static int onnx_file_put(struct model *m, const char *layer, const char *part, struct weight *w,
                         struct im_text *text)
{
    char name[2 * NAME_BYTES];

    snprintf(name, sizeof name, "%s.%s", layer, part);
    for (size_t i = 0; i < m->weights; i++)
        if (strcmp(m->weight[i].name, name) == 0) {
            free(w->value);
            return 0;
        }
    if (m->weights == WEIGHTS_MAX) {
        free(w->value);
        return im_fail(text, -EBADMSG, "it has more than %d weights", WEIGHTS_MAX);
    }
    if (m->weights == m->room) {
        const size_t room = m->room ? 2 * m->room : 256;
        struct weight *list = realloc(m->weight, room * sizeof *list);

        if (list)
            m->weight = list, m->room = room;
    }
    w->name = m->weights < m->room ? strdup(name) : NULL;
    if (!w->name) {
        free(w->value);
        return im_fail(text, -ENOMEM, "out of memory for its tensors");
    }
    m->weight[m->weights++] = *w;
    return 0;
}

static int put_tensor(struct model *m, const char *layer, const char *part, const Onnx__TensorProto *t,
                      struct im_text *text)
{
    struct weight w;
    int err = decode(m, t, &w, text);

    if (err == 0)
        return onnx_file_put(m, layer, part, &w, text);
    free(w.value);
    return err;
}

static int put_constant(struct model *m, const char *layer, const char *part, uint64_t count, float value,
                        struct im_text *text)
{
    struct weight w = {.rank = 1, .shape = {count}, .count = count};

    if (count > m->left / sizeof *w.value)
        return im_fail(text, -EBADMSG, "its tensors are many times larger than the file");
    m->left -= count * sizeof *w.value;
    w.value = malloc(count ? count * sizeof *w.value : 1);
    if (!w.value)
        return im_fail(text, -ENOMEM, "out of memory for its tensors");
    for (uint64_t i = 0; i < count; i++)
        w.value[i] = value;
    return onnx_file_put(m, layer, part, &w, text);
}

static bool is_text(const char *s)
{
    for (size_t n; *s; s += n)
        if ((n = im_utf8_length(s)) == 0)
            return false;
    return true;
}

/* The module that the path of a node names: "/layer1/layer1.0/conv1/Conv" is layer1.0.conv1. */
static void read_path(const char *node, char ret[NAME_BYTES])
{
    size_t used = 0, last = 0; /* where the last word of the result begins */

    ret[0] = 0;
    while (*node == '/') {
        const char *word = node + 1;
        const size_t n = strcspn(word, "/"), before = used - last;

        if (word[n] != '/') /* the op itself */
            break;
        if (before > 0 && n > before && strncmp(word, ret + last, before) == 0 && word[before] == '.')
            used = last; /* "layer1.0" in the place of "layer1" */
        else if (used > 0 && used + 1 < NAME_BYTES)
            ret[used++] = '.';
        last = used;
        if (used + n >= NAME_BYTES)
            break;
        memcpy(ret + used, word, n);
        used += n;
        ret[used] = 0;
        node = word + n;
    }
}

/* The layer of a node with this weight; "": it has no name. */
static void name_layer(const Onnx__NodeProto *node, const char *weight, char ret[NAME_BYTES])
{
    static const char end[] = ".weight";
    const size_t n = strlen(weight), m = sizeof end - 1;

    ret[0] = 0;
    if (n > m && n < NAME_BYTES && strcmp(weight + n - m, end) == 0)
        snprintf(ret, NAME_BYTES, "%.*s", (int)(n - m), weight);
    else if (node->name)
        read_path(node->name, ret);
    if (!is_text(ret))
        ret[0] = 0;
}

/* Of at most three digits; -1: it is none. */
static long number_of(const char *word)
{
    const size_t digits = strspn(word, "0123456789");

    return digits == 0 || digits > 3 || word[digits] ? -1 : strtol(word, NULL, 10);
}

/* The batch norm behind a convolution, by their names in torchvision's and timm's networks. False: none is. */
static bool name_norm(const char *layer, char ret[NAME_BYTES])
{
    const char *dot = strrchr(layer, '.'), *word = dot ? dot + 1 : layer;
    const int before = (int)(word - layer);
    long number = strncmp(word, "conv", 4) == 0 ? number_of(word + 4) : -1;

    if (number >= 0) {
        if (strncmp(layer, "stages.", 7) == 0 || strstr(layer, ".stages."))
            snprintf(ret, NAME_BYTES, "%.*snorm%ld", before, layer,
                     number + 1); /* pre-activation: the next one's */
        else
            snprintf(ret, NAME_BYTES, "%.*sbn%ld", before, layer, number);
        return true;
    }
    number = number_of(word);
    if (number >= 0) {
        snprintf(ret, NAME_BYTES, "%.*s%ld", before, layer, number + 1); /* in a Sequential */
        return true;
    }
    return false;
}

/* One whose bias is missing: exporters leave zeros out. */
static bool is_classifier(const char *layer)
{
    const char *dot = strrchr(layer, '.'), *word = dot ? dot + 1 : layer;

    return strcmp(word, "fc") == 0 || strcmp(word, "classifier") == 0 || strcmp(word, "head") == 0;
}

static int put_folded(struct model *m, const char *layer, const Onnx__TensorProto *bias, uint64_t channels,
                      struct im_text *text)
{
    char norm[NAME_BYTES];
    int err;

    if (!name_norm(layer, norm)) {
        if (bias)
            return put_tensor(m, layer, "bias", bias, text);
        return is_classifier(layer) ? put_constant(m, layer, "bias", channels, 0, text) : 0;
    }
    if (!bias && strncmp(norm + (strrchr(norm, '.') ? strrchr(norm, '.') - norm + 1 : 0), "norm", 4) == 0)
        return 0; /* the last one of a pre-activation block has none behind it */
    err = put_constant(m, norm, "weight", channels, 1, text);
    if (err == 0)
        err = put_constant(m, norm, "running_mean", channels, 0, text);
    if (err == 0) /* whose root with epsilon is 1 */
        err = put_constant(m, norm, "running_var", channels, 1 - TR_BN_EPS, text);
    if (err == 0)
        err =
            bias ? put_tensor(m, norm, "bias", bias, text) : put_constant(m, norm, "bias", channels, 0, text);
    return err;
}

static int take_conv(struct model *m, const Onnx__NodeProto *node, struct im_text *text)
{
    const Onnx__TensorProto *weight = node->n_input > 1 ? tensor_of(m, node->input[1]) : NULL;
    const Onnx__TensorProto *bias = node->n_input > 2 ? tensor_of(m, node->input[2]) : NULL;
    const Onnx__AttributeProto *group = attribute(node, "group");
    char layer[NAME_BYTES];
    int err;

    if (!weight || weight->n_dims != 4 || (group && group->i != 1))
        return 0; /* computed, or one of each channel: a blur, which has no weights */
    name_layer(node, node->input[1], layer);
    if (!*layer)
        return im_fail(
            text, -ENOTSUP,
            "neither the weights nor the node \"%.200s\" say which layer they are of; export it with "
            "torch.onnx.export(..., training=TrainingMode.PRESERVE, do_constant_folding=False)",
            node->name ? node->name : "");
    err = put_tensor(m, layer, "weight", weight, text);
    if (err < 0 || (node->n_output > 0 && onnx_file_find(&m->norms, node->output[0])))
        return err == 0 && bias ? put_tensor(m, layer, "bias", bias, text) : err;
    return put_folded(m, layer, bias, (uint64_t)weight->dims[0], text);
}

static int take_norm(struct model *m, const Onnx__NodeProto *node, struct im_text *text)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    const Onnx__AttributeProto *epsilon = attribute(node, "epsilon");
    const double added = (epsilon ? (double)epsilon->f : 1e-5) - (double)TR_BN_EPS;
    char layer[NAME_BYTES];
    int err = 0;

    if (node->n_input != 5)
        return 0;
    name_layer(node, node->input[1], layer);
    for (int i = 0; i < 4 && err == 0 && *layer; i++) {
        const Onnx__TensorProto *t = tensor_of(m, node->input[1 + i]);
        struct weight w = {0};

        if (!t)
            return im_fail(text, -ENOTSUP, "%.200s of %.200s is computed, and no tensor", parts[i], layer);
        err = decode(m, t, &w, text);
        if (err < 0) {
            free(w.value);
            return err;
        }
        for (uint64_t k = 0; i == 3 && fabs(added) > 1e-9 && k < w.count; k++)
            w.value[k] = (float)((double)w.value[k] + added);
        err = onnx_file_put(m, layer, parts[i], &w, text);
    }
    return err;
}

/* [a][b] as [b][a] */
static int transpose(struct weight *w, struct im_text *text)
{
    const uint64_t rows = w->shape[0], columns = w->shape[1];
    float *turned = malloc(w->count ? w->count * sizeof *turned : 1);

    if (!turned)
        return im_fail(text, -ENOMEM, "out of memory for its tensors");
    for (uint64_t i = 0; i < rows; i++)
        for (uint64_t k = 0; k < columns; k++)
            turned[k * rows + i] = w->value[i * columns + k];
    free(w->value);
    w->value = turned;
    w->shape[0] = columns;
    w->shape[1] = rows;
    return 0;
}

/* A matrix, and what an Add behind it adds where it has no bias of its own. */
static int take_matrix(struct model *m, const Onnx__NodeProto *node, struct im_text *text)
{
    const bool gemm = is_op(node, "Gemm");
    const Onnx__TensorProto *weight = node->n_input > 1 ? tensor_of(m, node->input[1]) : NULL;
    const Onnx__TensorProto *bias = gemm && node->n_input > 2 ? tensor_of(m, node->input[2]) : NULL;
    const Onnx__AttributeProto *turned = attribute(node, "transB");
    const Onnx__NodeProto *add =
        !gemm && node->n_output > 0 ? onnx_file_find(&m->adds, node->output[0]) : NULL;
    struct weight w = {0};
    char layer[NAME_BYTES];
    uint64_t classes;
    int err;

    if (!weight || weight->n_dims != 2)
        return 0;
    for (size_t i = 0; add && i < add->n_input && !bias; i++)
        bias = tensor_of(m, add->input[i]);
    name_layer(node, node->input[1], layer);
    err = decode(m, weight, &w, text);
    if (err == 0 && !(gemm && turned && turned->i))
        err = transpose(&w, text);
    if (err < 0) {
        free(w.value);
        return err;
    }
    classes = w.shape[0];
    err = onnx_file_put(m, *layer ? layer : "fc", "weight", &w, text);
    if (err == 0)
        err = bias ? put_tensor(m, *layer ? layer : "fc", "bias", bias, text)
                   : put_constant(m, *layer ? layer : "fc", "bias", classes, 0, text);
    return err;
}

static int take_nodes(struct model *m, struct im_text *text)
{
    int err = 0;

    for (size_t i = 0; i < m->graph->n_node && err == 0; i++) {
        const Onnx__NodeProto *node = m->graph->node[i];

        if (is_op(node, "Conv"))
            err = take_conv(m, node, text);
        else if (is_op(node, "BatchNormalization"))
            err = take_norm(m, node, text);
        else if (is_op(node, "Gemm") || is_op(node, "MatMul"))
            err = take_matrix(m, node, text);
    }
    if (err == 0 && m->weights == 0)
        err = im_fail(text, -EBADMSG, "it holds no weights of convolutions or matrices");
    return err;
}

/* ---- out ---- */

/* Of a file that `imsuper export` wrote: what it says of its network and its images. */
static size_t take_metadata(const struct model *m, struct tr_pair *ret)
{
    static const char *const keys[] = {"model", "stem",    "head",        "blurpool",    "mean",
                                       "std",   "classes", "eval-resize", "multi-label", "eval-image-size"};
    const Onnx__ModelProto *p = m->proto;
    size_t n = 0;

    if (p->producer_name && strcmp(p->producer_name, "imsuper") == 0)
        ret[n++] = (struct tr_pair){"imsuper", "ONNX"};
    for (size_t k = 0; k < IM_COUNT(keys) && p->producer_name && strcmp(p->producer_name, "imsuper") == 0;
         k++)
        for (size_t i = 0; i < p->n_metadata_props; i++) {
            const Onnx__StringStringEntryProto *e = p->metadata_props[i];

            if (!e->key || !e->value || strcmp(e->key, keys[k]) != 0 || !is_text(e->value))
                continue;
            ret[n++] = (struct tr_pair){keys[k], e->value};
            break;
        }
    return n;
}

static int write_out(const struct model *m, const struct tr_sink *sink, struct im_text *text)
{
    struct tr_tensor *list = calloc(m->weights, sizeof *list);
    struct tr_pair pairs[16];
    int err;

    if (!list)
        return im_fail(text, -ENOMEM, "out of memory for its tensors");
    for (size_t i = 0; i < m->weights; i++) {
        const struct weight *w = &m->weight[i];

        list[i] = (struct tr_tensor){.name = w->name, .dtype = TR_F32, .rank = w->rank, .data = w->value};
        memcpy(list[i].shape, w->shape, sizeof w->shape);
    }
    err = tr_safetensors_put("its tensors", sink, list, m->weights, pairs, take_metadata(m, pairs), text);
    free(list);
    return err;
}

bool tr_onnx_is(const void *bytes, size_t n)
{
    const unsigned char *b = bytes;

    /* ir_version first, as every writer of protobuf puts it; a safetensors file has its brace at 8. */
    return n > 8 && b[0] == 8 && b[1] > 0 && b[1] < 64 && b[8] != '{' && (b[2] & 7) <= 2 && b[2] != 0;
}

static uint64_t budget_for(size_t n)
{
    return TOTAL_TIMES * (uint64_t)n > TOTAL_FLOOR ? TOTAL_TIMES * (uint64_t)n : TOTAL_FLOOR;
}

int tr_onnx_convert(const void *bytes, size_t n, const struct tr_onnx_data *data, const struct tr_sink *sink,
                    struct im_text *text)
{
    struct budget budget = {budget_for(n)};
    ProtobufCAllocator memory = {.alloc = take_bytes, .free = give_bytes, .allocator_data = &budget};
    Onnx__ModelProto *proto = onnx__model_proto__unpack(&memory, n, bytes);
    struct model m = {.data = data, .left = budget_for(n + (data ? data->n : 0))};
    int err;

    if (!proto || !proto->graph)
        err = im_fail(text, -EBADMSG,
                      "it is no ONNX model, is damaged, or takes far more memory than its size");
    else {
        m.proto = proto;
        m.graph = proto->graph;
        err = index_names(&m, text);
    }
    if (err == 0)
        err = take_nodes(&m, text);
    if (err == 0)
        err = write_out(&m, sink, text);
    for (size_t i = 0; i < m.weights; i++) {
        free(m.weight[i].name);
        free(m.weight[i].value);
    }
    free(m.weight);
    free(m.tensors.list);
    free(m.aliases.list);
    free(m.norms.list);
    free(m.adds.list);
    if (proto)
        onnx__model_proto__free_unpacked(proto, &memory);
    return err;
}
