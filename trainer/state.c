#include "trainer/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *home_of(struct tr_state *s, const struct im_tensor *t)
{
    return (im_tensor_home(t) == IM_HOME_PARAMS ? s->params : s->stats) + t->offset;
}

static void add(struct tr_state *s, const char *name, enum tr_dtype dtype, const struct im_tensor *t,
                void *data)
{
    struct tr_tensor *tensor = &s->tensors[s->count];

    *tensor = (struct tr_tensor){.name = name, .dtype = dtype, .rank = t->rank, .data = data};
    for (int i = 0; i < t->rank; i++)
        tensor->shape[i] = (uint64_t)t->shape[i];
    s->destinations[s->count++] = data;
}

static void fill_table(struct tr_state *s, const struct im_model *model)
{
    for (int i = 0; i < model->tensor_count; i++) {
        const struct im_tensor *t = &model->tensors[i];

        if (im_tensor_home(t) == IM_HOME_COUNTER)
            add(s, t->name, TR_I64, t, &s->tracked);
        else
            add(s, t->name, TR_F32, t, home_of(s, t));
    }
    for (int i = 0; i < model->tensor_count; i++) {
        const struct im_tensor *t = &model->tensors[i];

        if (im_tensor_home(t) != IM_HOME_PARAMS)
            continue;
        snprintf(s->names[i], sizeof s->names[i], TR_CHECKPOINT_STATE_PREFIX "momentum.%s", t->name);
        add(s, s->names[i], TR_F32, t, s->momentum + t->offset);
    }
}

int tr_state_init(struct tr_state *s, struct im_network *net)
{
    const struct im_model *model = im_network_model(net);
    size_t tensors = (size_t)model->tensor_count;

    *s = (struct tr_state){
        .net = net,
        .params = calloc(model->param_floats, sizeof(float)),
        .momentum = calloc(model->param_floats, sizeof(float)),
        .stats = calloc(model->stat_floats, sizeof(float)),
        .tensors = calloc(2 * tensors, sizeof *s->tensors),
        .destinations = calloc(2 * tensors, sizeof *s->destinations),
        .names = calloc(tensors, sizeof *s->names),
    };
    if (!s->params || !s->momentum || !s->stats || !s->tensors || !s->destinations || !s->names) {
        tr_state_fini(s);
        return -ENOMEM;
    }
    fill_table(s, model);
    return 0;
}

void tr_state_fini(struct tr_state *s)
{
    free(s->params);
    free(s->momentum);
    free(s->stats);
    free(s->tensors);
    free(s->destinations);
    free(s->names);
    *s = (struct tr_state){0};
}

/* Network to host copies. */
static int read_network(struct tr_state *s, struct im_text *text)
{
    int err = im_network_read(s->net, IM_ARENA_PARAMS, s->params);

    if (err == 0)
        err = im_network_read(s->net, IM_ARENA_MOMENTUM, s->momentum);
    if (err == 0)
        err = im_network_read(s->net, IM_ARENA_STATS, s->stats);
    if (err < 0)
        return im_fail(text, err, "cannot copy the network from its device: %s", strerror(-err));
    s->tracked = im_network_tracked(s->net);
    return 0;
}

/* pairs: room for TR_POSITION_PAIRS. */
static struct tr_checkpoint_content content_of(const struct tr_state *s,
                                               const struct tr_position_text *position, struct tr_pair *pairs)
{
    return (struct tr_checkpoint_content){
        .tensors = s->tensors,
        .tensor_count = s->count,
        .metadata = pairs,
        .metadata_count = tr_position_pairs(position, pairs),
    };
}

int tr_state_save(struct tr_state *s, struct tr_checkpoint_store *store,
                  const struct tr_position_text *position, int epoch, bool best, struct im_text *text)
{
    struct tr_pair pairs[TR_POSITION_PAIRS];
    const struct tr_checkpoint_content content = content_of(s, position, pairs);
    int err = read_network(s, text);

    return err < 0 ? err : tr_checkpoint_save(store, &content, epoch, best, text);
}

int tr_state_put(struct tr_state *s, const char *name, const struct tr_sink *sink,
                 const struct tr_position_text *position, struct im_text *text)
{
    struct tr_pair pairs[TR_POSITION_PAIRS];
    const struct tr_checkpoint_content content = content_of(s, position, pairs);
    int err = read_network(s, text);

    return err < 0 ? err : tr_checkpoint_put(name, sink, &content, text);
}

static int count_bytes(void *context, const void *bytes, size_t n, struct im_text *text)
{
    uint64_t *sum = context;

    (void)bytes;
    (void)text;
    *sum += n;
    return 0;
}

int tr_state_bytes_max(struct tr_state *s, const struct tr_position_text *position, uint64_t *ret_bytes,
                       struct im_text *text)
{
    const struct tr_sink sink = {.context = ret_bytes, .write = count_bytes};
    struct tr_position_text longest = *position;
    struct tr_pair pairs[TR_POSITION_PAIRS];
    struct tr_checkpoint_content content;

    for (size_t i = 0; i < longest.count; i++) {
        memset(longest.value[i], '9', sizeof longest.value[i] - 1);
        longest.value[i][sizeof longest.value[i] - 1] = 0;
    }
    content = content_of(s, &longest, pairs);
    *ret_bytes = 0;
    return tr_checkpoint_put("a snapshot", &sink, &content, text);
}

int tr_state_restore(struct tr_state *s, const struct tr_safetensors *from, struct im_text *text)
{
    int err = tr_checkpoint_restore(from, s->tensors, s->destinations, s->count, text);

    if (err < 0)
        return err;
    err = im_network_write(s->net, IM_ARENA_PARAMS, s->params);
    if (err == 0)
        err = im_network_write(s->net, IM_ARENA_MOMENTUM, s->momentum);
    if (err == 0)
        err = im_network_write(s->net, IM_ARENA_STATS, s->stats);
    if (err < 0)
        return im_fail(text, err, "cannot copy the network to its device: %s", strerror(-err));
    im_network_set_tracked(s->net, s->tracked);
    return 0;
}
