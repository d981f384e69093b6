/* The images that predict is given: their order, and what cannot be read. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "supervisor/cli/inputs.h"
#include "tests/unit/ipc/base/unit.h"

static const char *at(const char *folder, const char *name)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void make(const char *folder, const char *name)
{
    int fd = open(at(folder, name), O_CREAT | O_WRONLY, 0600);

    assert_true(fd >= 0);
    close(fd);
}

static void must_end(const struct sv_inputs *inputs, size_t i, const char *end, int err)
{
    const char *name = inputs->item[i].name;

    assert_true(i < inputs->count);
    if (strlen(name) < strlen(end) || strcmp(name + strlen(name) - strlen(end), end) != 0 ||
        inputs->item[i].err != err)
        fail_msg("%s (%d) does not end with %s (%d)", name, inputs->item[i].err, end, err);
    assert_int_equal(inputs->item[i].path == NULL, err != 0);
}

static void a_folder_is_searched_by_name(void **state)
{
    struct sv_inputs inputs = {0};
    struct im_text text = {""};

    assert_int_equal(mkdir(at(*state, "b"), 0700), 0);
    make(*state, "b/2.png");
    make(*state, "b/1.JPG");
    make(*state, "c.jpg");
    make(*state, "a.webp");
    make(*state, "notes.txt");
    assert_int_equal(symlink(".", at(*state, "b/round")), 0); /* would lead in a circle */
    assert_int_equal(symlink("nowhere", at(*state, "d.jpg")), 0);
    assert_int_equal(symlink("c.jpg", at(*state, "e.jpg")), 0);
    assert_int_equal(sv_inputs_add(&inputs, *state, NULL, &text), 0);
    assert_int_equal(inputs.count, 6);
    assert_int_equal(inputs.readable, 5);
    must_end(&inputs, 0, "/a.webp", 0);
    must_end(&inputs, 1, "/b/1.JPG", 0);
    must_end(&inputs, 2, "/b/2.png", 0);
    must_end(&inputs, 3, "/c.jpg", 0);
    must_end(&inputs, 4, "/d.jpg", -ENOENT);
    must_end(&inputs, 5, "/e.jpg", 0);
    sv_inputs_fini(&inputs);
}

static void what_is_no_file_keeps_its_place(void **state)
{
    struct sv_inputs inputs = {0};
    struct im_text text = {""};

    make(*state, "x"); /* named, it is taken whatever it is called */
    assert_int_equal(mkfifo(at(*state, "pipe.jpg"), 0600), 0);
    assert_int_equal(sv_inputs_add(&inputs, at(*state, "gone.jpg"), NULL, &text), 0);
    assert_int_equal(sv_inputs_add(&inputs, at(*state, "x"), NULL, &text), 0);
    assert_int_equal(sv_inputs_add(&inputs, at(*state, "pipe.jpg"), NULL, &text), 0);
    assert_int_equal(inputs.count, 3);
    must_end(&inputs, 0, "gone.jpg", -ENOENT);
    must_end(&inputs, 1, "/x", 0);
    must_end(&inputs, 2, "pipe.jpg", -EINVAL);
    sv_inputs_fini(&inputs);
}

static void names_come_from_a_stream(const char *folder, const char *bytes, size_t n, size_t expected)
{
    struct sv_inputs inputs = {0};
    struct im_text text = {""};
    char *copy = malloc(n + 1);
    FILE *in;

    assert_non_null(copy);
    memcpy(copy, bytes, n);
    in = n ? fmemopen(copy, n, "r") : fopen("/dev/null", "r");
    assert_non_null(in);
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(sv_inputs_add(&inputs, "-", in, &text), 0);
    assert_int_equal(inputs.count, expected);
    for (size_t i = 0; i < expected; i++)
        assert_int_equal(inputs.item[i].err, 0);
    fclose(in);
    free(copy);
    sv_inputs_fini(&inputs);
}

static void names_end_with_a_newline_or_a_nul(void **state)
{
    struct sv_inputs inputs = {0};
    struct im_text text = {""};
    char *written = NULL;
    size_t n = 0;

    make(*state, "a b.jpg");
    make(*state, "c\nd.jpg");
    names_come_from_a_stream(*state, "a b.jpg\na b.jpg", 15, 2);
    names_come_from_a_stream(*state, "\n\na b.jpg\n\n", 11, 1);
    names_come_from_a_stream(*state, "c\nd.jpg\0a b.jpg", 16, 2);
    names_come_from_a_stream(*state, "", 0, 0);
    assert_int_equal(sv_inputs_add(&inputs, "c\nd.jpg", NULL, &text), 0);
    assert_int_equal(sv_inputs_add(&inputs, "gone", NULL, &text), 0);
    assert_int_equal(sv_inputs_add(&inputs, "a b.jpg", NULL, &text), 0);
    assert_int_equal(sv_inputs_write(&inputs, at(*state, "list"), &text), 0);
    assert_int_equal(im_read_file(at(*state, "list"), 4096, &written, &n, &text), 0);
    assert_true(written[0] == '/' && strstr(written, "c\nd.jpg") != NULL);
    assert_non_null(strstr(written + strlen(written) + 1, "a b.jpg"));
    assert_int_equal(written[n - 1], 0);
    free(written);
    sv_inputs_fini(&inputs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_folder_is_searched_by_name, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(what_is_no_file_keeps_its_place, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(names_end_with_a_newline_or_a_nul, make_directory, remove_directory),
    };

    return cmocka_run_group_tests_name("inputs", tests, NULL, NULL);
}
