/* The errors when a library is missing that cuDNN loads by itself. Each case has a folder of its own with
 * all libraries but one, and a process of its own, as what is loaded stays.
 *
 * usage: cuda_unit_libraries LIBRARY... */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>

#include "ipc/base/err.h"
#include "tests/support/hide.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/backends/cuda/libraries.h"

static char **libraries;
static int library_count;

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Into folder, without the one. */
static void install(const char *folder, const char *without)
{
    for (int i = 0; i < library_count; i++) {
        const char *name = last_part(libraries[i]);
        char path[PATH_MAX];

        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (strcmp(name, without) != 0)
            assert_int_equal(symlink(libraries[i], path), 0);
    }
}

/* In a process of its own: 0 when the answer is as wanted. */
static int ask(const char *folder, const char *nvrtc, int want, const char *word)
{
    struct im_text text = {{0}};
    char path[PATH_MAX];
    int err;

    snprintf(path, sizeof path, "%s/libcudnn.so.9", folder);
    setenv("FAKE_NVRTC", nvrtc, 1);
    if (!dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    err = tr_cuda_libraries(&text);
    if (err == want && strstr(text.s, word))
        return 0;
    fprintf(stderr, "%d, not %d: \"%s\", not \"%s\"\n", err, want, text.s, word);
    return 1;
}

static void says(void **state, const char *without, const char *nvrtc, int want, const char *word)
{
    const char *folder = *state;
    pid_t child;
    int status = -1;

    install(folder, without);
    fflush(NULL);
    child = fork();
    if (child == 0)
        _exit(ask(folder, nvrtc, want, word));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void nothing_is_said_where_all_are_there(void **state)
{
    says(state, "", "whole", 0, "");
}

static void missing_graph_library_is_named(void **state)
{
    says(state, "libcudnn_graph.so.9", "whole", -ELIBACC, "libcudnn_graph.so.9: cannot open");
}

static void missing_precompiled_engines_are_named(void **state)
{
    says(state, "libcudnn_engines_precompiled.so.9", "whole", -ELIBACC,
         "libcudnn_engines_precompiled.so.9: cannot");
}

static void missing_compiled_engines_are_named(void **state)
{
    says(state, "libcudnn_engines_runtime_compiled.so.9", "whole", -ELIBACC,
         "libcudnn_engines_runtime_compiled.so.9: cannot");
}

static void missing_heuristics_are_named(void **state)
{
    says(state, "libcudnn_heuristic.so.9", "whole", -ELIBACC,
         "install all libraries of one version of cuDNN 9");
}

static void missing_nvrtc_is_named(void **state)
{
    says(state, "libnvrtc.so.99", "whole", -ELIBACC, "install NVRTC of CUDA 99");
}

static void nvrtc_that_cannot_compile_is_told(void **state)
{
    says(state, "", "broken", -ELIBACC, "fails (NVRTC_ERROR_BUILTIN_OPERATION_FAILURE)");
}

static void nothing_is_loaded_without_cudnn(void **state)
{
    struct im_text text = {{0}};

    (void)state;
    assert_int_equal(tr_cuda_libraries(&text), -ELIBACC);
    assert_non_null(strstr(text.s, "install cuDNN 9"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_said_where_all_are_there, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(missing_graph_library_is_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(missing_precompiled_engines_are_named, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(missing_compiled_engines_are_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(missing_heuristics_are_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(missing_nvrtc_is_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(nvrtc_that_cannot_compile_is_told, make_directory, remove_directory),
        cmocka_unit_test(nothing_is_loaded_without_cudnn),
    };

    hide_installed_libraries(argc, argv);
    libraries = argv + 1;
    library_count = argc - 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
