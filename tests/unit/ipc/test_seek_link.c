/* Links: what is found is complete, and only the bytes that it was made of agree with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/seek_link.h"

#define BYTES (5 * IM_LINK_BLOCK + 77)

struct place {
    char path[64];
    struct im_seek_owner owner;
    struct im_seek_link link, found;
    unsigned char bytes[BYTES];
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct im_text text;
    int fd;

    assert_non_null(p);
    snprintf(p->path, sizeof p->path, "/tmp/imsuper-link-XXXXXX");
    fd = mkstemp(p->path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(im_seek_own(p->path, 10, &p->owner, &text), 0);
    for (size_t i = 0; i < BYTES; i++)
        p->bytes[i] = (unsigned char)(i * 131 + i / 251);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    im_seek_disown(&p->owner);
    unlink(p->path);
    free(p);
    return 0;
}

static void what_was_added_is_found(void **state)
{
    struct place *p = *state;
    const uint64_t key = im_seek_link_key("/data/train/a/1.jpg", 0);
    size_t n;

    p->link = (struct im_seek_link){.image = 5, .scan = 600, .width = 500, .height = 375};
    n = im_seek_link_fill(&p->link, p->bytes, BYTES);
    assert_int_equal(n, offsetof(struct im_seek_link, check) + 6 * sizeof(uint32_t));
    assert_int_equal(im_seek_link_find(&p->owner.file, key, &p->found), 0);
    assert_int_equal(im_seek_add(&p->owner, key, &p->link, n), 0);
    assert_int_equal(im_seek_link_find(&p->owner.file, key, &p->found), n);
    assert_memory_equal(&p->found, &p->link, n);
    assert_int_equal(
        im_seek_link_find(&p->owner.file, im_seek_link_key("/data/train/a/1.jpg", 512), &p->found), 0);
    assert_int_equal(im_seek_link_find(&p->owner.file, im_seek_link_key("/data/train/a/2.jpg", 0), &p->found),
                     0);
}

/* Records of other sizes, as of a program of another version. */
static void what_is_no_whole_link_is_not_found(void **state)
{
    struct place *p = *state;
    const size_t n =
        (p->link = (struct im_seek_link){.scan = 600}, im_seek_link_fill(&p->link, p->bytes, BYTES));
    const size_t sizes[] = {1, 28, n - 4, n - 1, n + 4};

    for (size_t i = 0; i < IM_COUNT(sizes); i++) {
        assert_int_equal(im_seek_add(&p->owner, 100 + i, &p->link, sizes[i]), 0);
        assert_int_equal(im_seek_link_find(&p->owner.file, 100 + i, &p->found), 0);
    }
    p->link.scan = BYTES;
    assert_int_equal(im_seek_add(&p->owner, 99, &p->link, n), 0);
    assert_int_equal(im_seek_link_find(&p->owner.file, 99, &p->found), 0);
    p->link.scan = 600;
    p->link.phase = IM_LINK_BLOCK;
    assert_int_equal(im_seek_add(&p->owner, 97, &p->link, n), 0);
    assert_int_equal(im_seek_link_find(&p->owner.file, 97, &p->found), 0);
    p->link.phase = 0;
    p->link.bytes = UINT32_MAX;
    assert_int_equal(im_seek_add(&p->owner, 98, &p->link, n), 0);
    assert_int_equal(im_seek_link_find(&p->owner.file, 98, &p->found), 0);
}

static void only_its_bytes_agree(void **state)
{
    struct place *p = *state;

    p->link = (struct im_seek_link){.scan = 600};
    assert_true(im_seek_link_fill(&p->link, p->bytes, BYTES) > 0);
    assert_true(im_seek_link_agrees(&p->link, p->bytes, 0, BYTES));
    assert_true(im_seek_link_agrees(&p->link, p->bytes, 0, 0));
    for (size_t i = 0; i < BYTES; i += 509) {
        const uint32_t block = (uint32_t)i / IM_LINK_BLOCK * IM_LINK_BLOCK;
        const uint32_t end = block + IM_LINK_BLOCK < BYTES ? block + IM_LINK_BLOCK : BYTES;

        p->bytes[i] ^= 1;
        assert_false(im_seek_link_agrees(&p->link, p->bytes + block, block, end));
        assert_false(im_seek_link_agrees(&p->link, p->bytes, 0, BYTES));
        assert_true(im_seek_link_agrees(&p->link, p->bytes, 0, block));
        assert_true(im_seek_link_agrees(&p->link, p->bytes + (end < BYTES ? end : 0), end < BYTES ? end : 0,
                                        end < BYTES ? BYTES : 0));
        p->bytes[i] ^= 1;
    }
    /* Parts of blocks have no checksum. */
    assert_false(im_seek_link_agrees(&p->link, p->bytes + 1, 1, IM_LINK_BLOCK));
    assert_false(im_seek_link_agrees(&p->link, p->bytes, 0, IM_LINK_BLOCK + 1));
    assert_false(im_seek_link_agrees(&p->link, p->bytes, 0, BYTES + 1));
}

/* Of a member of a shard, blocks are the shard's. */
static void blocks_are_those_of_the_file(void **state)
{
    struct place *p = *state;

    for (uint32_t phase = 512; phase < IM_LINK_BLOCK; phase += 512) {
        const uint32_t first = IM_LINK_BLOCK - phase,
                       blocks = (BYTES + phase + IM_LINK_BLOCK - 1) / IM_LINK_BLOCK;
        size_t n;

        p->link = (struct im_seek_link){.scan = 600, .phase = phase};
        n = im_seek_link_fill(&p->link, p->bytes, BYTES);
        assert_int_equal(n, offsetof(struct im_seek_link, check) + blocks * sizeof(uint32_t));
        assert_int_equal(im_seek_link_down(phase, first - 1), 0);
        assert_int_equal(im_seek_link_down(phase, first), first);
        assert_int_equal(im_seek_link_down(phase, first + IM_LINK_BLOCK - 1), first);
        assert_int_equal(im_seek_link_up(phase, 1), first);
        assert_int_equal(im_seek_link_up(phase, first), first);
        assert_int_equal(im_seek_link_up(phase, first + 1), first + IM_LINK_BLOCK);
        assert_true(im_seek_link_agrees(&p->link, p->bytes, 0, BYTES));
        assert_true(im_seek_link_agrees(&p->link, p->bytes, 0, first));
        assert_true(im_seek_link_agrees(&p->link, p->bytes + first, first, first + IM_LINK_BLOCK));
        assert_false(im_seek_link_agrees(&p->link, p->bytes + IM_LINK_BLOCK, IM_LINK_BLOCK, BYTES));
        assert_false(im_seek_link_agrees(&p->link, p->bytes, 0, IM_LINK_BLOCK));
        for (uint32_t i = 0; i < BYTES; i += 509) {
            const uint32_t from = im_seek_link_down(phase, i), end = im_seek_link_up(phase, i + 1);

            p->bytes[i] ^= 1;
            assert_false(im_seek_link_agrees(&p->link, p->bytes + from, from, end < BYTES ? end : BYTES));
            assert_true(im_seek_link_agrees(&p->link, p->bytes, 0, from));
            p->bytes[i] ^= 1;
        }
    }
}

static void files_of_no_or_too_many_bytes_have_none(void **state)
{
    struct place *p = *state;
    const size_t most = (size_t)IM_LINK_BLOCKS_MAX * IM_LINK_BLOCK;
    unsigned char *bytes = calloc(1, most + 1);

    assert_non_null(bytes);
    assert_int_equal(im_seek_link_fill(&p->link, bytes, 0), 0);
    assert_int_equal(im_seek_link_fill(&p->link, bytes, most + 1), 0);
    assert_true(im_seek_link_fill(&p->link, bytes, most) <= IM_SEEK_BYTES_MAX);
    p->link.phase = 512;
    assert_int_equal(im_seek_link_fill(&p->link, bytes, most), 0);
    p->link.phase = IM_LINK_BLOCK;
    assert_int_equal(im_seek_link_fill(&p->link, bytes, 100), 0);
    p->link.phase = 0;
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_added_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_whole_link_is_not_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_its_bytes_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blocks_are_those_of_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_of_no_or_too_many_bytes_have_none, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
