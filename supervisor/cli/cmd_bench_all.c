/* `imsuper bench all`: every stage by itself through its own verb, then the data path as a whole, and which limits. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/earlier.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "ipc/config/command_line.h"
#include "supervisor/cli/bench_data.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/data_flags.h"
#include "supervisor/cli/program.h"

enum {
    ROWS = 6,
    VALUES_MAX = 4096,
    TEXT_BYTES = 64,
    FLAGS_MAX = 16,
    ANSWER_BYTES = 1 << 18,
    TIMEOUT_MS = 3600000
};

#define SCHEMA "imsuper.bench-all/1"

struct row {
    const char *stage, *how;
    double rate, sigma;
    double *values; /* images/s, one a pass */
    struct im_summary of_values;
    struct im_earlier earlier;
};

/* Where the answer of a stage's program has what. */
struct keys {
    const char *stage, *how, *rate, *values;
};

struct all {
    struct row rows[ROWS];
    int count;
    char flags[FLAGS_MAX][TEXT_BYTES];
    int flag_count;
};

/* Takes `values`, malloc'ed, over. */
static void add_row(struct all *a, const struct keys *k, double rate, double sigma, double *values, size_t n)
{
    a->rows[a->count++] =
        (struct row){.stage = k->stage,
                     .how = k->how,
                     .rate = rate,
                     .sigma = sigma,
                     .values = values,
                     .of_values = values ? im_series_summary(values, n) : (struct im_summary){0}};
}

/* The rate of a program's answer, and its values. */
static void take_answer(struct all *a, const struct im_json *j, const struct keys *k)
{
    const struct im_json *list = im_json_get(j, k->values);
    const size_t count = im_json_count(list) < VALUES_MAX ? im_json_count(list) : VALUES_MAX;
    double *values = calloc(count + 1, sizeof *values);
    size_t n = 0;

    for (size_t i = 0; values && i < count; i++)
        n += im_json_as_real(im_json_at(list, i), &values[n]) == 0;
    add_row(a, k, im_json_real_or(j, k->rate, 0), im_json_real_or(j, "sigma", 0), values, n);
}

/* --NAME=NUMBER and --NAME=WORD, for a program that is to measure the same. */
static const char *number_flag(struct all *a, const char *name, int64_t value)
{
    snprintf(a->flags[a->flag_count], TEXT_BYTES, "--%s=%" PRId64, name, value);
    return a->flags[a->flag_count++];
}

static const char *word_flag(struct all *a, enum im_conf_key_id key, const char *name, int value)
{
    snprintf(a->flags[a->flag_count], TEXT_BYTES, "--%s=%s", name, im_conf_choice(key, value));
    return a->flags[a->flag_count++];
}

/* Asks a program for one stage's JSON; takes its rate from `key`. */
static int ask(const struct im_conf *conf, struct all *a, const char *program, const char *words,
               const char *const more[], const struct keys *keys)
{
    struct im_json *j;
    int status = sv_ask_data(conf, program, words, more, &j);

    if (status == 0 && j)
        take_answer(a, j, keys);
    im_json_free(&j);
    return status < 0 ? IM_EXIT_FAILED : status;
}

static int ask_reader(const struct im_conf *conf, struct all *a)
{
    const char *passes = number_flag(a, "passes", conf->passes),
               *depth = number_flag(a, "queue-depth", conf->queue_depth);
    const char *cold[] = {"--json", passes, depth, "--cold", NULL}, *warm[] = {"--json", passes, depth, NULL};
    int status = ask(conf, a, "imsuper-reader", "bench", cold,
                     &(struct keys){"read", "1 reader, from the disk", "images_per_second", "passes"});

    return status ? status
                  : ask(conf, a, "imsuper-reader", "bench", warm,
                        &(struct keys){"read", "1 reader, from memory", "images_per_second", "passes"});
}

static int ask_augmenter(const struct im_conf *conf, struct all *a)
{
    const char *more[] = {"--json",
                          "--images=64",
                          number_flag(a, "passes", conf->passes),
                          number_flag(a, "image-size", conf->image_size),
                          word_flag(a, IM_KEY_augment, "augment", conf->augment),
                          NULL};
    int status = ask(conf, a, "imsuper-augmenter", "bench-decode", more,
                     &(struct keys){"decode", "1 core, whole images", "images_per_cpu_second", "rates"});

    return status ? status
                  : ask(conf, a, "imsuper-augmenter", "bench", more,
                        &(struct keys){"augment", "1 core, crops and transforms", "images_per_cpu_second",
                                       "rates"});
}

/* The step takes no data set. */
static int ask_trainer(const struct im_conf *conf, struct all *a)
{
    static const enum im_conf_key_id keys[] = {IM_KEY_image_size, IM_KEY_batch_size, IM_KEY_trainer_threads,
                                               IM_KEY_passes,     IM_KEY_model,      IM_KEY_backend,
                                               IM_KEY_amp};
    char path[PATH_MAX], *answer = malloc(ANSWER_BYTES);
    struct im_command_line line;
    struct im_json *j = NULL;
    int status = -ENOMEM;

    sv_program_find("imsuper-trainer", path, sizeof path);
    im_command_line_begin(&line, path);
    im_command_line_word(&line, "bench");
    im_command_line_word(&line, "--json");
    for (size_t i = 0; i < IM_COUNT(keys); i++)
        im_command_line_flag(&line, conf, keys[i]);
    setenv("OMP_WAIT_POLICY", "passive", 0); /* as for the trainer of a run */
    if (answer && line.words)
        status = sv_program_read(line.words, TIMEOUT_MS, answer, ANSWER_BYTES);
    im_command_line_free(&line);
    if (status == 0 && im_json_parse(answer, strlen(answer), &j, NULL) == 0)
        take_answer(a, j, &(struct keys){"train", "1 trainer, random pixels", "images_per_second", "rates"});
    im_json_free(&j);
    free(answer);
    return status < 0 ? IM_EXIT_FAILED : status;
}

/* Of the last two rows: what the data path gives, and what the trainers take. */
static void judge(const struct all *a, const struct im_conf *conf, struct im_text *ret)
{
    const double data = a->rows[a->count - 2].rate, train = a->rows[a->count - 1].rate * (double)conf->ranks;

    if (data >= train)
        im_fail(
            ret, 0, "training limits: %.0f images/s, of which the data path alone gives %.1f times as many%s",
            train, train > 0 ? data / train : 0,
            conf->backend == IM_BACKEND_CUDA ? "" : " (with all cores to itself: a CPU trainer shares them)");
    else
        im_fail(ret, 0,
                "the data path limits: %.0f of the %.0f images/s that %" PRId64 " trainer%s could take", data,
                train, conf->ranks, conf->ranks > 1 ? "s" : "");
}

static int bench_all_print_json(const struct all *a, const struct im_text *verdict)
{
    struct im_json *j = im_json_object(), *list = im_json_array();
    int err;

    im_json_set_str(j, "schema", SCHEMA);
    for (int i = 0; i < a->count; i++) {
        struct im_json *item = im_json_object();

        im_json_set_str(item, "stage", a->rows[i].stage);
        im_json_set_str(item, "how", a->rows[i].how);
        im_json_set_real(item, "images_per_second", a->rows[i].rate);
        im_json_set_real(item, "sigma", a->rows[i].sigma);
        im_json_set(item, "values", im_earlier_list(a->rows[i].values, a->rows[i].of_values.n));
        im_earlier_add_json(&a->rows[i].earlier, &a->rows[i].of_values, true, item);
        im_json_append(list, item);
    }
    im_json_set(j, "stages", list);
    im_json_set_str(j, "verdict", verdict->s);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static void bench_all_print_text(const struct all *a, const struct im_text *verdict)
{
    printf("%-9s %-42s %s\n", "STAGE", "", "images/s");
    for (int i = 0; i < a->count; i++) {
        printf("%-9s %-42s %.1f", a->rows[i].stage, a->rows[i].how, a->rows[i].rate);
        if (a->rows[i].sigma > 0)
            printf(" +- %.1f", a->rows[i].sigma);
        printf("\n");
    }
    printf("\nverdict   %s\n", verdict->s);
    for (int i = 0; i < a->count; i++) {
        struct im_text compared;

        if (*im_earlier_sentence(&a->rows[i].earlier, &a->rows[i].of_values, true, "images/s", &compared))
            printf("compared  %s, %s: %s\n", a->rows[i].stage, a->rows[i].how, compared.s);
    }
}

/* Of the earlier answer the stage of the same name and kind. Numbers of processes may differ: both are printed. */
static void find_earlier(struct all *a, const struct im_json *old)
{
    const struct im_json *list = im_json_get(old, "stages");

    for (int i = 0; i < a->count; i++)
        for (size_t k = 0; k < im_json_count(list); k++) {
            const struct im_json *one = im_json_at(list, k);
            const bool same_how = strcmp(im_json_str_or(one, "how", ""), a->rows[i].how) == 0;

            if (strcmp(im_json_str_or(one, "stage", ""), a->rows[i].stage) != 0)
                continue;
            if (same_how)
                im_earlier_take(im_json_get(one, "values"), ROWS, &a->rows[i].earlier);
            else if (strcmp(a->rows[i].stage, "data") == 0)
                im_say(stderr, "imsuper: data: not compared: %s before, %s now",
                       im_json_str_or(one, "how", ""), a->rows[i].how);
        }
}

static void free_all(struct all *a)
{
    for (int i = 0; a && i < a->count; i++)
        free(a->rows[i].values);
    free(a);
}

static int measure_data(struct im_conf *conf, struct all *a, char *how, size_t n)
{
    struct sv_bench *b = malloc(sizeof *b);
    double *values;
    int status = b ? sv_bench_data_run(conf, b) : IM_EXIT_FAILED;

    if (status == 0) {
        snprintf(how, n, "%" PRId64 " readers, %" PRId64 " augmenters, rings", b->readers, b->augmenters);
        values = calloc(b->passes + 1, sizeof *values);
        if (values)
            memcpy(values, b->rates, b->passes * sizeof *values);
        add_row(a, &(struct keys){.stage = "data", .how = how}, b->rate.mean, b->rate.sigma, values,
                b->passes);
    }
    free(b);
    return status;
}

int sv_cmd_bench_all(struct im_conf *conf)
{
    struct all *a = calloc(1, sizeof *a);
    struct im_text text = {""}, verdict = {""};
    struct im_json *old = NULL;
    char how[TEXT_BYTES];
    int status = a ? 0 : IM_EXIT_FAILED, err = 0;

    if (*conf->scan || *conf->output || conf->cold)
        err = im_fail(&text, -EINVAL,
                      "--scan, --output and --cold have no effect with bench all; see bench data");
    else
        err = im_earlier_open(conf->compare, SCHEMA, &old, &text);
    if (err < 0) {
        free(a);
        return im_command_fail(err, &text);
    }
    sv_hold_stop_signals();
    if (status == 0)
        status = ask_reader(conf, a);
    if (status == 0)
        status = ask_augmenter(conf, a);
    if (status == 0)
        status = measure_data(conf, a, how, sizeof how);
    if (status == 0)
        status = ask_trainer(conf, a);
    if (status == 0) {
        judge(a, conf, &verdict);
        if (old)
            find_earlier(a, old);
        sv_release_stop_signals();
        if (conf->json)
            err = bench_all_print_json(a, &verdict);
        else
            bench_all_print_text(a, &verdict);
    }
    free_all(a);
    im_json_free(&old);
    if (status != 0 && sv_stop_signal())
        return IM_EXIT_FORCED;
    return err < 0 ? im_command_fail(err, &text) : status;
}
