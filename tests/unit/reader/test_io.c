/* Both engines, same tests: what a file is decides the result, and nothing stalls. The io_uring half is
 * skipped, saying so, where the system has none. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/fault.h"
#include "reader/dataset/tar.h"
#include "reader/io.h"
#include "tests/unit/reader/tree.h"

#define DEPTH 16
#define CAPACITY 4096
#define WAIT_NS (20 * IM_SECOND) /* long: it only ends a test that hangs */

struct fixture {
    enum rd_io_kind kind;
    struct tree tree;
    struct rd_io *io;
    int root_fd;
    char *buffer; /* CAPACITY bytes and a guard behind them */
};

static enum rd_io_kind kinds[] = {RD_IO_URING, RD_IO_PREAD};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct rd_io_options options = {.kind = *(enum rd_io_kind *)*state, .depth = DEPTH};
    struct im_text text = {""}, note;

    tree_init(&f->tree);
    f->kind = options.kind;
    f->root_fd = options.root_fd = open(f->tree.root, O_RDONLY | O_DIRECTORY);
    f->buffer = malloc(CAPACITY + 16);
    memset(f->buffer, 0x5a, CAPACITY + 16);
    if (rd_io_open(&options, &f->io, &note, &text) < 0)
        print_message("# skipped: %s\n", text.s);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int err = rd_io_close(&f->io, WAIT_NS);

    for (int i = 0; i < 16; i++)
        err |= f->buffer[CAPACITY + i] != 0x5a;
    close(f->root_fd);
    tree_fini(&f->tree);
    free(f->buffer);
    free(f);
    return err;
}

static struct fixture *ready(void **state)
{
    struct fixture *f = *state;

    if (!f->io)
        skip();
    return f;
}

static struct rd_io_result read_one(struct fixture *f, const char *path)
{
    struct rd_io_request request = {.path = path, .buffer = f->buffer, .capacity = CAPACITY, .tag = 77};
    struct rd_io_result result;

    assert_int_equal(rd_io_submit(f->io, &request), 0);
    assert_int_equal(rd_io_reap(f->io, &result, 1, WAIT_NS), 1);
    assert_int_equal(result.tag, 77);
    assert_int_equal(rd_io_in_flight(f->io), 0);
    return result;
}

static void make_file(struct fixture *f, const char *path, size_t bytes)
{
    unsigned char *content = malloc(bytes + 1);

    for (size_t i = 0; i < bytes; i++)
        content[i] = (unsigned char)(i * 31 + bytes);
    tree_bytes(&f->tree, path, content, bytes);
    free(content);
}

static void check_content(const char *buffer, size_t bytes, size_t file_bytes)
{
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal((unsigned char)buffer[i], (unsigned char)(i * 31 + file_bytes));
}

static void a_file_is_read_whole(void **state)
{
    struct fixture *f = ready(state);
    struct rd_io_result result;

    make_file(f, "a/b.jpg", 1234);
    result = read_one(f, "a/b.jpg");
    assert_int_equal(result.bytes, 1234);
    assert_int_equal(result.file_bytes, 1234);
    assert_int_equal(result.too_large, 0);
    check_content(f->buffer, 1234, 1234);
    assert_int_equal(f->buffer[1234], 0x5a);
    result = read_one(f, tree_path(&f->tree, "a/b.jpg")); /* absolute */
    assert_int_equal(result.bytes, 1234);
}

static struct rd_io_result read_two_to(struct fixture *f, const char *path, struct rd_io_two two)
{
    struct rd_io_request request = {
        .path = path, .buffer = f->buffer, .capacity = CAPACITY, .tag = 77, .two = two};
    struct rd_io_result result;

    assert_int_equal(rd_io_submit(f->io, &request), 0);
    assert_int_equal(rd_io_reap(f->io, &result, 1, WAIT_NS), 1);
    assert_int_equal(result.tag, 77);
    return result;
}

#define read_two(f, path, head, from, to) read_two_to(f, path, (struct rd_io_two){head, from, to, from})

static void two_parts_of_a_file_are_read_and_nothing_else(void **state)
{
    static const uint32_t parts[][3] = {
        {10, 100, 300}, {1, 1, 2}, {50, 50, 50}, {512, 900, 1000}, {1000, 1000, 1000}};
    struct fixture *f = ready(state);

    make_file(f, "parts", 1000);
    for (size_t i = 0; i < IM_COUNT(parts); i++) {
        const uint32_t head = parts[i][0], from = parts[i][1], to = parts[i][2];
        const uint32_t places[] = {from, head,
                                   CAPACITY - (to - from)}; /* its own; behind the other; the last */

        for (size_t place = 0; place < IM_COUNT(places); place++) {
            const uint32_t at = places[place], end = at + (to - from);

            memset(f->buffer, 0x33, CAPACITY);
            assert_int_equal(read_two_to(f, "parts", (struct rd_io_two){head, from, to, at}).bytes,
                             head + to - from);
            check_content(f->buffer, head, 1000);
            for (uint32_t k = head; k < CAPACITY; k++)
                assert_int_equal((unsigned char)f->buffer[k],
                                 k >= at && k < end ? (unsigned char)((k - at + from) * 31 + 1000) : 0x33);
        }
    }
    /* Files that end before, or are none. */
    assert_int_equal(read_two(f, "parts", 10, 900, 1001).bytes, -ENODATA);
    assert_int_equal(read_two(f, "parts", 10, 1100, 1200).bytes, -ENODATA);
    assert_int_equal(read_two(f, "missing", 10, 20, 30).bytes, -ENOENT);
    tree_folder(&f->tree, "folder");
    assert_int_equal(read_two(f, "folder", 10, 20, 30).bytes, -EISDIR);
    assert_int_equal(mkfifoat(f->root_fd, "pipe-of-parts", 0600), 0);
    assert_int_equal(read_two(f, "pipe-of-parts", 10, 20, 30).bytes, -EINVAL);
    /* And a whole one after them. */
    assert_int_equal(read_one(f, "parts").bytes, 1000);
}

static void parts_beside_the_buffer_are_refused(void **state)
{
    /* One in the other; less than nothing; both at one place; behind the end, and further than numbers go. */
    static const struct rd_io_two parts[] = {
        {10, 9, 20, 10},
        {10, 20, 19, 20},
        {10, 20, 30, 9},
        {10, 20, 30, CAPACITY - 9},
        {10, 20, 30, CAPACITY + 1},
        {10, 20, 30, UINT32_MAX - 5},
    };
    struct fixture *f = ready(state);

    make_file(f, "parts", 1000);
    for (size_t i = 0; i < IM_COUNT(parts); i++)
        assert_int_equal(
            rd_io_submit(f->io,
                         &(struct rd_io_request){.path = "parts", .capacity = CAPACITY, .two = parts[i]}),
            -EINVAL);
    assert_int_equal(read_two_to(f, "parts", (struct rd_io_two){10, 20, 30, CAPACITY - 10}).bytes, 20);
}

static void an_empty_file_is_a_result(void **state)
{
    struct fixture *f = ready(state);
    struct rd_io_result result;

    make_file(f, "empty", 0);
    result = read_one(f, "empty");
    assert_int_equal(result.bytes, 0);
    assert_int_equal(result.file_bytes, 0);
    assert_int_equal(result.too_large, 0);
}

static void a_file_of_exactly_the_capacity_fits(void **state)
{
    struct fixture *f = ready(state);
    struct rd_io_result result;

    make_file(f, "fits", CAPACITY);
    result = read_one(f, "fits");
    assert_int_equal(result.bytes, CAPACITY);
    assert_int_equal(result.file_bytes, CAPACITY);
    assert_int_equal(result.too_large, 0);
    check_content(f->buffer, CAPACITY, CAPACITY);
}

static void one_byte_more_is_too_large_and_says_how_large(void **state)
{
    struct fixture *f = ready(state);
    struct rd_io_result result;

    make_file(f, "more", CAPACITY + 1);
    result = read_one(f, "more");
    assert_int_equal(result.bytes, CAPACITY);
    assert_int_equal(result.too_large, 1);
    assert_int_equal(result.file_bytes, CAPACITY + 1);
    check_content(f->buffer, CAPACITY, CAPACITY + 1);
    make_file(f, "much", 1000000);
    result = read_one(f, "much");
    assert_int_equal(result.too_large, 1);
    assert_int_equal(result.file_bytes, 1000000);
}

static void errors_of_files_are_results(void **state)
{
    struct fixture *f = ready(state);

    make_file(f, "file", 5);
    tree_folder(&f->tree, "dir.JPEG");
    assert_int_equal(symlink("loop", tree_path(&f->tree, "loop")), 0);
    assert_int_equal(read_one(f, "missing").bytes, -ENOENT);
    assert_int_equal(read_one(f, "file/below").bytes, -ENOTDIR);
    assert_int_equal(read_one(f, "dir.JPEG").bytes, -EISDIR);
    assert_int_equal(read_one(f, "loop").bytes, -ELOOP);
    assert_int_equal(read_one(f, "").bytes, -ENOENT);
    assert_int_equal(read_one(f, "file").bytes, 5); /* and the engine goes on */
}

static void an_unreadable_file_is_a_result(void **state)
{
    struct fixture *f = ready(state);

    if (geteuid() == 0) {
        print_message("# skipped: root reads everything\n");
        skip();
    }
    make_file(f, "secret", 5);
    assert_int_equal(chmod(tree_path(&f->tree, "secret"), 0), 0);
    assert_int_equal(read_one(f, "secret").bytes, -EACCES);
}

static void pipes_and_devices_neither_hang_nor_count_as_files(void **state)
{
    struct fixture *f = ready(state);
    int writer;

    assert_int_equal(mkfifo(tree_path(&f->tree, "pipe"), 0600), 0);
    assert_int_equal(symlink("/dev/zero", tree_path(&f->tree, "zero")), 0);
    assert_int_equal(symlink("/dev/null", tree_path(&f->tree, "null")), 0);
    assert_int_equal(read_one(f, "pipe").bytes, -EINVAL);
    assert_int_equal(read_one(f, "zero").bytes, -EINVAL);
    assert_int_equal(read_one(f, "null").bytes, -EINVAL);
    writer = open(tree_path(&f->tree, "pipe"), O_RDWR | O_NONBLOCK);
    assert_true(writer >= 0);
    assert_int_equal(read_one(f, "pipe").bytes, -EINVAL); /* a reader would wait for this writer */
    close(writer);
    make_file(f, "file", 9);
    assert_int_equal(read_one(f, "file").bytes, 9);
}

/* 1000 files of different sizes, as many in flight as the engine takes; each comes back once, with
 * its own bytes. */
static void many_in_flight_come_back_once_each(void **state)
{
    enum { FILES = 1000 };
    struct fixture *f = ready(state);
    char *buffers = malloc(DEPTH * CAPACITY), path[32];
    unsigned char seen[FILES] = {0}, busy[DEPTH] = {0};
    struct rd_io_result results[DEPTH];
    unsigned next = 0, done = 0, most = 0;

    for (unsigned i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "many/%u", i);
        make_file(f, path, i * 5 % (CAPACITY + 100));
    }
    while (done < FILES) {
        int count;

        for (unsigned b = 0; b < DEPTH && next < FILES; b++) {
            struct rd_io_request request = {.path = path,
                                            .buffer = buffers + b * CAPACITY,
                                            .capacity = CAPACITY,
                                            .tag = (uint64_t)next * DEPTH + b};

            if (busy[b])
                continue;
            snprintf(path, sizeof path, "many/%u", next);
            assert_int_equal(rd_io_submit(f->io, &request), 0);
            memset(path, 'x', sizeof path); /* the engine has its copy */
            busy[b] = 1;
            next++;
        }
        most = rd_io_in_flight(f->io) > most ? rd_io_in_flight(f->io) : most;
        count = rd_io_reap(f->io, results, 7, WAIT_NS);
        assert_true(count > 0);
        for (int r = 0; r < count; r++) {
            unsigned file = (unsigned)(results[r].tag / DEPTH), b = (unsigned)(results[r].tag % DEPTH);
            size_t size = file * 5 % (CAPACITY + 100);

            assert_int_equal(seen[file]++, 0);
            assert_int_equal(results[r].file_bytes, size);
            assert_int_equal(results[r].too_large, size > CAPACITY);
            assert_int_equal(results[r].bytes, size > CAPACITY ? CAPACITY : size);
            check_content(buffers + b * CAPACITY, (size_t)results[r].bytes, size);
            busy[b] = 0;
            done++;
        }
    }
    assert_int_equal(most, DEPTH);
    assert_int_equal(rd_io_in_flight(f->io), 0);
    free(buffers);
}

/* Every third completion says what overlayfs and FUSE say on older kernels: not without waiting. */
static void file_systems_that_must_wait_are_read_by_workers(void **state)
{
    ready(state);
    if (im_fault_arm("uring.nowait=fail:EAGAIN@3/every", NULL) < 0)
        skip();
    many_in_flight_come_back_once_each(state);
    im_fault_arm("", NULL);
}

static void more_than_the_depth_is_refused(void **state)
{
    struct fixture *f = ready(state);
    char *buffers = malloc((DEPTH + 1) * CAPACITY), path[PATH_MAX + 2];
    struct rd_io_result results[DEPTH];
    unsigned done = 0;

    make_file(f, "x", 3);
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(
        rd_io_submit(
            f->io, &(struct rd_io_request){.path = path, .buffer = buffers, .capacity = CAPACITY, .tag = 0}),
        -ENAMETOOLONG);
    for (unsigned i = 0; i <= DEPTH; i++)
        assert_int_equal(rd_io_submit(f->io, &(struct rd_io_request){.path = "x",
                                                                     .buffer = buffers + i * CAPACITY,
                                                                     .capacity = CAPACITY,
                                                                     .tag = i}),
                         i < DEPTH ? 0 : -EBUSY);
    while (done < DEPTH) {
        int count = rd_io_reap(f->io, results, DEPTH, WAIT_NS);

        assert_true(count > 0);
        done += (unsigned)count;
    }
    free(buffers);
}

static void nothing_in_flight_means_nothing_to_wait_for(void **state)
{
    struct fixture *f = ready(state);
    struct rd_io_result result;

    assert_int_equal(rd_io_reap(f->io, &result, 1, WAIT_NS), 0);
}

static void reaping_without_waiting_ends_too(void **state)
{
    struct fixture *f = ready(state);
    struct rd_io_result result;
    im_ns until = im_now() + WAIT_NS;
    int count = 0;

    make_file(f, "x", 3);
    assert_int_equal(
        rd_io_submit(
            f->io, &(struct rd_io_request){.path = "x", .buffer = f->buffer, .capacity = CAPACITY, .tag = 5}),
        0);
    while (count == 0 && im_now() < until)
        count = rd_io_reap(f->io, &result, 1, 0);
    assert_int_equal(count, 1);
    assert_int_equal(result.bytes, 3);
}

/* A file that another process cuts and fills again while it is read: any prefix-length is right, an error or
 * a hang is not. */
static void a_file_that_changes_size_is_read_as_it_is(void **state)
{
    struct fixture *f = ready(state);
    pid_t child;
    int status;

    make_file(f, "moving", 4000);
    child = fork();
    if (child == 0) {
        int fd = open(tree_path(&f->tree, "moving"), O_RDWR);

        for (int i = 0; fd >= 0 && i < 20000; i++)
            if (ftruncate(fd, i % 2 ? 4000 : 100 + i % 5000) < 0)
                _exit(1);
        _exit(0);
    }
    for (int i = 0; i < 2000; i++) {
        struct rd_io_result result = read_one(f, "moving");

        assert_true(result.bytes >= 100 && result.bytes <= CAPACITY);
        assert_true(result.too_large ? result.file_bytes > CAPACITY
                                     : result.file_bytes == (uint64_t)result.bytes);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void closing_with_requests_in_flight_takes_them_all_back(void **state)
{
    struct fixture *f = ready(state);
    char *buffers = malloc(DEPTH * 1000000);

    make_file(f, "large", 900000);
    for (unsigned i = 0; i < DEPTH; i++)
        assert_int_equal(rd_io_submit(f->io, &(struct rd_io_request){.path = "large",
                                                                     .buffer = buffers + i * 1000000,
                                                                     .capacity = 1000000,
                                                                     .tag = i}),
                         0);
    assert_int_equal(rd_io_close(&f->io, WAIT_NS), 0);
    assert_null(f->io);
    memset(buffers, 0, DEPTH * 1000000);
    for (im_ns until = im_now() + 20 * IM_MS; im_now() < until;) /* and nothing is written any more */
        for (unsigned i = 0; i < DEPTH * 1000000; i += 64)
            assert_int_equal(buffers[i], 0);
    free(buffers);
}

static struct rd_io_result read_part(struct fixture *f, const char *path, uint32_t container, uint64_t offset,
                                     uint64_t bytes)
{
    struct rd_io_request request = {.path = path,
                                    .buffer = f->buffer,
                                    .capacity = CAPACITY,
                                    .tag = 9,
                                    .container = container,
                                    .offset = offset,
                                    .bytes = bytes};
    struct rd_io_result result;

    assert_int_equal(rd_io_submit(f->io, &request), 0);
    assert_int_equal(rd_io_reap(f->io, &result, 1, WAIT_NS), 1);
    assert_int_equal(result.tag, 9);
    return result;
}

/* Parts of a member: the first time, when the container is opened, and then. Container 2049 takes the slot of 1. */
static void two_parts_of_a_part_are_read_and_nothing_else(void **state)
{
    static const uint32_t parts[][4] = {{1, 10, 100, 300}, {1, 10, 100, 300},      {1, 1, 1, 2},
                                        {1, 50, 50, 50},   {2049, 512, 900, 1000}, {1, 7, 999, 1000}};
    struct fixture *f = ready(state);
    struct rd_io_request request = {
        .path = "a.tar", .buffer = f->buffer, .capacity = CAPACITY, .offset = 700, .bytes = 1000};
    struct rd_io_result result;

    make_file(f, "a.tar", 2000);
    for (size_t i = 0; i < IM_COUNT(parts); i++) {
        request.container = parts[i][0];
        request.two = (struct rd_io_two){parts[i][1], parts[i][2], parts[i][3], parts[i][i % 2 ? 2 : 1]};
        memset(f->buffer, 0x33, CAPACITY);
        assert_int_equal(rd_io_submit(f->io, &request), 0);
        assert_int_equal(rd_io_reap(f->io, &result, 1, WAIT_NS), 1);
        assert_int_equal(result.bytes, request.two.head + request.two.to - request.two.from);
        assert_int_equal(result.too_large, 0);
        for (uint32_t k = 0; k < CAPACITY; k++) {
            const struct rd_io_two *two = &request.two;
            const bool is_second = k - two->at < two->to - two->from; /* k < at is far more */
            const uint32_t from = is_second ? two->from + k - two->at : k;
            const bool is_read = k < two->head || is_second;

            assert_int_equal((unsigned char)f->buffer[k],
                             is_read ? (unsigned char)((700 + from) * 31 + 2000) : 0x33);
        }
    }
    request.two.to = 1001; /* behind the part */
    assert_int_equal(rd_io_submit(f->io, &request), -EINVAL);
    request.bytes = 1400; /* and the container */
    request.two.to = 1400;
    assert_int_equal(rd_io_submit(f->io, &request), 0);
    assert_int_equal(rd_io_reap(f->io, &result, 1, WAIT_NS), 1);
    assert_int_equal(result.bytes, -ENODATA);
    request.path = "none.tar";
    request.container = 3;
    assert_int_equal(rd_io_submit(f->io, &request), 0);
    assert_int_equal(rd_io_reap(f->io, &result, 1, WAIT_NS), 1);
    assert_int_equal(result.bytes, -ENOENT);
    assert_int_equal(read_part(f, "a.tar", 1, 0, 1000).bytes, 1000);
}

static void a_part_of_a_container_is_read(void **state)
{
    struct fixture *f = ready(state);
    struct rd_io_result result;

    make_file(f, "a.tar", 20000);
    for (int again = 0; again < 3; again++) {
        result = read_part(f, "a.tar", 1, 513, 1000);
        assert_int_equal(result.bytes, 1000);
        assert_int_equal(result.file_bytes, 1000);
        for (unsigned i = 0; i < 1000; i++)
            assert_int_equal((unsigned char)f->buffer[i], (unsigned char)((513 + i) * 31 + 20000));
        assert_int_equal(f->buffer[1000], 0x5a);
        memset(f->buffer, 0x5a, CAPACITY);
    }
    result = read_part(f, "a.tar", 1, 100, 0);
    assert_int_equal(result.bytes, 0);
    result = read_part(f, "a.tar", 1, 19000, 1001);
    assert_int_equal(result.bytes, -ENODATA);
    result = read_part(f, "a.tar", 1, 0, 5000);
    assert_int_equal(result.bytes, CAPACITY);
    assert_int_equal(result.too_large, 1);
    assert_int_equal(result.file_bytes, 5000);
    result = read_part(f, "a.tar", 1, 19000, 1000); /* after one that failed */
    assert_int_equal(result.bytes, 1000);
    assert_int_equal(read_part(f, "none.tar", 2, 0, 1).bytes, -ENOENT);
    tree_folder(&f->tree, "folder");
    assert_int_equal(read_part(f, "folder", 3, 0, 1).bytes, -EISDIR);
    assert_int_equal(mkfifoat(f->root_fd, "pipe", 0600), 0);
    assert_int_equal(read_part(f, "pipe", 4, 0, 1).bytes, -EINVAL);
}

/* A tar archive that is replaced by another: its parts are told by the headers before them. */
static void a_part_without_its_header_is_refused(void **state)
{
    static const char head[] = "0000644\0000000000\0000000000\00000000001750\00000000000000\0";
    struct fixture *f = ready(state);
    char archive[4096] = "a.jpg", size[8];
    unsigned sum = 8 * ' ';
    struct rd_io_request request = {.path = "a.tar",
                                    .buffer = f->buffer,
                                    .capacity = CAPACITY,
                                    .container = 1,
                                    .has_header = true,
                                    .offset = 512,
                                    .bytes = 1000};
    struct rd_io_result result;
    int fd;

    memcpy(archive + 100, head, sizeof head - 1);
    archive[156] = '0';
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)archive[i];
    snprintf(size, sizeof size, "%06o", sum);
    memcpy(archive + 148, size, 7);
    archive[155] = ' ';
    memset(archive + 512, 'x', 1000);
    fd = openat(f->root_fd, "a.tar", O_RDWR | O_CREAT, 0600);
    assert_int_equal(pwrite(fd, archive, sizeof archive, 0), sizeof archive);
    for (int round = 0; round < 5; round++) {
        const bool is_there = round < 2, is_shorter = round == 4, is_two = round == 1;
        const uint32_t mark = rd_tar_mark((const unsigned char *)archive);

        request.mark = round == 0   ? 0
                       : round == 2 ? mark ^ 1
                                    : mark; /* of another name, or time, at the same place */
        if (round == 3)
            assert_int_equal(pwrite(fd, "y", 1, 0), 1); /* another name: the sum is not right */
        request.offset = is_shorter ? 100 : 512;
        request.two = is_two ? (struct rd_io_two){1, 900, 1000, 900} : (struct rd_io_two){0};
        assert_int_equal(rd_io_submit(f->io, &request), 0);
        assert_int_equal(rd_io_reap(f->io, &result, 1, WAIT_NS), 1);
        assert_int_equal(result.bytes, !is_there ? -EBADMSG : is_two ? 101 : 1000);
        assert_true(!is_there || (f->buffer[0] == 'x' && f->buffer[999] == 'x' && f->buffer[1000] == 0x5a));
    }
    assert_int_equal(pwrite(fd, "a", 1, 0), 1);
    request.offset = 512;
    request.bytes = 999; /* of another size */
    request.two = (struct rd_io_two){10, 20, 30, 20};
    assert_int_equal(rd_io_submit(f->io, &request), 0);
    assert_int_equal(rd_io_reap(f->io, &result, 1, WAIT_NS), 1);
    assert_int_equal(result.bytes, -EBADMSG);
    close(fd);
}

/* An open container outlives its name; after rd_io_forget() the name counts again. */
static void what_was_open_is_forgotten(void **state)
{
    struct fixture *f = ready(state);

    make_file(f, "a.tar", 3000);
    assert_int_equal(read_part(f, "a.tar", 1, 2000, 1000).bytes, 1000);
    make_file(f, "a.tar", 2000);
    assert_int_equal(read_part(f, "a.tar", 1, 2000, 1000).bytes, -ENODATA);
    tree_remove(&f->tree, "a.tar");
    rd_io_forget(f->io);
    assert_int_equal(read_part(f, "a.tar", 1, 0, 1000).bytes, -ENOENT);
    make_file(f, "a.tar", 3000);
    assert_int_equal(read_part(f, "a.tar", 1, 2000, 1000).bytes, 1000);
}

/* More containers than slots that stay open, some of them in one slot. */
static void parts_of_many_containers_come_back_once_each(void **state)
{
    enum { CONTAINERS = 40, PARTS = 3000 };
    struct fixture *f = ready(state);
    char *buffers = malloc((size_t)DEPTH * CAPACITY), path[64];
    unsigned next = 0, done = 0, busy[DEPTH] = {0};
    struct rd_io_result results[DEPTH];

    for (unsigned i = 0; i < CONTAINERS; i++) {
        snprintf(path, sizeof path, "%u.tar", i);
        make_file(f, path, 6000 + i);
    }
    while (done < PARTS) {
        int count;

        for (unsigned b = 0; b < DEPTH && next < PARTS; b++) {
            const unsigned which = next * 7 % CONTAINERS;
            const struct rd_io_request request = {.path = path,
                                                  .buffer = buffers + (size_t)b * CAPACITY,
                                                  .capacity = CAPACITY,
                                                  .tag = (uint64_t)next * DEPTH + b,
                                                  .container = 1 + which % 5 + which / 5 * 2048,
                                                  .offset = next % 2000,
                                                  .bytes = 1 + next * 13 % CAPACITY};

            if (busy[b])
                continue;
            snprintf(path, sizeof path, "%u.tar", which);
            assert_int_equal(rd_io_submit(f->io, &request), 0);
            busy[b] = 1;
            next++;
        }
        count = rd_io_reap(f->io, results, 7, WAIT_NS);
        assert_true(count > 0);
        for (int r = 0; r < count; r++) {
            const unsigned part = (unsigned)(results[r].tag / DEPTH), b = (unsigned)(results[r].tag % DEPTH);
            const unsigned size = 6000 + part * 7 % CONTAINERS;
            const char *bytes = buffers + (size_t)b * CAPACITY;

            assert_int_equal(results[r].bytes, 1 + part * 13 % CAPACITY);
            for (unsigned i = 0; i < (unsigned)results[r].bytes; i++)
                assert_int_equal((unsigned char)bytes[i], (unsigned char)((part % 2000 + i) * 31 + size));
            busy[b] = 0;
            done++;
        }
    }
    assert_int_equal(rd_io_in_flight(f->io), 0);
    free(buffers);
}

/* In a child: makes io_uring_setup fail with `err`, opens, and reports kind and sentence over a pipe. */
static void open_without_uring(int err, enum rd_io_kind kind, int *ret_err, enum rd_io_kind *ret_kind,
                               struct im_text *ret_text)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {IM_COUNT(filter), filter};
    struct {
        int err;
        enum rd_io_kind kind;
        struct im_text text;
    } report = {0};
    int fds[2], status;
    pid_t child;

    assert_int_equal(pipe(fds), 0);
    child = fork();
    if (child == 0) {
        struct rd_io_options options = {.kind = kind, .depth = 8, .root_fd = AT_FDCWD};
        struct im_text note = {""};
        struct rd_io *io = NULL;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
            _exit(77);
        report.err = rd_io_open(&options, &io, &note, &report.text);
        if (report.err == 0) {
            report.kind = rd_io_kind(io);
            report.text = note;
        }
        rd_io_close(&io, WAIT_NS);
        _exit(write(fds[1], &report, sizeof report) == sizeof report ? 0 : 1);
    }
    close(fds[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status == 77 << 8)
        skip();
    assert_int_equal(status, 0);
    assert_int_equal(read(fds[0], &report, sizeof report), sizeof report);
    close(fds[0]);
    *ret_err = report.err;
    *ret_kind = report.kind;
    *ret_text = report.text;
}

static void auto_falls_back_and_says_why(void **state)
{
    struct im_text text;
    enum rd_io_kind kind;
    int err;

    (void)state;
    open_without_uring(EPERM, RD_IO_AUTO, &err, &kind, &text);
    assert_int_equal(err, 0);
    assert_int_equal(kind, RD_IO_PREAD);
    assert_non_null(strstr(text.s, "read by threads instead of io_uring: io_uring is forbidden"));
    open_without_uring(ENOSYS, RD_IO_AUTO, &err, &kind, &text);
    assert_int_equal(kind, RD_IO_PREAD);
    assert_non_null(strstr(text.s, "ENOSYS"));
    open_without_uring(ENOMEM, RD_IO_AUTO, &err, &kind, &text);
    assert_int_equal(kind, RD_IO_PREAD);
    assert_non_null(strstr(text.s, "ulimit -l"));
}

static void uring_alone_does_not_fall_back(void **state)
{
    struct im_text text;
    enum rd_io_kind kind;
    int err;

    (void)state;
    open_without_uring(EPERM, RD_IO_URING, &err, &kind, &text);
    assert_int_equal(err, -EPERM);
    assert_non_null(strstr(text.s, "io_uring cannot be used: io_uring is forbidden"));
}

static void options_out_of_range_are_refused(void **state)
{
    struct rd_io_options options = {.kind = RD_IO_PREAD, .depth = 0, .root_fd = AT_FDCWD};
    struct im_text note, text = {""};
    struct rd_io *io = NULL;

    (void)state;
    assert_int_equal(rd_io_open(&options, &io, &note, &text), -EINVAL);
    options.depth = RD_IO_DEPTH_MAX + 1;
    assert_int_equal(rd_io_open(&options, &io, &note, &text), -EINVAL);
    assert_non_null(strstr(text.s, "1 to 1024"));
}

#define BOTH(name)                                                                                           \
    {"uring: " #name, name, setup, teardown, &kinds[0]},                                                     \
    {                                                                                                        \
        "pread: " #name, name, setup, teardown, &kinds[1]                                                    \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_file_is_read_whole),
        BOTH(two_parts_of_a_file_are_read_and_nothing_else),
        BOTH(parts_beside_the_buffer_are_refused),
        BOTH(an_empty_file_is_a_result),
        BOTH(a_file_of_exactly_the_capacity_fits),
        BOTH(one_byte_more_is_too_large_and_says_how_large),
        BOTH(errors_of_files_are_results),
        BOTH(an_unreadable_file_is_a_result),
        BOTH(pipes_and_devices_neither_hang_nor_count_as_files),
        BOTH(many_in_flight_come_back_once_each),
        BOTH(file_systems_that_must_wait_are_read_by_workers),
        BOTH(more_than_the_depth_is_refused),
        BOTH(nothing_in_flight_means_nothing_to_wait_for),
        BOTH(reaping_without_waiting_ends_too),
        BOTH(a_file_that_changes_size_is_read_as_it_is),
        BOTH(closing_with_requests_in_flight_takes_them_all_back),
        BOTH(a_part_of_a_container_is_read),
        BOTH(two_parts_of_a_part_are_read_and_nothing_else),
        BOTH(a_part_without_its_header_is_refused),
        BOTH(what_was_open_is_forgotten),
        BOTH(parts_of_many_containers_come_back_once_each),
        cmocka_unit_test(auto_falls_back_and_says_why),
        cmocka_unit_test(uring_alone_does_not_fall_back),
        cmocka_unit_test(options_out_of_range_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
