/* cuDNN's libcudnn.so.9 is a loader shim: the code is in libraries beside it, which it loads on demand, and
 * in NVRTC, which compiles the engines of batch norm. With cuDNN 9.19, a missing libcudnn_graph aborts the
 * process, and a missing NVRTC silently leaves batch norm without engines. So all of them are loaded here
 * first, in cuDNN's search order: beside libcudnn.so.9, where NVIDIA's Python wheels put them, then the
 * dynamic linker's paths. NVRTC also compiles a one-line kernel, which makes it load libnvrtc-builtins.
 *
 * Needs no CUDA header: three functions of NVRTC and one of cuDNN are declared here. */
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

/* The folder of the library that has this function, with its slash. */
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

/* Loads from one of the places below the folder, or from the linker's paths; errors are dlerror()'s. */
static void *load_library(const char *folder, const char *const *places, const char *name)
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
        if (!load_library(folder, places, parts[i])) {
            const char *why = dlerror();

            return im_fail(text, -ELIBACC,
                           "cuDNN is incomplete: cannot load one of its libraries (%.400s); install all "
                           "libraries of one version of cuDNN 9",
                           why ? why : parts[i]);
        }
    return 0;
}

/* Compiles a kernel, which loads libnvrtc-builtins. */
static int try_nvrtc(void *nvrtc, struct im_text *text)
{
    create_fn *create = FUNCTION(create_fn, nvrtc, "nvrtcCreateProgram");
    compile_fn *compile = FUNCTION(compile_fn, nvrtc, "nvrtcCompileProgram");
    error_fn *error = FUNCTION(error_fn, nvrtc, "nvrtcGetErrorString");
    void *program = NULL;
    int result;

    if (!create || !compile || !error)
        return im_fail(text, -ELIBACC, "the installed NVRTC is damaged: reinstall CUDA's NVRTC");
    result = create(&program, "__global__ void one(float *x) { *x = 1; }", "one.cu", 0, NULL, NULL);
    if (result == 0)
        result = compile(program, 0, NULL);
    if (result != 0)
        return im_fail(text, -ELIBACC,
                       "NVRTC, which cuDNN uses to compile batch norm, fails (%.100s): libnvrtc-builtins is "
                       "missing or has another version; reinstall CUDA's NVRTC",
                       error(result));
    return 0;
}

/* Checks the NVRTC of the CUDA version that cuDNN was built for. */
static int check_nvrtc(const char *folder, int major, struct im_text *text)
{
    char name[32], wheel[32];
    const char *const places[] = {"", "../../cuda_nvrtc/lib/", wheel, NULL};
    void *nvrtc;

    snprintf(name, sizeof name, "libnvrtc.so.%d", major);
    snprintf(wheel, sizeof wheel, "../../cu%d/lib/", major);
    nvrtc = load_library(folder, places, name);
    if (!nvrtc) {
        const char *why = dlerror();

        return im_fail(text, -ELIBACC,
                       "cannot load NVRTC, which cuDNN uses to compile batch norm (%.400s): install NVRTC of "
                       "CUDA %d; if it is not in a standard folder, add its folder to LD_LIBRARY_PATH",
                       why ? why : name, major);
    }
    return try_nvrtc(nvrtc, text);
}

int tr_cuda_libraries(struct im_text *text)
{
    void *cudnn = dlopen("libcudnn.so.9", RTLD_LAZY | RTLD_NOLOAD); /* the one that is linked in */
    cudart_version_fn *cudart_version =
        cudnn ? FUNCTION(cudart_version_fn, cudnn, "cudnnGetCudartVersion") : NULL;
    char folder[PATH_MAX];
    int err;

    if (!cudart_version)
        return im_fail(text, -ELIBACC, "the installed cuDNN is not version 9: install cuDNN 9");
    folder_of((const void *)(uintptr_t)cudart_version, folder);
    err = check_parts(folder, text);
    return err < 0 ? err : check_nvrtc(folder, (int)(cudart_version() / 1000), text);
}
