/* The files of an evaluation. CSV as spreadsheets read it: names are quoted, lines end with \n. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/file.h"
#include "ipc/base/output.h"
#include "ipc/base/verdict.h"
#include "supervisor/report/confusion.h"
#include "supervisor/report/evaluation.h"

enum { CONFUSION_JSON_CLASSES_MAX = 2048 };

static struct im_json *averages_json(const struct sv_evaluation *e, bool weighted)
{
    const struct sv_averages a = sv_evaluation_averages(e, weighted);
    struct im_json *j = im_json_object();

    im_json_set_real(j, "precision", a.precision);
    im_json_set_real(j, "recall", a.recall);
    im_json_set_real(j, "f1", a.f1);
    return j;
}

static struct im_json *classes_json(const struct sv_evaluation *e)
{
    struct im_json *list = im_json_array();

    for (uint32_t k = 0; k < e->classes; k++) {
        struct im_json *j = im_json_object();

        im_json_set_str(j, "name", e->class_name[k]);
        im_json_set_int(j, "support", (int64_t)e->count[k].support);
        im_json_set_int(j, "predicted", (int64_t)e->count[k].predicted);
        im_json_set_real(j, "precision", im_class_precision(&e->count[k]));
        im_json_set_real(j, "recall", im_class_recall(&e->count[k]));
        im_json_set_real(j, "f1", im_class_f1(&e->count[k]));
        if (e->precision)
            im_json_set_real(j, "average_precision", e->precision[k]);
        im_json_append(list, j);
    }
    return list;
}

static struct im_json *bins_json(const struct sv_evaluation *e)
{
    struct im_json *list = im_json_array();

    for (int i = 0; i < SV_ECE_BINS; i++) {
        const struct sv_calibration_bin *b = &e->bin[i];
        struct im_json *j = im_json_object();

        im_json_set_int(j, "images", (int64_t)b->images);
        im_json_set_real(j, "accuracy", b->images ? (double)b->correct / (double)b->images : 0);
        im_json_set_real(j, "confidence", b->images ? b->confidence / (double)b->images : 0);
        im_json_append(list, j);
    }
    return list;
}

static struct im_json *worst_json(const struct sv_evaluation *e)
{
    struct im_json *list = im_json_array();

    for (uint64_t i = 0; i < e->worsts; i++) {
        const struct im_outcome *r = sv_evaluation_at(e, e->worst[i]);
        struct im_json *j = im_json_object();

        im_json_set_str(j, "name", e->name[e->worst[i]]);
        if (e->multi_label) {
            im_json_set_int(j, "wrong_labels", r->rank);
            im_json_set_real(j, "loss", r->loss);
            im_json_append(list, j);
            continue;
        }
        im_json_set_str(j, "class", e->class_name[r->label]);
        im_json_set_real(j, "probability", (double)r->probability);
        im_json_set_str(j, "predicted", e->class_name[r->top[0].class]);
        im_json_set_real(j, "predicted_probability", (double)r->top[0].probability);
        im_json_set_real(j, "loss", r->loss);
        im_json_append(list, j);
    }
    return list;
}

static struct im_json *unusable_json(const struct sv_evaluation *e)
{
    struct im_json *list = im_json_array();

    for (uint64_t i = 0; i < e->images; i++) {
        const struct im_outcome *r = sv_evaluation_at(e, i);
        struct im_json *j;

        if (r->sample_plus_1 && r->verdict == 0)
            continue;
        j = im_json_object();
        im_json_set_str(j, "name", e->name[i]);
        im_json_set_str(j, "verdict", r->sample_plus_1 ? im_verdict_name(r->verdict) : "missing");
        im_json_append(list, j);
    }
    return list;
}

void sv_evaluation_add_json(const struct sv_evaluation *e, struct im_json *j)
{
    im_json_set_int(j, "images", (int64_t)e->images);
    im_json_set_int(j, "evaluated", (int64_t)e->valid);
    if (!e->multi_label)
        im_json_set_real(j, "ece", sv_evaluation_ece(e));
    im_json_set(j, "macro", averages_json(e, false));
    im_json_set(j, "weighted", averages_json(e, true));
    im_json_set(j, "classes", classes_json(e));
    if (!e->multi_label)
        im_json_set(j, "calibration", bins_json(e));
    im_json_set(j, "worst", worst_json(e));
    im_json_set(j, "unusable", unusable_json(e));
}

static void write_classes(const struct sv_evaluation *e, FILE *out)
{
    im_class_table(out, e->class_name, e->count, e->precision, e->classes);
}

static void write_images(const struct sv_evaluation *e, FILE *out)
{
    fputs("image,class,predicted,predicted_probability,probability,rank,loss,verdict\n", out);
    for (uint64_t i = 0; i < e->images; i++) {
        const struct im_outcome *r = sv_evaluation_at(e, i);

        im_csv_quoted(out, e->name[i]);
        if (r->sample_plus_1 == 0 || r->verdict != 0) {
            fprintf(out, ",,,,,,,%s\n", r->sample_plus_1 ? im_verdict_name(r->verdict) : "missing");
            continue;
        }
        fputc(',', out);
        im_csv_quoted(out, e->class_name[r->label]);
        fputc(',', out);
        im_csv_quoted(out, e->class_name[r->top[0].class]);
        fprintf(out, ",%.9g,%.9g,%u,%.17g,ok\n", (double)r->top[0].probability, (double)r->probability,
                r->rank + 1, r->loss);
    }
}

/* Of images with several labels: how many are taken wrongly at 0.5, and the likeliest. */
static void write_several(const struct sv_evaluation *e, FILE *out)
{
    fputs("image,wrong_labels,likeliest,probability,loss,verdict\n", out);
    for (uint64_t i = 0; i < e->images; i++) {
        const struct im_outcome *r = sv_evaluation_at(e, i);

        im_csv_quoted(out, e->name[i]);
        if (r->sample_plus_1 == 0 || r->verdict != 0) {
            fprintf(out, ",,,,,%s\n", r->sample_plus_1 ? im_verdict_name(r->verdict) : "missing");
            continue;
        }
        fprintf(out, ",%u,", r->rank);
        im_csv_quoted(out, e->class_name[r->top[0].class]);
        fprintf(out, ",%.9g,%.17g,ok\n", (double)r->top[0].probability, r->loss);
    }
}

static void write_confusion(const struct sv_evaluation *e, FILE *out)
{
    fputs("class", out);
    for (uint32_t k = 0; k < e->classes; k++) {
        fputc(',', out);
        im_csv_quoted(out, e->class_name[k]);
    }
    for (uint32_t i = 0; i < e->classes; i++) {
        fputc('\n', out);
        im_csv_quoted(out, e->class_name[i]);
        for (uint32_t k = 0; k < e->classes; k++)
            fprintf(out, ",%u", e->confusion[(size_t)i * e->classes + k]);
    }
    fputc('\n', out);
}

static void write_confusion_json(const struct sv_evaluation *e, FILE *out)
{
    struct im_json *j = im_json_object(), *names = im_json_array(), *rows = im_json_array();
    char *dumped;

    for (uint32_t i = 0; i < e->classes; i++) {
        struct im_json *row = im_json_array();

        im_json_append_str(names, e->class_name[i]);
        for (uint32_t k = 0; k < e->classes; k++)
            im_json_append_int(row, e->confusion[(size_t)i * e->classes + k]);
        im_json_append(rows, row);
    }
    im_json_set_str(j, "schema", "imsuper.confusion/1");
    im_json_set(j, "classes", names);
    im_json_set(j, "rows_true_columns_predicted", rows);
    dumped = im_json_dump(j);
    if (dumped)
        fprintf(out, "%s\n", dumped);
    free(dumped);
    im_json_free(&j);
}

static int write_file(const struct sv_evaluation *e, void write(const struct sv_evaluation *, FILE *),
                      const char *folder, const char *name, struct im_text *text)
{
    char path[PATH_MAX], *bytes = NULL;
    size_t n = 0;
    FILE *out;
    int err;

    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return im_fail(text, -ENAMETOOLONG, "%.300s: the path is too long", folder);
    out = open_memstream(&bytes, &n);
    if (!out)
        return -ENOMEM;
    write(e, out);
    err = ferror(out) | fclose(out) ? -ENOMEM : im_output_write(path, bytes, n, text);
    free(bytes);
    return err;
}

static int write_answer(const struct im_json *answer, const char *folder, struct im_text *text)
{
    char path[PATH_MAX], *dumped = im_json_dump_indented(answer);
    int err = dumped ? 0 : -ENOMEM;

    if (err == 0 && snprintf(path, sizeof path, "%s/eval.json", folder) >= (int)sizeof path)
        err = -ENAMETOOLONG;
    if (err == 0)
        err = im_output_write(path, dumped, strlen(dumped), text);
    free(dumped);
    return err;
}

int sv_evaluation_write(const struct sv_evaluation *e, const struct im_json *answer, const char *title,
                        const char *folder, struct im_text *text)
{
    char path[PATH_MAX];
    int err = im_mkdirs(folder, 0777, text);

    if (err == 0)
        err = write_answer(answer, folder, text);
    if (err == 0)
        err = write_file(e, write_classes, folder, "classes.csv", text);
    if (err == 0)
        err = write_file(e, e->multi_label ? write_several : write_images, folder, "images.csv", text);
    if (err < 0 || !e->confusion)
        return err;
    err = write_file(e, write_confusion, folder, "confusion.csv", text);
    if (err == 0 && e->classes <= CONFUSION_JSON_CLASSES_MAX)
        err = write_file(e, write_confusion_json, folder, "confusion.json", text);
    if (err == 0 && snprintf(path, sizeof path, "%s/confusion.png", folder) >= (int)sizeof path)
        err = -ENAMETOOLONG;
    return err < 0 ? err
                   : sv_confusion_png(&(struct sv_confusion){.title = title,
                                                             .class_name = e->class_name,
                                                             .classes = e->classes,
                                                             .count = e->confusion},
                                      path, text);
}
