/* NCCL as fake.h says, a libnccl.so.2 of its own: nccl.c loads it as it loads the real one. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "tests/cuda/nccl/fake.h"

enum { RANKS_MAX = 8, CALLS_MAX = 4096 };

enum kind { REDUCE, GATHER, BROADCAST };

/* One collective; all ranks of a communicator make the same ones in the same order. */
struct call {
    int came;
    enum kind kind;
    const void *from[RANKS_MAX];
    void *to[RANKS_MAX];
    size_t count;
    ncclDataType_t type;
    int root;
    bool done;
};

struct fake_comm {
    int rank, ranks, next; /* next: number of its next collective */
    bool failed;
};

static struct {
    pthread_mutex_t mutex;
    struct fake_trouble trouble;
    int met, open, aborted, polls;
    struct call calls[CALLS_MAX];
} world = {.mutex = PTHREAD_MUTEX_INITIALIZER};

struct turn {
    struct fake_comm *comm;
    int number;
    bool came;
};

void fake_reset(const struct fake_trouble *trouble)
{
    world.trouble = *trouble;
    world.met = world.open = world.aborted = world.polls = 0;
    memset(world.calls, 0, sizeof world.calls);
}

int fake_open_comms(void)
{
    return world.open;
}

int fake_aborted_comms(void)
{
    return world.aborted;
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = world.trouble.version ? world.trouble.version : NCCL_VERSION(2, 28, 9);
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 7, sizeof *id);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    struct fake_comm *c = calloc(1, sizeof *c);

    im_assert(config->blocking == 0 && id.internal[100] == 7 && ranks <= RANKS_MAX);
    *c = (struct fake_comm){.rank = rank, .ranks = ranks};
    pthread_mutex_lock(&world.mutex);
    world.met++;
    world.open++;
    pthread_mutex_unlock(&world.mutex);
    *comm = c;
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *ret)
{
    pthread_mutex_lock(&world.mutex);
    if (c->failed)
        *ret = world.trouble.error;
    else
        *ret =
            world.met < c->ranks || world.polls++ < world.trouble.slow_polls ? ncclInProgress : ncclSuccess;
    pthread_mutex_unlock(&world.mutex);
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t c)
{
    return c->failed ? ncclInternalError : ncclSuccess;
}

static void close_one(ncclComm_t c, bool aborted)
{
    pthread_mutex_lock(&world.mutex);
    world.open--;
    world.aborted += aborted;
    pthread_mutex_unlock(&world.mutex);
    free(c);
}

ncclResult_t ncclCommDestroy(ncclComm_t c)
{
    close_one(c, false);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t c)
{
    close_one(c, true);
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t r)
{
    return r == ncclRemoteError ? "remote process exited or there was a network error" : "unhandled error";
}

const char *ncclGetLastError(ncclComm_t c)
{
    (void)c;
    return "of the fake";
}

static size_t bytes_of(ncclDataType_t type)
{
    return type == ncclFloat32 ? sizeof(float) : type == ncclFloat64 ? sizeof(double) : 1;
}

static void reduce(struct call *c, int ranks)
{
    for (size_t i = 0; i < c->count; i++) {
        double sum = 0;

        for (int r = 0; r < ranks; r++)
            sum += c->type == ncclFloat32 ? (double)((const float *)c->from[r])[i]
                                          : ((const double *)c->from[r])[i];
        for (int r = 0; r < ranks; r++)
            if (c->type == ncclFloat32)
                ((float *)c->to[r])[i] = (float)sum;
            else
                ((double *)c->to[r])[i] = sum;
    }
}

static void compute(struct call *c, int ranks)
{
    const size_t bytes = c->count * bytes_of(c->type);

    if (c->kind == REDUCE)
        reduce(c, ranks);
    for (int r = 0; r < ranks && c->kind != REDUCE; r++)
        for (int from = 0; from < ranks; from++)
            if (c->kind == GATHER)
                memmove((char *)c->to[r] + (size_t)from * bytes, c->from[from], bytes);
            else if (from == c->root)
                memmove(c->to[r], c->from[from], bytes);
    c->done = true;
}

/* The stream has come to it: done when it has come to it on all ranks. */
static bool take_turn(void *argument)
{
    struct turn *t = argument;
    struct call *c = &world.calls[t->number];
    bool done;

    pthread_mutex_lock(&world.mutex);
    if (!t->came && ++c->came == t->comm->ranks)
        compute(c, t->comm->ranks);
    t->came = true;
    done = c->done;
    pthread_mutex_unlock(&world.mutex);
    if (done)
        free(t);
    return done;
}

static ncclResult_t call(enum kind kind, const void *from, void *to, size_t count, ncclDataType_t type,
                         int root, ncclComm_t comm, struct CUstream_st *stream)
{
    struct turn *t = malloc(sizeof *t);
    struct call *c = &world.calls[comm->next];

    *t = (struct turn){comm, comm->next++, false};
    pthread_mutex_lock(&world.mutex);
    c->kind = kind;
    c->from[comm->rank] = from;
    c->to[comm->rank] = to;
    c->count = count;
    c->type = type;
    c->root = root;
    comm->failed |= comm->rank == 1 && comm->next == world.trouble.fails_at;
    pthread_mutex_unlock(&world.mutex);
    fake_enqueue(stream, take_turn, t);
    return ncclInProgress;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, struct CUstream_st *stream)
{
    im_assert(op == ncclSum);
    return call(REDUCE, from, to, count, type, 0, comm, stream);
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           struct CUstream_st *stream)
{
    return call(GATHER, from, to, count, type, 0, comm, stream);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, struct CUstream_st *stream)
{
    return call(BROADCAST, from, to, count, type, root, comm, stream);
}
