/* `imsuper predict`: the likeliest classes of images. They go through the pipeline of an evaluation; answers have the
 * order of the images, each as soon as those before it are there. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/printable.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/evaluation.h"
#include "supervisor/cli/inputs.h"
#include "supervisor/cli/predict_lines.h"
#include "supervisor/cli/program.h"
#include "supervisor/cli/serve_images.h"

enum { BATCH = 64 };

static void say_speed(const struct im_conf *conf, const struct sv_evaluation_run *run, size_t images,
                      bool bad)
{
    if (!conf->quiet && run->seconds > 0)
        im_say(stderr, "imsuper: %zu image%s in %.2f s, %.4g images/s%s", images, images == 1 ? "" : "s",
               run->seconds, (double)images / run->seconds, bad ? "; some could not be used" : "");
}

/* The pass, and the lines beside it. On a terminal they and its screen would write over each other. */
static int answer(struct im_conf *conf, struct sv_evaluation_run *run, const struct sv_inputs *inputs,
                  struct im_text *text)
{
    char run_dir[PATH_MAX];
    struct im_conf *pass = malloc(sizeof *pass);
    struct sv_lines lines = {0};
    int64_t bad;
    int err = pass ? sv_evaluation_run_dir(run, run_dir) : -ENOMEM, status = 0;

    if (err == 0)
        err = sv_lines_begin(&lines, conf, inputs, run_dir);
    if (err == 0 && inputs->readable > 0) {
        *pass = *conf;
        pass->quiet |= isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
        status = sv_evaluation_run(pass, run);
    }
    free(pass);
    bad = sv_lines_end(&lines, err == 0 && status == 0, status == IM_EXIT_FORCED);
    if (bad == -EINTR) {
        sv_evaluation_close(run);
        _exit(status ? status : IM_EXIT_FORCED);
    }
    if (err < 0)
        return err;
    if (bad < 0) {
        *text = lines.text;
        return (int)bad;
    }
    if (status == 0)
        say_speed(conf, run, inputs->readable, bad > 0);
    return status ? status : bad > 0 ? IM_EXIT_BAD_DATA : IM_EXIT_OK;
}

static void choose_batch(struct im_conf *conf, size_t images)
{
    if (conf->origin[IM_KEY_batch_size].source == IM_CONF_DEFAULT)
        conf->batch_size = images < BATCH && images > 0 ? (int64_t)images : BATCH;
}

static int predict(struct im_conf *conf, struct sv_inputs *inputs, struct im_text *text)
{
    struct sv_evaluation_run run = {0};
    const size_t all = inputs->readable;
    struct sv_shard shard = {0, 1};
    int err = conf->shard[0] ? sv_shard_parse(conf->shard, &shard, text) : 0;

    choose_batch(conf, all);
    if (err == 0 && shard.count > 1)
        sv_inputs_keep(inputs, &shard, (size_t)im_conf_step_images(conf));
    if (err == 0)
        err = sv_evaluation_open(conf, inputs, &run, text);
    choose_batch(conf, all);
    if (err == 0)
        err = answer(conf, &run, inputs, text);
    sv_evaluation_close(&run);
    return err;
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
    if (next < argc) {
        for (size_t n = strlen(argv[next]); n > 1 && argv[next][n - 1] == '/'; n--)
            argv[next][n - 1] = 0; /* a shell's completion of a run's name */
        err = im_conf_set(conf, "weights-from", argv[next++], text);
    }
    if (err == 0 && conf->serve[0] && next < argc)
        return im_fail(text, -EINVAL, "--serve takes images over HTTP: leave out %.300s", argv[next]);
    if (err < 0 || conf->serve[0])
        return err;
    if (next >= argc)
        return im_fail(text, -EINVAL, "FILE, DIR or - is missing: imsuper predict WEIGHTS|RUN FILE...|DIR|-");
    for (; next < argc && err == 0; next++)
        if (!*argv[next])
            err = im_fail(text, -EINVAL, "a name of an image is empty (a variable that is not set?)");
        else if (strcmp(argv[next], "--") != 0) {
            const size_t before = inputs->count;

            err = sv_inputs_add(inputs, argv[next], stdin, text);
            if (err == 0 && inputs->count == before)
                im_say(stderr, "imsuper: there are no images in %s", argv[next]);
        }
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
    if (!conf.serve[0] && !sv_stop_signal())
        sv_release_stop_signals();
    if (err < 0)
        im_command_fail(err, &text);
    else
        status = err;
    sv_inputs_fini(&inputs);
    return status;
}
