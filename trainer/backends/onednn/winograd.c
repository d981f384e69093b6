/* Tiles of 2x2 outputs are numbered over the whole batch. A thread processes a group of them: it transforms
 * the 4x4 inputs of each (16 numbers for each channel), multiplies, for each of the 16 positions, the group's
 * [tile][channel] matrix by the weights', and transforms back. The group's matrices fit in the L2 cache,
 * which determines the group's size. The gradient of the weights is the transpose: the 16 products are summed
 * over tiles, in one matrix per thread; these are added in the order of the threads.
 *
 * Vectors are 8 channels of one position. The multiplication keeps 2 vectors of outputs for 6 tiles in
 * registers: 12 accumulators hide the latency of two FMA units. */
#include "trainer/backends/onednn/winograd.h"

#include <string.h>

typedef float vec __attribute__((vector_size(32), may_alias, aligned(32)));

enum {
    LANES = 8,
    POINTS = 16, /* of a transformed tile */
    TILES = 6,   /* in registers at once */
    GROUP_BYTES = 320 * 1024,
    GROUP_MIN = 24,
    GROUP_MAX = 96,
    CHANNELS_MIN = 32,
    SUMS_MAX = 16 * 256 * 256, /* floats */
    THREADS_MAX = 16,          /* with sums of their own */
    COLUMNS = 4,               /* channels in registers at once in the gradient */
};

static int group_of(const struct tr_wino *s)
{
    int fit = GROUP_BYTES / (POINTS * (s->c + s->k) * (int)sizeof(float)) / TILES * TILES;

    return fit < GROUP_MIN ? GROUP_MIN : fit > GROUP_MAX ? GROUP_MAX : fit;
}

static int tiles_high(const struct tr_wino *s)
{
    return (s->h + 1) / 2;
}

static int tiles_wide(const struct tr_wino *s)
{
    return (s->w + 1) / 2;
}

static int groups_of(const struct tr_wino *s)
{
    int tiles = s->n * tiles_high(s) * tiles_wide(s), group = group_of(s);

    return (tiles + group - 1) / group;
}

/* A thread's share of the groups begins here. */
static int first_group(const struct tr_wino *s, int thread)
{
    return (int)((long long)groups_of(s) * thread / s->threads);
}

bool tr_wino_fits(const struct tr_wino *s)
{
#if defined(_OPENMP) && defined(__AVX2__) && defined(__FMA__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           !__builtin_cpu_supports("avx512f") && s->c % LANES == 0 && s->k % LANES == 0 &&
           s->c >= CHANNELS_MIN && s->k >= CHANNELS_MIN && s->h >= 2 && s->w >= 2;
#else
    (void)s;
    return false;
#endif
}

bool tr_wino_gradient_fits(const struct tr_wino *s)
{
    return tr_wino_weight_floats(s) <= SUMS_MAX && s->threads <= THREADS_MAX &&
           (tiles_high(s) > 1 || tiles_wide(s) > 1);
}

size_t tr_wino_weight_floats(const struct tr_wino *s)
{
    return (size_t)POINTS * (size_t)s->c * (size_t)s->k;
}

size_t tr_wino_scratch_floats(const struct tr_wino *s)
{
    size_t group = (size_t)POINTS * (size_t)group_of(s) * ((size_t)s->c + (size_t)s->k);

    return (size_t)s->threads * (group + (tr_wino_gradient_fits(s) ? tr_wino_weight_floats(s) : 0));
}

/* ---- weights ---- */

/* G w G' of 8 filters at once; step: floats between the 16 results. */
static void transform_filters(const vec w[9], float *to, size_t step)
{
    vec half[4][3];

    for (int i = 0; i < 3; i++) {
        half[0][i] = w[i];
        half[1][i] = 0.5F * (w[i] + w[3 + i] + w[6 + i]);
        half[2][i] = 0.5F * (w[i] - w[3 + i] + w[6 + i]);
        half[3][i] = w[6 + i];
    }
    for (size_t r = 0; r < 4; r++) {
        const vec *h = half[r];

        *(vec *)(to + (4 * r) * step) = h[0];
        *(vec *)(to + (4 * r + 1) * step) = 0.5F * (h[0] + h[1] + h[2]);
        *(vec *)(to + (4 * r + 2) * step) = 0.5F * (h[0] - h[1] + h[2]);
        *(vec *)(to + (4 * r + 3) * step) = h[2];
    }
}

/* [point][out / 8][in][8]: what the multiplication reads in a row. */
void tr_wino_weights(const struct tr_wino *s, const float *oihw, bool backward, float *transformed)
{
    const size_t in = (size_t)(backward ? s->k : s->c), out = (size_t)(backward ? s->c : s->k);
    /* Floats from a filter to that of the next output, and of the next input. */
    const size_t next_out = backward ? 9 : in * 9, next_in = backward ? out * 9 : 9;

#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t o = 0; o < out; o += LANES)
        for (size_t i = 0; i < in; i++) {
            const float *from = oihw + o * next_out + i * next_in;
            vec w[9];

            for (size_t lane = 0; lane < LANES; lane++)
                for (size_t tap = 0; tap < 9; tap++)
                    w[tap][lane] = from[lane * next_out + (backward ? 8 - tap : tap)];
            transform_filters(w, transformed + (o * in) + i * LANES, in * out);
        }
}

/* ---- tiles ---- */

struct tile {
    int n, y, x; /* of its first output; n < 0: beyond the last */
};

static struct tile tile_at(const struct tr_wino *s, int number)
{
    int wide = tiles_wide(s), each = wide * tiles_high(s);

    if (number >= s->n * each)
        return (struct tile){.n = -1};
    return (struct tile){number / each, number % each / wide * 2, number % wide * 2};
}

/* The vector at (y, x) of a plane of 8 channels; zero outside. Not returned by value: the ABI without AVX has
 * no register for it. */
static inline void load_pixel(const float *plane, int h, int w, int y, int x, vec *ret)
{
    *ret = y >= 0 && y < h && x >= 0 && x < w
               ? *(const vec *)(plane + ((size_t)y * (size_t)w + (size_t)x) * LANES)
               : (vec){0};
}

/* B' d B of the 4x4 inputs under a tile; step: floats between the 16 results. */
static inline void transform_input(vec d[4][4], float *to, size_t step)
{
    for (int x = 0; x < 4; x++) {
        vec a = d[0][x], b = d[1][x], c = d[2][x], e = d[3][x];

        d[0][x] = a - c;
        d[1][x] = b + c;
        d[2][x] = c - b;
        d[3][x] = b - e;
    }
    for (int r = 0; r < 4; r++) {
        *(vec *)(to + (size_t)(4 * r) * step) = d[r][0] - d[r][2];
        *(vec *)(to + (size_t)(4 * r + 1) * step) = d[r][1] + d[r][2];
        *(vec *)(to + (size_t)(4 * r + 2) * step) = d[r][2] - d[r][1];
        *(vec *)(to + (size_t)(4 * r + 3) * step) = d[r][1] - d[r][3];
    }
}

/* [point][tile][channel] of a group of tiles. */
static void gather(const struct tr_wino *s, const float *from, int channels, int first, int group, float *to)
{
    const size_t plane = (size_t)s->h * (size_t)s->w * LANES, step = (size_t)group * (size_t)channels;

    for (int t = 0; t < group; t++) {
        struct tile at = tile_at(s, first + t);
        bool inside = at.y > 0 && at.x > 0 && at.y + 3 <= s->h && at.x + 3 <= s->w;

        for (int c = 0; c < channels; c += LANES) {
            const float *p = from + ((size_t)at.n * (size_t)(channels / LANES) + (size_t)(c / LANES)) * plane;
            float *place = to + (size_t)t * (size_t)channels + (size_t)c;
            vec d[4][4];

            if (at.n < 0) {
                for (size_t i = 0; i < POINTS; i++)
                    *(vec *)(place + i * step) = (vec){0};
                continue;
            }
            if (inside) {
                const float *corner = p + ((size_t)(at.y - 1) * (size_t)s->w + (size_t)(at.x - 1)) * LANES;

                for (size_t y = 0; y < 4; y++)
                    for (size_t x = 0; x < 4; x++)
                        d[y][x] = *(const vec *)(corner + (y * (size_t)s->w + x) * LANES);
            } else {
                for (int y = 0; y < 4; y++)
                    for (int x = 0; x < 4; x++)
                        load_pixel(p, s->h, s->w, at.y - 1 + y, at.x - 1 + x, &d[y][x]);
            }
            transform_input(d, place, step);
        }
    }
}

/* A' m A of each tile and output channel, to where it belongs. */
static void scatter(const struct tr_wino *s, const float *from, int channels, int first, int group, float *to)
{
    const size_t plane = (size_t)s->h * (size_t)s->w * LANES, step = (size_t)group * (size_t)channels;

    for (int t = 0; t < group; t++) {
        struct tile at = tile_at(s, first + t);

        if (at.n < 0)
            return;
        for (int k = 0; k < channels; k += LANES) {
            const float *m = from + (size_t)t * (size_t)channels + (size_t)k;
            float *p = to + ((size_t)at.n * (size_t)(channels / LANES) + (size_t)(k / LANES)) * plane +
                       ((size_t)at.y * (size_t)s->w + (size_t)at.x) * LANES;
            bool right = at.x + 1 < s->w, below = at.y + 1 < s->h;
            vec half[2][4];

            for (size_t x = 0; x < 4; x++) {
                vec a = *(const vec *)(m + x * step), b = *(const vec *)(m + (4 + x) * step),
                    c = *(const vec *)(m + (8 + x) * step), e = *(const vec *)(m + (12 + x) * step);

                half[0][x] = a + b + c;
                half[1][x] = b - c - e;
            }
            *(vec *)p = half[0][0] + half[0][1] + half[0][2];
            if (right)
                *(vec *)(p + LANES) = half[0][1] - half[0][2] - half[0][3];
            if (below)
                *(vec *)(p + (size_t)s->w * LANES) = half[1][0] + half[1][1] + half[1][2];
            if (below && right)
                *(vec *)(p + ((size_t)s->w + 1) * LANES) = half[1][1] - half[1][2] - half[1][3];
        }
    }
}

/* ---- multiplication ---- */

/* m[tile][out] = sum over in of u[tile][in] w[out / 8][in][8], for TILES tiles and `vectors`
 * times 8 outputs. */
static inline __attribute__((always_inline)) void multiply(const float *u, const float *w, float *m,
                                                           size_t in, size_t out, int vectors)
{
    vec sum[TILES][2] = {{{0}}};

    for (size_t i = 0; i < in; i++) {
        vec first = *(const vec *)(w + i * LANES),
            second = vectors == 2 ? *(const vec *)(w + (in + i) * LANES) : first;

        for (int t = 0; t < TILES; t++) {
            float value = u[(size_t)t * in + i];

            sum[t][0] += first * value;
            if (vectors == 2)
                sum[t][1] += second * value;
        }
    }
    for (int t = 0; t < TILES; t++)
        for (int v = 0; v < vectors; v++)
            *(vec *)(m + (size_t)t * out + (size_t)(v * LANES)) = sum[t][v];
}

static void multiply_group(const float *u, const float *w, float *m, size_t group, size_t in, size_t out)
{
    for (size_t point = 0; point < POINTS; point++) {
        const float *up = u + point * group * in, *wp = w + point * in * out;
        float *mp = m + point * group * out;

        for (size_t o = 0; o < out; o += 2 * LANES)
            for (size_t t = 0; t < group; t += TILES) {
                if (o + LANES < out)
                    multiply(up + t * in, wp + o * in, mp + t * out + o, in, out, 2);
                else
                    multiply(up + t * in, wp + o * in, mp + t * out + o, in, out, 1);
            }
    }
}

void tr_wino_run(const struct tr_wino *s, const float *from, const float *transformed, bool backward,
                 float *to, float *scratch)
{
    const int in = backward ? s->k : s->c, out = backward ? s->c : s->k, group = group_of(s);
    const size_t each = (size_t)POINTS * (size_t)group * ((size_t)in + (size_t)out);

#pragma omp parallel for schedule(static, 1) num_threads(s->threads)
    for (int thread = 0; thread < s->threads; thread++) {
        float *u = scratch + (size_t)thread * each, *m = u + (size_t)POINTS * (size_t)group * (size_t)in;

        for (int g = first_group(s, thread); g < first_group(s, thread + 1); g++) {
            gather(s, from, in, g * group, group, u);
            multiply_group(u, transformed, m, (size_t)group, (size_t)in, (size_t)out);
            scatter(s, m, out, g * group, group, to);
        }
    }
}

/* ---- gradient of the weights ---- */

/* A dy A' of each tile: [point][tile][channel]. */
static void gather_gradient(const struct tr_wino *s, const float *dy, int first, int group, float *to)
{
    const size_t plane = (size_t)s->h * (size_t)s->w * LANES, step = (size_t)group * (size_t)s->k;

    for (int t = 0; t < group; t++) {
        struct tile at = tile_at(s, first + t);

        for (int k = 0; k < s->k; k += LANES) {
            const float *p = dy + ((size_t)at.n * (size_t)(s->k / LANES) + (size_t)(k / LANES)) * plane;
            float *place = to + (size_t)t * (size_t)s->k + (size_t)k;
            vec half[4][2];

            for (int x = 0; x < 2; x++) {
                vec a = {0}, b = {0};

                if (at.n >= 0) {
                    load_pixel(p, s->h, s->w, at.y, at.x + x, &a);
                    load_pixel(p, s->h, s->w, at.y + 1, at.x + x, &b);
                }
                half[0][x] = a;
                half[1][x] = a + b;
                half[2][x] = a - b;
                half[3][x] = -b;
            }
            for (size_t r = 0; r < 4; r++) {
                *(vec *)(place + (4 * r) * step) = half[r][0];
                *(vec *)(place + (4 * r + 1) * step) = half[r][0] + half[r][1];
                *(vec *)(place + (4 * r + 2) * step) = half[r][0] - half[r][1];
                *(vec *)(place + (4 * r + 3) * step) = -half[r][1];
            }
        }
    }
}

/* sum[out / 8][in][8] += over tiles of d[tile][out] u[tile][in], for COLUMNS in and `vectors` times 8 out. */
static inline __attribute__((always_inline)) void
add_products(const float *u, const float *d, float *sum, size_t group, size_t in, size_t out, int vectors)
{
    vec acc[COLUMNS][2];

    for (int i = 0; i < COLUMNS; i++)
        for (int v = 0; v < vectors; v++)
            acc[i][v] = *(const vec *)(sum + ((size_t)v * in + (size_t)i) * LANES);
    for (size_t t = 0; t < group; t++) {
        vec first = *(const vec *)(d + t * out),
            second = vectors == 2 ? *(const vec *)(d + t * out + LANES) : first;

        for (int i = 0; i < COLUMNS; i++) {
            float value = u[t * in + (size_t)i];

            acc[i][0] += first * value;
            if (vectors == 2)
                acc[i][1] += second * value;
        }
    }
    for (int i = 0; i < COLUMNS; i++)
        for (int v = 0; v < vectors; v++)
            *(vec *)(sum + ((size_t)v * in + (size_t)i) * LANES) = acc[i][v];
}

static void add_group(const float *u, const float *d, float *sum, size_t group, size_t in, size_t out)
{
    for (size_t point = 0; point < POINTS; point++)
        for (size_t o = 0; o < out; o += 2 * LANES)
            for (size_t i = 0; i < in; i += COLUMNS) {
                const float *up = u + point * group * in + i, *dp = d + point * group * out + o;
                float *place = sum + point * in * out + o * in + i * LANES;

                if (o + LANES < out)
                    add_products(up, dp, place, group, in, out, 2);
                else
                    add_products(up, dp, place, group, in, out, 1);
            }
}

/* G' s G of 8 filters at once. */
static void transform_back(const float *from, size_t step, vec w[9])
{
    vec half[3][4];

    for (size_t x = 0; x < 4; x++) {
        vec a = *(const vec *)(from + x * step), b = *(const vec *)(from + (4 + x) * step),
            c = *(const vec *)(from + (8 + x) * step), e = *(const vec *)(from + (12 + x) * step);

        half[0][x] = a + 0.5F * (b + c);
        half[1][x] = 0.5F * (b - c);
        half[2][x] = 0.5F * (b + c) + e;
    }
    for (int r = 0; r < 3; r++) {
        w[3 * r] = half[r][0] + 0.5F * (half[r][1] + half[r][2]);
        w[3 * r + 1] = 0.5F * (half[r][1] - half[r][2]);
        w[3 * r + 2] = 0.5F * (half[r][1] + half[r][2]) + half[r][3];
    }
}

/* The threads' sums, added in their order, and back to 3x3. */
static void collect(const struct tr_wino *s, float *sums, size_t stride, float *dw)
{
    const size_t in = (size_t)s->c, out = (size_t)s->k, all = tr_wino_weight_floats(s);

#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < all; i += LANES)
        for (int t = 1; t < s->threads; t++)
            *(vec *)(sums + i) += *(const vec *)(sums + (size_t)t * stride + i);
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t o = 0; o < out; o += LANES)
        for (size_t i = 0; i < in; i++) {
            vec w[9];

            transform_back(sums + o * in + i * LANES, in * out, w);
            for (size_t lane = 0; lane < LANES; lane++)
                for (size_t tap = 0; tap < 9; tap++)
                    dw[((o + lane) * in + i) * 9 + tap] = w[tap][lane];
        }
}

void tr_wino_gradient(const struct tr_wino *s, const float *x, const float *dy, float *dw, float *scratch)
{
    const int group = group_of(s);
    const size_t all = tr_wino_weight_floats(s);
    const size_t each = (size_t)POINTS * (size_t)group * ((size_t)s->c + (size_t)s->k) + all;

#pragma omp parallel for schedule(static, 1) num_threads(s->threads)
    for (int thread = 0; thread < s->threads; thread++) {
        float *sum = scratch + (size_t)thread * each, *u = sum + all;
        float *d = u + (size_t)POINTS * (size_t)group * (size_t)s->c;

        memset(sum, 0, all * sizeof *sum);
        for (int g = first_group(s, thread); g < first_group(s, thread + 1); g++) {
            gather(s, x, s->c, g * group, group, u);
            gather_gradient(s, dy, g * group, group, d);
            add_group(u, d, sum, (size_t)group, (size_t)s->c, (size_t)s->k);
        }
    }
    collect(s, scratch, each, dw);
}
