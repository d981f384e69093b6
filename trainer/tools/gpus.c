#include "trainer/tools/gpus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/backends/cuda/module.h"
#include "trainer/comm/comm.h"

#define GPUS_MAX 256

static void set_version(struct im_json *j, const char *key, int version)
{
    char s[24];

    snprintf(s, sizeof s, "%d.%d", version / 1000, version % 1000 / 10);
    im_json_set_str(j, key, s);
}

static struct im_json *gpu_json(const struct tr_gpu_properties *f)
{
    struct im_json *j = im_json_object();

    im_json_set_int(j, "index", f->index);
    im_json_set_str(j, "name", f->name);
    im_json_set_str(j, "uuid", f->uuid);
    im_json_set_str(j, "pci", f->bus_id);
    im_json_set_int(j, "sm", f->sm);
    im_json_set_int(j, "sm_count", f->sm_count);
    im_json_set_int(j, "memory_bytes", (int64_t)f->memory_bytes);
    /* CUDA names an instance "NVIDIA A100-SXM4-40GB MIG 1g.5gb". */
    im_json_set_bool(j, "mig", strstr(f->name, " MIG ") != NULL);
    return j;
}

/* Error code for callers that only check whether a GPU is absent. */
static const char *word_of(int err)
{
    return err == -ENOSYS ? "no module" : err == -ENODEV ? "no device" : err < 0 ? "failed" : "ok";
}

/* Whether NCCL is usable, so that several GPUs can train together. */
static void look_for_nccl(struct im_json *j, const struct tr_comm_ops *comm)
{
    struct im_text why = {0};
    int err = !comm         ? im_fail(&why, -ENOSYS,
                                      "the CUDA backend was built without NCCL, which training on several GPUs "
                                              "needs; use one GPU (--gpus 1), or install NCCL 2 with its header and rebuild")
              : comm->check ? comm->check(&why)
                            : 0;

    im_json_set_bool(j, "nccl", err == 0);
    if (err < 0)
        im_json_set_str(j, "nccl_why", why.s);
}

static int fill(struct im_json *j, struct im_json *list, struct im_text *text)
{
    const struct tr_cuda_table *module;
    int count = 0, err = tr_cuda_load(&module, text);

    if (err == 0 && !module->backend)
        err = im_fail(text, -ENOSYS, "this build's " TR_CUDA_FILE " contains no backend");
    if (err == 0)
        err = module->gpu_count(&count, text);
    for (int i = 0; i < count && i < GPUS_MAX && err == 0; i++) {
        struct tr_gpu_properties properties = {0};

        err = module->gpu_query(i, &properties, text);
        if (err < 0)
            break;
        if (i == 0) {
            set_version(j, "driver", properties.driver);
            set_version(j, "runtime", properties.runtime);
        }
        im_json_append(list, gpu_json(&properties));
    }
    if (err == 0 && module->libraries)
        err = module->libraries(text);
    if (err == 0 && count > 1)
        look_for_nccl(j, module->comm);
    return err;
}

int tr_cmd_gpus(struct im_conf *conf)
{
    struct im_json *j = im_json_object(), *list = im_json_array();
    struct im_text text = {0};
    int err = fill(j, list, &text);

    (void)conf;
    im_json_set_str(j, "schema", "imsuper.gpus/1");
    im_json_set_str(j, "code", word_of(err));
    if (err < 0)
        im_json_set_str(j, "why", text.s[0] ? text.s : strerror(-err));
    im_json_set(j, "gpus", list);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err < 0 ? IM_EXIT_FAILED : IM_EXIT_OK;
}
