/* See state.h. The state is one table of tensors over host copies of the arenas; what an unfinished window adds
 * is last, so that a smaller count leaves it out. */
#include "trainer/checkpoint/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/hash.h"
#include "trainer/checkpoint/classes.h"

#define MOMENTUM_PREFIX TR_CHECKPOINT_STATE_PREFIX "momentum."
#define FIRST_PREFIX TR_CHECKPOINT_STATE_PREFIX "exp_avg."
#define SECOND_PREFIX TR_CHECKPOINT_STATE_PREFIX "exp_avg_sq."
#define WINDOW_HEADER_BYTES 512 /* at most, of the entries of a tensor in the header of a state */
#define GRADIENT_PREFIX TR_CHECKPOINT_STATE_PREFIX "gradient."
#define BEFORE_PREFIX TR_CHECKPOINT_STATE_PREFIX "before."

enum { ARENAS_SAVED_MAX = 7 }; /* most arenas in the table, each with the model's tensors */

static void add_tensor(struct tr_state *s, const char *prefix, enum tr_dtype dtype,
                       const struct tr_param_tensor *t, void *data)
{
    struct tr_tensor *tensor = &s->tensors[s->window_count];
    const char *name = t->name;

    if (prefix) {
        char(*prefixed)[TR_TENSOR_NAME_MAX + 24] = &s->names[s->name_count++];

        snprintf(*prefixed, sizeof *prefixed, "%s%s", prefix, t->name);
        name = *prefixed;
    }
    *tensor = (struct tr_tensor){.name = name, .dtype = dtype, .rank = t->rank, .data = data};
    for (int i = 0; i < t->rank; i++)
        tensor->shape[i] = (uint64_t)t->shape[i];
    s->destinations[s->window_count++] = data;
}

/* The moments, tensor by tensor named as PyTorch names those of its optimiser. */
static void add_moments(struct tr_state *s, const struct tr_model *model)
{
    const bool adaptive = im_optimizer_is_adaptive(tr_network_optimizer(s->net));
    const bool muon = tr_network_has_muon(s->net);

    for (int second = 0; second <= adaptive; second++)
        for (int i = 0; i < model->tensor_count; i++) {
            const struct tr_param_tensor *t = &model->tensors[i];
            const bool has_one = !adaptive || (muon && tr_tensor_is_hidden_matrix(model, t));
            float *arena = s->arenas[second ? TR_ARENA_SECOND : TR_ARENA_MOMENTUM];

            if (tr_tensor_home(t) == TR_HOME_PARAMS && !(second && has_one))
                add_tensor(s,
                           second    ? SECOND_PREFIX
                           : has_one ? MOMENTUM_PREFIX
                                     : FIRST_PREFIX,
                           TR_F32, t, arena + t->offset);
        }
}

/* Appends the tensors of one pair of arenas under a prefix; < 0: not those of that kind. */
static void add_all(struct tr_state *s, const struct tr_model *model, const char *prefix, int params,
                    int stats)
{
    for (int i = 0; i < model->tensor_count; i++) {
        const struct tr_param_tensor *t = &model->tensors[i];

        switch (tr_tensor_home(t)) {
        case TR_HOME_PARAMS:
            if (params >= 0)
                add_tensor(s, prefix, TR_F32, t, s->arenas[params] + t->offset);
            break;
        case TR_HOME_STATS:
            if (stats >= 0)
                add_tensor(s, prefix, TR_F32, t, s->arenas[stats] + t->offset);
            break;
        case TR_HOME_COUNTER:
            if (params >= 0 && stats >= 0)
                add_tensor(s, prefix, TR_I64, t, s->tracked);
            break;
        }
    }
}

static void fill_table(struct tr_state *s, const struct tr_model *model)
{
    add_all(s, model, NULL, TR_ARENA_PARAMS, TR_ARENA_STATS);
    add_moments(s, model);
    if (s->arenas[TR_ARENA_EMA])
        add_all(s, model, TR_CHECKPOINT_AVERAGE_PREFIX, TR_ARENA_EMA, TR_ARENA_EMA_STATS);
    s->count = s->window_count;
    if (s->arenas[TR_ARENA_SUM]) {
        add_all(s, model, GRADIENT_PREFIX, TR_ARENA_SUM, -1);
        s->old_window_count = s->window_count;
        add_all(s, model, BEFORE_PREFIX, -1, TR_ARENA_STATS_BEFORE);
    }
}

/* Gradients are recomputed, and a window of one batch begins after a state and ends before the next. */
static bool is_saved(const struct tr_network *net, enum tr_arena arena)
{
    return arena != TR_ARENA_GRADS &&
           (arena != TR_ARENA_STATS_BEFORE || tr_network_floats(net, TR_ARENA_SUM) > 0);
}

/* Bits 1 << enum tr_arena. */
static unsigned saved_arenas(const struct tr_network *net)
{
    unsigned arenas = 0;

    for (int i = 0; i < TR_ARENA_COUNT; i++)
        if (tr_network_floats(net, (enum tr_arena)i) > 0 && is_saved(net, (enum tr_arena)i))
            arenas |= 1U << i;
    return arenas;
}

static int init(struct tr_state *s, struct tr_network *net, bool shadow)
{
    const struct tr_model *model = tr_network_model(net);
    const unsigned arenas = saved_arenas(net);
    size_t tensors = (size_t)model->tensor_count * ARENAS_SAVED_MAX;
    bool complete = true;

    *s = (struct tr_state){
        .net = net,
        .borrows = shadow,
        .tensors = calloc(tensors, sizeof *s->tensors),
        .destinations = calloc(tensors, sizeof *s->destinations),
        .names = calloc(tensors, sizeof *s->names),
        .tracked = calloc(1, sizeof *s->tracked),
    };
    for (int i = 0; i < TR_ARENA_COUNT; i++) {
        if (!(arenas >> i & 1))
            continue;
        s->arenas[i] = shadow ? tr_network_shadow_arena(net, (enum tr_arena)i)
                              : calloc(tr_network_floats(net, (enum tr_arena)i), sizeof(float));
        complete = complete && s->arenas[i];
    }
    if (!complete || !s->tracked || !s->tensors || !s->destinations || !s->names) {
        tr_state_fini(s);
        return -ENOMEM;
    }
    fill_table(s, model);
    return 0;
}

int tr_state_init(struct tr_state *s, struct tr_network *net)
{
    return init(s, net, false);
}

int tr_state_init_shadow(struct tr_state *s, struct tr_network *net, struct im_text *text)
{
    int err = tr_network_shadow_open(net, saved_arenas(net), text);

    if (err < 0)
        return err;
    err = init(s, net, true);
    return err < 0 ? im_fail(text, err, "no memory for a snapshot") : 0;
}

void tr_state_fini(struct tr_state *s)
{
    for (int i = 0; i < TR_ARENA_COUNT && !s->borrows; i++)
        free(s->arenas[i]);
    if (s->borrows)
        tr_network_shadow_close(s->net);
    free(s->tensors);
    free(s->destinations);
    free(s->names);
    free(s->tracked);
    free(s->classes);
    *s = (struct tr_state){0};
}

void tr_state_name_classes(struct tr_state *s, char *classes)
{
    free(s->classes);
    s->classes = classes;
}

int tr_state_collect(struct tr_state *s, struct im_text *text)
{
    int err = 0;

    for (int i = 0; i < TR_ARENA_COUNT && err == 0; i++)
        if (s->arenas[i])
            err = tr_network_read(s->net, (enum tr_arena)i, s->arenas[i]);
    if (err < 0)
        return im_fail(text, err, "cannot copy the network from the device: %s", strerror(-err));
    *s->tracked = tr_network_tracked(s->net);
    return 0;
}

int tr_state_take(struct tr_state *s, struct im_text *text)
{
    im_assert(s->borrows);
    *s->tracked = tr_network_tracked(s->net);
    return tr_network_shadow_take(s->net, text);
}

/* Tensors of a state whose position has this value of TR_POSITION_WINDOW. */
static size_t tensor_count(const struct tr_state *s, const char *window)
{
    return window && strcmp(window, "0") != 0 ? s->window_count : s->count;
}

/* The position's, and the classes' names. */
enum { STATE_PAIRS = TR_POSITION_PAIRS + 1 };

/* pairs: room for STATE_PAIRS. */
static struct tr_checkpoint_content content_of(const struct tr_state *s,
                                               const struct tr_position_text *position, struct tr_pair *pairs)
{
    size_t count = tr_position_pairs(position, pairs);
    const char *window = NULL;

    for (size_t i = 0; i < count; i++)
        if (strcmp(pairs[i].key, TR_POSITION_WINDOW) == 0)
            window = pairs[i].value;
    if (s->classes)
        pairs[count++] = (struct tr_pair){TR_CLASSES_KEY, s->classes};
    return (struct tr_checkpoint_content){
        .tensors = s->tensors,
        .tensor_count = tensor_count(s, window),
        .metadata = pairs,
        .metadata_count = count,
    };
}

int tr_state_save(struct tr_state *s, struct tr_checkpoint_store *store,
                  const struct tr_position_text *position, int epoch, unsigned best, struct im_text *text)
{
    struct tr_pair pairs[STATE_PAIRS];
    const struct tr_checkpoint_content content = content_of(s, position, pairs);

    return tr_checkpoint_save(store, &content, epoch, best, text);
}

int tr_state_put(struct tr_state *s, const char *name, const struct tr_sink *sink,
                 const struct tr_position_text *position, struct im_text *text)
{
    int err = tr_state_collect(s, text);

    return err < 0 ? err : tr_state_put_collected(s, name, sink, position, text);
}

int tr_state_put_collected(const struct tr_state *s, const char *name, const struct tr_sink *sink,
                           const struct tr_position_text *position, struct im_text *text)
{
    struct tr_pair pairs[STATE_PAIRS];
    const struct tr_checkpoint_content content = content_of(s, position, pairs);

    return tr_checkpoint_put(name, sink, &content, text);
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
    struct tr_pair pairs[STATE_PAIRS];
    struct tr_checkpoint_content content;

    for (size_t i = 0; i < longest.count; i++) {
        memset(longest.value[i], '9', sizeof longest.value[i] - 1);
        longest.value[i][sizeof longest.value[i] - 1] = 0;
    }
    content = content_of(s, &longest, pairs);
    *ret_bytes = 0;
    return tr_checkpoint_put("a snapshot", &sink, &content, text);
}

uint64_t tr_state_bytes_of_window(const struct tr_state *s)
{
    const uint64_t floats =
        tr_network_floats(s->net, TR_ARENA_PARAMS) + tr_network_floats(s->net, TR_ARENA_STATS);

    return s->arenas[TR_ARENA_SUM] ? 0 : floats * sizeof(float) + s->count * WINDOW_HEADER_BYTES;
}

/* Of the host's copies, which tr_state_collect() fills. */
static void hash_arenas(const struct tr_state *s, uint64_t ret_hashes[TR_STATE_KINDS])
{
    static const int kind[TR_ARENA_COUNT] = {
        [TR_ARENA_PARAMS] = TR_STATE_PARAMETERS,    [TR_ARENA_MOMENTUM] = TR_STATE_OPTIMIZER,
        [TR_ARENA_SECOND] = TR_STATE_OPTIMIZER,     [TR_ARENA_SUM] = TR_STATE_OPTIMIZER,
        [TR_ARENA_EMA] = TR_STATE_AVERAGES,         [TR_ARENA_STATS] = TR_STATE_STATISTICS,
        [TR_ARENA_EMA_STATS] = TR_STATE_STATISTICS, [TR_ARENA_STATS_BEFORE] = TR_STATE_BEFORE,
    };

    memset(ret_hashes, 0, TR_STATE_KINDS * sizeof *ret_hashes);
    for (int i = 0; i < TR_ARENA_COUNT; i++) {
        uint64_t *hash = &ret_hashes[kind[i]]; /* one arena's is the seed of the next */

        if (s->arenas[i])
            *hash =
                im_hash64(s->arenas[i], tr_network_floats(s->net, (enum tr_arena)i) * sizeof(float), *hash);
    }
}

int tr_state_hashes(struct tr_state *s, uint64_t ret_hashes[TR_STATE_KINDS], struct im_text *text)
{
    int err = tr_state_collect(s, text);

    hash_arenas(s, ret_hashes);
    return err;
}

/* What the network holds now must be what the file, whose checksums were right, said. */
static int check_restored(struct tr_state *s, struct im_text *text)
{
    uint64_t said[TR_STATE_KINDS], has[TR_STATE_KINDS];
    int err;

    hash_arenas(s, said);
    err = tr_state_hashes(s, has, text);
    if (err == 0 && memcmp(said, has, sizeof has) != 0)
        err = im_fail(
            text, -EIO,
            "the network is not what the checkpoint says after it was copied to the device: its memory "
            "may be faulty");
    return err;
}

static bool has_prefix(const struct tr_safetensors *file, const char *prefix)
{
    bool has = false;

    for (size_t i = 0; i < tr_safetensors_count(file) && !has; i++)
        has = strncmp(tr_safetensors_at(file, i)->name, prefix, strlen(prefix)) == 0;
    return has;
}

/* A window that begins again takes the statistics from before it: its batches come a second time. */
static int restore_before(struct tr_state *s, const struct tr_safetensors *from, struct im_text *text)
{
    const struct tr_model *model = tr_network_model(s->net);
    char name[TR_TENSOR_NAME_MAX + 24];

    for (int i = 0; i < model->tensor_count; i++) {
        const struct tr_param_tensor *t = &model->tensors[i];
        const struct tr_tensor *before;
        size_t bytes = 0;

        if (tr_tensor_home(t) != TR_HOME_STATS)
            continue;
        snprintf(name, sizeof name, "%s%s", BEFORE_PREFIX, t->name);
        before = tr_safetensors_find(from, name);
        if (!before || before->dtype != TR_F32 || tr_tensor_bytes(before, &bytes) < 0 ||
            bytes != t->count * sizeof(float))
            return im_fail(text, -EBADMSG, "the checkpoint has no %s, or another", name);
        memcpy(s->arenas[TR_ARENA_STATS] + t->offset, before->data, bytes);
    }
    return 0;
}

/* Before 0.3 a window's state did not hold the statistics before it: they are then taken as they are. */
int tr_state_restore(struct tr_state *s, const struct tr_safetensors *from, bool window, struct im_text *text)
{
    static const char *const of_window[] = {GRADIENT_PREFIX, BEFORE_PREFIX, NULL};
    const bool old = window && !has_prefix(from, BEFORE_PREFIX);
    const size_t count = old ? s->old_window_count : window ? s->window_count : s->count;
    int err =
        tr_checkpoint_restore(from, s->tensors, s->destinations, count, window ? NULL : of_window, text);

    if (err == 0 && old && s->arenas[TR_ARENA_STATS_BEFORE])
        memcpy(s->arenas[TR_ARENA_STATS_BEFORE], s->arenas[TR_ARENA_STATS],
               tr_network_floats(s->net, TR_ARENA_STATS) * sizeof(float));

    if (err == 0 && !window && has_prefix(from, BEFORE_PREFIX))
        err = restore_before(s, from, text);
    for (int i = 0; i < TR_ARENA_COUNT && err == 0; i++) {
        if (!s->arenas[i])
            continue;
        err = tr_network_write(s->net, (enum tr_arena)i, s->arenas[i]);
        if (err < 0)
            im_fail(text, err, "cannot copy the network to the device: %s", strerror(-err));
    }
    if (err == 0)
        tr_network_set_tracked(s->net, *s->tracked);
    return err < 0 ? err : check_restored(s, text);
}
