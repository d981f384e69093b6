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
#include "ipc/base/hash.h"
#include "ipc/base/printable.h"
#include "ipc/base/verdict.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/evaluation.h"
#include "supervisor/cli/shard.h"
#include "supervisor/report/evaluation.h"
#include "supervisor/report/evaluation_part.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/screen.h"

enum { CLASSES_SHOWN = 20, UNUSABLE_SHOWN = 10, NAME_WIDTH = 24, HASHED_AT_A_TIME = 1 << 20 };

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

/* ---- a part of several machines (--shard), and the parts joined (--join) ---- */

/* Options that the answer names: of the first part they are those of all. */
static const enum im_conf_key_id answered[] = {IM_KEY_model,       IM_KEY_data_dir,   IM_KEY_eval_image_size,
                                               IM_KEY_eval_resize, IM_KEY_batch_size, IM_KEY_tta};
/* Others on which a record depends. */
static const enum im_conf_key_id computed[] = {IM_KEY_mean, IM_KEY_std, IM_KEY_amp, IM_KEY_split};

static int hash_file(const char *path, char ret[17], struct im_text *text)
{
    struct im_hash *h = im_hash_new(0);
    FILE *in = fopen(path, "re");
    char *bytes = malloc(HASHED_AT_A_TIME);
    size_t n;
    int err = !h || !bytes ? -ENOMEM
              : in         ? 0
                           : im_fail(text, -errno, "cannot read %.300s: %s", path, strerror(errno));

    while (err == 0 && (n = fread(bytes, 1, HASHED_AT_A_TIME, in)) > 0)
        im_hash_add(h, bytes, n);
    if (err == 0 && ferror(in))
        err = im_fail(text, -EIO, "cannot read %.300s", path);
    if (err == 0)
        snprintf(ret, 17, "%016" PRIx64, im_hash_value(h));
    if (in)
        fclose(in);
    free(bytes);
    im_hash_free(&h);
    return err;
}

static void set_options(struct im_json *j, const struct im_conf *conf, const enum im_conf_key_id *key,
                        size_t n)
{
    char value[IM_CONF_TEXT_BYTES];

    for (size_t i = 0; i < n; i++) {
        im_conf_value(conf, key[i], value);
        im_json_set_str(j, im_conf_name(key[i]), value);
    }
}

/* What the images' process has left of the whole. */
static int read_whole(const struct im_conf *conf, char hash[17], uint64_t *ret_first, uint64_t *ret_images,
                      struct im_text *text)
{
    char path[PATH_MAX], *line = NULL;
    struct im_json *j = NULL;
    size_t n = 0;
    int err = snprintf(path, sizeof path, "%s/" IM_EVALUATED_PART_FILE, conf->run_dir) < (int)sizeof path
                  ? im_read_file(path, 256, &line, &n, text)
                  : -ENAMETOOLONG;

    if (err == 0 && im_json_parse(line, n, &j, NULL) < 0)
        err = im_fail(text, -EBADMSG, "%s is damaged", path);
    snprintf(hash, 17, "%s", im_json_str_or(j, "hash", ""));
    *ret_first = (uint64_t)im_json_int_or(j, "first", 0);
    *ret_images = (uint64_t)im_json_int_or(j, "images", 0);
    im_json_free(&j);
    free(line);
    return err;
}

static struct im_json *part_head(const struct im_conf *conf, const struct sv_evaluation_run *run,
                                 const struct sv_shard *shard, const char *weights, const char *data,
                                 uint64_t first, uint64_t images)
{
    struct im_json *j = im_json_object(), *same = im_json_object(), *answer = im_json_object();
    char step[24];

    im_json_set_str(j, "schema", SV_PART_SCHEMA);
    im_json_set_int(j, "shard", (int64_t)shard->number);
    im_json_set_int(j, "shards", (int64_t)shard->count);
    im_json_set_int(j, "first", (int64_t)first);
    im_json_set_int(j, "all_images", (int64_t)images);
    im_json_set_real(j, "seconds", run->seconds);
    snprintf(step, sizeof step, "%" PRId64, im_conf_step_images(conf));
    im_json_set_str(same, "the hash of the weights", weights);
    im_json_set_str(same, "the hash of the images' index", data);
    im_json_set_str(same, "images of a step", step);
    set_options(same, conf, computed, IM_COUNT(computed));
    set_options(answer, conf, answered, IM_COUNT(answered));
    for (size_t i = 0; i < IM_COUNT(answered); i++)
        if (answered[i] != IM_KEY_data_dir) /* the same images may lie elsewhere */
            set_options(same, conf, &answered[i], 1);
    im_json_set(j, "same", same);
    im_json_set(j, "answer", answer);
    im_json_set_str(j, "weights", run->weights.path);
    im_json_set_str(j, "run", run->weights.run_dir);
    return j;
}

static void say_part(const struct im_conf *conf, const struct sv_shard *shard, uint64_t images, uint64_t all,
                     const char *path)
{
    im_say(stdout, "part     %zu of %zu: %" PRIu64 " of %" PRIu64 " images, in %s", shard->number,
           shard->count, images, all, path);
    if (!conf->quiet)
        im_say(stderr, "imsuper: when all parts are in one folder: imsuper eval %s --join", conf->output);
}

static int write_part(const struct im_conf *conf, struct sv_evaluation_run *run,
                      const struct sv_evaluation *e, struct im_text *text)
{
    char path[PATH_MAX], weights[17], data[17];
    struct sv_shard shard;
    struct im_json *head = NULL;
    uint64_t first = 0, images = 0;
    int err = sv_shard_parse(conf->shard, &shard, text);

    if (err == 0 && snprintf(path, sizeof path, "%s/%zu-of-%zu" SV_PART_ENDING, conf->output, shard.number,
                             shard.count) >= (int)sizeof path)
        err = -ENAMETOOLONG;
    if (err == 0)
        err = read_whole(conf, data, &first, &images, text);
    if (err == 0)
        err = hash_file(run->weights.path, weights, text);
    if (err == 0) {
        head = part_head(conf, run, &shard, weights, data, first, images);
        err = sv_evaluation_write_part(e, head, path, text);
    }
    sv_evaluation_drop(run);
    if (err == 0) {
        print_unusable(e);
        im_json_set_str(head, "file", path);
        if (conf->json)
            err = im_json_print(head, stdout);
        else
            say_part(conf, &shard, e->images, images, path);
    }
    im_json_free(&head);
    return err;
}

/* What to_json() and eval_print_text() ask for. */
static int take_head(struct im_conf *conf, const struct im_json *head, struct sv_evaluation_run *run,
                     struct im_text *text)
{
    const struct im_json *options = im_json_get(head, "answer");
    int err = 0;

    for (size_t i = 0; i < IM_COUNT(answered) && err == 0; i++)
        err = im_conf_set(conf, im_conf_name(answered[i]),
                          im_json_str_or(options, im_conf_name(answered[i]), ""), text);
    snprintf(run->weights.path, sizeof run->weights.path, "%s", im_json_str_or(head, "weights", ""));
    snprintf(run->weights.run_dir, sizeof run->weights.run_dir, "%s", im_json_str_or(head, "run", ""));
    run->seconds = im_json_real_or(head, "seconds", 0);
    return err;
}

/* What was counted, to whom it is for. The run is dropped, as write_part() does. */
static int answer(const struct im_conf *conf, struct sv_evaluation_run *run, struct sv_evaluation *e,
                  const struct im_json *epoch, struct im_text *text)
{
    struct im_json *j = to_json(conf, run, e, epoch);
    char title[256];
    int err = 0;

    snprintf(title, sizeof title, "%s, %" PRIu64 " image%s: top-1 %.2f %%",
             im_conf_choice(IM_KEY_model, conf->model), e->valid, e->valid == 1 ? "" : "s",
             100 * im_json_real_or(epoch, "val_top1", (double)NAN));
    if (conf->output[0])
        err = sv_evaluation_write(e, j, title, conf->output, text);
    sv_evaluation_drop(run); /* before it waits for whoever reads */
    if (err == 0) {
        print_unusable(e);
        if (conf->json)
            err = im_json_print(j, stdout);
        else
            eval_print_text(conf, run, e, epoch);
    }
    if (err == 0 && conf->output[0] && !conf->quiet)
        im_say(stderr, "imsuper: wrote %s/eval.json, classes.csv, images.csv%s", conf->output,
               e->confusion ? ", confusion.csv, .json and .png" : "");
    im_json_free(&j);
    return err;
}

static int count(struct sv_evaluation *e, const struct im_conf *conf, struct im_text *text)
{
    int err = sv_evaluation_count(e, (uint64_t)conf->worst);

    return err == 0 && e->missing > 0 ? im_fail(text, -EIO, "%" PRIu64 " images have no record", e->missing)
                                      : err;
}

static int report(const struct im_conf *conf, struct sv_evaluation_run *run, struct sv_evaluation *e,
                  struct im_text *text)
{
    struct im_json *epoch = sv_evaluation_epoch(conf);
    int err = epoch ? sv_evaluation_read(e, conf, text) : im_fail(text, -EIO, "the pass left no numbers");

    if (err == 0)
        err = count(e, conf, text);
    if (err == 0)
        err = conf->shard[0] ? write_part(conf, run, e, text) : answer(conf, run, e, epoch, text);
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

/* The sums of all images, in the order of one machine. */
static struct im_json *joined_epoch(const struct sv_evaluation *e)
{
    struct im_json *j = im_json_object();
    const double valid = e->valid > 0 ? (double)e->valid : (double)NAN;

    im_json_set_real(j, "val_top1", (double)e->top1 / valid);
    im_json_set_real(j, "val_top5", (double)e->top5 / valid);
    im_json_set_real(j, "val_loss", e->loss / valid);
    return j;
}

/* Flags of what the parts say. */
static int check_join(const struct im_conf *conf, struct im_text *text)
{
    if (conf->shard[0])
        return im_fail(text, -EINVAL, "--shard makes a part, --join joins them: give one of both");
    for (size_t i = 0; i < IM_COUNT(answered); i++)
        if (conf->origin[answered[i]].source == IM_CONF_FLAG)
            return im_fail(text, -EINVAL,
                           "--join: the parts say what --%s was when they were made: leave it out",
                           im_conf_name(answered[i]));
    return 0;
}

static int join_parts(struct im_conf *conf)
{
    struct sv_evaluation_run run = {0};
    struct sv_evaluation e = {0};
    struct im_text text = {""};
    struct im_json *head = NULL, *epoch = NULL;
    int err = check_join(conf, &text), status;

    if (err == 0)
        err = sv_evaluation_join(conf->weights_from, &e, &head, &text);
    if (err == 0)
        err = count(&e, conf, &text);
    if (err == 0)
        err = take_head(conf, head, &run, &text);
    if (err == 0 && conf->output[0])
        err = make_folder(conf->output, &text);
    if (err == 0) {
        epoch = joined_epoch(&e);
        err = answer(conf, &run, &e, epoch, &text);
    }
    status = err == -EINVAL                      ? IM_EXIT_USAGE
             : err == -ENOENT || err == -EBADMSG ? IM_EXIT_BAD_DATA
             : err < 0                           ? IM_EXIT_FAILED
             : e.valid == 0                      ? IM_EXIT_BAD_DATA
                                                 : IM_EXIT_OK;
    if (err < 0)
        im_command_fail(err, &text);
    im_json_free(&head);
    im_json_free(&epoch);
    sv_evaluation_fini(&e);
    return status;
}

/* --shard and what it needs; the part is written as I/N from here on. */
static int take_shard(struct im_conf *conf, struct im_text *text)
{
    struct sv_shard shard;
    int err = sv_shard_parse(conf->shard, &shard, text);

    if (err == 0 && !conf->output[0])
        err = im_fail(
            text, -EINVAL,
            "--shard writes a part into a folder: give -o DIR, and imsuper eval DIR --join joins them");
    if (err == 0)
        snprintf(conf->shard, sizeof conf->shard, "%zu/%zu", shard.number, shard.count);
    return err;
}

static int open_evaluation(struct im_conf *conf, struct sv_evaluation_run *run, struct im_text *text)
{
    int err = conf->shard[0] ? take_shard(conf, text) : 0;

    if (err == 0)
        err = sv_evaluation_open(conf, NULL, run, text);
    if (err == 0 && !conf->data_dir[0])
        err = im_fail(text, -EINVAL,
                      "these weights are of no run that says where its images are: give --data-dir DIR");
    if (err == 0 && conf->shard[0] && conf->multi_label)
        err = im_fail(text, -EINVAL,
                      "--shard is for weights with one label an image: the average precision of "
                      "--multi-label needs the "
                      "outputs of all images on one machine");
    return err;
}

int sv_cmd_eval(struct im_conf *conf)
{
    struct sv_evaluation_run run = {0};
    struct sv_evaluation e = {0};
    struct im_text text = {""};
    int err, folder = 0, status;

    if (conf->join)
        return join_parts(conf);
    err = open_evaluation(conf, &run, &text);
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
