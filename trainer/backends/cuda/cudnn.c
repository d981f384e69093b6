/* cuDNN's graph ("backend") API: descriptors in, engines and plans out. The only file that includes cudnn.h.
 *
 * Everything in that API is a descriptor with attributes that are set one by one and then finalized. Tables
 * here map an operation's tensors to attributes, so that one function builds all operations; types and counts
 * follow the comments and samples of cuDNN 9.19.
 *
 * Engines come from three heuristic modes: A (cuDNN's model of the GPU), B (a neural network where there is
 * one, A otherwise) and FALLBACK (old engines that run nearly everything), in this order and without
 * duplicates.
 *
 * cuDNN 9.8 is required: from then on a GPU can be described without being present (DEVICEPROP descriptors;
 * on a real GPU the handle stands in their place). 9.8 to 9.10 for CUDA 12 still support Volta. */
#include "trainer/backends/cuda/cudnn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cudnn.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/backends/cuda/libraries.h"

#if CUDNN_VERSION < 90800
#error "cuDNN 9.8 or later is needed"
#endif

#define ENGINES 160 /* of a graph; H200, cuDNN 9.19: up to 45 different ones */
#define RESULTS 128 /* of one heuristic */
#define KNOBS 24    /* of one engine */
#define NAME 160

struct tr_cudnn {
    cudnnHandle_t handle;            /* NULL: the GPU is only described, not present */
    cudnnBackendDescriptor_t device; /* its description; NULL: the handle's GPU */
};

struct engine {
    cudnnBackendDescriptor_t config;
    char name[NAME];
};

struct tr_cudnn_graph {
    struct tr_cudnn *cudnn;
    cudnnBackendDescriptor_t tensors[TR_CUDNN_TENSORS]; /* NULL: no operation uses it */
    cudnnBackendDescriptor_t parts[2 * TR_CUDNN_OPS];   /* operations and what they consist of */
    int part_count, engine_count, tensor_count;
    bool excluded; /* an engine was excluded only because it is not deterministic */
    cudnnBackendDescriptor_t graph;
    struct tr_cudnn_rules rules;
    int64_t uids[TR_CUDNN_TENSORS]; /* of tensors in memory, else 0 */
    struct engine engines[ENGINES];
};

struct tr_cudnn_plan {
    struct tr_cudnn *cudnn;
    cudnnBackendDescriptor_t plan;
    int64_t uids[TR_CUDNN_TENSORS];
    int places[TR_CUDNN_TENSORS]; /* index into the graph's tensors */
    int count;
    size_t workspace;
    char name[NAME];
};

static int cudnn_fail(struct im_text *text, const char *what, cudnnStatus_t status)
{
    char why[400] = "";
    int err = -EIO;

    cudnnGetLastErrorString(why, sizeof why);
    if (status / 1000 == 3)
        err = -ENOTSUP;
    else if (status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
             status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)
        err = -ENOMEM;
    return im_fail(text, err, "cuDNN: %s: %s%s%.300s", what, cudnnGetErrorString(status), *why ? ": " : "",
                   why);
}

int tr_cudnn_version(void)
{
    return (int)cudnnGetVersion();
}

/* The loaded library may be newer than the header, not older, and must have the same major version. */
static int check_version(struct im_text *text)
{
    size_t there;
    int err = tr_cuda_libraries(text);

    if (err < 0)
        return err;
    there = cudnnGetVersion();
    if (there < CUDNN_VERSION || there / 10000 != CUDNN_MAJOR)
        return im_fail(text, -ENOTSUP,
                       "the installed cuDNN is version %zu.%zu.%zu, but imsuper was built for %d.%d.%d: "
                       "install that or a later 9.x",
                       there / 10000, there / 100 % 100, there % 100, CUDNN_MAJOR, CUDNN_MINOR,
                       CUDNN_PATCHLEVEL);
    return 0;
}

/* Sets one attribute; keeps the first failure, so that a sequence of calls is checked once. */
static void set_attribute(cudnnStatus_t *status, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                          cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    if (*status == CUDNN_STATUS_SUCCESS)
        *status = cudnnBackendSetAttribute(d, name, type, count, values);
}

static void set_part(cudnnStatus_t *status, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                     const cudnnBackendDescriptor_t part)
{
    set_attribute(status, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &part);
}

static cudnnBackendDescriptor_t make_descriptor(cudnnStatus_t *status, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;

    if (*status == CUDNN_STATUS_SUCCESS)
        *status = cudnnBackendCreateDescriptor(type, &d);
    return d;
}

static void finalize(cudnnStatus_t *status, cudnnBackendDescriptor_t d)
{
    if (*status == CUDNN_STATUS_SUCCESS)
        *status = cudnnBackendFinalize(d);
}

static void destroy_descriptor(cudnnBackendDescriptor_t d)
{
    if (d)
        cudnnBackendDestroyDescriptor(d);
}

int tr_cudnn_open(struct CUstream_st *stream, struct tr_cudnn **ret_cudnn, struct im_text *text)
{
    struct tr_cudnn *cudnn;
    cudnnStatus_t status;
    int err = check_version(text);

    if (err < 0)
        return err;
    cudnn = calloc(1, sizeof *cudnn);
    if (!cudnn)
        return im_fail(text, -ENOMEM, "no memory for cuDNN's handle");
    status = cudnnCreate(&cudnn->handle);
    if (status != CUDNN_STATUS_SUCCESS) {
        free(cudnn);
        return cudnn_fail(text, "cannot create a handle", status);
    }
    err = tr_cudnn_set_stream(cudnn, stream, text);
    if (err < 0) {
        tr_cudnn_close(cudnn);
        return err;
    }
    *ret_cudnn = cudnn;
    return 0;
}

int tr_cudnn_set_stream(struct tr_cudnn *cudnn, struct CUstream_st *stream, struct im_text *text)
{
    cudnnStatus_t status = cudnnSetStream(cudnn->handle, stream);

    return status == CUDNN_STATUS_SUCCESS ? 0 : cudnn_fail(text, "cannot set its stream", status);
}

int tr_cudnn_open_described(const char *device, struct tr_cudnn **ret_cudnn, struct im_text *text)
{
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    struct tr_cudnn *cudnn;
    int err = check_version(text);

    if (err < 0)
        return err;
    cudnn = calloc(1, sizeof *cudnn);
    if (!cudnn)
        return im_fail(text, -ENOMEM, "no memory for cuDNN's handle");
    cudnn->device = make_descriptor(&status, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    set_attribute(&status, cudnn->device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                  (int64_t)strlen(device), device);
    finalize(&status, cudnn->device);
    if (status != CUDNN_STATUS_SUCCESS) {
        tr_cudnn_close(cudnn);
        return cudnn_fail(text, "cannot create the device descriptor", status);
    }
    *ret_cudnn = cudnn;
    return 0;
}

/* Sets the device of a descriptor: the described GPU, or the handle where there is one. */
static void set_device(cudnnStatus_t *status, struct tr_cudnn *cudnn, cudnnBackendDescriptor_t d,
                       cudnnBackendAttributeName_t described, cudnnBackendAttributeName_t handle)
{
    if (cudnn->device)
        set_part(status, d, described, cudnn->device);
    else if (handle != described)
        set_attribute(status, d, handle, CUDNN_TYPE_HANDLE, 1, &cudnn->handle);
}

void tr_cudnn_close(struct tr_cudnn *cudnn)
{
    if (!cudnn)
        return;
    destroy_descriptor(cudnn->device);
    if (cudnn->handle)
        cudnnDestroy(cudnn->handle);
    free(cudnn);
}

static cudnnDataType_t data_type(const struct tr_cudnn_tensor *t)
{
    static const cudnnDataType_t types[IMK_DTYPES] = {
        [IMK_F32] = CUDNN_DATA_FLOAT, [IMK_BF16] = CUDNN_DATA_BFLOAT16, [IMK_F16] = CUDNN_DATA_HALF};

    return t->bits ? CUDNN_DATA_BOOLEAN : types[t->type];
}

/* cuDNN's dimensions are always in the order n, c, h, w (k, c, r, s); the strides define the layout. */
static cudnnBackendDescriptor_t make_tensor(cudnnStatus_t *status, const struct tr_cudnn_tensor *t,
                                            int64_t uid)
{
    cudnnBackendDescriptor_t d = make_descriptor(status, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t dims[4] = {t->n, t->c, t->h, t->w}, alignment = 16;
    int64_t strides[4] = {dims[1] * dims[2] * dims[3], 1, dims[1] * dims[3], dims[1]};
    cudnnDataType_t type = data_type(t);
    bool yes = true;

    set_attribute(status, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    set_attribute(status, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set_attribute(status, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set_attribute(status, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    set_attribute(status, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    if (t->is_virtual)
        set_attribute(status, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes);
    if (t->by_value)
        set_attribute(status, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
    finalize(status, d);
    return d;
}

/* How an operation maps to cuDNN descriptors. */
struct form {
    cudnnBackendDescriptorType_t type;
    int roles;
    cudnnBackendAttributeName_t names[TR_CUDNN_ROLES];
    cudnnBackendAttributeName_t extra, alpha, beta; /* CONV: its descriptor and factors; NORM: the mode */
    cudnnPointwiseMode_t mode;                      /* pointwise ones */
};

static const struct form forms[TR_CUDNN_KINDS] = {
    [TR_CUDNN_CONV_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                               3,
                               {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                               0},
    [TR_CUDNN_CONV_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                            3,
                            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
                            0},
    [TR_CUDNN_CONV_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                               3,
                               {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY},
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
                               0},
    [TR_CUDNN_NORM_FORWARD] = {CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR,
                               12,
                               {CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC,
                                CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC,
                                CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC,
                                CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC,
                                CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC,
                                CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC,
                                CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC,
                                CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC,
                                CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC,
                                CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC},
                               CUDNN_ATTR_OPERATION_NORM_FWD_MODE,
                               0,
                               0,
                               0},
    [TR_CUDNN_NORM_BACKWARD] = {CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR,
                                8,
                                {CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC,
                                 CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC,
                                 CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC,
                                 CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC,
                                 CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC,
                                 CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC},
                                CUDNN_ATTR_OPERATION_NORM_BWD_MODE,
                                0,
                                0,
                                0},
    [TR_CUDNN_ADD] = {.roles = 3, .mode = CUDNN_POINTWISE_ADD},
    [TR_CUDNN_MUL] = {.roles = 3, .mode = CUDNN_POINTWISE_MUL},
    [TR_CUDNN_RELU] = {.roles = 2, .mode = CUDNN_POINTWISE_RELU_FWD},
    [TR_CUDNN_ABOVE] = {.roles = 3, .mode = CUDNN_POINTWISE_CMP_GT},
};

static bool is_conv(enum tr_cudnn_kind kind)
{
    return kind <= TR_CUDNN_CONV_WEIGHTS;
}

static bool is_norm(enum tr_cudnn_kind kind)
{
    return kind == TR_CUDNN_NORM_FORWARD || kind == TR_CUDNN_NORM_BACKWARD;
}

/* Keeps a descriptor alive as long as the graph. */
static cudnnBackendDescriptor_t keep_descriptor(struct tr_cudnn_graph *g, cudnnBackendDescriptor_t d)
{
    if (d)
        g->parts[g->part_count++] = d;
    return d;
}

static cudnnBackendDescriptor_t make_conv(cudnnStatus_t *status, const struct tr_cudnn_op *op)
{
    cudnnBackendDescriptor_t d = make_descriptor(status, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    int64_t dims = 2, stride[2] = {op->stride, op->stride}, pad[2] = {op->pad, op->pad}, one[2] = {1, 1};
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    cudnnDataType_t type = CUDNN_DATA_FLOAT;

    set_attribute(status, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
    set_attribute(status, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set_attribute(status, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set_attribute(status, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set_attribute(status, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set_attribute(status, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, one);
    set_attribute(status, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
    finalize(status, d);
    return d;
}

static cudnnBackendDescriptor_t make_pointwise(cudnnStatus_t *status, cudnnPointwiseMode_t mode)
{
    cudnnBackendDescriptor_t d = make_descriptor(status, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    cudnnDataType_t type = CUDNN_DATA_FLOAT;

    set_attribute(status, d, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set_attribute(status, d, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type);
    finalize(status, d);
    return d;
}

static void set_conv(cudnnStatus_t *status, struct tr_cudnn_graph *g, cudnnBackendDescriptor_t d,
                     const struct tr_cudnn_op *op)
{
    const struct form *form = &forms[op->kind];
    float one = 1;

    set_part(status, d, form->extra, keep_descriptor(g, make_conv(status, op)));
    set_attribute(status, d, form->alpha, CUDNN_TYPE_FLOAT, 1, &one);
    set_attribute(status, d, form->beta, CUDNN_TYPE_FLOAT, 1, &op->beta);
}

static void set_norm(cudnnStatus_t *status, cudnnBackendDescriptor_t d, const struct tr_cudnn_op *op)
{
    cudnnBackendNormFwdPhase_t phase = CUDNN_NORM_FWD_TRAINING;
    cudnnBackendNormMode_t mode = CUDNN_BATCH_NORM;

    set_attribute(status, d, forms[op->kind].extra, CUDNN_TYPE_NORM_MODE, 1, &mode);
    if (op->kind == TR_CUDNN_NORM_FORWARD)
        set_attribute(status, d, CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE, 1, &phase);
}

static cudnnBackendDescriptor_t make_op(cudnnStatus_t *status, struct tr_cudnn_graph *g,
                                        const struct tr_cudnn_op *op)
{
    static const cudnnBackendAttributeName_t binary[] = {CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                                                         CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                                                         CUDNN_ATTR_OPERATION_POINTWISE_YDESC};
    static const cudnnBackendAttributeName_t unary[] = {CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                                                        CUDNN_ATTR_OPERATION_POINTWISE_YDESC};
    const struct form *form = &forms[op->kind];
    const cudnnBackendAttributeName_t *names = form->names;
    bool pointwise = !is_conv(op->kind) && !is_norm(op->kind);
    cudnnBackendDescriptor_t d;

    d = keep_descriptor(
        g, make_descriptor(status, pointwise ? CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR : form->type));
    if (pointwise) {
        names = form->roles == 3 ? binary : unary;
        set_part(status, d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
                 keep_descriptor(g, make_pointwise(status, form->mode)));
    } else if (is_conv(op->kind)) {
        set_conv(status, g, d, op);
    } else {
        set_norm(status, d, op);
    }
    for (int i = 0; i < form->roles; i++)
        if (op->tensor[i] >= 0)
            set_part(status, d, names[i], g->tensors[op->tensor[i]]);
    finalize(status, d);
    return d;
}

static bool is_used(const struct tr_cudnn_op *ops, int op_count, int tensor)
{
    for (int i = 0; i < op_count; i++)
        for (int j = 0; j < forms[ops[i].kind].roles; j++)
            if (ops[i].tensor[j] == tensor)
                return true;
    return false;
}

/* The uid of each tensor in memory, 0 for virtual ones. */
static void number_tensors(const struct tr_cudnn_tensor *tensors, int tensor_count,
                           const struct tr_cudnn_op *ops, int op_count, int64_t *ret_uids)
{
    for (int i = 0; i < tensor_count; i++)
        ret_uids[i] = is_used(ops, op_count, i) && !tensors[i].is_virtual ? i + 1 : 0;
}

static cudnnStatus_t build_graph(struct tr_cudnn_graph *g, const struct tr_cudnn_tensor *tensors,
                                 int tensor_count, const struct tr_cudnn_op *ops, int op_count)
{
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    cudnnBackendDescriptor_t all[TR_CUDNN_OPS];

    number_tensors(tensors, tensor_count, ops, op_count, g->uids);
    for (int i = 0; i < tensor_count; i++)
        if (is_used(ops, op_count, i))
            g->tensors[i] = make_tensor(&status, &tensors[i], i + 1);
    g->tensor_count = tensor_count;
    for (int i = 0; i < op_count && status == CUDNN_STATUS_SUCCESS; i++)
        all[i] = make_op(&status, g, &ops[i]);
    g->graph = make_descriptor(&status, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set_attribute(&status, g->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, op_count,
                  all);
    if (g->cudnn->handle)
        set_attribute(&status, g->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
                      &g->cudnn->handle);
    finalize(&status, g->graph);
    return status;
}

/* The engine's index and its knobs in cuDNN's order. */
static cudnnStatus_t name_engine(cudnnBackendDescriptor_t config, cudnnBackendDescriptor_t engine,
                                 char name[NAME])
{
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    cudnnBackendDescriptor_t knobs[KNOBS] = {NULL};
    int64_t number = -1, count = 0, got;
    int length;

    status =
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &got, &number);
    length = snprintf(name, NAME, "%lld", (long long)number);
    for (int i = 0; i < KNOBS; i++)
        knobs[i] = make_descriptor(&status, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, KNOBS, &count, knobs);
    for (int i = 0; i < count && i < KNOBS && status == CUDNN_STATUS_SUCCESS && length < NAME; i++) {
        cudnnBackendKnobType_t type = 0;
        int64_t value = 0;

        status = cudnnBackendGetAttribute(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1,
                                          &got, &type);
        if (status == CUDNN_STATUS_SUCCESS)
            status = cudnnBackendGetAttribute(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64,
                                              1, &got, &value);
        length += snprintf(name + length, (size_t)(NAME - length), "%c%d=%lld", i ? ',' : ':', (int)type,
                           (long long)value);
    }
    for (int i = 0; i < KNOBS; i++)
        destroy_descriptor(knobs[i]);
    return length >= NAME ? CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND : status;
}

static bool has_note(const cudnnBackendNumericalNote_t *notes, int64_t count,
                     cudnnBackendNumericalNote_t note)
{
    for (int64_t i = 0; i < count; i++)
        if (notes[i] == note)
            return true;
    return false;
}

enum verdict { TAKEN, FORBIDDEN, EXCLUDED, UNKNOWN };

/* Engines that accumulate in less than fp32 are always excluded. */
static enum verdict judge_engine(cudnnBackendDescriptor_t engine, const struct tr_cudnn_rules *rules)
{
    static const cudnnBackendNumericalNote_t inexact[] = {
        CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, CUDNN_NUMERICAL_NOTE_FFT,
        CUDNN_NUMERICAL_NOTE_WINOGRAD};
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t count = 0;

    if (cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                 CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes) != CUDNN_STATUS_SUCCESS)
        return UNKNOWN;
    if (has_note(notes, count, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION))
        return FORBIDDEN;
    for (size_t i = 0; rules->exact && i < IM_COUNT(inexact); i++)
        if (has_note(notes, count, inexact[i]))
            return FORBIDDEN;
    if (rules->deterministic && has_note(notes, count, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC))
        return EXCLUDED;
    return TAKEN;
}

static bool is_listed(const struct tr_cudnn_graph *g, const char *name)
{
    for (int i = 0; i < g->engine_count; i++)
        if (strcmp(g->engines[i].name, name) == 0)
            return true;
    return false;
}

/* Appends the configuration to the list, or destroys it. */
static void add_engine(struct tr_cudnn_graph *g, cudnnBackendDescriptor_t config)
{
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    cudnnBackendDescriptor_t engine = make_descriptor(&status, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    enum verdict verdict = UNKNOWN;
    char name[NAME];
    int64_t got;

    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                          1, &got, &engine);
    if (status == CUDNN_STATUS_SUCCESS)
        status = name_engine(config, engine, name);
    if (status == CUDNN_STATUS_SUCCESS && !is_listed(g, name) && g->engine_count < ENGINES)
        verdict = judge_engine(engine, &g->rules);
    destroy_descriptor(engine);
    g->excluded |= verdict == EXCLUDED;
    if (verdict != TAKEN) {
        destroy_descriptor(config);
        return;
    }
    g->engines[g->engine_count].config = config;
    memcpy(g->engines[g->engine_count++].name, name, sizeof name);
}

static cudnnStatus_t ask(struct tr_cudnn_graph *g, cudnnBackendHeurMode_t mode)
{
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    cudnnBackendDescriptor_t heuristic = make_descriptor(&status, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    cudnnBackendDescriptor_t configs[RESULTS] = {NULL};
    int64_t count = 0;

    set_part(&status, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, g->graph);
    set_attribute(&status, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    set_device(&status, g->cudnn, heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
               CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
    finalize(&status, heuristic);
    for (int i = 0; i < RESULTS; i++)
        configs[i] = make_descriptor(&status, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, RESULTS, &count, configs);
    for (int i = 0; i < RESULTS; i++)
        if (status == CUDNN_STATUS_SUCCESS && i < count)
            add_engine(g, configs[i]);
        else
            destroy_descriptor(configs[i]);
    destroy_descriptor(heuristic);
    return status;
}

int tr_cudnn_graph_new(struct tr_cudnn *cudnn, const struct tr_cudnn_tensor *tensors, int tensor_count,
                       const struct tr_cudnn_op *ops, int op_count, const struct tr_cudnn_rules *rules,
                       struct tr_cudnn_graph **ret_graph, struct im_text *text)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B,
                                                   CUDNN_HEUR_MODE_FALLBACK};
    struct tr_cudnn_graph *g = calloc(1, sizeof *g);
    cudnnStatus_t status, first = CUDNN_STATUS_SUCCESS;
    int err;

    im_assert(tensor_count <= TR_CUDNN_TENSORS && op_count <= TR_CUDNN_OPS);
    if (!g)
        return im_fail(text, -ENOMEM, "no memory for a cuDNN graph");
    g->cudnn = cudnn;
    g->rules = *rules;
    status = build_graph(g, tensors, tensor_count, ops, op_count);
    if (status != CUDNN_STATUS_SUCCESS) {
        err = cudnn_fail(text, "graph rejected", status);
        tr_cudnn_graph_free(g);
        return err;
    }
    for (size_t i = 0; i < IM_COUNT(modes); i++) {
        status = ask(g, modes[i]);
        if (status != CUDNN_STATUS_SUCCESS && first == CUDNN_STATUS_SUCCESS) {
            first = status;
            cudnn_fail(text, "no engines", status);
        }
    }
    if (g->engine_count == 0) {
        if (first == CUDNN_STATUS_SUCCESS)
            im_fail(text, 0,
                    g->excluded ? "cuDNN has only non-deterministic engines for this graph"
                                : "cuDNN has no engine that satisfies the constraints");
        tr_cudnn_graph_free(g);
        return -ENOTSUP;
    }
    *ret_graph = g;
    return 0;
}

void tr_cudnn_graph_free(struct tr_cudnn_graph *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->engine_count; i++)
        destroy_descriptor(g->engines[i].config);
    destroy_descriptor(g->graph);
    for (int i = g->part_count; i-- > 0;)
        destroy_descriptor(g->parts[i]);
    for (int i = 0; i < g->tensor_count; i++)
        destroy_descriptor(g->tensors[i]);
    free(g);
}

void tr_cudnn_graph_trim(struct tr_cudnn_graph *g, int engine)
{
    for (int i = 0; i < g->engine_count; i++)
        if (i != engine) {
            destroy_descriptor(g->engines[i].config);
            g->engines[i].config = NULL;
        }
}

int tr_cudnn_graph_engines(const struct tr_cudnn_graph *g)
{
    return g->engine_count;
}

const char *tr_cudnn_graph_engine(const struct tr_cudnn_graph *g, int engine)
{
    return g->engines[engine].name;
}

/* An empty plan with the uids of the tensors in memory. */
static struct tr_cudnn_plan *plan_new(struct tr_cudnn *cudnn, const char *name, const int64_t *uids,
                                      int count)
{
    struct tr_cudnn_plan *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->cudnn = cudnn;
    snprintf(p->name, sizeof p->name, "%s", name);
    for (int i = 0; i < count; i++)
        if (uids[i]) {
            p->uids[p->count] = uids[i];
            p->places[p->count++] = i;
        }
    return p;
}

/* Finalizes the plan and reads its workspace size; frees it on an error. */
static int plan_finish(struct tr_cudnn_plan *p, cudnnStatus_t status, size_t workspace_limit,
                       struct tr_cudnn_plan **ret_plan, struct im_text *text)
{
    int64_t bytes = 0, got;
    int err = 0;

    finalize(&status, p->plan);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64,
                                          1, &got, &bytes);
    p->workspace = (size_t)bytes;
    if (status != CUDNN_STATUS_SUCCESS)
        err = cudnn_fail(text, p->name, status);
    else if (p->workspace > workspace_limit)
        err = im_fail(text, -ENOTSUP, "cuDNN: engine %s needs %zu bytes of workspace; the limit is %zu",
                      p->name, p->workspace, workspace_limit);
    if (err < 0)
        tr_cudnn_plan_free(p);
    else
        *ret_plan = p;
    return err;
}

int tr_cudnn_plan_new(struct tr_cudnn_graph *g, int engine, struct tr_cudnn_plan **ret_plan,
                      struct im_text *text)
{
    struct tr_cudnn_plan *p = plan_new(g->cudnn, g->engines[engine].name, g->uids, g->tensor_count);
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;

    if (!p)
        return im_fail(text, -ENOMEM, "no memory for a cuDNN plan");
    p->plan = make_descriptor(&status, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set_device(&status, g->cudnn, p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
               CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
    set_part(&status, p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, g->engines[engine].config);
    return plan_finish(p, status, g->rules.workspace_limit, ret_plan, text);
}

int tr_cudnn_plan_save(const struct tr_cudnn_plan *p, char **ret_bytes, size_t *ret_n, struct im_text *text)
{
    const cudnnBackendAttributeName_t json = CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION;
    int64_t size = 0, got = 0;
    char *bytes = NULL;
    cudnnStatus_t status = cudnnBackendGetAttribute(p->plan, json, CUDNN_TYPE_CHAR, 0, &size, NULL);

    if (status == CUDNN_STATUS_SUCCESS) {
        bytes = malloc((size_t)size + 1);
        if (!bytes)
            return im_fail(text, -ENOMEM, "no memory for a cuDNN plan");
        status = cudnnBackendGetAttribute(p->plan, json, CUDNN_TYPE_CHAR, size, &got, bytes);
    }
    if (status != CUDNN_STATUS_SUCCESS || got > size) {
        free(bytes);
        return cudnn_fail(text, p->name, status);
    }
    *ret_bytes = bytes;
    *ret_n = (size_t)got;
    return 0;
}

int tr_cudnn_plan_load(struct tr_cudnn *cudnn, const struct tr_cudnn_tensor *tensors, int tensor_count,
                       const struct tr_cudnn_op *ops, int op_count, const struct tr_cudnn_saved *saved,
                       struct tr_cudnn_plan **ret_plan, struct im_text *text)
{
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    int64_t uids[TR_CUDNN_TENSORS] = {0};
    struct tr_cudnn_plan *p;

    number_tensors(tensors, tensor_count, ops, op_count, uids);
    p = plan_new(cudnn, saved->name, uids, tensor_count);
    if (!p)
        return im_fail(text, -ENOMEM, "no memory for a cuDNN plan");
    p->plan = make_descriptor(&status, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set_device(&status, cudnn, p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
               CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
    set_attribute(&status, p->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                  (int64_t)saved->n, saved->bytes);
    return plan_finish(p, status, saved->workspace_limit, ret_plan, text);
}

void tr_cudnn_plan_free(struct tr_cudnn_plan *p)
{
    if (!p)
        return;
    destroy_descriptor(p->plan);
    free(p);
}

size_t tr_cudnn_plan_workspace(const struct tr_cudnn_plan *p)
{
    return p->workspace;
}

const char *tr_cudnn_plan_name(const struct tr_cudnn_plan *p)
{
    return p->name;
}

/* Addresses are passed in a variant pack, created anew for each run: it cannot be changed after finalizing,
 * and a captured step needs it once. */
int tr_cudnn_plan_run(struct tr_cudnn_plan *p, void *const *memory, void *workspace, struct im_text *text)
{
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    cudnnBackendDescriptor_t pack = make_descriptor(&status, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    void *addresses[TR_CUDNN_TENSORS];

    for (int i = 0; i < p->count; i++)
        addresses[i] = memory[p->places[i]];
    set_attribute(&status, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, p->count, p->uids);
    set_attribute(&status, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, p->count,
                  addresses);
    set_attribute(&status, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    finalize(&status, pack);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendExecute(p->cudnn->handle, p->plan, pack);
    destroy_descriptor(pack);
    return status == CUDNN_STATUS_SUCCESS ? 0 : cudnn_fail(text, p->name, status);
}
