/* The parts of the CUDA backend on a real GPU, each against plain loops: copies, events, recordings,
 * convolutions, batch norm, matrix products. Skipped where there is no GPU. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/shm.h"
#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/cublas.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/backends/cuda/dnn.h"

static struct tr_gpu *gpu;
static struct im_text text;

static void good(int err)
{
    struct im_text why = {0};

    if (err >= 0)
        return;
    tr_gpu_last_error(gpu, &why);
    fail_msg("%s: %s %s", strerror(-err), text.s, why.s);
}

static void *device_new(size_t bytes)
{
    void *memory = NULL;

    good(tr_gpu_memory_new(gpu, bytes, "a test", &memory, &text));
    return memory;
}

/* Numbers in -1 .. 1 that depend on their place and a seed. */
static float number(size_t i, unsigned seed)
{
    uint32_t x = (uint32_t)i * 2654435761u + seed * 40503u;

    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (float)(int32_t)(x >> 8) / 8388608.0f - 1;
}

/* ---- values in the types of the GPU ---- */

static uint16_t to_bf16(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static float from_bf16(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Nearest even, of numbers below 65504. */
static uint16_t to_f16(float f)
{
    double size = fabs((double)f);
    int exponent;

    frexp(size, &exponent);
    exponent = exponent - 1 < -14 ? -14 : exponent - 1;
    return (uint16_t)((signbit(f) ? 0x8000u : 0) + (size > 0 ? ((uint32_t)(exponent + 14) << 10) +
                                                                   (uint32_t)rint(ldexp(size, 10 - exponent))
                                                             : 0));
}

static float from_f16(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double size = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);

    return (float)(bits & 0x8000 ? -size : size);
}

/* A tensor on both sides: the host's numbers are what the GPU's are, rounded to the type. */
struct tensor {
    float *host;
    void *device;
    size_t count;
    enum imk_dtype type;
};

static void send(const struct tensor *t)
{
    uint16_t *halves = malloc(t->count * sizeof *halves);

    assert_non_null(halves);
    for (size_t i = 0; i < t->count && t->type != IMK_F32; i++) {
        halves[i] = t->type == IMK_BF16 ? to_bf16(t->host[i]) : to_f16(t->host[i]);
        t->host[i] = t->type == IMK_BF16 ? from_bf16(halves[i]) : from_f16(halves[i]);
    }
    good(tr_gpu_copy(gpu, TR_GPU_COMPUTE, t->device, t->type == IMK_F32 ? (void *)t->host : (void *)halves,
                     t->count * imk_dtype_bytes(t->type)));
    good(tr_gpu_sync(gpu, TR_GPU_COMPUTE));
    free(halves);
}

static struct tensor tensor_new(size_t count, enum imk_dtype type, unsigned seed, float scale)
{
    struct tensor t = {calloc(count, sizeof(float)), device_new(count * imk_dtype_bytes(type)), count, type};

    assert_non_null(t.host);
    for (size_t i = 0; i < count; i++)
        t.host[i] = scale * number(i, seed);
    send(&t);
    return t;
}

/* What the GPU holds now; the caller's to free(). */
static float *fetch(const struct tensor *t)
{
    uint16_t *halves = malloc(t->count * sizeof *halves);
    float *got = malloc(t->count * sizeof *got);

    assert_non_null(halves);
    assert_non_null(got);
    good(tr_gpu_copy(gpu, TR_GPU_COMPUTE, t->type == IMK_F32 ? (void *)got : (void *)halves, t->device,
                     t->count * imk_dtype_bytes(t->type)));
    good(tr_gpu_sync(gpu, TR_GPU_COMPUTE));
    for (size_t i = 0; i < t->count && t->type != IMK_F32; i++)
        got[i] = t->type == IMK_BF16 ? from_bf16(halves[i]) : from_f16(halves[i]);
    free(halves);
    return got;
}

static void tensor_free(struct tensor *t)
{
    tr_gpu_memory_free(gpu, t->device);
    free(t->host);
}

/* Half a unit in the last place, relative. */
static double unit(enum imk_dtype type)
{
    return type == IMK_F32 ? 6e-8 : type == IMK_BF16 ? 3.91e-3 : 4.89e-4;
}

/* got = want, where want is a sum of terms whose absolute values add up to size: one rounding of the result
 * to `out`, fp32 sums in any order, and, with terms `in` 16 bits, what tensor cores lose, which cut off the
 * low bits of the terms that they add up at once. `before` is what the sum was added to. */
static void near(const char *what, const float *got, const double *want, const double *size, size_t count,
                 enum imk_dtype in, enum imk_dtype out, double before)
{
    for (size_t i = 0; i < count; i++) {
        double bound =
            1.01 * unit(out) * (fabs(want[i]) + 2 * before) + (in == IMK_F32 ? 4e-6 : 2e-5) * size[i] + 1e-7;

        if (!(fabs((double)got[i] - want[i]) <= bound))
            fail_msg("%s: element %zu is %.9g, not %.9g (within %.3g)", what, i, (double)got[i], want[i],
                     bound);
    }
}

/* ---- the device ---- */

static void facts_are_plausible(void **state)
{
    const struct tr_gpu_properties *f = tr_gpu_properties(gpu);

    (void)state;
    assert_true(f->sm >= 70 && f->sm_count > 0 && f->l2_bytes > 0 && f->memory_bytes > 1u << 30);
    assert_int_equal(strlen(f->uuid), 40);
    print_message("%s, sm %d x %d, %s, %s, driver %d, runtime %d\n", f->name, f->sm, f->sm_count, f->uuid,
                  f->bus_id, f->driver, f->runtime);
}

static void memory_is_zeroed_and_aligned(void **state)
{
    char host[1000];
    void *memory = device_new(sizeof host);

    (void)state;
    assert_int_equal((uintptr_t)memory % 256, 0);
    memset(host, 1, sizeof host);
    good(tr_gpu_copy(gpu, TR_GPU_COPY, host, memory, sizeof host));
    good(tr_gpu_sync(gpu, TR_GPU_COPY));
    for (size_t i = 0; i < sizeof host; i++)
        assert_int_equal(host[i], 0);
    tr_gpu_memory_free(gpu, memory);
}

static void too_much_memory_is_a_sentence_and_no_trouble(void **state)
{
    struct im_text why = {0};
    void *memory = NULL;

    (void)state;
    assert_int_equal(tr_gpu_memory_new(gpu, (size_t)1 << 45, "everything", &memory, &why), -ENOMEM);
    assert_non_null(strstr(why.s, "everything"));
    assert_int_equal(tr_gpu_last_error(gpu, NULL), 0);
}

/* A mapping of the segment that may only be read, as a trainer has its ring, is page-locked and copied from. */
static void lock_and_copy(struct im_segment *owned, int mark)
{
    void *device = device_new(owned->bytes);
    int fd = fcntl(owned->fd, F_DUPFD_CLOEXEC, 0);
    struct im_segment mapped = {0};
    char back[16];

    assert_true(fd >= 0);
    memset(owned->map, mark, owned->bytes);
    good(im_segment_attach(fd, 0, owned->bytes, &mapped, &text));
    good(tr_gpu_pin(gpu, mapped.map, mapped.bytes, true, &text));
    good(tr_gpu_copy(gpu, TR_GPU_COPY, device, mapped.map, mapped.bytes));
    good(tr_gpu_copy(gpu, TR_GPU_COPY, back, (char *)device + mapped.bytes - sizeof back, sizeof back));
    good(tr_gpu_sync(gpu, TR_GPU_COPY));
    assert_int_equal(back[15], mark);
    tr_gpu_unpin(gpu, mapped.map);
    im_segment_close(&mapped);
    tr_gpu_memory_free(gpu, device);
}

/* POSIX shared memory, and the sealed memfd that is taken where /dev/shm is too small. */
static void shared_memory_can_be_locked(void **state)
{
    struct im_segment posix = {0}, sealed = {0};
    int fd = im_segment_create_empty("a test", &text);

    (void)state;
    good(fd);
    good(im_segment_fix_size(fd, 1 << 20));
    good(im_segment_attach(fd, 1, 1 << 20, &sealed, &text));
    good(im_segment_create("a test", 1 << 20, &posix, &text));
    lock_and_copy(&posix, 7);
    lock_and_copy(&sealed, 8);
    im_segment_close(&posix);
    im_segment_close(&sealed);
}

/* A recording with a fork to COPY and back; the source changes between replays, and a timed event counts. */
static void recording_replays_with_new_contents(void **state)
{
    struct tr_gpu_graph *r = NULL;
    struct tr_gpu_event *fork, *join, *from, *to;
    int *source, *sink, failed;
    void *device = device_new(64);
    uint64_t ns;

    (void)state;
    good(tr_gpu_pinned_new(gpu, 64, "a test", (void **)&source, &text));
    good(tr_gpu_pinned_new(gpu, 64, "a test", (void **)&sink, &text));
    good(tr_gpu_event_new(gpu, TR_GPU_ORDER, &fork));
    good(tr_gpu_event_new(gpu, TR_GPU_ORDER, &join));
    good(tr_gpu_event_new(gpu, TR_GPU_TIMED, &from));
    good(tr_gpu_event_new(gpu, TR_GPU_TIMED, &to));
    good(tr_gpu_capture_begin(gpu));
    failed = tr_gpu_event_record(gpu, from, TR_GPU_COMPUTE);
    failed |= tr_gpu_zero(gpu, TR_GPU_COMPUTE, device, 64);
    failed |= tr_gpu_event_record(gpu, fork, TR_GPU_COMPUTE);
    failed |= tr_gpu_wait(gpu, TR_GPU_COPY, fork);
    failed |= tr_gpu_copy(gpu, TR_GPU_COPY, device, source, sizeof *source);
    failed |= tr_gpu_event_record(gpu, join, TR_GPU_COPY);
    failed |= tr_gpu_wait(gpu, TR_GPU_COMPUTE, join);
    failed |= tr_gpu_copy(gpu, TR_GPU_COMPUTE, sink, device, 64);
    failed |= tr_gpu_event_record(gpu, to, TR_GPU_COMPUTE);
    good(tr_gpu_capture_end(gpu, &r, &text));
    assert_int_equal(failed, 0);
    assert_int_equal(*sink, 0);
    for (int i = 1; i <= 3; i++) {
        *source = 1000 * i;
        good(tr_gpu_graph_launch(gpu, r));
        good(tr_gpu_event_sync(gpu, to));
        assert_int_equal(*sink, 1000 * i);
        assert_int_equal(tr_gpu_event_done(gpu, from), 1);
        good(tr_gpu_elapsed(gpu, from, to, &ns));
        assert_true(ns < 1000000000);
    }
    tr_gpu_graph_free(gpu, r);
    tr_gpu_event_free(gpu, fork);
    tr_gpu_event_free(gpu, join);
    tr_gpu_event_free(gpu, from);
    tr_gpu_event_free(gpu, to);
    tr_gpu_pinned_free(gpu, source);
    tr_gpu_pinned_free(gpu, sink);
    tr_gpu_memory_free(gpu, device);
}

/* ---- convolutions ---- */

struct conv {
    struct tr_dnn_conv_shape s;
    int p, q;
    struct tensor x, w, y;
};

/* Every product of the convolution is one term of one element of y, dx and dw. */
static void conv_reference(const struct conv *v, enum tr_dnn_conv_kind kind, double *want, double *size)
{
    const struct tr_dnn_conv_shape *s = &v->s;

    for (int n = 0; n < s->n; n++)
        for (int p = 0; p < v->p; p++)
            for (int q = 0; q < v->q; q++)
                for (int r = 0; r < s->kernel * s->kernel; r++) {
                    int h = p * s->stride - s->pad + r / s->kernel,
                        w = q * s->stride - s->pad + r % s->kernel;

                    if (h < 0 || h >= s->h || w < 0 || w >= s->w)
                        continue;
                    for (int k = 0; k < s->k; k++)
                        for (int c = 0; c < s->c; c++) {
                            size_t ix = (((size_t)n * (size_t)s->h + (size_t)h) * (size_t)s->w + (size_t)w) *
                                            (size_t)s->c +
                                        (size_t)c;
                            size_t iw =
                                ((size_t)k * (size_t)(s->kernel * s->kernel) + (size_t)r) * (size_t)s->c +
                                (size_t)c;
                            size_t iy = (((size_t)n * (size_t)v->p + (size_t)p) * (size_t)v->q + (size_t)q) *
                                            (size_t)s->k +
                                        (size_t)k;
                            double a, b;
                            size_t to;

                            if (kind == TR_DNN_CONV_FORWARD)
                                a = v->x.host[ix], b = v->w.host[iw], to = iy;
                            else if (kind == TR_DNN_CONV_BACKWARD_WEIGHTS)
                                a = v->x.host[ix], b = v->y.host[iy], to = iw;
                            else
                                a = v->w.host[iw], b = v->y.host[iy], to = ix;
                            want[to] += a * b;
                            size[to] += fabs(a * b);
                        }
                }
}

static void conv_case(struct tr_dnn *dnn, struct tr_dnn_conv_shape s, enum tr_dnn_conv_kind kind,
                      enum imk_dtype type)
{
    bool weights = kind == TR_DNN_CONV_BACKWARD_WEIGHTS;
    struct conv v = {.s = s};
    struct tr_dnn_conv *conv = NULL;
    struct tensor *out;
    double *want, *size;
    char what[160];
    float *got;

    v.p = (s.h + 2 * s.pad - s.kernel) / s.stride + 1;
    v.q = (s.w + 2 * s.pad - s.kernel) / s.stride + 1;
    v.x = tensor_new((size_t)(s.n * s.h * s.w * s.c), type, 1, 1);
    v.w = tensor_new((size_t)(s.k * s.kernel * s.kernel * s.c), weights ? IMK_F32 : type, 2, 0.25f);
    v.y = tensor_new((size_t)(s.n * v.p * v.q * s.k), type, 3, 1);
    out = kind == TR_DNN_CONV_FORWARD ? &v.y : weights ? &v.w : &v.x;
    want = calloc(out->count, sizeof *want);
    size = calloc(out->count, sizeof *size);
    assert_true(want && size);
    for (size_t i = 0; i < out->count && kind == TR_DNN_CONV_BACKWARD_ADD; i++) {
        want[i] = out->host[i];
        size[i] = fabs(want[i]);
    }
    conv_reference(&v, kind, want, size);
    good(tr_dnn_conv_new(dnn, &s, kind, type, &conv, &text));
    good(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text));
    good(tr_dnn_conv_run(dnn, conv, v.x.device, v.w.device, v.y.device));
    got = fetch(out);
    snprintf(what, sizeof what, "%s kind %d, %d of %dx%dx%d -> %d, %dx%d stride %d: %s",
             tr_gpu_dtype_name(type), (int)kind, s.n, s.h, s.w, s.c, s.k, s.kernel, s.kernel, s.stride,
             tr_dnn_conv_kernel(conv));
    near(what, got, want, size, out->count, type, type, kind == TR_DNN_CONV_BACKWARD_ADD);
    tr_dnn_conv_free(dnn, conv);
    tensor_free(&v.x);
    tensor_free(&v.w);
    tensor_free(&v.y);
    free(got);
    free(want);
    free(size);
}

static struct tr_dnn *dnn_new(bool deterministic, const char *cache)
{
    struct tr_dnn *dnn = NULL;

    good(tr_dnn_open(&(struct tr_dnn_config){.gpu = gpu, .deterministic = deterministic, .cache = cache},
                     &dnn, &text));
    return dnn;
}

static const struct tr_dnn_conv_shape shapes[] = {{2, 8, 8, 64, 64, 3, 1, 1},  {3, 8, 8, 64, 128, 1, 2, 0},
                                                  {2, 8, 8, 64, 128, 1, 1, 0}, {2, 9, 9, 32, 64, 3, 2, 1},
                                                  {2, 20, 20, 8, 64, 7, 2, 3}, {1, 5, 7, 24, 40, 3, 1, 1}};
enum { SHAPES = IM_COUNT(shapes), TIMED = 2 };

/* cuDNN's first choice: nothing is timed. */
static void convolutions_are_those_of_plain_loops(void **state)
{
    struct tr_dnn *dnn = dnn_new(true, NULL);

    (void)state;
    for (int i = 0; i < SHAPES; i++)
        for (int type = 0; type < IMK_DTYPES; type++)
            for (int kind = 0; kind < TR_DNN_CONV_KINDS; kind++)
                conv_case(dnn, shapes[i], (enum tr_dnn_conv_kind)kind, (enum imk_dtype)type);
    tr_dnn_close(dnn);
}

/* The fastest are right too. It takes seconds for each to be found, so that there are few. */
static void fastest_convolutions_are_those_of_plain_loops(void **state)
{
    struct tr_dnn *dnn = dnn_new(false, NULL);

    (void)state;
    for (int i = 0; i < TIMED; i++)
        for (int kind = 0; kind < TR_DNN_CONV_KINDS; kind++)
            conv_case(dnn, shapes[i], (enum tr_dnn_conv_kind)kind, IMK_BF16);
    tr_dnn_close(dnn);
}

static int wipe(const char *file, const struct stat *unused, int type, struct FTW *place)
{
    (void)unused, (void)type, (void)place;
    return remove(file);
}

/* The second library finds what the first chose and compiled. */
static void choices_come_back_from_the_cache(void **state)
{
    char folder[] = "/tmp/imsuper-seams-XXXXXX", cache[64];
    const struct tr_dnn_conv_shape s = {4, 16, 16, 64, 64, 3, 1, 1};
    struct tr_dnn_stats facts;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(cache, sizeof cache, "%s/cuda.plans", folder);
    for (int i = 0; i < 2; i++) {
        struct tr_dnn *dnn = dnn_new(false, cache);

        for (int kind = 0; kind < TR_DNN_CONV_KINDS; kind++)
            conv_case(dnn, s, (enum tr_dnn_conv_kind)kind, IMK_BF16);
        tr_dnn_stats(dnn, &facts);
        assert_int_equal(facts.plans, TR_DNN_CONV_KINDS);
        assert_int_equal(i ? facts.cached : facts.timed, TR_DNN_CONV_KINDS);
        tr_dnn_close(dnn);
    }
    assert_int_equal(nftw(folder, wipe, 4, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- batch norm ---- */

struct norm {
    struct tr_dnn_norm_shape s;
    size_t m, c; /* values of a channel, channels */
    enum imk_dtype type;
    bool add, relu;
    struct tensor x, z, y, dy, dx, dz, scale, bias, run_mean, run_var, mean, inv_dev, dscale, dbias;
    void *mask;
};

static struct tr_dnn_norm_args norm_args(const struct norm *v)
{
    return (struct tr_dnn_norm_args){
        v->x.device,    v->z.device,        v->y.device,       v->mask,          v->scale.device,
        v->bias.device, v->run_mean.device, v->run_var.device, v->mean.device,   v->inv_dev.device,
        v->dy.device,   v->dx.device,       v->dz.device,      v->dscale.device, v->dbias.device};
}

/* Within `bound`, absolute. */
static void close_to(const char *what, const struct tensor *t, const double *want, double bound)
{
    float *got = fetch(t);

    for (size_t i = 0; i < t->count; i++)
        if (!(fabs((double)got[i] - want[i]) <= bound + 1.01 * unit(t->type) * fabs(want[i])))
            fail_msg("%s: element %zu is %.9g, not %.9g", what, i, (double)got[i], want[i]);
    free(got);
}

struct channel {
    double mean, inv_dev, var, dscale, dbias;
};

static struct channel statistics(const struct norm *v, size_t c)
{
    struct channel k = {0};

    for (size_t i = 0; i < v->m; i++)
        k.mean += (double)v->x.host[i * v->c + c] / (double)v->m;
    for (size_t i = 0; i < v->m; i++)
        k.var += pow((double)v->x.host[i * v->c + c] - k.mean, 2) / (double)v->m;
    k.inv_dev = 1 / sqrt(k.var + (double)TR_BN_EPS);
    return k;
}

static void norm_check(const struct norm *v)
{
    size_t count = v->m * v->c;
    double *y = calloc(count, sizeof *y), *g = calloc(count, sizeof *g), *dx = calloc(count, sizeof *dx);
    double mean[64], inv[64], run_mean[64], run_var[64], dscale[64], dbias[64];

    for (size_t c = 0; c < v->c; c++) {
        struct channel k = statistics(v, c);

        mean[c] = k.mean, inv[c] = k.inv_dev;
        run_mean[c] = 0.9 * (double)v->run_mean.host[c] + 0.1 * k.mean;
        run_var[c] = 0.9 * (double)v->run_var.host[c] + 0.1 * k.var * (double)v->m / (double)(v->m - 1);
        for (size_t i = c; i < count; i += v->c) {
            double xhat = ((double)v->x.host[i] - k.mean) * k.inv_dev;

            y[i] = (double)v->scale.host[c] * xhat + (double)v->bias.host[c] +
                   (v->add ? (double)v->z.host[i] : 0);
            /* On the edge of the ReLU rounding decides: what the GPU wrote there is believed
             * by neither side. */
            g[i] = v->relu && y[i] <= 0 ? 0 : (double)v->dy.host[i];
            y[i] = v->relu && y[i] < 0 ? 0 : y[i];
            k.dbias += g[i];
            k.dscale += g[i] * xhat;
        }
        dscale[c] = k.dscale, dbias[c] = k.dbias;
        for (size_t i = c; i < count; i += v->c) {
            double xhat = ((double)v->x.host[i] - k.mean) * k.inv_dev;

            dx[i] = (double)v->scale.host[c] * k.inv_dev *
                    (g[i] - k.dbias / (double)v->m - xhat * k.dscale / (double)v->m);
        }
    }
    close_to("mean", &v->mean, mean, 1e-5);
    close_to("inverse deviation", &v->inv_dev, inv, 1e-4);
    close_to("running mean", &v->run_mean, run_mean, 1e-5);
    close_to("running variance", &v->run_var, run_var, 1e-5);
    close_to("y", &v->y, y, 1e-4);
    close_to("dscale", &v->dscale, dscale, 2e-3);
    close_to("dbias", &v->dbias, dbias, 2e-3);
    close_to("dx", &v->dx, dx, 2e-4);
    if (v->add && v->relu)
        close_to("dz", &v->dz, g, 1e-6);
    free(y);
    free(g);
    free(dx);
}

static void norm_case(struct tr_dnn *dnn, struct tr_dnn_norm_shape s, enum imk_dtype type, bool add,
                      bool relu)
{
    struct norm v = {
        .s = s, .m = (size_t)(s.n * s.h * s.w), .c = (size_t)s.c, .type = type, .add = add, .relu = relu};
    struct tr_dnn_norm *forward = NULL, *backward = NULL;
    struct tensor *values[] = {&v.x, &v.z, &v.y, &v.dy, &v.dx, &v.dz};
    struct tensor *channels[] = {&v.scale, &v.bias,    &v.run_mean, &v.run_var,
                                 &v.mean,  &v.inv_dev, &v.dscale,   &v.dbias};
    size_t mask_bytes = (v.m * v.c + 7) / 8;
    struct tr_dnn_norm_args args;
    char want[256], there[256];

    for (unsigned i = 0; i < 6; i++)
        *values[i] = tensor_new(v.m * v.c, type, i + 1, 1);
    for (unsigned i = 0; i < 8; i++)
        *channels[i] = tensor_new(v.c, IMK_F32, i + 10, 1);
    v.mask = device_new(8 * mask_bytes);
    memset(want, 0xa5, sizeof want);
    good(tr_gpu_copy(gpu, TR_GPU_COMPUTE, (char *)v.mask + mask_bytes, want, sizeof want));
    args = norm_args(&v);
    good(tr_dnn_norm_new(dnn, &s, TR_DNN_NORM_FORWARD, type, add, relu, &forward, &text));
    good(tr_dnn_norm_new(dnn, &s, TR_DNN_NORM_BACKWARD, type, add, relu, &backward, &text));
    good(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text));
    good(tr_dnn_norm_run(dnn, forward, &args));
    good(tr_gpu_copy(gpu, TR_GPU_COMPUTE, there, (char *)v.mask + mask_bytes, sizeof there));
    good(tr_gpu_sync(gpu, TR_GPU_COMPUTE));
    assert_memory_equal(there, want, sizeof there); /* the mask has the length that was given */
    good(tr_dnn_norm_run(dnn, backward, &args));
    print_message("norm %s%s%s: %s, %s\n", tr_gpu_dtype_name(type), add ? " add" : "", relu ? " relu" : "",
                  tr_dnn_norm_kernel(forward), tr_dnn_norm_kernel(backward));
    norm_check(&v);
    tr_dnn_norm_free(dnn, forward);
    tr_dnn_norm_free(dnn, backward);
    for (unsigned i = 0; i < 6; i++)
        tensor_free(values[i]);
    for (unsigned i = 0; i < 8; i++)
        tensor_free(channels[i]);
    tr_gpu_memory_free(gpu, v.mask);
}

static void batch_norm_is_that_of_plain_loops(void **state)
{
    const struct tr_dnn_norm_shape s = {4, 9, 9, 64};
    struct tr_dnn *dnn = dnn_new(true, NULL); /* the first engines: each candidate takes seconds to compile */

    (void)state;
    for (int type = 0; type < IMK_DTYPES; type++) {
        norm_case(dnn, s, (enum imk_dtype)type, false, false);
        norm_case(dnn, s, (enum imk_dtype)type, false, true);
        norm_case(dnn, s, (enum imk_dtype)type, true, true);
    }
    tr_dnn_close(dnn);
}

/* ---- products ---- */

static void product_case(struct tr_blas *blas, struct tr_blas_gemm_shape s)
{
    size_t m = (size_t)s.m, n = (size_t)s.n, k = (size_t)s.k;
    struct tensor a = tensor_new(m * k, s.type, 1, 1), b = tensor_new(k * n, s.type, 2, 1);
    struct tensor bias = tensor_new(n, IMK_F32, 3, 1), c = tensor_new(m * n, s.c_type, 4, 1);
    double *want = calloc(m * n, sizeof *want), *size = calloc(m * n, sizeof *size);
    struct tr_blas_gemm *gemm = NULL;
    float *got;

    assert_true(want && size);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = s.bias  ? (double)bias.host[j]
                         : s.add ? (double)c.host[i * n + j]
                                 : 0,
                   all = fabs(sum);

            for (size_t l = 0; l < k; l++) {
                double p = (double)a.host[s.a_transposed ? l * m + i : i * k + l] *
                           (double)b.host[s.b_transposed ? j * k + l : l * n + j];

                sum += p;
                all += fabs(p);
            }
            want[i * n + j] = sum;
            size[i * n + j] = all;
        }
    good(tr_blas_gemm_new(blas, &s, &gemm, &text));
    good(tr_blas_gemm_run(blas, gemm, a.device, b.device, bias.device, c.device));
    got = fetch(&c);
    near("product", got, want, size, m * n, s.type, s.c_type, s.add);
    tr_blas_gemm_free(blas, gemm);
    tensor_free(&a);
    tensor_free(&b);
    tensor_free(&c);
    tensor_free(&bias);
    free(got);
    free(want);
    free(size);
}

static void products_are_those_of_plain_loops(void **state)
{
    (void)state;
    for (int deterministic = 0; deterministic < 2; deterministic++) {
        struct tr_blas *blas = NULL;

        good(
            tr_blas_open(&(struct tr_blas_config){.gpu = gpu, .deterministic = deterministic}, &blas, &text));
        for (int t = 0; t < IMK_DTYPES; t++) {
            enum imk_dtype type = (enum imk_dtype)t;

            product_case(blas, (struct tr_blas_gemm_shape){32, 40, 64, false, true, type, IMK_F32, true,
                                                           false, false});
            product_case(
                blas, (struct tr_blas_gemm_shape){32, 64, 40, false, false, type, type, false, false, false});
            product_case(blas, (struct tr_blas_gemm_shape){40, 64, 32, true, false, type, IMK_F32, false,
                                                           false, false});
            product_case(
                blas, (struct tr_blas_gemm_shape){5, 7, 3, false, true, type, IMK_F32, true, false, false});
            product_case(
                blas, (struct tr_blas_gemm_shape){16, 24, 8, true, true, type, IMK_F32, false, true, false});
            product_case(blas, (struct tr_blas_gemm_shape){1, 40, 32, false, false, type, IMK_F32, false,
                                                           false, false});
        }
        tr_blas_close(blas);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_plausible),
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(too_much_memory_is_a_sentence_and_no_trouble),
        cmocka_unit_test(shared_memory_can_be_locked),
        cmocka_unit_test(recording_replays_with_new_contents),
        cmocka_unit_test(products_are_those_of_plain_loops),
        cmocka_unit_test(convolutions_are_those_of_plain_loops),
        cmocka_unit_test(batch_norm_is_that_of_plain_loops),
        cmocka_unit_test(fastest_convolutions_are_those_of_plain_loops),
        cmocka_unit_test(choices_come_back_from_the_cache),
    };
    int failed;

    if (tr_gpu_open(0, &gpu, &text) < 0) {
        printf("skipped: %s\n", text.s);
        return 77;
    }
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    tr_gpu_close(gpu);
    return failed;
}
