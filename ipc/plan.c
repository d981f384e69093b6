#include "ipc/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "ipc/cell_word.h"
#include "ipc/config/conf.h"

/* A cell carries tickets up to one turn of its ring past the end, and they must fit a word too. */
#define TICKETS_MAX (IM_NUMBER_MAX - IM_CELLS_MAX)
#define BATCHES_MAX (IM_NUMBER_MAX - IM_BATCHES_MAX)

static struct im_conf_sizes sizes_of(const struct im_plan_params *p, enum im_split split, uint32_t epoch)
{
    if (split == IM_TRAIN && p->train)
        return p->train[epoch];
    return (struct im_conf_sizes){.image_size = p->image_size[split], .batch_size = p->batch_size[split]};
}

static uint32_t world_of(const struct im_plan_params *p)
{
    return p->world ? p->world : p->ranks;
}

static uint32_t order_ranks_of(const struct im_plan_params *p, enum im_split split)
{
    const uint32_t ranks = split == IM_TRAIN ? p->order_ranks : p->val_order_ranks;

    return ranks ? ranks : world_of(p);
}

static uint64_t divide_up(uint64_t n, uint64_t by)
{
    return (n + by - 1) / by;
}

/* Steps of a pass that was cut for `order_ranks`. In its last step the first ranks alone may have a batch. */
static uint64_t count_steps(uint64_t samples, uint64_t per_step, uint32_t order_ranks, uint32_t world,
                            uint32_t window)
{
    uint64_t steps = samples / per_step, left = samples % per_step;

    if (order_ranks == world && window % world == 0)
        return steps + (left != 0);

    uint64_t batches = steps * order_ranks + (left < order_ranks ? left : order_ranks);

    return batches / window * divide_up(window, world) + divide_up(batches % window, world);
}

/* ---- batches of a pass, numbered over the steps and ranks that it was cut for ---- */

#define NONE UINT64_MAX /* of a rank that has no batch in a step */

static bool is_recut(const struct im_plan *plan, const struct im_phase *phase)
{
    return phase->order_ranks != plan->world;
}

/* Has each optimiser step a step in which only the first ranks have a batch? */
static bool is_uneven(const struct im_plan *plan, const struct im_phase *phase)
{
    return phase->split == IM_TRAIN && plan->window % plan->world != 0;
}

/* The number of the batch that `rank` of the world has in step `step`, or NONE. */
static uint64_t order_in_world(const struct im_plan *plan, const struct im_phase *phase, uint64_t step,
                               uint32_t rank)
{
    uint64_t in_window;

    if (!is_uneven(plan, phase))
        return step * plan->world + rank;
    in_window = step % plan->window_steps * plan->world + rank;
    return in_window < plan->window ? step / plan->window_steps * plan->window + in_window : NONE;
}

/* The same of a rank of this node. */
static uint64_t order_of(const struct im_plan *plan, const struct im_phase *phase, uint64_t step,
                         uint32_t rank)
{
    return order_in_world(plan, phase, step, plan->first_rank + rank);
}

/* Samples of batch `q`. */
static uint32_t order_count(const struct im_phase *phase, uint64_t q)
{
    uint64_t per_step = (uint64_t)phase->batch_size * phase->order_ranks;
    uint64_t before = q / phase->order_ranks * per_step, rank = q % phase->order_ranks, step = per_step;

    if (q == NONE || before >= phase->samples)
        return 0;
    if (phase->samples - before < per_step)
        step = phase->samples - before;
    return step > rank ? (uint32_t)((step - rank + phase->order_ranks - 1) / phase->order_ranks) : 0;
}

/* Batches of a full optimiser step on this node. */
static uint64_t window_here(const struct im_plan *plan)
{
    const uint32_t left = plan->window % plan->world, whole = plan->window / plan->world;
    const uint32_t more = left > plan->first_rank ? left - plan->first_rank : 0;

    return (uint64_t)whole * plan->ranks + (more < plan->ranks ? more : plan->ranks);
}

/* Steps before `step` of which it is known how many samples this node has in them: those in which every rank has a full
 * batch, or of full optimiser steps. Few follow. */
static uint64_t full_steps(const struct im_plan *plan, const struct im_phase *phase, uint64_t step,
                           uint64_t *ret_tickets)
{
    uint64_t per_step = (uint64_t)phase->batch_size * phase->order_ranks;
    uint64_t batches = phase->samples / per_step * phase->order_ranks;
    const uint64_t unit = is_uneven(plan, phase) ? plan->window_steps : 1;
    const uint64_t here = is_uneven(plan, phase) ? window_here(plan) : plan->ranks;
    uint64_t full = batches / (is_uneven(plan, phase) ? plan->window : plan->world);

    full = step / unit < full ? step / unit : full;
    *ret_tickets = full * here * phase->batch_size;
    return full * unit;
}

/* Tickets of the pass on this node, before its step `step`. */
static uint64_t tickets_before(const struct im_plan *plan, const struct im_phase *phase, uint64_t step)
{
    uint64_t sum;

    for (uint64_t s = full_steps(plan, phase, step, &sum); s < step; s++)
        for (uint32_t rank = 0; rank < plan->ranks; rank++)
            sum += order_count(phase, order_of(plan, phase, s, rank));
    return sum;
}

static int append_phase(struct im_plan *plan, const struct im_plan_params *p, enum im_split split,
                        uint32_t epoch)
{
    const struct im_conf_sizes sizes = sizes_of(p, split, epoch);
    uint32_t order_ranks = order_ranks_of(p, split);
    uint64_t per_step = (uint64_t)sizes.batch_size * order_ranks;
    uint64_t samples = p->samples[split];

    if (split == IM_TRAIN && p->drop_last)
        samples -= samples % per_step;

    uint64_t steps = count_steps(samples, per_step, order_ranks, plan->world,
                                 split == IM_TRAIN ? plan->window : plan->world);

    if (steps > UINT32_MAX || samples > TICKETS_MAX - plan->tickets || steps > BATCHES_MAX - plan->batches)
        return -EOVERFLOW;
    plan->phase[plan->phases] = (struct im_phase){
        .first_ticket = plan->tickets,
        .first_batch = plan->batches,
        .samples = samples,
        .pixels = plan->pixels,
        .steps = (uint32_t)steps,
        .split = split,
        .epoch = epoch,
        .batch_size = sizes.batch_size,
        .image_size = sizes.image_size,
        .order_ranks = order_ranks,
    };
    plan->phase[plan->phases].tickets = tickets_before(plan, &plan->phase[plan->phases], steps);
    plan->tickets += plan->phase[plan->phases].tickets;
    plan->batches += steps;
    plan->pixels += (double)samples * sizes.image_size * sizes.image_size;
    plan->phases++;
    return 0;
}

/* A step that the training set fills at least once, in this epoch. */
static int check_batch(const struct im_plan_params *p, uint32_t epoch, struct im_text *text)
{
    uint32_t batch = sizes_of(p, IM_TRAIN, epoch).batch_size, ranks = order_ranks_of(p, IM_TRAIN);
    uint64_t per_step = (uint64_t)batch * ranks;
    struct im_text where = {""};

    if (batch == 0)
        return im_fail(text, -EINVAL, "a run needs at least one rank, one epoch and a batch of one");
    if (p->train)
        im_fail(&where, 0, "in epoch %" PRIu32 " of --resize-schedule, ", epoch + 1);
    if (per_step > UINT32_MAX)
        return im_fail(text, -EINVAL, "%sa step of more than 2^32 images; use a smaller --batch-size",
                       where.s);
    if (p->samples[IM_TRAIN] < per_step)
        return im_fail(text, -EINVAL,
                       "%s--batch-size %" PRIu32 " with %" PRIu32 " rank%s asks for %" PRIu64
                       " images a step, but the training set has %" PRIu64 "; use --batch-size %" PRIu64
                       " or less",
                       where.s, batch, ranks, ranks == 1 ? "" : "s", per_step, p->samples[IM_TRAIN],
                       p->samples[IM_TRAIN] / ranks);
    return 0;
}

static int check_plan(const struct im_plan_params *p, struct im_text *text)
{
    const uint32_t world = world_of(p);

    if (p->ranks == 0 || p->batch_size[IM_VAL] == 0 || p->epochs == 0)
        return im_fail(text, -EINVAL, "a run needs at least one rank, one epoch and a batch of one");
    if (p->ranks > world || p->first_rank > world - p->ranks)
        return im_fail(text, -EINVAL, "ranks %" PRIu32 " to %" PRIu64 " of a node, of %" PRIu32 " in all",
                       p->first_rank, (uint64_t)p->first_rank + p->ranks - 1, world);
    if (p->evaluates && p->samples[IM_VAL] == 0)
        return im_fail(text, -EINVAL, "no images to evaluate");
    if (!p->evaluates && p->samples[IM_TRAIN] == 0)
        return im_fail(text, -EINVAL, "no training images");
    if ((uint64_t)p->batch_size[IM_VAL] * order_ranks_of(p, IM_VAL) > UINT32_MAX)
        return im_fail(text, -EINVAL, "a step of more than 2^32 images; use a smaller --batch-size");
    if (p->evaluates)
        return 0;
    if (p->window && p->window < world)
        return im_fail(text, -EINVAL, "%" PRIu32 " ranks for the %" PRIu32 " batches of an optimiser step",
                       world, p->window);
    if (p->samples[IM_TRAIN] < world)
        return im_fail(text, -EINVAL,
                       "the training set has %" PRIu64 " images, fewer than the %" PRIu32
                       " ranks; use --ranks 1",
                       p->samples[IM_TRAIN], world);
    for (uint32_t epoch = 0; epoch < (p->train ? p->epochs : 1); epoch++)
        if (check_batch(p, epoch, text) < 0)
            return -EINVAL;
    return 0;
}

int im_plan_init(struct im_plan *plan, const struct im_plan_params *p, struct im_text *text)
{
    struct im_plan made = {.ranks = p->ranks, .world = world_of(p), .first_rank = p->first_rank};
    int err = check_plan(p, text);

    if (err < 0)
        return err;
    made.window = p->window ? p->window : made.world;
    made.window_steps = (uint32_t)divide_up(made.window, made.world);
    made.phase = calloc((size_t)p->epochs * 2, sizeof *made.phase);
    if (!made.phase)
        return -ENOMEM;
    for (uint32_t epoch = 0; epoch < p->epochs && err == 0; epoch++) {
        int validate = p->samples[IM_VAL] > 0 && p->validate_every > 0 &&
                       ((epoch + 1) % p->validate_every == 0 || epoch + 1 == p->epochs);

        if (!p->evaluates)
            err = append_phase(&made, p, IM_TRAIN, epoch);
        if (err == 0 && validate)
            err = append_phase(&made, p, IM_VAL, epoch);
    }
    if (err < 0) {
        free(made.phase);
        return im_fail(text, err, "the run would deliver more than 2^36 samples; use fewer --epochs");
    }
    *plan = made;
    return 0;
}

void im_plan_fini(struct im_plan *plan)
{
    free(plan->phase);
    *plan = (struct im_plan){0};
}

/* The last phase whose first number (a field at `offset`) is not above n; empty phases are skipped by being
 * before it. */
static const struct im_phase *plan_find(const struct im_plan *plan, uint64_t n, int by_batch)
{
    uint32_t low = 0, high = plan->phases;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        const struct im_phase *phase = &plan->phase[middle];

        if ((by_batch ? phase->first_batch : phase->first_ticket) <= n)
            low = middle;
        else
            high = middle;
    }
    return &plan->phase[low];
}

const struct im_phase *im_plan_phase_of_batch(const struct im_plan *plan, uint64_t batch)
{
    return batch < plan->batches ? plan_find(plan, batch, 1) : NULL;
}

static struct im_place place_at(const struct im_plan *plan, const struct im_phase *phase, uint64_t step,
                                uint32_t rank, uint32_t place)
{
    const uint64_t batch = phase->first_batch + step;

    return (struct im_place){
        .phase = phase,
        .position = im_plan_position(plan, phase, batch, rank, place),
        .batch = batch,
        .step = (uint32_t)step,
        .rank = rank,
        .place = place,
    };
}

static uint32_t samples_here(const struct im_plan *plan, const struct im_phase *phase, uint64_t step)
{
    uint32_t sum = 0;

    for (uint32_t rank = 0; rank < plan->ranks; rank++)
        sum += order_count(phase, order_of(plan, phase, step, rank));
    return sum;
}

/* From `step` on, before which the pass has `before` tickets on this node. */
static struct im_place find_place(const struct im_plan *plan, const struct im_phase *phase, uint64_t in_pass,
                                  uint64_t step, uint64_t before)
{
    const uint32_t whole = phase->batch_size * plan->ranks;
    uint32_t count, rank = 0;
    uint64_t left = in_pass - before;

    for (; left >= (count = samples_here(plan, phase, step)); left -= count)
        step++;
    if (count == whole)
        return place_at(plan, phase, step, (uint32_t)(left % plan->ranks), (uint32_t)(left / plan->ranks));
    for (; left >= (count = order_count(phase, order_of(plan, phase, step, rank))); left -= count)
        rank++;
    return place_at(plan, phase, step, rank, (uint32_t)left);
}

/* In steps where each rank has a full batch, and in each step of a pass that is cut for the ranks that there
 * are, the batches fill at the same pace; in the others one after the other. */
int im_plan_place(const struct im_plan *plan, uint64_t ticket, struct im_place *ret)
{
    if (ticket >= plan->tickets)
        return -ERANGE;

    const struct im_phase *phase = plan_find(plan, ticket, 0);
    const uint64_t in_pass = ticket - phase->first_ticket;

    if (!is_recut(plan, phase) && !is_uneven(plan, phase)) {
        const uint64_t per_step = (uint64_t)phase->batch_size * plan->ranks, in_step = in_pass % per_step;

        *ret = place_at(plan, phase, in_pass / per_step, (uint32_t)(in_step % plan->ranks),
                        (uint32_t)(in_step / plan->ranks));
    } else {
        const uint64_t most = is_uneven(plan, phase)
                                  ? in_pass / (window_here(plan) * phase->batch_size) * plan->window_steps
                                  : in_pass / ((uint64_t)phase->batch_size * plan->ranks);
        uint64_t before;
        const uint64_t full = full_steps(plan, phase, most, &before);

        *ret = find_place(plan, phase, in_pass, full, before);
    }
    return 0;
}

uint64_t im_plan_first_ticket(const struct im_plan *plan, uint64_t batch)
{
    const struct im_phase *phase = im_plan_phase_of_batch(plan, batch);

    return phase ? phase->first_ticket + tickets_before(plan, phase, batch - phase->first_batch)
                 : plan->tickets;
}

uint32_t im_plan_step_count(const struct im_plan *plan, uint64_t batch)
{
    const struct im_phase *phase = im_plan_phase_of_batch(plan, batch);
    uint32_t count = 0;

    if (!phase)
        return 0;
    for (uint32_t rank = 0; rank < plan->world; rank++)
        count += order_count(phase, order_in_world(plan, phase, batch - phase->first_batch, rank));
    return count;
}

uint32_t im_plan_step_ranks(const struct im_plan *plan, uint64_t batch)
{
    const struct im_phase *phase = im_plan_phase_of_batch(plan, batch);
    uint32_t ranks = 0;

    while (phase && ranks < plan->world &&
           order_count(phase, order_in_world(plan, phase, batch - phase->first_batch, ranks)) > 0)
        ranks++;
    return ranks;
}

uint32_t im_plan_batch_count(const struct im_plan *plan, uint64_t batch, uint32_t rank)
{
    const struct im_phase *phase = im_plan_phase_of_batch(plan, batch);

    return phase ? order_count(phase, order_of(plan, phase, batch - phase->first_batch, rank)) : 0;
}

uint64_t im_plan_order_batches(const struct im_phase *phase)
{
    const uint64_t per_step = (uint64_t)phase->batch_size * phase->order_ranks;
    const uint64_t left = phase->samples % per_step;

    return phase->samples / per_step * phase->order_ranks +
           (left < phase->order_ranks ? left : phase->order_ranks);
}

uint64_t im_plan_order_at(const struct im_plan *plan, const struct im_phase *phase, uint64_t batch)
{
    const uint64_t all = im_plan_order_batches(phase), step = batch - phase->first_batch;
    const uint64_t at = is_uneven(plan, phase) ? step / plan->window_steps * plan->window +
                                                     step % plan->window_steps * plan->world
                                               : step * plan->world;

    return at < all ? at : all;
}

uint64_t im_plan_order_samples(const struct im_plan *plan, const struct im_phase *phase, uint64_t from,
                               uint64_t before, bool everywhere)
{
    uint64_t samples = 0;

    im_assert(!is_uneven(plan, phase));
    for (uint64_t q = from; q < before; q++)
        if (everywhere || q % plan->world - plan->first_rank < plan->ranks)
            samples += order_count(phase, q);
    return samples;
}

struct im_order im_plan_order(const struct im_plan *plan, const struct im_phase *phase, uint64_t batch,
                              uint32_t rank)
{
    uint64_t q = order_of(plan, phase, batch - phase->first_batch, rank);

    return (struct im_order){.step = (uint32_t)(q / phase->order_ranks),
                             .rank = (uint32_t)(q % phase->order_ranks)};
}

uint64_t im_plan_position(const struct im_plan *plan, const struct im_phase *phase, uint64_t batch,
                          uint32_t rank, uint32_t place)
{
    uint64_t q = order_of(plan, phase, batch - phase->first_batch, rank);

    return (q / phase->order_ranks * phase->batch_size + place) * phase->order_ranks + q % phase->order_ranks;
}

uint64_t im_plan_translate(const struct im_plan *from, uint64_t batch, const struct im_plan *to, bool ahead)
{
    const struct im_phase *phase = im_plan_phase_of_batch(from, batch), *other;
    uint64_t step, unit;

    if (!phase)
        return to->batches;
    other = &to->phase[phase - from->phase];
    step = batch - phase->first_batch;
    if (phase->split == IM_TRAIN && from->window * to->world == to->window * from->world &&
        from->world != to->world) { /* as many batches a rank */
        const uint64_t order = im_plan_order_at(from, phase, batch);

        step = ahead ? divide_up(order, to->world) : order / to->world;
        return other->first_batch + (step < other->steps ? step : other->steps);
    }
    if (phase->split != IM_TRAIN)
        return other->first_batch + (step > 0 && ahead ? other->steps : 0);
    unit = from->window_steps;
    step = (ahead ? divide_up(step, unit) : step / unit) * to->window_steps;
    return other->first_batch + (step < other->steps ? step : other->steps);
}
