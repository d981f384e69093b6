/* A block takes a chunk of at most IMK_CUDA_CHUNK floats, a thread 4 neighbouring ones at a time. Elements
 * are computed in fp32 with factors that were computed in double; norms of spans are sums of doubles: of a
 * chunk by its block, of a span's chunks in their order.
 *
 * LAMB's direction depends on the moments alone, so its second pass computes it again rather than keep it. */
#include "kernels/cuda/optimizer.h"

#include <math.h>

#include "kernels/cuda/device.cuh"

enum { VECTOR = 4 };

/* What the elements of a chunk need, rounded once. */
struct factors {
    float grad, lr, momentum, decay, ratio;
    float take1, beta2, take2;           /* of the moments */
    float correction1, root2, eps, keep; /* keep: what AdamW's decay leaves of a weight */
};

/* The state of one element. */
struct element {
    float w, m, v, g;
};

/* The corrections of a span that began to be trained later than the rest are its own. */
IMK_DEVICE struct factors factors_of(const struct imk_cuda_update &a, const struct imk_cuda_span &span,
                                     float ratio)
{
    const struct imk_hyper *h = a.hyper;
    const double decay = span.decays ? h->weight_decay : 0.0, lr = h->lr * span.rate;
    double correction1 = a.verdict->correction1, root2 = a.verdict->root2;

    if (span.since > 0) {
        const double t = (double)(h->updates - span.since + 1);

        correction1 = 1.0 / (1.0 - pow(h->momentum, t));
        root2 = 1.0 / sqrt(1.0 - pow(h->beta2, t));
    }
    return {(float)a.verdict->grad_scale,
            (float)lr,
            (float)h->momentum,
            (float)decay,
            ratio,
            (float)(1.0 - h->momentum),
            (float)h->beta2,
            (float)(1.0 - h->beta2),
            (float)correction1,
            (float)root2,
            (float)h->eps,
            (float)(1.0 - lr * decay)};
}

IMK_DEVICE void moments(struct element *e, const struct factors &f)
{
    const float g = f.grad * e->g;

    e->m += f.take1 * (g - e->m);
    e->v = f.beta2 * e->v + f.take2 * g * g;
}

/* m-hat / (sqrt(v-hat) + eps) */
IMK_DEVICE float direction(const struct element &e, const struct factors &f)
{
    return e.m * f.correction1 / (sqrtf(e.v) * f.root2 + f.eps);
}

template <int KIND> IMK_DEVICE void step(struct element *e, const struct factors &f, bool nesterov)
{
    if (KIND == IMK_CUDA_ADAMW) {
        moments(e, f);
        e->w = e->w * f.keep - f.lr * direction(*e, f);
    } else if (KIND == IMK_CUDA_LAMB) {
        e->w -= f.lr * f.ratio * (direction(*e, f) + f.decay * e->w);
    } else {
        const float g = f.ratio * (f.grad * e->g + f.decay * e->w);

        e->m = f.momentum * e->m + g;
        e->w -= f.lr * (nesterov ? g + f.momentum * e->m : e->m);
    }
}

/* ---- four numbers at a time ---- */

IMK_DEVICE void load4(float *v, const float *p, bool wide, int left)
{
    if (wide) {
        const uint4 q = read16(p);

        v[0] = __uint_as_float(q.x), v[1] = __uint_as_float(q.y);
        v[2] = __uint_as_float(q.z), v[3] = __uint_as_float(q.w);
        return;
    }
    IMK_UNROLL
    for (int j = 0; j < VECTOR; j++)
        v[j] = j < left ? p[j] : 0.0f;
}

IMK_DEVICE void put4(const float *v, float *p, bool wide, int left)
{
    if (wide) {
        store4(v, p);
        return;
    }
    IMK_UNROLL
    for (int j = 0; j < VECTOR; j++)
        if (j < left)
            p[j] = v[j];
}

struct quad {
    size_t at;
    int left;
    bool wide;
};

/* The numbers i .. i+3 of a chunk. */
IMK_DEVICE struct quad quad_of(const struct imk_cuda_chunk &c, uint32_t i, bool aligned_arenas)
{
    const int left = c.count - i < VECTOR ? (int)(c.count - i) : (int)VECTOR;

    return {c.first + i, left, aligned_arenas && left == VECTOR && c.first % VECTOR == 0};
}

struct update_args {
    struct imk_cuda_update a;
    bool aligned;  /* all arenas lie on 16 bytes */
    double *sums;  /* [chunk][2]: LARS w^2, g^2; LAMB w^2, direction^2 */
    float *ratios; /* [span] */
};

IMK_DEVICE void average(const struct update_args &k, const struct quad &q, const float *w, float take)
{
    float e[VECTOR];

    load4(e, k.a.ema + q.at, q.wide, q.left);
    IMK_UNROLL
    for (int j = 0; j < VECTOR; j++)
        e[j] = take < 1.0f ? e[j] + take * (w[j] - e[j]) : w[j];
    put4(e, k.a.ema + q.at, q.wide, q.left);
}

template <int KIND> static __global__ void imk_update(struct update_args k)
{
    const struct imk_cuda_update &a = k.a;
    const struct imk_cuda_chunk c = a.chunks[blockIdx.x];
    const bool has_ratio = KIND == IMK_CUDA_LARS || KIND == IMK_CUDA_LAMB;

    if (a.verdict->skip)
        return;
    const struct factors f = factors_of(a, a.spans[c.span], has_ratio ? k.ratios[c.span] : 1.0f);
    const float take = (float)a.hyper->ema_weight;

    for (uint32_t i = threadIdx.x * VECTOR; i < c.count; i += THREADS * VECTOR) {
        const struct quad q = quad_of(c, i, k.aligned);
        float w[VECTOR], m[VECTOR], v[VECTOR] = {0}, g[VECTOR] = {0};

        load4(w, a.w + q.at, q.wide, q.left);
        load4(m, a.m + q.at, q.wide, q.left);
        if (KIND != IMK_CUDA_LAMB)
            load4(g, a.g + q.at, q.wide, q.left);
        if (KIND == IMK_CUDA_ADAMW || KIND == IMK_CUDA_LAMB)
            load4(v, a.v + q.at, q.wide, q.left);
        IMK_UNROLL
        for (int j = 0; j < VECTOR; j++) {
            struct element e = {w[j], m[j], v[j], g[j]};

            step<KIND>(&e, f, a.hyper->nesterov);
            w[j] = e.w, m[j] = e.m, v[j] = e.v;
        }
        put4(w, a.w + q.at, q.wide, q.left);
        if (KIND != IMK_CUDA_LAMB)
            put4(m, a.m + q.at, q.wide, q.left);
        if (KIND == IMK_CUDA_ADAMW)
            put4(v, a.v + q.at, q.wide, q.left);
        if (a.ema)
            average(k, q, w, take);
    }
}

/* LAMB's moments, and the squares that ratios are made of. */
template <int KIND> static __global__ void imk_squares_of_chunks(struct update_args k)
{
    const struct imk_cuda_update &a = k.a;
    const struct imk_cuda_chunk c = a.chunks[blockIdx.x];
    double weights = 0.0, others = 0.0;

    if (a.verdict->skip)
        return;
    const struct factors f = factors_of(a, a.spans[c.span], 1.0f);

    for (uint32_t i = threadIdx.x * VECTOR; i < c.count; i += THREADS * VECTOR) {
        const struct quad q = quad_of(c, i, k.aligned);
        float w[VECTOR], m[VECTOR] = {0}, v[VECTOR] = {0}, g[VECTOR];

        load4(w, a.w + q.at, q.wide, q.left);
        load4(g, a.g + q.at, q.wide, q.left);
        if (KIND == IMK_CUDA_LAMB) {
            load4(m, a.m + q.at, q.wide, q.left);
            load4(v, a.v + q.at, q.wide, q.left);
        }
        IMK_UNROLL
        for (int j = 0; j < VECTOR; j++) {
            struct element e = {w[j], m[j], v[j], g[j]};
            float other = g[j];

            if (KIND == IMK_CUDA_LAMB && j < q.left) {
                moments(&e, f);
                other = direction(e, f) + f.decay * e.w;
            }
            m[j] = e.m, v[j] = e.v;
            weights += (double)w[j] * (double)w[j];
            others += (double)other * (double)other;
        }
        if (KIND == IMK_CUDA_LAMB) {
            put4(m, a.m + q.at, q.wide, q.left);
            put4(v, a.v + q.at, q.wide, q.left);
        }
    }
    weights = block_sum(weights);
    others = block_sum(others);
    if (threadIdx.x == 0) {
        k.sums[2 * blockIdx.x] = weights;
        k.sums[2 * blockIdx.x + 1] = others;
    }
}

/* A block for each span. */
template <int KIND> static __global__ void imk_ratios_of_spans(struct update_args k)
{
    const struct imk_cuda_span span = k.a.spans[blockIdx.x];
    const struct imk_hyper *h = k.a.hyper;
    const double decay = span.decays ? h->weight_decay : 0.0;
    double w = 0.0, other = 0.0, ratio = 1.0;

    if (k.a.verdict->skip)
        return;
    for (uint32_t i = threadIdx.x; i < span.chunk_count; i += blockDim.x) {
        w += k.sums[2 * (size_t)(span.first_chunk + i)];
        other += k.sums[2 * (size_t)(span.first_chunk + i) + 1];
    }
    w = sqrt(block_sum(w));
    other = sqrt(block_sum(other));
    if (KIND == IMK_CUDA_LARS)
        other *= k.a.verdict->grad_scale;
    if (decay > 0.0 && w > 0.0 && other > 0.0)
        ratio = KIND == IMK_CUDA_LARS ? h->trust * w / (other + decay * w + h->eps) : w / other;
    if (threadIdx.x == 0)
        k.ratios[blockIdx.x] = (float)ratio;
}

extern "C" uint32_t imk_cuda_span_chunks(uint64_t first, uint64_t count, uint32_t span,
                                         struct imk_cuda_chunk *chunks)
{
    uint32_t made = 0;

    for (uint64_t done = 0; done < count; made++) {
        const uint64_t left = count - done, size = left < IMK_CUDA_CHUNK ? left : IMK_CUDA_CHUNK;

        if (chunks)
            chunks[made] = {first + done, (uint32_t)size, span};
        done += size;
    }
    return made;
}

extern "C" size_t imk_cuda_update_scratch(enum imk_cuda_optimizer kind, uint32_t chunk_count,
                                          uint32_t span_count)
{
    if (kind != IMK_CUDA_LARS && kind != IMK_CUDA_LAMB)
        return 0;
    return 2 * chunk_count * sizeof(double) + span_count * sizeof(float);
}

template <int KIND> static int run(const struct update_args &k, CUstream_st *stream)
{
    int err = 0;

    if (KIND == IMK_CUDA_LARS || KIND == IMK_CUDA_LAMB) {
        err = launch(imk_squares_of_chunks<KIND>, dim3(k.a.chunk_count), THREADS, stream, k);
        if (err == 0)
            err = launch(imk_ratios_of_spans<KIND>, dim3(k.a.span_count), WARP, stream, k);
    }
    return err == 0 ? launch(imk_update<KIND>, dim3(k.a.chunk_count), THREADS, stream, k) : err;
}

extern "C" int imk_cuda_update(const struct imk_cuda_update *a, struct CUstream_st *stream)
{
    const struct update_args k = {*a, aligned(a->w, a->m, a->v, a->ema, a->g), (double *)a->scratch,
                                  (float *)past((double *)a->scratch, 2 * (size_t)a->chunk_count)};

    if (a->chunk_count > GRID_X_MAX || a->span_count > GRID_X_MAX)
        return -EINVAL;
    if (a->chunk_count == 0)
        return 0;
    switch (a->kind) {
    case IMK_CUDA_SGD:
        return run<IMK_CUDA_SGD>(k, stream);
    case IMK_CUDA_ADAMW:
        return run<IMK_CUDA_ADAMW>(k, stream);
    case IMK_CUDA_LARS:
        return run<IMK_CUDA_LARS>(k, stream);
    case IMK_CUDA_LAMB:
        return run<IMK_CUDA_LAMB>(k, stream);
    }
    return -EINVAL;
}
