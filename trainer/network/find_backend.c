/* The list of backends. A backend that this build or this machine lacks is an error with a sentence; never
 * falls back to another. */
#include <errno.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/module.h"

static int find_cuda(const struct tr_backend_ops **ret_ops, struct im_text *text)
{
    const struct tr_cuda_table *table;
    int err = tr_cuda_load(&table, text);

    if (err < 0)
        return err;
    if (!table->backend)
        return im_fail(text, -ENOSYS, "this build's " TR_CUDA_FILE " contains no backend");
    *ret_ops = table->backend;
    return 0;
}

int tr_backend_find(const char *name, const struct tr_backend_ops **ret_ops, struct im_text *text)
{
    static const struct tr_backend_ops *const known[] = {
#ifdef IMSUPER_ONEDNN
        &tr_backend_onednn,
#endif
        &tr_backend_ref};

    for (size_t i = 0; i < IM_COUNT(known); i++) {
        if (strcmp(known[i]->name, name) == 0) {
            *ret_ops = known[i];
            return 0;
        }
    }
    if (strcmp(name, "cuda") == 0)
        return find_cuda(ret_ops, text);
#ifndef IMSUPER_ONEDNN
    if (strcmp(name, "onednn") == 0)
        return im_fail(text, -ENOENT,
                       "this build has no oneDNN: configure with -D IMSUPER_ONEDNN=on, or use --backend ref, "
                       "which is far slower");
#endif
    return im_fail(text, -ENOENT, "there is no trainer backend \"%s\"; choose cuda, onednn or ref", name);
}
