#include "supervisor/deadline.h"

#include <signal.h>
#include <time.h>

#include "ipc/process.h"
#include "supervisor/super.h"

/* Between two looks no more than this counts as seen: some of the supervisor's ticks. */
#define GAP_NS (500 * IM_MS)

enum sv_work_verdict sv_work_judge(struct sv_work *w, uint64_t item, uint64_t cpu_ns, bool wants_cpu,
                                   im_ns now, im_ns deadline)
{
    im_ns gap = now > w->seen ? now - w->seen : 0;

    if (item == 0 || item != w->item) {
        *w = (struct sv_work){.item = item, .cpu_before = cpu_ns, .cpu = cpu_ns, .seen = now};
        return SV_WORK_GOES_ON;
    }
    w->still = cpu_ns != w->cpu || wants_cpu ? 0 : w->still + (gap < GAP_NS ? gap : GAP_NS);
    w->cpu = cpu_ns;
    w->seen = now;
    if (cpu_ns > w->cpu_before && cpu_ns - w->cpu_before >= deadline)
        return SV_WORK_TOO_MUCH;
    return w->still >= deadline ? SV_WORK_HANGS : SV_WORK_GOES_ON;
}

/* False when the process is gone. A pid that is another's by now costs one wrong look: nothing is sent to it. */
static bool read_cpu_time(pid_t pid, uint64_t *ret)
{
    struct timespec used;
    clockid_t clock;

    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
        return false;
    *ret = (uint64_t)used.tv_sec * IM_SECOND + (uint64_t)used.tv_nsec;
    return true;
}

static void end(struct sv_super *s, struct sv_child *child, enum sv_work_verdict verdict)
{
    const struct sv_work *w = &child->work;

    if (verdict == SV_WORK_TOO_MUCH)
        sv_screen_warn(&s->screen, SV_WARN,
                       "%s#%u has spent %.1f s of processor time on one image; killing it",
                       im_role_name(child->role), child->index, (double)(w->cpu - w->cpu_before) / 1e9);
    else
        sv_screen_warn(&s->screen, SV_WARN, "%s#%u has stood still on one image for %.1f s; killing it",
                       im_role_name(child->role), child->index, (double)w->still / 1e9);
    child->killed_for = verdict == SV_WORK_TOO_MUCH ? SV_KILL_DEADLINE : SV_KILL_HANG;
    sv_child_kill(child, SIGKILL);
}

void sv_check_deadlines(struct sv_super *s)
{
    im_ns now = im_now(), deadline = (im_ns)s->conf.sample_deadline_ms * IM_MS;

    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];
        uint64_t item, cpu = 0;
        enum sv_work_verdict verdict;
        bool looks_still;

        if (child->role != IM_ROLE_AUGMENTER || child->incarnation == 0 || child->killed_for != SV_KILL_NONE)
            continue;
        /* When it began is a name for what it does, for it begins one thing at a time. */
        item = atomic_load_explicit(&s->run.process[child->slot].active_since_ns, memory_order_relaxed);
        if (item != 0 && !read_cpu_time(child->pid, &cpu))
            item = 0;
        looks_still = item != 0 && item == child->work.item && cpu == child->work.cpu;
        verdict = sv_work_judge(&child->work, item, cpu, looks_still && im_process_letter(child->pid) == 'R',
                                now, deadline);
        if (verdict != SV_WORK_GOES_ON)
            end(s, child, verdict);
    }
}
