/* Why the ranks agree at every step: they read the shared flags (stop, save) at different moments. If each
 * acted on what it sees, one would stop before a step that another has begun. So each publishes what it has
 * seen, and all act on the union.
 *
 * Why a lost peer is waited for: the supervisor detects a death by itself and restarts all ranks from the
 * last checkpoint. A survivor that exited first would look like the one that failed. */
#include "trainer/ranks.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "ipc/base/count.h"
#include "ipc/base/fault.h"
#include "ipc/base/log.h"
#include "ipc/wait.h"
#include "trainer/backends/cuda/module.h"

#define RECOVERY_WAIT_NS (10 * IM_SECOND) /* limit for the supervisor to notice a death */
#define REMOTE_WAIT_NS (60 * IM_SECOND)   /* the same where it may be on another machine */

uint32_t tr_rank(const struct im_child *child)
{
    return child->plan->first_rank + child->index;
}

uint32_t tr_world(const struct im_child *child)
{
    return child->plan->world;
}

bool tr_ranks_are_remote(const struct im_child *child)
{
    return child->plan->world > child->plan->ranks;
}

/* Turns the error of a collective into a result. */
static int peer_lost(struct tr_ranks *t, int err, struct im_text *text)
{
    struct im_event *event = &t->child->run->control->event_done[t->child->index];
    im_ns until = im_now() + (t->exchange.is_remote ? REMOTE_WAIT_NS : RECOVERY_WAIT_NS);

    if (err != -ECONNRESET && err != -ETIMEDOUT)
        return err;
    im_log(IM_LOG_INFO, "a collective failed", "why=%s", im_log_quote(&(struct im_quoted){0}, text->s));
    while (err == -ECONNRESET && im_now() < until) {
        uint32_t seen = im_event_look(event);
        int leave = im_child_should_leave(t->child);

        if (leave)
            return leave;
        im_event_wait(event, seen, IM_WAIT_MAX_NS);
    }
    return IM_EXIT_PEER;
}

int tr_ranks_await_leader(struct im_child *child)
{
    return child->index == 0 ? 0 : im_peers_await_position(child, 0);
}

/* Space for [count] floats of this rank, to be filled in and gathered; grows to the widest layer. */
static float *room_for(struct tr_ranks *t, size_t count)
{
    size_t others = count * tr_world(t->child);

    if (others + count > t->gathered_floats) {
        free(t->gathered);
        t->gathered = malloc((others + count) * sizeof *t->gathered);
        t->gathered_floats = t->gathered ? others + count : 0;
    }
    return t->gathered ? t->gathered + others : NULL;
}

static int gather(struct tr_ranks *t, const float *mine, size_t count)
{
    t->failed = t->ops->allgather(t->comm, mine, count, t->gathered, &t->why);
    return t->failed;
}

/* Chan, Golub and LeVeque's formula for the moments of parts: M = sum m_r, mu = sum m_r mu_r / M,
 * var = sum m_r (var_r + (mu_r - mu)^2) / M; in double, in the order of the ranks. */
static void combine_moments(const struct tr_ranks *t, int channels, double *count, float *mean, float *var)
{
    const size_t stride = 2 * (size_t)channels + 1;
    const uint32_t ranks = tr_world(t->child);
    const float *all = t->gathered;
    double m = 0;

    for (uint32_t r = 0; r < ranks; r++)
        m += (double)all[r * stride];
    for (size_t c = 0; c < (size_t)channels; c++) {
        double mu = 0, v = 0;

        for (uint32_t r = 0; r < ranks; r++)
            mu += (double)all[r * stride] * (double)all[r * stride + 1 + c] / m;
        for (uint32_t r = 0; r < ranks; r++) {
            double d = (double)all[r * stride + 1 + c] - mu;

            v += (double)all[r * stride] * ((double)all[r * stride + 1 + (size_t)channels + c] + d * d) / m;
        }
        mean[c] = (float)mu;
        var[c] = (float)v;
    }
    *count = m;
}

static int sync_moments(void *context, int channels, double *count, float *mean, float *var)
{
    struct tr_ranks *t = context;
    const size_t n = (size_t)channels;
    float *mine = room_for(t, 2 * n + 1);
    int err;

    if (!mine)
        return -ENOMEM;
    mine[0] = (float)*count;
    memcpy(mine + 1, mean, n * sizeof *mean);
    memcpy(mine + 1 + n, var, n * sizeof *var);
    err = gather(t, mine, 2 * n + 1);
    if (err == 0)
        combine_moments(t, channels, count, mean, var);
    return err;
}

static void combine_sums(const struct tr_ranks *t, size_t stride, size_t at, size_t count, float *ret)
{
    for (size_t c = 0; c < count; c++) {
        double sum = 0;

        for (uint32_t r = 0; r < tr_world(t->child); r++)
            sum += (double)t->gathered[r * stride + at + c];
        ret[c] = (float)sum;
    }
}

static int sync_sums(void *context, int channels, float *a, float *b)
{
    struct tr_ranks *t = context;
    const size_t n = (size_t)channels;
    float *mine = room_for(t, 2 * n);
    int err;

    if (!mine)
        return -ENOMEM;
    memcpy(mine, a, n * sizeof *a);
    memcpy(mine + n, b, n * sizeof *b);
    err = gather(t, mine, 2 * n);
    if (err == 0) {
        combine_sums(t, 2 * n, 0, n, a);
        combine_sums(t, 2 * n, n, n, b);
    }
    return err;
}

/* 0, or a status to leave with: what it failed of is the loss of a peer. */
static int exchange(struct tr_ranks *t, const double *mine, uint32_t count, double (*all)[IM_PEER_VALUES])
{
    int err = tr_exchange_numbers(&t->exchange, mine, count, all, &t->why);

    return err < 0 ? peer_lost(t, -ECONNRESET, &t->why) : err;
}

/* x[i] <- the sum of all ranks' x[i], in their order. */
static int exchange_sums(struct tr_ranks *t, double *x, size_t count)
{
    double all[IM_RANKS_MAX][IM_PEER_VALUES];
    int leave;

    if (tr_world(t->child) == 1)
        return 0;
    leave = exchange(t, x, (uint32_t)count, all);
    for (uint32_t r = 0; r < tr_world(t->child) && leave == 0; r++)
        t->losses[r] = all[r][0];
    for (size_t i = 0; i < count && leave == 0; i++) {
        x[i] = 0;
        for (uint32_t r = 0; r < tr_world(t->child); r++)
            x[i] += all[r][i];
    }
    return leave;
}

static int host_sum(void *context, void *x, size_t count, bool is_double, struct CUstream_st *stream)
{
    struct tr_ranks *t = context;

    (void)stream;
    if (is_double)
        return exchange_sums(t, x, count);
    IM_FAULT("trainer.gradients.before");
    t->failed = t->ops->allreduce_sum(t->comm, x, count, &t->why);
    IM_FAULT("trainer.gradients.after");
    return t->failed;
}

static int host_sum_in_order(void *context, float *x, const float *before, size_t count, uint32_t ranks)
{
    struct tr_ranks *t = context;

    IM_FAULT("trainer.gradients.before");
    t->failed = t->ops->sum_in_order(t->comm, x, before, count, ranks, &t->why);
    IM_FAULT("trainer.gradients.after");
    return t->failed;
}

static int host_take(void *context, float *x, size_t count, int root)
{
    struct tr_ranks *t = context;

    t->failed = t->ops->broadcast(t->comm, x, count * sizeof *x, root, &t->why);
    return t->failed;
}

/* Enqueued on the stream: completes when all ranks have reached it. */
static int device_sum(void *context, void *x, size_t count, bool is_double, struct CUstream_st *stream)
{
    struct tr_ranks *t = context;

    t->failed =
        t->ops->reduce_on(t->comm, x, count, is_double ? TR_COMM_DOUBLE : TR_COMM_FLOAT, stream, &t->why);
    return t->failed;
}

/* Polled while the host waits for the device, which waits for other ranks. The limit applies to the waits of
 * one step. */
static int device_watch(void *context)
{
    struct tr_ranks *t = context;
    im_ns waited, pause = tr_poll_pause(&t->wait, im_now(), &waited);
    int err = t->ops->watch(t->comm, &t->why);

    if (err == 0)
        err = im_child_should_leave(t->child);
    if (err == IM_EXIT_RESUMABLE) /* the run ends within a step: nothing is saved */
        err = IM_EXIT_FORCED;
    if (err == 0 && waited > (im_ns)t->child->conf->rank_timeout_ms * IM_MS)
        err = im_fail(&t->why, -ETIMEDOUT,
                      "a step on the GPU did not finish within %.0f s: a rank did not join",
                      (double)t->child->conf->rank_timeout_ms / 1000);
    t->failed = err;
    if (err == 0)
        nanosleep(&(struct timespec){.tv_nsec = (long)pause}, NULL);
    return err;
}

const struct tr_rank_sum *tr_ranks_rank_sum(struct tr_ranks *t)
{
    return tr_world(t->child) > 1 ? &t->rank_sum : NULL;
}

int tr_ranks_resolve_error(struct tr_ranks *t, int err, struct im_text *text)
{
    if (err >= 0 || t->failed == 0)
        return err;
    *text = t->why;
    return peer_lost(t, t->failed, text);
}

static int find_transport(const struct im_child *child, const struct tr_comm_ops **ret_ops,
                          struct im_text *text)
{
    const int ranks = (int)tr_world(child);
    const struct tr_cuda_table *module;
    int err;

    if (ranks == 1 || child->conf->backend != IM_BACKEND_CUDA)
        return tr_comm_find(ranks, ret_ops, text);
    err = tr_cuda_load(&module, text);
    if (err < 0)
        return err;
    if (!module->comm)
        return im_fail(text, -ENOSYS,
                       "the CUDA backend was built without NCCL, which training on several GPUs needs");
    *ret_ops = module->comm;
    return 0;
}

int tr_ranks_open(struct tr_ranks *t, struct im_child *child, struct im_text *text)
{
    struct tr_comm_config config = {
        .rank = (int)tr_rank(child),
        .ranks = (int)tr_world(child),
        .timeout_ms = child->conf->rank_timeout_ms,
        .device = im_conf_gpu(child->conf, child->index),
        .deterministic = child->conf->deterministic,
        .address = child->conf->node_address,
    };
    int err;

    *t = (struct tr_ranks){.child = child,
                           .bn_sync = {.context = t, .moments = sync_moments, .sums = sync_sums}};
    err = find_transport(child, &t->ops, text);
    if (err == 0 && t->ops->reduce_on) {
        t->rank_sum = (struct tr_rank_sum){.context = t, .sum = device_sum, .watch = device_watch};
        prctl(PR_SET_TIMERSLACK,
              1UL); /* of this thread: device_watch()'s pauses are shorter than the default */
    } else {
        t->rank_sum = (struct tr_rank_sum){
            .context = t, .sum = host_sum, .sum_in_order = host_sum_in_order, .take = host_take};
    }
    if (child->conf->virtual_ranks > 0) {
        t->rank_sum.parts = t->losses;
        t->rank_sum.part_count = tr_world(child);
    }
    if (err == 0)
        err = tr_exchange_open(&t->exchange, child, &config.rendezvous, text);
    if (err == 0)
        err = t->ops->open(&config, &t->comm, text);
    if (err == 0)
        err = tr_exchange_join(&t->exchange, text);
    return err < 0 ? peer_lost(t, err, text) : err;
}

void tr_ranks_close(struct tr_ranks *t)
{
    if (t->ops)
        t->ops->close(t->comm);
    tr_exchange_close(&t->exchange);
    free(t->gathered);
    *t = (struct tr_ranks){0};
}

void tr_ranks_begin_wait(struct tr_ranks *t)
{
    tr_poll_begin(&t->wait);
}

int tr_ranks_agree(struct tr_ranks *t, struct tr_agreement *a)
{
    const double mine[] = {a->stop, a->saves, a->weight, a->paused, a->snapshot}, before = a->before;
    const bool in_order = t->child->conf->virtual_ranks > 0;
    double all[IM_RANKS_MAX][IM_PEER_VALUES];
    int leave;

    if (tr_world(t->child) == 1) {
        a->weight = before + a->weight;
        return 0;
    }
    tr_ranks_begin_wait(t);
    leave = exchange(t, mine, IM_COUNT(mine), all);
    if (leave)
        return leave;
    *a = (struct tr_agreement){.weight = in_order ? before : 0, .before = before};
    for (uint32_t r = 0; r < tr_world(t->child); r++) {
        a->stop |= all[r][0] != 0;
        a->saves = (uint32_t)fmax(a->saves, all[r][1]);
        a->weight += all[r][2];
        a->paused |= all[r][3] != 0;
        a->snapshot |= all[r][4] != 0;
    }
    a->weight = in_order ? a->weight : before + a->weight;
    return 0;
}

int tr_ranks_share_bytes(struct tr_ranks *t, uint32_t root, const void *bytes, size_t n, char **ret,
                         size_t *ret_n, struct im_text *text)
{
    const double mine = (double)n; /* < 2^53 */
    double all[IM_RANKS_MAX][IM_PEER_VALUES];
    const bool has = tr_rank(t->child) == root;
    int err = exchange(t, &mine, 1, all);

    *ret = NULL;
    if (err)
        return err;
    *ret_n = (size_t)all[root][0];
    if (*ret_n == 0)
        return 0;
    if (!has) {
        *ret = malloc(*ret_n);
        if (!*ret)
            return im_fail(text, -ENOMEM, "no memory for the %zu bytes of the state of rank %" PRIu32, *ret_n,
                           root);
    }
    err = t->ops->broadcast(t->comm, has ? (void *)(uintptr_t)bytes : *ret, *ret_n, (int)root, text);
    if (err < 0) {
        free(*ret);
        *ret = NULL;
    }
    return err < 0 ? peer_lost(t, err, text) : 0;
}

int tr_ranks_tell_numbers(struct tr_ranks *t, const double *mine, uint32_t count,
                          double (*ret_all)[IM_PEER_VALUES])
{
    return exchange(t, mine, count, ret_all);
}

int tr_ranks_share_numbers(struct tr_ranks *t, double *x, uint32_t count)
{
    double all[IM_RANKS_MAX][IM_PEER_VALUES];
    int leave = exchange(t, x, count, all);

    if (leave == 0)
        memcpy(x, all[0], count * sizeof *x);
    return leave;
}

int tr_ranks_sum_numbers(struct tr_ranks *t, double *x, uint32_t count)
{
    return exchange_sums(t, x, count);
}

int tr_ranks_add_tally(struct tr_ranks *t, const struct tr_tally *tally, struct tr_sums *sums)
{
    double x[] = {tally->loss_sum, tally->valid, tally->top1, tally->top5};
    const bool in_order = t->child->conf->virtual_ranks > 0 && tr_world(t->child) > 1;
    int leave = exchange_sums(t, x, IM_COUNT(x));

    if (leave)
        return leave;
    for (uint32_t r = 0; r < tr_world(t->child) && in_order; r++)
        sums->loss += t->losses[r];
    tr_sums_add(sums, &(struct tr_tally){.loss_sum = in_order ? 0 : x[0],
                                         .valid = (uint32_t)x[1],
                                         .top1 = (uint32_t)x[2],
                                         .top5 = (uint32_t)x[3]});
    return 0;
}

int tr_ranks_share_statistics(struct tr_ranks *t, struct tr_network *net, struct im_text *text)
{
    static const enum tr_arena shared[] = {TR_ARENA_STATS, TR_ARENA_EMA_STATS};
    int err = 0;

    for (size_t i = 0; i < IM_COUNT(shared) && err == 0; i++)
        err = t->ops->broadcast(t->comm, tr_network_arena(net, shared[i]),
                                tr_network_floats(net, shared[i]) * sizeof(float), 0, text);
    t->shared = err == 0;
    return err < 0 ? peer_lost(t, err, text) : 0;
}

/* Numbers of an exchange are doubles, which hold 32 bits exactly. */
static void split_hashes(const uint64_t hashes[TR_STATE_COMPARED], double *ret)
{
    for (int kind = 0; kind < TR_STATE_COMPARED; kind++) {
        ret[2 * kind] = (double)(hashes[kind] >> 32);
        ret[2 * kind + 1] = (double)(hashes[kind] & UINT32_MAX);
    }
}

static bool is_same(const double *a, const double *b, int kind)
{
    return a[2 * kind] == b[2 * kind] && a[2 * kind + 1] == b[2 * kind + 1];
}

/* The first rank whose state of this kind differs from most ranks (from rank 0 in a tie); -1: none. */
static int odd_one(double (*all)[IM_PEER_VALUES], int ranks, int kind)
{
    int most = 0, most_count = 0;

    for (int r = 0; r < ranks; r++) {
        int count = 0;

        for (int q = 0; q < ranks; q++)
            count += is_same(all[r], all[q], kind);
        if (count > most_count) {
            most = r;
            most_count = count;
        }
    }
    for (int r = 0; r < ranks; r++)
        if (!is_same(all[r], all[most], kind))
            return r;
    return -1;
}

int tr_ranks_compare(struct tr_ranks *t, struct tr_state *state, uint64_t step, struct im_text *text)
{
    static const char *const names[] = {[TR_STATE_PARAMETERS] = "parameters",
                                        [TR_STATE_OPTIMIZER] = "optimiser's state",
                                        [TR_STATE_AVERAGES] = "averages",
                                        [TR_STATE_STATISTICS] = "statistics"};
    const int ranks = (int)tr_world(t->child);
    double mine[IM_PEER_VALUES] = {0}, all[IM_RANKS_MAX][IM_PEER_VALUES];
    uint64_t hashes[TR_STATE_KINDS];
    int err;

    static_assert(2 * TR_STATE_COMPARED <= IM_PEER_VALUES, "the hashes fit an exchange");
    if (ranks == 1)
        return 0;
    err = tr_state_hashes(state, hashes, text);
    if (err < 0)
        return err;
    if (!t->shared)
        hashes[TR_STATE_STATISTICS] = 0;
    split_hashes(hashes, mine);
    err = exchange(t, mine, 2 * TR_STATE_COMPARED, all);
    for (int kind = 0; kind < TR_STATE_COMPARED && err == 0; kind++) {
        int odd = odd_one(all, ranks, kind);

        if (odd >= 0)
            return im_fail(text, -EIO,
                           "after step %" PRIu64
                           " trainer#%d has different %s than %s; all ranks must be equal to the bit. "
                           "Nothing was saved: the same command continues from the previous checkpoint",
                           step, odd, names[kind], ranks == 2 ? "trainer#0" : "most others");
    }
    return err;
}

int tr_ranks_meet(struct tr_ranks *t)
{
    return tr_ranks_agree(t, &(struct tr_agreement){0});
}
