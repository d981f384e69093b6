#include "ipc/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/cell_word.h"

static uint64_t entry_word(enum im_process_state state, uint32_t incarnation)
{
    return (uint64_t)state << 32 | incarnation;
}

/* Above all that live, should the word itself have changed: two processes of one number would take each other's
 * cells. */
static uint32_t next_incarnation(const struct im_run *run)
{
    uint32_t next = atomic_load_explicit(&run->control->next_incarnation, memory_order_relaxed), least = 1;

    for (uint32_t slot = 0; slot < run->geometry.slots; slot++) {
        uint32_t lives = im_process_incarnation(run, slot);

        if (lives >= least && lives <= IM_OWNER_MAX)
            least = lives + 1;
    }
    return next < least || next > IM_OWNER_MAX ? least : next;
}

uint32_t im_process_announce(struct im_run *run, enum im_role role, uint32_t index)
{
    const uint32_t slot = im_run_slot(run, role, index);
    struct im_process *p = &run->process[slot];
    struct im_stats *stats = &run->stats[slot];
    uint32_t incarnation = next_incarnation(run);

    if (incarnation == 0 || incarnation > IM_OWNER_MAX)
        return 0;
    /* One writer. Counted before it is given out: a death in between wastes a number and
     * never repeats one. */
    atomic_store_explicit(&run->control->next_incarnation, incarnation + 1, memory_order_relaxed);
    p->role = role;
    p->index = index;
    atomic_store_explicit(&p->pid, 0, memory_order_relaxed);
    atomic_store_explicit(&p->start_time, 0, memory_order_relaxed);
    atomic_store_explicit(&p->active_ticket, 0, memory_order_relaxed);
    atomic_store_explicit(&p->active_since_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&p->position, 0, memory_order_relaxed);
    atomic_store_explicit(&p->ready_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&p->retire, 0, memory_order_relaxed);
    atomic_store_explicit(&p->failed, 0, memory_order_relaxed);
    atomic_store_explicit(&stats->active_need, 0, memory_order_relaxed);
    atomic_store_explicit(&stats->sent_signal, 0, memory_order_relaxed);
    atomic_store_explicit(&p->turned_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&p->read_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&p->probed_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&p->waiting_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&p->failing_reads, 0, memory_order_relaxed);
    atomic_store_explicit(&p->slow_reads, 0, memory_order_relaxed);
    atomic_store_explicit(&p->read_error, 0, memory_order_relaxed);
    /* P1 release: the entry is complete before its incarnation can be seen. */
    atomic_store_explicit(&p->state, entry_word(IM_PROCESS_SPAWN, incarnation), memory_order_release);
    return incarnation;
}

/* What follows the name in /proc/PID/stat, the state's letter first; NULL: no such process. */
static const char *stat_fields(int32_t pid, char *text, size_t n)
{
    char path[32];
    const char *at;
    ssize_t got;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    got = read(fd, text, n - 1);
    close(fd);
    if (got <= 0)
        return NULL;
    text[got] = 0;
    at = strrchr(text, ')'); /* the name may hold anything, also blanks and parentheses */
    return at && at[1] == ' ' ? at + 2 : NULL;
}

char im_process_letter(int32_t pid)
{
    char text[1024];
    const char *at = stat_fields(pid, text, sizeof text);

    return at ? *at : 0;
}

uint64_t im_process_start_time(int32_t pid)
{
    char text[1024];
    const char *at = stat_fields(pid, text, sizeof text);

    for (int field = 3; at && field < 22; field++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at ? strtoull(at, NULL, 10) : 0;
}

int im_process_enter(struct im_run *run, uint32_t slot, uint32_t incarnation)
{
    struct im_process *p = &run->process[slot];
    uint64_t word = entry_word(IM_PROCESS_SPAWN, incarnation);

    IM_FAULT("process.enter.before");
    /* P2. Nothing is written before it: a child that comes too late would write into
     * its successor's entry. */
    if (!atomic_compare_exchange_strong_explicit(&p->state, &word, entry_word(IM_PROCESS_RUN, incarnation),
                                                 memory_order_acq_rel, memory_order_relaxed))
        return -ESTALE;
    atomic_store_explicit(&p->start_time, im_process_start_time(getpid()), memory_order_relaxed);
    atomic_store_explicit(&p->pid, getpid(), memory_order_release);
    IM_FAULT("process.enter.after");
    return 0;
}

int im_process_mark_dead(struct im_run *run, uint32_t slot, uint32_t incarnation)
{
    _Atomic uint64_t *state = &run->process[slot].state;
    uint64_t word = atomic_load_explicit(state, memory_order_acquire);

    if ((uint32_t)word != incarnation || word >> 32 == IM_PROCESS_NONE)
        return -ESTALE;
    /* P3: from SPAWN or RUN; a child that has not entered yet fails its P2 from here on. */
    atomic_exchange_explicit(state, entry_word(IM_PROCESS_DEAD, incarnation), memory_order_acq_rel);
    return 0;
}

void im_process_clear(struct im_run *run, uint32_t slot)
{
    struct im_process *p = &run->process[slot];

    atomic_store_explicit(&p->pid, 0, memory_order_relaxed);
    /* P4 release: its cells were returned before. */
    atomic_store_explicit(&p->state, entry_word(IM_PROCESS_NONE, 0), memory_order_release);
}

enum im_process_state im_process_state(const struct im_run *run, uint32_t slot)
{
    return (enum im_process_state)(atomic_load_explicit(&run->process[slot].state, memory_order_acquire) >>
                                   32);
}

uint32_t im_process_incarnation(const struct im_run *run, uint32_t slot)
{
    return (uint32_t)atomic_load_explicit(&run->process[slot].state, memory_order_acquire);
}

bool im_process_is_current(const struct im_run *run, uint32_t slot, uint32_t incarnation)
{
    return atomic_load_explicit(&run->process[slot].state, memory_order_relaxed) ==
           entry_word(IM_PROCESS_RUN, incarnation);
}
