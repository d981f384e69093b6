#include "supervisor/warden/turns.h"

im_ns sv_clock_turn(struct sv_clock *clock, im_ns now, im_ns turn_max)
{
    im_ns passed = clock->turned && now > clock->turned ? now - clock->turned : 0;

    clock->turned = now;
    clock->now += passed < turn_max ? passed : turn_max;
    return clock->now;
}
