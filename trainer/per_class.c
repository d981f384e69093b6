#include "trainer/per_class.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/file.h"
#include "ipc/base/log.h"
#include "trainer/outcomes.h"

#define NAMES_BYTES_MAX ((size_t)1 << 30)

/* Of one image. */
struct record {
    uint32_t pass_plus_1; /* another pass's is none */
    int32_t label;        /* -1: the image could not be used */
    uint32_t taken;       /* the class it was taken for */
};

static void say(struct tr_per_class *p, const char *why)
{
    if (!p->failed)
        im_log(IM_LOG_WARN, "no table of each class for this epoch; training goes on", "why=%s",
               im_log_quote(&(struct im_quoted){0}, why));
    p->failed = true;
}

int tr_per_class_open(struct tr_per_class *p, const struct im_child *child)
{
    const struct im_geometry *g = &child->run->geometry;
    char path[PATH_MAX];

    *p = (struct tr_per_class){
        .file = -1, .images = g->samples[IM_VAL], .classes = g->classes, .run_dir = child->conf->run_dir};
    if (!child->conf->per_class_log || child->conf->multi_label || child->conf->evaluate)
        return 0;
    p->logits = calloc((size_t)g->batch_size_max * g->classes, sizeof *p->logits);
    if (!p->logits)
        return -ENOMEM;
    p->is_on = true;
    if (snprintf(path, sizeof path, "%s/" TR_TAKEN_FILE, p->run_dir) >= (int)sizeof path)
        return -ENAMETOOLONG;
    p->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    return 0;
}

void tr_per_class_close(struct tr_per_class *p)
{
    if (p->is_on && p->file >= 0)
        close(p->file);
    free(p->logits);
    *p = (struct tr_per_class){.file = -1};
}

/* The records of the averages lie behind those of the weights. */
static off_t offset_of(const struct tr_per_class *p, enum tr_weights weights, uint64_t place)
{
    return (off_t)((weights * p->images + place) * sizeof(struct record));
}

void tr_per_class_write(struct tr_per_class *p, enum tr_weights weights, const struct tr_taken *taken)
{
    for (int i = 0; i < taken->n && !p->failed; i++) {
        const struct record r = {
            .pass_plus_1 = taken->pass + 1,
            .label = taken->valid[i] ? taken->labels[i] : -1,
            .taken =
                taken->valid[i] ? tr_outcome_likeliest(p->logits + (size_t)i * p->classes, p->classes) : 0};
        ssize_t n;

        do
            n = pwrite(p->file, &r, sizeof r, offset_of(p, weights, taken->places[i]));
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t)sizeof r)
            say(p, strerror(n < 0 ? errno : ENOSPC));
    }
}

struct tr_gathering tr_per_class_records(const struct tr_per_class *p, uint32_t pass, bool averages)
{
    return (struct tr_gathering){.file = p->file,
                                 .record_bytes = sizeof(struct record),
                                 .records = averages ? 2 * p->images : p->images,
                                 .pass = pass};
}

/* What a pass found. */
struct found {
    uint64_t *pairs; /* of each image, class << 32 | the one it was taken for; in order */
    uint64_t count;
    struct im_class_counts *counts; /* [classes] */
};

static int by_pair(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void per_class_take(const struct tr_per_class *p, uint32_t pass, const struct record *r,
                           struct found *f)
{
    if (r->pass_plus_1 != pass + 1 || r->label < 0 || (uint32_t)r->label >= p->classes ||
        r->taken >= p->classes)
        return;
    f->counts[r->label].support++;
    f->counts[r->taken].predicted++;
    f->counts[r->label].correct += (uint32_t)r->label == r->taken;
    f->pairs[f->count++] = (uint64_t)r->label << 32 | r->taken;
}

static int read_records(const struct tr_per_class *p, enum tr_weights weights, uint32_t pass, struct found *f)
{
    enum { AT_ONCE = 4096 };
    struct record *r = malloc(AT_ONCE * sizeof *r);
    uint64_t done = 0;

    f->pairs = calloc(p->images + 1, sizeof *f->pairs);
    f->counts = calloc(p->classes, sizeof *f->counts);
    while (r && f->pairs && f->counts && done < p->images) {
        const uint64_t left = p->images - done, want = left < AT_ONCE ? left : AT_ONCE;
        const ssize_t n = pread(p->file, r, want * sizeof *r, offset_of(p, weights, done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < (ssize_t)sizeof *r) /* a file that ends early lacks records: the count says it */
            break;
        for (size_t i = 0; i < (size_t)n / sizeof *r; i++)
            per_class_take(p, pass, &r[i], f);
        done += (uint64_t)n / sizeof *r;
    }
    free(r);
    if (!r || !f->pairs || !f->counts)
        return -ENOMEM;
    qsort(f->pairs, f->count, sizeof *f->pairs, by_pair);
    return 0;
}

/* Writes a file of run_dir/per_class/. */
static int per_class_put(const char *run_dir, const char *name, const char *bytes, size_t n,
                         struct im_text *text)
{
    char path[PATH_MAX];
    const int used = snprintf(path, sizeof path, "%s/" IM_PER_CLASS_FOLDER, run_dir);
    int err;

    if ((size_t)used + 2 + strlen(name) > sizeof path)
        return im_fail(text, -ENAMETOOLONG, "%.300s: the path is too long", run_dir);
    err = im_mkdirs(path, 0777, text);
    snprintf(path + used, sizeof path - (size_t)used, "/%s", name);
    return err < 0 ? err : im_file_replace_any(path, bytes, n, text);
}

/* The names of the classes in `bytes`, which become strings; "" where there are no more. */
static const char **name_classes(const char *run_dir, uint32_t classes, char **ret_bytes)
{
    char path[PATH_MAX], *next;
    const char **names = calloc(classes, sizeof *names);
    size_t n;

    *ret_bytes = NULL;
    if (snprintf(path, sizeof path, "%s/classes.txt", run_dir) >= (int)sizeof path ||
        im_read_file(path, NAMES_BYTES_MAX, ret_bytes, &n, NULL) < 0)
        *ret_bytes = NULL;
    next = *ret_bytes;
    for (uint32_t k = 0; names && k < classes; k++) {
        names[k] = next ? next : "";
        next = next ? strchr(next, '\n') : NULL;
        if (next)
            *next++ = 0;
    }
    return names;
}

int tr_per_class_table(const char *run_dir, uint32_t epoch, enum tr_weights weights,
                       const struct im_class_counts *counts, const double *average_precision,
                       uint32_t classes, struct im_text *text)
{
    char *bytes = NULL, *name_bytes = NULL, name[32];
    const char **names = name_classes(run_dir, classes, &name_bytes);
    size_t n = 0;
    FILE *out = names ? open_memstream(&bytes, &n) : NULL;
    int err = out ? 0 : -ENOMEM;

    snprintf(name, sizeof name, IM_PER_CLASS_TABLE, epoch, im_per_class_of(weights == TR_AVERAGED));
    if (out) {
        im_class_table(out, names, counts, average_precision, classes);
        err = ferror(out) | fclose(out) ? -ENOMEM : 0;
    }
    if (err == 0)
        err = per_class_put(run_dir, name, bytes, n, text);
    free(bytes);
    free(names);
    free(name_bytes);
    return err;
}

static int write_confusion(const struct tr_per_class *p, uint32_t epoch, enum tr_weights weights,
                           const struct found *f, struct im_text *text)
{
    char *bytes = NULL, name[32];
    size_t n = 0;
    FILE *out = open_memstream(&bytes, &n);
    int err;

    snprintf(name, sizeof name, IM_PER_CLASS_CONFUSION, epoch, im_per_class_of(weights == TR_AVERAGED));
    if (!out)
        return -ENOMEM;
    fputs("true,predicted,images\n", out);
    for (uint64_t i = 0, from = 0; i < f->count; i++) {
        if (i + 1 < f->count && f->pairs[i + 1] == f->pairs[i])
            continue;
        fprintf(out, "%u,%u,%" PRIu64 "\n", (uint32_t)(f->pairs[i] >> 32), (uint32_t)f->pairs[i],
                i + 1 - from);
        from = i + 1;
    }
    err = ferror(out) | fclose(out) ? -ENOMEM : 0;
    if (err == 0)
        err = per_class_put(p->run_dir, name, bytes, n, text);
    free(bytes);
    return err;
}

void tr_per_class_tables(struct tr_per_class *p, enum tr_weights weights, uint32_t pass, uint64_t valid)
{
    struct found f = {0};
    struct im_text text = {""};
    int err;

    if (p->failed) /* reported already */
        return;
    err = read_records(p, weights, pass, &f);
    if (err == 0 && f.count != valid)
        im_log(IM_LOG_WARN,
               "the table of each class is of a part of the validation images: " TR_TAKEN_FILE
               " lacks the others",
               "images=%" PRIu64 " of=%" PRIu64, f.count, valid);
    if (err == 0) /* the table comes last: whoever sees it finds both */
        err = write_confusion(p, pass + 1, weights, &f, &text);
    if (err == 0)
        err = tr_per_class_table(p->run_dir, pass + 1, weights, f.counts, NULL, p->classes, &text);
    if (err < 0)
        say(p, text.s[0] ? text.s : strerror(-err));
    free(f.pairs);
    free(f.counts);
}
