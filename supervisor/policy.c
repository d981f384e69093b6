#include "supervisor/policy.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"

bool sv_is_charged(const struct sv_death *d)
{
    if (d->by_supervisor || d->by_somebody)
        return false;
    if (d->trainer)
        return true;
    return !d->run_goes_on && (!d->was_ready || !d->held_ticket);
}

static im_ns backoff(uint32_t in_row)
{
    static const im_ns delays[] = {0, 50 * IM_MS, 200 * IM_MS, IM_SECOND, 2 * IM_SECOND, SV_BACKOFF_MAX_NS};
    const uint32_t last = IM_COUNT(delays) - 1;

    return delays[in_row < last ? in_row : last];
}

/* A kill from outside says nothing about the next start. Many of them in a row come from a program, such as one
 * that ends processes for lack of memory: then the waits grow as for any other death. */
static im_ns backoff_after_kill(uint32_t in_row)
{
    im_ns delay = backoff(in_row);

    return in_row < SV_KILLS_WITHOUT_BACKOFF && delay > SV_BACKOFF_KILL_NS ? SV_BACKOFF_KILL_NS : delay;
}

enum sv_verdict sv_tally_death(struct sv_tally *tally, const struct sv_death *d, uint32_t deaths_max,
                               im_ns *ret_delay)
{
    if (d->progress != tally->progress)
        *tally = (struct sv_tally){.progress = d->progress};
    *ret_delay = d->by_somebody ? backoff_after_kill(tally->in_row) : backoff(tally->in_row);
    if (tally->in_row < UINT32_MAX)
        tally->in_row++;
    if (!sv_is_charged(d))
        return SV_RESTART;
    if (d->own_error && (d->permanent || ++tally->errors >= SV_ERRORS_MAX))
        return SV_GIVE_UP;
    return tally->deaths++ >= deaths_max ? SV_GIVE_UP : SV_RESTART;
}

int sv_exit_status_for(int wait_status)
{
    switch (WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : IM_EXIT_FAILED) {
    case IM_EXIT_USAGE:
        return IM_EXIT_USAGE;
    case IM_EXIT_BAD_DATA:
        return IM_EXIT_BAD_DATA;
    case IM_EXIT_UNAVAILABLE:
        return IM_EXIT_UNAVAILABLE;
    default:
        return IM_EXIT_FAILED;
    }
}

bool sv_is_somebodys_kill(int wait_status, uint64_t oom_kills_before, uint64_t oom_kills)
{
    if (!WIFSIGNALED(wait_status))
        return false;
    switch (WTERMSIG(wait_status)) {
    case SIGKILL:
        return oom_kills != UINT64_MAX && oom_kills == oom_kills_before;
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
    case SIGQUIT:
    case SIGUSR1:
    case SIGUSR2:
        return true;
    default:
        return false;
    }
}

bool sv_is_own_crash(int wait_status)
{
    if (!WIFSIGNALED(wait_status))
        return false;
    switch (WTERMSIG(wait_status)) {
    case SIGSEGV:
    case SIGABRT:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGSYS:
        return true;
    default:
        return false;
    }
}

const char *sv_describe_end(int wait_status, char *buffer, int n)
{
    if (WIFSIGNALED(wait_status))
        snprintf(buffer, (size_t)n, "signal %d (%s)", WTERMSIG(wait_status),
                 sigdescr_np(WTERMSIG(wait_status)));
    else
        snprintf(buffer, (size_t)n, "exit status %d", WEXITSTATUS(wait_status));
    return buffer;
}
