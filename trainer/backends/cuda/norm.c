/* Batch norm, fused with up to three more ops: an addition, ReLU and the stem's max-pool. The plan selects
 * cuDNN or our kernels; over several GPUs ours run, in two halves with a sum over the ranks between them. */
#include "kernels/cuda/norm.h"
#include "trainer/backends/cuda/impl.h"

static struct imk_cuda_rows rows_of(const struct tr_op_plan *p)
{
    const struct tr_shape *s = &p->op.x;

    return (struct imk_cuda_rows){
        .rows = (int64_t)s->n * s->h * s->w, .c = s->c, .pitch = p->x_pitch, .type = p->type};
}

static float *means(const struct tr_exec *e)
{
    return e->save;
}

static float *deviations(const struct tr_op_plan *p, const struct tr_exec *e)
{
    return (float *)e->save + p->op.x.c;
}

static uint8_t *mask(const struct tr_op_plan *p, const struct tr_exec *e)
{
    return p->op.training && (p->op.relu || p->op.pools) ? (uint8_t *)e->save + p->mask_at : NULL;
}

static int library_norm_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return tr_dnn_norm_run(b->dnn, p->norm_forward,
                           &(struct tr_dnn_norm_args){.x = e->x,
                                                      .z = p->op.adds ? e->x2 : NULL,
                                                      .y = e->y,
                                                      .mask = mask(p, e),
                                                      .scale = e->w,
                                                      .bias = e->b,
                                                      .run_mean = e->run_mean,
                                                      .run_var = e->run_var,
                                                      .mean = means(e),
                                                      .inv_dev = deviations(p, e)});
}

static double *count_of(const struct tr_op_plan *p, const struct tr_exec *e)
{
    return p->op.synced ? (void *)((float *)e->save + 2 * (size_t)p->op.x.c) : NULL;
}

/* The buffer summed over the ranks: doubles forward, floats backward. */
static void *sums_of(struct tr_backend *b, const struct tr_op_plan *p)
{
    return p->op.synced ? (char *)b->scratch.memory + p->sums_at : NULL;
}

static int finish_statistics(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_bn_finish(&(struct imk_cuda_bn_finish){.c = p->op.x.c,
                                                           .sums = sums_of(b, p),
                                                           .mean = means(e),
                                                           .inv = deviations(p, e),
                                                           .count = count_of(p, e),
                                                           .run_mean = e->run_mean,
                                                           .run_var = e->run_var,
                                                           .eps = TR_BN_EPS,
                                                           .momentum = TR_BN_MOMENTUM},
                              tr_cuda_stream(b));
}

static int statistics(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const bool synced = p->op.synced; /* then finish_statistics() writes what this one leaves out */
    int err = imk_cuda_bn_stats(&(struct imk_cuda_bn_stats){.shape = rows_of(p),
                                                            .x = e->x,
                                                            .mean = synced ? NULL : means(e),
                                                            .inv = synced ? NULL : deviations(p, e),
                                                            .run_mean = synced ? NULL : e->run_mean,
                                                            .run_var = synced ? NULL : e->run_var,
                                                            .sums = sums_of(b, p),
                                                            .eps = TR_BN_EPS,
                                                            .momentum = TR_BN_MOMENTUM,
                                                            .scratch = b->scratch.memory},
                                tr_cuda_stream(b));

    if (err < 0 || !synced)
        return err;
    err = tr_cuda_sum_and_wait(b, sums_of(b, p), 2 * (size_t)p->op.x.c + 1, true);
    return err == 0 ? finish_statistics(b, p, e) : err;
}

int tr_cuda_norm_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const bool training = p->op.training && !p->op.frozen;
    const struct imk_cuda_affine affine = {.mean = training ? means(e) : e->run_mean,
                                           .inv = training ? deviations(p, e) : NULL,
                                           .var = training ? NULL : e->run_var,
                                           .gamma = e->w,
                                           .beta = e->b,
                                           .eps = TR_BN_EPS};
    int err;

    if (p->norm_forward)
        return library_norm_forward(b, p, e);
    err = training ? statistics(b, p, e) : 0;
    if (err < 0)
        return err;
    if (p->op.pools)
        return imk_cuda_stem(&(struct imk_cuda_stem){.window = tr_cuda_window(p),
                                                     .c = p->op.x.c,
                                                     .affine = affine,
                                                     .x = e->x,
                                                     .y = e->y,
                                                     .place = mask(p, e)},
                             tr_cuda_stream(b));
    return imk_cuda_bn_apply(&(struct imk_cuda_bn_apply){.shape = rows_of(p),
                                                         .affine = affine,
                                                         .x = e->x,
                                                         .z = p->op.adds ? e->x2 : NULL,
                                                         .y = e->y,
                                                         .relu = p->op.relu,
                                                         .mask = mask(p, e)},
                             tr_cuda_stream(b));
}

static int library_norm_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    int err = tr_cuda_join_dy(b, p, e);

    return err < 0 ? err
                   : tr_dnn_norm_run(b->dnn, p->norm_backward,
                                     &(struct tr_dnn_norm_args){.x = e->x,
                                                                .mask = mask(p, e),
                                                                .scale = e->w,
                                                                .mean = means(e),
                                                                .inv_dev = deviations(p, e),
                                                                .dy = e->dy[0],
                                                                .dx = e->dx,
                                                                .dz = p->op.adds ? e->dx2 : NULL,
                                                                .dscale = e->dw,
                                                                .dbias = e->db});
}

static int stem_sums(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_stem_sums(&(struct imk_cuda_stem_sums){.window = tr_cuda_window(p),
                                                           .c = p->op.x.c,
                                                           .x = e->x,
                                                           .dy = e->dy[0],
                                                           .dy2 = e->dy[1],
                                                           .place = mask(p, e),
                                                           .mean = means(e),
                                                           .inv = deviations(p, e),
                                                           .dgamma = e->dw,
                                                           .dbeta = e->db,
                                                           .sums = sums_of(b, p),
                                                           .scratch = b->scratch.memory},
                              tr_cuda_stream(b));
}

static int row_sums(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_bn_sums(&(struct imk_cuda_bn_sums){.shape = rows_of(p),
                                                       .x = e->x,
                                                       .dy = e->dy[0],
                                                       .dy2 = e->dy[1],
                                                       .mask = mask(p, e),
                                                       .mean = means(e),
                                                       .inv = deviations(p, e),
                                                       .dgamma = e->dw,
                                                       .dbeta = e->db,
                                                       .sums = sums_of(b, p),
                                                       .scratch = b->scratch.memory},
                            tr_cuda_stream(b));
}

static int stem_dx(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e,
                   const float *dgamma, const float *dbeta)
{
    return imk_cuda_stem_dx(&(struct imk_cuda_stem_dx){.var = p->op.frozen ? e->run_var : NULL,
                                                       .eps = TR_BN_EPS,
                                                       .window = tr_cuda_window(p),
                                                       .c = p->op.x.c,
                                                       .x = e->x,
                                                       .dy = e->dy[0],
                                                       .dy2 = e->dy[1],
                                                       .place = mask(p, e),
                                                       .mean = means(e),
                                                       .inv = deviations(p, e),
                                                       .gamma = e->w,
                                                       .dgamma = dgamma,
                                                       .dbeta = dbeta,
                                                       .count = count_of(p, e),
                                                       .dx = e->dx},
                            tr_cuda_stream(b));
}

static int row_dx(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e,
                  const float *dgamma, const float *dbeta)
{
    return imk_cuda_bn_dx(&(struct imk_cuda_bn_dx){.var = p->op.frozen ? e->run_var : NULL,
                                                   .eps = TR_BN_EPS,
                                                   .shape = rows_of(p),
                                                   .x = e->x,
                                                   .dy = e->dy[0],
                                                   .dy2 = e->dy[1],
                                                   .mask = mask(p, e),
                                                   .mean = means(e),
                                                   .inv = deviations(p, e),
                                                   .gamma = e->w,
                                                   .dgamma = dgamma,
                                                   .dbeta = dbeta,
                                                   .count = count_of(p, e),
                                                   .dx = e->dx,
                                                   .dz = p->op.adds ? e->dx2 : NULL},
                          tr_cuda_stream(b));
}

int tr_cuda_norm_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const size_t channels = (size_t)p->op.x.c;
    const float *sums = sums_of(b, p), *dgamma = sums ? sums : e->dw, *dbeta = sums ? sums + channels : e->db;
    int err = 0;

    if (p->norm_backward)
        return library_norm_backward(b, p, e);
    if (!p->op.frozen)
        err = p->op.pools ? stem_sums(b, p, e) : row_sums(b, p, e);
    if (err == 0 && p->op.synced)
        err = tr_cuda_sum_and_wait(b, sums_of(b, p), 2 * channels, false);
    if (err != 0)
        return err;
    return p->op.pools ? stem_dx(b, p, e, dgamma, dbeta) : row_dx(b, p, e, dgamma, dbeta);
}
