/* Collectives between the GPUs of one machine with NCCL. Part of imsuper-cuda.so, never of the program.
 *
 * NCCL is loaded with dlopen() when several GPUs train together: a user with one GPU need not install it. The
 * types are those of the header it was built with; NCCL reads no more of its config than its version defines,
 * so an older library works too.
 *
 * The communicator is non-blocking: every wait is our loop, which polls NCCL for errors, the rendezvous for a
 * request to leave, and the clock. NCCL itself waits for ever, and between GPUs of one machine it does not
 * notice a peer's death: the supervisor does, and kills all ranks. ncclCommAbort() and ncclCommDestroy() wait
 * until every CUDA graph that captured a sum is destroyed (commReclaim() in NCCL's init.cc waits for
 * localPersistentRefs), and destroying a graph waits for its run: so a communicator is closed after the graphs,
 * and never after an error.
 *
 * Order of sums. NCCL chooses algorithm, protocol and channels from the message size and the topology, in the
 * same way each time: with one version of NCCL on the same GPUs, sums of one length have the same bits in
 * practice, which its documentation does not promise. `deterministic` fixes what can be fixed: ring, protocol
 * Simple, no sums in the switch (NVLS). Then an element's additions follow the ring from a rank that its
 * index determines. Other GPUs, another number of them or another NCCL may use another order. Within one call
 * all ranks get the same bits in any case: each sum is computed once and sent to all.
 *
 * NCCL opens sockets: on one machine on the loopback interface, on several on that of the address where others reach this
 * one, unless the user sets NCCL_SOCKET_IFNAME.
 *
 * allreduce_sum, allgather and broadcast take any memory and go through a buffer on the device: they are for
 * the few small arrays outside of the captured step. Device memory must be complete when they are called:
 * they are not ordered with the streams that wrote it. */
#include <dlfcn.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nccl.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/comm/comm.h"

#define LIBRARY "libnccl.so.2"
#define SPIN_NS (1 * IM_MS) /* before a wait yields its core */
#define FINALIZE_MS 5000    /* limit of CommFinalize when closing */

/* The NCCL functions in use: the name after "nccl". */
#define FUNCTIONS(X)                                                                                         \
    X(GetVersion)                                                                                            \
    X(GetUniqueId)                                                                                           \
    X(CommInitRankConfig)                                                                                    \
    X(CommFinalize)                                                                                          \
    X(CommDestroy)                                                                                           \
    X(CommAbort)                                                                                             \
    X(CommGetAsyncError)                                                                                     \
    X(GetErrorString)                                                                                        \
    X(GetLastError)                                                                                          \
    X(AllReduce)                                                                                             \
    X(AllGather)                                                                                             \
    X(Broadcast)

struct library {
    void *handle;
#define FIELD(name) __typeof__(nccl##name) *name;
    FUNCTIONS(FIELD)
};

struct tr_comm {
    struct library lib;
    ncclComm_t nccl; /* NULL: not connected */
    struct tr_gpu *gpu;
    struct tr_gpu_event *done;
    void *scratch; /* on the device */
    size_t scratch_bytes;
    struct tr_rendezvous rendezvous;
    int rank, ranks;
    int64_t timeout_ms;
};

static int errno_of(ncclResult_t r)
{
    switch (r) {
    case ncclSuccess:
        return 0;
    case ncclRemoteError:
    case ncclSystemError:
        return -ECONNRESET;
    case ncclInvalidArgument:
    case ncclInvalidUsage:
        return -EINVAL;
    default:
        return -EIO;
    }
}

static int nccl_fail(struct tr_comm *c, ncclResult_t r, const char *what, struct im_text *text)
{
    struct im_text trouble = {0};
    const char *last = c->lib.GetLastError(c->nccl);

    if (r == ncclUnhandledCudaError && c->gpu && tr_gpu_last_error(c->gpu, &trouble) < 0)
        return im_fail(text, -EIO, "%s: %s", what, trouble.s);
    return im_fail(text, errno_of(r), "%s: NCCL: %s%s%.400s", what, c->lib.GetErrorString(r),
                   last && *last ? ": " : "", last ? last : "");
}

/* One pause of a wait. 0: continue; otherwise the result to return. */
static int pause_until(struct tr_comm *c, im_ns began, int64_t limit_ms, const char *what,
                       struct im_text *text)
{
    im_ns waited = im_now() - began;
    int leave = c->rendezvous.leave ? c->rendezvous.leave(c->rendezvous.context) : 0;

    if (leave)
        return leave;
    if (waited > (im_ns)limit_ms * IM_MS)
        return im_fail(text, -ETIMEDOUT, "%s: timeout: not all ranks joined within %.0f s", what,
                       (double)limit_ms / 1000);
    if (waited > SPIN_NS)
        poll(NULL, 0, 1);
    return 0;
}

/* Waits until NCCL has finished the asynchronous part of a call. */
static int nccl_complete(struct tr_comm *c, ncclResult_t r, int64_t limit_ms, const char *what,
                         struct im_text *text)
{
    im_ns began = im_now();

    while (r == ncclInProgress) {
        ncclResult_t asked = c->lib.CommGetAsyncError(c->nccl, &r);
        int err = asked != ncclSuccess ? nccl_fail(c, asked, what, text) : 0;

        if (err == 0 && r == ncclInProgress)
            err = pause_until(c, began, limit_ms, what, text);
        if (err)
            return err;
    }
    return r == ncclSuccess ? 0 : nccl_fail(c, r, what, text);
}

static int watch(struct tr_comm *c, struct im_text *text)
{
    ncclResult_t r = ncclSuccess, asked = c->lib.CommGetAsyncError(c->nccl, &r);

    if (asked != ncclSuccess)
        r = asked;
    return r == ncclSuccess || r == ncclInProgress
               ? 0
               : nccl_fail(c, r, "communication between the trainers", text);
}

/* Waits until the GPU has finished the work on COMM. */
static int comm_complete(struct tr_comm *c, const char *what, struct im_text *text)
{
    int err = tr_gpu_event_record(c->gpu, c->done, TR_GPU_COMM), is_done = 0;
    im_ns began = im_now();

    while (err == 0 && (is_done = tr_gpu_event_done(c->gpu, c->done)) == 0) {
        err = watch(c, text);
        if (err == 0)
            err = pause_until(c, began, c->timeout_ms, what, text);
    }
    if (err < 0 || is_done < 0)
        tr_gpu_last_error(c->gpu, text && !text->s[0] ? text : &(struct im_text){0});
    return is_done < 0 ? is_done : err;
}

static bool has_address(const struct ifaddrs *i, const char *address)
{
    char host[NI_MAXHOST];
    const int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
    const socklen_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

    return (family == AF_INET || family == AF_INET6) &&
           getnameinfo(i->ifa_addr, size, host, sizeof host, NULL, 0, NI_NUMERICHOST) == 0 &&
           strcmp(host, address) == 0;
}

/* The interface with an address of this machine, as "=name", which NCCL takes literally. Without one NCCL chooses. */
static void choose_interface(const char *address)
{
    char name[IF_NAMESIZE + 1] = "=";
    struct ifaddrs *all;

    if (getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if (has_address(i, address)) {
            snprintf(name + 1, sizeof name - 1, "%s", i->ifa_name);
            setenv("NCCL_SOCKET_IFNAME", name, 0);
            break;
        }
    freeifaddrs(all);
}

/* NCCL reads these once, at first use. Variables that the user has set are kept. */
static void prepare_environment(const struct tr_comm_config *config)
{
    if (config->address && *config->address)
        choose_interface(config->address);
    else
        setenv("NCCL_SOCKET_IFNAME", "lo", 0);
    setenv("NCCL_RUNTIME_CONNECT", "0", 0); /* connect at once: the first sum may be captured, and must not
                                               include a handshake */
    if (config->deterministic) {
        setenv("NCCL_ALGO", "Ring", 0);
        setenv("NCCL_PROTO", "Simple", 0);
        setenv("NCCL_NVLS_ENABLE", "0", 0);
    }
}

/* Closes a library that cannot be used. A usable one stays loaded: it has threads. */
static int nccl_load(struct library *lib, struct im_text *text)
{
    const struct {
        const char *name;
        void *place;
    } wanted[] = {
#define ROW(name) {"nccl" #name, &lib->name},
        FUNCTIONS(ROW)};

    lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!lib->handle) {
        const char *why = dlerror();

        return im_fail(text, -ENODEV,
                       "training on several GPUs needs NCCL, which cannot be loaded (%.400s): install NCCL 2 "
                       "for the installed CUDA; if it is not in a standard folder, add its folder to "
                       "LD_LIBRARY_PATH; or use one GPU (--gpus 1)",
                       why ? why : LIBRARY);
    }
    for (size_t i = 0; i < IM_COUNT(wanted); i++) {
        void *function = dlsym(lib->handle, wanted[i].name);

        if (!function) {
            dlclose(lib->handle);
            return im_fail(text, -ENODEV,
                           "the installed NCCL (" LIBRARY ") has no %s: it is older than 2.14, or damaged; "
                           "install a newer one, or use one GPU (--gpus 1)",
                           wanted[i].name);
        }
        memcpy(wanted[i].place, &function, sizeof function);
    }
    return 0;
}

static int check_version(const struct library *lib, struct im_text *text)
{
    int v = 0;

    if (lib->GetVersion(&v) != ncclSuccess)
        return im_fail(text, -ENODEV, "cannot read the version of NCCL");
    if (v >= NCCL_VERSION(2, 28, 3) && v <= NCCL_VERSION(2, 28, 8))
        return im_fail(
            text, -ENODEV,
            "NCCL 2.28.%d cannot be used: versions 2.28.3 to 2.28.8 may hang after an abort; install "
            "2.28.9 or newer, or one before 2.28.3",
            v % 100);
    return 0;
}

static int nccl_find_functions(struct library *lib, struct im_text *text)
{
    int err = nccl_load(lib, text);

    return err < 0 ? err : check_version(lib, text);
}

static int check_nccl(struct im_text *text)
{
    struct library lib;

    return nccl_find_functions(&lib, text);
}

/* Rank 0 creates the unique id of the communicator; it is a secret, and is passed only through the cards. */
static int exchange_id(const struct tr_comm *c, const struct tr_comm_config *config, ncclUniqueId *ret,
                       struct im_text *text)
{
    const struct tr_rendezvous *r = &config->rendezvous;
    unsigned char card[TR_CARD_BYTES_MAX];
    size_t bytes = 0;
    int err;

    if (config->rank == 0) {
        ncclResult_t made = c->lib.GetUniqueId(ret);

        if (made != ncclSuccess)
            return im_fail(text, errno_of(made), "the trainers cannot connect: NCCL: %s: %s",
                           c->lib.GetErrorString(made), c->lib.GetLastError(NULL));
        return r->publish(r->context, ret, sizeof *ret);
    }
    err = r->fetch(r->context, 0, card, &bytes);
    if (err == -ETIMEDOUT)
        return im_fail(text, err, "the trainers cannot connect: rank 0 did not join within %.0f s",
                       (double)config->timeout_ms / 1000);
    if (err == 0 && bytes != sizeof *ret)
        err = im_fail(text, -EBADMSG, "the card of rank 0 is not an NCCL id");
    if (err == 0)
        memcpy(ret, card, sizeof *ret);
    return err;
}

static void abort_comm(struct tr_comm *c)
{
    if (c->nccl)
        c->lib.CommAbort(c->nccl);
    c->nccl = NULL;
}

static void close_comm(struct tr_comm *c)
{
    if (!c)
        return;
    c->rendezvous.leave = NULL;
    if (c->nccl && nccl_complete(c, c->lib.CommFinalize(c->nccl), FINALIZE_MS, "closing", NULL) == 0)
        c->lib.CommDestroy(c->nccl);
    else
        abort_comm(c);
    if (c->gpu) {
        tr_gpu_event_free(c->gpu, c->done);
        tr_gpu_memory_free(c->gpu, c->scratch);
        tr_gpu_close(c->gpu);
    }
    free(c);
}

static int connect_all(struct tr_comm *c, const struct tr_comm_config *config, struct im_text *text)
{
    ncclConfig_t options = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    int err = exchange_id(c, config, &id, text);

    if (err)
        return err;
    options.blocking = 0;
    return nccl_complete(c, c->lib.CommInitRankConfig(&c->nccl, config->ranks, id, config->rank, &options),
                         config->timeout_ms, "the trainers cannot connect to each other", text);
}

static int open_comm(const struct tr_comm_config *config, struct tr_comm **ret_comm, struct im_text *text)
{
    struct library lib;
    struct tr_comm *c;
    int err;

    prepare_environment(config);
    err = nccl_find_functions(&lib, text);
    if (err < 0)
        return err;
    c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    *c = (struct tr_comm){.lib = lib,
                          .rendezvous = config->rendezvous,
                          .rank = config->rank,
                          .ranks = config->ranks,
                          .timeout_ms = config->timeout_ms};
    err = tr_gpu_open(config->device, &c->gpu, text);
    if (err == 0)
        err = tr_gpu_event_new(c->gpu, TR_GPU_ORDER, &c->done);
    if (err == 0)
        err = connect_all(c, config, text);
    if (err) {
        abort_comm(c);
        close_comm(c);
        return err;
    }
    *ret_comm = c;
    return 0;
}

static int room(struct tr_comm *c, size_t bytes, struct im_text *text)
{
    int err = 0;

    if (bytes > c->scratch_bytes) {
        tr_gpu_memory_free(c->gpu, c->scratch);
        c->scratch = NULL;
        c->scratch_bytes = 0;
        err = tr_gpu_memory_new(c->gpu, bytes, "exchange buffers of the trainers", &c->scratch, text);
        if (err == 0)
            c->scratch_bytes = bytes;
    }
    return err;
}

/* Copy in, collective, copy out: all on COMM, then waits. */
static int around(struct tr_comm *c, ncclResult_t r, void *to, const void *from, size_t bytes,
                  const char *what, struct im_text *text)
{
    int err = nccl_complete(c, r, c->timeout_ms, what, text);

    if (err == 0)
        err = tr_gpu_copy(c->gpu, TR_GPU_COMM, to, from, bytes);
    return err ? err : comm_complete(c, what, text);
}

static int allreduce_sum(struct tr_comm *c, float *x, size_t count, struct im_text *text)
{
    const size_t bytes = count * sizeof *x;
    int err = count ? room(c, bytes, text) : 0;

    if (err || count == 0)
        return err;
    err = tr_gpu_copy(c->gpu, TR_GPU_COMM, c->scratch, x, bytes);
    if (err < 0)
        return err;
    return around(c,
                  c->lib.AllReduce(c->scratch, c->scratch, count, ncclFloat32, ncclSum, c->nccl,
                                   tr_gpu_stream(c->gpu, TR_GPU_COMM)),
                  x, c->scratch, bytes, "summing over the trainers", text);
}

static int allgather(struct tr_comm *c, const float *x, size_t count, float *ret_all, struct im_text *text)
{
    const size_t bytes = count * sizeof *x, all = bytes * (size_t)c->ranks;
    int err = count ? room(c, all, text) : 0;
    char *mine = (char *)c->scratch + bytes * (size_t)c->rank; /* in place: where NCCL would put it */

    if (err || count == 0)
        return err;
    err = tr_gpu_copy(c->gpu, TR_GPU_COMM, mine, x, bytes);
    if (err < 0)
        return err;
    return around(
        c,
        c->lib.AllGather(mine, c->scratch, count, ncclFloat32, c->nccl, tr_gpu_stream(c->gpu, TR_GPU_COMM)),
        ret_all, c->scratch, all, "gathering from the trainers", text);
}

static int broadcast(struct tr_comm *c, void *data, size_t bytes, int root, struct im_text *text)
{
    int err = bytes ? room(c, bytes, text) : 0;

    if (err || bytes == 0)
        return err;
    if (c->rank == root)
        err = tr_gpu_copy(c->gpu, TR_GPU_COMM, c->scratch, data, bytes);
    if (err < 0)
        return err;
    return around(c,
                  c->lib.Broadcast(c->scratch, c->scratch, bytes, ncclChar, root, c->nccl,
                                   tr_gpu_stream(c->gpu, TR_GPU_COMM)),
                  data, c->scratch, bytes, "broadcasting to the trainers", text);
}

static int reduce_on(struct tr_comm *c, void *x, size_t count, enum tr_comm_type type,
                     struct CUstream_st *stream, struct im_text *text)
{
    const ncclDataType_t types[] = {[TR_COMM_FLOAT] = ncclFloat32, [TR_COMM_DOUBLE] = ncclFloat64};

    if (count == 0)
        return 0;
    return nccl_complete(c, c->lib.AllReduce(x, x, count, types[type], ncclSum, c->nccl, stream),
                         c->timeout_ms, "summing over the trainers", text);
}

const struct tr_comm_ops tr_comm_nccl = {
    .name = "nccl",
    .check = check_nccl,
    .open = open_comm,
    .close = close_comm,
    .allreduce_sum = allreduce_sum,
    .allgather = allgather,
    .broadcast = broadcast,
    .reduce_on = reduce_on,
    .watch = watch,
};
