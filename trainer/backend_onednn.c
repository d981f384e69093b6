/* The CPU backend: oneDNN primitives for convolution, batch norm (with its ReLU) and pooling, its sgemm for
 * the fully connected layer, our own loops (cpu_ops.c) for what is memory-bound. The only file that includes
 * dnnl.h.
 *
 * Layouts: the pixels enter as plain NCHW; a convolution without a given layout, and every convolution's
 * output, is what oneDNN likes best for this processor (nChw8c with AVX2, nChw16c with AVX-512), and
 * everything behind takes the layout it is given. So no value is reordered in a step but the [n][c] of the
 * global pool. Weights are repacked once per change, one copy per layout wanted, shared by all plans of the
 * same layer; their gradients come out packed and are unpacked into the flat arena.
 *
 * Versions: Debian 12 has oneDNN 2.6, newer systems 3.x, whose C API creates primitive descriptors without
 * operation descriptors and has opaque memory descriptors. The section "2.x or 3.x" is all that differs.
 *
 * Scratch memory is one buffer, as large as the hungriest primitive needs: primitives run one after the
 * other. Nothing is allocated in forward and backward. With one number of threads oneDNN's results are the
 * same bits in every run (tests/backend checks it). */
#include "trainer/backend.h"

#include <errno.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/cpu_ops.h"
#include "trainer/ref_ops.h"

enum { ARGS_MAX = 11, LAYOUTS_MAX = 4096 };

/* A memory descriptor that lives as long as the backend. */
struct im_layout {
    dnnl_memory_desc_t md;
    size_t bytes;
};

/* A primitive with its memory objects; where their data lies is said at each run. */
struct prim {
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[ARGS_MAX];
    int count;
    char kernel[48]; /* oneDNN's name of the implementation */
};

/* One layer's weights in one layout. */
struct pack {
    struct pack *next;
    int weight_id;
    int users; /* plans */
    const struct im_layout *plain, *layout;
    void *data; /* NULL: the layout is the plain one */
    const float *from;
    uint64_t version; /* of `from` that `data` holds */
    struct prim reorder;
};

struct im_backend {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attr; /* scratch memory is ours */
    int threads;
    struct im_layout **layouts;
    int layout_count;
    struct pack *packs;
    void *scratch, *stage; /* for primitives; for values on their way to another layout */
    size_t scratch_bytes, stage_bytes;
};

struct im_plan {
    struct im_op op;
    size_t floats; /* of y, with the layout's padding */
    struct prim forward, backward_data, backward_weights, reorder_out, reorder_in;
    struct pack *pack_forward, *pack_backward;
    size_t var_at, mask_at; /* BN: in the saved state, behind the means */
};

static int check(dnnl_status_t status)
{
    switch (status) {
    case dnnl_success:
        return 0;
    case dnnl_out_of_memory:
        return -ENOMEM;
    case dnnl_unimplemented:
        return -ENOTSUP;
    default:
        return -EIO;
    }
}

/* ---- 2.x or 3.x
 * ----------------------------------------------------------------------------------------------------------------------
 */

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t md_ref;

static md_ref md_of(const struct im_layout *l)
{
    return l->md;
}

static int md_copy(md_ref from, dnnl_memory_desc_t *ret_md)
{
    return check(dnnl_memory_desc_clone(ret_md, from));
}

static int md_make(const dnnl_dims_t dims, int rank, dnnl_format_tag_t tag, dnnl_memory_desc_t *ret_md)
{
    return check(dnnl_memory_desc_create_with_tag(ret_md, rank, dims, dnnl_f32, tag));
}

static void md_drop(dnnl_memory_desc_t *md)
{
    dnnl_memory_desc_destroy(*md);
}
#else
typedef const dnnl_memory_desc_t *md_ref;

static md_ref md_of(const struct im_layout *l)
{
    return &l->md;
}

static int md_copy(md_ref from, dnnl_memory_desc_t *ret_md)
{
    *ret_md = *from;
    return 0;
}

static int md_make(const dnnl_dims_t dims, int rank, dnnl_format_tag_t tag, dnnl_memory_desc_t *ret_md)
{
    return check(dnnl_memory_desc_init_by_tag(ret_md, rank, dims, dnnl_f32, tag));
}

static void md_drop(dnnl_memory_desc_t *md)
{
    (void)md;
}
#endif

/* The square window of a convolution or pool. */
struct window {
    dnnl_dims_t kernel, stride, pad_low, pad_high, dilation;
};

static struct window window_of(const struct im_op *op)
{
    struct window w = {
        {op->kernel, op->kernel}, {op->stride, op->stride}, {op->pad, op->pad}, {0, 0}, {0, 0}};

    /* What the last window needs; less than pad where the stride does not fit. */
    w.pad_high[0] = (dnnl_dim_t)(op->y.h - 1) * op->stride + op->kernel - op->x.h - op->pad;
    w.pad_high[1] = (dnnl_dim_t)(op->y.w - 1) * op->stride + op->kernel - op->x.w - op->pad;
    return w;
}

/* The primitive descriptors of a plan; `hint` is the forward one. x, w, y: layouts of the values or of their
 * gradients. */
static dnnl_status_t conv_pd(struct im_backend *b, const struct im_op *op, dnnl_prop_kind_t prop, md_ref x,
                             md_ref weights, md_ref y, dnnl_primitive_desc_t hint,
                             dnnl_primitive_desc_t *ret_pd)
{
    struct window w = window_of(op);
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
    if (prop == dnnl_backward_data)
        return dnnl_convolution_backward_data_primitive_desc_create(ret_pd, b->engine, direct, x, weights, y,
                                                                    w.stride, w.dilation, w.pad_low,
                                                                    w.pad_high, hint, b->attr);
    if (prop == dnnl_backward_weights)
        return dnnl_convolution_backward_weights_primitive_desc_create(ret_pd, b->engine, direct, x, weights,
                                                                       NULL, y, w.stride, w.dilation,
                                                                       w.pad_low, w.pad_high, hint, b->attr);
    return dnnl_convolution_forward_primitive_desc_create(ret_pd, b->engine, prop, direct, x, weights, NULL,
                                                          y, w.stride, w.dilation, w.pad_low, w.pad_high,
                                                          b->attr);
#else
    dnnl_convolution_desc_t d;
    dnnl_status_t status;

    if (prop == dnnl_backward_data)
        status = dnnl_convolution_backward_data_desc_init(&d, direct, x, weights, y, w.stride, w.pad_low,
                                                          w.pad_high);
    else if (prop == dnnl_backward_weights)
        status = dnnl_convolution_backward_weights_desc_init(&d, direct, x, weights, NULL, y, w.stride,
                                                             w.pad_low, w.pad_high);
    else
        status = dnnl_convolution_forward_desc_init(&d, prop, direct, x, weights, NULL, y, w.stride,
                                                    w.pad_low, w.pad_high);
    return status == dnnl_success ? dnnl_primitive_desc_create(ret_pd, &d, b->attr, b->engine, hint) : status;
#endif
}

static dnnl_status_t bn_pd(struct im_backend *b, dnnl_prop_kind_t prop, md_ref x, unsigned flags,
                           dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *ret_pd)
{
#if DNNL_VERSION_MAJOR >= 3
    if (prop == dnnl_backward)
        return dnnl_batch_normalization_backward_primitive_desc_create(ret_pd, b->engine, prop, x, x, x,
                                                                       IM_BN_EPS, flags, hint, b->attr);
    return dnnl_batch_normalization_forward_primitive_desc_create(ret_pd, b->engine, prop, x, x, IM_BN_EPS,
                                                                  flags, b->attr);
#else
    dnnl_batch_normalization_desc_t d;
    dnnl_status_t status = prop == dnnl_backward
                               ? dnnl_batch_normalization_backward_desc_init(&d, prop, x, x, IM_BN_EPS, flags)
                               : dnnl_batch_normalization_forward_desc_init(&d, prop, x, IM_BN_EPS, flags);

    return status == dnnl_success ? dnnl_primitive_desc_create(ret_pd, &d, b->attr, b->engine, hint) : status;
#endif
}

/* hint NULL: forward. Average pooling when op is the global one. */
static dnnl_status_t pool_pd(struct im_backend *b, const struct im_op *op, const struct window *w, md_ref x,
                             md_ref y, dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *ret_pd)
{
    dnnl_alg_kind_t alg = op->kind == IM_OP_GAP ? dnnl_pooling_avg_exclude_padding : dnnl_pooling_max;
    dnnl_prop_kind_t prop = op->training ? dnnl_forward_training : dnnl_forward_inference;
#if DNNL_VERSION_MAJOR >= 3
    if (hint)
        return dnnl_pooling_backward_primitive_desc_create(ret_pd, b->engine, alg, x, y, w->stride, w->kernel,
                                                           w->dilation, w->pad_low, w->pad_high, hint,
                                                           b->attr);
    return dnnl_pooling_forward_primitive_desc_create(ret_pd, b->engine, prop, alg, x, y, w->stride,
                                                      w->kernel, w->dilation, w->pad_low, w->pad_high,
                                                      b->attr);
#else
    dnnl_pooling_desc_t d;
    dnnl_status_t status =
        hint ? dnnl_pooling_backward_desc_init(&d, alg, x, y, w->stride, w->kernel, w->pad_low, w->pad_high)
             : dnnl_pooling_forward_desc_init(&d, prop, alg, x, y, w->stride, w->kernel, w->pad_low,
                                              w->pad_high);

    return status == dnnl_success ? dnnl_primitive_desc_create(ret_pd, &d, b->attr, b->engine, hint) : status;
#endif
}

/* ---- layouts, memory, primitives
 * ----------------------------------------------------------------------------------------------------- */

/* The layout equal to md, kept from now on. NULL when there is no memory. */
static const struct im_layout *intern(struct im_backend *b, md_ref md)
{
    struct im_layout *l;

    for (int i = 0; i < b->layout_count; i++)
        if (dnnl_memory_desc_equal(md_of(b->layouts[i]), md))
            return b->layouts[i];
    l = b->layout_count < LAYOUTS_MAX ? calloc(1, sizeof(*l)) : NULL;
    if (!l || md_copy(md, &l->md) < 0) {
        free(l);
        return NULL;
    }
    l->bytes = dnnl_memory_desc_get_size(md);
    b->layouts[b->layout_count++] = l;
    return l;
}

static const struct im_layout *tagged(struct im_backend *b, const int shape[4], dnnl_format_tag_t tag)
{
    dnnl_dims_t dims = {shape[0], shape[1], shape[2], shape[3]};
    const struct im_layout *l;
    dnnl_memory_desc_t md;

    if (md_make(dims, 4, tag, &md) < 0)
        return NULL;
#if DNNL_VERSION_MAJOR >= 3
    l = intern(b, md);
#else
    l = intern(b, &md);
#endif
    md_drop(&md);
    return l;
}

static const struct im_layout *value_layout(struct im_backend *b, struct im_shape s, dnnl_format_tag_t tag)
{
    return tagged(b, (int[4]){s.n, s.c, s.h, s.w}, tag);
}

static const struct im_layout *weight_layout(struct im_backend *b, const struct im_op *op,
                                             dnnl_format_tag_t tag)
{
    return tagged(b, (int[4]){op->y.c, op->x.c, op->kernel, op->kernel}, tag);
}

static int grow(void **buffer, size_t *held, size_t bytes)
{
    void *larger;

    if (bytes <= *held)
        return 0;
    larger = tr_cpu_alloc(bytes);
    if (!larger)
        return -ENOMEM;
    tr_cpu_free(*buffer);
    *buffer = larger;
    *held = bytes;
    return 0;
}

static void prim_fini(struct prim *p)
{
    for (int i = 0; i < p->count; i++)
        dnnl_memory_destroy(p->args[i].memory);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    *p = (struct prim){0};
}

static int prim_arg(struct im_backend *b, struct prim *p, int arg, md_ref md)
{
    dnnl_memory_t memory;
    int err = check(dnnl_memory_create(&memory, md, b->engine, DNNL_MEMORY_NONE));

    im_assert(p->count < ARGS_MAX);
    if (err == 0)
        p->args[p->count++] = (dnnl_exec_arg_t){arg, memory};
    return err;
}

/* One argument of prim_init: what dnnl calls it, and what the descriptor says about its layout. */
struct arg {
    int arg;
    dnnl_query_t what;
};

/* Makes the primitive of pd (and drops pd), with its arguments in the order of `args` (up to arg 0), behind
 * the scratch memory. */
static int prim_init(struct im_backend *b, dnnl_primitive_desc_t pd, const struct arg *args, struct prim *p)
{
    md_ref scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    const char *kernel = "";
    int err = check(dnnl_primitive_create(&p->primitive, pd));

    if (err == 0)
        err = grow(&b->scratch, &b->scratch_bytes, dnnl_memory_desc_get_size(scratch));
    if (err == 0)
        err = prim_arg(b, p, DNNL_ARG_SCRATCHPAD, scratch);
    for (; err == 0 && args->arg; args++)
        err = prim_arg(b, p, args->arg,
                       args->what == dnnl_query_exec_arg_md
                           ? dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, args->arg)
                           : dnnl_primitive_desc_query_md(pd, args->what, 0));
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &kernel);
    for (size_t i = 0; i + 1 < sizeof(p->kernel) && kernel[i]; i++)
        p->kernel[i] = kernel[i];
    dnnl_primitive_desc_destroy(pd);
    return err;
}

/* data: in the order of prim_init's args. */
static int prim_run(struct im_backend *b, struct prim *p, void *const *data)
{
    int err = check(dnnl_memory_set_data_handle(p->args[0].memory, b->scratch));

    for (int i = 1; err == 0 && i < p->count; i++)
        err = check(dnnl_memory_set_data_handle(p->args[i].memory, data[i - 1]));
    return err < 0 ? err : check(dnnl_primitive_execute(p->primitive, b->stream, p->count, p->args));
}

static int reorder_init(struct im_backend *b, const struct im_layout *from, const struct im_layout *to,
                        struct prim *p)
{
    static const struct arg args[] = {
        {DNNL_ARG_FROM, dnnl_query_src_md}, {DNNL_ARG_TO, dnnl_query_dst_md}, {0}};
    dnnl_primitive_desc_t pd;
    int err =
        check(dnnl_reorder_primitive_desc_create(&pd, md_of(from), b->engine, md_of(to), b->engine, b->attr));

    return err < 0 ? err : prim_init(b, pd, args, p);
}

static int reorder_run(struct im_backend *b, struct prim *p, const void *from, void *to)
{
    return prim_run(b, p, (void *[]){(void *)(uintptr_t)from, to});
}

/* ---- packed weights
 * ------------------------------------------------------------------------------------------------------------------
 */

static int pack_get(struct im_backend *b, const struct im_op *op, md_ref wanted, struct pack **ret_pack)
{
    const struct im_layout *plain = weight_layout(b, op, dnnl_oihw), *layout = intern(b, wanted);
    struct pack *p;
    int err = 0;

    if (!plain || !layout)
        return -ENOMEM;
    for (p = b->packs; p; p = p->next) {
        if (op->weight_id >= 0 && p->weight_id == op->weight_id && p->layout == layout) {
            p->users++;
            *ret_pack = p;
            return 0;
        }
    }
    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    *p = (struct pack){
        .next = b->packs, .weight_id = op->weight_id, .users = 1, .plain = plain, .layout = layout};
    if (layout != plain) {
        p->data = tr_cpu_alloc(layout->bytes);
        err = p->data ? reorder_init(b, plain, layout, &p->reorder) : -ENOMEM;
    }
    if (err < 0) {
        prim_fini(&p->reorder);
        tr_cpu_free(p->data);
        free(p);
        return err;
    }
    b->packs = p;
    *ret_pack = p;
    return 0;
}

static void pack_put(struct im_backend *b, struct pack *p)
{
    struct pack **link = &b->packs;

    if (!p || --p->users > 0)
        return;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    prim_fini(&p->reorder);
    tr_cpu_free(p->data);
    free(p);
}

/* The weights in the pack's layout, repacked if they have changed. */
static int pack_fresh(struct im_backend *b, struct pack *p, const struct im_exec *e, void **ret_weights)
{
    int err = 0;

    *ret_weights = p->data ? p->data : (void *)(uintptr_t)e->w;
    if (!p->data || (p->from == e->w && p->version == e->param_version))
        return 0;
    err = reorder_run(b, &p->reorder, e->w, p->data);
    p->from = err < 0 ? NULL : e->w;
    p->version = e->param_version;
    return err;
}

/* ---- plans
 * ---------------------------------------------------------------------------------------------------------------------------
 */

static int plan_conv_backward(struct im_backend *b, struct im_plan *p, const struct im_plan_info *info,
                              dnnl_primitive_desc_t hint)
{
    static const struct arg data_args[] = {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                                           {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                                           {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md},
                                           {0}};
    static const struct arg weight_args[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                                             {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                                             {DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md},
                                             {0}};
    const struct im_layout *any = weight_layout(b, &p->op, dnnl_format_tag_any),
                           *plain = weight_layout(b, &p->op, dnnl_oihw), *packed;
    dnnl_primitive_desc_t pd;
    int err;

    if (!any || !plain)
        return -ENOMEM;
    if (p->op.needs_dx) {
        err = check(conv_pd(b, &p->op, dnnl_backward_data, md_of(info->x_layout), md_of(any),
                            md_of(info->y_layout), hint, &pd));
        if (err < 0)
            return err;
        err = pack_get(b, &p->op, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0),
                       &p->pack_backward);
        if (err < 0) {
            dnnl_primitive_desc_destroy(pd);
            return err;
        }
        err = prim_init(b, pd, data_args, &p->backward_data);
        if (err < 0)
            return err;
    }
    err = check(conv_pd(b, &p->op, dnnl_backward_weights, md_of(info->x_layout), md_of(any),
                        md_of(info->y_layout), hint, &pd));
    if (err < 0)
        return err;
    packed = intern(b, dnnl_primitive_desc_query_md(pd, dnnl_query_diff_weights_md, 0));
    err = prim_init(b, pd, weight_args, &p->backward_weights);
    if (err < 0 || !packed)
        return err < 0 ? err : -ENOMEM;
    if (packed == plain)
        return 0;
    err = grow(&b->stage, &b->stage_bytes, packed->bytes);
    return err < 0 ? err : reorder_init(b, packed, plain, &p->reorder_out);
}

static int plan_conv(struct im_backend *b, struct im_plan *p, struct im_plan_info *info)
{
    static const struct arg args[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                                      {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                                      {DNNL_ARG_DST, dnnl_query_dst_md},
                                      {0}};
    const struct im_layout *x =
        p->op.x_layout ? p->op.x_layout : value_layout(b, p->op.x, dnnl_format_tag_any);
    const struct im_layout *y = value_layout(b, p->op.y, dnnl_format_tag_any),
                           *w = weight_layout(b, &p->op, dnnl_format_tag_any);
    dnnl_prop_kind_t prop = p->op.training ? dnnl_forward_training : dnnl_forward_inference;
    dnnl_primitive_desc_t pd, hint = NULL;
    int err;

    if (!x || !y || !w)
        return -ENOMEM;
    err = check(conv_pd(b, &p->op, prop, md_of(x), md_of(w), md_of(y), NULL, &pd));
    if (err < 0)
        return err;
    info->x_layout = intern(b, dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0));
    info->y_layout = intern(b, dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0));
    info->keeps_x = p->op.training;
    err = info->x_layout && info->y_layout ? 0 : -ENOMEM;
    if (err == 0)
        err =
            pack_get(b, &p->op, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), &p->pack_forward);
    if (err == 0)
        err = check(dnnl_primitive_desc_clone(&hint, pd));
    if (err < 0) {
        dnnl_primitive_desc_destroy(pd);
        return err;
    }
    err = prim_init(b, pd, args, &p->forward);
    if (err == 0 && p->op.training)
        err = plan_conv_backward(b, p, info, hint);
    dnnl_primitive_desc_destroy(hint);
    return err;
}

static size_t lines(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static int plan_bn(struct im_backend *b, struct im_plan *p, struct im_plan_info *info)
{
    static const struct arg forward_args[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                                              {DNNL_ARG_DST, dnnl_query_dst_md},
                                              {DNNL_ARG_SCALE, dnnl_query_exec_arg_md},
                                              {DNNL_ARG_SHIFT, dnnl_query_exec_arg_md},
                                              {DNNL_ARG_MEAN, dnnl_query_exec_arg_md},
                                              {DNNL_ARG_VARIANCE, dnnl_query_exec_arg_md},
                                              {DNNL_ARG_WORKSPACE, dnnl_query_workspace_md},
                                              {0}};
    static const struct arg backward_args[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                                               {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                                               {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md},
                                               {DNNL_ARG_SCALE, dnnl_query_exec_arg_md}, {DNNL_ARG_SHIFT, dnnl_query_exec_arg_md},
                                               {DNNL_ARG_MEAN, dnnl_query_exec_arg_md},
                                               {DNNL_ARG_VARIANCE, dnnl_query_exec_arg_md},
                                               {DNNL_ARG_DIFF_SCALE, dnnl_query_exec_arg_md},
                                               {DNNL_ARG_DIFF_SHIFT, dnnl_query_exec_arg_md},
                                               {DNNL_ARG_WORKSPACE, dnnl_query_workspace_md},
                                               {0}};
    unsigned flags = dnnl_use_scale | dnnl_use_shift | (p->op.relu ? dnnl_fuse_norm_relu : 0u) |
                     (p->op.training ? 0u : dnnl_use_global_stats);
    dnnl_primitive_desc_t pd, hint = NULL, backward;
    md_ref x = md_of(info->x_layout);
    int err;

    err =
        check(bn_pd(b, p->op.training ? dnnl_forward_training : dnnl_forward_inference, x, flags, NULL, &pd));
    if (err < 0)
        return err;
    p->var_at = lines((size_t)p->op.x.c * sizeof(float));
    p->mask_at = 2 * p->var_at;
    info->y_may_be_x = !p->op.training;
    info->dx_may_be_dy = true;
    info->keeps_x = p->op.training;
    if (p->op.training)
        info->save_bytes = p->mask_at + dnnl_memory_desc_get_size(
                                            dnnl_primitive_desc_query_md(pd, dnnl_query_workspace_md, 0));
    err = check(dnnl_primitive_desc_clone(&hint, pd));
    if (err < 0) {
        dnnl_primitive_desc_destroy(pd);
        return err;
    }
    err = prim_init(b, pd, forward_args, &p->forward);
    if (err == 0 && p->op.training)
        err = check(bn_pd(b, dnnl_backward, x, flags, hint, &backward));
    dnnl_primitive_desc_destroy(hint);
    return err < 0 || !p->op.training ? err : prim_init(b, backward, backward_args, &p->backward_data);
}

/* The global pool leaves its result plain, through the stage, and takes its gradient in through it. */
static int plan_gap_edges(struct im_backend *b, struct im_plan *p, struct im_plan_info *info, md_ref y)
{
    const struct im_layout *pooled = intern(b, y);
    int err;

    if (!pooled)
        return -ENOMEM;
    if (pooled == info->y_layout)
        return 0;
    err = grow(&b->stage, &b->stage_bytes, pooled->bytes);
    if (err == 0)
        err = reorder_init(b, pooled, info->y_layout, &p->reorder_out);
    return err < 0 ? err : reorder_init(b, info->y_layout, pooled, &p->reorder_in);
}

static int plan_pool(struct im_backend *b, struct im_plan *p, struct im_plan_info *info)
{
    static const struct arg forward_args[] = {{DNNL_ARG_SRC, dnnl_query_src_md},
                                              {DNNL_ARG_DST, dnnl_query_dst_md},
                                              {DNNL_ARG_WORKSPACE, dnnl_query_workspace_md},
                                              {0}};
    static const struct arg backward_args[] = {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                                               {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md},
                                               {DNNL_ARG_WORKSPACE, dnnl_query_workspace_md},
                                               {0}};
    const struct im_layout *any = value_layout(b, p->op.y, dnnl_format_tag_any);
    struct window w = {.kernel = {p->op.x.h, p->op.x.w}, .stride = {1, 1}};
    dnnl_primitive_desc_t pd, hint = NULL, backward;
    md_ref y;
    int err;

    if (!any)
        return -ENOMEM;
    if (p->op.kind == IM_OP_MAXPOOL)
        w = window_of(&p->op);
    err = check(pool_pd(b, &p->op, &w, md_of(info->x_layout), md_of(any), NULL, &pd));
    if (err < 0)
        return err;
    y = dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    info->y_layout = p->op.kind == IM_OP_GAP ? value_layout(b, p->op.y, dnnl_nchw) : intern(b, y);
    if (p->op.training)
        info->save_bytes =
            dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, dnnl_query_workspace_md, 0));
    err = info->y_layout ? 0 : -ENOMEM;
    if (err == 0 && p->op.kind == IM_OP_GAP)
        err = plan_gap_edges(b, p, info, y);
    if (err == 0)
        err = check(dnnl_primitive_desc_clone(&hint, pd));
    if (err < 0) {
        dnnl_primitive_desc_destroy(pd);
        return err;
    }
    if (p->op.training)
        err = check(pool_pd(b, &p->op, &w, md_of(info->x_layout), y, hint, &backward));
    dnnl_primitive_desc_destroy(hint);
    if (err < 0) {
        dnnl_primitive_desc_destroy(pd);
        return err;
    }
    err = prim_init(b, pd, forward_args, &p->forward);
    return err < 0 || !p->op.training ? err : prim_init(b, backward, backward_args, &p->backward_data);
}

static void plan_free(struct im_backend *b, struct im_plan *p)
{
    if (!p)
        return;
    prim_fini(&p->forward);
    prim_fini(&p->backward_data);
    prim_fini(&p->backward_weights);
    prim_fini(&p->reorder_out);
    prim_fini(&p->reorder_in);
    pack_put(b, p->pack_forward);
    pack_put(b, p->pack_backward);
    free(p);
}

static int plan_op(struct im_backend *b, struct im_plan *p, struct im_plan_info *info)
{
    bool plain =
        p->op.kind == IM_OP_INPUT || p->op.kind == IM_OP_FC || p->op.kind == IM_OP_LOSS || !p->op.x_layout;

    if (p->op.kind == IM_OP_CONV)
        return plan_conv(b, p, info);
    info->x_layout = plain ? value_layout(b, p->op.x, dnnl_nchw) : p->op.x_layout;
    info->y_layout = p->op.kind == IM_OP_FC || plain ? value_layout(b, p->op.y, dnnl_nchw) : info->x_layout;
    if (!info->x_layout || !info->y_layout)
        return -ENOMEM;
    if (p->op.kind == IM_OP_BN)
        return plan_bn(b, p, info);
    if (p->op.kind == IM_OP_MAXPOOL || p->op.kind == IM_OP_GAP)
        return plan_pool(b, p, info);
    info->keeps_x = p->op.training && p->op.kind == IM_OP_FC;
    info->keeps_y = p->op.training && p->op.kind == IM_OP_ADD && p->op.relu;
    info->y_may_be_x = info->dx_may_be_dy = p->op.kind == IM_OP_ADD;
    return 0;
}

static int plan(struct im_backend *b, const struct im_op *op, struct im_plan **ret_plan,
                struct im_plan_info *ret_info, struct im_text *text)
{
    struct im_plan *p = calloc(1, sizeof(*p));
    struct im_plan_info info = {0};
    int err;

    if (!p)
        return im_fail(text, -ENOMEM, "no memory for a plan");
    p->op = *op;
    tr_cpu_set_threads(b->threads);
    err = plan_op(b, p, &info);
    if (err < 0) {
        plan_free(b, p);
        return im_fail(text, err, "oneDNN cannot run op %d of %d x %d x %d x %d (kernel %d, stride %d): %s",
                       (int)op->kind, op->x.n, op->x.c, op->x.h, op->x.w, op->kernel, op->stride,
                       strerror(-err));
    }
    info.x_bytes = info.x_layout->bytes;
    info.y_bytes = op->kind == IM_OP_LOSS ? 0 : info.y_layout->bytes;
    p->floats = info.y_bytes / sizeof(float);
    *ret_info = info;
    *ret_plan = p;
    return 0;
}

/* ---- execution
 * -----------------------------------------------------------------------------------------------------------------------
 */

/* oneDNN's C API takes pointers to data it only reads as void *. */
static void *in(const void *data)
{
    return (void *)(uintptr_t)data;
}

static int conv_forward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    void *weights;
    int err = pack_fresh(b, p->pack_forward, e, &weights);

    return err < 0 ? err : prim_run(b, &p->forward, (void *[]){in(e->x), weights, e->y});
}

static int conv_backward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    bool staged = p->reorder_out.primitive != NULL;
    void *weights;
    int err = 0;

    if (p->op.needs_dx) {
        err = pack_fresh(b, p->pack_backward, e, &weights);
        if (err == 0)
            err = prim_run(b, &p->backward_data, (void *[]){e->dy[0], weights, e->dx});
    }
    if (err == 0)
        err = prim_run(b, &p->backward_weights,
                       (void *[]){in(e->x), e->dy[0], staged ? b->stage : (void *)e->dw});
    return err < 0 || !staged ? err : reorder_run(b, &p->reorder_out, b->stage, e->dw);
}

static int bn_forward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    double m = (double)p->op.x.n * p->op.x.h * p->op.x.w;
    char *save = e->save;
    float *mean = p->op.training ? (float *)save : e->run_mean;
    float *var = p->op.training ? (float *)(save + p->var_at) : e->run_var;
    int err =
        prim_run(b, &p->forward,
                 (void *[]){in(e->x), e->y, in(e->w), in(e->b), mean, var, save ? save + p->mask_at : NULL});

    if (err == 0 && p->op.training) {
        tr_cpu_running(e->run_mean, mean, p->op.x.c, 1);
        tr_cpu_running(e->run_var, var, p->op.x.c, m > 1 ? m / (m - 1) : 1);
    }
    return err;
}

static int bn_backward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    char *save = e->save;

    return prim_run(b, &p->backward_data,
                    (void *[]){in(e->x), e->dy[0], e->dx, in(e->w), in(e->b), save, save + p->var_at, e->dw, e->db,
                               save + p->mask_at});
}

static int pool_forward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    bool staged = p->reorder_out.primitive != NULL;
    int err = prim_run(b, &p->forward, (void *[]){in(e->x), staged ? b->stage : e->y, e->save});

    return err < 0 || !staged ? err : reorder_run(b, &p->reorder_out, b->stage, e->y);
}

static int pool_backward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    bool staged = p->reorder_in.primitive != NULL;
    int err = staged ? reorder_run(b, &p->reorder_in, e->dy[0], b->stage) : 0;

    return err < 0 ? err
                   : prim_run(b, &p->backward_data, (void *[]){staged ? b->stage : e->dy[0], e->dx, e->save});
}

/* Row-major: y[n][k] = x[n][c] w[k][c]^T + b. */
static int fc_forward(const struct im_op *op, const struct im_exec *e)
{
    float *y = e->y;

    for (int n = 0; n < op->y.n; n++)
        memcpy(y + (size_t)n * (size_t)op->y.c, e->b, (size_t)op->y.c * sizeof(float));
    return check(
        dnnl_sgemm('N', 'T', op->y.n, op->y.c, op->x.c, 1, e->x, op->x.c, e->w, op->x.c, 1, e->y, op->y.c));
}

static int fc_backward(const struct im_op *op, const struct im_exec *e)
{
    const float *dy = e->dy[0];
    int err;

    memset(e->db, 0, (size_t)op->y.c * sizeof(float));
    for (int n = 0; n < op->y.n; n++)
        for (int k = 0; k < op->y.c; k++)
            e->db[k] += dy[(size_t)n * (size_t)op->y.c + (size_t)k];
    err = check(
        dnnl_sgemm('T', 'N', op->y.c, op->x.c, op->y.n, 1, dy, op->y.c, e->x, op->x.c, 0, e->dw, op->x.c));
    return err < 0 ? err
                   : check(dnnl_sgemm('N', 'N', op->y.n, op->x.c, op->y.c, 1, dy, op->y.c, e->w, op->x.c, 0,
                                      e->dx, op->x.c));
}

static int forward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    tr_cpu_set_threads(b->threads);
    switch (p->op.kind) {
    case IM_OP_INPUT:
        tr_cpu_input(&p->op, e->pixels, e->y);
        return 0;
    case IM_OP_CONV:
        return conv_forward(b, p, e);
    case IM_OP_BN:
        return bn_forward(b, p, e);
    case IM_OP_ADD:
        tr_cpu_residual(e->y, e->x, e->x2, p->floats, p->op.relu);
        return 0;
    case IM_OP_MAXPOOL:
    case IM_OP_GAP:
        return pool_forward(b, p, e);
    case IM_OP_FC:
        return fc_forward(&p->op, e);
    case IM_OP_LOSS: /* n x classes numbers: the definition is fast enough */
        tr_ref_loss(&p->op, e);
        return 0;
    }
    return -EINVAL;
}

static int backward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    tr_cpu_set_threads(b->threads);
    if (p->op.kind == IM_OP_ADD) {
        tr_cpu_residual_backward(e->dx, e->dy[0], e->dy[1], e->y, p->floats, p->op.relu);
        return 0;
    }
    if (e->dy[1])
        tr_cpu_add(e->dy[0], e->dy[1], p->floats);
    switch (p->op.kind) {
    case IM_OP_CONV:
        return conv_backward(b, p, e);
    case IM_OP_BN:
        return bn_backward(b, p, e);
    case IM_OP_MAXPOOL:
    case IM_OP_GAP:
        return pool_backward(b, p, e);
    case IM_OP_FC:
        return fc_backward(&p->op, e);
    case IM_OP_ADD:
    case IM_OP_INPUT:
    case IM_OP_LOSS:
        break;
    }
    return -EINVAL;
}

static int update(struct im_backend *b, const struct im_sgd *sgd)
{
    tr_cpu_set_threads(b->threads);
    tr_cpu_sgd(sgd);
    return 0;
}

/* ---- the device
 * ----------------------------------------------------------------------------------------------------------------------
 */

static void close_onednn(struct im_backend *b)
{
    if (!b)
        return;
    im_assert(!b->packs);
    for (int i = 0; i < b->layout_count; i++) {
        md_drop(&b->layouts[i]->md);
        free(b->layouts[i]);
    }
    free(b->layouts);
    tr_cpu_free(b->scratch);
    tr_cpu_free(b->stage);
    if (b->attr)
        dnnl_primitive_attr_destroy(b->attr);
    if (b->stream)
        dnnl_stream_destroy(b->stream);
    if (b->engine)
        dnnl_engine_destroy(b->engine);
    free(b);
}

static int open_onednn(int threads, struct im_backend **ret_backend, struct im_text *text)
{
    struct im_backend *b = calloc(1, sizeof(*b));
    int err;

    if (!b)
        return im_fail(text, -ENOMEM, "no memory for the oneDNN backend");
    b->threads = threads > 0 ? threads : tr_cpu_count();
    b->layouts = calloc(LAYOUTS_MAX, sizeof(struct im_layout *));
    err = b->layouts ? check(dnnl_engine_create(&b->engine, dnnl_cpu, 0)) : -ENOMEM;
    if (err == 0)
        err = check(dnnl_stream_create(&b->stream, b->engine, dnnl_stream_default_flags));
    if (err == 0)
        err = check(dnnl_primitive_attr_create(&b->attr));
    if (err == 0)
        err = check(dnnl_primitive_attr_set_scratchpad_mode(b->attr, dnnl_scratchpad_mode_user));
    if (err < 0) {
        close_onednn(b);
        return im_fail(text, err, "oneDNN does not start on this machine: %s", strerror(-err));
    }
    *ret_backend = b;
    return 0;
}

static int buffer_new(struct im_backend *b, size_t bytes, void **ret_buffer)
{
    void *buffer = tr_cpu_alloc(bytes);

    (void)b;
    if (!buffer)
        return -ENOMEM;
    *ret_buffer = buffer;
    return 0;
}

static void buffer_free(struct im_backend *b, void *buffer, size_t bytes)
{
    (void)b;
    (void)bytes;
    tr_cpu_free(buffer);
}

static int copy(struct im_backend *b, void *to, const void *from, size_t bytes)
{
    (void)b;
    memcpy(to, from, bytes);
    return 0;
}

/* Once, with a primitive of its own. */
static int convert(struct im_backend *b, const struct im_layout *from, const struct im_layout *to,
                   const void *data, void *result)
{
    struct prim p = {0};
    int err = from && to ? reorder_init(b, from, to, &p) : -ENOMEM;

    if (err == 0)
        err = reorder_run(b, &p, data, result);
    prim_fini(&p);
    return err;
}

static int value_in(struct im_backend *b, const struct im_layout *layout, struct im_shape shape,
                    const float *nchw, void *value)
{
    return convert(b, value_layout(b, shape, dnnl_nchw), layout, nchw, value);
}

static int value_out(struct im_backend *b, const struct im_layout *layout, struct im_shape shape,
                     const void *value, float *nchw)
{
    return convert(b, layout, value_layout(b, shape, dnnl_nchw), value, nchw);
}

static size_t private_bytes(struct im_backend *b)
{
    size_t bytes = b->scratch_bytes + b->stage_bytes;

    for (struct pack *p = b->packs; p; p = p->next)
        bytes += p->data ? p->layout->bytes : 0;
    return bytes;
}

static const char *plan_kernel(struct im_plan *plan)
{
    return plan->forward.kernel;
}

const struct im_backend_ops im_backend_onednn = {
    .version = IM_BACKEND_VERSION,
    .name = "onednn",
    .open = open_onednn,
    .close = close_onednn,
    .buffer_new = buffer_new,
    .buffer_free = buffer_free,
    .copy_in = copy,
    .copy_out = copy,
    .plan = plan,
    .plan_free = plan_free,
    .forward = forward,
    .backward = backward,
    .update = update,
    .value_in = value_in,
    .value_out = value_out,
    .private_bytes = private_bytes,
    .plan_kernel = plan_kernel,
};
