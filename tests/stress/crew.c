/* See crew.h. The supervisor here does what the product's does, in the same order: pidfd readable, marked
 * dead, cells returned, entry cleared, a new incarnation started. A trainer's death takes the whole data
 * plane back. */
#include "tests/stress/crew.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/base/log.h"

enum { LATE_MS = 150 };

struct process {
    struct sim_worker worker;
    pid_t pid;
    int pidfd;
    bool finished; /* not to be started again: a trainer that reached the end */
};

struct crew {
    struct sim sim;
    struct crew_plan plan;
    struct crew_result result;
    struct process process[SIM_WORKERS_MAX];
    uint32_t count, victim;
    bool victim_armed, victim_waits; /* started with its rule; dead and not yet buried */
    struct im_rng rng;
    uint64_t progress;
    im_ns moved, next_kill;
};

static void fault(struct crew *crew, const char *what)
{
    fprintf(stderr, "fault: %s\n", what);
    crew->result.faults++;
}

static void arm(const char *rule)
{
    struct im_text text;

    if (im_fault_arm(rule, &text) < 0) {
        fprintf(stderr, "%s\n", text.s);
        _exit(99);
    }
}

static void start(struct crew *crew, uint32_t number)
{
    struct process *p = &crew->process[number];
    const char *rule = "";

    if (crew->plan.victim_rule && number == crew->victim && !crew->victim_armed) {
        crew->victim_armed = true;
        rule = crew->plan.victim_rule;
    }
    if (sim_announce(&crew->sim, number, &p->worker) < 0) {
        fault(crew, "out of incarnations");
        return;
    }
    fflush(NULL);
    p->pid = fork();
    if (p->pid == 0) {
        im_log_identity(im_role_name(p->worker.role), (int)p->worker.index);
        if (*rule)
            arm(rule);
        _exit((int)sim_work(&p->worker));
    }
    p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (p->pid < 0 || p->pidfd < 0)
        fault(crew, strerror(errno));
}

/* A supervisor of its own, to be killed at work; then we are its successor. */
static void bury_interrupted(struct crew *crew, const struct sim_worker *w)
{
    int status = 0;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        arm(crew->plan.bury_rule);
        sim_bury(&crew->sim, w);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    crew->result.bury_interrupted = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!sim_ready_places_are_open(&crew->sim))
        fault(crew, "a supervisor killed halfway left a READY ticket whose place is held");
}

static void bury(struct crew *crew, uint32_t number)
{
    struct process *p = &crew->process[number];

    if (number == crew->victim && crew->plan.bury_rule && !crew->result.bury_interrupted)
        bury_interrupted(crew, &p->worker);
    sim_bury(&crew->sim, &p->worker);
    if (!sim_ready_places_are_open(&crew->sim))
        fault(crew, "a READY ticket's place is held");
}

/* Takes the exit status. True: it was killed. */
static bool reap(struct crew *crew, struct process *p)
{
    int status = 0;

    waitpid(p->pid, &status, 0);
    close(p->pidfd);
    p->pidfd = -1;
    p->pid = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    p->finished = WIFEXITED(status) && WEXITSTATUS(status) == SIM_LEFT;
    if (!p->finished) {
        fprintf(stderr, "%s %" PRIu32 ": wait status 0x%x\n", im_role_name(p->worker.role), p->worker.index,
                (unsigned)status);
        fault(crew, "a worker ended on its own");
    }
    return false;
}

static void kill_all(struct crew *crew)
{
    for (uint32_t i = 0; i < crew->count; i++)
        if (crew->process[i].pid > 0)
            kill(crew->process[i].pid, SIGKILL);
    for (uint32_t i = 0; i < crew->count; i++)
        if (crew->process[i].pid > 0) {
            reap(crew, &crew->process[i]);
            sim_bury(&crew->sim, &crew->process[i].worker);
        }
}

/* Until the victim is dead it is the only one of its role, so that it surely comes by its point. */
static bool is_held_back(const struct crew *crew, uint32_t number)
{
    const struct sim *sim = &crew->sim;
    uint32_t first = crew->plan.victim_role == IM_ROLE_READER ? 0 : sim->readers;
    uint32_t count = crew->plan.victim_role == IM_ROLE_READER ? sim->readers : sim->augmenters;

    return crew->plan.victim_rule && !crew->result.victim_died && crew->plan.victim_role != IM_ROLE_TRAINER &&
           number >= first && number < first + count && number != crew->victim;
}

static void start_all(struct crew *crew)
{
    for (uint32_t i = 0; i < crew->count; i++)
        if (crew->process[i].pid == 0 && !crew->process[i].finished && !is_held_back(crew, i))
            start(crew, i);
}

/* A trainer died: everyone goes back to the oldest batch that is not finished. */
static void reset_all(struct crew *crew)
{
    crew->victim_waits = false;
    kill_all(crew);
    if (crew->result.faults)
        return;
    sim_reset(&crew->sim);
    crew->result.resets++;
    for (uint32_t i = 0; i < crew->count; i++)
        crew->process[i].finished = false;
    start_all(crew);
}

static void on_death(struct crew *crew, uint32_t number)
{
    struct process *p = &crew->process[number];
    bool was_victim = number == crew->victim && crew->plan.victim_rule && !crew->result.victim_died;
    bool killed = reap(crew, p);

    crew->result.victim_died |= was_victim && killed;
    if (!killed)
        return;
    if (was_victim && crew->plan.bury_late) {
        p->finished = true; /* not to be started before it is buried */
        crew->victim_waits = true;
    } else {
        bury(crew, number);
    }
    if (p->worker.role == IM_ROLE_TRAINER)
        reset_all(crew);
    else
        start_all(crew);
}

static void kill_somebody(struct crew *crew)
{
    uint32_t number = (uint32_t)im_rng_below(&crew->rng, crew->count);
    struct process *p = &crew->process[number];

    crew->next_kill = im_now() + im_rng_below(&crew->rng, 2 * (uint64_t)crew->plan.kill_every_us * 1000 + 1);
    if (p->worker.role == IM_ROLE_TRAINER && im_rng_below(&crew->rng, 16) != 0)
        return;
    crew->result.kills_sent++;
    if (p->pid > 0 && kill(p->pid, SIGKILL) == 0)
        crew->result.kills_hit++;
}

static void watch_progress(struct crew *crew)
{
    uint64_t progress = sim_progress(&crew->sim);
    im_ns now = im_now();

    if (progress != crew->progress) {
        crew->progress = progress;
        crew->moved = now;
    } else if (crew->victim_waits && now - crew->moved > LATE_MS * IM_MS) {
        crew->victim_waits = false;
        bury(crew, crew->victim);
        crew->process[crew->victim].finished = false;
        start_all(crew);
        crew->moved = now;
    } else if (now - crew->moved > crew->plan.stuck_after) {
        fault(crew, "stuck");
    }
}

static void wait_for_deaths(struct crew *crew, int timeout_ms)
{
    struct pollfd poll_fds[SIM_WORKERS_MAX];

    for (uint32_t i = 0; i < crew->count; i++)
        poll_fds[i] =
            (struct pollfd){.fd = crew->process[i].pid > 0 ? crew->process[i].pidfd : -1, .events = POLLIN};
    if (poll(poll_fds, crew->count, timeout_ms) <= 0)
        return;
    for (uint32_t i = 0; i < crew->count; i++)
        if (poll_fds[i].revents && crew->process[i].pid > 0 && crew->process[i].pidfd == poll_fds[i].fd) {
            on_death(crew, i);
            return; /* a reset may have replaced everybody: look again */
        }
}

static void leave(struct crew *crew)
{
    if (crew->result.faults) {
        sim_dump(&crew->sim);
        kill_all(crew);
        return;
    }
    sim_end(&crew->sim);
    for (uint32_t i = 0; i < crew->count; i++)
        if (crew->process[i].pid > 0)
            reap(crew, &crew->process[i]);
    crew->result.faults += sim_check(&crew->sim);
}

struct crew_result crew_run(const struct sim_shape *shape, const struct crew_plan *plan)
{
    static struct crew crew;

    memset(&crew, 0, sizeof crew);
    crew.plan = *plan;
    crew.rng = im_rng_at(shape->seed, IM_RNG_TEST, 2, 0);
    if (sim_open(&crew.sim, shape) < 0) {
        crew.result.faults = 1;
        return crew.result;
    }
    crew.sim.linger = plan->linger;
    crew.count = sim_worker_count(&crew.sim);
    crew.victim = UINT32_MAX;
    if (plan->victim_rule)
        crew.victim = plan->victim_role == IM_ROLE_READER      ? 0
                      : plan->victim_role == IM_ROLE_AUGMENTER ? shape->readers
                                                               : shape->readers + shape->augmenters;
    crew.moved = im_now();
    start_all(&crew);
    while (!sim_is_over(&crew.sim) && crew.result.faults == 0) {
        wait_for_deaths(&crew, plan->kill_every_us ? 1 : 20);
        if (plan->kill_every_us && im_now() >= crew.next_kill)
            kill_somebody(&crew);
        watch_progress(&crew);
    }
    leave(&crew);
    sim_close(&crew.sim);
    return crew.result;
}
