/* `imsuper bench all`: every stage by itself through its own verb, then the data path as a whole, and which limits. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "ipc/config/command_line.h"
#include "supervisor/cli/bench_data.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/data_flags.h"
#include "supervisor/cli/program.h"

enum { ROWS = 7, TEXT_BYTES = 64, FLAGS_MAX = 16, ANSWER_BYTES = 1 << 18, TIMEOUT_MS = 3600000 };

struct row {
    const char *stage, *how;
    double rate, sigma;
};

struct all {
    struct row rows[ROWS];
    int count;
    char flags[FLAGS_MAX][TEXT_BYTES];
    int flag_count;
};

static void add_row(struct all *a, const char *stage, const char *how, double rate, double sigma)
{
    a->rows[a->count++] = (struct row){stage, how, rate, sigma};
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
               const char *const more[], const char *const row[3])
{
    struct im_json *j;
    int status = sv_ask_data(conf, program, words, more, &j);

    if (status == 0 && j)
        add_row(a, row[0], row[1], im_json_real_or(j, row[2], 0), im_json_real_or(j, "sigma", 0));
    im_json_free(&j);
    return status < 0 ? IM_EXIT_FAILED : status;
}

static int ask_reader(const struct im_conf *conf, struct all *a)
{
    const char *passes = number_flag(a, "passes", conf->passes),
               *depth = number_flag(a, "queue-depth", conf->queue_depth);
    const char *cold[] = {"--json", passes, depth, "--cold", NULL}, *warm[] = {"--json", passes, depth, NULL};
    int status = ask(conf, a, "imsuper-reader", "bench", cold,
                     (const char *const[]){"read", "1 reader, from the disk", "images_per_second"});

    return status ? status
                  : ask(conf, a, "imsuper-reader", "bench", warm,
                        (const char *const[]){"read", "1 reader, from memory", "images_per_second"});
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
                     (const char *const[]){"decode", "1 core, whole images", "images_per_cpu_second"});

    return status ? status
                  : ask(conf, a, "imsuper-augmenter", "bench", more,
                        (const char *const[]){"augment", "1 core, crops and transforms",
                                              "images_per_cpu_second"});
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
        add_row(a, "train", "1 trainer, random pixels", im_json_real_or(j, "images_per_second", 0), 0);
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

static int print_json(const struct all *a, const struct im_text *verdict)
{
    struct im_json *j = im_json_object(), *list = im_json_array();
    int err;

    im_json_set_str(j, "schema", "imsuper.bench-all/1");
    for (int i = 0; i < a->count; i++) {
        struct im_json *item = im_json_object();

        im_json_set_str(item, "stage", a->rows[i].stage);
        im_json_set_str(item, "how", a->rows[i].how);
        im_json_set_real(item, "images_per_second", a->rows[i].rate);
        im_json_set_real(item, "sigma", a->rows[i].sigma);
        im_json_append(list, item);
    }
    im_json_set(j, "stages", list);
    im_json_set_str(j, "verdict", verdict->s);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static void print_text(const struct all *a, const struct im_text *verdict)
{
    printf("%-9s %-42s %s\n", "STAGE", "", "images/s");
    for (int i = 0; i < a->count; i++) {
        printf("%-9s %-42s %.1f", a->rows[i].stage, a->rows[i].how, a->rows[i].rate);
        if (a->rows[i].sigma > 0)
            printf(" +- %.1f", a->rows[i].sigma);
        printf("\n");
    }
    printf("\nverdict   %s\n", verdict->s);
}

static int measure_data(struct im_conf *conf, struct all *a, char *how, size_t n)
{
    struct sv_bench *b = malloc(sizeof *b);
    int status = b ? sv_bench_data_run(conf, b) : IM_EXIT_FAILED;

    if (status == 0) {
        snprintf(how, n, "%" PRId64 " readers, %" PRId64 " augmenters, rings", b->readers, b->augmenters);
        add_row(a, "data", how, b->rate.mean, b->rate.sigma);
    }
    free(b);
    return status;
}

int sv_cmd_bench_all(struct im_conf *conf)
{
    struct all *a = calloc(1, sizeof *a);
    struct im_text text = {""}, verdict = {""};
    char how[TEXT_BYTES];
    int status = a ? 0 : IM_EXIT_FAILED, err = 0;

    if (*conf->scan || *conf->compare || *conf->output || conf->cold) {
        free(a);
        im_fail(&text, 0,
                "--scan, --compare, --output and --cold have no effect with bench all; see bench data");
        im_say(stderr, "imsuper: %s", text.s);
        return IM_EXIT_USAGE;
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
        if (conf->json)
            err = print_json(a, &verdict);
        else
            print_text(a, &verdict);
    }
    free(a);
    if (status != 0 && sv_stop_signal())
        return IM_EXIT_FORCED;
    return err < 0 ? im_command_fail(err, &text) : status;
}
