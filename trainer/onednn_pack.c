/* The oneDNN backend's copies: weights repacked once per change, one copy per layout wanted, shared by all
 * plans of the same layer; and the stage, a buffer through which operands go to a layout that a primitive
 * insists on. Neither allocates once the plans are made. */
#include "trainer/onednn_plan.h"

#include <errno.h>
#include <stdlib.h>

#include "trainer/cpu_ops.h"

const struct im_layout *tr_value_layout(struct im_backend *b, struct im_shape s, enum tr_tag tag)
{
    return tr_dn_layout(b->dn, (int[4]){s.n, s.c, s.h, s.w}, tag);
}

const struct im_layout *tr_weight_layout(struct im_backend *b, const struct im_op *op, enum tr_tag tag)
{
    return tr_dn_layout(b->dn, (int[4]){op->y.c, op->x.c, op->kernel, op->kernel}, tag);
}

int tr_stage_reserve(struct im_backend *b, size_t bytes)
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

static int pack_new(struct im_backend *b, const struct im_op *op, const struct im_layout *layout,
                    struct tr_pack **ret_pack)
{
    const struct im_layout *plain = tr_weight_layout(b, op, TR_TAG_PLAIN);
    struct tr_pack *p = plain ? calloc(1, sizeof(*p)) : NULL;
    int err = 0;

    if (!p)
        return -ENOMEM;
    *p = (struct tr_pack){.next = b->packs, .weight_id = op->weight_id, .users = 1, .layout = layout};
    if (layout != plain) {
        p->data = tr_cpu_alloc(tr_layout_bytes(layout));
        err = p->data ? tr_dn_reorder(b->dn, plain, layout, &p->reorder) : -ENOMEM;
    }
    if (err < 0) {
        tr_cpu_free(p->data);
        free(p);
        return err;
    }
    b->packs = p;
    *ret_pack = p;
    return 0;
}

int tr_pack_get(struct im_backend *b, const struct im_op *op, const struct im_layout *layout,
                struct tr_pack **ret_pack)
{
    for (struct tr_pack *p = b->packs; p; p = p->next) {
        if (op->weight_id >= 0 && p->weight_id == op->weight_id && p->layout == layout) {
            p->users++;
            *ret_pack = p;
            return 0;
        }
    }
    return pack_new(b, op, layout, ret_pack);
}

void tr_pack_put(struct im_backend *b, struct tr_pack *p)
{
    struct tr_pack **link = &b->packs;

    if (!p || --p->users > 0)
        return;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    tr_prim_free(p->reorder);
    tr_cpu_free(p->data);
    free(p);
}

int tr_pack_fresh(struct im_backend *b, struct tr_pack *p, const struct im_exec *e, void **ret_weights)
{
    int err = 0;

    *ret_weights = p->data ? p->data : tr_in(e->w);
    if (!p->data || (p->from == e->w && p->version == e->param_version))
        return 0;
    err = tr_prim_run(b->dn, p->reorder, (void *[]){tr_in(e->w), p->data});
    p->from = err < 0 ? NULL : e->w;
    p->version = e->param_version;
    return err;
}

/* ---- primitives with reorders around them ---- */

int tr_stage_operand(struct im_backend *b, struct tr_staged *s, int operand, const struct im_layout *outside,
                     const struct im_layout *inside, size_t *used)
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

int tr_staged_run(struct im_backend *b, struct tr_staged *s, void *const operands[TR_OPERANDS])
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
