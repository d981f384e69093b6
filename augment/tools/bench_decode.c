/* `imsuper bench decode`: whole images on one core, files in memory, without crop or transforms. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "augment/tools/session.h"
#include "ipc/base/clock.h"
#include "ipc/base/earlier.h"
#include "ipc/base/json.h"
#include "ipc/base/series.h"
#include "ipc/child.h"

#define SCHEMA "imsuper.bench-decode/1"

struct decode_bench {
    struct au_session session;
    double *ms;           /* of each image of each pass */
    double *rates;        /* images a second of processor time, one a pass */
    double pixels, bytes; /* of a pass */
    size_t count;
    struct im_earlier earlier;
};

static void drop_rows(void *context, uint32_t first, uint32_t count, const struct au_pixels *rows)
{
    (void)context, (void)first, (void)count, (void)rows;
}

static double cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int decode(struct decode_bench *b, const struct au_file *file, struct im_text *text)
{
    struct au_decoder *decoder = au_renderer_decoder(b->session.renderer);
    const struct au_sink sink = {drop_rows, NULL};
    struct im_text why = {""};
    struct au_image image;
    int result = au_decoder_open(decoder, file->bytes, file->n, &image, &why);

    if (result == 0) {
        const struct imk_box box = {.w = image.width, .h = image.height};

        b->pixels += (double)image.width * image.height;
        b->bytes += (double)file->n;
        result = au_decoder_rows(decoder, 1, &box, &sink, &why);
    }
    return result ? im_fail(text, result < 0 ? result : -EBADMSG, "%.500s: %s", file->path, why.s) : 0;
}

/* Pass 0 is not measured: memory grows, caches fill. */
static int measure(struct decode_bench *b, struct im_text *text)
{
    const struct au_files *files = &b->session.files;
    int err = 0;

    for (int64_t pass = 0; err == 0 && pass <= b->session.conf.passes; pass++) {
        const double began = cpu_now();

        b->pixels = b->bytes = 0;
        for (size_t i = 0; err == 0 && i < files->count; i++) {
            const im_ns at = im_now();

            err = decode(b, &files->files[i], text);
            if (pass > 0)
                b->ms[b->count++] = (double)(im_now() - at) / 1e6;
        }
        if (pass > 0)
            b->rates[pass - 1] = (double)files->count / (cpu_now() - began);
    }
    im_series_sort(b->ms, b->count);
    return err;
}

static int print(struct decode_bench *b)
{
    const struct im_conf *conf = &b->session.conf;
    const struct im_summary s = im_series_summary(b->rates, (size_t)conf->passes);
    const double images = (double)b->session.files.count;
    const double p50 = im_series_quantile(b->ms, b->count, 0.5),
                 p99 = im_series_quantile(b->ms, b->count, 0.99);
    struct im_text compared;
    struct im_json *j;
    int err;

    if (!conf->json) {
        printf("%zu images of %.3g megapixels and %.1f kB, %" PRId64 " passes, one core\n",
               b->session.files.count, b->pixels / images / 1e6, b->bytes / images / 1e3, conf->passes);
        printf("images/s  %.1f +- %.1f of a core\n", s.mean, s.sigma);
        printf("          %.1f megapixels/s, %.1f MB/s\n", s.mean * b->pixels / images / 1e6,
               s.mean * b->bytes / images / 1e6);
        printf("ms        p50 %.3f  p99 %.3f\n", p50, p99);
        if (*im_earlier_sentence(&b->earlier, &s, true, "images/s of a core", &compared))
            printf("compared  %s\n", compared.s);
        return 0;
    }
    j = im_json_object();
    im_json_set_str(j, "schema", SCHEMA);
    im_json_set_int(j, "images", (int64_t)b->session.files.count);
    im_json_set_int(j, "passes", conf->passes);
    im_json_set_real(j, "images_per_cpu_second", s.mean);
    im_json_set_real(j, "sigma", s.sigma);
    im_json_set_real(j, "megapixels_per_cpu_second", s.mean * b->pixels / images / 1e6);
    im_json_set_real(j, "megabytes_per_cpu_second", s.mean * b->bytes / images / 1e6);
    im_json_set_real(j, "p50_ms", p50);
    im_json_set_real(j, "p99_ms", p99);
    im_json_set(j, "rates", im_earlier_list(b->rates, (size_t)conf->passes));
    im_earlier_add_json(&b->earlier, &s, true, j);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int au_cmd_bench_decode(struct im_conf *conf)
{
    struct decode_bench b = {.count = 0};
    struct im_text text = {""};
    int err = im_earlier_load(conf->compare, SCHEMA, "rates", &b.earlier, &text);

    if (err < 0)
        return im_command_fail(err, &text);
    err = au_session_open(&b.session, conf);
    if (err)
        return err;
    b.ms = calloc(b.session.files.count * (size_t)conf->passes, sizeof *b.ms);
    b.rates = calloc((size_t)conf->passes, sizeof *b.rates);
    err = b.ms && b.rates ? au_session_confine(&text) : -ENOMEM;
    if (err == 0)
        err = measure(&b, &text);
    if (err == 0)
        err = print(&b);
    free(b.ms);
    free(b.rates);
    au_session_close(&b.session);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
