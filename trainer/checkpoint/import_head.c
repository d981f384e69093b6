#include "trainer/checkpoint/import_head.h"

#include <inttypes.h>

#include "ipc/base/err.h"
#include "trainer/checkpoint/classes.h"
#include "trainer/checkpoint/import.h"

static bool fits(const struct tr_tensor *theirs, const struct tr_param_tensor *ours, struct im_text *why)
{
    bool same = theirs && theirs->rank == ours->rank;

    for (int i = 0; same && i < ours->rank; i++)
        same = theirs->shape[i] == (uint64_t)ours->shape[i];
    if (!same && !theirs)
        im_fail(why, 0, "the file has none");
    else if (!same && theirs->rank > 0)
        im_fail(why, 0, "the file's is for %" PRIu64 " classes", theirs->shape[0]);
    return same;
}

int tr_import_head_fits(const char *path, const struct tr_model *model, const char *classes, bool *ret_fits,
                        struct im_text *why, struct im_text *text)
{
    struct tr_safetensors *file = NULL;
    struct im_text note = {""};
    int err = tr_import_open(path, model, &file, &note, text);

    *ret_fits = true;
    for (int i = 0; err == 0 && i < model->tensor_count && *ret_fits; i++) {
        const struct tr_param_tensor *t = &model->tensors[i];

        if (t->kind == TR_TENSOR_FC_WEIGHT || t->kind == TR_TENSOR_FC_BIAS)
            *ret_fits = fits(tr_safetensors_find(file, t->name), t, why);
    }
    tr_safetensors_close(&file);
    if (err == 0 && *ret_fits)
        *ret_fits = !tr_classes_are_others(path, classes, why);
    return err;
}
