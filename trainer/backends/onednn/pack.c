/* Copies of the oneDNN backend: weights repacked once per change, one copy per layout, shared by all plans of
 * the same layer; and the staging buffer, which reorders operands to the layout that a primitive requires.
 * Neither allocates after planning. */
#include "trainer/backends/onednn/plan.h"

#include <errno.h>
#include <stdlib.h>

#include "ipc/base/count.h"
#include "trainer/backends/onednn/loops.h"

const struct tr_layout *tr_value_layout(struct tr_backend *b, struct tr_shape s, enum tr_tag tag,
                                        enum imk_dtype type)
{
    return tr_dn_layout(b->dn, (int[4]){s.n, s.c, s.h, s.w}, tag, type);
}

int tr_value_form(struct tr_backend *b, struct tr_shape s, const struct tr_layout *layout,
                  enum imk_dtype type, enum tr_tag *ret_tag, size_t *ret_inner)
{
    const struct {
        enum tr_tag tag;
        int inner;
    } forms[] = {{TR_TAG_PLAIN, 1}, {TR_TAG_BLOCK8, 8}, {TR_TAG_BLOCK16, 16}, {TR_TAG_LAST, s.c}};

    for (size_t i = 0; i < IM_COUNT(forms); i++) {
        if (tr_value_layout(b, s, forms[i].tag, type) != layout)
            continue;
        *ret_tag = forms[i].tag;
        *ret_inner = (size_t)forms[i].inner;
        return 0;
    }
    return -ENOTSUP;
}

const struct tr_layout *tr_weight_layout(struct tr_backend *b, const struct tr_op *op, enum tr_tag tag,
                                         enum imk_dtype type)
{
    int side = op->kind == TR_OP_FC ? 1 : op->kernel;

    return tr_dn_layout(b->dn, (int[4]){op->y.c, op->x.c, side, side}, tag, type);
}

int tr_stage_reserve(struct tr_backend *b, size_t bytes)
{
    char *larger;

    if (bytes <= b->stage_bytes)
        return 0;
    larger = tr_cpu_alloc(bytes);
    if (!larger)
        return -ENOMEM;
    tr_cpu_free(b->stage);
    b->stage = larger;
    b->stage_bytes = bytes;
    return 0;
}

/* ---- packed weights ---- */

static void pack_free(struct tr_pack *p)
{
    tr_prim_free(p->reorder);
    tr_cpu_free(p->data);
    tr_cpu_free(p->round);
    free(p);
}

static int pack_new(struct tr_backend *b, const struct tr_op_plan *plan, const struct tr_layout *layout,
                    enum tr_form form, struct tr_pack **ret_pack)
{
    const struct tr_layout *plain = tr_weight_layout(b, &plan->op, TR_TAG_PLAIN, IMK_F32);
    struct tr_pack *p = plain ? calloc(1, sizeof *p) : NULL;
    int err = 0;

    if (!p)
        return -ENOMEM;
    *p = (struct tr_pack){.next = b->packs, .weight_id = plan->op.weight_id, .users = 1, .layout = layout};
    p->form = form;
    p->wino = plan->wino;
    p->count = tr_layout_bytes(plain) / sizeof(float);
    p->bytes = form != TR_FORM_LAYOUT ? tr_wino_weight_floats(&p->wino) * sizeof(float)
               : layout != plain      ? tr_layout_bytes(layout)
                                      : 0;
    if (plan->narrow.on) {
        p->round = tr_cpu_alloc(tr_layout_bytes(plain));
        err = p->round ? 0 : -ENOMEM;
    }
    if (err == 0 && p->bytes > 0) {
        p->data = tr_cpu_alloc(p->bytes);
        err = p->data ? 0 : -ENOMEM;
    }
    if (err == 0 && p->data && form == TR_FORM_LAYOUT)
        err = tr_dn_reorder(b->dn, plain, layout, &p->reorder);
    if (err < 0) {
        pack_free(p);
        return err;
    }
    b->packs = p;
    *ret_pack = p;
    return 0;
}

int tr_pack_get(struct tr_backend *b, const struct tr_op_plan *plan, const struct tr_layout *layout,
                enum tr_form form, struct tr_pack **ret_pack)
{
    for (struct tr_pack *p = b->packs; p; p = p->next) {
        if (plan->op.weight_id >= 0 && p->weight_id == plan->op.weight_id && p->layout == layout &&
            p->form == form && (p->round != NULL) == plan->narrow.on) {
            p->users++;
            *ret_pack = p;
            return 0;
        }
    }
    return pack_new(b, plan, layout, form, ret_pack);
}

void tr_pack_put(struct tr_backend *b, struct tr_pack *p)
{
    struct tr_pack **link = &b->packs;

    if (!p || --p->users > 0)
        return;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    pack_free(p);
}

int tr_pack_fresh(struct tr_backend *b, struct tr_pack *p, const struct tr_exec *e, void **ret_weights)
{
    void *plain = p->round ? p->round : tr_in(e->w);
    int err = 0;

    *ret_weights = p->data ? p->data : plain;
    if (*ret_weights == e->w || (p->from == e->w && p->version == e->param_version))
        return 0;
    if (p->round)
        tr_cpu_round(p->round, e->w, p->count);
    if (p->form != TR_FORM_LAYOUT)
        tr_wino_weights(&p->wino, plain, p->form == TR_FORM_WINO_BACKWARD, p->data);
    else if (p->data)
        err = tr_prim_run(b->dn, p->reorder, (void *[]){plain, p->data});
    p->from = err < 0 ? NULL : e->w;
    p->version = e->param_version;
    return err;
}

/* ---- primitives with reorders around them ---- */

int tr_stage_operand(struct tr_backend *b, struct tr_staged *s, int operand, const struct tr_layout *outside,
                     const struct tr_layout *inside, size_t *used)
{
    int err;

    if (outside == inside)
        return 0;
    s->at[operand] = *used;
    *used += tr_lines(tr_layout_bytes(inside));
    err = tr_stage_reserve(b, *used);
    if (err < 0)
        return err;
    return operand == TR_WRITTEN ? tr_dn_reorder(b->dn, inside, outside, &s->reorder[operand])
                                 : tr_dn_reorder(b->dn, outside, inside, &s->reorder[operand]);
}

int tr_staged_run(struct tr_backend *b, struct tr_staged *s, void *const operands[TR_OPERANDS])
{
    void *data[TR_OPERANDS];
    int err = 0;

    for (int i = 0; i < TR_OPERANDS; i++) {
        data[i] = s->reorder[i] ? b->stage + s->at[i] : operands[i];
        if (err == 0 && s->reorder[i] && i != TR_WRITTEN)
            err = tr_prim_run(b->dn, s->reorder[i], (void *[]){operands[i], data[i]});
    }
    if (err == 0)
        err = tr_prim_run(b->dn, s->prim, data);
    if (err == 0 && s->reorder[TR_WRITTEN])
        err = tr_prim_run(b->dn, s->reorder[TR_WRITTEN], (void *[]){data[TR_WRITTEN], operands[TR_WRITTEN]});
    return err;
}

void tr_staged_fini(struct tr_staged *s)
{
    tr_prim_free(s->prim);
    for (int i = 0; i < TR_OPERANDS; i++)
        tr_prim_free(s->reorder[i]);
}
