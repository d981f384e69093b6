#include "trainer/export/average.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/backends/step.h"
#include "trainer/export/pixels.h"
#include "trainer/network/network.h"

enum { BATCH = 64 };

static bool same_classes(const struct tr_source *a, const struct tr_source *b)
{
    char room[2][16];

    for (int i = 0; a->classes && b->classes && i < a->model->classes; i++)
        if (strcmp(tr_source_class(a, i, room[0]), tr_source_class(b, i, room[1])) != 0)
            return false;
    return true;
}

int tr_average_add(struct tr_average *sum, const struct tr_source *first, const struct tr_source *other,
                   double share, struct im_text *text)
{
    const struct tr_model *a = first->model, *b = other->model;

    if (strcmp(a->name, b->name) != 0 || a->stem != b->stem || a->blurpool != b->blurpool ||
        a->classes != b->classes)
        return im_fail(text, -EBADMSG,
                       "%.300s is %s with %d classes, %.300s is %s with %d: only weights of one network "
                       "have a mean",
                       first->path, a->name, a->classes, other->path, b->name, b->classes);
    if (!same_classes(first, other))
        return im_fail(text, -EBADMSG,
                       "the classes of %.300s are others than those of %.300s, or in another order",
                       other->path, first->path);
    for (size_t i = 0; i < a->param_floats; i++)
        sum->params[i] += share * (double)other->params[i];
    for (size_t i = 0; i < a->stat_floats; i++)
        sum->stats[i] += share * (double)other->stats[i];
    return 0;
}

void tr_average_store(const struct tr_average *sum, struct tr_source *ret)
{
    for (size_t i = 0; i < ret->model->param_floats; i++)
        ret->params[i] = (float)sum->params[i];
    for (size_t i = 0; i < ret->model->stat_floats; i++)
        ret->stats[i] = (float)sum->stats[i];
}

/* ---- statistics ---- */

struct measure {
    struct tr_source *s;
    struct tr_network *net;
    struct tr_pixels pixels;
    unsigned char *batch; /* [BATCH][size][size][3] */
    float *stats;
    double *sum; /* of the batches' statistics */
    int64_t batches, images;
    size_t skipped;
};

static int open_measure(struct measure *m, int64_t images, struct im_text *text)
{
    const struct tr_source *s = m->s;
    struct tr_network_config config = {.model = s->model->name,
                                       .stem = s->model->stem,
                                       .head = s->model->head,
                                       .blurpool = s->model->blurpool,
                                       .classes = s->model->classes,
#ifdef IMSUPER_ONEDNN
                                       .backend = "onednn",
#else
                                       .backend = "ref",
#endif
                                       .threads = (int)s->conf.trainer_threads,
                                       .accumulates = true};
    const size_t side = (size_t)s->conf.image_size;
    int err;

    for (int c = 0; c < 3; c++) {
        config.mean[c] = (float)s->mean[c];
        config.std[c] = (float)s->std[c];
    }
    m->batch = malloc(BATCH * side * side * 3);
    m->stats = calloc(s->model->stat_floats + 1, sizeof *m->stats);
    m->sum = calloc(s->model->stat_floats + 1, sizeof *m->sum);
    if (!m->batch || !m->stats || !m->sum)
        return im_fail(text, -ENOMEM, "no memory for a batch of images");
    err = tr_network_new(&config, &m->net, text);
    if (err == 0)
        err = tr_network_write(m->net, TR_ARENA_PARAMS, s->params);
    return err < 0 ? err : tr_pixels_open(&m->pixels, &s->conf, IM_SPLIT_CHOICE_TRAIN, images, false, text);
}

static void close_measure(struct measure *m)
{
    tr_pixels_close(&m->pixels, NULL);
    tr_network_free(m->net);
    free(m->batch);
    free(m->stats);
    free(m->sum);
}

/* From statistics of zero one batch leaves TR_BN_MOMENTUM times its own. No update follows: the weights stay. */
static int measure_batch(struct measure *m, int n, struct im_text *text)
{
    static const int32_t labels[BATCH];
    unsigned char valid[BATCH];
    const struct tr_batch batch = {
        .pixels = m->batch, .labels = labels, .valid = valid, .n = n, .size = (int)m->s->conf.image_size};
    const struct tr_step step = {.number = 1};
    struct tr_outcome outcome;
    int err;

    memset(valid, 1, sizeof valid);
    memset(m->stats, 0, m->s->model->stat_floats * sizeof *m->stats);
    err = tr_network_write(m->net, TR_ARENA_STATS, m->stats);
    if (err == 0)
        err = tr_network_step_begin(m->net, &batch, &step, text);
    if (err == 0)
        err = tr_network_step_end(m->net, &outcome, text);
    if (err == 0)
        err = tr_network_read(m->net, TR_ARENA_STATS, m->stats);
    for (size_t i = 0; i < m->s->model->stat_floats && err == 0; i++)
        m->sum[i] += (double)m->stats[i] / (double)TR_BN_MOMENTUM;
    m->batches += err == 0;
    m->images += err == 0 ? n : 0;
    return err;
}

/* A rest counts only where there is no whole batch: few images say little of a variance. */
static int measure_images(struct measure *m, struct im_text *text)
{
    const size_t bytes = (size_t)3 * (size_t)m->s->conf.image_size * (size_t)m->s->conf.image_size;
    int n = 0, err = 0, more;

    while ((more = tr_pixels_next(&m->pixels, &m->skipped, text)) > 0 && err == 0) {
        if (m->pixels.record.size != (uint32_t)m->s->conf.image_size)
            return im_fail(text, -EBADMSG, "a sample is of another size");
        memcpy(m->batch + (size_t)n++ * bytes, m->pixels.sample, bytes);
        if (n == BATCH) {
            err = measure_batch(m, n, text);
            n = 0;
        }
    }
    if (more < 0)
        return more;
    if (err == 0)
        err = tr_pixels_close(&m->pixels, text);
    if (err == 0 && m->batches == 0 && n > 1)
        err = measure_batch(m, n, text);
    if (err == 0 && m->batches == 0)
        err = im_fail(text, -ENOENT, "there are no training images to take statistics over in %.500s",
                      m->s->conf.data_dir);
    return err;
}

int tr_average_statistics(struct tr_source *s, int64_t images, int64_t *ret_images, struct im_text *text)
{
    struct measure m = {.s = s};
    int err = open_measure(&m, images, text);

    if (err == 0)
        err = measure_images(&m, text);
    for (size_t i = 0; i < s->model->stat_floats && err == 0; i++)
        s->stats[i] = (float)(m.sum[i] / (double)m.batches);
    *ret_images = m.images;
    close_measure(&m);
    return err;
}
