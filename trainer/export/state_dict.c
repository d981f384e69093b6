#include "trainer/export/state_dict.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/checkpoint/classes.h"

enum { PAIRS_MAX = 16 };

struct tr_tensor *tr_state_dict(const struct tr_source *s, enum tr_head_shape shape, size_t *ret_count)
{
    const struct tr_model *m = s->model;
    struct tr_tensor *list = calloc((size_t)m->tensor_count, sizeof *list);

    for (int i = 0; list && i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        const enum tr_tensor_home home = tr_tensor_home(t);

        list[i] = (struct tr_tensor){
            .name = t->name, .dtype = home == TR_HOME_COUNTER ? TR_I64 : TR_F32, .rank = t->rank};
        for (int d = 0; d < t->rank; d++)
            list[i].shape[d] = (uint64_t)t->shape[d];
        if (t->kind == TR_TENSOR_FC_WEIGHT && shape != TR_HEAD_AS_IT_IS) {
            list[i].rank = shape == TR_HEAD_MATRIX ? 2 : 4;
            list[i].shape[2] = list[i].shape[3] = 1;
        }
        list[i].data = home == TR_HOME_COUNTER ? (const void *)&s->tracked
                       : home == TR_HOME_STATS ? s->stats + t->offset
                                               : s->params + t->offset;
    }
    *ret_count = (size_t)m->tensor_count;
    return list;
}

int tr_state_dict_write(const char *path, const struct tr_source *s, enum tr_head_shape shape,
                        const char *made_of, struct im_text *text)
{
    char size[16], resize[16], *classes = s->classes ? im_json_dump(s->classes) : NULL;
    struct tr_pair pairs[PAIRS_MAX] = {
        {"format", "pt"},
        {im_conf_name(IM_KEY_model), s->model->name},
        {im_conf_name(IM_KEY_stem), im_conf_choice(IM_KEY_stem, (int32_t)s->model->stem)},
        {im_conf_name(IM_KEY_head), im_conf_choice(IM_KEY_head, (int32_t)s->model->head)},
        {im_conf_name(IM_KEY_blurpool), im_conf_choice(IM_KEY_blurpool, (int32_t)s->model->blurpool)},
        {"imsuper", IMSUPER_VERSION},
    };
    size_t count, pair_count = 6;
    struct tr_tensor *list = tr_state_dict(s, shape, &count);
    int err;

    snprintf(size, sizeof size, "%u", s->size);
    snprintf(resize, sizeof resize, "%u", s->resize);
    if (!s->unsaid_colors) { /* defaults would pass for what the weights were trained with */
        pairs[pair_count++] = (struct tr_pair){im_conf_name(IM_KEY_mean), s->conf.mean};
        pairs[pair_count++] = (struct tr_pair){im_conf_name(IM_KEY_std), s->conf.std};
    }
    if (!s->unsaid_size) {
        pairs[pair_count++] = (struct tr_pair){im_conf_name(IM_KEY_eval_image_size), size};
        pairs[pair_count++] = (struct tr_pair){im_conf_name(IM_KEY_eval_resize), resize};
    }
    if (classes)
        pairs[pair_count++] = (struct tr_pair){TR_CLASSES_KEY, classes};
    if (s->conf.multi_label)
        pairs[pair_count++] = (struct tr_pair){im_conf_name(IM_KEY_multi_label), "true"};
    if (made_of)
        pairs[pair_count++] = (struct tr_pair){"made-of", made_of};
    im_assert(pair_count <= IM_COUNT(pairs));
    if (!list || (s->classes && !classes))
        err = im_fail(text, -ENOMEM, "cannot write %.300s: out of memory", path);
    else
        err = tr_safetensors_write(path, list, count, pairs, pair_count, text);
    free(list);
    free(classes);
    return err;
}
