/* cuDNN's libcudnn.so.9 is a door. What it does lies in libraries beside it, which it loads when it needs
 * them, and in NVRTC, with which it compiles the engines of batch norm. Seen with cuDNN 9.19: without
 * libcudnn_graph the process is ended, without NVRTC there is no engine for batch norm and no word about it.
 * So all of them are loaded first, by the rules that cuDNN goes by: beside libcudnn.so.9, where NVIDIA's
 * Python wheels have them, then wherever the dynamic linker looks. And NVRTC compiles a kernel of one line,
 * for which it loads a library, too.
 *
 * No header of CUDA's is needed for this: three functions of NVRTC and one of cuDNN are declared here. */
#include "trainer/backends/cuda/libraries.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"

/* cudnnGetCudartVersion(), nvrtcCreateProgram(), nvrtcCompileProgram(), nvrtcGetErrorString(). */
typedef size_t cudart_version_fn(void);
typedef int create_fn(void **ret_program, const char *source, const char *name, int headers,
                      const char *const *header, const char *const *header_name);
typedef int compile_fn(void *program, int options, const char *const *option);
typedef const char *error_fn(int result);

#define FUNCTION(type, library, name) ((type *)(uintptr_t)dlsym(library, name))

/* The folder of a library's function, with its slash. */
static void folder_of(const void *function, char folder[PATH_MAX])
{
    const char *slash;
    Dl_info info;

    folder[0] = '\0';
    if (!dladdr(function, &info) || !info.dli_fname)
        return;
    slash = strrchr(info.dli_fname, '/');
    if (slash)
        snprintf(folder, PATH_MAX, "%.*s", (int)(slash + 1 - info.dli_fname), info.dli_fname);
}

/* In one of the places below the folder, or where the linker looks, whose message is dlerror()'s. */
static void *load(const char *folder, const char *const *places, const char *name)
{
    char path[PATH_MAX];
    void *library;

    for (; *folder && *places; places++)
        if (snprintf(path, sizeof path, "%s%s%s", folder, *places, name) < (int)sizeof path) {
            library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
            if (library)
                return library;
        }
    return dlopen(name, RTLD_LAZY | RTLD_LOCAL);
}

static int check_parts(const char *folder, struct im_text *text)
{
    static const char *const parts[] = {"libcudnn_graph.so.9", "libcudnn_engines_precompiled.so.9",
                                        "libcudnn_engines_runtime_compiled.so.9", "libcudnn_heuristic.so.9"};
    static const char *const places[] = {"", NULL};

    for (size_t i = 0; i < IM_COUNT(parts); i++)
        if (!load(folder, places, parts[i])) {
            const char *why = dlerror();

            return im_fail(
                text, -ELIBACC,
                "cuDNN is not whole: a part of it cannot be loaded (%.400s); install all libraries of "
                "cuDNN 9, of one version",
                why ? why : parts[i]);
        }
    return 0;
}

/* Whether it compiles; its builtins are a library that it loads for that. */
static int try_nvrtc(void *nvrtc, struct im_text *text)
{
    create_fn *create = FUNCTION(create_fn, nvrtc, "nvrtcCreateProgram");
    compile_fn *compile = FUNCTION(compile_fn, nvrtc, "nvrtcCompileProgram");
    error_fn *error = FUNCTION(error_fn, nvrtc, "nvrtcGetErrorString");
    void *program = NULL;
    int result;

    if (!create || !compile || !error)
        return im_fail(text, -ELIBACC, "the installed NVRTC is damaged: install CUDA's NVRTC again");
    result = create(&program, "__global__ void one(float *x) { *x = 1; }", "one.cu", 0, NULL, NULL);
    if (result == 0)
        result = compile(program, 0, NULL);
    if (result != 0)
        return im_fail(text, -ELIBACC,
                       "NVRTC, with which cuDNN compiles batch norm, does not compile (%.100s): its "
                       "libnvrtc-builtins is missing or of another version; install CUDA's NVRTC again",
                       error(result));
    return 0;
}

/* Of the version of CUDA that cuDNN was built for. */
static int check_nvrtc(const char *folder, int major, struct im_text *text)
{
    char name[32], wheel[32];
    const char *const places[] = {"", "../../cuda_nvrtc/lib/", wheel, NULL};
    void *nvrtc;

    snprintf(name, sizeof name, "libnvrtc.so.%d", major);
    snprintf(wheel, sizeof wheel, "../../cu%d/lib/", major);
    nvrtc = load(folder, places, name);
    if (!nvrtc) {
        const char *why = dlerror();

        return im_fail(
            text, -ELIBACC,
            "cuDNN compiles batch norm with NVRTC, which cannot be loaded (%.400s): install NVRTC of "
            "CUDA %d and, where it is not in a standard place, name its folder in LD_LIBRARY_PATH",
            why ? why : name, major);
    }
    return try_nvrtc(nvrtc, text);
}

int tr_cuda_libraries(struct im_text *text)
{
    void *cudnn = dlopen("libcudnn.so.9", RTLD_LAZY | RTLD_NOLOAD); /* the one that is linked */
    cudart_version_fn *cudart_version =
        cudnn ? FUNCTION(cudart_version_fn, cudnn, "cudnnGetCudartVersion") : NULL;
    char folder[PATH_MAX];
    int err;

    if (!cudart_version)
        return im_fail(text, -ELIBACC, "the installed cuDNN is none of version 9: install cuDNN 9");
    folder_of((const void *)(uintptr_t)cudart_version, folder);
    err = check_parts(folder, text);
    return err < 0 ? err : check_nvrtc(folder, (int)(cudart_version() / 1000), text);
}
