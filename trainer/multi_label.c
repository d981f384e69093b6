#include "trainer/multi_label.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/file.h"
#include "ipc/base/log.h"
#include "trainer/average_precision.h"
#include "trainer/per_class.h"

#define NAMES_BYTES_MAX ((size_t)1 << 30)

/* Of one image, as validated with one kind of weights. */
struct record {
    uint32_t pass_plus_1; /* another pass's is none */
    int32_t label;        /* -1: the image could not be used */
    float logits[];
};

static size_t record_bytes(const struct tr_multi_label *m)
{
    return sizeof(struct record) + m->sets.classes * sizeof(float);
}

static off_t offset_of(const struct tr_multi_label *m, enum tr_weights weights, uint64_t place)
{
    return (off_t)(((uint64_t)weights * m->images + place) * record_bytes(m));
}

int tr_multi_label_open(struct tr_multi_label *m, const struct im_child *child, struct im_text *text)
{
    const struct im_geometry *g = &child->run->geometry;
    char path[PATH_MAX];
    int err;

    *m = (struct tr_multi_label){.file = -1,
                                 .images = g->samples[IM_VAL],
                                 .run_dir = child->conf->run_dir,
                                 .keeps_tables = child->conf->per_class_log && !child->conf->evaluate};
    if (!child->conf->multi_label)
        return 0;
    err = im_label_sets_read(child->conf->run_dir, g->classes, &m->sets, text);
    if (err < 0)
        return err;
    if (snprintf(path, sizeof path, "%s/" TR_SCORES_FILE, child->conf->run_dir) >= (int)sizeof path)
        return -ENAMETOOLONG;
    m->logits = calloc((size_t)g->batch_size_max * g->classes, sizeof *m->logits);
    m->record = calloc(1, record_bytes(m));
    if (!m->logits || !m->record)
        return -ENOMEM;
    m->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    return m->file < 0 ? im_fail(text, -errno, "cannot open %s: %s", path, strerror(errno)) : 0;
}

void tr_multi_label_close(struct tr_multi_label *m)
{
    if (m->record && m->file >= 0)
        close(m->file);
    im_label_sets_fini(&m->sets);
    free(m->logits);
    free(m->record);
    *m = (struct tr_multi_label){.file = -1};
}

static int write_all(const struct tr_multi_label *m, off_t at, struct im_text *text)
{
    const size_t bytes = record_bytes(m);
    size_t done = 0;

    while (done < bytes) {
        const ssize_t n = pwrite(m->file, (const char *)m->record + done, bytes - done, at + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return im_fail(text, n < 0 ? -errno : -EIO, "cannot write %s/" TR_SCORES_FILE ": %s", m->run_dir,
                           strerror(n < 0 ? errno : EIO));
        done += (size_t)n;
    }
    return 0;
}

int tr_multi_label_write(struct tr_multi_label *m, enum tr_weights weights, const struct tr_scored_batch *b,
                         struct im_text *text)
{
    const size_t classes = m->sets.classes;
    struct record *r = m->record;
    int err = 0;

    for (int i = 0; i < b->n && err == 0; i++) {
        *r = (struct record){.pass_plus_1 = b->pass + 1, .label = b->valid[i] ? b->labels[i] : -1};
        memcpy(r->logits, b->logits + (size_t)i * classes, classes * sizeof *r->logits);
        err = write_all(m, offset_of(m, weights, b->places[i]), text);
    }
    return err;
}

struct tr_gathering tr_multi_label_records(const struct tr_multi_label *m, uint32_t pass, bool averages)
{
    return (struct tr_gathering){.file = m->file,
                                 .record_bytes = record_bytes(m),
                                 .records = averages ? 2 * m->images : m->images,
                                 .pass = pass};
}

/* What is read of the file, and found. */
struct judging {
    const struct tr_multi_label *m;
    const char *map; /* the records of the weights' plane */
    uint32_t pass;
    uint64_t count; /* records of the pass */
    struct tr_scored *scored;
    double *precision; /* [classes] */
    struct tr_decided *decided;
};

static const struct record *record_at(const struct judging *j, uint64_t place)
{
    const struct record *r = (const void *)(j->map + place * record_bytes(j->m));

    return r->pass_plus_1 == j->pass + 1 && r->label >= 0 && (uint32_t)r->label < j->m->sets.count ? r : NULL;
}

static void judge_class(struct judging *j, uint32_t class)
{
    struct tr_decided *d = &j->decided[class];
    uint64_t n = 0;

    for (uint64_t place = 0; place < j->m->images; place++) {
        const struct record *r = record_at(j, place);

        if (!r)
            continue;
        j->scored[n] =
            (struct tr_scored){r->logits[class], im_label_sets_has(&j->m->sets, (uint32_t)r->label, class)};
        d->positive += j->scored[n].truth;
        d->predicted += j->scored[n].score > 0;
        d->hits += j->scored[n].truth && j->scored[n].score > 0;
        n++;
    }
    j->count = n;
    j->precision[class] = tr_average_precision(j->scored, n);
}

static struct tr_multi_scores sum_up(const struct judging *j)
{
    struct tr_multi_scores s = {.known = true};
    struct tr_decided all = {0};
    uint32_t classes = 0;

    for (uint32_t c = 0; c < j->m->sets.classes; c++) {
        const struct tr_decided *d = &j->decided[c];

        all.hits += d->hits;
        all.predicted += d->predicted;
        all.positive += d->positive;
        if (d->positive == 0)
            continue;
        classes++;
        s.map += j->precision[c];
        s.f1_macro += tr_f1(d);
    }
    s.map = classes > 0 ? s.map / classes : (double)NAN;
    s.f1_macro = classes > 0 ? s.f1_macro / classes : (double)NAN;
    s.f1 = tr_f1(&all);
    return s;
}

/* The line of a class in classes.txt, quoted. */
static void put_name(FILE *out, const char **names)
{
    const size_t n = strcspn(*names, "\n");

    fputc('"', out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s%c", (*names)[i] == '"' ? "\"" : "", (*names)[i]);
    fputs("\"\n", out);
    *names += n + ((*names)[n] == '\n');
}

/* A line for each class, in the order of classes.txt. */
static int write_classes(const struct judging *j, struct im_text *text)
{
    char path[PATH_MAX], *bytes = NULL, *names = NULL;
    const char *next;
    size_t n = 0;
    FILE *out = open_memstream(&bytes, &n);
    int err = 0;

    if (!out)
        return -ENOMEM;
    if (snprintf(path, sizeof path, "%s/classes.txt", j->m->run_dir) >= (int)sizeof path ||
        im_read_file(path, NAMES_BYTES_MAX, &names, &n, NULL) < 0)
        names = NULL;
    next = names ? names : "";
    fputs("images,predicted,right,average_precision,f1,class\n", out);
    for (uint32_t c = 0; c < j->m->sets.classes; c++) {
        const struct tr_decided *d = &j->decided[c];

        fprintf(out, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",", d->positive, d->predicted, d->hits);
        if (d->positive > 0)
            fprintf(out, "%.9g", j->precision[c]);
        fprintf(out, ",%.9g,", tr_f1(d));
        put_name(out, &next);
    }
    free(names);
    err = ferror(out) | fclose(out) ? -ENOMEM : 0;
    if (err == 0 &&
        snprintf(path, sizeof path, "%s/" TR_CLASS_SCORES_FILE, j->m->run_dir) >= (int)sizeof path)
        err = -ENAMETOOLONG;
    if (err == 0)
        err = im_file_replace_any(path, bytes, n, text);
    free(bytes);
    return err;
}

/* The table of this epoch. That it cannot be written is no reason to end the run. */
static void keep_table(const struct judging *j, enum tr_weights weights)
{
    struct im_class_counts *counts = calloc(j->m->sets.classes, sizeof *counts);
    double *precision = calloc(j->m->sets.classes, sizeof *precision);
    struct im_text text = {""};
    int err = counts && precision ? 0 : -ENOMEM;

    for (uint32_t c = 0; c < j->m->sets.classes && err == 0; c++) {
        const struct tr_decided *d = &j->decided[c];

        counts[c] = (struct im_class_counts){d->positive, d->predicted, d->hits};
        precision[c] = d->positive > 0 ? j->precision[c] : (double)NAN;
    }
    if (err == 0)
        err = tr_per_class_table(j->m->run_dir, j->pass + 1, weights, counts, precision, j->m->sets.classes,
                                 &text);
    if (err < 0)
        im_log(IM_LOG_WARN, "no table of each class for this epoch; training goes on", "why=%s",
               im_log_quote(&(struct im_quoted){0}, text.s[0] ? text.s : strerror(-err)));
    free(counts);
    free(precision);
}

static int judge(struct judging *j, enum tr_weights weights, bool writes, struct tr_sums *sums,
                 struct im_text *text)
{
    const uint32_t classes = j->m->sets.classes;
    int err = 0;

    j->scored = calloc(j->m->images + 1, sizeof *j->scored);
    j->precision = calloc(classes, sizeof *j->precision);
    j->decided = calloc(classes, sizeof *j->decided);
    if (!j->scored || !j->precision || !j->decided)
        err = -ENOMEM;
    for (uint32_t c = 0; c < classes && err == 0; c++)
        judge_class(j, c);
    if (err == 0)
        sums->multi = sum_up(j);
    if (err == 0 && j->count != sums->valid)
        im_log(IM_LOG_WARN,
               "mAP and F1 are of a part of the validation images: " TR_SCORES_FILE " lacks the others",
               "images=%" PRIu64 " of=%" PRIu64, j->count, sums->valid);
    if (err == 0 && writes && weights == TR_PLAIN)
        err = write_classes(j, text);
    if (err == 0 && writes && j->m->keeps_tables)
        keep_table(j, weights);
    free(j->scored);
    free(j->precision);
    free(j->decided);
    return err;
}

int tr_multi_label_judge(struct tr_multi_label *m, enum tr_weights weights, uint32_t pass, bool writes,
                         struct tr_sums *sums, struct im_text *text)
{
    struct judging j = {.m = m, .pass = pass};
    const size_t bytes = (size_t)offset_of(m, weights, m->images);
    void *map;
    int err;

    /* The whole of it is there, for the case that records of a part are missing. */
    if (ftruncate(m->file, offset_of(m, TR_AVERAGED, m->images)) < 0)
        return im_fail(text, -errno, "cannot write %s/" TR_SCORES_FILE ": %s", m->run_dir, strerror(errno));
    map = mmap(NULL, bytes > 0 ? bytes : 1, PROT_READ, MAP_SHARED, m->file, 0);
    if (map == MAP_FAILED)
        return im_fail(text, -errno, "cannot map %s/" TR_SCORES_FILE ": %s", m->run_dir, strerror(errno));
    j.map = (const char *)map + offset_of(m, weights, 0);
    err = judge(&j, weights, writes, sums, text);
    munmap(map, bytes > 0 ? bytes : 1);
    return err;
}
