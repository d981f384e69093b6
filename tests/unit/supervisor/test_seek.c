/* The owner of the seek index: what it does while its disk is full. */
#include "tests/unit/ipc/small_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/seek_ring.h"
#include "supervisor/seek.h"

struct owner {
    struct small_run *small;
    struct im_conf conf;
    struct sv_seek seek;
    char folder[64];
    uint64_t key;
};

static int setup(void **state)
{
    struct owner *o = calloc(1, sizeof *o);
    void *small = NULL;

    if (!o || small_setup(&small) != 0)
        return -1;
    o->small = small;
    snprintf(o->folder, sizeof o->folder, "/tmp/imsuper-unit-XXXXXX");
    if (!mkdtemp(o->folder))
        return -1;
    snprintf(o->conf.seek_file, sizeof o->conf.seek_file, "%s/x.seek", o->folder);
    sv_seek_open(&o->seek, &o->small->run, &o->conf);
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    struct owner *o = *state;
    void *small = o->small;

    im_fault_arm("", NULL);
    sv_seek_close(&o->seek, 10 * IM_SECOND);
    unlink(o->conf.seek_file);
    rmdir(o->folder);
    small_teardown(&small);
    free(o);
    return 0;
}

static bool is_wanted(const struct owner *o)
{
    return atomic_load_explicit(&o->small->run.control->seek_wanted, memory_order_relaxed) != 0;
}

static void put_record(struct owner *o)
{
    unsigned char bytes[100] = {1};

    assert_true(im_seek_ring_put(&o->small->run.seek_ring[0], ++o->key, bytes, sizeof bytes));
}

static bool ring_is_empty(const struct owner *o)
{
    return im_seek_ring_is_empty(&o->small->run.seek_ring[0]);
}

/* Turns until the file is owned. */
static void become_owner(struct owner *o)
{
    for (int i = 0; i < 1000 && !is_wanted(o); i++) {
        sv_seek_turn(&o->seek);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_true(is_wanted(o));
}

static void wait_for_thread(struct owner *o)
{
    assert_int_not_equal(im_writer_wait(o->seek.writer, false, 20 * IM_SECOND), -ETIMEDOUT);
}

static void an_owner_takes_what_augmenters_made(void **state)
{
    struct owner *o = *state;
    struct im_seek_file file;
    unsigned char bytes[IM_SEEK_BYTES_MAX];

    become_owner(o);
    put_record(o);
    put_record(o);
    sv_seek_turn(&o->seek);
    wait_for_thread(o);
    assert_true(ring_is_empty(o));
    assert_int_equal(im_seek_open(o->conf.seek_file, &file, NULL), 0);
    assert_int_equal(im_seek_find(&file, 1, bytes, sizeof bytes), 100);
    assert_int_equal(im_seek_find(&file, 2, bytes, sizeof bytes), 100);
    im_seek_close(&file);
}

/* The loop turns on while the thread stands in a call that is to fail: the thread is asked once more, and does it after the
 * pause has begun. */
static void a_full_disk_is_left_alone_for_a_while_though_the_thread_was_asked_again(void **state)
{
    struct owner *o = *state;
    struct im_text why = {""};

#ifndef IMSUPER_FAULTS
    skip();
#endif
    become_owner(o);
    put_record(o);
    put_record(o);
    assert_int_equal(im_fault_arm("seek.slot.after=sleep:500@1,seek.record.before=fail:ENOSPC@2", NULL), 0);
    sv_seek_turn(&o->seek);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    put_record(o);
    sv_seek_turn(&o->seek); /* while the thread is in the first record */
    wait_for_thread(o);
    assert_false(is_wanted(o));
    assert_true(o->seek.owner.file.fd < 0);
    assert_false(ring_is_empty(o));
    assert_true(sv_seek_news(&o->seek, &why));
    assert_non_null(strstr(why.s, "the disk is full"));

    /* In the pause it is not asked. */
    sv_seek_turn(&o->seek);
    wait_for_thread(o);
    assert_false(is_wanted(o));

    /* After it, it goes on. */
    atomic_store_explicit(&o->seek.next_try, 1, memory_order_relaxed);
    become_owner(o);
    sv_seek_turn(&o->seek);
    wait_for_thread(o);
    assert_true(ring_is_empty(o));
    assert_true(sv_seek_news(&o->seek, &why));
    assert_string_equal(why.s, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_owner_takes_what_augmenters_made, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_full_disk_is_left_alone_for_a_while_though_the_thread_was_asked_again, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
