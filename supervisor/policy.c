#include "supervisor/policy.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ipc/base/count.h"

enum sv_verdict sv_tally_death(struct sv_tally *tally, uint64_t progress, bool never_ready,
                               uint32_t deaths_max, im_ns *ret_delay)
{
    static const im_ns delays[] = {0, 50 * IM_MS, 200 * IM_MS, IM_SECOND};
    const uint32_t last = IM_COUNT(delays) - 1;

    *ret_delay = 0;
    if (never_ready)
        return SV_GIVE_UP;
    if (progress != tally->progress)
        tally->deaths = 0;
    tally->progress = progress;
    if (tally->deaths >= deaths_max)
        return SV_GIVE_UP;
    *ret_delay = delays[tally->deaths < last ? tally->deaths : last];
    tally->deaths++;
    return SV_RESTART;
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
