/* ONNX files: the weights that other programs find in them, and refusal of what is damaged. tests/golden/onnx/ was made by
 * tests/golden/make_onnx.py. */
#include <errno.h>
#include <stdlib.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/checkpoint/onnx_file.h"
#include "trainer/checkpoint/torch_open.h"

#define FOLDER GOLDEN_DIR "/onnx/"

static char *read_golden(const char *name, size_t *ret_n)
{
    struct im_text text = {""};
    char path[4096], *bytes;

    snprintf(path, sizeof path, FOLDER "%s", name);
    if (im_read_file(path, 1 << 20, &bytes, ret_n, &text) < 0)
        fail_msg("%s", text.s);
    return bytes;
}

static void the_weights_are_found(void **state)
{
    static const char *const names[] = {"kept", "folded", "data", "by-hand"};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(names); i++) {
        struct tr_safetensors *got, *want;
        struct im_text text = {""};
        char path[4096];

        snprintf(path, sizeof path, FOLDER "%s.onnx", names[i]);
        if (tr_weights_open(path, &got, &text) < 0) /* in the sandbox */
            fail_msg("%s", text.s);
        snprintf(path, sizeof path, FOLDER "%s.safetensors", names[i]);
        if (tr_safetensors_open(path, &want, &text) < 0)
            fail_msg("%s", text.s);
        assert_int_equal(tr_safetensors_count(got), tr_safetensors_count(want));
        for (size_t k = 0; k < tr_safetensors_count(want); k++) {
            const struct tr_tensor *w = tr_safetensors_at(want, k), *g = tr_safetensors_find(got, w->name);
            size_t n;

            if (!g || g->dtype != w->dtype || g->rank != w->rank ||
                memcmp(g->shape, w->shape, (size_t)w->rank * sizeof *w->shape) != 0)
                fail_msg("%s: %s is missing or of another type or shape", names[i], w->name);
            assert_int_equal(tr_tensor_bytes(w, &n), 0);
            if (memcmp(g->data, w->data, n) != 0)
                fail_msg("%s: %s has other numbers", names[i], w->name);
        }
        tr_safetensors_close(&got);
        tr_safetensors_close(&want);
    }
}

static int drop(void *context, const void *bytes, size_t n, struct im_text *text)
{
    (void)context;
    (void)bytes;
    (void)n;
    (void)text;
    return 0;
}

static void what_is_missing_or_damaged_is_said(void **state)
{
    const struct tr_sink sink = {.write = drop};
    size_t n;
    char *bytes = read_golden("data.onnx", &n);
    struct im_text text = {""};
    struct tr_onnx_data data = {"data.onnx.data", "", 1};

    (void)state;
    assert_true(tr_onnx_is(bytes, n));
    assert_int_equal(tr_onnx_convert(bytes, n, NULL, &sink, &text), -ENOTSUP);
    assert_non_null(strstr(text.s, "lie in another file, \"data.onnx.data\""));
    assert_int_equal(tr_onnx_convert(bytes, n, &data, &sink, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "behind the end of data.onnx.data"));
    free(bytes);
    bytes = read_golden("kept.onnx", &n);
    for (size_t cut = 0; cut < n; cut += 7) { /* a part is no file, or the whole of a smaller one */
        text.s[0] = 0;
        if (tr_onnx_convert(bytes, cut, NULL, &sink, &text) < 0)
            assert_string_not_equal(text.s, "");
    }
    assert_int_equal(tr_onnx_convert(bytes, n / 2, NULL, &sink, &text), -EBADMSG);
    free(bytes);
    bytes = read_golden("kept.safetensors", &n);
    assert_false(tr_onnx_is(bytes, n));
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_weights_are_found),
        cmocka_unit_test(what_is_missing_or_damaged_is_said),
    };

    return cmocka_run_group_tests_name("onnx", tests, NULL, NULL);
}
