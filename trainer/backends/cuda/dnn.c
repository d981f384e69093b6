/* Plans of convolutions and batch norm, and their runs.
 *
 * Layers with the same operation, shape and type share one choice of an engine, so that it is made once: the
 * 53 convolutions of a ResNet-50 are 23 different ones. A choice is a cuDNN graph, the engines that can run
 * it, and one plan: at first that of the first engine that works, after tr_dnn_tune() that of the
 * fastest. */
#include "trainer/backends/cuda/dnn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"
#include "kernels/cuda/pointwise.h"
#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/dnn_impl.h"

struct tr_dnn_conv {
    struct tr_dnn_choice *choice;
    bool apart;
};

struct tr_dnn_norm {
    struct tr_dnn_choice *choice;
    enum tr_dnn_norm_kind kind;
};

int tr_dnn_open(const struct tr_dnn_config *config, struct tr_dnn **ret_dnn, struct im_text *text)
{
    const struct tr_gpu_properties *gpu = tr_gpu_properties(config->gpu);
    struct tr_dnn *dnn = calloc(1, sizeof *dnn);
    char scope[160];
    int err;

    if (!dnn)
        return im_fail(text, -ENOMEM, "no memory for cuDNN plans");
    dnn->config = *config;
    if (!dnn->config.workspace_limit)
        dnn->config.workspace_limit = TR_DNN_WORKSPACE;
    dnn->gpu = config->gpu;
    dnn->epsilon = TR_BN_EPS;
    dnn->factor = TR_BN_MOMENTUM;
    err = tr_cudnn_open(tr_gpu_stream(dnn->gpu, TR_GPU_COMPUTE), &dnn->cudnn, text);
    if (err < 0) {
        tr_dnn_close(dnn);
        return err;
    }
    dnn->stats.version = tr_cudnn_version();
    snprintf(scope, sizeof scope, "cudnn %d, %.80s, sm %d x %d", dnn->stats.version, gpu->name, gpu->sm,
             gpu->sm_count);
    err = tr_plan_cache_open(config->cache, scope, &dnn->known);
    if (err < 0) {
        tr_dnn_close(dnn);
        return im_fail(text, err, "no memory for the plan cache");
    }
    *ret_dnn = dnn;
    return 0;
}

static void room_free(struct tr_dnn *dnn, struct tr_dnn_room *r)
{
    tr_gpu_memory_free(dnn->gpu, r->workspace);
    tr_gpu_memory_free(dnn->gpu, r->rounded);
}

void tr_dnn_close(struct tr_dnn *dnn)
{
    if (!dnn)
        return;
    im_assert(dnn->choice_count == 0);
    room_free(dnn, &dnn->room);
    room_free(dnn, &dnn->apart);
    free(dnn->choices);
    tr_plan_cache_close(dnn->known);
    tr_cudnn_close(dnn->cudnn);
    free(dnn);
}

void tr_dnn_stats(const struct tr_dnn *dnn, struct tr_dnn_stats *ret_stats)
{
    *ret_stats = dnn->stats;
    ret_stats->workspace_bytes = dnn->room.workspace_bytes;
    ret_stats->apart_bytes = dnn->apart.workspace_bytes;
}

static void choice_free(struct tr_dnn_choice *c)
{
    tr_cudnn_plan_free(c->plan);
    for (int i = 0; i < TR_DNN_FORMULATIONS; i++)
        tr_cudnn_graph_free(c->formulations[i]);
    free(c);
}

int tr_dnn_select(struct tr_dnn_choice *c, int formulation, int engine, struct im_text *text)
{
    struct tr_cudnn_plan *plan;
    int err;

    if (c->plan && c->formulation == formulation && c->engine == engine)
        return 0;
    err = tr_cudnn_plan_new(c->formulations[formulation], engine, &plan, text);
    if (err < 0)
        return err;
    tr_cudnn_plan_free(c->plan);
    c->plan = plan;
    c->formulation = formulation;
    c->engine = engine;
    snprintf(c->name, sizeof c->name, "%d/%s", formulation, tr_cudnn_plan_name(plan));
    return 0;
}

int tr_dnn_adopt(struct tr_dnn *dnn, struct tr_dnn_choice *c, int formulation, int engine,
                 const struct tr_cudnn_saved *saved)
{
    const struct tr_dnn_graph *g = &c->graphs[formulation];
    struct tr_cudnn_plan *plan;
    int err =
        tr_cudnn_plan_load(dnn->cudnn, g->tensors, g->tensor_count, g->ops, g->op_count, saved, &plan, NULL);

    if (err < 0)
        return err;
    tr_cudnn_plan_free(c->plan);
    c->plan = plan;
    c->formulation = formulation;
    c->engine = engine;
    snprintf(c->name, sizeof c->name, "%d/%s", formulation, saved->name);
    return 0;
}

void tr_dnn_trim(struct tr_dnn_choice *c)
{
    for (int formulation = 0; formulation < TR_DNN_FORMULATIONS; formulation++)
        if (c->formulations[formulation])
            tr_cudnn_graph_trim(c->formulations[formulation], formulation == c->formulation ? c->engine : -1);
}

/* The formulation that a choice's name begins with. */
static int formulation_of(const char *name)
{
    int formulation = *name - '0';

    return formulation >= 0 && formulation < TR_DNN_FORMULATIONS && name[1] == '/' ? formulation : -1;
}

/* Restores the plan from the cache, compiled code included. */
static bool load_cached(struct tr_dnn *dnn, struct tr_dnn_choice *c, int formulation, const char *name)
{
    struct tr_cudnn_saved saved = {.name = name + 2, .workspace_limit = dnn->config.workspace_limit};
    char *bytes;
    int err;

    if (tr_plan_cache_load(dnn->known, c->key, name, &bytes, &saved.n) < 0)
        return false;
    saved.bytes = bytes;
    err = tr_dnn_adopt(dnn, c, formulation, -1, &saved);
    free(bytes);
    return err == 0;
}

/* Uses the cached engine, if it is still listed and still works. */
static bool use_cached_engine(struct tr_dnn *dnn, struct tr_dnn_choice *c, int formulation, const char *name)
{
    if (tr_dnn_list_engines(dnn, c, formulation, NULL) < 0)
        return false;
    for (int i = 0; i < tr_cudnn_graph_engines(c->formulations[formulation]); i++)
        if (strcmp(tr_cudnn_graph_engine(c->formulations[formulation], i), name + 2) == 0)
            return tr_dnn_select(c, formulation, i, NULL) == 0;
    return false;
}

static int take_first(struct tr_dnn_choice *c, int formulation, struct im_text *text)
{
    for (int i = 0; c->formulations[formulation] && i < tr_cudnn_graph_engines(c->formulations[formulation]);
         i++)
        if (tr_dnn_select(c, formulation, i, text) == 0)
            return 0;
    return -ENOTSUP;
}

static struct tr_dnn_choice *find_choice(struct tr_dnn *dnn, const char *key)
{
    for (int i = 0; i < dnn->choice_count; i++)
        if (strcmp(dnn->choices[i]->key, key) == 0)
            return dnn->choices[i];
    return NULL;
}

static int keep_choice(struct tr_dnn *dnn, struct tr_dnn_choice *c)
{
    int room = dnn->choice_room ? 2 * dnn->choice_room : 64;
    struct tr_dnn_choice **grown;

    if (dnn->choice_count == dnn->choice_room) {
        grown = realloc(dnn->choices, (size_t)room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        dnn->choices = grown;
        dnn->choice_room = room;
    }
    dnn->choices[dnn->choice_count++] = c;
    dnn->stats.plans++;
    return 0;
}

int tr_dnn_list_engines(struct tr_dnn *dnn, struct tr_dnn_choice *c, int formulation, struct im_text *text)
{
    const struct tr_cudnn_rules rules = tr_dnn_rules(dnn, c);
    const struct tr_dnn_graph *g = &c->graphs[formulation];

    if (c->formulations[formulation])
        return 0;
    return tr_cudnn_graph_new(dnn->cudnn, g->tensors, g->tensor_count, g->ops, g->op_count, &rules,
                              &c->formulations[formulation], text);
}

/* A cached choice was timed, or is the first for `deterministic`, and checked, with this version of cuDNN on
 * the same model of GPU. */
bool tr_dnn_plan_from_cache(struct tr_dnn *dnn, struct tr_dnn_choice *c)
{
    struct tr_plan_choice known;
    int formulation;
    char name[sizeof c->name];

    if (!tr_plan_cache_find(dnn->known, c->key, &known))
        return false;
    snprintf(name, sizeof name, "%s", known.engine);
    formulation = formulation_of(name);
    if (formulation < 0 || formulation >= c->formulation_count)
        return false;
    if (!load_cached(dnn, c, formulation, name)) {
        if (!use_cached_engine(dnn, c, formulation, name))
            return false;
        tr_dnn_trim(c);
    }
    c->ns = known.ns;
    c->tried = known.tried;
    c->listed = known.listed;
    return true;
}

/* Finds an engine that works: the cached one, or the first of the first formulation that has one. */
static int plan_choice(struct tr_dnn *dnn, struct tr_dnn_choice *c, struct im_text *text)
{
    int err = tr_dnn_report_progress(dnn, c->key, dnn->stats.plans + 1, 0), turn;
    bool known = err == 0 && tr_dnn_plan_from_cache(dnn, c);

    if (err == 0 && !known) {
        turn = tr_dnn_lock(dnn);
        err = turn < 0 ? turn : 0;
        known = turn > 0 && tr_dnn_plan_from_cache(dnn, c);
    }
    if (err == 0 && !known)
        err = -ENOTSUP;
    for (int formulation = 0; formulation < c->formulation_count && err == -ENOTSUP; formulation++) {
        err = tr_dnn_list_engines(dnn, c, formulation, text);
        if (err == 0)
            err = take_first(c, formulation, text);
    }
    c->timed = known || dnn->config.deterministic;
    c->checked = known || !c->adds;
    dnn->stats.cached += known;
    if (err == 0 && c->timed && c->checked && !known)
        tr_dnn_cache_store_first(dnn, c);
    return err;
}

/* The choice for a key: an existing one, or a new one for the graphs in `draft`. */
static int get_choice(struct tr_dnn *dnn, const struct tr_dnn_choice *draft,
                      struct tr_dnn_choice **ret_choice, struct im_text *text)
{
    struct tr_dnn_choice *c = find_choice(dnn, draft->key);
    struct im_text why = {0};
    int err;

    if (!c) {
        c = malloc(sizeof *c);
        if (!c)
            return im_fail(text, -ENOMEM, "no memory for a cuDNN plan");
        *c = *draft;
        err = plan_choice(dnn, c, &why);
        if (err == 0)
            err = keep_choice(dnn, c);
        if (err < 0) {
            im_fail(text, err, "%s cannot be planned: %.800s", draft->key, why.s);
            choice_free(c);
            return err;
        }
    }
    c->users++;
    *ret_choice = c;
    return 0;
}

static void release(struct tr_dnn *dnn, struct tr_dnn_choice *c)
{
    if (--c->users > 0)
        return;
    for (int i = 0; i < dnn->choice_count; i++)
        if (dnn->choices[i] == c) {
            dnn->choices[i] = dnn->choices[--dnn->choice_count];
            break;
        }
    choice_free(c);
}

/* Appends the constraints on engines to the key. */
static void name_rules(const struct tr_dnn *dnn, struct tr_dnn_choice *c)
{
    size_t length = strlen(c->key);

    snprintf(c->key + length, TR_DNN_KEY - length, "%s%s, workspace %zu MiB", c->exact ? ", exact" : "",
             dnn->config.deterministic ? ", deterministic" : "", dnn->config.workspace_limit >> 20);
}

int tr_dnn_conv_new(struct tr_dnn *dnn, const struct tr_dnn_conv_shape *s, enum tr_dnn_conv_kind kind,
                    enum imk_dtype type, struct tr_dnn_conv **ret_conv, struct im_text *text)
{
    static const char *const kinds[TR_DNN_CONV_KINDS] = {
        [TR_DNN_CONV_FORWARD] = "forward",
        [TR_DNN_CONV_BACKWARD_DATA] = "backward data",
        [TR_DNN_CONV_BACKWARD_ADD] = "backward data added",
        [TR_DNN_CONV_BACKWARD_WEIGHTS] = "backward weights",
    };
    bool adds = kind == TR_DNN_CONV_BACKWARD_ADD;
    struct tr_dnn_choice draft = {.formulation_count = adds ? 2 : 1,
                                  .adds = adds,
                                  .exact = type == IMK_F32 && !dnn->config.tf32,
                                  .type = type};
    struct tr_dnn_conv *conv = calloc(1, sizeof *conv);
    int err;

    if (!conv)
        return im_fail(text, -ENOMEM, "no memory for a convolution");
    snprintf(draft.key, sizeof draft.key, "conv %s %s, %d of %dx%dx%d -> %d, %dx%d stride %d pad %d",
             kinds[kind], tr_gpu_dtype_name(type), s->n, s->h, s->w, s->c, s->k, s->kernel, s->kernel,
             s->stride, s->pad);
    name_rules(dnn, &draft);
    tr_dnn_conv_graph(s, kind, type, false, &draft.graphs[0]);
    if (adds)
        tr_dnn_conv_graph(s, kind, type, true, &draft.graphs[1]);
    if (kind == TR_DNN_CONV_BACKWARD_WEIGHTS && type != IMK_F32)
        draft.rounded = (size_t)s->k * (size_t)s->c * (size_t)s->kernel * (size_t)s->kernel;
    err = get_choice(dnn, &draft, &conv->choice, text);
    if (err < 0) {
        free(conv);
        return err;
    }
    *ret_conv = conv;
    return 0;
}

void tr_dnn_conv_free(struct tr_dnn *dnn, struct tr_dnn_conv *conv)
{
    if (!conv)
        return;
    conv->choice->users_apart -= conv->apart;
    release(dnn, conv->choice);
    free(conv);
}

void tr_dnn_conv_set_apart(struct tr_dnn_conv *conv)
{
    conv->choice->users_apart += !conv->apart;
    conv->apart = true;
}

const char *tr_dnn_conv_kernel(const struct tr_dnn_conv *conv)
{
    return conv->choice->name;
}

static int run_choice(struct tr_dnn *dnn, struct tr_dnn_choice *c, void *const *memory, void *workspace)
{
    struct im_text text = {0};
    int err = tr_cudnn_plan_run(c->plan, memory, workspace, &text);

    return err < 0 ? tr_gpu_fail(dnn->gpu, err, "%s: %.800s", c->key, text.s) : 0;
}

static int widen(struct tr_dnn *dnn, const struct tr_dnn_choice *c, const void *rounded,
                 enum tr_gpu_stream_id stream, float *dw)
{
    const struct imk_cuda_cast cast = {
        .count = c->rounded, .x_type = c->type, .y_type = IMK_F32, .x = rounded, .y = dw};
    int err = imk_cuda_cast(&cast, tr_gpu_stream(dnn->gpu, stream));

    return err < 0 ? tr_gpu_fail(dnn->gpu, err, "%s: cannot cast the gradient", c->key) : 0;
}

/* Everything but runs that are apart expects cuDNN on COMPUTE. */
static int set_stream(struct tr_dnn *dnn, enum tr_gpu_stream_id stream)
{
    struct im_text text = {0};
    int err = tr_cudnn_set_stream(dnn->cudnn, tr_gpu_stream(dnn->gpu, stream), &text);

    return err < 0 ? tr_gpu_fail(dnn->gpu, err, "cuDNN: %.800s", text.s) : 0;
}

int tr_dnn_conv_run(struct tr_dnn *dnn, struct tr_dnn_conv *conv, void *x, void *w, void *y)
{
    const enum tr_gpu_stream_id stream = conv->apart ? TR_GPU_WEIGHTS : TR_GPU_COMPUTE;
    const struct tr_dnn_room *room = conv->apart ? &dnn->apart : &dnn->room;
    const struct tr_dnn_choice *c = conv->choice;
    void *memory[TR_CONV_TENSORS] = {[TR_CONV_X] = x,
                                     [TR_CONV_W] = c->rounded ? room->rounded : w,
                                     [TR_CONV_Y] = y,
                                     [TR_CONV_X_BEFORE] = x};
    int err = conv->apart ? set_stream(dnn, stream) : 0;

    if (err == 0)
        err = run_choice(dnn, conv->choice, memory, room->workspace);
    if (err == 0 && conv->apart)
        err = set_stream(dnn, TR_GPU_COMPUTE);
    return err == 0 && c->rounded ? widen(dnn, c, room->rounded, stream, w) : err;
}

int tr_dnn_norm_new(struct tr_dnn *dnn, const struct tr_dnn_norm_shape *s, enum tr_dnn_norm_kind kind,
                    enum imk_dtype type, bool add, bool relu, struct tr_dnn_norm **ret_norm,
                    struct im_text *text)
{
    struct tr_dnn_norm *norm = malloc(sizeof *norm);
    struct tr_dnn_choice draft = {.formulation_count = 1, .type = type};
    int err;

    if (!norm)
        return im_fail(text, -ENOMEM, "no memory for a batch norm");
    if (add && !relu) { /* cuDNN has no such pattern forward, and leaves dz unwritten backward */
        free(norm);
        return im_fail(text, -ENOTSUP, "a batch norm with an addition needs a ReLU after it");
    }
    snprintf(draft.key, sizeof draft.key, "norm %s %s, %d of %dx%dx%d%s%s",
             kind == TR_DNN_NORM_FORWARD ? "forward" : "backward", tr_gpu_dtype_name(type), s->n, s->h, s->w,
             s->c, add ? ", add" : "", relu ? ", relu" : "");
    name_rules(dnn, &draft);
    tr_dnn_norm_graph(s, kind, type, add, relu, &draft.graphs[0]);
    err = get_choice(dnn, &draft, &norm->choice, text);
    if (err < 0) {
        free(norm);
        return err;
    }
    norm->kind = kind;
    *ret_norm = norm;
    return 0;
}

void tr_dnn_norm_free(struct tr_dnn *dnn, struct tr_dnn_norm *norm)
{
    if (!norm)
        return;
    release(dnn, norm->choice);
    free(norm);
}

const char *tr_dnn_norm_kernel(const struct tr_dnn_norm *norm)
{
    return norm->choice->name;
}

/* cuDNN takes all addresses as void *; the graph defines which are written. */
static void *input(const void *memory)
{
    return (void *)(uintptr_t)memory;
}

int tr_dnn_norm_run(struct tr_dnn *dnn, struct tr_dnn_norm *norm, const struct tr_dnn_norm_args *a)
{
    void *forward[TR_NORM_FORWARD_TENSORS] = {
        [TR_NORM_X] = input(a->x),
        [TR_NORM_SCALE] = input(a->scale),
        [TR_NORM_BIAS] = input(a->bias),
        [TR_NORM_EPSILON] = &dnn->epsilon,
        [TR_NORM_Y] = a->y,
        [TR_NORM_MEAN] = a->mean,
        [TR_NORM_INV_DEV] = a->inv_dev,
        [TR_NORM_RUN_MEAN] = a->run_mean,
        [TR_NORM_RUN_VAR] = a->run_var,
        [TR_NORM_FACTOR] = &dnn->factor,
        [TR_NORM_NEW_MEAN] = a->run_mean,
        [TR_NORM_NEW_VAR] = a->run_var,
        [TR_NORM_Z] = input(a->z),
        [TR_NORM_MASK] = a->mask,
        [TR_NORM_ZERO] = &dnn->zero,
    };
    void *backward[TR_NORM_BACKWARD_TENSORS] = {
        [TR_NORM_BACK_X] = input(a->x),      [TR_NORM_BACK_MEAN] = a->mean,
        [TR_NORM_BACK_INV_DEV] = a->inv_dev, [TR_NORM_BACK_SCALE] = input(a->scale),
        [TR_NORM_BACK_DY] = input(a->dy),    [TR_NORM_BACK_DX] = a->dx,
        [TR_NORM_BACK_DSCALE] = a->dscale,   [TR_NORM_BACK_DBIAS] = a->dbias,
        [TR_NORM_BACK_MASK] = a->mask,       [TR_NORM_BACK_DZ] = a->dz,
    };

    return run_choice(dnn, norm->choice, norm->kind == TR_DNN_NORM_FORWARD ? forward : backward,
                      dnn->room.workspace);
}

/* Grows a buffer to at least this size; it may move. */
static int grow(struct tr_dnn *dnn, void **buffer, size_t *bytes, size_t want, bool *ret_moved,
                struct im_text *text)
{
    int err;

    if (want <= *bytes)
        return 0;
    tr_gpu_memory_free(dnn->gpu, *buffer);
    *buffer = NULL;
    *bytes = 0;
    err = tr_gpu_memory_new(dnn->gpu, want, "cuDNN's workspace", buffer, text);
    if (err < 0)
        return err;
    *bytes = want;
    if (ret_moved)
        *ret_moved = true;
    return 0;
}

/* Sizes a room for the current choices of its runs. */
static int size_room(struct tr_dnn *dnn, struct tr_dnn_room *room, bool *ret_moved, struct im_text *text)
{
    size_t workspace = 0, rounded = 0;
    int err;

    for (int i = 0; i < dnn->choice_count; i++) {
        const struct tr_dnn_choice *c = dnn->choices[i];
        size_t bytes = tr_cudnn_plan_workspace(c->plan), halves = c->rounded * imk_dtype_bytes(c->type);

        if ((room == &dnn->apart ? c->users_apart : c->users - c->users_apart) == 0)
            continue;
        workspace = bytes > workspace ? bytes : workspace;
        rounded = halves > rounded ? halves : rounded;
    }
    err = grow(dnn, &room->workspace, &room->workspace_bytes, workspace, ret_moved, text);
    return err < 0 ? err : grow(dnn, &room->rounded, &room->rounded_bytes, rounded, ret_moved, text);
}

int tr_dnn_tune(struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch, bool *ret_moved,
                struct im_text *text)
{
    im_ns start = im_now();
    int err;

    if (ret_moved)
        *ret_moved = false;
    err = tr_dnn_tune_all(dnn, scratch, text);
    if (err == 0)
        err = tr_dnn_tune_more(dnn, scratch, text);
    if (err == 0)
        err = size_room(dnn, &dnn->room, ret_moved, text);
    if (err == 0)
        err = size_room(dnn, &dnn->apart, ret_moved, text);
    if (err == 0 || err == -ECANCELED)
        tr_plan_cache_save(dnn->known,
                           NULL); /* failing to write the cache is not an error: the next run times again */
    tr_dnn_unlock(dnn);
    tr_dnn_report_progress(dnn, "", 0, 0);
    dnn->stats.timing_ns += im_now() - start;
    return err;
}
