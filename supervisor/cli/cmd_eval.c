/* `imsuper eval`: one validation pass over the weights of a file or a run, and what it says. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/printable.h"
#include "ipc/base/verdict.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/evaluation.h"
#include "supervisor/report/evaluation.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/screen.h"

enum { CLASSES_SHOWN = 20, UNUSABLE_SHOWN = 10, NAME_WIDTH = 24 };

/* What a pass says of all images: of one label each, or of several. */
static const struct {
    const char *key, *heading; /* of the epoch's line, with "val_" in front */
    bool several;
} measures[] = {{"val_top1", "top-1", false},
                {"val_top5", "top-5", false},
                {"val_map", "mAP", true},
                {"val_f1", "F1", true},
                {"val_f1_macro", "macro F1", true}};

static struct im_json *to_json(const struct im_conf *conf, const struct sv_evaluation_run *run,
                               const struct sv_evaluation *e, const struct im_json *epoch)
{
    struct im_json *j = im_json_object();

    im_json_set_str(j, "schema", "imsuper.eval/1");
    im_json_set_str(j, "weights", run->weights.path);
    im_json_set_str(j, "run", run->weights.run_dir);
    im_json_set_str(j, "model", im_conf_choice(IM_KEY_model, conf->model));
    im_json_set_str(j, "data", conf->data_dir);
    im_json_set_int(j, "image_size", conf->eval_image_size);
    im_json_set_int(j, "resize", im_conf_eval_resize(conf));
    im_json_set_int(j, "batch_size", conf->batch_size);
    im_json_set_str(j, "tta", im_conf_choice(IM_KEY_tta, conf->tta));
    for (size_t i = 0; i < IM_COUNT(measures); i++)
        if (measures[i].several == conf->multi_label)
            im_json_set_real(j, measures[i].key + 4, im_json_real_or(epoch, measures[i].key, (double)NAN));
    im_json_set_real(j, "loss", im_json_real_or(epoch, "val_loss", (double)NAN));
    im_json_set_real(j, "seconds", run->seconds);
    im_json_set_real(j, "images_per_second",
                     run->seconds > 0 ? (double)e->images / run->seconds : (double)NAN);
    sv_evaluation_add_json(e, j);
    return j;
}

/* Of all classes in their order, or of the classes that have images those with the lowest F1. */
static uint32_t choose_classes(const struct sv_evaluation *e, uint32_t shown[CLASSES_SHOWN])
{
    uint32_t n = 0;

    for (uint32_t k = 0; k < e->classes; k++) {
        uint32_t at = n;

        if (e->classes <= CLASSES_SHOWN) {
            shown[n++] = k;
            continue;
        }
        if (e->count[k].support == 0 ||
            (n == CLASSES_SHOWN && im_class_f1(&e->count[k]) >= im_class_f1(&e->count[shown[n - 1]])))
            continue;
        if (n == CLASSES_SHOWN)
            at--;
        else
            n++;
        for (; at > 0 && im_class_f1(&e->count[k]) < im_class_f1(&e->count[shown[at - 1]]); at--)
            shown[at] = shown[at - 1];
        shown[at] = k;
    }
    return n;
}

static void print_classes(const struct sv_evaluation *e)
{
    const struct sv_averages macro = sv_evaluation_averages(e, false),
                             weighted = sv_evaluation_averages(e, true);
    uint32_t shown[CLASSES_SHOWN];
    char valid[24];
    const uint32_t n = choose_classes(e, shown);

    im_say(stdout, "%-*s  %9s  %6s  %7s  %7s%s", NAME_WIDTH, "class", "precision", "recall", "F1", "images",
           e->precision ? "       AP" : "");
    for (uint32_t i = 0; i < n; i++) {
        const struct im_class_counts *c = &e->count[shown[i]];

        char precision[24] = "", support[24];

        if (e->precision)
            snprintf(precision, sizeof precision, "  %7.4f", e->precision[shown[i]]);
        im_say(stdout, "%s  %9.4f  %6.4f  %7.4f  %7s%s",
               sv_cell(&(struct sv_cell_text){0}, e->class_name[shown[i]], NAME_WIDTH, false),
               im_class_precision(c), im_class_recall(c), im_class_f1(c),
               sv_format_count(c->support, support, sizeof support), precision);
    }
    if (n < e->classes)
        im_say(stdout, "(the %u of %u classes with the lowest F1; -o DIR or --json: all)", n, e->classes);
    im_say(stdout, "%-*s  %9.4f  %6.4f  %7.4f", NAME_WIDTH, "mean of classes", macro.precision, macro.recall,
           macro.f1);
    im_say(stdout, "%-*s  %9.4f  %6.4f  %7.4f  %7s", NAME_WIDTH,
           e->multi_label ? "mean of labels" : "mean of images", weighted.precision, weighted.recall,
           weighted.f1, sv_format_count(e->valid, valid, sizeof valid));
}

static void print_worst(const struct sv_evaluation *e)
{
    const uint64_t n = e->worsts;

    for (uint64_t i = 0; i < n; i++) {
        const struct im_outcome *r = sv_evaluation_at(e, e->worst[i]);

        if (i == 0)
            im_say(stdout, "highest loss");
        if (e->multi_label)
            im_say(stdout, "%8.4f  %s: %u of %u labels are wrong at 0.5", r->loss, e->name[e->worst[i]],
                   r->rank, e->classes);
        else if (r->label == (int32_t)r->top[0].class)
            im_say(stdout, "%8.4f  %s: %s, and taken for it (%.1f %%)", r->loss, e->name[e->worst[i]],
                   e->class_name[r->label], 100 * (double)r->top[0].probability);
        else
            im_say(stdout, "%8.4f  %s: %s taken for %s (%.1f %%)", r->loss, e->name[e->worst[i]],
                   e->class_name[r->label], e->class_name[r->top[0].class],
                   100 * (double)r->top[0].probability);
    }
}

static void print_unusable(const struct sv_evaluation *e)
{
    uint64_t shown = 0;

    for (uint64_t i = 0; i < e->images && shown < UNUSABLE_SHOWN; i++) {
        const struct im_outcome *r = sv_evaluation_at(e, i);

        if (r->sample_plus_1 == 0 || r->verdict == 0)
            continue;
        im_say(stderr, "imsuper: %s: %s", e->name[i], im_verdict_sentence(r->verdict));
        shown++;
    }
    if (e->unusable > shown)
        im_say(stderr, "imsuper: and %" PRIu64 " more images that could not be used", e->unusable - shown);
}

static void eval_print_text(const struct im_conf *conf, const struct sv_evaluation_run *run,
                            const struct sv_evaluation *e, const struct im_json *epoch)
{
    char images[24];

    im_say(stdout, "weights  %s", run->weights.path);
    im_say(stdout, "images   %s of %u classes, %" PRId64 " px%s%s",
           sv_format_count(e->valid, images, sizeof images), e->classes, conf->eval_image_size,
           conf->tta == IM_TTA_FLIP    ? ", with mirror images"
           : conf->tta == IM_TTA_VIEWS ? ", with mirror images, each moved in two ways too"
                                       : "",
           e->unusable ? "; others could not be used" : "");
    for (size_t i = 0; i < IM_COUNT(measures); i++)
        if (measures[i].several == conf->multi_label)
            im_say(stdout, "%-8s %.2f%%", measures[i].heading,
                   100 * im_json_real_or(epoch, measures[i].key, (double)NAN));
    im_say(stdout, "loss     %.6f", im_json_real_or(epoch, "val_loss", (double)NAN));
    if (!conf->multi_label)
        im_say(stdout, "ECE      %.4f (%d bins)", sv_evaluation_ece(e), SV_ECE_BINS);
    if (run->seconds > 0)
        im_say(stdout, "speed    %.4g images/s", (double)e->images / run->seconds);
    print_classes(e);
    print_worst(e);
}

static int report(const struct im_conf *conf, struct sv_evaluation_run *run, struct sv_evaluation *e,
                  struct im_text *text)
{
    struct im_json *epoch = sv_evaluation_epoch(conf), *answer = NULL;
    char title[256];
    int err = epoch ? sv_evaluation_read(e, conf, text) : im_fail(text, -EIO, "the pass left no numbers");

    if (err == 0)
        err = sv_evaluation_count(e, (uint64_t)conf->worst);
    if (err == 0 && e->missing > 0)
        err = im_fail(text, -EIO, "%" PRIu64 " images have no record", e->missing);
    if (err == 0) {
        answer = to_json(conf, run, e, epoch);
        snprintf(title, sizeof title, "%s, %" PRIu64 " image%s: top-1 %.2f %%",
                 im_conf_choice(IM_KEY_model, conf->model), e->valid, e->valid == 1 ? "" : "s",
                 100 * im_json_real_or(epoch, "val_top1", (double)NAN));
        if (conf->output[0])
            err = sv_evaluation_write(e, answer, title, conf->output, text);
    }
    sv_evaluation_drop(run);
    if (err == 0) {
        print_unusable(e);
        if (conf->json)
            err = im_json_print(answer, stdout);
        else
            eval_print_text(conf, run, e, epoch);
    }
    if (err == 0 && conf->output[0] && !conf->quiet)
        im_say(stderr, "imsuper: wrote %s/eval.json, classes.csv, images.csv%s", conf->output,
               e->confusion ? ", confusion.csv, .json and .png" : "");
    im_json_free(&answer);
    im_json_free(&epoch);
    return err;
}

static int make_folder(const char *path, struct im_text *text)
{
    int err = im_mkdirs(path, 0777, text);

    if (err == 0 && access(path, W_OK | X_OK) < 0)
        err = im_fail(text, -errno, "cannot write in %s: %s", path, strerror(errno));
    return err;
}

int sv_cmd_eval(struct im_conf *conf)
{
    struct sv_evaluation_run run = {0};
    struct sv_evaluation e = {0};
    struct im_text text = {""};
    int err = sv_evaluation_open(conf, NULL, &run, &text), folder = 0, status;

    if (err == 0 && !conf->data_dir[0])
        err = im_fail(&text, -EINVAL,
                      "these weights are of no run that says where its images are: give --data-dir DIR");
    if (err == 0 && conf->output[0])
        err = folder = make_folder(conf->output, &text); /* before the work, not after it */
    status = folder < 0       ? IM_EXIT_FAILED
             : err == 0       ? sv_evaluation_run(conf, &run)
             : err > 0        ? err
             : err == -ENOENT ? IM_EXIT_UNKNOWN_RUN
                              : IM_EXIT_USAGE;
    if (err == 0 && status == IM_EXIT_OK) {
        err = report(conf, &run, &e, &text);
        status = err < 0 ? IM_EXIT_FAILED : e.valid == 0 ? IM_EXIT_BAD_DATA : IM_EXIT_OK;
    }
    sv_evaluation_drop(&run);
    if (err < 0)
        im_command_fail(err, &text);
    sv_evaluation_fini(&e);
    sv_evaluation_close(&run);
    return status;
}
