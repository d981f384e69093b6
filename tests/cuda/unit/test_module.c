/* The errors where CUDA is missing, and what the module reports where it is there. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "ipc/run.h"
#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/module.h"

static const char *no_table, *other_build, *needs_cudnn, *real;

static void load_fails(const char *path, int want, const char *word)
{
    const struct tr_cuda_table *table = NULL;
    struct im_text text = {0};

    assert_int_equal(tr_cuda_load_file(path, &table, &text), want);
    assert_null(table);
    assert_non_null(strstr(text.s, word));
}

static void absent_module_is_a_sentence(void **state)
{
    (void)state;
    load_fails("/nonexistent/imsuper-cuda.so", -ENOSYS, "--gpus 0");
}

/* This program lies where the others do, so where CUDA was built the module is beside it. */
static void module_is_sought_beside_the_program(void **state)
{
    const struct tr_cuda_table *table = NULL;
    struct im_text text = {0};
    int err = tr_cuda_load(&table, &text);

    (void)state;
    if (strcmp(real, "none") == 0) {
        assert_int_equal(err, -ENOSYS);
        assert_non_null(strstr(text.s, TR_CUDA_FILE));
    } else if (err < 0) {
        assert_int_equal(err, -ELIBACC); /* cuDNN was there to build with, but not to run with */
    } else {
        assert_int_equal(table->version, TR_CUDA_VERSION);
    }
}

/* A trainer of a run takes what its run began with, whatever has the module's name now. */
static void module_that_the_run_holds_open_comes_first(void **state)
{
    const struct tr_cuda_table *table = NULL;
    struct im_text text = {0};
    const int fd = open(no_table, O_RDONLY | O_CLOEXEC), before = fcntl(IM_FD_MODULE, F_DUPFD_CLOEXEC, 100);

    (void)state;
    assert_true(fd >= 0 && dup2(fd, IM_FD_MODULE) == IM_FD_MODULE);
    assert_int_equal(tr_cuda_load(&table, &text), -ELIBBAD);
    assert_non_null(strstr(text.s, "it does not export"));
    close(IM_FD_MODULE);
    if (fd != IM_FD_MODULE)
        close(fd);
    if (before >= 0) {
        dup2(before, IM_FD_MODULE);
        close(before);
    }
}

static void backend_cuda_is_there_or_a_sentence(void **state)
{
    const struct tr_backend_ops *ops = NULL;
    struct im_text text = {0};
    int err = tr_backend_find("cuda", &ops, &text);

    (void)state;
    if (err == 0) {
        assert_string_not_equal(real, "none");
        assert_string_equal(ops->name, "cuda");
    } else {
        assert_null(ops);
        assert_true(*text.s != '\0');
    }
}

static void other_shared_object_is_refused(void **state)
{
    (void)state;
    load_fails(no_table, -ELIBBAD, TR_CUDA_TABLE);
}

static void other_build_is_refused(void **state)
{
    (void)state;
    load_fails(other_build, -ELIBBAD, "another day");
}

static void missing_cudnn_is_named(void **state)
{
    (void)state;
    load_fails(needs_cudnn, -ELIBACC, "install cuDNN 9");
    load_fails(needs_cudnn, -ELIBACC, "libcudnn.so.99");
}

static void text_file_is_refused(void **state)
{
    (void)state;
    load_fails("/proc/self/status", -ELIBACC, "CUDA cannot be used");
}

/* With a GPU there is one, without there is a sentence; a crash is neither. */
static void real_module_counts_or_says_why_not(void **state)
{
    const struct tr_cuda_table *table = NULL;
    struct im_text text = {0};
    int count = 0, err;

    (void)state;
    if (strcmp(real, "none") == 0)
        skip();
    err = tr_cuda_load_file(real, &table, &text);
    if (err == -ELIBACC && strstr(text.s, "No such file"))
        skip(); /* built here against a stub, say */
    if (err < 0)
        fail_msg("%s", text.s);
    err = table->gpu_count(&count, &text);
    if (err < 0) {
        assert_int_equal(err, -ENODEV);
        assert_non_null(strstr(text.s, "no GPU can be used"));
    } else {
        assert_true(count > 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_module_is_a_sentence),
        cmocka_unit_test(module_is_sought_beside_the_program),
        cmocka_unit_test(module_that_the_run_holds_open_comes_first),
        cmocka_unit_test(backend_cuda_is_there_or_a_sentence),
        cmocka_unit_test(other_shared_object_is_refused),
        cmocka_unit_test(other_build_is_refused),
        cmocka_unit_test(missing_cudnn_is_named),
        cmocka_unit_test(text_file_is_refused),
        cmocka_unit_test(real_module_counts_or_says_why_not),
    };

    if (argc != 5)
        return 2;
    no_table = argv[1], other_build = argv[2], needs_cudnn = argv[3], real = argv[4];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
