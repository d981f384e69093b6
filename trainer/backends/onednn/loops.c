/* Memory-bound loops that the compiler vectorises; OpenMP divides them, because oneDNN uses OpenMP and two
 * thread pools would compete for the cores. If the compiler's OpenMP is not libgomp, or for ThreadSanitizer
 * (which cannot see libgomp's barriers), the pragmas are disabled and the loops run on one thread; the
 * results are the same bits. */
#include "trainer/backends/onednn/loops.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    CHUNK = 1 << 14, /* floats per chunk of a thread: 64 KiB of each operand */
    HUGE_PAGE = 2 * 1024 * 1024,
};

/* Functions of libgomp. omp.h is not used: clang has it only with its own runtime. */
extern void omp_set_num_threads(int threads);

void tr_cpu_set_threads(int threads)
{
    omp_set_num_threads(threads);
}

int tr_cpu_count(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

void *tr_cpu_alloc(size_t bytes)
{
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    size_t rounded = bytes ? (bytes + align - 1) / align * align : align;
    void *memory = aligned_alloc(align, rounded);

    if (!memory)
        return NULL;
    if (align == HUGE_PAGE)
        madvise(memory, rounded, MADV_HUGEPAGE); /* best effort: small pages are only slower */
    memset(memory, 0, rounded);
    return memory;
}

void tr_cpu_free(void *memory)
{
    free(memory);
}

static size_t chunks(size_t count)
{
    return (count + CHUNK - 1) / CHUNK;
}

static size_t chunk_end(size_t chunk, size_t count)
{
    return (chunk + 1) * CHUNK < count ? (chunk + 1) * CHUNK : count;
}

void tr_cpu_add(float *a, const float *b, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < chunks(count); k++)
        for (size_t i = k * CHUNK; i < chunk_end(k, count); i++)
            a[i] += b[i];
}

/* ---- bf16 ---- */

static inline float widen(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t narrow(float value)
{
    uint32_t bits, rounded, quiet;

    memcpy(&bits, &value, sizeof bits);
    rounded = bits + 0x7fffu + (bits >> 16 & 1);
    quiet = bits | 0x400000u;
    return (uint16_t)((((bits & 0x7fffffffu) > 0x7f800000u) ? quiet : rounded) >> 16);
}

void tr_cpu_widen(float *to, const uint16_t *from, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < chunks(count); k++)
        for (size_t i = k * CHUNK; i < chunk_end(k, count); i++)
            to[i] = widen(from[i]);
}

void tr_cpu_narrow(uint16_t *to, const float *from, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < chunks(count); k++)
        for (size_t i = k * CHUNK; i < chunk_end(k, count); i++)
            to[i] = narrow(from[i]);
}

void tr_cpu_round(float *to, const float *from, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < chunks(count); k++)
        for (size_t i = k * CHUNK; i < chunk_end(k, count); i++)
            to[i] = widen(narrow(from[i]));
}

void tr_cpu_add_bf16(uint16_t *a, const uint16_t *b, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < chunks(count); k++)
        for (size_t i = k * CHUNK; i < chunk_end(k, count); i++)
            a[i] = narrow(widen(a[i]) + widen(b[i]));
}

/* ---- residual branches ---- */

/* One chunk; the ifs are outside so that each loop vectorises. */
static void residual(float *y, const float *a, const float *b, size_t from, size_t to, bool relu)
{
    if (relu) {
        for (size_t i = from; i < to; i++)
            y[i] = a[i] + b[i] <= 0 ? 0 : a[i] + b[i]; /* NaN stays */
    } else {
        for (size_t i = from; i < to; i++)
            y[i] = a[i] + b[i];
    }
}

void tr_cpu_residual(float *y, const float *a, const float *b, size_t count, bool relu)
{
#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < chunks(count); k++)
        residual(y, a, b, k * CHUNK, chunk_end(k, count), relu);
}

static void residual_backward(float *dx, const float *dy0, const float *dy1, const float *y, size_t from,
                              size_t to)
{
    if (dy1) {
        for (size_t i = from; i < to; i++)
            dx[i] = y[i] <= 0 ? 0 : dy0[i] + dy1[i];
    } else {
        for (size_t i = from; i < to; i++)
            dx[i] = y[i] <= 0 ? 0 : dy0[i];
    }
}

void tr_cpu_residual_backward(float *dx, const float *dy0, const float *dy1, const float *y, size_t count,
                              bool relu)
{
    if (!relu) {
        if (dx != dy0)
            memcpy(dx, dy0, count * sizeof *dx);
        if (dy1)
            tr_cpu_add(dx, dy1, count);
        return;
    }
#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < chunks(count); k++)
        residual_backward(dx, dy0, dy1, y, k * CHUNK, chunk_end(k, count));
}

/* One position of a row: nine products of `inner` floats each. */
static void filter_place(const struct tr_filter *f, const float *const rows[3], const float weights[3],
                         const struct tr_taps *column, float *to)
{
    const float *at[9];
    float weight[9];

    for (size_t k = 0; k < 9; k++) {
        at[k] = rows[k / 3] + (size_t)column->index[k % 3] * f->inner;
        weight[k] = weights[k / 3] * column->weight[k % 3];
    }
    for (size_t i = 0; i < f->inner; i++)
        to[i] = weight[0] * at[0][i] + weight[1] * at[1][i] + weight[2] * at[2][i] + weight[3] * at[3][i] +
                weight[4] * at[4][i] + weight[5] * at[5][i] + weight[6] * at[6][i] + weight[7] * at[7][i] +
                weight[8] * at[8][i];
}

void tr_cpu_filter(const struct tr_filter *f, const float *from, float *to)
{
    size_t from_row = (size_t)f->from_w * f->inner, row = (size_t)f->w * f->inner;

#pragma omp parallel for schedule(static)
    for (size_t k = 0; k < f->planes * (size_t)f->h; k++) {
        const float *plane = from + k / (size_t)f->h * (size_t)f->from_h * from_row;
        const struct tr_taps *taps = &f->rows[k % (size_t)f->h];
        const float *rows[3] = {plane + (size_t)taps->index[0] * from_row,
                                plane + (size_t)taps->index[1] * from_row,
                                plane + (size_t)taps->index[2] * from_row};

        for (int w = 0; w < f->w; w++)
            filter_place(f, rows, taps->weight, &f->columns[w], to + k * row + (size_t)w * f->inner);
    }
}

void tr_cpu_scale(float *y, const float *x, const float *scale, size_t samples, size_t floats)
{
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < samples; n++)
        for (size_t i = n * floats; i < (n + 1) * floats; i++)
            y[i] = scale[n] * x[i];
}

/* One image; the loop over channels inside has three turns. */
static void normalise(const float table[3][256], const uint8_t *from, float *to, size_t plane)
{
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            to[c * plane + i] = table[c][from[i * 3 + c]];
}

static void mix_up(const float table[3][256], const uint8_t *from, const uint8_t *partner, float share,
                   float *to, size_t plane)
{
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            to[c * plane + i] =
                share * table[c][from[i * 3 + c]] + (1 - share) * table[c][partner[i * 3 + c]];
}

/* Writes the partner's box over an image that is normalised already. */
static void cut_in(const float table[3][256], const struct tr_mix *mix, const uint8_t *partner, float *to,
                   size_t width, size_t plane)
{
    for (size_t y = (size_t)mix->y0; y < (size_t)mix->y1; y++)
        for (size_t i = y * width + (size_t)mix->x0; i < y * width + (size_t)mix->x1; i++)
            for (size_t c = 0; c < 3; c++)
                to[c * plane + i] = table[c][partner[i * 3 + c]];
}

void tr_cpu_input(const struct tr_op *op, const struct tr_exec *e)
{
    const enum tr_mix_kind kind = e->mix ? e->mix->kind : TR_MIX_NONE;
    size_t plane = (size_t)op->x.h * (size_t)op->x.w;
    float table[3][256];

    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            table[c][v] = (float)((v / 255.0 - (double)op->mean[c]) / (double)op->std[c]);
#pragma omp parallel for schedule(static)
    for (int n = 0; n < op->x.n; n++) {
        const uint8_t *from = e->pixels + (size_t)n * plane * 3;
        const uint8_t *partner = e->pixels + (size_t)(op->x.n - 1 - n) * plane * 3;
        float *to = (float *)e->y + (size_t)n * plane * 3;

        if (kind == TR_MIX_UP)
            mix_up(table, from, partner, (float)e->mix->lambda, to, plane);
        else
            normalise(table, from, to, plane);
        if (kind == TR_MIX_CUT)
            cut_in(table, e->mix, partner, to, (size_t)op->x.w, plane);
    }
}
