/* When a trainer leaves its GPU as it is: what frees memory, graphs or the communicator would wait for ranks that may be gone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ipc/base/exit.h"
#include "trainer/trainer.h"

static bool is_abandoned(uint32_t world, int backend, int err)
{
    struct im_plan plan = {.world = world};
    struct im_conf conf = {.backend = backend};
    const struct im_child child = {.plan = &plan, .conf = &conf};

    return tr_has_abandoned_gpu(&child, err);
}

static void a_rank_that_fails_beside_others_frees_nothing(void **state)
{
    (void)state;
    assert_true(is_abandoned(2, IM_BACKEND_CUDA, -EIO));
    assert_true(is_abandoned(2, IM_BACKEND_CUDA, IM_EXIT_FAILED));
    assert_false(is_abandoned(2, IM_BACKEND_CUDA, 0));
    assert_false(is_abandoned(2, IM_BACKEND_CUDA, IM_EXIT_RESUMABLE));
    assert_false(is_abandoned(1, IM_BACKEND_CUDA, -EIO));
    assert_false(is_abandoned(2, IM_BACKEND_ONEDNN, -EIO));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_rank_that_fails_beside_others_frees_nothing)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
