/* What a GPU cannot do is refused at the start, with what to use instead; what was accepted then goes on to fit. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "tests/cuda/lanes/host.h"
#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/dnn.h"
#include "trainer/network/network.h"

#define MEMORY ((size_t)2 << 30)

enum { SIZE = 32, FAR_TOO_MANY = 4096 };

static int open_that(enum imk_dtype precision, bool apart, struct tr_network **ret_net, struct im_text *text)
{
    const struct tr_network_config config = {.model = "resnet20",
                                             .classes = 5,
                                             .ops = &tr_backend_cuda,
                                             .precision = precision,
                                             .seed = 3,
                                             .mean = {0.5f, 0.5f, 0.5f},
                                             .std = {0.25f, 0.25f, 0.25f},
                                             .device = {.dw_apart = apart}};

    return tr_network_new(&config, ret_net, text);
}

static int open_net(enum imk_dtype precision, struct tr_network **ret_net, struct im_text *text)
{
    return open_that(precision, false, ret_net, text);
}

static void prepare(struct tr_network *net, int n, int size, bool training)
{
    struct im_text text = {{0}};

    if (tr_network_prepare(net, n, size, training, &text) < 0)
        fail_msg("%d of %d x %d: %s", n, size, size, text.s);
}

/* The largest batch that the refusal names, prepared. */
static int prepare_largest(struct tr_network *net)
{
    struct im_text text = {{0}};
    const char *largest;
    int fits;

    assert_int_equal(tr_network_prepare(net, FAR_TOO_MANY, SIZE, true, &text), -ENOMEM);
    largest = strstr(text.s, "the largest batch that fits is ");
    if (!largest)
        fail_msg("%s", text.s);
    fits = (int)strtol(largest + strlen("the largest batch that fits is "), NULL, 10);
    prepare(net, fits, SIZE, true);
    return fits;
}

static void a_batch_that_does_not_fit_is_refused(void **state)
{
    struct im_text text = {{0}};
    struct tr_network *net;

    (void)state;
    host_gpu_set(&(struct host_gpu_options){.memory_bytes = MEMORY});
    assert_int_equal(open_net(IMK_F32, &net, &text), 0);
    prepare_largest(net);
    tr_network_free(net);
    host_gpu_set(&(struct host_gpu_options){0});
}

/* Pixels of 16-bit types take four channels where there are engines for it. */
static void a_narrow_input_takes_half(void **state)
{
    size_t bytes[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct im_text text = {{0}};
        struct tr_network *net;

        host_gpu_set(&(struct host_gpu_options){.memory_bytes = MEMORY, .no_narrow = i == 1});
        assert_int_equal(open_net(IMK_BF16, &net, &text), 0);
        prepare(net, 64, SIZE, true);
        bytes[i] = tr_network_bytes(net).unshared;
        tr_network_free(net);
    }
    assert_int_equal(bytes[1] - bytes[0], (size_t)64 * SIZE * SIZE * 4 * 2);
    host_gpu_set(&(struct host_gpu_options){0});
}

/* What --batch-size auto takes is what a refusal names; it fits, and one image more does not. */
static void the_largest_batch_is_found_ahead(void **state)
{
    struct im_text text = {{0}};
    struct tr_network *net;
    int found, less;

    (void)state;
    host_gpu_set(&(struct host_gpu_options){.memory_bytes = MEMORY});
    assert_int_equal(open_net(IMK_F32, &net, &text), 0);
    found = tr_network_largest(net, SIZE, FAR_TOO_MANY, 0, &text);
    less = tr_network_largest(net, SIZE, FAR_TOO_MANY, MEMORY / 4, &text);
    assert_true(found > 0 && less > 0 && less < found);
    assert_int_equal(tr_network_largest(net, SIZE, 7, 0, &text), 7);
    assert_int_equal(tr_network_largest(net, SIZE, FAR_TOO_MANY, MEMORY, &text), 0);
    assert_int_equal(tr_network_prepare(net, found + 1, SIZE, true, &text), -ENOMEM);
    assert_int_equal(prepare_largest(net), found);
    prepare(net, found / 2 + 1, SIZE, true);
    tr_network_free(net);
    host_gpu_set(&(struct host_gpu_options){0});
}

/* Gradients of weights on a stream of their own have a workspace of cuDNN, for which memory is kept. */
static void gradients_of_weights_apart_are_planned(void **state)
{
    const size_t memory[2] = {MEMORY, MEMORY + TR_DNN_WORKSPACE};
    struct im_text text = {{0}};
    int found[2];

    (void)state;
    for (int apart = 0; apart < 2; apart++) {
        struct tr_network *net;

        host_gpu_set(&(struct host_gpu_options){.memory_bytes = memory[apart]});
        assert_int_equal(open_that(IMK_BF16, apart, &net, &text), 0);
        found[apart] = tr_network_largest(net, SIZE, FAR_TOO_MANY, 0, &text);
        assert_int_equal(prepare_largest(net), found[apart]);
        prepare(net, found[apart] / 2 + 1, SIZE, true);
        tr_network_free(net);
    }
    /* The values live longer only while fewer of them do: see docs/gpu-fusions.md. */
    assert_in_range(found[1], found[0] - found[0] / 100, found[0]);
    host_gpu_set(&(struct host_gpu_options){0});
}

/* The short batch at the end of an epoch, validation and a smaller size of images are planned while the arena of
 * the largest batch holds the memory: engines are tried in it. */
static void what_follows_the_largest_batch_fits_too(void **state)
{
    struct im_text text = {{0}};
    struct tr_network *net;
    int fits;

    (void)state;
    host_gpu_set(&(struct host_gpu_options){.memory_bytes = MEMORY});
    assert_int_equal(open_net(IMK_F32, &net, &text), 0);
    fits = prepare_largest(net);
    prepare(net, fits - fits / 16, SIZE, true);
    prepare(net, fits, SIZE, false);
    prepare(net, fits, SIZE - 1, true);
    tr_network_free(net);
    host_gpu_set(&(struct host_gpu_options){0});
}

static void bf16_needs_a_gpu_that_has_it(void **state)
{
    struct tr_network *net = NULL;
    struct im_text text = {{0}};

    (void)state;
    host_gpu_set(&(struct host_gpu_options){.sm = 75});
    assert_int_equal(open_net(IMK_BF16, &net, &text), -EINVAL);
    assert_non_null(strstr(text.s, "compute capability 7.5, and bf16 needs 8.0; use --amp fp16"));
    assert_int_equal(open_net(IMK_F16, &net, &text), 0);
    tr_network_free(net);
    host_gpu_set(&(struct host_gpu_options){.sm = 80});
    assert_int_equal(open_net(IMK_BF16, &net, &text), 0);
    tr_network_free(net);
    host_gpu_set(&(struct host_gpu_options){0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_that_does_not_fit_is_refused),
        cmocka_unit_test(a_narrow_input_takes_half),
        cmocka_unit_test(the_largest_batch_is_found_ahead),
        cmocka_unit_test(gradients_of_weights_apart_are_planned),
        cmocka_unit_test(what_follows_the_largest_batch_fits_too),
        cmocka_unit_test(bf16_needs_a_gpu_that_has_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
