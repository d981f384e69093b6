/* The errors where NCCL is missing. Which one is there when nccl.c asks for libnccl.so.2: the linker
 * takes one that is loaded already, whatever its place. */
#include <dlfcn.h>
#include <errno.h>

#include "ipc/base/err.h"
#include "tests/support/hide.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/comm/comm.h"

static const char *old;

/* Of open() as of check(). */
static void is_refused(const char *word)
{
    const struct tr_comm_config config = {.ranks = 2};
    struct im_text text = {{0}};
    struct tr_comm *comm = NULL;

    assert_int_equal(tr_comm_nccl.check(&text), -ENODEV);
    assert_non_null(strstr(text.s, word));
    assert_non_null(strstr(text.s, "--gpus 1"));
    text.s[0] = 0;
    assert_int_equal(tr_comm_nccl.open(&config, &comm, &text), -ENODEV);
    assert_non_null(strstr(text.s, word));
    assert_null(comm);
}

static void absent_library_is_a_sentence(void **state)
{
    void *real = dlopen("libnccl.so.2", RTLD_LAZY | RTLD_LOCAL);

    (void)state;
    if (real) { /* in /usr/lib itself: it cannot be hidden */
        dlclose(real);
        skip();
    }
    is_refused("libnccl.so.2: cannot open shared object file");
    is_refused("install NCCL 2");
}

static void library_without_a_function_is_refused(void **state)
{
    void *loaded = dlopen(old, RTLD_NOW | RTLD_LOCAL);

    (void)state;
    assert_non_null(loaded);
    is_refused("has no ncclCommInitRankConfig");
    dlclose(loaded);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_library_is_a_sentence),
        cmocka_unit_test(library_without_a_function_is_refused),
    };

    hide_installed_libraries(argc, argv);
    if (argc != 2)
        return 2;
    old = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
