/* Loads imsuper-cuda.so and turns a failure into a sentence. The dynamic linker's message names the library;
 * the package to install follows from its name. */
#include "trainer/backends/cuda/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/sysinfo.h"
#include "ipc/run.h"

/* The package to install for the library named in the linker's message. */
static const char *package_of(const char *message)
{
    static const struct {
        const char *library, *package;
    } known[] = {
        {"libcudnn", "install cuDNN 9 for the version of CUDA that imsuper was built with"},
        {"libcublas", "install the CUDA toolkit's runtime libraries (cuBLAS) of the version that imsuper was "
                      "built with"},
        {"libcudart", "install the CUDA toolkit's runtime libraries"},
    };

    for (size_t i = 0; i < IM_COUNT(known); i++)
        if (strstr(message, known[i].library))
            return known[i].package;
    return "install the missing library";
}

static int check_table(const struct tr_cuda_table *table, const char *path, struct im_text *text)
{
    if (table->version != TR_CUDA_VERSION)
        return im_fail(text, -ELIBBAD,
                       "%s is from another build: its table has version %u, not %u; rebuild imsuper", path,
                       table->version, TR_CUDA_VERSION);
    if (strcmp(table->build, im_build_id()) != 0)
        return im_fail(text, -ELIBBAD,
                       "%s is from another build: \"%s\", the program is from \"%s\"; rebuild imsuper", path,
                       table->build, im_build_id());
    return 0;
}

int tr_cuda_load_file(const char *path, const struct tr_cuda_table **ret_table, struct im_text *text)
{
    const struct tr_cuda_table *table;
    const char *why;
    void *module;
    int err;

    if (access(path, F_OK) < 0)
        return im_fail(
            text, -ENOSYS,
            "this build of imsuper has no CUDA backend: %s does not exist; install the "
            "package imsuper-cuda, or build the preset cuda where the CUDA toolkit and cuDNN 9 are, or "
            "train on the CPU (--gpus 0)",
            path);
    dlerror();
    module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) {
        why = dlerror();
        return im_fail(text, -ELIBACC,
                       "CUDA cannot be used: %s; %s; if it is not in a standard folder, add its folder to "
                       "LD_LIBRARY_PATH; or train on the CPU (--gpus 0)",
                       why ? why : path, package_of(why ? why : ""));
    }
    table = dlsym(module, TR_CUDA_TABLE);
    if (!table) {
        dlclose(module);
        return im_fail(text, -ELIBBAD, "%s is not imsuper's CUDA module: it does not export %s", path,
                       TR_CUDA_TABLE);
    }
    err = check_table(table, path, text);
    if (err < 0) {
        dlclose(module);
        return err;
    }
    *ret_table = table;
    return 0;
}

/* The module that a run began with, which its warden holds open: another may have its name now. */
static bool is_given(int fd)
{
    unsigned char magic[4];

    return pread(fd, magic, sizeof magic, 0) == sizeof magic && memcmp(magic, "\177ELF", sizeof magic) == 0;
}

int tr_cuda_load(const struct tr_cuda_table **ret_table, struct im_text *text)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    char *slash;

    if (is_given(IM_FD_MODULE)) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", IM_FD_MODULE);
        return tr_cuda_load_file(path, ret_table, text);
    }
    if (length < 0)
        return im_fail(text, -errno, "cannot read the path of the executable");
    path[length] = '\0';
    slash = strrchr(path, '/');
    if (!slash || (size_t)(slash + 1 - path) + sizeof TR_CUDA_FILE > sizeof path)
        return im_fail(text, -ENAMETOOLONG, "the path of the executable is too long");
    memcpy(slash + 1, TR_CUDA_FILE, sizeof TR_CUDA_FILE);
    return tr_cuda_load_file(path, ret_table, text);
}
