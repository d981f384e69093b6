/* In place of imsuper-cuda.so: GPUs that are not there, and the program's own CPU backend to compute with, so
 * that everything around the computing can be tested on any machine. The environment says what it shows:
 *
 *   FAKE_GPUS=N         GPUs (2)
 *   FAKE_GPU_SM=N       their compute capability (90 is 9.0)
 *   FAKE_GPU_NAME=...   their name (NVIDIA H200)
 *   FAKE_CUDA=WHAT      how it fails: no_driver, old_driver, hang
 *
 * CUDA_VISIBLE_DEVICES is honoured for plain lists of numbers, as far as the count goes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/err.h"
#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/backends/cuda/module.h"
#include "trainer/comm/comm.h"

/* Of the program; those that do not train lack some. */
extern const struct tr_backend_ops tr_backend_onednn __attribute__((weak));
extern const struct tr_comm_ops tr_comm_gloo __attribute__((weak));

const struct tr_cuda_table tr_cuda_table;

/* The program's, where it has one; there even in a program that only looks. */
static struct tr_comm_ops comm = {.name = "fake"};
static struct tr_backend_ops backend = {.name = "fake"};

__attribute__((constructor)) static void take_both(void)
{
    if (&tr_backend_onednn)
        backend = tr_backend_onednn;
    if (&tr_comm_gloo)
        comm = tr_comm_gloo;
}

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value ? value : otherwise;
}

static int fail(struct im_text *text, int err, const char *sentence)
{
    snprintf(text->s, sizeof text->s, "%s", sentence);
    return err;
}

static int count_gpus(int *ret_count, struct im_text *text)
{
    const char *how = setting("FAKE_CUDA", ""), *visible = getenv("CUDA_VISIBLE_DEVICES");
    int count = (int)strtol(setting("FAKE_GPUS", "2"), NULL, 10);

    if (strcmp(how, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(how, "no_driver") == 0)
        return fail(text, -ENODEV, "there is no NVIDIA driver");
    if (strcmp(how, "old_driver") == 0)
        return fail(text, -ENOTSUP,
                    "the driver is for CUDA 11.4, older than this build's 13.0; update the driver");
    if (visible) {
        count = *visible != 0;
        for (; *visible; visible++)
            count += *visible == ',';
        if (count == 0)
            return fail(text, -ENODEV, "CUDA_VISIBLE_DEVICES hides all GPUs");
    }
    *ret_count = count;
    return 0;
}

static int look(int index, struct tr_gpu_properties *ret, struct im_text *text)
{
    (void)text;
    *ret = (struct tr_gpu_properties){.index = index,
                                      .sm = (int)strtol(setting("FAKE_GPU_SM", "90"), NULL, 10),
                                      .sm_count = 132,
                                      .memory_bytes = (size_t)140 << 30,
                                      .driver = 13000,
                                      .runtime = 13000};
    snprintf(ret->name, sizeof ret->name, "%s", setting("FAKE_GPU_NAME", "NVIDIA H200"));
    snprintf(ret->uuid, sizeof ret->uuid, "GPU-00000000-0000-0000-0000-00000000000%d", index);
    snprintf(ret->bus_id, sizeof ret->bus_id, "0000:%d%d:00.0", index + 1, index);
    return 0;
}

static void push(const char *name)
{
    (void)name;
}

static void pop(void)
{
}

const struct tr_cuda_table tr_cuda_table = {
    .version = TR_CUDA_VERSION,
    .build = IMSUPER_BUILD_ID,
    .backend = &backend,
    .comm = &comm,
    .gpu_count = count_gpus,
    .gpu_query = look,
    .range_push = push,
    .range_pop = pop,
};
