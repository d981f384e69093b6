#include "supervisor/children.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/bad_samples.h"
#include "ipc/base/fault.h"
#include "ipc/encoded.h"
#include "ipc/process.h"
#include "ipc/stats.h"

static void add_role(struct sv_children *c, enum im_role role, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        c->child[c->count++] =
            (struct sv_child){.role = role, .index = i, .slot = im_run_slot(c->run, role, i), .pidfd = -1};
    }
}

void sv_children_init(struct sv_children *c, struct im_run *run, const struct im_plan *plan, int channel)
{
    *c = (struct sv_children){.run = run, .plan = plan, .channel = channel};
    add_role(c, IM_ROLE_READER, run->geometry.readers_max);
    add_role(c, IM_ROLE_AUGMENTER, run->geometry.augmenters_max);
    add_role(c, IM_ROLE_TRAINER, run->geometry.ranks);
    add_role(c, IM_ROLE_FETCHER, run->geometry.fetchers);
}

struct sv_child *sv_child_at(struct sv_children *c, enum im_role role, uint32_t index)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->child[i].role == role && c->child[i].index == index)
            return &c->child[i];
    return NULL;
}

struct sv_child *sv_child_by_incarnation(struct sv_children *c, uint32_t incarnation)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (incarnation != 0 && c->child[i].incarnation == incarnation)
            return &c->child[i];
    return NULL;
}

int sv_child_start(struct sv_children *c, struct sv_child *child)
{
    struct sv_message m = {.type = SV_SPAWN, .role = child->role, .index = child->index};

    m.incarnation = im_process_announce(c->run, child->role, child->index);
    if (m.incarnation == 0)
        return -1;
    IM_FAULT("supervisor.announced");
    child->incarnation = m.incarnation;
    child->killed_for = SV_KILL_NONE;
    child->killed_at = 0;
    child->ended_by_reset = false;
    child->retire_by = 0;
    child->failed_at = 0;
    child->dead_since = 0;
    child->last.blamed = false;
    return sv_channel_send(c->channel, &m, -1);
}

/* Which sample it was rendering; before its cell is returned and can be filled with another. */
static void remember_sample(struct sv_children *c, struct sv_child *child, uint64_t active_ticket)
{
    const struct im_encoded_meta *meta;
    struct im_place at;

    child->last.active_sample = 0;
    if (active_ticket == 0 || im_plan_place(c->plan, active_ticket - 1, &at) < 0)
        return;
    meta = &c->run->encoded_meta[(active_ticket - 1) % c->run->geometry.encoded_cells];
    child->last.active_ticket = active_ticket;
    child->last.active_sample = im_bad_key((enum im_split)at.phase->split, meta->sample);
    memcpy(child->last.active_name, meta->name, sizeof child->last.active_name);
    child->last.active_name[sizeof child->last.active_name - 1] = 0;
}

void sv_child_remember(struct sv_children *c, struct sv_child *child)
{
    struct im_process *entry = &c->run->process[child->slot];
    struct im_stats *stats = &c->run->stats[child->slot];

    child->last.incarnation = child->incarnation;
    child->last.pid = child->pid;
    child->last.was_ready = atomic_load_explicit(&entry->ready_ns, memory_order_acquire) != 0;
    child->last.killed_for = child->killed_for;
    child->last.failed = atomic_load_explicit(&entry->failed, memory_order_relaxed);
    child->last.ended_by_reset = child->ended_by_reset;
    child->last.retired = atomic_load_explicit(&entry->retire, memory_order_relaxed) == child->incarnation;
    remember_sample(c, child, atomic_load_explicit(&entry->active_ticket, memory_order_acquire));
    child->last.active_need = atomic_load_explicit(&stats->active_need, memory_order_relaxed);
    child->last.sent_signal = atomic_load_explicit(&stats->sent_signal, memory_order_relaxed);
    child->last.position = atomic_load_explicit(&entry->position, memory_order_acquire);
    child->last.died_at = im_now();
}

void sv_child_finalize(struct sv_children *c, struct sv_child *child)
{
    if (child->incarnation == 0)
        return;
    sv_child_remember(c, child);
    if (child->lost_at == 0 && child->last.was_ready && !child->ended_by_reset && !child->last.retired)
        child->lost_at = child->last.died_at;
    if (!child->last.retired)
        im_encoded_compare_all(c->run);
    IM_FAULT("supervisor.death.seen");
    im_process_mark_dead(c->run, child->slot, child->incarnation);
    IM_FAULT("supervisor.death.marked");
    im_reclaim(c->run, c->plan, child->incarnation, &child->last.returned);
    IM_FAULT("supervisor.death.reclaimed");
    /* Its page is ours now. What it was in does not go on. */
    im_stats_enter(&c->run->stats[child->slot], IM_IDLE);
    im_process_clear(c->run, child->slot);
    if (child->pidfd >= 0)
        close(child->pidfd);
    child->pidfd = -1;
    child->pid = 0;
    child->incarnation = 0;
}

int sv_child_end(const struct sv_child *child, int wait_status)
{
    if (child->last.killed_for != SV_KILL_FAILED || child->last.failed == 0)
        return wait_status;
    return (int)((child->last.failed - 1) & 0xff) << 8; /* as waitpid() tells an exit */
}

void sv_child_kill(struct sv_child *child, int signo)
{
    if (child->incarnation != 0 && child->pidfd >= 0 && signo == SIGKILL && child->killed_at == 0)
        child->killed_at = im_now();
    if (child->incarnation != 0 && child->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, child->pidfd, signo, NULL, 0);
}

void sv_children_want(struct sv_children *c, enum im_role role, bool wanted)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->child[i].role == role)
            c->child[i].wanted = wanted && c->child[i].index < sv_children_count(c, role);
}

uint32_t sv_children_count(const struct sv_children *c, enum im_role role)
{
    const struct im_geometry *g = &c->run->geometry;
    uint32_t max = role == IM_ROLE_READER      ? g->readers_max
                   : role == IM_ROLE_AUGMENTER ? g->augmenters_max
                   : role == IM_ROLE_FETCHER   ? g->fetchers
                                               : g->ranks;
    uint32_t wanted = atomic_load_explicit(&c->run->control->wanted[role], memory_order_relaxed);

    return wanted == 0 || wanted > max ? max : wanted;
}

uint32_t sv_children_alive(const struct sv_children *c, enum im_role role)
{
    uint32_t alive = 0;

    for (uint32_t i = 0; i < c->count; i++)
        alive += c->child[i].role == role && c->child[i].incarnation != 0;
    return alive;
}

void sv_children_adopt(struct sv_children *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        struct sv_child *child = &c->child[i];
        uint32_t incarnation = im_process_incarnation(c->run, child->slot);

        if (im_process_state(c->run, child->slot) == IM_PROCESS_NONE || child->pidfd >= 0)
            continue;
        /* Announced and never started, or dead and half finalized by our predecessor. */
        child->incarnation = incarnation;
        sv_child_finalize(c, child);
        child->last.incarnation = 0;
    }
}
