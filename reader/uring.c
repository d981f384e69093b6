/* The io_uring engine. A file is one chain of five requests, sent together: open into a fixed file slot,
 * advise, read, read on, close.
 *
 * - A part of a container is one read at an offset of a slot of its own, in which the container stays open: slot
 * depth + number % containers. The first read of a container is a chain of three (open, advise, read); until it has
 * ended, and where another container has the slot and is being read, parts go to the threads below. Two parts of such a part are
 * two reads, at once where the container is open.
 *
 * - The chain goes on after a short read: both reads carry HARDLINK, else the close would be cancelled and
 * the file stay open. Open and advice carry a plain LINK: when one fails, the rest is cancelled. Each request
 * posts its completion, so a file is done after five, whatever happened.
 * - The advice (the file is read in sequence) doubles the read-ahead and, above all, fails on pipes, which a
 * read might wait for without end: io_uring waits for O_NONBLOCK files that can be polled. The pipe then
 * stays in its slot until the slot's next open replaces it.
 * - The second read, one byte at the file's own position, tells the end of the file from a short read and
 * from a full buffer. Only 0 < n with the end behind it counts as read here; an empty file, a full buffer and
 * other rare things are read again by rd_io_read_file(), which handles sizes and types and may block. That is
 * done by a few threads, the pread engine, which is opened when the first such file comes.
 * - Files are opened O_NONBLOCK because of pipes. File systems without non-blocking reads (overlayfs, some
 * network ones) then answer EAGAIN: from the first such answer on, reads are sent to the kernel's workers,
 * which may block (IOSQE_ASYNC).
 * - Opening is tried in this thread first, which takes a worker's detour off files whose names the kernel has
 * in memory; where that may ask a server (careful) it goes to the workers too.
 * - Slots have explicit numbers, as liburing 2.3 allocates them wrongly; buffers are not registered (locked
 * memory is scarce, large reads gain nothing); no SQPOLL (the cores are busy with decoding).
 *
 * What the kernel can do is found out by doing it once, on /dev/null, when the ring is set up. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <liburing.h>

#include "ipc/base/count.h"
#include "ipc/base/fault.h"
#include "reader/dataset/tar.h"
#include "reader/io_engine.h"

#define RARE_THREADS 4
#define CONTAINERS_MAX 2048      /* that stay open; more than these take turns in the slots */
#define RARE_WAIT_NS (2 * IM_MS) /* both kinds are waited for in turn while there are both */

enum op { OP_OPEN, OP_ADVISE, OP_READ, OP_MORE, OP_CLOSE, OPS };

struct place {
    void *buffer;
    uint32_t capacity;
    uint64_t tag;
    uint32_t container; /* 0: a whole file */
    struct rd_io_part part;
    struct rd_io_two two;      /* parts of it; to == 0: all */
    bool opens;                /* this is the chain that opens the container */
    unsigned completions, ops; /* of ops: OPS for a file, 1 to 4 for a part */
    int results[OPS];
    int is_async;         /* this chain went to the workers */
    char more;            /* what the second read writes */
    struct iovec span[2]; /* header and bytes of a part */
    unsigned char header[RD_TAR_BLOCK];
    char path[PATH_MAX];
};

/* A slot in which a container stays open. */
struct container {
    uint32_t number;  /* 0: none */
    unsigned readers; /* places that read it by the slot */
    bool is_open;
};

struct engine {
    struct io_uring ring;
    struct container *containers;
    unsigned container_count;
    unsigned parts;                  /* in flight in the ring */
    int root_fd, is_async;           /* reads go to the workers */
    int is_careful;                  /* and the opening */
    unsigned depth, free_count, due; /* due: completions of started chains that were not seen yet */
    unsigned *free;                  /* places not in flight */
    struct place *places;
    void *rare; /* of rd_io_pread; NULL until it is needed */
    unsigned rare_in_flight;
};

static void uring_add(struct io_uring_sqe *sqe, struct engine *engine, unsigned place, enum op op,
                      unsigned flags)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)place * OPS + (unsigned)op);
    io_uring_sqe_set_flags(sqe, flags);
    engine->due++;
}

/* Queues the chain of a place. The ring holds OPS * depth entries, so there is always room. */
static int add_chain(struct engine *engine, unsigned i)
{
    struct place *place = &engine->places[i];
    struct io_uring_sqe *sqes[OPS];
    unsigned async = engine->is_async ? IOSQE_ASYNC : 0;

    if (io_uring_sq_space_left(&engine->ring) < OPS)
        return -EBUSY;
    for (int op = 0; op < OPS; op++)
        sqes[op] = io_uring_get_sqe(&engine->ring);
    place->completions = 0;
    place->ops = OPS;
    place->is_async = engine->is_async;
    io_uring_prep_openat_direct(sqes[OP_OPEN], engine->root_fd, place->path, RD_IO_OPEN_FLAGS, 0, i);
    if (place->two.to > 0) { /* exactly these parts, without what the kernel would read ahead */
        const struct rd_io_two *two = &place->two;

        io_uring_prep_fadvise(sqes[OP_ADVISE], (int)i, 0, 0, POSIX_FADV_RANDOM);
        io_uring_prep_read(sqes[OP_READ], (int)i, place->buffer, two->head, 0);
        io_uring_prep_read(sqes[OP_MORE], (int)i, (char *)place->buffer + two->at, two->to - two->from,
                           two->from);
    } else {
        io_uring_prep_fadvise(sqes[OP_ADVISE], (int)i, 0, 0, POSIX_FADV_SEQUENTIAL);
        io_uring_prep_read(sqes[OP_READ], (int)i, place->buffer, place->capacity, (uint64_t)-1);
        io_uring_prep_read(sqes[OP_MORE], (int)i, &place->more, 1, (uint64_t)-1);
    }
    io_uring_prep_close_direct(sqes[OP_CLOSE], i);
    uring_add(sqes[OP_OPEN], engine, i, OP_OPEN, IOSQE_IO_LINK | (engine->is_careful ? IOSQE_ASYNC : 0));
    uring_add(sqes[OP_ADVISE], engine, i, OP_ADVISE, IOSQE_FIXED_FILE | IOSQE_IO_LINK);
    uring_add(sqes[OP_READ], engine, i, OP_READ, IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK | async);
    uring_add(sqes[OP_MORE], engine, i, OP_MORE, IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK | async);
    uring_add(sqes[OP_CLOSE], engine, i, OP_CLOSE, 0);
    return 0;
}

/* What the first read of a container's part puts into the buffer. */
static uint64_t bytes_wanted(const struct place *place)
{
    if (place->two.to > 0)
        return place->two.head;
    return place->part.bytes < place->capacity ? place->part.bytes : place->capacity;
}

static size_t header_bytes(const struct place *place)
{
    return place->part.has_header ? sizeof place->header : 0;
}

static struct container *container_of(struct engine *engine, uint32_t number)
{
    return &engine->containers[number % engine->container_count];
}

/* Queues the reading of a part. 1: not this way, for the slot is taken or the part is empty; 0; or negative errno. */
static int add_part(struct engine *engine, unsigned i)
{
    struct place *place = &engine->places[i];
    struct container *c = engine->container_count ? container_of(engine, place->container) : NULL;
    const unsigned async = engine->is_async ? IOSQE_ASYNC : 0;
    const struct rd_io_two *two = &place->two;
    const uint64_t bytes = bytes_wanted(place);
    struct io_uring_sqe *sqe;
    unsigned slot;

    if (!c || bytes == 0 || place->part.offset < header_bytes(place) ||
        ((c->number != place->container || !c->is_open) && c->readers > 0))
        return 1;
    if (io_uring_sq_space_left(&engine->ring) < OPS)
        return -EBUSY;
    slot = engine->depth + (unsigned)(c - engine->containers);
    place->opens = c->number != place->container || !c->is_open;
    place->completions = 0;
    place->ops = (place->opens ? 3u : 1u) + (two->to > 0);
    place->is_async = engine->is_async;
    c->number = place->container;
    c->readers++;
    engine->parts++;
    if (place->opens) {
        sqe = io_uring_get_sqe(&engine->ring);
        io_uring_prep_openat_direct(sqe, engine->root_fd, place->path, RD_IO_OPEN_FLAGS, 0, slot);
        uring_add(sqe, engine, i, OP_OPEN, IOSQE_IO_LINK | (engine->is_careful ? IOSQE_ASYNC : 0));
        /* Parts are read in random order: exactly what is asked for, in one piece. */
        sqe = io_uring_get_sqe(&engine->ring);
        io_uring_prep_fadvise(sqe, (int)slot, 0, 0, POSIX_FADV_RANDOM);
        uring_add(sqe, engine, i, OP_ADVISE, IOSQE_FIXED_FILE | IOSQE_IO_LINK);
    }
    sqe = io_uring_get_sqe(&engine->ring);
    place->span[0] = (struct iovec){place->header, header_bytes(place)};
    place->span[1] = (struct iovec){place->buffer, bytes};
    io_uring_prep_readv(sqe, (int)slot, place->span, 2, place->part.offset - header_bytes(place));
    uring_add(sqe, engine, i, OP_READ,
              IOSQE_FIXED_FILE | async | (place->opens && two->to > 0 ? IOSQE_IO_HARDLINK : 0));
    if (two->to > 0) {
        sqe = io_uring_get_sqe(&engine->ring);
        io_uring_prep_read(sqe, (int)slot, (char *)place->buffer + two->at, two->to - two->from,
                           place->part.offset + two->from);
        uring_add(sqe, engine, i, OP_MORE, IOSQE_FIXED_FILE | async);
    }
    return 0;
}

static int read_in_thread(struct engine *engine, unsigned i);

static int uring_submit(void *state, const struct rd_io_request *request)
{
    struct engine *engine = state;
    struct place *place;
    unsigned i;
    int err;

    if (engine->free_count == 0)
        return -EBUSY;
    i = engine->free[engine->free_count - 1];
    place = &engine->places[i];
    place->buffer = request->buffer;
    place->capacity = request->capacity;
    place->tag = request->tag;
    place->two = request->two;
    place->container = request->container;
    place->part = (struct rd_io_part){request->offset, request->bytes, request->mark, request->has_header};
    memcpy(place->path, request->path, strlen(request->path) + 1);
    err = place->container ? add_part(engine, i) : add_chain(engine, i);
    if (err == 1)
        err = read_in_thread(engine, i) ? 0 : -EBUSY;
    if (err == 0)
        engine->free_count--;
    return err;
}

/* Has a place's file read again by a thread. 0: there is none. */
static int read_in_thread(struct engine *engine, unsigned i)
{
    const struct rd_io_options options = {
        .depth = engine->depth, .threads = RARE_THREADS, .root_fd = engine->root_fd};
    struct place *place = &engine->places[i];
    struct im_text text;

    if (!engine->rare && rd_io_pread.open(&options, &engine->rare, &text) < 0)
        return 0;
    if (rd_io_pread.submit(engine->rare, &(struct rd_io_request){.path = place->path,
                                                                 .buffer = place->buffer,
                                                                 .capacity = place->capacity,
                                                                 .tag = i,
                                                                 .container = place->container,
                                                                 .has_header = place->part.has_header,
                                                                 .mark = place->part.mark,
                                                                 .offset = place->part.offset,
                                                                 .bytes = place->part.bytes,
                                                                 .two = place->two}) < 0)
        return 0;
    engine->rare_in_flight++;
    return 1;
}

/* The same of a part. Whatever is not the whole part is read again with a fresh descriptor, which tells why. */
static int judge_part(struct engine *engine, unsigned i, struct rd_io_result *result)
{
    struct place *place = &engine->places[i];
    struct container *c = container_of(engine, place->container);
    const uint64_t wanted = bytes_wanted(place);
    const uint32_t more = place->two.to - place->two.from; /* 0 for all of it */
    const int *got = place->results;
    const bool was_opened = !place->opens || (got[OP_OPEN] >= 0 && got[OP_ADVISE] >= 0);

    c->readers--;
    engine->parts--;
    if (place->opens)
        c->is_open = was_opened;
    *result = (struct rd_io_result){.tag = place->tag};
    if (was_opened && got[OP_READ] > 0 && (uint64_t)got[OP_READ] == wanted + header_bytes(place) &&
        (place->two.to == 0 || (got[OP_MORE] >= 0 && (uint32_t)got[OP_MORE] == more)) &&
        (!place->part.has_header ||
         rd_tar_is_header_of(place->header, place->part.bytes, place->part.mark))) {
        result->bytes = (int64_t)wanted + more;
        result->file_bytes = place->two.to > 0 ? place->two.to : place->part.bytes;
        result->too_large = place->two.to == 0 && place->part.bytes > place->capacity;
    } else {
        if ((got[OP_READ] == -EAGAIN || (place->two.to > 0 && got[OP_MORE] == -EAGAIN)) && !place->is_async)
            engine->is_async = 1;
        else
            c->is_open = false; /* whoever reads it next opens it again */
        if (read_in_thread(engine, i))
            return 0;
        rd_io_read_part(engine->root_fd, place->path, &place->part, &place->two, place->buffer,
                        place->capacity, result);
    }
    engine->free[engine->free_count++] = i;
    return 1;
}

/* Have both parts of a file been read? */
static bool has_two(const struct place *place)
{
    const int *got = place->results;

    return got[OP_ADVISE] >= 0 && got[OP_READ] >= 0 && got[OP_MORE] >= 0 &&
           (uint32_t)got[OP_READ] == place->two.head &&
           (uint32_t)got[OP_MORE] == place->two.to - place->two.from;
}

/* Reads a file again, in this thread. */
static void read_again(struct engine *engine, struct place *place, struct rd_io_result *result)
{
    if (place->two.to > 0)
        rd_io_read_two(engine->root_fd, place->path, &place->two, place->buffer, result);
    else
        rd_io_read_file(engine->root_fd, place->path, place->buffer, place->capacity, result);
}

/* What the completions of a file say; returns 0 where there is no result yet: the chain was sent again, or a
 * thread reads. */
static int judge(struct engine *engine, unsigned i, struct rd_io_result *result)
{
    struct place *place = &engine->places[i];
    const int *got = place->results;
    int again = got[OP_OPEN] >= 0 && (got[OP_READ] == -EAGAIN || got[OP_MORE] == -EAGAIN);

    /* What such a file system answers, for a test on one that is not. */
    if (IM_FAULT_ERR("uring.nowait") == -EAGAIN)
        again = 1;
    if (again && !place->is_async) {
        engine->is_async = 1;
        if (add_chain(engine, i) == 0)
            return 0;
    }
    *result = (struct rd_io_result){.tag = place->tag};
    if (got[OP_OPEN] < 0)
        result->bytes = got[OP_OPEN];
    else if (got[OP_ADVISE] >= 0 && got[OP_READ] < 0 && !again)
        result->bytes = got[OP_READ];
    else if (place->two.to > 0 && has_two(place))
        *result = (struct rd_io_result){
            .tag = place->tag, .bytes = (int64_t)got[OP_READ] + got[OP_MORE], .file_bytes = place->two.to};
    else if (place->two.to == 0 && got[OP_READ] > 0 && got[OP_MORE] == 0)
        result->file_bytes = (uint64_t)(result->bytes = got[OP_READ]);
    else if (read_in_thread(engine, i))
        return 0;
    else
        read_again(engine, place, result);
    engine->free[engine->free_count++] = i;
    return 1;
}

/* Starts what is queued and, unless until is 0, waits for completions. 0 or negative errno. */
static int enter(struct engine *engine, im_ns until)
{
    im_ns now = until ? im_now() : 0, left = until > now ? until - now : 0;
    struct __kernel_timespec timeout = {.tv_sec = (long long)(left / IM_SECOND),
                                        .tv_nsec = (long long)(left % IM_SECOND)};
    struct io_uring_cqe *cqe;
    int got;

    if (left > 0 && engine->due > 0)
        got = io_uring_submit_and_wait_timeout(&engine->ring, &cqe,
                                               engine->parts > 0   ? 1
                                               : engine->due < OPS ? engine->due
                                                                   : OPS,
                                               &timeout, NULL);
    else
        got = io_uring_submit_and_get_events(&engine->ring);
    /* EAGAIN, EBUSY: completions must be consumed first, or the kernel is short of memory for a moment; what is
     * queued stays so. */
    return got >= 0 || got == -ETIME || got == -EINTR || got == -EAGAIN || got == -EBUSY ? 0 : got;
}

/* Takes completions until `max` files are done or none is left. */
static unsigned uring_take(struct engine *engine, struct rd_io_result *results, unsigned max)
{
    struct io_uring_cqe *cqe;
    unsigned count = 0;

    while (count < max && io_uring_peek_cqe(&engine->ring, &cqe) == 0) {
        uint64_t data = io_uring_cqe_get_data64(cqe);
        unsigned i = (unsigned)(data / OPS);
        struct place *place = &engine->places[i];

        place->results[data % OPS] = cqe->res;
        io_uring_cqe_seen(&engine->ring, cqe);
        engine->due--;
        if (++place->completions == place->ops)
            count += (unsigned)(place->container ? judge_part(engine, i, &results[count])
                                                 : judge(engine, i, &results[count]));
    }
    return count;
}

/* Takes what the threads have read; waits for the first only where nothing else is under way. */
static unsigned take_rare(struct engine *engine, struct rd_io_result *results, unsigned max, im_ns until)
{
    im_ns now = until ? im_now() : 0;
    int n;

    if (engine->rare_in_flight == 0 || max == 0)
        return 0;
    n = rd_io_pread.reap(engine->rare, results, max, engine->due == 0 && until > now ? until - now : 0);
    for (int k = 0; k < n; k++) {
        unsigned i = (unsigned)results[k].tag;

        results[k].tag = engine->places[i].tag;
        engine->free[engine->free_count++] = i;
        engine->rare_in_flight--;
    }
    return n > 0 ? (unsigned)n : 0;
}

static im_ns sooner(im_ns until, const struct engine *engine)
{
    im_ns soon = until && engine->rare_in_flight ? im_now() + RARE_WAIT_NS : until;

    return soon < until ? soon : until;
}

static int uring_reap(void *state, struct rd_io_result *results, unsigned max, im_ns timeout_ns)
{
    struct engine *engine = state;
    im_ns until = timeout_ns ? im_now() + timeout_ns : 0;
    unsigned count = 0;
    int err;

    do {
        err = enter(engine, sooner(until, engine));
        count = uring_take(engine, results, max);
        count += take_rare(engine, results + count, max - count, count ? 0 : until);
    } while (count == 0 && err == 0 && until > 0 && im_now() < until);
    return err < 0 && count == 0 ? err : (int)count;
}

static void engine_free(struct engine *engine)
{
    io_uring_queue_exit(&engine->ring);
    free(engine->containers);
    free(engine->places);
    free(engine->free);
    free(engine);
}

static int uring_close(void *state, im_ns timeout_ns)
{
    struct engine *engine = state;
    struct io_uring_sync_cancel_reg cancel = {
        .flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
        .timeout = {.tv_sec = (long long)(timeout_ns / IM_SECOND),
                    .tv_nsec = (long long)(timeout_ns % IM_SECOND)},
    };
    im_ns until = im_now() + timeout_ns;
    struct rd_io_result result;

    if (engine->due > 0) {
        enter(engine, 0);
        io_uring_register_sync_cancel(&engine->ring,
                                      &cancel); /* Linux 6.0; older ones just wait for the files */
    }
    while (engine->free_count < engine->depth && im_now() < until)
        uring_reap(engine, &result, 1, 10 * IM_MS);
    if (engine->free_count < engine->depth)
        return -ETIMEDOUT; /* the kernel or a thread still may write to places and buffers */
    if (engine->rare && rd_io_pread.close(engine->rare, timeout_ns) < 0)
        return -ETIMEDOUT;
    engine_free(engine);
    return 0;
}

static void uring_be_careful(void *state)
{
    struct engine *engine = state;

    engine->is_async = engine->is_careful = 1;
}

static void uring_forget(void *state)
{
    struct engine *engine = state;

    for (unsigned i = 0; i < engine->container_count; i++)
        engine->containers[i].is_open = false;
}

static int io_uring_is_disabled(void)
{
    char value = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    if (read(fd, &value, 1) != 1)
        value = '0';
    close(fd);
    return value != '0';
}

/* Why it cannot be used, for a person. */
static int explain(int err, struct im_text *text)
{
    struct rlimit limit = {0, 0};

    switch (err) {
    case -ENOSYS:
        return im_fail(text, err, "the kernel has no io_uring, or the container hides it (ENOSYS)");
    case -EPERM:
    case -EACCES:
        return im_fail(text, err, "io_uring is forbidden (%s), by %s", strerror(-err),
                       io_uring_is_disabled() ? "sysctl kernel.io_uring_disabled"
                                              : "the container's seccomp profile");
    case -ENOMEM:
        getrlimit(RLIMIT_MEMLOCK, &limit);
        return im_fail(
            text, err,
            "not enough locked memory (ENOMEM; ulimit -l is %llu KiB): raise it or lower --queue-depth",
            (unsigned long long)limit.rlim_cur / 1024);
    case -EMFILE:
        return im_fail(text, err,
                       "too few file descriptors (EMFILE; see ulimit -n): raise it or lower --queue-depth");
    default:
        return im_fail(text, err, "this kernel's io_uring is too old or limited (%s)", strerror(-err));
    }
}

static int set_up_ring(struct engine *engine)
{
    static const unsigned wishes[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL, /* Linux 6.1 */
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,                               /* 5.19 */
        0,
    };
    int err = -EINVAL;

    for (size_t i = 0; i < IM_COUNT(wishes) && err == -EINVAL; i++) {
        struct io_uring_params params = {.flags = wishes[i]};

        err = io_uring_queue_init_params(OPS * engine->depth, &engine->ring, &params);
        if (err == 0 &&
            !(params.features & IORING_FEAT_EXT_ARG && params.features & IORING_FEAT_RW_CUR_POS)) {
            io_uring_queue_exit(&engine->ring);
            err = -EOPNOTSUPP;
        }
    }
    return err;
}

/* One whole chain, on a file that is always there and empty. */
static int try_chain(struct engine *engine)
{
    im_ns until = im_now() + IM_SECOND;
    struct place *place = &engine->places[0];
    struct io_uring_cqe *cqe;
    int err;

    *place = (struct place){.buffer = &place->more, .capacity = 1, .path = "/dev/null"};
    err = add_chain(engine, 0);
    while (err == 0 && engine->due > 0) {
        err = im_now() < until ? enter(engine, until) : -ETIME;
        while (io_uring_peek_cqe(&engine->ring, &cqe) == 0) {
            if (cqe->res < 0 && (err == 0 || err == -ECANCELED)) /* the cause, not what it cancelled */
                err = cqe->res;
            io_uring_cqe_seen(&engine->ring, cqe);
            engine->due--;
        }
    }
    return err;
}

/* Slots for files, and for as many containers as the limit of open files lets us have. */
static int register_slots(struct engine *engine)
{
    int *none = malloc((engine->depth + CONTAINERS_MAX) * sizeof *none), err;

    engine->containers = calloc(CONTAINERS_MAX, sizeof *engine->containers);
    if (!none || !engine->containers) {
        free(none);
        return -ENOMEM;
    }
    memset(none, -1, (engine->depth + CONTAINERS_MAX) * sizeof *none);
    engine->container_count = CONTAINERS_MAX;
    while (((err = io_uring_register_files(&engine->ring, none, engine->depth + engine->container_count)) ==
                -EMFILE ||
            err == -ENOMEM) &&
           engine->container_count > 0)
        engine->container_count /= 2;
    free(none);
    return err;
}

static int uring_open(const struct rd_io_options *options, void **ret_state, struct im_text *text)
{
    struct engine *engine = calloc(1, sizeof *engine);
    int err = -ENOMEM;

    if (!engine)
        return -ENOMEM;
    engine->root_fd = options->root_fd;
    engine->depth = engine->free_count = options->depth;
    engine->places = calloc(engine->depth, sizeof *engine->places);
    engine->free = calloc(engine->depth, sizeof *engine->free);
    if (engine->places && engine->free)
        err = set_up_ring(engine);
    if (err < 0) {
        free(engine->places);
        free(engine->free);
        free(engine);
        return explain(err, text);
    }
    for (unsigned i = 0; i < engine->depth; i++)
        engine->free[i] = i;
    err = register_slots(engine);
    if (err == 0)
        err = try_chain(engine);
    if (err < 0) {
        engine_free(engine);
        return explain(err, text);
    }
    if (options->careful)
        uring_be_careful(engine);
    *ret_state = engine;
    return 0;
}

const struct rd_io_engine rd_io_uring = {uring_open,  uring_submit,     uring_reap,
                                         uring_close, uring_be_careful, uring_forget};
