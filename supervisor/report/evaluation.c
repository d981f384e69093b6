#include "supervisor/report/evaluation.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"

#define NAMES_BYTES_MAX ((size_t)1 << 33)
#define RECORDS_BYTES_MAX ((size_t)1 << 40)

const struct im_outcome *sv_evaluation_at(const struct sv_evaluation *e, uint64_t place)
{
    return (const struct im_outcome *)(const void *)(e->records + place * e->record_bytes);
}

/* ---- reading ---- */

static int read_in(const char *run_dir, const char *name, size_t most, char **ret, size_t *ret_n,
                   struct im_text *text)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/%s", run_dir, name) >= (int)sizeof path)
        return -ENAMETOOLONG;
    return im_read_file(path, most, ret, ret_n, text);
}

/* Names that end with `end`, in place. */
static const char **split_names(char *bytes, size_t n, char end, uint64_t *ret_count)
{
    uint64_t count = 0;
    const char **names;

    for (size_t i = 0; i < n; i++)
        count += bytes[i] == end;
    names = calloc(count + 1, sizeof *names);
    *ret_count = 0;
    for (size_t i = 0, begin = 0; names && i < n; i++) {
        if (bytes[i] != end)
            continue;
        bytes[i] = 0;
        names[(*ret_count)++] = bytes + begin;
        begin = i + 1;
    }
    return names;
}

bool sv_evaluation_takes(const struct sv_evaluation *e, const struct im_outcome *r)
{
    if (r->sample_plus_1 == 0 || r->verdict != 0)
        return true;
    for (uint32_t i = 0; i < e->tops; i++)
        if (r->top[i].class >= e->classes)
            return false;
    return e->multi_label || (r->label >= 0 && (uint32_t)r->label < e->classes);
}

static int check_records(const struct sv_evaluation *e, struct im_text *text)
{
    for (uint64_t i = 0; i < e->images; i++)
        if (!sv_evaluation_takes(e, sv_evaluation_at(e, i)))
            return im_fail(text, -EBADMSG, "record %" PRIu64 " of " IM_OUTCOMES_FILE " is damaged", i);
    return 0;
}

int sv_evaluation_of_bytes(struct sv_evaluation *e, const struct sv_evaluation_bytes *b, struct im_text *text)
{
    uint64_t classes = 0;

    e->class_bytes = b->class_names;
    e->name_bytes = b->image_names;
    e->records = b->records;
    e->tops = b->tops;
    e->record_bytes = im_outcome_bytes(b->tops);
    if (!e->class_bytes || !e->name_bytes || !e->records)
        return -ENOMEM;
    e->class_name = split_names(e->class_bytes, b->class_bytes, '\0', &classes);
    e->name = split_names(e->name_bytes, b->name_bytes, '\0', &e->images);
    e->classes = (uint32_t)classes;
    if (!e->class_name || !e->name)
        return -ENOMEM;
    return classes == b->classes && e->images == b->images ? check_records(e, text) : -EBADMSG;
}

static int read_records(struct sv_evaluation *e, const struct im_conf *conf, struct im_text *text)
{
    size_t n = 0;
    char *grown;
    int err = read_in(conf->run_dir, IM_OUTCOMES_FILE, RECORDS_BYTES_MAX, &e->records, &n, text);

    if (err < 0)
        return err;
    if (n > e->images * e->record_bytes)
        return im_fail(text, -EBADMSG, "%s/" IM_OUTCOMES_FILE " holds more records than there are images",
                       conf->run_dir);
    grown = realloc(e->records, e->images * e->record_bytes + 1);
    if (!grown)
        return -ENOMEM;
    e->records = grown;
    memset(grown + n, 0, e->images * e->record_bytes - n);
    return check_records(e, text);
}

/* The first four fields of a line below. False: they are none. */
static bool read_counts(const char *line, struct im_class_counts *ret, double *ret_precision)
{
    uint64_t *const counts[] = {&ret->support, &ret->predicted, &ret->correct};
    char *end;

    for (size_t i = 0; i < IM_COUNT(counts); i++, line = end + 1) {
        *counts[i] = strtoull(line, &end, 10);
        if (end == line || *end != ',')
            return false;
    }
    *ret_precision = strtod(line, &end);
    if (end == line) /* no image has the class */
        *ret_precision = (double)NAN;
    return true;
}

/* The trainer's lines "images,predicted,right,average_precision,f1,class", in the order of the classes. */
static int read_class_scores(struct sv_evaluation *e, const char *run_dir, struct im_text *text)
{
    char *bytes = NULL, *rest = NULL;
    uint32_t class = 0;
    size_t n = 0;
    int err = read_in(run_dir, "class_scores.csv", NAMES_BYTES_MAX, &bytes, &n, text);

    if (err < 0)
        return err;
    e->count = calloc((size_t)e->classes + 1, sizeof *e->count);
    e->precision = calloc((size_t)e->classes + 1, sizeof *e->precision);
    if (!e->count || !e->precision)
        err = -ENOMEM;
    for (char *line = strtok_r(bytes, "\n", &rest); line && err == 0 && class < e->classes;
         line = strtok_r(NULL, "\n", &rest)) {
        struct im_class_counts c;
        double precision;

        if (!read_counts(line, &c, &precision))
            continue; /* the heading */
        e->count[class] = c;
        e->precision[class ++] = c.support > 0 ? precision : (double)NAN;
    }
    free(bytes);
    if (err == 0 && class < e->classes)
        err = im_fail(text, -EBADMSG, "%.300s/class_scores.csv lacks classes", run_dir);
    return err;
}

int sv_evaluation_read_names(struct sv_evaluation *e, const struct im_conf *conf, struct im_text *text)
{
    uint64_t classes = 0;
    size_t n = 0;
    int err = read_in(conf->run_dir, "classes.txt", NAMES_BYTES_MAX, &e->class_bytes, &n, text);

    if (err < 0)
        return err;
    e->class_name = split_names(e->class_bytes, n, '\n', &classes);
    err = read_in(conf->run_dir, IM_EVALUATED_FILE, NAMES_BYTES_MAX, &e->name_bytes, &n, text);
    if (err < 0)
        return err;
    e->name = split_names(e->name_bytes, n, '\0', &e->images);
    if (!e->class_name || !e->name)
        return -ENOMEM;
    e->classes = (uint32_t)classes;
    e->tops = im_outcome_tops(conf, e->classes);
    e->record_bytes = im_outcome_bytes(e->tops);
    e->multi_label = conf->multi_label;
    return 0;
}

int sv_evaluation_read(struct sv_evaluation *e, const struct im_conf *conf, struct im_text *text)
{
    int err = sv_evaluation_read_names(e, conf, text);

    if (err == 0 && e->multi_label && !conf->image_list[0])
        err = read_class_scores(e, conf->run_dir, text);
    return err < 0 ? err : read_records(e, conf, text);
}

void sv_evaluation_fini(struct sv_evaluation *e)
{
    free(e->records);
    free(e->name_bytes);
    free(e->class_bytes);
    free(e->name);
    free(e->class_name);
    free(e->count);
    free(e->precision);
    free(e->confusion);
    free(e->worst);
    *e = (struct sv_evaluation){0};
}

/* ---- counting ---- */

struct loss_at {
    double loss;
    uint64_t place;
};

static int by_falling_loss(const void *a, const void *b)
{
    const struct loss_at *x = a, *y = b;

    if (x->loss != y->loss && !(isnan(x->loss) && isnan(y->loss)))
        return isnan(x->loss) || x->loss > y->loss ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static void count_image(struct sv_evaluation *e, const struct im_outcome *r)
{
    const uint32_t label = (uint32_t)r->label, predicted = r->top[0].class;
    const bool right = label == predicted;
    const double confidence = (double)r->top[0].probability;
    int bin = (int)ceil(confidence * SV_ECE_BINS) - 1; /* (0, 1/15], (1/15, 2/15], ... */

    bin = bin < 0 ? 0 : bin >= SV_ECE_BINS ? SV_ECE_BINS - 1 : bin;
    e->valid++;
    e->top1 += r->rank < 1;
    e->top5 += r->rank < 5;
    e->loss += r->loss;
    e->count[label].support++;
    e->count[predicted].predicted++;
    e->count[label].correct += right;
    if (e->confusion)
        e->confusion[(size_t)label * e->classes + predicted]++;
    if (!isfinite(confidence))
        return;
    e->bin[bin].images++;
    e->bin[bin].correct += right;
    e->bin[bin].confidence += confidence;
}

static int find_worst(struct sv_evaluation *e, uint64_t worsts)
{
    struct loss_at *losses = calloc(e->valid + 1, sizeof *losses);
    uint64_t n = 0;

    e->worsts = worsts < e->valid ? worsts : e->valid;
    e->worst = calloc(e->worsts + 1, sizeof *e->worst);
    for (uint64_t i = 0; losses && i < e->images; i++) {
        const struct im_outcome *r = sv_evaluation_at(e, i);

        if (r->sample_plus_1 && r->verdict == 0)
            losses[n++] = (struct loss_at){r->loss, i};
    }
    if (losses)
        qsort(losses, n, sizeof *losses, by_falling_loss);
    for (uint64_t i = 0; losses && e->worst && i < e->worsts; i++)
        e->worst[i] = losses[i].place;
    free(losses);
    return losses && e->worst ? 0 : -ENOMEM;
}

int sv_evaluation_count(struct sv_evaluation *e, uint64_t worsts)
{
    const size_t classes = e->classes;

    const bool confuses = !e->multi_label && classes <= SV_CONFUSION_CLASSES_MAX;

    if (!e->count)
        e->count = calloc(classes + 1, sizeof *e->count);
    if (confuses)
        e->confusion = calloc(classes * classes + 1, sizeof *e->confusion);
    if (!e->count || (confuses && !e->confusion))
        return -ENOMEM;
    for (uint64_t i = 0; i < e->images; i++) {
        const struct im_outcome *r = sv_evaluation_at(e, i);

        if (r->sample_plus_1 == 0)
            e->missing++;
        else if (r->verdict != 0)
            e->unusable++;
        else if (e->multi_label)
            e->valid++, e->loss += r->loss;
        else
            count_image(e, r);
    }
    return find_worst(e, worsts);
}

struct sv_averages sv_evaluation_averages(const struct sv_evaluation *e, bool weighted)
{
    struct sv_averages a = {0};
    double weights = 0;

    for (uint32_t k = 0; k < e->classes; k++) {
        const struct im_class_counts *c = &e->count[k];
        const double weight = c->support == 0 ? 0 : weighted ? (double)c->support : 1;

        weights += weight;
        a.precision += weight * im_class_precision(c);
        a.recall += weight * im_class_recall(c);
        a.f1 += weight * im_class_f1(c);
    }
    if (weights > 0)
        a = (struct sv_averages){a.precision / weights, a.recall / weights, a.f1 / weights};
    return a;
}

double sv_evaluation_ece(const struct sv_evaluation *e)
{
    double sum = 0;
    uint64_t images = 0;

    for (int i = 0; i < SV_ECE_BINS; i++) {
        sum += fabs((double)e->bin[i].correct - e->bin[i].confidence);
        images += e->bin[i].images;
    }
    return images ? sum / (double)images : (double)NAN;
}
