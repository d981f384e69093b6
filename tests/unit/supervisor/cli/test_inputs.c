/* The images that predict is given: their order, and what cannot be read. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
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

/* 23 names of which each seventh is of no file: "0", "1", ... */
static void add_numbers(const char *folder, struct sv_inputs *inputs)
{
    char name[16];

    for (int i = 0; i < 23; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(sv_inputs_append(inputs, name, i % 7 == 6 ? NULL : folder, i % 7 == 6 ? -ENOENT : 0),
                         0);
    }
}

static void parts_are_the_whole_in_its_order(void **state)
{
    (void)state;
    for (size_t images = 1; images <= 24; images++)
        for (size_t shards = 1; shards <= 30; shards++) {
            int next = 0;
            size_t before = 0;

            for (size_t i = 0; i < shards; i++) {
                struct sv_inputs inputs = {0};

                add_numbers("/x", &inputs);
                sv_inputs_keep(&inputs, &(struct sv_shard){i, shards}, images);
                if (inputs.readable > 0 && before % images != 0)
                    fail_msg("part %zu of %zu begins inside a step of %zu", i, shards, images);
                before += inputs.readable;
                for (size_t k = 0; k < inputs.count; k++)
                    assert_int_equal(strtol(inputs.item[k].name, NULL, 10), next++);
                sv_inputs_fini(&inputs);
            }
            assert_int_equal(next, 23);
            assert_int_equal(before, 20);
        }
}

static void a_shard_is_given_or_a_launcher_says_it(void **state)
{
    static const char *const bad[] = {"",    "1",    "1/",   "/2",        "2/2", "-1/2",
                                      "0/0", "0/2x", " 0/2", "0/1000001", "a/b"};
    struct im_text text = {""};
    struct sv_shard shard;

    (void)state;
    for (size_t k = 0; k < IM_COUNT(bad); k++)
        assert_int_equal(sv_shard_parse(bad[k], &shard, &text), -EINVAL);
    assert_int_equal(sv_shard_parse("3/4", &shard, &text), 0);
    assert_true(shard.number == 3 && shard.count == 4);
    assert_int_equal(sv_shard_parse("auto", &shard, &text), -EINVAL);
    assert_non_null(strstr(text.s, "no launcher"));
    setenv("NODE_RANK", "2", 1);
    setenv("NNODES", "3", 1);
    setenv("MASTER_ADDR", "n0", 1);
    assert_int_equal(sv_shard_parse("auto", &shard, &text), 0);
    assert_true(shard.number == 2 && shard.count == 3);
    unsetenv("MASTER_ADDR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_folder_is_searched_by_name, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(what_is_no_file_keeps_its_place, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(names_end_with_a_newline_or_a_nul, make_directory, remove_directory),
        cmocka_unit_test(parts_are_the_whole_in_its_order),
        cmocka_unit_test(a_shard_is_given_or_a_launcher_says_it),
    };

    return cmocka_run_group_tests_name("inputs", tests, NULL, NULL);
}
