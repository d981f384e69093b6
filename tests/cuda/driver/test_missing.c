/* The real module without one of the real libraries: a sentence each, from the dynamic linker's or from
 * cuDNN's own way of loading. A process sees a folder of links to all libraries but one, and no other place.
 *
 * usage: cuda_driver_missing MODULE FOLDER...   (the module without a search path; where the libraries are)
 *        cuda_driver_missing ask MODULE         (says what the module says) */
#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/auxv.h>

#include "ipc/base/err.h"
#include "supervisor/cli/program.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/backends/cuda/module.h"

#define ASK_TIMEOUT_MS 60000

static char *program, *module;
static char **folders;
static int folder_count;

static int ask(const char *path)
{
    const struct tr_cuda_table *table = NULL;
    struct im_text text = {{0}};
    int err = tr_cuda_load_file(path, &table, &text);

    if (err == 0)
        err = table->libraries(&text);
    printf("%s\n", err < 0 ? text.s : "all there");
    return 0;
}

/* Links of what is in a folder of libraries; the first of a name stays. */
static void link_all(const char *from, const char *to, const char *without)
{
    struct dirent *entry;
    DIR *dir = opendir(from);

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        char target[PATH_MAX], path[PATH_MAX];
        bool wanted = strstr(entry->d_name, ".so") &&
                      (strstr(entry->d_name, "libcudnn") || strstr(entry->d_name, "libcublas") ||
                       strstr(entry->d_name, "libnv"));

        if (!wanted || (*without && strncmp(entry->d_name, without, strlen(without)) == 0))
            continue;
        assert_true(snprintf(target, sizeof target, "%s/%s", from, entry->d_name) < PATH_MAX);
        assert_true(snprintf(path, sizeof path, "%s/%s", to, entry->d_name) < PATH_MAX);
        if (symlink(target, path) < 0)
            assert_int_equal(access(path, F_OK), 0);
    }
    closedir(dir);
}

static void says(void **state, const char *without, const char *word)
{
    char *folder = *state, answer[2048] = "";
    Dl_info linker;

    for (int i = 0; i < folder_count; i++)
        link_all(folders[i], folder, without);
    assert_true(dladdr((const void *)getauxval(AT_BASE), &linker) != 0);
    {
        char *argv[] = {(char *)(uintptr_t)linker.dli_fname,
                        "--inhibit-cache",
                        "--library-path",
                        folder,
                        program,
                        "ask",
                        module,
                        NULL};

        assert_int_equal(sv_program_read(argv, ASK_TIMEOUT_MS, answer, sizeof answer), 0);
    }
    if (!strstr(answer, word))
        fail_msg("without \"%s\": %s", without, answer);
}

static void nothing_is_said_where_all_are_there(void **state)
{
    says(state, "", "all there");
}

static void missing_cudnn_is_named(void **state)
{
    says(state, "libcudnn.so", "install cuDNN 9");
}

static void missing_cublas_is_named(void **state)
{
    says(state, "libcublasLt.so", "cuBLAS");
}

static void missing_graph_library_is_named(void **state)
{
    says(state, "libcudnn_graph.so", "libcudnn_graph.so.9: cannot open");
}

static void missing_precompiled_engines_are_named(void **state)
{
    says(state, "libcudnn_engines_precompiled.so", "libcudnn_engines_precompiled.so.9: cannot open");
}

static void missing_compiled_engines_are_named(void **state)
{
    says(state, "libcudnn_engines_runtime", "libcudnn_engines_runtime_compiled.so.9: cannot open");
}

static void missing_heuristics_are_named(void **state)
{
    says(state, "libcudnn_heuristic.so", "libcudnn_heuristic.so.9: cannot open");
}

static void missing_nvrtc_is_named(void **state)
{
    says(state, "libnvrtc.so", "install NVRTC of CUDA");
}

static void missing_builtins_of_nvrtc_are_told(void **state)
{
    says(state, "libnvrtc-builtins.so", "libnvrtc-builtins is missing");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_said_where_all_are_there, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(missing_cudnn_is_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(missing_cublas_is_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(missing_graph_library_is_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(missing_precompiled_engines_are_named, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(missing_compiled_engines_are_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(missing_heuristics_are_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(missing_nvrtc_is_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(missing_builtins_of_nvrtc_are_told, make_directory, remove_directory),
    };

    if (argc < 3)
        return 2;
    if (strcmp(argv[1], "ask") == 0)
        return ask(argv[2]);
    program = argv[0], module = argv[1], folders = argv + 2, folder_count = argc - 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
