/* The file of seek indexes: what was added is found, or nothing is, whatever happened to the file and to whoever
 * wrote it. */
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

#include "ipc/base/count.h"
#include "ipc/base/fault.h"
#include "ipc/base/hash.h"
#include "ipc/seek_file.h"

struct place {
    char folder[64], path[80];
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    assert_non_null(p);
    snprintf(p->folder, sizeof p->folder, "/tmp/imsuper-seek-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->path, sizeof p->path, "%s/x.seek", p->folder);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    unlink(p->path);
    rmdir(p->folder);
    free(p);
    return 0;
}

/* The record of a number: its key, and bytes of some length that follow from it. */
static uint64_t key_of(uint64_t number)
{
    return im_hash64(&number, sizeof number, 1);
}

static size_t record_of(uint64_t number, unsigned char *bytes)
{
    size_t n = number % 40 == 7 ? 20000 + number % 12768 : 1 + key_of(number) % 3000;

    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(number * 31 + i * (number % 7 + 1));
    return n;
}

static int add(struct im_seek_owner *owner, uint64_t number)
{
    unsigned char bytes[IM_SEEK_BYTES_MAX];
    size_t n = record_of(number, bytes);

    return im_seek_add(owner, key_of(number), bytes, n);
}

/* Is the record there? What is there must be the record. */
static bool has(struct im_seek_file *file, uint64_t number)
{
    unsigned char bytes[IM_SEEK_BYTES_MAX], found[IM_SEEK_BYTES_MAX];
    size_t n = record_of(number, bytes);
    int got = im_seek_find(file, key_of(number), found, sizeof found);

    if (got == -EAGAIN) { /* written back and forgotten meanwhile: wait for the disk */
        struct im_seek_file patient = *file;

        patient.may_wait = true;
        got = im_seek_find(&patient, key_of(number), found, sizeof found);
    }
    if (got == 0)
        return false;
    assert_int_equal(got, n);
    assert_memory_equal(found, bytes, n);
    return true;
}

static struct im_seek_owner own(const struct place *p, uint64_t images)
{
    struct im_text text = {""};
    struct im_seek_owner owner;

    if (im_seek_own(p->path, images, &owner, &text) < 0)
        fail_msg("%s", text.s);
    return owner;
}

static struct im_seek_file reader(const struct place *p)
{
    struct im_text text = {""};
    struct im_seek_file file;

    if (im_seek_open(p->path, &file, &text) < 0)
        fail_msg("%s", text.s);
    return file;
}

static off_t size_of(const struct place *p)
{
    struct stat st;

    assert_int_equal(stat(p->path, &st), 0);
    return st.st_size;
}

static void what_was_added_is_found(void **state)
{
    enum { IMAGES = 4000 };
    struct place *p = *state;
    struct im_seek_owner owner = own(p, IMAGES);
    struct im_seek_file file = reader(p);

    assert_false(has(&file, 0));
    for (uint64_t i = 0; i < IMAGES; i++) {
        assert_int_equal(add(&owner, i), 0);
        assert_int_equal(add(&owner, i), -EEXIST);
        if (i % 100 == 0)
            assert_true(has(&file, i)); /* by a reader that opened it before */
    }
    im_seek_disown(&owner);
    for (uint64_t i = 0; i < IMAGES; i++)
        assert_true(has(&file, i));
    for (uint64_t i = IMAGES; i < 2 * IMAGES; i++)
        assert_false(has(&file, i));
    im_seek_close(&file);

    owner = own(p, IMAGES);
    assert_int_equal(owner.used, IMAGES);
    assert_int_equal(add(&owner, 5), -EEXIST);
    im_seek_drop(&owner, key_of(5));
    im_seek_drop(&owner, key_of(IMAGES + 1));
    assert_int_equal(owner.used, IMAGES - 1);
    file = reader(p);
    assert_false(has(&file, 5));
    assert_true(has(&file, 6));
    assert_int_equal(add(&owner, 5), 0);
    assert_true(has(&file, 5));
    assert_int_equal(owner.used, IMAGES);
    im_seek_close(&file);
    im_seek_disown(&owner);
}

static void one_process_owns_it(void **state)
{
    struct place *p = *state;
    struct im_seek_owner first = own(p, 10), second;
    struct im_text text = {""};

    assert_int_equal(im_seek_own(p->path, 10, &second, &text), -EWOULDBLOCK);
    assert_true(strstr(text.s, "another process") != NULL);
    assert_int_equal(second.file.fd, -1);
    im_seek_disown(&second);
    assert_int_equal(add(&first, 1), 0);
    im_seek_disown(&first);
    second = own(p, 10);
    assert_int_equal(add(&second, 1), -EEXIST);
    im_seek_disown(&second);
}

static void what_is_no_file_of_ours_is_refused(void **state)
{
    struct place *p = *state;
    struct im_text text = {""};
    struct im_seek_owner owner;
    struct im_seek_file file;
    int fd;

    assert_int_equal(im_seek_open(p->path, &file, &text), -ENOENT);
    assert_int_equal(symlink("/dev/null", p->path), 0);
    assert_int_equal(im_seek_own(p->path, 10, &owner, &text), -ELOOP);
    unlink(p->path);
    assert_int_equal(mkdir(p->path, 0700), 0);
    assert_int_equal(im_seek_own(p->path, 10, &owner, &text), -EISDIR);
    assert_true(im_seek_open(p->path, &file, &text) < 0);
    rmdir(p->path);
    assert_int_equal(mkfifo(p->path, 0700), 0);
    assert_int_equal(im_seek_own(p->path, 10, &owner, &text), -EPERM);
    unlink(p->path);
    fd = open(p->path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "something else", 14), 14);
    close(fd);
    assert_int_equal(im_seek_open(p->path, &file, &text), -EBADMSG);
    assert_int_equal(im_seek_find(&file, 1, text.s, sizeof text.s), 0);
}

static void a_larger_data_set_gets_a_larger_table(void **state)
{
    struct place *p = *state;
    struct im_seek_owner owner = own(p, 100);
    uint32_t slots = owner.file.slots;

    assert_int_equal(add(&owner, 1), 0);
    im_seek_disown(&owner);
    owner = own(p, 50);
    assert_int_equal(owner.file.slots, slots);
    assert_int_equal(add(&owner, 1), -EEXIST);
    im_seek_disown(&owner);
    owner = own(p, 10000);
    assert_true(owner.file.slots >= 15000);
    assert_int_equal(add(&owner, 1), 0);
    im_seek_disown(&owner);
}

/* As when images change again and again. */
static void a_full_table_is_emptied(void **state)
{
    struct place *p = *state;
    struct im_seek_owner owner = own(p, 100);
    struct im_seek_file file = reader(p);
    off_t largest = 0;
    uint32_t there = 0;

    for (uint64_t i = 0; i < 3000; i++) {
        assert_int_equal(add(&owner, i), 0);
        assert_true(has(&file, i));
        largest = size_of(p) > largest ? size_of(p) : largest;
    }
    assert_true(owner.used <= owner.file.slots / 8 * 7);
    assert_true(largest < (off_t)owner.file.slots * 3000);
    for (uint64_t i = 0; i < 3000; i++)
        there += has(&file, i);
    assert_true(there > 0 && there <= owner.used);
    im_seek_close(&file);
    im_seek_disown(&owner);
}

static unsigned char *load(const struct place *p, size_t *ret_n)
{
    FILE *f = fopen(p->path, "r");
    unsigned char *bytes;

    assert_non_null(f);
    *ret_n = (size_t)size_of(p);
    bytes = malloc(*ret_n);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *ret_n, f), *ret_n);
    fclose(f);
    return bytes;
}

static void save(const struct place *p, const unsigned char *bytes, size_t n)
{
    int fd = open(p->path, O_WRONLY | O_TRUNC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
}

static void a_cut_file_has_fewer_records(void **state)
{
    enum { RECORDS = 60 };
    struct place *p = *state;
    struct im_seek_owner owner = own(p, 100);
    struct im_seek_file file;
    size_t n;
    unsigned char *bytes;

    for (uint64_t i = 0; i < RECORDS; i++)
        assert_int_equal(add(&owner, i), 0);
    im_seek_disown(&owner);
    bytes = load(p, &n);
    file = reader(p);
    for (size_t cut = n; cut > 0; cut -= 1 + cut / 40) {
        uint32_t there = 0;

        save(p, bytes, cut);
        for (uint64_t i = 0; i < RECORDS; i++)
            there += has(&file, i);
        assert_true(cut == n ? there == RECORDS : there < RECORDS);
        /* The next owner goes on, or begins anew. */
        owner = own(p, 100);
        for (uint64_t i = 0; i < RECORDS + 3; i++)
            assert_true(add(&owner, i) == (i < RECORDS && cut == n ? -EEXIST : 0) || i < RECORDS);
        for (uint64_t i = 0; i < RECORDS + 3; i++)
            assert_true(has(&file, i));
        im_seek_disown(&owner);
    }
    im_seek_close(&file);
    free(bytes);
}

static void damage_is_a_record_that_is_not_there(void **state)
{
    enum { RECORDS = 30 };
    struct place *p = *state;
    struct im_seek_owner owner = own(p, 100);
    struct im_seek_file file;
    size_t n;
    unsigned char *bytes;
    uint32_t random = 5, lost = 0;

    for (uint64_t i = 0; i < RECORDS; i++)
        assert_int_equal(add(&owner, i), 0);
    im_seek_disown(&owner);
    bytes = load(p, &n);
    for (int k = 0; k < 400; k++) {
        size_t at;

        random = random * 1664525 + 1013904223;
        at = k % 4 == 0 ? random % 64 : k % 4 == 1 ? 4096 + random % 8192 : random % n;
        bytes[at] ^= 0x41;
        save(p, bytes, n);
        if (im_seek_open(p->path, &file, NULL) == 0)
            for (uint64_t i = 0; i < RECORDS; i++)
                lost += !has(&file, i);
        im_seek_close(&file);
        owner = own(p, 100);
        for (uint64_t i = 0; i < RECORDS; i++)
            add(&owner, i);
        for (uint64_t i = 0; i < RECORDS; i++)
            assert_true(has(&owner.file, i));
        im_seek_disown(&owner);
        bytes[at] ^= 0x41;
    }
    assert_true(lost > 50);
    free(bytes);
}

static void whoever_is_killed_leaves_what_was_whole(void **state)
{
    static const char *const points[] = {"seek.make", "seek.record.before", "seek.record.after",
                                         "seek.slot.after"};
    struct place *p = *state;
    uint64_t done = 0;

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    for (size_t i = 0; i < 5 * IM_COUNT(points); i++) {
        struct im_seek_file file;
        struct im_seek_owner owner;
        char rule[64];
        int status, pipes[2];
        unsigned char byte;
        pid_t child;

        assert_int_equal(pipe(pipes), 0);
        child = fork();
        if (child == 0) {
            snprintf(rule, sizeof rule, "%s=kill@%zu", points[i % IM_COUNT(points)],
                     i % IM_COUNT(points) ? 3 + i : 1);
            if (im_fault_arm(rule, NULL) < 0 || im_seek_own(p->path, 1000, &owner, NULL) < 0)
                _exit(1);
            for (uint64_t k = done; k < done + 40; k++)
                if (add(&owner, k) < 0 || write(pipes[1], "", 1) != 1)
                    _exit(2);
            _exit(0);
        }
        close(pipes[1]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(i > 0 && i % IM_COUNT(points) == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                                                       : WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        while (read(pipes[0], &byte, 1) == 1)
            done++;
        close(pipes[0]);
        if (i == 0)
            continue; /* killed before it was a file of ours */
        file = reader(p);
        for (uint64_t k = 0; k < done; k++)
            assert_true(has(&file, k));
        has(&file, done); /* whole, or not there */
        im_seek_close(&file);
        owner = own(p, 1000);
        assert_true(add(&owner, done) == 0 || add(&owner, done) == -EEXIST);
        done++;
        im_seek_disown(&owner);
    }
    assert_true(done > 100);
}

static void a_full_disk_leaves_the_file_as_it_was(void **state)
{
    struct place *p = *state;
    struct im_seek_owner owner = own(p, 100);
    off_t size;

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    assert_int_equal(add(&owner, 1), 0);
    size = size_of(p);
    assert_int_equal(im_fault_arm("seek.record.before=fail:ENOSPC@1", NULL), 0);
    assert_int_equal(add(&owner, 2), -ENOSPC);
    assert_int_equal(im_fault_arm("", NULL), 0);
    assert_int_equal(size_of(p), size);
    assert_true(has(&owner.file, 1));
    assert_false(has(&owner.file, 2));
    assert_int_equal(add(&owner, 2), 0);
    assert_true(has(&owner.file, 2));
    assert_int_equal(im_seek_add(&owner, 3, "", 0), -EINVAL);
    im_seek_disown(&owner);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_was_added_is_found),
        TEST(one_process_owns_it),
        TEST(what_is_no_file_of_ours_is_refused),
        TEST(a_larger_data_set_gets_a_larger_table),
        TEST(a_full_table_is_emptied),
        TEST(a_cut_file_has_fewer_records),
        TEST(damage_is_a_record_that_is_not_there),
        TEST(whoever_is_killed_leaves_what_was_whole),
        TEST(a_full_disk_leaves_the_file_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
