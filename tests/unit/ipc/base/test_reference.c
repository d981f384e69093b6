/* References to images: what they name, and that exactly this is read. */
#include "tests/unit/ipc/base/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/reference.h"

#define BYTES 20000

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 7 + i / 256 + 1);
}

static int set_up(void **state)
{
    char *path = strdup("/tmp/imsuper-reference-XXXXXX");
    unsigned char bytes[BYTES];
    int fd = mkstemp(path);

    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = byte_at(i);
    assert_int_equal(write(fd, bytes, BYTES), BYTES);
    close(fd);
    *state = path;
    return 0;
}

static int tear_down(void **state)
{
    unlink(*state);
    free(*state);
    return 0;
}

static void a_file_or_a_part_of_it_is_read(void **state)
{
    char reference[256], *bytes;
    size_t n;

    assert_int_equal(im_reference_read(*state, BYTES, &bytes, &n, NULL), 0);
    assert_int_equal(n, BYTES);
    free(bytes);
    snprintf(reference, sizeof reference, "%s", (const char *)*state);
    assert_true(im_reference_add(reference, sizeof reference, 513, 1000) > 0);
    assert_int_equal(im_reference_read(reference, 1000, &bytes, &n, NULL), 0);
    assert_int_equal(n, 1000);
    for (size_t i = 0; i < n; i++)
        assert_int_equal((unsigned char)bytes[i], byte_at(513 + i));
    assert_int_equal(bytes[n], 0);
    free(bytes);
    assert_int_equal(im_reference_read(reference, 999, &bytes, &n, NULL), -EFBIG);
    snprintf(reference, sizeof reference, "%s//@%d+10", (const char *)*state, BYTES - 9);
    assert_int_equal(im_reference_read(reference, 1000, &bytes, &n, NULL), -ENODATA);
}

/* Of an image at `offset` of the file; the rest is zeros. */
static void check_two(const char *reference, size_t offset, size_t n, const size_t two[3])
{
    char *bytes;

    assert_int_equal(im_reference_read_two(reference, n, two, &bytes, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        const bool is_read = i < two[0] || (i >= two[1] && i < two[2]);

        assert_int_equal((unsigned char)bytes[i], is_read ? byte_at(offset + i) : 0);
    }
    free(bytes);
}

static void two_parts_of_an_image_are_read_and_nothing_else(void **state)
{
    static const size_t parts[][3] = {{4096, 8192, 12288}, {1, 1, 2}, {10, 10, 10}, {7, 9000, 10000}};
    char reference[256], *bytes;

    snprintf(reference, sizeof reference, "%s//@700+10000", (const char *)*state);
    for (size_t i = 0; i < IM_COUNT(parts); i++) {
        check_two(*state, 0, BYTES, parts[i]);
        if (parts[i][2] <= 10000)
            check_two(reference, 700, 10000, parts[i]);
    }
    /* Files that are shorter than they were, or away. */
    assert_int_equal(im_reference_read_two(*state, 30000, (const size_t[]){10, 19000, 20001}, &bytes, NULL),
                     -ENODATA);
    assert_int_equal(im_reference_read_two(*state, 60000, (const size_t[]){10, 50000, 51000}, &bytes, NULL),
                     -ENODATA);
    unlink(*state);
    assert_int_equal(im_reference_read_two(*state, BYTES, parts[0], &bytes, NULL), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_or_a_part_of_it_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_parts_of_an_image_are_read_and_nothing_else, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
