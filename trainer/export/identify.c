/* A network fits when each of its tensors' shapes is in the file as often as in the network, and what is left over is a
 * weight and a bias of as many classes. Trailing extents of 1 are the same numbers and are dropped. */
#include "trainer/export/identify.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/config/models.h"
#include "trainer/checkpoint/foreign.h"

#define STATE_PREFIX "optimizer."
#define TENSORS_MAX 100000

static const char *const names[] = {
#define NAME(constant, word) word,
    IM_MODELS(NAME)
#undef NAME
};

struct extents {
    uint64_t d[4];
};

struct extents_list {
    struct extents *v;
    size_t n;
};

static int compare(const void *a, const void *b)
{
    const struct extents *x = a, *y = b;

    for (size_t i = 0; i < IM_COUNT(x->d); i++)
        if (x->d[i] != y->d[i])
            return x->d[i] < y->d[i] ? -1 : 1;
    return 0;
}

static void drop_ones(struct extents *e, int rank)
{
    for (int i = rank - 1; i > 0 && e->d[i] == 1; i--)
        e->d[i] = 0;
}

/* The shapes of a file, sorted. */
static int list_file(const struct tr_safetensors *file, struct extents_list *ret)
{
    const size_t count = tr_safetensors_count(file);

    *ret = (struct extents_list){calloc(count + 1, sizeof *ret->v), 0};
    if (!ret->v)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const struct tr_tensor *t = tr_safetensors_at(file, i);
        struct extents e = {{0}};

        if (t->rank == 0 || t->rank > (int)IM_COUNT(e.d) || tr_foreign_is_bookkeeping(t))
            continue;
        memcpy(e.d, t->shape, (size_t)t->rank * sizeof e.d[0]);
        drop_ones(&e, t->rank);
        ret->v[ret->n++] = e;
    }
    qsort(ret->v, ret->n, sizeof *ret->v, compare);
    return 0;
}

static bool is_head(const struct tr_param_tensor *t)
{
    return t->kind == TR_TENSOR_FC_WEIGHT || t->kind == TR_TENSOR_FC_BIAS;
}

/* Those of a model, without its classifier; *ret_channels is what that takes. */
static int list_model(const struct tr_model *m, struct extents_list *ret, uint64_t *ret_channels)
{
    *ret = (struct extents_list){calloc((size_t)m->tensor_count, sizeof *ret->v), 0};
    if (!ret->v)
        return -ENOMEM;
    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        struct extents e = {{0}};

        if (t->kind == TR_TENSOR_FC_WEIGHT)
            *ret_channels = (uint64_t)t->shape[1];
        if (t->rank == 0 || is_head(t))
            continue;
        for (int d = 0; d < t->rank; d++)
            e.d[d] = (uint64_t)t->shape[d];
        drop_ones(&e, t->rank);
        ret->v[ret->n++] = e;
    }
    qsort(ret->v, ret->n, sizeof *ret->v, compare);
    return 0;
}

/* The number of classes; 0: it does not fit. */
static uint64_t match(const struct extents_list *file, const struct extents_list *model, uint64_t channels)
{
    struct extents left[2];
    size_t m = 0, lefts = 0;

    if (file->n != model->n + 2)
        return 0;
    for (size_t i = 0; i < file->n; i++) {
        if (m < model->n && compare(&file->v[i], &model->v[m]) == 0)
            m++;
        else if (lefts < 2)
            left[lefts++] = file->v[i];
        else
            return 0;
    }
    if (m != model->n || lefts != 2)
        return 0;
    /* The bias comes first, as its second extent is 0. */
    if (left[0].d[1] || left[0].d[0] != left[1].d[0] || left[1].d[2])
        return 0;
    return left[1].d[1] == channels || (channels == 1 && left[1].d[1] == 0) ? left[0].d[0] : 0;
}

static int try_model(const struct extents_list *file, struct tr_model_config *config, uint64_t *ret_classes,
                     struct im_text *text)
{
    struct extents_list shapes = {NULL, 0};
    struct tr_model *m = NULL;
    uint64_t channels = 0;
    int err;

    config->classes = 1;
    *ret_classes = 0;
    err = tr_model_new(config, &m, text);
    if (err < 0)
        return err;
    err = list_model(m, &shapes, &channels);
    if (err == 0)
        *ret_classes = match(file, &shapes, channels);
    free(shapes.v);
    tr_model_free(m);
    return err;
}

/* The first network that fits, among those that the configuration leaves open. Classes 0: none. */
static int identify_find(const struct extents_list *file, struct tr_model_config *config,
                         struct im_text *text)
{
    static const enum tr_stem stems[] = {TR_STEM_AUTO, TR_STEM_IMAGENET, TR_STEM_SMALL};
    const struct tr_model_config known = *config;
    uint64_t classes = 0;
    int err = 0;

    for (size_t i = 0; i < IM_COUNT(names) && classes == 0; i++) {
        if (known.name && strcmp(known.name, names[i]) != 0)
            continue;
        for (size_t s = 0; s < IM_COUNT(stems) && err == 0 && classes == 0; s++) {
            if (known.stem != TR_STEM_AUTO && known.stem != stems[s])
                continue;
            config->name = names[i];
            config->stem = stems[s];
            err = try_model(file, config, &classes, text);
        }
        if (err < 0)
            return err;
    }
    config->classes = classes <= INT32_MAX ? (int)classes : 0;
    return 0;
}

static int identify_error(const struct tr_safetensors *file, const struct extents_list *shapes,
                          const struct tr_model_config *known, struct im_text *text)
{
    struct tr_model_config other = {.blurpool = known->blurpool};
    int err;

    for (size_t i = 0; i < tr_safetensors_count(file); i++)
        if (strncmp(tr_safetensors_at(file, i)->name, STATE_PREFIX, strlen(STATE_PREFIX)) == 0)
            return im_fail(text, -EBADMSG,
                           "it is a training state; take the weights beside it (last.safetensors, "
                           "best.safetensors)");
    err = known->name || known->stem != TR_STEM_AUTO ? identify_find(shapes, &other, text) : 0;
    if (err < 0)
        return err;
    if (other.classes > 0)
        return im_fail(text, -EBADMSG, "its tensors are not those of %s%s; they fit %s with --stem %s",
                       known->name ? known->name : "a network",
                       known->stem != TR_STEM_AUTO ? " with that --stem" : "", other.name,
                       other.stem == TR_STEM_AUTO    ? "auto"
                       : other.stem == TR_STEM_SMALL ? "small"
                                                     : "imagenet");
    return im_fail(text, -EBADMSG,
                   "its %zu tensors are those of none of the networks here; `imsuper model --model NAME "
                   "--init-from FILE` lists what differs",
                   tr_safetensors_count(file));
}

int tr_identify(const struct tr_safetensors *file, struct tr_model_config *config, struct im_text *text)
{
    const struct tr_model_config known = *config;
    struct extents_list shapes = {NULL, 0};
    int err;

    if (tr_safetensors_count(file) > TENSORS_MAX)
        return im_fail(text, -EBADMSG, "it has more than %d tensors", TENSORS_MAX);
    err = list_file(file, &shapes);
    if (err == 0)
        err = identify_find(&shapes, config, text);
    if (err == 0 && config->classes == 0)
        err = identify_error(file, &shapes, &known, text);
    free(shapes.v);
    return err;
}
