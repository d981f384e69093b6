/* Checks all tensors, then copies all: a file that does not fit changes nothing. */
#include "trainer/checkpoint/import.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/foreign.h"
#include "trainer/checkpoint/seal.h"
#include "trainer/checkpoint/torch_file.h"
#include "trainer/checkpoint/torch_open.h"
#include "trainer/checkpoint/values.h"

enum { NAMED_MAX = 4 }; /* mismatches named in the error: of the model's tensors, and as many of others */

static bool is_head(const struct tr_param_tensor *t)
{
    return t->kind == TR_TENSOR_FC_WEIGHT || t->kind == TR_TENSOR_FC_BIAS;
}

static const struct tr_param_tensor *find_tensor(const struct tr_model *m, const char *name)
{
    for (int i = 0; i < m->tensor_count; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    return NULL;
}

/* "[10, 2048]" */
struct shape_text {
    char s[128];
};

static struct shape_text shape_text(int rank, const uint64_t *shape)
{
    struct shape_text t = {"["};
    size_t used = 1;

    for (int i = 0; i < rank && used < sizeof t.s; i++)
        used += (size_t)snprintf(t.s + used, sizeof t.s - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)shape[i]);
    if (used < sizeof t.s)
        snprintf(t.s + used, sizeof t.s - used, "]");
    return t;
}

static bool same_shape(const struct tr_tensor *theirs, const struct tr_param_tensor *ours)
{
    bool same = theirs->rank == ours->rank;

    for (int i = 0; same && i < ours->rank; i++)
        same = theirs->shape[i] == (uint64_t)ours->shape[i];
    return same;
}

static bool same_type(const struct tr_tensor *theirs, const struct tr_param_tensor *ours)
{
    if (tr_tensor_home(ours) == TR_HOME_COUNTER)
        return theirs->dtype == TR_I64;
    return theirs->dtype == TR_F32 || theirs->dtype == TR_F64 || theirs->dtype == TR_F16 ||
           theirs->dtype == TR_BF16;
}

static void name_missing(const struct tr_safetensors *file, const struct tr_model *model,
                         const struct tr_param_tensor *ours, char *line, size_t size)
{
    const struct tr_tensor *near = tr_foreign_nearest(file, model, ours);

    if (near)
        snprintf(line, size, "%s is missing (the file has %.150s %s)", ours->name, near->name,
                 shape_text(near->rank, near->shape).s);
    else
        snprintf(line, size, "%s is missing", ours->name);
}

/* The mismatch of a model's tensor in the file; an empty line: none. */
static void compare_tensor(const struct tr_safetensors *file, const struct tr_model *model,
                           const struct tr_param_tensor *ours, char *line, size_t size)
{
    const struct tr_tensor *theirs = tr_safetensors_find(file, ours->name);
    uint64_t shape[4] = {0};

    line[0] = '\0';
    for (int i = 0; i < ours->rank; i++)
        shape[i] = (uint64_t)ours->shape[i];
    if (!theirs) {
        if (tr_tensor_home(ours) != TR_HOME_COUNTER)
            name_missing(file, model, ours, line, size);
    } else if (!same_shape(theirs, ours)) {
        snprintf(line, size, "%s is %s, the model has %s", ours->name,
                 shape_text(theirs->rank, theirs->shape).s, shape_text(ours->rank, shape).s);
    } else if (!same_type(theirs, ours)) {
        snprintf(line, size, "%s is of type %s", ours->name, tr_dtype_name(theirs->dtype));
    }
}

static bool is_state(const struct tr_safetensors *file)
{
    for (size_t i = 0; i < tr_safetensors_count(file); i++)
        if (strncmp(tr_safetensors_at(file, i)->name, TR_CHECKPOINT_STATE_PREFIX,
                    strlen(TR_CHECKPOINT_STATE_PREFIX)) == 0)
            return true;
    return false;
}

int tr_import_open(const char *path, const struct tr_model *model, struct tr_safetensors **ret,
                   struct im_text *note, struct im_text *text)
{
    struct im_text why = {""};
    int err = tr_weights_open(path, ret, text);
    const char *from;

    if (err < 0)
        return err;
    if (tr_safetensors_metadata(*ret, TR_SEAL_CRC_KEY)) /* written by imsuper */
        err = is_state(*ret) ? im_fail(text, -EBADMSG,
                                       "%.300s is a training state; take the weights beside it "
                                       "(last.safetensors, best.safetensors)",
                                       path)
                             : tr_seal_verify(path, *ret, text);
    if (err == 0) {
        err = tr_foreign_names(*ret, model, note, &why);
        if (err < 0)
            im_fail(text, err, "%.200s: %s", path, why.s);
    }
    from = tr_safetensors_metadata(*ret, TR_TORCH_FROM_KEY);
    if (err == 0 && from && *from)
        im_fail(note, 0, "%.300s%s%.600s", from, note->s[0] ? "; " : "", note->s);
    if (err < 0)
        tr_safetensors_close(ret);
    return err;
}

size_t tr_import_check(const struct tr_safetensors *file, const struct tr_model *model, bool skip_head,
                       tr_import_report *say, void *argument)
{
    size_t misfits = 0;
    char line[512];

    for (int i = 0; i < model->tensor_count; i++) {
        const struct tr_param_tensor *ours = &model->tensors[i];

        if (skip_head && is_head(ours))
            continue;
        compare_tensor(file, model, ours, line, sizeof line);
        if (!line[0])
            continue;
        misfits++;
        if (say)
            say(argument, true, line);
    }
    for (size_t i = 0; i < tr_safetensors_count(file); i++) {
        const struct tr_tensor *theirs = tr_safetensors_at(file, i);

        if (find_tensor(model, theirs->name) || tr_foreign_is_bookkeeping(theirs))
            continue;
        misfits++;
        snprintf(line, sizeof line, "%.200s %s is not in the model", theirs->name,
                 shape_text(theirs->rank, theirs->shape).s);
        if (say)
            say(argument, false, line);
    }
    return misfits;
}

/* The first mismatches of each kind, in one line. */
struct listing {
    char s[900];
    size_t used;
    int lines[2]; /* of tensors of others, of the model */
};

static void list_mismatch(void *argument, bool is_ours, const char *line)
{
    struct listing *l = argument;

    if (l->lines[is_ours]++ < NAMED_MAX && l->used < sizeof l->s)
        l->used += (size_t)snprintf(l->s + l->used, sizeof l->s - l->used, "%s%s", l->used ? "; " : "", line);
}

size_t tr_import_values(const struct tr_safetensors *file, const struct tr_model *m, bool skip_head,
                        float *params, float *stats, int64_t *ret_tracked)
{
    size_t loaded = 0;

    *ret_tracked = 0;
    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        const struct tr_tensor *from = tr_safetensors_find(file, t->name);
        float *to = (tr_tensor_home(t) == TR_HOME_STATS ? stats : params) + t->offset;

        if (!from || (skip_head && is_head(t)))
            continue;
        loaded++;
        if (tr_tensor_home(t) == TR_HOME_COUNTER)
            memcpy(ret_tracked, from->data, sizeof *ret_tracked);
        for (size_t k = 0; tr_tensor_home(t) != TR_HOME_COUNTER && k < t->count; k++)
            to[k] = tr_dtype_element(from->dtype, from->data, k);
    }
    return loaded;
}

/* Weights that diverged, or do not fit the type that the run computes in. */
static int refuse_values(const char *path, const struct tr_network *net, const float *params,
                         const float *stats, struct im_text *text)
{
    const struct tr_bad_values bad =
        tr_values_bad(tr_network_model(net), params, stats, tr_network_precision(net));

    return bad.count == 0
               ? 0
               : im_fail(text, -EBADMSG, "cannot begin from %.200s: %s", path, tr_values_say(&bad).s);
}

static int load_tensors(const char *path, const struct tr_safetensors *file, struct tr_network *net,
                        bool skip_head, size_t *ret_loaded, struct im_text *text)
{
    const struct tr_model *m = tr_network_model(net);
    float *params = calloc(m->param_floats, sizeof *params), *stats = calloc(m->stat_floats, sizeof *stats);
    int64_t tracked = 0;
    int err = params && stats ? tr_network_read(net, TR_ARENA_PARAMS, params) : -ENOMEM;

    if (err == 0) {
        *ret_loaded = tr_import_values(file, m, skip_head, params, stats, &tracked);
        err = refuse_values(path, net, params, stats, text);
    }
    if (err == 0)
        err = tr_network_write(net, TR_ARENA_PARAMS, params);
    if (err == 0)
        err = tr_network_write(net, TR_ARENA_STATS, stats);
    if (err == 0 && tr_network_floats(net, TR_ARENA_EMA) > 0)
        err = tr_network_reset_averages(net);
    if (err == 0)
        tr_network_set_tracked(net, tracked);
    free(params);
    free(stats);
    return err;
}

int tr_import(const char *path, struct tr_network *net, bool skip_head, size_t *ret_loaded,
              struct im_text *note, struct im_text *text)
{
    const struct tr_model *m = tr_network_model(net);
    struct tr_safetensors *file = NULL;
    struct listing misfits = {.used = 0};
    int err = tr_import_open(path, m, &file, note, text);
    size_t count;

    if (err < 0)
        return err;
    count = tr_import_check(file, m, skip_head, list_mismatch, &misfits);
    if (count > 0)
        err = im_fail(text, -EBADMSG, "%zu tensor%s of %.200s do%s not fit %s with %d classes: %s%s%s", count,
                      count == 1 ? "" : "s", path, count == 1 ? "es" : "", m->name, m->classes, misfits.s,
                      misfits.lines[0] > NAMED_MAX || misfits.lines[1] > NAMED_MAX
                          ? "; and more (imsuper model --init-from lists them all)"
                          : "",
                      tr_import_check(file, m, true, NULL, NULL) == 0
                          ? "; --init-skip-head loads all but the classifier"
                          : "");
    else
        err = load_tensors(path, file, net, skip_head, ret_loaded, text);
    if (err < 0 && err != -EBADMSG)
        im_fail(text, err, "cannot load %.200s: %s", path, strerror(-err));
    tr_safetensors_close(&file);
    return err;
}
