/* The order of a step: draw the mix; forward and backward with the scaled loss; add to the window; at its
 * end: norm of the whole gradient, optimiser step with one factor that unscales, divides by the window's
 * samples and clips; averages (all that is in trainer/network/step.c); then update of the loss scale.
 *
 * The sum of squares shows whether any gradient is not finite (backend.h), so no other pass is needed. A
 * skipped step changes neither weights nor moments nor averages, as in torch.amp.GradScaler. */
#include "trainer/training_step.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/fault.h"
#include "trainer/backends/step.h"

void tr_training_step_init(struct tr_training_step *r, const struct im_conf *conf, struct tr_network *net,
                           const struct tr_schedule *schedule)
{
    *r = (struct tr_training_step){
        .conf = conf,
        .net = net,
        .schedule = schedule,
        .mix = {.mixup = conf->mixup,
                .cutmix = conf->cutmix,
                .p = conf->mix_p,
                .switch_p = conf->mix_switch_p,
                .seed = conf->seed},
    };
}

void tr_training_step_network(const struct im_conf *conf, struct tr_network_config *config)
{
    config->optimizer = im_conf_rest_opt(conf);
    config->muon = conf->opt == IM_OPTIMIZER_MUON;
    config->muon_fixed_norm = conf->muon_fixed_norm;
    config->loss = (struct tr_loss){.kind = conf->loss == IM_CONF_LOSS_BCE || conf->multi_label ? TR_LOSS_BCE
                                                                                                : TR_LOSS_CE,
                                    .threshold = conf->bce_threshold,
                                    .sums_classes = conf->bce_sum};
    config->accumulates = conf->accumulate > 1;
    config->averages = conf->ema > 0;
}

/* A label that is no class is refused when the step begins. */
static double class_weight(const struct tr_training_step *r, int label)
{
    if (!r->class_weights || r->conf->multi_label) /* there they weigh terms of the loss, not samples */
        return 1;
    return label >= 0 && label < tr_network_model(r->net)->classes ? (double)r->class_weights[label] : 0;
}

/* Of a sample that takes part in the loss. */
static double weight_of(const struct tr_training_step *r, const struct tr_batch *batch, int i)
{
    const double own = class_weight(r, batch->labels[i]);

    if (!r->class_weights || batch->mix.kind == TR_MIX_NONE)
        return own;
    return batch->mix.lambda * own +
           (1 - batch->mix.lambda) * class_weight(r, batch->labels[batch->n - 1 - i]);
}

double tr_training_step_mix(const struct tr_training_step *r, struct tr_batch *batch, uint32_t epoch,
                            uint32_t step, uint32_t rank)
{
    double weight = 0;

    batch->mix = tr_mix_draw(&r->mix, epoch, step, rank, batch->size);
    for (int i = 0; i < batch->n; i++)
        if (batch->valid[i] && (batch->mix.kind == TR_MIX_NONE || batch->valid[batch->n - 1 - i]))
            weight += weight_of(r, batch, i);
    return weight;
}

static double default_eps(const struct im_conf *conf)
{
    return conf->opt == IM_OPTIMIZER_LAMB ? 1e-6 : 1e-8;
}

/* Fault injection: flips a bit, as a faulty memory cell would. One in the middle of the fraction: a flip of the last
 * one may vanish in the rounding of the next updates. */
static int flip_bit(struct tr_network *net)
{
    const size_t bytes = tr_network_floats(net, TR_ARENA_PARAMS) * sizeof(float);
    unsigned char *params = malloc(bytes);
    int err = params ? tr_network_read(net, TR_ARENA_PARAMS, (float *)(void *)params) : -ENOMEM;

    if (err == 0) {
        params[1] ^= 16;
        err = tr_network_write(net, TR_ARENA_PARAMS, (const float *)(const void *)params);
    }
    free(params);
    return err;
}

/* Whether the loss is scaled: fp16 requires it. */
static bool scales(const struct im_conf *conf)
{
    return conf->loss_scale == IM_LOSS_SCALE_DYNAMIC || conf->amp == IM_AMP_FP16;
}

/* Whether the gradient is divided by the weight of its window at the window's end. With virtual ranks also where a window
 * is one batch: it may be several after a change of ranks. */
static bool is_windowed(const struct im_conf *conf)
{
    return conf->accumulate > 1 || conf->virtual_ranks > 0;
}

/* What the end of a window does to the numbers of the next one. */
static void advance(const struct tr_training_step *r, struct tr_position *p, bool skipped)
{
    p->steps++;
    p->updates += !skipped;
    p->bad_steps = skipped ? p->bad_steps + 1 : 0;
    p->window = (struct tr_sums){0};
    p->window_batches = 0;
    p->window_weight = 0;
    if (scales(r->conf))
        tr_scaler_update(&p->scaler, !skipped);
}

/* step->norm and ->skipped are known. */
static int end_window(struct tr_training_step *r, struct tr_position *p, struct tr_step_result *step,
                      struct im_text *text)
{
    step->ended = true;
    step->lr = tr_schedule_lr(r->schedule, p->steps);
    step->loss = tr_mean_loss(&p->window);
    step->top1 = tr_top1(&p->window);
    advance(r, p, step->skipped);
    if (p->bad_steps < (uint64_t)r->conf->max_bad_steps)
        return 0;
    return im_fail(text, -EDOM,
                   "the loss or its gradient was not finite in %" PRIu32 " steps in a row (step %" PRIu64
                   ": loss %g, gradient norm %g); a lower --lr, more --warmup-epochs or --grad-clip may help",
                   p->bad_steps, p->steps, step->loss, step->norm);
}

static bool ends_window(const struct tr_training_step *r, const struct tr_position *p, bool last)
{
    return last || p->window_batches + 1 >= r->conf->accumulate;
}

static void add_sums(struct tr_sums *sums, const struct tr_sums *part)
{
    sums->loss += part->loss;
    sums->valid += part->valid;
    sums->top1 += part->top1;
    sums->top5 += part->top5;
}

/* Adds a batch to its window. With virtual ranks the losses are added one by one, in the order of the batches, and the
 * window to the pass at its end: a window that begins again with other ranks takes nothing back. */
static void count_batch(struct tr_training_step *r, struct tr_position *p, const struct tr_outcome *outcome,
                        double weight, bool ends)
{
    struct tr_tally all = outcome->tally;

    if (outcome->losses) {
        all.loss_sum = 0;
        for (uint32_t i = 0; i < outcome->loss_count; i++)
            p->window.loss += outcome->losses[i];
    }
    tr_sums_add(&p->window, &all);
    p->window_weight = weight;
    p->window_batches++;
    if (r->conf->virtual_ranks > 0) {
        if (ends && isfinite(p->window.loss))
            add_sums(&p->sums[IM_TRAIN], &p->window);
    } else if (isfinite(all.loss_sum)) {
        tr_sums_add(&p->sums[IM_TRAIN], &all);
    }
}

/* The factor that, over the loss scale, makes the gradient arena the gradient of the window's mean loss: its
 * `weight` is known only at its end. NaN: skip the step. */
static double unscale(const struct tr_training_step *r, const struct tr_position *p, double weight,
                      uint64_t full)
{
    if (IM_FAULT_ERR("trainer.step.nonfinite") < 0 || !isfinite(p->window.loss))
        return (double)NAN;
    if (!is_windowed(r->conf))
        return 1;
    return weight > 0 ? (double)full / weight : 0;
}

static struct imk_hyper hyper_of(const struct tr_training_step *r, const struct tr_position *p,
                                 double unscaled)
{
    const struct im_conf *conf = r->conf;

    return (struct imk_hyper){
        .lr = tr_schedule_lr(r->schedule, p->steps),
        .momentum = tr_schedule_momentum(r->schedule, p->steps),
        .ema_weight = tr_schedule_ema_weight(r->schedule, p->updates),
        .beta2 = conf->beta2,
        .eps = conf->eps > 0 ? conf->eps : default_eps(conf),
        .muon_momentum = conf->muon_momentum,
        .weight_decay = conf->weight_decay,
        .trust = conf->lars_trust,
        .unscale = unscaled,
        .loss_scale = p->scaler.scale,
        .clip_norm = conf->grad_clip,
        .updates = p->updates,
        .nesterov = conf->opt == IM_OPTIMIZER_MUON ||
                    (conf->nesterov && !im_optimizer_is_adaptive((enum im_optimizer)conf->opt)),
    };
}

/* Of all ranks. The network counts alike: what failed before is forgotten. */
static void note_weight(struct tr_training_step *r, double weight, bool ahead)
{
    if (!ahead)
        r->begun = r->ended;
    r->weights[r->begun++ % IM_COUNT(r->weights)] = weight;
}

int tr_training_step_begin(struct tr_training_step *r, const struct tr_position *p,
                           const struct tr_batch *batch, double weight, uint64_t full, bool last,
                           struct im_text *text)
{
    const double samples = is_windowed(r->conf) ? (double)full : weight;
    const bool ends = ends_window(r, p, last);
    const struct tr_step step = {.label_smoothing = (float)r->conf->label_smoothing,
                                 .divisor = samples / p->scaler.scale,
                                 .number = p->window_batches + 1,
                                 .last = ends,
                                 .hyper = hyper_of(r, p, ends ? unscale(r, p, weight, full) : 1)};

    note_weight(r, weight, false);
    return tr_network_step_begin(r->net, batch, &step, text);
}

bool tr_training_step_goes_ahead(const struct tr_training_step *r, const struct tr_batch *batch)
{
    return r->conf->step_ahead && !is_windowed(r->conf) && tr_network_goes_ahead(r->net, batch);
}

int tr_training_step_begin_ahead(struct tr_training_step *r, const struct tr_position *p,
                                 const struct tr_batch *batch, double weight, uint64_t full, bool last,
                                 struct im_text *text)
{
    struct tr_position taken = *p, skipped = *p;
    struct tr_if_skipped other;
    struct tr_step step;
    double unscaled;

    im_assert(!is_windowed(r->conf));
    advance(r, &taken, false);
    advance(r, &skipped, true);
    unscaled = unscale(r, &taken, weight, full);
    other = (struct tr_if_skipped){.divisor = weight / skipped.scaler.scale,
                                   .hyper = hyper_of(r, &skipped, unscaled)};
    step = (struct tr_step){.label_smoothing = (float)r->conf->label_smoothing,
                            .divisor = weight / taken.scaler.scale,
                            .number = 1,
                            .last = ends_window(r, &taken, last),
                            .hyper = hyper_of(r, &taken, unscaled),
                            .if_skipped = &other};
    note_weight(r, weight, true);
    return tr_network_step_begin(r->net, batch, &step, text);
}

int tr_training_step_end(struct tr_training_step *r, struct tr_position *p, bool last,
                         struct tr_step_result *ret_step, struct im_text *text)
{
    const bool ends = ends_window(r, p, last);
    struct tr_outcome outcome;
    int err = tr_network_step_end(r->net, &outcome, text);

    *ret_step = (struct tr_step_result){0};
    if (err != 0)
        return err;
    count_batch(r, p, &outcome, r->weights[r->ended++ % IM_COUNT(r->weights)], ends);
    if (!ends)
        return 0;
    ret_step->norm = outcome.norm;
    ret_step->skipped = outcome.skipped;
    if (!outcome.skipped && IM_FAULT_ERR("trainer.weights.flip") < 0 && flip_bit(r->net) < 0)
        return im_fail(text, -EIO, "cannot update the parameters");
    return end_window(r, p, ret_step, text);
}
