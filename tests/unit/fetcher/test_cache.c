/* The cache: its limit, what goes first, two who use it, and what one who died has left. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fetcher/cache.h"
#include "ipc/object_seal.h"
#include "ipc/seek_file.h"
#include "reader/dataset/mirror.h"
#include "tests/unit/reader/tree.h"

enum { OBJECT = 4096, OBJECTS = 16 };

static int root_fd;

static const char *name_of(int i)
{
    static char name[32];

    snprintf(name, sizeof name, "%d.jpg", i);
    return name;
}

static struct fe_cache open_cache(const struct tree *tree, uint64_t limit)
{
    struct im_text text = {""};
    struct fe_cache c;

    for (int i = 0; i < 64; i++) {
        char path[64];

        snprintf(path, sizeof path, "objects/x/data/%s", name_of(i));
        if (access(tree_path(tree, path), F_OK) < 0)
            tree_file(tree, path, "");
    }
    if (fe_cache_open(tree_path(tree, "objects"), limit, &c, &text) < 0)
        fail_msg("%s", text.s);
    root_fd = open(tree_path(tree, "objects/x/data"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(root_fd >= 0);
    return c;
}

static int put(struct fe_cache *c, int i, uint64_t bytes)
{
    char buffer[OBJECT];
    struct fe_claim claim;
    int err = fe_cache_claim(c, (uint64_t)i, &claim);

    if (err < 0)
        return err;
    err = fe_cache_promise(c, &claim, bytes);
    if (err < 0) {
        fe_cache_drop(c, &claim);
        return err;
    }
    memset(buffer, 'a' + i % 26, sizeof buffer);
    for (uint64_t at = 0; at < bytes; at += sizeof buffer)
        assert_true(
            pwrite(claim.fd, buffer, bytes - at < sizeof buffer ? bytes - at : sizeof buffer, (off_t)at) > 0);
    return fe_cache_put(c, &claim, bytes, root_fd, name_of(i));
}

static int look_at(const char *name, int64_t since)
{
    uint32_t seal;

    return rd_mirror_look(root_fd, "", name, since, &seal);
}

static int look(int i)
{
    return look_at(name_of(i), 0);
}

/* As if it had been looked at `at` seconds after 1970. */
static void use(int i, int at)
{
    const struct timespec times[2] = {{.tv_sec = at}, {.tv_nsec = UTIME_OMIT}};

    assert_int_equal(utimensat(root_fd, name_of(i), times, 0), 0);
}

static void a_look_is_a_use(void **state)
{
    struct fe_cache c = open_cache(*state, OBJECTS * OBJECT);
    struct stat st;

    for (int i = 0; i < OBJECTS; i++)
        assert_int_equal(put(&c, i, OBJECT), 0);
    use(3, 1000);
    assert_true(fe_cache_look(&c, root_fd, name_of(3)));
    assert_int_equal(fstatat(root_fd, name_of(3), &st, 0), 0);
    assert_true(st.st_atim.tv_sec > 1000);
    assert_false(fe_cache_look(&c, root_fd, name_of(50)));
    fe_cache_close(&c);
    close(root_fd);
}

static void limit_is_held(void **state)
{
    struct fe_cache c = open_cache(*state, OBJECTS * OBJECT);

    for (int i = 0; i < 40; i++) {
        assert_int_equal(put(&c, i, OBJECT - 100), 0);
        assert_true(fe_cache_used(&c) <= OBJECTS * OBJECT);
        assert_int_equal(look(i), RD_OBJECT_HERE);
        use(i, (i + 1) * 10);
        use(0, (i + 1) * 10 + 5); /* one that is used again and again stays */
    }
    assert_int_equal(look(1), RD_OBJECT_AWAY);
    assert_int_equal(look(20), RD_OBJECT_AWAY);
    assert_int_equal(look(36), RD_OBJECT_HERE);
    assert_int_equal(put(&c, 50, OBJECTS * OBJECT + 1), -EFBIG);
    assert_true(fe_cache_used(&c) <= OBJECTS * OBJECT);
    fe_cache_close(&c);
    close(root_fd);
}

/* What is not an image is what the index was made of. */
static void tables_stay(void **state)
{
    const struct tree *tree = *state;
    struct fe_cache c;
    struct stat st;

    tree_file(tree, "objects/x/data/train.csv", "file,label\n");
    c = open_cache(tree, OBJECTS * OBJECT);
    assert_int_equal(fe_cache_used(&c), OBJECT);
    for (int i = 0; i < 40; i++)
        assert_int_equal(put(&c, i, OBJECT), 0);
    assert_int_equal(stat(tree_path(tree, "objects/x/data/train.csv"), &st), 0);
    assert_int_equal(st.st_size, 11);
    fe_cache_close(&c);
    close(root_fd);
}

static void two_of_them(void **state)
{
    struct fe_cache a = open_cache(*state, OBJECTS * OBJECT), b, third;
    struct fe_claim claim, other;
    int fd = root_fd;

    b = open_cache(*state, OBJECTS * OBJECT);
    close(fd);
    assert_int_equal(fe_cache_claim(&a, 1, &claim), 0);
    assert_int_equal(fe_cache_claim(&b, 1, &other), -EBUSY);
    assert_int_equal(fe_cache_promise(&a, &claim, OBJECT), 0);
    assert_int_equal(fe_cache_used(&b), OBJECT);
    fd = root_fd;
    third = open_cache(*state, OBJECTS * OBJECT); /* counts anew: what is under way, too */
    close(fd);
    assert_int_equal(fe_cache_used(&b), OBJECT);
    fe_cache_close(&third);
    fe_cache_drop(&a, &claim);
    assert_int_equal(fe_cache_used(&b), 0);
    assert_int_equal(fe_cache_claim(&b, 1, &other), 0);
    assert_int_equal(fe_cache_promise(&b, &other, 10), 0);
    assert_int_equal(pwrite(other.fd, "0123456789", 10, 0), 10);
    assert_int_equal(fe_cache_put(&b, &other, 10, root_fd, name_of(1)), 0);
    /* It came before ours: ours is thrown away, and counted off. */
    assert_int_equal(fe_cache_claim(&a, 1, &claim), 0);
    assert_int_equal(fe_cache_promise(&a, &claim, OBJECT), 0);
    assert_int_equal(fe_cache_put(&a, &claim, OBJECT, root_fd, name_of(1)), 0);
    assert_int_equal(fe_cache_used(&a), OBJECT);
    fe_cache_close(&a);
    fe_cache_close(&b);
    close(root_fd);
}

/* Who holds a download is stopped, and goes on when another has taken it over and has, or has not, put it in place. */
static void a_stopped_owner(void **state)
{
    const struct timespec old[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
    struct fe_cache a = open_cache(*state, OBJECTS * OBJECT), b;
    struct fe_claim stopped, claim;

    close(root_fd);
    b = open_cache(*state, OBJECTS * OBJECT);
    for (int ends = 0; ends < 3; ends++) {
        assert_int_equal(fe_cache_claim(&a, 1, &stopped), 0);
        assert_int_equal(fe_cache_promise(&a, &stopped, OBJECT), 0);
        assert_int_equal(fe_cache_claim(&b, 1, &claim), -EBUSY);
        assert_int_equal(futimens(stopped.fd, old), 0);
        assert_int_equal(fe_cache_claim(&b, 1, &claim), 0);
        assert_int_equal(fe_cache_promise(&b, &claim, 10), 0);
        assert_int_equal(pwrite(claim.fd, "0123456789", 10, 0), 10);
        if (ends == 0) /* another's half is not put in place by the name */
            assert_int_equal(fe_cache_put(&a, &stopped, OBJECT, root_fd, name_of(1)), -EAGAIN);
        if (ends == 1) /* nor removed */
            fe_cache_drop(&a, &stopped);
        assert_int_equal(look(1), RD_OBJECT_AWAY);
        assert_int_equal(fe_cache_put(&b, &claim, 10, root_fd, name_of(1)), 0);
        if (ends == 2)
            assert_int_equal(fe_cache_put(&a, &stopped, OBJECT, root_fd, name_of(1)), 0);
        assert_int_equal(look(1), RD_OBJECT_HERE);
        assert_int_equal(fe_cache_used(&a), OBJECT);
        assert_int_equal(fe_cache_forget(&a, root_fd, name_of(1)), 0);
    }
    fe_cache_close(&a);
    fe_cache_close(&b);
    close(root_fd);
}

/* A process dies with a promise, in the middle of its bytes. */
static void after_a_death(void **state)
{
    struct fe_cache c = open_cache(*state, OBJECTS * OBJECT), d;
    struct fe_claim claim;
    pid_t pid = fork();
    int status, fd = root_fd;

    if (pid == 0) {
        struct fe_cache own;

        /* Its own: locks of a parent would be shared. */
        if (fe_cache_open(c.path, OBJECTS * OBJECT, &own, NULL) == 0 &&
            fe_cache_claim(&own, 3, &claim) == 0 && fe_cache_promise(&own, &claim, 3 * OBJECT) == 0 &&
            pwrite(claim.fd, "abc", 3, 0) == 3)
            raise(SIGKILL);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(fe_cache_used(&c), 3 * OBJECT); /* too much, never too little */
    assert_int_equal(fe_cache_claim(&c, 3, &claim), 0);
    assert_int_equal(fe_cache_used(&c), 0);
    fe_cache_drop(&c, &claim);
    assert_int_equal(put(&c, 3, OBJECT), 0);
    tree_file(*state, "objects/tmp/.empty-1", ""); /* of one who died with the lock */
    tree_file(*state, "objects/tmp/.times-1", "");
    d = open_cache(*state, OBJECTS * OBJECT); /* counts anew */
    close(fd);
    assert_int_equal(faccessat(d.tmp_fd, ".empty-1", F_OK, 0), -1);
    assert_int_equal(faccessat(d.tmp_fd, ".times-1", F_OK, 0), -1);
    assert_int_equal(fe_cache_used(&d), OBJECT);
    fe_cache_close(&c);
    fe_cache_close(&d);
    close(root_fd);
}

static void objects_that_cannot_be_had(void **state)
{
    struct fe_cache c = open_cache(*state, OBJECTS * OBJECT);

    assert_int_equal(look(5), RD_OBJECT_AWAY);
    assert_int_equal(fe_cache_mark(&c, root_fd, name_of(5)), 0);
    assert_int_equal(look(5), RD_OBJECT_FAILED);
    assert_int_equal(look_at(name_of(5), INT64_MAX), RD_OBJECT_AWAY); /* an older run's */
    assert_int_equal(put(&c, 5, 10), 0);
    assert_int_equal(look(5), RD_OBJECT_HERE);
    assert_int_equal(fe_cache_mark(&c, root_fd, name_of(5)), 0); /* it is here after all */
    assert_int_equal(look(5), RD_OBJECT_HERE);
    assert_int_equal(fe_cache_forget(&c, root_fd, name_of(5)), 0);
    assert_int_equal(look(5), RD_OBJECT_AWAY);
    assert_int_equal(fe_cache_used(&c), 0);
    assert_int_equal(look_at("none.jpg", 0), RD_OBJECT_AWAY); /* somebody removed it */
    fe_cache_close(&c);
    close(root_fd);
}

/* What was put in place says by its time which bytes it has; anything else that lies there is none, and makes room for what is fetched. */
static void objects_are_sealed(void **state)
{
    struct fe_cache c = open_cache(*state, OBJECTS * OBJECT);
    char bytes[OBJECT];
    uint32_t seal = 0;
    int fd;

    assert_int_equal(put(&c, 3, OBJECT), 0);
    memset(bytes, 'a' + 3, sizeof bytes);
    assert_int_equal(rd_mirror_look(root_fd, "", name_of(3), 0, &seal), RD_OBJECT_HERE);
    assert_int_equal(seal, im_object_seal(im_seek_key(bytes, OBJECT)));
    bytes[77] ^= 1;
    assert_int_not_equal(seal, im_object_seal(im_seek_key(bytes, OBJECT)));
    assert_int_not_equal(seal, im_object_seal(im_seek_key(bytes, OBJECT - 1)));

    /* Its path is that in the mirror, from wherever it is looked at; in another's place it is damaged. */
    bytes[77] ^= 1;
    assert_int_equal(rd_mirror_place("a/b/", "c.jpg"), rd_mirror_place("", "a/b/c.jpg"));
    assert_int_equal(renameat(root_fd, name_of(3), root_fd, "other.jpg"), 0);
    assert_int_equal(rd_mirror_look(root_fd, "", "other.jpg", 0, &seal), RD_OBJECT_HERE);
    assert_int_not_equal(seal, im_object_seal(im_seek_key(bytes, OBJECT)));
    assert_int_equal(renameat(root_fd, "other.jpg", root_fd, name_of(3)), 0);

    fd = openat(root_fd, name_of(3), O_WRONLY | O_APPEND); /* somebody writes there */
    assert_int_equal(write(fd, bytes, 100), 100);
    close(fd);
    assert_int_equal(look(3), RD_OBJECT_AWAY);
    assert_false(fe_cache_look(&c, root_fd, name_of(3)));
    assert_int_equal(put(&c, 3, OBJECT), 0);
    assert_int_equal(look(3), RD_OBJECT_HERE);
    assert_true(fe_cache_look(&c, root_fd, name_of(3)));
    assert_true(fe_cache_used(&c) <= 2 * OBJECT);

    assert_int_equal(unlinkat(root_fd, name_of(3), 0), 0);
    assert_int_equal(mkdirat(root_fd, name_of(3), 0700), 0);
    assert_int_equal(look(3), RD_OBJECT_AWAY);
    assert_false(fe_cache_look(&c, root_fd, name_of(3)));
    assert_int_equal(mkdirat(root_fd, "3.jpg/inner", 0700), 0);
    assert_true(put(&c, 3, OBJECT) < 0);
    assert_int_equal(unlinkat(root_fd, "3.jpg/inner", AT_REMOVEDIR), 0);
    assert_int_equal(put(&c, 3, OBJECT), 0);
    assert_int_equal(look(3), RD_OBJECT_HERE);
    fe_cache_close(&c);
    close(root_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_look_is_a_use, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(objects_are_sealed, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(limit_is_held, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(tables_stay, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(two_of_them, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(a_stopped_owner, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(after_a_death, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(objects_that_cannot_be_had, tree_setup, tree_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
