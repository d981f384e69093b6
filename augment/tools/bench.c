/* imsuper bench augment and imsuper profile augment: one core, files in memory, samples as in a run.
 *
 * Each pass renders all images twice: once as augmenters do, which gives images/s, and once with a clock
 * around every step, which gives the times of steps. A clock costs some 20 ns and ends the composition of
 * point operations, so the two are kept apart. Each pass is another epoch, with its own draws.
 *
 * images/s per core counts the time that the thread was on a processor, so that what else the machine does
 * changes it little; times of steps are by the clock, and their wait for a processor is printed beside
 * them. There is nothing else to wait for: the files are in memory.
 *
 * Each image has its seek index, as from the second epoch of a run on; --seek-index off measures the first. It is kept
 * in memory: where it lies in a run costs two system calls an image.
 *
 * libjpeg-turbo decodes Huffman codes and inverts the DCT row by row in one go, so the profile cannot have a
 * clock between them: it reads the same codes once more in a pass of its own that makes no pixels. */
#include "augment/tools/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/base/earlier.h"
#include "ipc/base/json.h"
#include "ipc/base/output.h"
#include "ipc/base/speedscope.h"
#include "ipc/child.h"

#define BENCH_SCHEMA "imsuper.bench-augment/1"
#define BUSY_SHARE 0.2 /* of an image's time: the machine did other things */

/* What is timed: the stages of au_render(), then the kinds of steps. */
enum {
    STAGE_TOTAL,
    STAGE_DECODE,
    STAGE_RESIZE,
    STAGE_TRANSFORM,
    STAGE_STEPS,
    STAGES = STAGE_STEPS + AU_STEP_KINDS
};

struct series {
    double *ms; /* one a sample in which it happened */
    size_t count;
};

struct packed {
    unsigned char *bytes; /* NULL: the image has none */
    size_t n;
};

struct bench {
    struct au_session session;
    struct packed *indexes; /* of the files; NULL: none is used */
    struct series series[STAGES];
    double *pass_seconds; /* by the clock, of the passes without clocks inside */
    double *pass_cpu;     /* the processor's seconds in the same */
    struct im_earlier earlier;
    unsigned char *out;
    double wait_ms;    /* of one image: when the passes with clocks had no processor */
    double entropy_ms; /* of one image, estimated; profile only */
};

static const char *stage_name(int stage)
{
    static const char *const names[STAGE_STEPS] = {"all", "decode", "crop, resize, flip", "transforms"};

    return stage < STAGE_STEPS ? names[stage] : au_step_name((enum au_step_kind)(stage - STAGE_STEPS));
}

static void bench_add(struct series *series, im_ns ns)
{
    series->ms[series->count++] = (double)ns / 1e6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of a sorted series: the smallest value that `share` of all values do not exceed. */
static double quantile(const struct series *s, double share)
{
    size_t i = (size_t)(share * (double)s->count);

    return s->count ? s->ms[i < s->count ? i : s->count - 1] : 0;
}

static double sum(const struct series *s)
{
    double total = 0;

    for (size_t i = 0; i < s->count; i++)
        total += s->ms[i];
    return total;
}

/* This thread's time on a processor, in seconds. */
static double cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Has the next decode use the file's index. */
static void use_index(struct bench *b, const struct au_file *file)
{
    struct au_decoder *decoder = au_renderer_decoder(b->session.renderer);
    const struct packed *index = b->indexes ? &b->indexes[file - b->session.files.files] : NULL;

    if (index && index->bytes && au_seek_unpack(au_decoder_seek(decoder), index->bytes, index->n))
        au_decoder_seek_mode(decoder, AU_SEEK_USE);
}

static int make_indexes(struct bench *b, struct im_text *text)
{
    const struct au_files *files = &b->session.files;
    struct au_decoder *decoder = au_renderer_decoder(b->session.renderer);
    unsigned char *bytes = malloc(AU_SEEK_BYTES_MAX);
    struct au_image image;

    b->indexes = calloc(files->count, sizeof *b->indexes);
    for (size_t i = 0; bytes && b->indexes && i < files->count; i++) {
        struct packed *index = &b->indexes[i];

        if (au_decoder_open(decoder, files->files[i].bytes, files->files[i].n, &image, NULL) != 0 ||
            !au_decoder_seek_make(decoder))
            continue;
        index->n = au_seek_pack(au_decoder_seek(decoder), bytes, AU_SEEK_BYTES_MAX);
        index->bytes = index->n > 0 ? malloc(index->n) : NULL;
        if (index->bytes)
            memcpy(index->bytes, bytes, index->n);
    }
    free(bytes);
    return bytes && b->indexes ? 0 : im_fail(text, -ENOMEM, "no memory for the seek index");
}

static void free_indexes(struct bench *b)
{
    for (size_t i = 0; b->indexes && i < b->session.files.count; i++)
        free(b->indexes[i].bytes);
    free(b->indexes);
}

static int render(struct bench *b, const struct au_file *file, uint32_t epoch, struct im_text *text)
{
    struct au_session *s = &b->session;
    struct au_job job =
        au_run_job(&s->options, true, s->conf.seed, epoch, file->id, (uint32_t)s->conf.image_size);
    struct im_text why = {""};
    int result;

    use_index(b, file);
    result = au_render(s->renderer, &job, file->bytes, file->n, b->out, &why);

    return result ? im_fail(text, result < 0 ? result : -EBADMSG, "%.500s: %s", file->path, why.s) : 0;
}

static void take_times(struct bench *b, im_ns total)
{
    struct au_canvas *canvas = au_renderer_canvas(b->session.renderer);
    struct au_times times = au_renderer_times(b->session.renderer);

    bench_add(&b->series[STAGE_TOTAL], total);
    bench_add(&b->series[STAGE_DECODE], times.decode);
    bench_add(&b->series[STAGE_RESIZE], times.resize);
    bench_add(&b->series[STAGE_TRANSFORM], times.transform);
    for (int kind = 0; kind < AU_STEP_KINDS; kind++) {
        if (canvas->calls[kind] > 0)
            bench_add(&b->series[STAGE_STEPS + kind], canvas->ns[kind]);
        canvas->ns[kind] = canvas->calls[kind] = 0;
    }
}

/* Returns what it took by the clock and of the processor, in seconds. */
static int one_pass(struct bench *b, uint32_t epoch, bool is_timed, double *ret_seconds, double *ret_cpu,
                    struct im_text *text)
{
    const struct au_files *files = &b->session.files;
    double cpu_began = cpu_now();
    im_ns pass_began = im_now();
    int err = 0;

    au_renderer_canvas(b->session.renderer)->is_timed = is_timed;
    for (size_t i = 0; err == 0 && i < files->count; i++) {
        im_ns began = im_now();

        err = render(b, &files->files[i], epoch, text);
        if (is_timed && err == 0)
            take_times(b, im_now() - began);
    }
    *ret_cpu = cpu_now() - cpu_began;
    *ret_seconds = (double)(im_now() - pass_began) / 1e9;
    return err;
}

static int measure(struct bench *b, struct im_text *text)
{
    const struct im_conf *conf = &b->session.conf;
    double seconds, cpu, waited = 0;
    int err = one_pass(b, (uint32_t)conf->epoch, false, &seconds, &cpu, text); /* memory grows, caches fill */

    for (uint32_t pass = 0; err == 0 && pass < conf->passes; pass++) {
        uint32_t epoch = (uint32_t)conf->epoch + pass;

        err = one_pass(b, epoch, false, &b->pass_seconds[pass], &b->pass_cpu[pass], text);
        if (err == 0)
            err = one_pass(b, epoch, true, &seconds, &cpu, text);
        waited += seconds > cpu ? seconds - cpu : 0;
    }
    b->wait_ms = 1e3 * waited / (double)b->session.files.count / (double)conf->passes;
    for (int stage = 0; stage < STAGES; stage++)
        qsort(b->series[stage].ms, b->series[stage].count, sizeof(double), by_size);
    return err;
}

/* The Huffman codes of one image, down to the end of its crop, in ms; 0 for what is no JPEG file. */
static double entropy_of(struct bench *b, const struct au_file *file, uint32_t epoch)
{
    const struct au_session *s = &b->session;
    struct au_decoder *decoder = au_renderer_decoder(s->renderer);
    struct au_job job =
        au_run_job(&s->options, true, s->conf.seed, epoch, file->id, (uint32_t)s->conf.image_size);
    im_ns began = im_now();
    struct au_image image;
    struct au_crop plan;
    uint32_t rows, read = 0;

    use_index(b, file);
    if (au_decoder_open(decoder, file->bytes, file->n, &image, NULL) != 0 || image.type != IM_IMAGE_JPEG)
        return 0;
    plan = au_crop_make(&job, image.width, image.height);
    rows = plan.box.y + plan.box.h;
    if (au_decoder_parse(decoder, &plan.box, &read, NULL) != 0 || read == 0)
        return 0;
    return (double)(im_now() - began) / 1e6 * rows / read;
}

/* Of the time of decoding. Taken in passes of its own, so that it may be more: on busy machines, and of tiny images. */
static double entropy_part(const struct bench *b, double decode_ms)
{
    return b->entropy_ms < decode_ms ? b->entropy_ms : decode_ms;
}

/* In ms of the average image, over the same draws as measure(). */
static void measure_entropy(struct bench *b)
{
    const struct au_session *s = &b->session;
    double total = 0;

    for (uint32_t pass = 0; pass < s->conf.passes; pass++) {
        for (size_t i = 0; i < s->files.count; i++)
            total += entropy_of(b, &s->files.files[i], (uint32_t)s->conf.epoch + pass);
    }
    b->entropy_ms = total / (double)s->files.count / (double)s->conf.passes;
}

/* images/s of the pass at `share` of all passes: 0 the fastest, 0.5 the median. Sorts them. */
static double rate(const struct bench *b, double *passes, double share)
{
    struct series sorted = {passes, (size_t)b->session.conf.passes};

    qsort(sorted.ms, sorted.count, sizeof(double), by_size);
    return (double)b->session.files.count / quantile(&sorted, share);
}

/* images/s of processor time of each pass; sorts nothing. NULL: no memory. */
static double *pass_rates(const struct bench *b)
{
    double *rates = calloc((size_t)b->session.conf.passes, sizeof *rates);

    for (int64_t i = 0; rates && i < b->session.conf.passes; i++)
        rates[i] = (double)b->session.files.count / b->pass_cpu[i];
    return rates;
}

static void compare_json(const struct bench *b, struct im_json *j)
{
    double *rates = pass_rates(b);
    struct im_summary now;

    if (!rates)
        return;
    im_json_set(j, "rates", im_earlier_list(rates, (size_t)b->session.conf.passes));
    now = im_series_summary(rates, (size_t)b->session.conf.passes);
    im_earlier_add_json(&b->earlier, &now, true, j);
    free(rates);
}

static void compare_text(const struct bench *b)
{
    double *rates = pass_rates(b);
    struct im_text compared = {""};
    struct im_summary now;

    if (!rates)
        return;
    now = im_series_summary(rates, (size_t)b->session.conf.passes);
    if (*im_earlier_sentence(&b->earlier, &now, true, "images/s of a core", &compared))
        printf("\ncompared  %s\n", compared.s);
    free(rates);
}

static struct im_json *stage_json(const struct bench *b, int stage)
{
    const struct series *s = &b->series[stage];
    struct im_json *j = im_json_object();

    im_json_set_str(j, "name", stage_name(stage));
    im_json_set_int(j, "samples", (int64_t)s->count);
    im_json_set_real(j, "mean_ms", sum(s) / (double)s->count);
    im_json_set_real(j, "p50_ms", quantile(s, 0.5));
    im_json_set_real(j, "p99_ms", quantile(s, 0.99));
    return j;
}

static int bench_print_json(struct bench *b, bool is_profile)
{
    const struct im_conf *conf = &b->session.conf;
    struct im_json *j = im_json_object(), *ops = im_json_array();
    double decode_ms = sum(&b->series[STAGE_DECODE]) / (double)b->series[STAGE_DECODE].count;
    int err;

    im_json_set_str(j, "schema", is_profile ? "imsuper.profile-augment/1" : BENCH_SCHEMA);
    im_json_set_str(j, "augment", im_conf_choice(IM_KEY_augment, conf->augment));
    im_json_set_int(j, "image_size", conf->image_size);
    im_json_set_int(j, "images", (int64_t)b->session.files.count);
    im_json_set_int(j, "passes", conf->passes);
    im_json_set_bool(j, "seek_index", b->indexes != NULL);
    im_json_set_str(j, "kernels", au_renderer_canvas(b->session.renderer)->ops.name);
    im_json_set_real(j, "images_per_second", rate(b, b->pass_seconds, 0.5));
    im_json_set_real(j, "images_per_second_best", rate(b, b->pass_seconds, 0));
    im_json_set_real(j, "images_per_cpu_second", rate(b, b->pass_cpu, 0.5));
    im_json_set_real(j, "wait_ms", b->wait_ms);
    compare_json(b, j);
    if (is_profile) {
        im_json_set_real(j, "entropy_decode_ms", entropy_part(b, decode_ms));
        im_json_set_real(j, "idct_ms", decode_ms - entropy_part(b, decode_ms));
    }
    for (int stage = 0; stage < STAGES; stage++) {
        if (b->series[stage].count > 0)
            im_json_append(ops, stage_json(b, stage));
    }
    im_json_set(j, "ops", ops);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static void print_bench(struct bench *b)
{
    const struct im_conf *conf = &b->session.conf;

    printf(
        "%zu images, %" PRId64 " passes, --augment %s, %" PRId64 " px, one core, kernels %s, %s seek index\n",
        b->session.files.count, conf->passes, im_conf_choice(IM_KEY_augment, conf->augment), conf->image_size,
        au_renderer_canvas(b->session.renderer)->ops.name, b->indexes ? "with" : "without");
    printf("%.1f images/s per core (median of passes), %.1f by the clock, %.1f in the best pass\n\n",
           rate(b, b->pass_cpu, 0.5), rate(b, b->pass_seconds, 0.5), rate(b, b->pass_seconds, 0));
    printf("%-26s %9s %9s %9s  %s\n", "ms", "p50", "p99", "mean", "of samples");
    for (int stage = 0; stage < STAGES; stage++) {
        const struct series *s = &b->series[stage];

        if (s->count > 0)
            printf("%-26s %9.3f %9.3f %9.3f  %5.1f%%\n", stage_name(stage), quantile(s, 0.5),
                   quantile(s, 0.99), sum(s) / (double)s->count,
                   100.0 * (double)s->count / (double)b->series[STAGE_TOTAL].count);
    }
    compare_text(b);
}

/* What print_profile() shows, as stacks. */
static int write_profile(const struct bench *b, struct im_text *text)
{
    struct im_speedscope *p = im_speedscope_new("augmenter");
    const double samples = (double)b->series[STAGE_TOTAL].count,
                 total = sum(&b->series[STAGE_TOTAL]) / samples,
                 decode = sum(&b->series[STAGE_DECODE]) / samples,
                 resize = sum(&b->series[STAGE_RESIZE]) / samples;
    double steps = 0;

    if (!p)
        return -ENOMEM;
    im_speedscope_add(p, (const char *const[]){"image", "decode", "Huffman codes (estimated)"}, 3,
                      entropy_part(b, decode));
    im_speedscope_add(p, (const char *const[]){"image", "decode", "IDCT, upsampling, colours"}, 3,
                      decode - entropy_part(b, decode));
    im_speedscope_add(p, (const char *const[]){"image", "crop, resize, flip"}, 2, resize);
    for (int stage = STAGE_STEPS; stage < STAGES; stage++) {
        const double ms = sum(&b->series[stage]) / samples;

        steps += ms;
        if (ms > 0)
            im_speedscope_add(p, (const char *const[]){"image", "transforms", stage_name(stage)}, 3, ms);
    }
    im_speedscope_add(p, (const char *const[]){"image", "rest"}, 2, total - decode - resize - steps);
    return im_speedscope_write(p, b->session.conf.output, text);
}

static void profile_line(const char *name, double ms, double total)
{
    printf("%-34s %9.1f  %5.1f%%\n", name, ms * 1e3, 100 * ms / total);
}

/* Shares of the mean image's time; the rest is the draws and the calls between the stages. */
static void print_profile(struct bench *b)
{
    double samples = (double)b->series[STAGE_TOTAL].count, steps = 0;
    double total = sum(&b->series[STAGE_TOTAL]) / samples, decode = sum(&b->series[STAGE_DECODE]) / samples;
    double resize = sum(&b->series[STAGE_RESIZE]) / samples;

    printf("%-34s %9s  %6s\n", "per image", "us", "share");
    profile_line("decode: Huffman codes (estimated)", entropy_part(b, decode), total);
    profile_line("decode: IDCT, upsampling, colours", decode - entropy_part(b, decode), total);
    profile_line("crop, resize, flip", resize, total);
    for (int stage = STAGE_STEPS; stage < STAGES; stage++) {
        double ms = sum(&b->series[stage]) / samples;

        steps += ms;
        if (ms > 0)
            profile_line(stage_name(stage), ms, total);
    }
    profile_line("rest", total - decode - resize - steps, total);
    profile_line("all", total, total);
    printf("%-34s %9.1f\n", "waited for a core, passes and clocks", b->wait_ms * 1e3);
    if (b->wait_ms > BUSY_SHARE * total)
        printf("this machine was busy: the lines above hold waits for a core, the next one does not\n");
    printf("\n1 augmenter = %.0f images/s with a core to itself\n", rate(b, b->pass_cpu, 0.5));
}

static int allocate(struct bench *b)
{
    const struct im_conf *conf = &b->session.conf;
    size_t samples = b->session.files.count * (size_t)conf->passes;

    b->out = malloc((size_t)3 * (size_t)(conf->image_size * conf->image_size));
    b->pass_seconds = calloc((size_t)conf->passes, sizeof *b->pass_seconds);
    b->pass_cpu = calloc((size_t)conf->passes, sizeof *b->pass_cpu);
    for (int stage = 0; stage < STAGES; stage++) {
        b->series[stage].ms = calloc(samples, sizeof(double));
        if (!b->series[stage].ms)
            return -ENOMEM;
    }
    return b->out && b->pass_seconds && b->pass_cpu ? 0 : -ENOMEM;
}

static int run(const struct im_conf *conf, bool is_profile)
{
    struct im_text text = {""};
    struct bench b = {0};
    int err = is_profile ? 0 : im_earlier_load(conf->compare, BENCH_SCHEMA, "rates", &b.earlier, &text);

    if (err == 0 && is_profile && *conf->output)
        err = im_output_check(conf->output, &text);
    if (err < 0)
        return im_command_fail(err, &text);
    err = au_session_open(&b.session, conf);
    if (err)
        return err;
    err = allocate(&b);
    if (err == 0 && !*conf->output) /* it would keep us from writing there */
        err = au_session_confine(&text);
    if (err == 0 && strcmp(conf->seek_index, "off") != 0)
        err = make_indexes(&b, &text);
    if (err == 0)
        err = measure(&b, &text);
    if (err == 0 && is_profile)
        measure_entropy(&b);
    if (err == 0 && conf->json)
        err = bench_print_json(&b, is_profile);
    else if (err == 0 && is_profile)
        print_profile(&b);
    else if (err == 0)
        print_bench(&b);
    if (err == 0 && *conf->output)
        err = write_profile(&b, &text);
    for (int stage = 0; stage < STAGES; stage++)
        free(b.series[stage].ms);
    free(b.pass_seconds);
    free(b.pass_cpu);
    free(b.out);
    free_indexes(&b);
    au_session_close(&b.session);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}

int au_cmd_bench(struct im_conf *conf)
{
    return run(conf, false);
}

int au_cmd_profile(struct im_conf *conf)
{
    return run(conf, true);
}
