/* A driver of CUDA's for no GPU: a libcuda.so.1 in which every call succeeds and does nothing. With it cuDNN
 * compiles plans for a described GPU to the very end, where it loads their code; nothing can run. The
 * functions that cuDNN 9.8 to 9.26 looks up when it compiles are here; CUDA's runtime asks for others by
 * name, and gets the same one for all. */
#include <stddef.h>
#include <string.h>

#include "ipc/base/count.h"

int cuInit(unsigned flags);
int cuDriverGetVersion(int *ret_version);
int cuGetExportTable(const void **ret_table, const void *id);
int cuGetProcAddress(const char *name, void **ret_function, int version, unsigned long flags);
int cuGetProcAddress_v2(const char *name, void **ret_function, int version, unsigned long flags,
                        int *ret_status);

static int yes(void)
{
    return 0;
}

#define YES(name)                                                                                            \
    int name(void);                                                                                          \
    int name(void)                                                                                           \
    {                                                                                                        \
        return 0;                                                                                            \
    }
/* The first argument is where a handle goes. */
#define HAND_OUT(name)                                                                                       \
    int name(void **ret_handle);                                                                             \
    int name(void **ret_handle)                                                                              \
    {                                                                                                        \
        *ret_handle = ret_handle;                                                                            \
        return 0;                                                                                            \
    }
YES(cuGetErrorName)
YES(cuGetErrorString)
YES(cuCtxGetCurrent)
YES(cuCtxGetLimit)
YES(cuCtxPopCurrent)
YES(cuCtxPushCurrent)
YES(cuStreamGetCtx)
YES(cuLinkCreate)
YES(cuLinkAddData)
YES(cuLinkComplete)
YES(cuLinkDestroy)
YES(cuLaunchKernel)
YES(cuLaunchCooperativeKernel)
YES(cuLaunchKernelEx)
YES(cuDeviceGetCount)
YES(cuDeviceGet)
HAND_OUT(cuLibraryLoadData)
HAND_OUT(cuLibraryLoadFromFile)
HAND_OUT(cuLibraryGetKernel)
HAND_OUT(cuKernelGetFunction)
YES(cuLibraryUnload)
YES(cuKernelSetAttribute)
YES(cuKernelGetAttribute)
YES(cuOccupancyMaxPotentialClusterSize)

int cuInit(unsigned flags)
{
    (void)flags;
    return 0;
}

int cuDriverGetVersion(int *ret_version)
{
    *ret_version = 13000;
    return 0;
}

int cuGetExportTable(const void **ret_table, const void *id)
{
    (void)ret_table, (void)id;
    return 500; /* not found */
}

int cuGetProcAddress_v2(const char *name, void **ret_function, int version, unsigned long flags,
                        int *ret_status)
{
    const struct {
        const char *name;
        void (*function)(void);
    } known[] = {{"cuInit", (void (*)(void))cuInit},
                 {"cuDriverGetVersion", (void (*)(void))cuDriverGetVersion},
                 {"cuGetExportTable", (void (*)(void))cuGetExportTable},
                 {"cuGetProcAddress", (void (*)(void))cuGetProcAddress_v2}};
    void (*function)(void) = (void (*)(void))yes;

    (void)version, (void)flags;
    for (size_t i = 0; i < IM_COUNT(known); i++)
        if (strcmp(known[i].name, name) == 0)
            function = known[i].function;
    memcpy(ret_function, &function, sizeof function);
    if (ret_status)
        *ret_status = 0;
    return 0;
}

int cuGetProcAddress(const char *name, void **ret_function, int version, unsigned long flags)
{
    return cuGetProcAddress_v2(name, ret_function, version, flags, NULL);
}
