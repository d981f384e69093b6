/* `imsuper predict`: the likeliest classes of images. They go through the pipeline of an evaluation; answers have the
 * order of the images. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/printable.h"
#include "ipc/base/verdict.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/evaluation.h"
#include "supervisor/cli/inputs.h"
#include "supervisor/cli/serve_images.h"
#include "supervisor/report/evaluation.h"
#include "supervisor/serving/prediction.h"

enum { BATCH = 64 };

/* What became of an image: its record, or why there is none. */
struct answer {
    const char *name, *error;
    const struct im_outcome *outcome; /* NULL: error says why */
};

static int print_json(const struct sv_evaluation *e, const struct answer *a, uint32_t tops)
{
    struct im_json *j = sv_prediction_json(a->name, e->class_name, tops, a->outcome, a->error);
    int err = j ? im_json_print(j, stdout) : -ENOMEM;

    im_json_free(&j);
    return err;
}

static void print_text(const struct sv_evaluation *e, const struct answer *a, uint32_t tops)
{
    char *line = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&line, &n);

    if (!out)
        return;
    fprintf(out, "%s: ", a->name);
    if (a->error)
        fprintf(out, "error: %s", a->error);
    for (uint32_t i = 0; a->outcome && i < tops; i++)
        fprintf(out, "%s%s %.2f %%", i ? ", " : "", e->class_name[a->outcome->top[i].class],
                100 * (double)a->outcome->top[i].probability);
    if (a->outcome && tops == 0)
        fputs("none", out);
    if (fclose(out) == 0)
        im_say(stdout, "%s", line);
    free(line);
}

static const char *why_not(int err)
{
    return err == -EINVAL ? "this is no regular file" : strerror(-err);
}

/* Prints all in their order; returns how many could not be used, or a negative errno. */
static int64_t print_all(const struct im_conf *conf, const struct sv_inputs *inputs,
                         const struct sv_evaluation *e)
{
    uint64_t place = 0;
    int64_t bad = 0;
    int err = 0;

    for (size_t i = 0; i < inputs->count && err == 0; i++) {
        const struct sv_input *in = &inputs->item[i];
        const struct im_outcome *r = in->path && place < e->images ? sv_evaluation_at(e, place++) : NULL;
        struct answer a = {.name = in->name};
        uint32_t tops;

        if (!in->path)
            a.error = why_not(in->err);
        else if (!r || r->sample_plus_1 == 0)
            a.error = "there is no answer for it";
        else if (r->verdict != 0)
            a.error = im_verdict_sentence(r->verdict);
        else
            a.outcome = r;
        tops = a.outcome ? im_outcome_above(r, e->tops, conf->threshold) : 0;
        bad += a.error != NULL;
        if (conf->json)
            err = print_json(e, &a, tops);
        else
            print_text(e, &a, tops);
    }
    return err < 0 ? err : bad;
}

static int answer(const struct im_conf *conf, const struct sv_evaluation_run *run,
                  const struct sv_inputs *inputs, struct im_text *text)
{
    struct sv_evaluation e = {0};
    int err = inputs->readable ? sv_evaluation_read(&e, conf, text) : 0;
    int64_t bad = err < 0 ? err : print_all(conf, inputs, &e);

    if (bad >= 0 && !conf->quiet && run->seconds > 0)
        im_say(stderr, "imsuper: %zu images in %.2f s, %.4g images/s%s", inputs->readable, run->seconds,
               (double)inputs->readable / run->seconds, bad ? "; some could not be used" : "");
    sv_evaluation_fini(&e);
    return bad < 0 ? (int)bad : bad > 0 ? IM_EXIT_BAD_DATA : IM_EXIT_OK;
}

static int predict(struct im_conf *conf, const struct sv_inputs *inputs, struct im_text *text)
{
    struct sv_evaluation_run run = {0};
    int status = 0;
    int err = sv_evaluation_open(conf, inputs, &run, text);

    if (err == 0 && conf->origin[IM_KEY_batch_size].source == IM_CONF_DEFAULT)
        conf->batch_size =
            inputs->readable < BATCH && inputs->readable > 0 ? (int64_t)inputs->readable : BATCH;
    if (err == 0 && inputs->readable > 0)
        status = sv_evaluation_run(conf, &run);
    if (err == 0 && status == 0)
        err = answer(conf, &run, inputs, text);
    sv_evaluation_close(&run);
    return status ? status : err;
}

/* "predict [flags] WEIGHTS IMAGE..." with flags and words in any order. */
static int configure(int argc, char **argv, struct im_conf *conf, struct sv_inputs *inputs,
                     struct im_text *text)
{
    struct im_text warning = {""};
    int err = 0, next;

    im_conf_defaults(conf);
    im_conf_operands_last(IM_FOR_PREDICT, argc, argv);
    next = im_conf_load(conf, IM_FOR_PREDICT, argc, argv, &warning, text);
    if (next < 0)
        return next;
    if (warning.s[0])
        im_say(stderr, "imsuper: %s", warning.s);
    if (next < argc)
        err = im_conf_set(conf, "weights-from", argv[next++], text);
    if (err == 0 && conf->serve[0] && next < argc)
        return im_fail(text, -EINVAL, "--serve takes images over HTTP: leave out %.300s", argv[next]);
    if (err < 0 || conf->serve[0])
        return err;
    if (next >= argc)
        return im_fail(text, -EINVAL, "something is missing: imsuper predict WEIGHTS|RUN FILE...|DIR|-");
    for (; next < argc && err == 0; next++)
        if (strcmp(argv[next], "--") != 0)
            err = sv_inputs_add(inputs, argv[next], stdin, text);
    if (err == 0 && inputs->count == 0)
        err = im_fail(
            text, -EINVAL,
            "there are no images: folders are searched for files whose names end like those of images");
    return err;
}

int sv_cmd_predict(int argc, char **argv)
{
    struct sv_inputs inputs = {0};
    struct im_text text = {""};
    struct im_conf conf;
    int status = IM_EXIT_USAGE;
    int err = configure(argc, argv, &conf, &inputs, &text);

    if (err == 0) {
        err = conf.serve[0] ? sv_serve_images(&conf, &text) : predict(&conf, &inputs, &text);
        status = err > 0          ? err
                 : err == -ENOENT ? IM_EXIT_UNKNOWN_RUN
                 : err == -EINVAL ? IM_EXIT_USAGE
                                  : IM_EXIT_FAILED;
    }
    if (err < 0)
        im_command_fail(err, &text);
    else
        status = err;
    sv_inputs_fini(&inputs);
    return status;
}
