/* safetensors: agreement with the reference implementation byte for byte, and refusal of everything that
 * breaks the format. tests/golden/types.safetensors was written by Python's safetensors 0.8.0 from the
 * tensors in `golden` below. */
#include <errno.h>

#include "ipc/base/err.h"
#include "ipc/base/file.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/checkpoint/safetensors.h"

static const int64_t tracked = 12345678901;
static const double third = 1.0 / 3.0;
static const float bias[2] = {-1.5f, 2.25f};
static const float weight[6] = {0.0f, 1.0f / 7, 2.0f / 7, 3.0f / 7, 4.0f / 7, 5.0f / 7};
static const int32_t sevens[2] = {-7, 7};
static const uint16_t brain[2] = {0x3f80, 0xc040};
static const uint16_t half[3] = {0x3c00, 0xc000, 0x7bff};
static const uint8_t bytes[3] = {0, 128, 255};
static const uint8_t zero[1] = {0};
static const uint8_t flags[2] = {1, 0};

/* Not in the order of the file: laying out is the writer's work. */
static const struct tr_tensor golden[] = {
    {"fc.weight", TR_F32, 2, {2, 3}, weight},
    {"fc.bias", TR_F32, 1, {2}, bias},
    {"bn1.num_batches_tracked", TR_I64, 0, {0}, &tracked},
    {"half", TR_F16, 1, {3}, half},
    {"brain", TR_BF16, 2, {1, 2}, brain},
    {"double", TR_F64, 1, {1}, &third},
    {"i32", TR_I32, 1, {2}, sevens},
    {"bytes", TR_U8, 1, {3}, bytes},
    {"flags", TR_BOOL, 1, {2}, flags},
    {"empty", TR_F32, 2, {0, 3}, NULL},
    {"gr\xc3\xb6\xc3\x9f"
     "e",
     TR_U8,
     1,
     {1},
     zero},
};
static const struct tr_pair golden_metadata[] = {{"format", "pt"}};

static const char *join(const char *directory, const char *name)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void assert_tensor(const struct tr_safetensors *file, const struct tr_tensor *want)
{
    const struct tr_tensor *got = tr_safetensors_find(file, want->name);
    size_t n;

    assert_non_null(got);
    assert_int_equal(got->dtype, want->dtype);
    assert_int_equal(got->rank, want->rank);
    assert_memory_equal(got->shape, want->shape, sizeof got->shape[0] * (size_t)want->rank);
    assert_int_equal(tr_tensor_bytes(want, &n), 0);
    if (n)
        assert_memory_equal(got->data, want->data, n);
}

static void a_file_of_the_reference_reads_as_what_was_put_in(void **state)
{
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(tr_safetensors_open(GOLDEN_DIR "/types.safetensors", &file, &text), 0);
    assert_int_equal(tr_safetensors_count(file), IM_COUNT(golden));
    for (size_t i = 0; i < IM_COUNT(golden); i++)
        assert_tensor(file, &golden[i]);
    assert_null(tr_safetensors_find(file, "fc"));
    assert_null(tr_safetensors_at(file, IM_COUNT(golden)));
    assert_string_equal(tr_safetensors_metadata(file, "format"), "pt");
    assert_null(tr_safetensors_metadata(file, "forma"));
    tr_safetensors_close(&file);
    assert_null(file);
}

static void equal_content_gives_the_bytes_of_the_reference(void **state)
{
    const char *path = join(*state, "types.safetensors");
    struct im_text text = {""};
    char *got, *want;
    size_t got_n, want_n;

    assert_int_equal(tr_safetensors_write(path, golden, IM_COUNT(golden), golden_metadata, 1, &text), 0);
    assert_int_equal(im_read_file(path, 10000, &got, &got_n, &text), 0);
    assert_int_equal(im_read_file(GOLDEN_DIR "/types.safetensors", 10000, &want, &want_n, &text), 0);
    assert_int_equal(got_n, want_n);
    assert_memory_equal(got, want, want_n);
    free(got);
    free(want);
}

static void a_file_without_tensors_is_legal(void **state)
{
    const char *path = join(*state, "none.safetensors");
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};

    assert_int_equal(tr_safetensors_write(path, NULL, 0, NULL, 0, &text), 0);
    assert_int_equal(tr_safetensors_open(path, &file, &text), 0);
    assert_int_equal(tr_safetensors_count(file), 0);
    assert_int_equal(tr_safetensors_metadata_count(file), 0);
    tr_safetensors_close(&file);
}

static void the_writer_refuses_what_no_reader_would_take(void **state)
{
    const char *path = join(*state, "bad.safetensors");
    struct tr_tensor twice[] = {golden[1], golden[1]};
    struct tr_tensor reserved[] = {{"__metadata__", TR_F32, 1, {2}, bias}};
    struct tr_tensor huge[] = {{"huge", TR_F32, 3, {1ull << 40, 1ull << 40, 4}, bias}};
    struct tr_pair keys[] = {{"a", "1"}, {"a", "2"}};
    struct im_text text = {""};

    assert_int_equal(tr_safetensors_write(path, twice, 2, NULL, 0, &text), -EINVAL);
    assert_non_null(strstr(text.s, "fc.bias"));
    assert_int_equal(tr_safetensors_write(path, reserved, 1, NULL, 0, &text), -EINVAL);
    assert_int_equal(tr_safetensors_write(path, huge, 1, NULL, 0, &text), -EOVERFLOW);
    assert_non_null(strstr(text.s, "huge"));
    assert_int_equal(tr_safetensors_write(path, golden, 1, keys, 2, &text), -EINVAL);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_failed_write_names_the_file_and_leaves_none(void **state)
{
    const char *path = join(*state, "missing/x.safetensors");
    struct im_text text = {""};

    assert_int_equal(tr_safetensors_write(path, golden, IM_COUNT(golden), NULL, 0, &text), -ENOENT);
    assert_non_null(strstr(text.s, path));
}

/* A file of this header and `data_bytes` zeroes; 0 or the reader's error. */
static int parse_header(const char *header, size_t data_bytes, struct im_text *text)
{
    uint64_t n = strlen(header);
    size_t size = sizeof n + n + data_bytes;
    char *file_bytes = calloc(1, size);
    struct tr_safetensors *file = NULL;
    int err;

    memcpy(file_bytes, &n, sizeof n);
    memcpy(file_bytes + sizeof n, header, n);
    *text = (struct im_text){""};
    err = tr_safetensors_parse("f", file_bytes, size, &file, text);
    assert_true((err == 0) == (file != NULL));
    tr_safetensors_close(&file);
    free(file_bytes);
    return err;
}

#define X(dtype, shape, offsets)                                                                             \
    "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(a, b) "{\"x\":{\"dtype\":\"U8\",\"shape\":" a "},\"y\":{\"dtype\":\"U8\",\"shape\":" b "}}"

static void legal_headers_are_taken(void **state)
{
    static const struct {
        const char *header;
        size_t data_bytes;
    } good[] = {
        {"{}", 0},
        {"{}      ", 0},
        {X("F32", "[]", "[0,4]"), 4},
        {X("F32", "[2,0,3]", "[0,0]"), 0},
        {X("U8", "[1,1,1,1,1,1,1,5]", "[0,5]"), 5},
        {TWO("[1],\"data_offsets\":[1,2]", "[1],\"data_offsets\":[0,1]"), 2},
        {TWO("[0],\"data_offsets\":[1,1]", "[1],\"data_offsets\":[0,1]"), 1},
        {"{\"__metadata__\":{}}", 0},
    };
    struct im_text text;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(good); i++)
        if (parse_header(good[i].header, good[i].data_bytes, &text) != 0)
            fail_msg("%s: %s", good[i].header, text.s);
}

static void headers_that_break_the_format_are_refused(void **state)
{
    static const struct {
        const char *header;
        size_t data_bytes;
        int err;
        const char *says;
    } bad[] = {
        {"", 0, -EBADMSG, "begin with {"},
        {" {}", 0, -EBADMSG, "begin with {"},
        {"[]", 0, -EBADMSG, "begin with {"},
        {"{", 0, -EBADMSG, "line 1"},
        {"{}x", 0, -EBADMSG, "line 1"},
        {"{\"x\":1,\"x\":2}", 0, -EBADMSG, "line 1"},
        {"{\"\xff\":1}", 0, -EBADMSG, "line 1"},
        {"{}", 1, -EBADMSG, "after the last"},
        {"{\"x\":1}", 0, -EBADMSG, "no dtype"},
        {"{\"x\":{\"dtype\":4}}", 0, -EBADMSG, "no dtype"},
        {X("F33", "[]", "[0,4]"), 4, -ENOTSUP, "F33"},
        {"{\"x\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, -EBADMSG, "no shape"},
        {X("U8", "1", "[0,1]"), 1, -EBADMSG, "no shape"},
        {X("U8", "[-1]", "[0,1]"), 1, -EBADMSG, "non-negative integer"},
        {X("U8", "[1.0]", "[0,1]"), 1, -EBADMSG, "non-negative integer"},
        {X("U8", "[\"1\"]", "[0,1]"), 1, -EBADMSG, "non-negative integer"},
        {X("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, -ENOTSUP, "9 dimensions"},
        {X("U8", "[1]", "[0]"), 1, -EBADMSG, "data_offsets"},
        {X("U8", "[1]", "[0,1,2]"), 1, -EBADMSG, "data_offsets"},
        {X("U8", "[1]", "[-1,0]"), 1, -EBADMSG, "data_offsets"},
        {X("U8", "[1]", "{\"0\":0,\"1\":1}"), 1, -EBADMSG, "data_offsets"},
        {X("U8", "[1]", "[1,0]"), 1, -EBADMSG, "outside"},
        {X("U8", "[2]", "[0,2]"), 1, -EBADMSG, "outside"},
        {X("U8", "[1]", "[9223372036854775807,9223372036854775807]"), 1, -EBADMSG, "outside"},
        {X("U8", "[1]", "[0,99999999999999999999]"), 1, -EBADMSG, "line 1"},
        {X("F32", "[1]", "[0,3]"), 3, -EBADMSG, "do not match"},
        {X("F32", "[4611686018427387905]", "[0,4]"), 4, -EBADMSG, "do not match"},
        {X("U8", "[4294967296,4294967296]", "[0,0]"), 0, -EBADMSG, "do not match"},
        {X("U8", "[1]", "[1,2]"), 2, -EBADMSG, "gap"},
        {TWO("[1],\"data_offsets\":[0,1]", "[1],\"data_offsets\":[2,3]"), 3, -EBADMSG, "gap"},
        {TWO("[2],\"data_offsets\":[0,2]", "[2],\"data_offsets\":[1,3]"), 3, -EBADMSG, "overlap"},
        {TWO("[2],\"data_offsets\":[0,2]", "[2],\"data_offsets\":[0,2]"), 2, -EBADMSG, "overlap"},
        {"{\"__metadata__\":1}", 0, -EBADMSG, "__metadata__"},
        {"{\"__metadata__\":{\"a\":1}}", 0, -EBADMSG, "__metadata__"},
    };
    struct im_text text;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(bad); i++) {
        int err = parse_header(bad[i].header, bad[i].data_bytes, &text);

        if (err != bad[i].err || !strstr(text.s, bad[i].says))
            fail_msg("%s: %d, \"%s\"; expected %d, \"%s\"", bad[i].header, err, text.s, bad[i].err,
                     bad[i].says);
    }
}

static void a_file_cut_short_anywhere_is_refused(void **state)
{
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    char *whole;
    size_t n;

    (void)state;
    assert_int_equal(im_read_file(GOLDEN_DIR "/types.safetensors", 10000, &whole, &n, &text), 0);
    for (size_t cut = 0; cut < n; cut++) {
        char *part = malloc(cut ? cut : 1);

        memcpy(part, whole, cut);
        assert_int_equal(tr_safetensors_parse("f", part, cut, &file, &text), -EBADMSG);
        free(part);
    }
    free(whole);
}

static void a_header_length_beyond_any_bound_is_refused(void **state)
{
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, 1ull << 63, 100000001, 9};
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(lengths); i++) {
        char start[16] = "";

        memcpy(start, &lengths[i], 8);
        memcpy(start + 8, "{}      ", 8);
        assert_int_equal(tr_safetensors_parse("f", start, sizeof start, &file, &text), -EBADMSG);
        assert_non_null(strstr(text.s, "length"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_the_reference_reads_as_what_was_put_in),
        cmocka_unit_test_setup_teardown(equal_content_gives_the_bytes_of_the_reference, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_file_without_tensors_is_legal, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(the_writer_refuses_what_no_reader_would_take, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_failed_write_names_the_file_and_leaves_none, make_directory,
                                        remove_directory),
        cmocka_unit_test(legal_headers_are_taken),
        cmocka_unit_test(headers_that_break_the_format_are_refused),
        cmocka_unit_test(a_file_cut_short_anywhere_is_refused),
        cmocka_unit_test(a_header_length_beyond_any_bound_is_refused),
    };

    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
