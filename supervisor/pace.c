#include "supervisor/pace.h"

void sv_pace_add(struct sv_pace *pace, im_ns duration)
{
    pace->step[pace->steps++ % SV_PACE_STEPS] = duration;
}

im_ns sv_pace_see(struct sv_pace *pace, const struct sv_pace_seen *seen, im_ns now)
{
    if (pace->incarnation != seen->incarnation) {
        *pace = (struct sv_pace){.incarnation = seen->incarnation,
                                 .position = seen->position,
                                 .progress = seen->progress,
                                 .since = now,
                                 .began = now};
        return 0;
    }
    if (pace->position != seen->position) {
        if (pace->position != 0)
            sv_pace_add(pace, now - pace->began);
        pace->began = now;
    }
    if (seen->paused)
        pace->began = now;
    if (pace->position != seen->position || pace->progress != seen->progress || !seen->has_work ||
        seen->paused)
        pace->since = now;
    pace->position = seen->position;
    pace->progress = seen->progress;
    return now - pace->since;
}

im_ns sv_pace_slowest(const struct sv_pace *pace)
{
    im_ns slowest = 0;

    for (uint64_t i = 0; i < pace->steps && i < SV_PACE_STEPS; i++)
        if (pace->step[i] > slowest)
            slowest = pace->step[i];
    return slowest;
}

static im_ns from_steps(const struct sv_pace *pace)
{
    im_ns bound = SV_PACE_FACTOR * sv_pace_slowest(pace);

    return bound > SV_PACE_LEAST_NS ? bound : SV_PACE_LEAST_NS;
}

im_ns sv_pace_bound(const struct sv_pace *pace, double seconds, bool saving)
{
    bool takes_long = pace->steps == 0 || saving;

    if (seconds == 0)
        return UINT64_MAX;
    if (seconds > 0)
        return (im_ns)(seconds * 1e9) * (takes_long ? SV_PACE_FIRST_FACTOR : 1);
    return takes_long && from_steps(pace) < SV_PACE_FIRST_NS ? SV_PACE_FIRST_NS : from_steps(pace);
}

im_ns sv_pace_stop_bound(const struct sv_pace *pace, double seconds)
{
    return seconds > 0 ? (im_ns)(seconds * 1e9) : from_steps(pace);
}
