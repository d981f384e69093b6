#include "trainer/outcomes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void tr_mirror(const uint8_t *from, uint8_t *to, int n, int size)
{
    const size_t rows = (size_t)n * (size_t)size, side = (size_t)size;

    for (size_t row = 0; row < rows; row++)
        for (size_t x = 0; x < side; x++)
            memcpy(to + (row * side + x) * 3, from + (row * side + side - 1 - x) * 3, 3);
}

/* The pixel that stands at `at`, by reflection without the border's pixel once more. */
static size_t reflected(int at, int size)
{
    const int inside = at < 0 ? -at : at >= size ? 2 * (size - 1) - at : at;

    return (size_t)(inside < 0 ? 0 : inside);
}

void tr_move(const uint8_t *from, uint8_t *to, int n, int size, int by)
{
    const size_t side = (size_t)size;

    for (size_t image = 0; image < (size_t)n; image++)
        for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++, to += 3)
                memcpy(to,
                       from + ((image * side + reflected(y - by, size)) * side + reflected(x - by, size)) * 3,
                       3);
}

static bool is_before(const float *x, uint32_t a, uint32_t b)
{
    return x[a] > x[b] || (!(x[a] < x[b]) && a < b);
}

/* The likeliest classes by insertion: few of them, or few classes. */
static void find_tops(const float *x, uint32_t classes, uint32_t tops, struct im_outcome *r)
{
    uint32_t have = 0;

    for (uint32_t k = 0; k < classes; k++) {
        uint32_t at = have;

        if (have == tops && !is_before(x, k, r->top[tops - 1].class))
            continue;
        if (have == tops)
            at--;
        else
            have++;
        for (; at > 0 && is_before(x, k, r->top[at - 1].class); at--)
            r->top[at] = r->top[at - 1];
        r->top[at].class = k;
    }
}

uint32_t tr_outcome_likeliest(const float *logits, uint32_t classes)
{
    uint32_t best = 0;

    for (uint32_t k = 1; k < classes; k++)
        if (is_before(logits, k, best))
            best = k;
    return best;
}

void tr_outcome_judge(const float *logits, uint32_t classes, int32_t label, uint32_t tops, double *shares,
                      struct im_outcome *record)
{
    double most = -INFINITY, sum = 0;

    for (uint32_t k = 0; k < classes; k++)
        most = fmax(most, (double)logits[k]);
    for (uint32_t k = 0; k < classes; k++)
        sum += shares[k] = exp((double)logits[k] - most);
    find_tops(logits, classes, tops, record);
    for (uint32_t i = 0; i < tops; i++)
        record->top[i].probability = (float)(shares[record->top[i].class] / sum);
    record->rank = 0;
    if (label < 0 || (uint32_t)label >= classes)
        return;
    record->loss = most + log(sum) - (double)logits[label];
    record->probability = (float)(shares[label] / sum);
    for (uint32_t k = 0; k < classes; k++)
        record->rank += k != (uint32_t)label && (!(logits[k] <= logits[label]) ||
                                                 (logits[k] == logits[label] && k < (uint32_t)label));
}

void tr_outcome_judge_set(const float *logits, uint32_t classes, const struct im_label_sets *sets,
                          int32_t set, uint32_t tops, struct im_outcome *record)
{
    double sum = 0;

    find_tops(logits, classes, tops, record);
    for (uint32_t i = 0; i < tops; i++)
        record->top[i].probability = (float)(1 / (1 + exp(-(double)logits[record->top[i].class])));
    if (!sets || set < 0 || (uint32_t)set >= sets->count)
        return;
    for (uint32_t k = 0; k < classes; k++) {
        const double v = (double)logits[k];

        sum += fmax(v, 0) - (im_label_sets_has(sets, (uint32_t)set, k) ? v : 0) + log1p(exp(-fabs(v)));
        record->rank += (v > 0) != im_label_sets_has(sets, (uint32_t)set, k);
    }
    record->loss = sum / classes;
}

int tr_outcomes_alloc(struct tr_outcomes *o, const struct im_conf *conf, uint32_t classes, size_t images,
                      size_t pixels)
{
    *o = (struct tr_outcomes){.file = -1, .classes = classes, .tops = im_outcome_tops(conf, classes)};
    o->tta = (enum im_conf_tta)conf->tta;
    o->is_multi = conf->multi_label;
    o->logits = calloc(images * classes, sizeof *o->logits);
    o->seen = calloc(o->tta != IM_TTA_NONE ? images * classes : 1, sizeof *o->seen);
    o->pixels = calloc(o->tta != IM_TTA_NONE ? pixels : 1, 1);
    o->moved = calloc(o->tta == IM_TTA_VIEWS ? pixels : 1, 1);
    o->shares = calloc(classes, sizeof *o->shares);
    o->record = calloc(1, im_outcome_bytes(o->tops));
    return o->logits && o->seen && o->pixels && o->moved && o->shares && o->record ? 0 : -ENOMEM;
}

int tr_outcomes_open(struct tr_outcomes *o, const struct im_child *child, struct im_text *text)
{
    const struct im_conf *conf = child->conf;
    const struct im_geometry *g = &child->run->geometry;
    char path[PATH_MAX];

    if (tr_outcomes_alloc(o, conf, g->classes, g->batch_size_max, g->batch_pixels_max) < 0)
        return -ENOMEM;
    if (snprintf(path, sizeof path, "%s/" IM_OUTCOMES_FILE, conf->run_dir) >= (int)sizeof path)
        return -ENAMETOOLONG;
    o->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    return o->file < 0 ? im_fail(text, -errno, "cannot open %s: %s", path, strerror(errno)) : 0;
}

void tr_outcomes_close(struct tr_outcomes *o)
{
    if (o->record && o->file >= 0)
        close(o->file);
    free(o->logits);
    free(o->seen);
    free(o->pixels);
    free(o->moved);
    free(o->shares);
    free(o->record);
    *o = (struct tr_outcomes){0};
}

/* Adds `share` of the outputs for these pixels, of which o->logits has 1 - share. */
static int evaluate_view(struct tr_outcomes *o, struct tr_network *net, const struct tr_batch *batch,
                         const uint8_t *pixels, float share, struct im_text *text)
{
    struct tr_batch view = *batch;
    struct tr_tally tally;
    int err;

    view.pixels = pixels;
    err = tr_network_evaluate(net, &view, false, o->seen, &tally, text);
    for (size_t i = 0; i < (size_t)batch->n * o->classes && err == 0; i++)
        o->logits[i] += share * (o->seen[i] - o->logits[i]);
    return err;
}

/* The mean of the outputs for the image and for its mirror image. */
static int evaluate_mirrored(struct tr_outcomes *o, struct tr_network *net, const struct tr_batch *batch,
                             struct im_text *text)
{
    tr_mirror(batch->pixels, o->pixels, batch->n, batch->size);
    return evaluate_view(o, net, batch, o->pixels, 0.5F, text);
}

/* The same of four more views: image and mirror image moved by a pixel up and left, down and right. An eighth each. */
static int evaluate_moved(struct tr_outcomes *o, struct tr_network *net, const struct tr_batch *batch,
                          struct im_text *text)
{
    int err = 0;

    for (int i = 0; i < 4 && err == 0; i++) {
        tr_move(batch->pixels, i % 2 ? o->pixels : o->moved, batch->n, batch->size, i < 2 ? -1 : 1);
        if (i % 2)
            tr_mirror(o->pixels, o->moved, batch->n, batch->size);
        /* Shares of what has been added up so far: 1/5, 1/6, 1/7, 1/8 leave an eighth to each and half to the first two. */
        err = evaluate_view(o, net, batch, o->moved, 1 / (float)(5 + i), text);
    }
    return err;
}

static int write_part(const struct tr_outcomes *o, uint64_t place, size_t from, size_t to,
                      struct im_text *text)
{
    const char *at = (const char *)o->record;
    size_t done = from;

    while (done < to) {
        ssize_t n = pwrite(o->file, at + done, to - done, (off_t)(place * im_outcome_bytes(o->tops) + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return im_fail(text, n < 0 ? -errno : -EIO, "cannot write " IM_OUTCOMES_FILE ": %s",
                           strerror(n < 0 ? errno : EIO));
        done += (size_t)n;
    }
    return 0;
}

/* The word that says that the record is there comes last: others read the file while it is written. */
static int write_record(const struct tr_outcomes *o, uint64_t place, struct im_text *text)
{
    const size_t word = sizeof o->record->sample_plus_1;
    int err = write_part(o, place, word, im_outcome_bytes(o->tops), text);

    return err < 0 ? err : write_part(o, place, 0, word, text);
}

int tr_outcomes_logits(struct tr_outcomes *o, struct tr_network *net, const struct tr_batch *batch,
                       struct tr_tally *ret, struct im_text *text)
{
    int err = tr_network_evaluate(net, batch, false, o->logits, ret, text);

    if (err == 0 && o->tta != IM_TTA_NONE)
        err = evaluate_mirrored(o, net, batch, text);
    return err == 0 && o->tta == IM_TTA_VIEWS ? evaluate_moved(o, net, batch, text) : err;
}

int tr_outcomes_evaluate(struct tr_outcomes *o, struct tr_network *net, const struct tr_batch *batch,
                         const struct tr_outcome_places *at, struct tr_tally *ret, struct im_text *text)
{
    struct tr_tally averaged = {0};
    int err = tr_outcomes_logits(o, net, batch, ret, text);

    for (int i = 0; i < batch->n && err == 0; i++) {
        struct im_outcome *r = o->record;

        memset(r, 0, im_outcome_bytes(o->tops));
        r->sample_plus_1 = at->samples[i] + 1;
        r->label = batch->labels[i];
        r->verdict = at->verdicts[i];
        if (batch->valid[i]) {
            if (o->is_multi)
                tr_outcome_judge_set(o->logits + (size_t)i * o->classes, o->classes, o->sets, r->label,
                                     o->tops, r);
            else
                tr_outcome_judge(o->logits + (size_t)i * o->classes, o->classes, r->label, o->tops, o->shares,
                                 r);
            averaged.loss_sum += r->loss;
            averaged.valid++;
            averaged.top1 += !o->is_multi && r->rank < 1;
            averaged.top5 += !o->is_multi && r->rank < 5;
        }
        err = write_record(o, at->places[i], text);
    }
    if (o->tta != IM_TTA_NONE)
        *ret = averaged;
    return err;
}
