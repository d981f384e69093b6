/* Rounds: a rank writes the numbers of round r into its buffer r mod 2, then says r + 1 in its word, and
 * waits until everyone's word says at least that. Two buffers are enough: a rank writes round r + 2 only when
 * all have posted r + 1, and whoever posted r + 1 has read everything of round r. Nobody resets anything
 * between two rounds; the words go back to 0 with the data plane (im_run_reset), before its first step.
 *
 * A card carries the incarnation of who wrote it, so that a dead predecessor's is none. */
#include "ipc/peers.h"

#include <errno.h>
#include <string.h>

#include "ipc/base/hash.h"
#include "ipc/process.h"
#include "ipc/wait.h"

static void wake_others(const struct im_child *child)
{
    for (uint32_t r = 0; r < child->run->geometry.ranks; r++)
        if (r != child->index)
            im_event_broadcast(&child->run->control->event_done[r]);
}

/* A condition on rank `r`: > 0 it holds, 0 not yet, negative errno. */
typedef int condition(struct im_child *child, uint32_t rank, uint64_t argument);

static int wait_for(struct im_child *child, condition *holds, uint32_t rank, uint64_t argument, im_ns timeout)
{
    struct im_event *event = &child->run->control->event_done[child->index];
    im_ns began = im_now();

    for (;;) {
        uint32_t seen = im_event_look(event);
        int got = holds(child, rank, argument), leave;

        if (got)
            return got < 0 ? got : 0;
        leave = im_child_should_leave(child);
        if (leave)
            return leave;
        if (timeout && im_now() - began > timeout)
            return -ETIMEDOUT;
        im_event_wait(event, seen, IM_WAIT_MAX_NS);
    }
}

static void write_card(struct im_peer *peer, uint32_t owner, const void *card, size_t bytes)
{
    memcpy(peer->card_bytes, card, bytes);
    atomic_store_explicit(&peer->card, (uint64_t)owner << 32 | bytes, memory_order_release);
}

int im_peers_publish(struct im_child *child, const void *card, size_t bytes)
{
    if (bytes > IM_CARD_BYTES)
        return -E2BIG;
    write_card(&child->run->peer[child->run->first_rank + child->index], child->incarnation, card, bytes);
    wake_others(child);
    return 0;
}

/* Of the process that is the rank's trainer now; of a rank of another node: of this generation. */
static bool is_shown(const struct im_run *run, uint32_t rank)
{
    const uint32_t index = rank - run->first_rank; /* wraps around below */
    uint64_t card = atomic_load_explicit(&run->peer[rank].card, memory_order_acquire);

    if (card == 0)
        return false;
    return index < run->geometry.ranks
               ? im_process_is_current(run, im_run_slot(run, IM_ROLE_TRAINER, index), (uint32_t)(card >> 32))
               : (uint32_t)(card >> 32) ==
                     atomic_load_explicit(&run->control->node_generation, memory_order_acquire);
}

static int has_card(struct im_child *child, uint32_t rank, uint64_t unused)
{
    (void)unused;
    return is_shown(child->run, rank);
}

bool im_peers_card(const struct im_run *run, uint32_t index, const void **ret_card, size_t *ret_bytes)
{
    const struct im_peer *peer = &run->peer[run->first_rank + index];
    const uint32_t bytes = (uint32_t)atomic_load_explicit(&peer->card, memory_order_acquire);

    if (!is_shown(run, run->first_rank + index) || bytes > IM_CARD_BYTES)
        return false;
    *ret_card = peer->card_bytes;
    *ret_bytes = bytes;
    return true;
}

int im_peers_show(struct im_run *run, uint32_t rank, const void *card, size_t bytes)
{
    if (bytes > IM_CARD_BYTES || rank - run->first_rank < run->geometry.ranks || rank >= run->world)
        return -E2BIG;
    write_card(&run->peer[rank], atomic_load_explicit(&run->control->node_generation, memory_order_relaxed),
               card, bytes);
    for (uint32_t r = 0; r < run->geometry.ranks; r++)
        im_event_broadcast(&run->control->event_done[r]);
    return 0;
}

int im_peers_look(struct im_child *child, uint32_t rank, im_ns timeout, void *ret_card, size_t *ret_bytes)
{
    struct im_peer *peer = &child->run->peer[rank];
    int err = wait_for(child, has_card, rank, 0, timeout);
    uint32_t bytes;

    if (err)
        return err;
    bytes = (uint32_t)atomic_load_explicit(&peer->card, memory_order_acquire);
    if (bytes > IM_CARD_BYTES)
        return -EBADMSG;
    memcpy(ret_card, peer->card_bytes, bytes);
    *ret_bytes = bytes;
    return 0;
}

static int has_position(struct im_child *child, uint32_t rank, uint64_t unused)
{
    uint32_t slot = im_run_slot(child->run, IM_ROLE_TRAINER, rank);

    (void)unused;
    /* The state first: in the entry of one that is not there, the position is that of its predecessor. */
    return im_process_state(child->run, slot) == IM_PROCESS_RUN &&
           atomic_load_explicit(&child->run->process[slot].position, memory_order_acquire) != 0;
}

int im_peers_await_position(struct im_child *child, uint32_t rank)
{
    return wait_for(child, has_position, rank, 0, 0);
}

static int has_posted(struct im_child *child, uint32_t rank, uint64_t round)
{
    return atomic_load_explicit(&child->run->peer[rank].round, memory_order_acquire) > round;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t check_of(uint32_t rank, uint64_t round, const uint64_t bits[IM_PEER_VALUES])
{
    const uint64_t seed[] = {rank, round};

    return im_hash64(bits, IM_PEER_VALUES * sizeof *bits, im_hash64(seed, sizeof seed, IM_MAGIC));
}

static void post(struct im_peer *me, uint32_t rank, uint64_t round, const double *mine, uint32_t count)
{
    uint64_t bits[IM_PEER_VALUES] = {0};

    for (uint32_t i = 0; i < IM_PEER_VALUES; i++) {
        bits[i] = i < count ? bits_of(mine[i]) : 0;
        atomic_store_explicit(&me->value[round % 2][i], bits[i], memory_order_relaxed);
    }
    atomic_store_explicit(&me->check[round % 2], check_of(rank, round, bits), memory_order_relaxed);
    atomic_store_explicit(&me->round, round + 1, memory_order_release);
}

/* The numbers of a rank that has said that it posted them. */
static bool read_posted(const struct im_peer *peer, uint32_t rank, uint64_t round, double *ret_values)
{
    uint64_t bits[IM_PEER_VALUES];

    for (uint32_t i = 0; i < IM_PEER_VALUES; i++)
        bits[i] = atomic_load_explicit(&peer->value[round % 2][i], memory_order_relaxed);
    memcpy(ret_values, bits, sizeof bits);
    return atomic_load_explicit(&peer->check[round % 2], memory_order_relaxed) == check_of(rank, round, bits);
}

int im_peers_exchange(struct im_peers *p, const double *mine, uint32_t count,
                      double (*ret_all)[IM_PEER_VALUES])
{
    struct im_child *child = p->child;
    struct im_peer *peer = child->run->peer, *me = &peer[child->index];
    uint64_t round = p->round++;

    im_assert(count <= IM_PEER_VALUES);
    post(me, child->index, round, mine, count);
    wake_others(child);
    for (uint32_t r = 0; r < child->run->geometry.ranks; r++) {
        int leave = wait_for(child, has_posted, r, round, 0);

        if (leave)
            return leave;
        if (!read_posted(&peer[r], r, round, ret_all[r]))
            return IM_EXIT_CONTRADICTION;
    }
    return 0;
}
