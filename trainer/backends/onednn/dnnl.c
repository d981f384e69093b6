/* The only file that includes dnnl.h.
 *
 * Debian 12 has oneDNN 2.6, newer systems 3.x, whose C API creates primitive descriptors without operation
 * descriptors and has opaque memory descriptors. Only the section "2.x or 3.x" differs.
 *
 * Scratch memory is one buffer, sized for the largest request: primitives run one after the other.
 * tr_prim_run allocates nothing. */
#include "trainer/backends/onednn/dnnl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/backends/onednn/loops.h"

enum { ARGS_MAX = 4, LAYOUTS_MAX = 4096 };

struct tr_layout {
    dnnl_memory_desc_t md;
    size_t bytes;
    dnnl_dims_t dims;
    enum imk_dtype type;
};

struct tr_prim {
    dnnl_primitive_t primitive;
    dnnl_primitive_desc_t pd;
    dnnl_exec_arg_t args[ARGS_MAX]; /* scratch memory first */
    int count;
    const struct tr_layout *layouts[3];
};

struct tr_dn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attr; /* user-managed scratchpad */
    struct tr_layout **layouts;
    int layout_count;
    void *scratch;
    size_t scratch_bytes;
};

static int dnnl_check(dnnl_status_t status)
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

/* ---- 2.x or 3.x ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t md_ref;

static md_ref md_of(const dnnl_memory_desc_t *md)
{
    return *md;
}

static int md_copy(md_ref from, dnnl_memory_desc_t *ret_md)
{
    return dnnl_check(dnnl_memory_desc_clone(ret_md, from));
}

static int md_make(const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag,
                   dnnl_memory_desc_t *ret_md)
{
    return dnnl_check(dnnl_memory_desc_create_with_tag(ret_md, 4, dims, type, tag));
}

static dnnl_data_type_t md_type(md_ref md)
{
    dnnl_data_type_t type = dnnl_data_type_undef;

    dnnl_memory_desc_query(md, dnnl_query_data_type, &type);
    return type;
}

static void md_dims(md_ref md, dnnl_dims_t ret_dims)
{
    dnnl_dims_t *dims;

    if (dnnl_memory_desc_query(md, dnnl_query_dims, &dims) == dnnl_success)
        memcpy(ret_dims, *dims, 4 * sizeof(dnnl_dim_t));
}

static void md_drop(dnnl_memory_desc_t *md)
{
    dnnl_memory_desc_destroy(*md);
}
#else
typedef const dnnl_memory_desc_t *md_ref;

static md_ref md_of(const dnnl_memory_desc_t *md)
{
    return md;
}

static int md_copy(md_ref from, dnnl_memory_desc_t *ret_md)
{
    *ret_md = *from;
    return 0;
}

static int md_make(const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag,
                   dnnl_memory_desc_t *ret_md)
{
    return dnnl_check(dnnl_memory_desc_init_by_tag(ret_md, 4, dims, type, tag));
}

static dnnl_data_type_t md_type(md_ref md)
{
    return md->data_type;
}

static void md_dims(md_ref md, dnnl_dims_t ret_dims)
{
    memcpy(ret_dims, md->dims, 4 * sizeof(dnnl_dim_t));
}

static void md_drop(dnnl_memory_desc_t *md)
{
    (void)md;
}
#endif

/* The window of a convolution or of the global average. */
struct window {
    dnnl_dims_t kernel, stride, pad_low, pad_high, dilation;
};

static struct window window_of(const struct tr_op *op)
{
    struct window w = {{op->kernel, op->kernel}, {op->stride, op->stride}, {op->pad, op->pad}, {0}, {0}};

    if (op->kind == TR_OP_GAP)
        return (struct window){.kernel = {op->x.h, op->x.w}, .stride = {1, 1}};
    /* Padding of the last window; less than pad if the stride does not divide evenly. */
    w.pad_high[0] = (dnnl_dim_t)(op->y.h - 1) * op->stride + op->kernel - op->x.h - op->pad;
    w.pad_high[1] = (dnnl_dim_t)(op->y.w - 1) * op->stride + op->kernel - op->x.w - op->pad;
    return w;
}

static dnnl_prop_kind_t forward_kind(const struct tr_op *op)
{
    return op->training ? dnnl_forward_training : dnnl_forward_inference;
}

static dnnl_status_t conv_pd(struct tr_dn *dn, const struct tr_op *op, enum tr_direction direction,
                             const md_ref xwy[3], const_dnnl_primitive_desc_t hint,
                             dnnl_primitive_desc_t *ret_pd)
{
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    struct window w = window_of(op);
#if DNNL_VERSION_MAJOR >= 3
    if (direction == TR_BACKWARD_DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(ret_pd, dn->engine, direct, xwy[0],
                                                                    xwy[1], xwy[2], w.stride, w.dilation,
                                                                    w.pad_low, w.pad_high, hint, dn->attr);
    if (direction == TR_BACKWARD_WEIGHTS)
        return dnnl_convolution_backward_weights_primitive_desc_create(
            ret_pd, dn->engine, direct, xwy[0], xwy[1], NULL, xwy[2], w.stride, w.dilation, w.pad_low,
            w.pad_high, hint, dn->attr);
    return dnnl_convolution_forward_primitive_desc_create(ret_pd, dn->engine, forward_kind(op), direct,
                                                          xwy[0], xwy[1], NULL, xwy[2], w.stride, w.dilation,
                                                          w.pad_low, w.pad_high, dn->attr);
#else
    dnnl_convolution_desc_t d;
    dnnl_status_t status;

    if (direction == TR_BACKWARD_DATA)
        status = dnnl_convolution_backward_data_desc_init(&d, direct, xwy[0], xwy[1], xwy[2], w.stride,
                                                          w.pad_low, w.pad_high);
    else if (direction == TR_BACKWARD_WEIGHTS)
        status = dnnl_convolution_backward_weights_desc_init(&d, direct, xwy[0], xwy[1], NULL, xwy[2],
                                                             w.stride, w.pad_low, w.pad_high);
    else
        status = dnnl_convolution_forward_desc_init(&d, forward_kind(op), direct, xwy[0], xwy[1], NULL,
                                                    xwy[2], w.stride, w.pad_low, w.pad_high);
    return status == dnnl_success ? dnnl_primitive_desc_create(ret_pd, &d, dn->attr, dn->engine, hint)
                                  : status;
#endif
}

static dnnl_status_t pool_pd(struct tr_dn *dn, const struct tr_op *op, md_ref x, md_ref y,
                             const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *ret_pd)
{
    const dnnl_alg_kind_t alg = dnnl_pooling_avg_exclude_padding;
    struct window w = window_of(op);
#if DNNL_VERSION_MAJOR >= 3
    if (hint)
        return dnnl_pooling_backward_primitive_desc_create(ret_pd, dn->engine, alg, x, y, w.stride, w.kernel,
                                                           w.dilation, w.pad_low, w.pad_high, hint, dn->attr);
    return dnnl_pooling_forward_primitive_desc_create(ret_pd, dn->engine, forward_kind(op), alg, x, y,
                                                      w.stride, w.kernel, w.dilation, w.pad_low, w.pad_high,
                                                      dn->attr);
#else
    dnnl_pooling_desc_t d;
    dnnl_status_t status =
        hint ? dnnl_pooling_backward_desc_init(&d, alg, x, y, w.stride, w.kernel, w.pad_low, w.pad_high)
             : dnnl_pooling_forward_desc_init(&d, forward_kind(op), alg, x, y, w.stride, w.kernel, w.pad_low,
                                              w.pad_high);

    return status == dnnl_success ? dnnl_primitive_desc_create(ret_pd, &d, dn->attr, dn->engine, hint)
                                  : status;
#endif
}

/* ---- layouts ---- */

/* The unique layout equal to md; a new one is kept. NULL: out of memory. */
static const struct tr_layout *intern(struct tr_dn *dn, md_ref md)
{
    struct tr_layout *l;

    for (int i = 0; i < dn->layout_count; i++)
        if (dnnl_memory_desc_equal(md_of(&dn->layouts[i]->md), md))
            return dn->layouts[i];
    l = dn->layout_count < LAYOUTS_MAX ? calloc(1, sizeof *l) : NULL;
    if (!l || md_copy(md, &l->md) < 0) {
        free(l);
        return NULL;
    }
    l->bytes = dnnl_memory_desc_get_size(md);
    l->type = md_type(md) == dnnl_bf16 ? IMK_BF16 : IMK_F32;
    md_dims(md, l->dims);
    dn->layouts[dn->layout_count++] = l;
    return l;
}

static dnnl_data_type_t type_of(enum imk_dtype type)
{
    return type == IMK_BF16 ? dnnl_bf16 : dnnl_f32;
}

static const struct tr_layout *tagged(struct tr_dn *dn, const dnnl_dims_t dims, dnnl_data_type_t type,
                                      dnnl_format_tag_t tag)
{
    const struct tr_layout *l;
    dnnl_memory_desc_t md;

    if (md_make(dims, type, tag, &md) < 0)
        return NULL;
    l = intern(dn, md_of(&md));
    md_drop(&md);
    return l;
}

const struct tr_layout *tr_dn_layout(struct tr_dn *dn, const int dims[4], enum tr_tag tag,
                                     enum imk_dtype type)
{
    static const dnnl_format_tag_t tags[] = {
        [TR_TAG_ANY] = dnnl_format_tag_any, [TR_TAG_PLAIN] = dnnl_abcd,      [TR_TAG_LAST] = dnnl_acdb,
        [TR_TAG_BLOCK8] = dnnl_aBcd8b,      [TR_TAG_BLOCK16] = dnnl_aBcd16b,
    };
    const dnnl_dims_t d = {dims[0], dims[1], dims[2], dims[3]};

    return tagged(dn, d, type_of(type), tags[tag]);
}

enum imk_dtype tr_layout_type(const struct tr_layout *layout)
{
    return layout->type;
}

int tr_dn_retype(struct tr_dn *dn, const struct tr_layout *layout, enum imk_dtype type,
                 const struct tr_layout **ret_layout)
{
    static const dnnl_format_tag_t tags[] = {dnnl_abcd, dnnl_acdb, dnnl_aBcd8b, dnnl_aBcd16b};

    *ret_layout = layout;
    if (layout->type == type)
        return 0;
    for (size_t i = 0; i < IM_COUNT(tags); i++) {
        if (tagged(dn, layout->dims, type_of(layout->type), tags[i]) != layout)
            continue;
        *ret_layout = tagged(dn, layout->dims, type_of(type), tags[i]);
        return *ret_layout ? 0 : -ENOMEM;
    }
    return -ENOTSUP;
}

size_t tr_layout_bytes(const struct tr_layout *layout)
{
    return layout->bytes;
}

/* ---- primitives ---- */

/* One argument of a primitive: its number, and which memory descriptor of the primitive's it has. */
struct arg {
    int number;
    dnnl_query_t md;
};

static md_ref arg_md(dnnl_primitive_desc_t pd, struct arg a)
{
    return dnnl_primitive_desc_query_md(pd, a.md, 0);
}

static int add_arg(struct tr_dn *dn, struct tr_prim *p, int number, md_ref md)
{
    dnnl_memory_t memory;
    int err = dnnl_check(dnnl_memory_create(&memory, md, dn->engine, DNNL_MEMORY_NONE));

    im_assert(p->count < ARGS_MAX);
    if (err == 0)
        p->args[p->count++] = (dnnl_exec_arg_t){number, memory};
    return err;
}

static int grow_scratch(struct tr_dn *dn, size_t bytes)
{
    void *larger;

    if (bytes <= dn->scratch_bytes)
        return 0;
    larger = tr_cpu_alloc(bytes);
    if (!larger)
        return -ENOMEM;
    tr_cpu_free(dn->scratch);
    dn->scratch = larger;
    dn->scratch_bytes = bytes;
    return 0;
}

/* Makes the primitive of pd, which it takes over, with `args` up to number 0. */
static int make_primitive(struct tr_dn *dn, dnnl_primitive_desc_t pd, const struct arg *args,
                          struct tr_prim **ret_prim)
{
    struct tr_prim *p = calloc(1, sizeof *p);
    md_ref scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    int err;

    if (!p) {
        dnnl_primitive_desc_destroy(pd);
        return -ENOMEM;
    }
    p->pd = pd;
    err = dnnl_check(dnnl_primitive_create(&p->primitive, pd));
    if (err == 0)
        err = grow_scratch(dn, dnnl_memory_desc_get_size(scratch));
    if (err == 0)
        err = add_arg(dn, p, DNNL_ARG_SCRATCHPAD, scratch);
    for (; err == 0 && args->number; args++)
        err = add_arg(dn, p, args->number, arg_md(pd, *args));
    if (err < 0) {
        tr_prim_free(p);
        return err;
    }
    *ret_prim = p;
    return 0;
}

void tr_prim_free(struct tr_prim *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->count; i++)
        dnnl_memory_destroy(p->args[i].memory);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    dnnl_primitive_desc_destroy(p->pd);
    free(p);
}

/* Notes which layouts were chosen. what: the descriptors of x, w, y. */
static int note_layouts(struct tr_dn *dn, struct tr_prim *p, const dnnl_query_t what[3])
{
    for (int i = 0; i < 3; i++) {
        if (what[i] == dnnl_query_undef)
            continue;
        p->layouts[i] = intern(dn, dnnl_primitive_desc_query_md(p->pd, what[i], 0));
        if (!p->layouts[i])
            return -ENOMEM;
    }
    return 0;
}

int tr_dn_conv(struct tr_dn *dn, const struct tr_op *op, enum tr_direction direction,
               const struct tr_layout *const xwy[3], const struct tr_prim *forward, struct tr_prim **ret_prim)
{
    const dnnl_query_t src = dnnl_query_src_md, dst = dnnl_query_dst_md, w = dnnl_query_weights_md;
    const dnnl_query_t dx = dnnl_query_diff_src_md, dy = dnnl_query_diff_dst_md,
                       dw = dnnl_query_diff_weights_md;
    const struct arg args[3][4] = {
        {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, dst}, {0}},
        {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DIFF_SRC, dx}, {0}},
        {{DNNL_ARG_SRC, src}, {DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_WEIGHTS, dw}, {0}},
    };
    const dnnl_query_t chosen[3][3] = {{src, w, dst}, {dx, w, dy}, {src, dw, dy}};
    const md_ref mds[3] = {md_of(&xwy[0]->md), md_of(&xwy[1]->md), md_of(&xwy[2]->md)};
    struct tr_prim *p = NULL;
    dnnl_primitive_desc_t pd;
    int err = dnnl_check(conv_pd(dn, op, direction, mds, forward ? forward->pd : NULL, &pd));

    if (err == 0)
        err = make_primitive(dn, pd, args[direction], &p);
    if (err == 0)
        err = note_layouts(dn, p, chosen[direction]);
    if (err < 0) {
        tr_prim_free(p);
        return err;
    }
    *ret_prim = p;
    return 0;
}

int tr_dn_pool(struct tr_dn *dn, const struct tr_op *op, const struct tr_layout *x, const struct tr_layout *y,
               const struct tr_prim *forward, struct tr_prim **ret_prim)
{
    const dnnl_query_t chosen[2][3] = {{dnnl_query_src_md, dnnl_query_undef, dnnl_query_dst_md},
                                       {dnnl_query_diff_src_md, dnnl_query_undef, dnnl_query_diff_dst_md}};
    const struct arg args[2][3] = {
        {{DNNL_ARG_SRC, dnnl_query_src_md}, {DNNL_ARG_DST, dnnl_query_dst_md}, {0}},
        {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md}, {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md}, {0}},
    };
    struct tr_prim *p = NULL;
    dnnl_primitive_desc_t pd;
    int err = dnnl_check(pool_pd(dn, op, md_of(&x->md), md_of(&y->md), forward ? forward->pd : NULL, &pd));

    if (err == 0)
        err = make_primitive(dn, pd, args[forward != NULL], &p);
    if (err == 0)
        err = note_layouts(dn, p, chosen[forward != NULL]);
    if (err < 0) {
        tr_prim_free(p);
        return err;
    }
    *ret_prim = p;
    return 0;
}

int tr_dn_reorder(struct tr_dn *dn, const struct tr_layout *from, const struct tr_layout *to,
                  struct tr_prim **ret_prim)
{
    const struct arg args[] = {{DNNL_ARG_FROM, dnnl_query_src_md}, {DNNL_ARG_TO, dnnl_query_dst_md}, {0}};
    dnnl_primitive_desc_t pd;
    int err = dnnl_check(dnnl_reorder_primitive_desc_create(&pd, md_of(&from->md), dn->engine, md_of(&to->md),
                                                            dn->engine, dn->attr));

    return err < 0 ? err : make_primitive(dn, pd, args, ret_prim);
}

const struct tr_layout *tr_prim_layout(const struct tr_prim *p, enum tr_role role)
{
    return p->layouts[role];
}

const char *tr_prim_kernel(const struct tr_prim *p)
{
    const char *name = "";

    return dnnl_primitive_desc_query(p->pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success ? name : "";
}

int tr_prim_run(struct tr_dn *dn, struct tr_prim *p, void *const *data)
{
    int err = dnnl_check(dnnl_memory_set_data_handle(p->args[0].memory, dn->scratch));

    for (int i = 1; err == 0 && i < p->count; i++)
        err = dnnl_check(dnnl_memory_set_data_handle(p->args[i].memory, data[i - 1]));
    return err < 0 ? err : dnnl_check(dnnl_primitive_execute(p->primitive, dn->stream, p->count, p->args));
}

int tr_dn_gemm(const struct tr_gemm *g)
{
    return dnnl_check(
        dnnl_sgemm(g->a, g->b, g->m, g->n, g->k, 1, g->A, g->lda, g->B, g->ldb, g->beta, g->C, g->n));
}

/* ---- the device ---- */

size_t tr_dn_scratch_bytes(const struct tr_dn *dn)
{
    return dn->scratch_bytes;
}

bool tr_dn_has_bf16(struct tr_dn *dn)
{
    struct tr_op op = {
        .x = {2, 16, 8, 8}, .y = {2, 16, 8, 8}, .kernel = 3, .stride = 1, .pad = 1, .training = true};
    const int value[4] = {2, 16, 8, 8}, weight[4] = {16, 16, 3, 3};
    const struct tr_layout *x = tr_dn_layout(dn, value, TR_TAG_ANY, IMK_BF16),
                           *w = tr_dn_layout(dn, weight, TR_TAG_ANY, IMK_BF16);
    struct tr_prim *conv = NULL;
    bool has =
        x && w && tr_dn_conv(dn, &op, TR_FORWARD, (const struct tr_layout *[]){x, w, x}, NULL, &conv) == 0;

    tr_prim_free(conv);
    return has;
}

int tr_dn_open(struct tr_dn **ret_dn)
{
    struct tr_dn *dn = calloc(1, sizeof *dn);
    int err;

    if (!dn)
        return -ENOMEM;
    dn->layouts = calloc(LAYOUTS_MAX, sizeof(struct tr_layout *));
    err = dn->layouts ? dnnl_check(dnnl_engine_create(&dn->engine, dnnl_cpu, 0)) : -ENOMEM;
    if (err == 0)
        err = dnnl_check(dnnl_stream_create(&dn->stream, dn->engine, dnnl_stream_default_flags));
    if (err == 0)
        err = dnnl_check(dnnl_primitive_attr_create(&dn->attr));
    if (err == 0)
        err = dnnl_check(dnnl_primitive_attr_set_scratchpad_mode(dn->attr, dnnl_scratchpad_mode_user));
    if (err < 0) {
        tr_dn_close(dn);
        return err;
    }
    *ret_dn = dn;
    return 0;
}

void tr_dn_close(struct tr_dn *dn)
{
    if (!dn)
        return;
    for (int i = 0; i < dn->layout_count; i++) {
        md_drop(&dn->layouts[i]->md);
        free(dn->layouts[i]);
    }
    free(dn->layouts);
    tr_cpu_free(dn->scratch);
    if (dn->attr)
        dnnl_primitive_attr_destroy(dn->attr);
    if (dn->stream)
        dnnl_stream_destroy(dn->stream);
    if (dn->engine)
        dnnl_engine_destroy(dn->engine);
    free(dn);
}
