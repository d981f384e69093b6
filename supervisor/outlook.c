/* Where the run is and how long it will take, for the screen and for `imsuper status`. */
#include "supervisor/super.h"

/* Pixels from a ticket of `phase` to the end of the run: what its time goes with when sizes change. Asked for ten times a
 * second: of any number of epochs in the same time. */
static double pixels_left(const struct im_plan *plan, const struct im_phase *phase, uint64_t ticket)
{
    return plan->pixels - phase->pixels -
           (double)(ticket - phase->first_ticket) * phase->image_size * phase->image_size;
}

/* A range test ends after its steps, wherever in an epoch that is. */
static void count_range_steps(const struct sv_super *s, struct sv_progress *p)
{
    const double batches = (double)(s->conf.num_iter * s->conf.accumulate);
    const double left = batches - (double)s->view.next_batch, rate = s->view.samples_per_second;

    p->steps = (uint64_t)s->conf.num_iter;
    p->step = s->view.next_batch / (uint64_t)s->conf.accumulate;
    p->step = p->step < p->steps ? p->step : p->steps;
    if (rate > 0)
        p->eta_run = left > 0 ? left * (double)(s->conf.batch_size * s->conf.ranks) / rate : 0;
}

bool sv_outlook(const struct sv_super *s, struct sv_progress *ret)
{
    const struct im_phase *phase = im_plan_phase_of_batch(&s->plan, s->view.next_batch);
    const enum im_run_state state = im_run_state(&s->run);
    const double rate = s->view.samples_per_second;
    const uint64_t ticket = im_plan_first_ticket(&s->plan, s->view.next_batch);

    *ret = (struct sv_progress){.view = &s->view,
                                .epochs = (uint32_t)s->conf.epochs,
                                .state = sv_state_name(s),
                                .eta_epoch = -1,
                                .eta_run = -1};
    if (state == IM_RUN_RUNNING || state == IM_RUN_STOPPING)
        ret->phase = phase;
    if (!ret->phase)
        return state != IM_RUN_RUNNING; /* past the last batch: say_done() reports the end */
    if (s->conf.lr_range_test) {
        count_range_steps(s, ret);
        return true;
    }
    ret->step = s->view.next_batch - phase->first_batch;
    if (rate > 0) {
        ret->eta_epoch = (double)(phase->first_ticket + phase->tickets - ticket) / rate;
        ret->eta_run = pixels_left(&s->plan, phase, ticket) / rate / phase->image_size / phase->image_size;
    }
    return true;
}
