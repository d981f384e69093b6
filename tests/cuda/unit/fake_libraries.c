/* All libraries that cuDNN consists of, in one, under each of their names; and an NVRTC that compiles nothing
 * where FAKE_NVRTC says "broken", as the real one without its builtins. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

size_t cudnnGetCudartVersion(void);
int nvrtcCreateProgram(void **ret_program, const char *source, const char *name, int headers,
                       const char *const *header, const char *const *header_name);
int nvrtcCompileProgram(void *program, int options, const char *const *option);
const char *nvrtcGetErrorString(int result);

#ifdef FAKE_CUDNN
size_t cudnnGetCudartVersion(void)
{
    return 99010; /* whose NVRTC no machine has */
}
#endif

#ifdef FAKE_NVRTC
int nvrtcCreateProgram(void **ret_program, const char *source, const char *name, int headers,
                       const char *const *header, const char *const *header_name)
{
    (void)name, (void)headers, (void)header, (void)header_name;
    *ret_program = ret_program;
    return source ? 0 : 3;
}

int nvrtcCompileProgram(void *program, int options, const char *const *option)
{
    const char *how = getenv("FAKE_NVRTC");

    (void)program, (void)options, (void)option;
    return how && strcmp(how, "broken") == 0 ? 7 : 0;
}

const char *nvrtcGetErrorString(int result)
{
    return result == 7 ? "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE" : "NVRTC_SUCCESS";
}
#endif
