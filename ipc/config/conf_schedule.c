/* Checks the combinations of the learning-rate schedule's keys, and parses the list of milestones.
 *
 * Only what needs no dataset: the trainer has the number of steps and checks again. */
#include "ipc/config/conf_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"

int im_conf_milestones(const char *s, uint32_t ret_epochs[IM_CONF_MILESTONES_MAX])
{
    int count = 0;

    for (;;) {
        size_t digits = strspn(s, "0123456789");
        unsigned long epoch = strtoul(s, NULL, 10);

        if (digits < 1 || digits > 6 || epoch < 1 || count == IM_CONF_MILESTONES_MAX ||
            (count > 0 && epoch <= ret_epochs[count - 1]))
            return -EINVAL;
        ret_epochs[count++] = (uint32_t)epoch;
        s += digits;
        if (*s != '\0' && *s++ != ',')
            return -EINVAL;
        if (*s == '\0')
            return count;
    }
}

/* A flag that the schedule ignores is a mistake; in a file it may be left over from another schedule. */
static int check_used(const struct im_conf *c, struct im_text *text)
{
    static const struct {
        enum im_conf_key_id key;
        enum im_conf_schedule schedule[2];
    } uses[] = {
        {IM_KEY_lr_min, {IM_SCHEDULE_COSINE, IM_SCHEDULE_POLYNOMIAL}},
        {IM_KEY_poly_power, {IM_SCHEDULE_POLYNOMIAL, IM_SCHEDULE_POLYNOMIAL}},
        {IM_KEY_step_epochs, {IM_SCHEDULE_STEP, IM_SCHEDULE_STEP}},
        {IM_KEY_milestones, {IM_SCHEDULE_MULTISTEP, IM_SCHEDULE_MULTISTEP}},
        {IM_KEY_lr_peak_epoch, {IM_SCHEDULE_TRIANGULAR, IM_SCHEDULE_TRIANGULAR}},
        {IM_KEY_pct_start, {IM_SCHEDULE_ONECYCLE, IM_SCHEDULE_ONECYCLE}},
        {IM_KEY_div_factor, {IM_SCHEDULE_ONECYCLE, IM_SCHEDULE_ONECYCLE}},
        {IM_KEY_final_div_factor, {IM_SCHEDULE_ONECYCLE, IM_SCHEDULE_ONECYCLE}},
        {IM_KEY_anneal, {IM_SCHEDULE_ONECYCLE, IM_SCHEDULE_ONECYCLE}},
        {IM_KEY_three_phase, {IM_SCHEDULE_ONECYCLE, IM_SCHEDULE_ONECYCLE}},
        {IM_KEY_cycle_momentum, {IM_SCHEDULE_ONECYCLE, IM_SCHEDULE_ONECYCLE}},
        {IM_KEY_base_momentum, {IM_SCHEDULE_ONECYCLE, IM_SCHEDULE_ONECYCLE}},
        {IM_KEY_max_momentum, {IM_SCHEDULE_ONECYCLE, IM_SCHEDULE_ONECYCLE}},
    };

    for (size_t i = 0; i < IM_COUNT(uses); i++) {
        if (c->origin[uses[i].key].source == IM_CONF_FLAG && c->schedule != (int32_t)uses[i].schedule[0] &&
            c->schedule != (int32_t)uses[i].schedule[1])
            return im_fail(text, -EINVAL, "%s has no effect with schedule %s: it belongs to schedule %s",
                           im_conf_name(uses[i].key), im_conf_choice(IM_KEY_schedule, c->schedule),
                           im_conf_choice(IM_KEY_schedule, (int32_t)uses[i].schedule[0]));
    }
    return 0;
}

static int check_onecycle(const struct im_conf *c, struct im_text *text)
{
    double most = c->three_phase ? 0.5 : 1;

    if (c->pct_start <= 0)
        return im_fail(text, -EINVAL,
                       "pct-start %g leaves onecycle no increasing phase; it must be above 0 (typical: 0.3)",
                       c->pct_start);
    if (c->pct_start >= 1 || c->pct_start > most)
        return im_fail(text, -EINVAL, "pct-start %g leaves onecycle no decreasing phase; it must %s",
                       c->pct_start,
                       c->three_phase ? "not be above 0.5 with three-phase" : "be below 1 (typical: 0.3)");
    if (c->cycle_momentum && c->base_momentum > c->max_momentum)
        return im_fail(text, -EINVAL, "base-momentum %g is larger than max-momentum %g", c->base_momentum,
                       c->max_momentum);
    return 0;
}

int im_conf_check_schedule(const struct im_conf *c, struct im_text *text)
{
    uint32_t milestones[IM_CONF_MILESTONES_MAX];
    const double epochs = (double)c->epochs;

    if (c->start_lr >= c->end_lr)
        return im_fail(text, -EINVAL, "start-lr %g is not below end-lr %g", c->start_lr, c->end_lr);
    if (c->warmup_epochs > epochs)
        return im_fail(text, -EINVAL, "warmup-epochs %g is longer than the run of %lld epochs",
                       c->warmup_epochs, (long long)c->epochs);
    if (c->schedule == IM_SCHEDULE_ONECYCLE && c->warmup_epochs >= epochs)
        return im_fail(text, -EINVAL, "warmup-epochs %g leaves none of the %lld epochs for onecycle",
                       c->warmup_epochs, (long long)c->epochs);
    if (c->lr_min > c->lr)
        return im_fail(text, -EINVAL, "lr-min %g is larger than lr %g", c->lr_min, c->lr);
    if (c->schedule == IM_SCHEDULE_TRIANGULAR && c->lr_peak_epoch >= epochs)
        return im_fail(text, -EINVAL, "lr-peak-epoch %g is not before the end of the %lld epochs",
                       c->lr_peak_epoch, (long long)c->epochs);
    if (im_conf_milestones(c->milestones, milestones) < 0)
        return im_fail(
            text, -EINVAL,
            "milestones: \"%.200s\" is not a list of ascending epochs such as 30,60,80 (%d at most)",
            c->milestones, IM_CONF_MILESTONES_MAX);
    if (c->schedule == IM_SCHEDULE_EXPONENTIAL && c->origin[IM_KEY_gamma].source == IM_CONF_DEFAULT)
        return im_fail(text, -EINVAL,
                       "schedule exponential needs gamma (factor per epoch, e.g. --gamma 0.97)");
    if (c->schedule == IM_SCHEDULE_ONECYCLE && check_onecycle(c, text) < 0)
        return -EINVAL;
    return check_used(c, text);
}
