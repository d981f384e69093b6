/* Integers are written in decimal, doubles in hexadecimal, so that a run continues with identical sums. */
#include "trainer/checkpoint/position.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/checkpoint/safetensors.h"

/* Of a run that was continued with another number of ranks: those that its order of samples was made for; the
 * position's numbers are in batches of the ranks that it ran with. */
#define BATCH_SIZE "batch-size"
#define RANKS "ranks"
#define ACCUMULATE "accumulate"
#define RANKS_NOW "ranks.now"

/* With --elastic drop, within a training pass. */
#define ORDER "order.next"
#define WINDOW_ORDER "order.window"

#define TRAIN_SECONDS "train.seconds"
#define EPOCH_SECONDS "epoch.seconds"

#define WINDOW_WEIGHT "window.weight"
#define STOP_ON "early-stop.on"
#define STOP_EPOCH "early-stop.epoch"
#define STOP_SEEN "early-stop.seen"
#define STOP_BEST "early-stop.best"

#define BEST_TOP1 "best.top1"
#define BEST_EMA_TOP1 "best.ema.top1"

struct tr_position tr_position_start(const struct im_conf *conf)
{
    return (struct tr_position){
        .best_top1 = {-1, -1},
        .stop_best = -INFINITY,
        .scaler = tr_scaler_init(conf->loss_scale == IM_LOSS_SCALE_DYNAMIC || conf->amp == IM_AMP_FP16)};
}

void tr_sums_add(struct tr_sums *sums, const struct tr_tally *tally)
{
    sums->loss += tally->loss_sum;
    sums->valid += tally->valid;
    sums->top1 += tally->top1;
    sums->top5 += tally->top5;
}

static double mean_share(double part, uint64_t whole)
{
    return whole ? part / (double)whole : (double)NAN;
}

double tr_mean_loss(const struct tr_sums *sums)
{
    return mean_share(sums->loss, sums->valid);
}

double tr_top1(const struct tr_sums *sums)
{
    return mean_share((double)sums->top1, sums->valid);
}

double tr_top5(const struct tr_sums *sums)
{
    return mean_share((double)sums->top5, sums->valid);
}

double tr_accuracy(const struct tr_sums *sums)
{
    return sums->multi.known ? sums->multi.map : tr_top1(sums);
}

static void add_u64(struct tr_position_text *t, const char *key, uint64_t value)
{
    t->key[t->count] = key;
    snprintf(t->value[t->count++], sizeof t->value[0], "%" PRIu64, value);
}

static void add_real(struct tr_position_text *t, const char *key, double value)
{
    t->key[t->count] = key;
    snprintf(t->value[t->count++], sizeof t->value[0], "%a", value);
}

static void add_choice(struct tr_position_text *t, enum im_conf_key_id key, int32_t value)
{
    t->key[t->count] = im_conf_name(key);
    snprintf(t->value[t->count++], sizeof t->value[0], "%s", im_conf_choice(key, value));
}

/* The options that a position depends on: with another value the same numbers would mean other samples. */
static void add_conditions(struct tr_position_text *t, const struct im_conf *conf,
                           const uint64_t samples[IM_SPLITS])
{
    add_choice(t, IM_KEY_model, conf->model);
    add_choice(t, IM_KEY_stem, conf->stem);
    add_choice(t, IM_KEY_head, conf->head);
    add_choice(t, IM_KEY_blurpool, conf->blurpool);
    t->key[t->count] = "drop-path-rate";
    snprintf(t->value[t->count++], sizeof t->value[0], "%.9g", conf->drop_path_rate);
    add_u64(t, BATCH_SIZE, (uint64_t)conf->batch_size);
    add_u64(t, RANKS, (uint64_t)im_conf_order_ranks(conf));
    add_u64(t, "seed", conf->seed);
    add_u64(t, "drop-last", conf->drop_last);
    add_u64(t, "validate-every", (uint64_t)conf->validate_every);
    add_u64(t, "train-images", samples[IM_TRAIN]);
    add_u64(t, "val-images", samples[IM_VAL]);
    add_u64(t, ACCUMULATE, (uint64_t)im_conf_order_accumulate(conf));
    if (conf->virtual_ranks > 0)
        add_u64(t, im_conf_name(IM_KEY_virtual_ranks), (uint64_t)conf->virtual_ranks);
    if (conf->elastic != IM_ELASTIC_KEEP)
        add_choice(t, IM_KEY_elastic, conf->elastic);
    add_choice(t, IM_KEY_sampler, conf->sampler);
    add_choice(t, IM_KEY_opt, conf->opt);
    if (conf->opt == IM_OPTIMIZER_MUON)
        add_choice(t, IM_KEY_muon_rest, conf->muon_rest);
    add_choice(t, IM_KEY_loss_scale, conf->loss_scale);
    t->key[t->count] = "ema"; /* the flag's spelling */
    snprintf(t->value[t->count++], sizeof t->value[0], "%.9g", conf->ema);
    if (conf->multi_label) {
        t->key[t->count] = im_conf_name(IM_KEY_multi_label);
        snprintf(t->value[t->count++], sizeof t->value[0], "true");
    }
    t->key[t->count] = "index-hash";
    snprintf(t->value[t->count++], sizeof t->value[0], "%.60s", conf->index_hash);
}

static void add_triplet(struct tr_position_text *t, enum im_conf_key_id key, const char *value)
{
    double v[3];

    t->key[t->count] = im_conf_name(key);
    if (strlen(value) < sizeof t->value[0])
        snprintf(t->value[t->count++], sizeof t->value[0], "%s", value);
    else if (im_conf_triplet(value, v) == 0) /* with more digits than count */
        snprintf(t->value[t->count++], sizeof t->value[0], "%.9g,%.9g,%.9g", v[0], v[1], v[2]);
}

/* How images are made for the weights, which may be copied out of their run. Nothing depends on it here: it may change. */
static void add_images(struct tr_position_text *t, const struct im_conf *conf)
{
    add_u64(t, im_conf_name(IM_KEY_eval_image_size), (uint64_t)im_conf_eval_image_size(conf));
    add_u64(t, im_conf_name(IM_KEY_eval_resize), (uint64_t)im_conf_eval_resize(conf));
    add_triplet(t, IM_KEY_mean, conf->mean);
    add_triplet(t, IM_KEY_std, conf->std);
}

static void add_sums(struct tr_position_text *t, const struct tr_sums *sums, const char *const keys[4])
{
    add_real(t, keys[0], sums->loss);
    add_u64(t, keys[1], sums->valid);
    add_u64(t, keys[2], sums->top1);
    add_u64(t, keys[3], sums->top5);
}

#define FROZEN "frozen"
#define NORMS_SINCE "since.norms"
static const char *const since_keys[TR_STAGES_MAX] = {"since.0", "since.1", "since.2",
                                                      "since.3", "since.4", "since.5"};

/* A run that trains everything from its first step on has none of these. */
static void add_groups(struct tr_position_text *t, const struct tr_groups *g)
{
    if (g->frozen)
        add_u64(t, FROZEN, g->frozen);
    if (g->norms_since)
        add_u64(t, NORMS_SINCE, g->norms_since);
    for (int i = 0; i < TR_STAGES_MAX; i++)
        if (g->since[i])
            add_u64(t, since_keys[i], g->since[i]);
}

static void add_early_stop(struct tr_position_text *t, const struct im_conf *conf,
                           const struct tr_position *p)
{
    t->key[t->count] = STOP_ON;
    snprintf(t->value[t->count++], sizeof t->value[0], "%s",
             im_conf_choice(IM_KEY_early_stop_on, conf->early_stop_on));
    add_u64(t, STOP_EPOCH, p->stop_epoch);
    add_u64(t, STOP_SEEN, p->stop_seen);
    add_real(t, STOP_BEST, p->stop_best);
}

static const char *const sums_keys[IM_SPLITS][4] = {
    {"train.loss", "train.valid", "train.top1", "train.top5"},
    {"val.loss", "val.valid", "val.top1", "val.top5"},
};
static const char *const ema_keys[4] = {"ema.val.loss", "ema.val.valid", "ema.val.top1", "ema.val.top5"};
static const char *const window_keys[4] = {"window.loss", "window.valid", "window.top1", "window.top5"};

/* Training steps of the plan before a batch. If the batch sizes of finished epochs change, the steps taken no
 * longer match the learning-rate schedule. */
static uint64_t steps_before(const struct im_plan *plan, uint64_t batch)
{
    uint64_t steps = 0;

    for (uint32_t i = 0; i < plan->phases && plan->phase[i].first_batch < batch; i++) {
        const struct im_phase *p = &plan->phase[i];
        uint64_t left = batch - p->first_batch;

        if (p->split == IM_TRAIN)
            steps += left < p->steps ? left : p->steps;
    }
    return steps;
}

/* The next batch as a place in the plan; past its end: the start of the next epoch. */
static void add_place(struct tr_position_text *t, const struct tr_position *p, const struct im_plan *plan)
{
    const struct im_phase *phase = im_plan_phase_of_batch(plan, p->next_batch);

    add_u64(t, "next.epoch", phase ? phase->epoch : plan->phase[plan->phases - 1].epoch + UINT64_C(1));
    add_u64(t, "next.split", phase ? phase->split : IM_TRAIN);
    add_u64(t, "next.step", phase ? p->next_batch - phase->first_batch : 0);
    add_u64(t, "next.batch", phase ? phase->batch_size : 0);
    add_u64(t, "steps.planned", steps_before(plan, p->next_batch));
}

void tr_position_write(const struct tr_position *p, const struct im_conf *conf, const struct im_plan *plan,
                       const uint64_t samples[IM_SPLITS], struct tr_position_text *ret)
{
    ret->count = 0;
    add_conditions(ret, conf, samples);
    add_images(ret, conf);
    add_u64(ret, RANKS_NOW, (uint64_t)im_conf_world(conf));
    if (p->order > 0) {
        add_u64(ret, ORDER, p->order);
        add_u64(ret, WINDOW_ORDER, p->window_order);
    }
    add_place(ret, p, plan);
    add_u64(ret, "step", p->steps);
    add_u64(ret, "updates", p->updates);
    add_u64(ret, "bad-steps", p->bad_steps);
    add_u64(ret, TR_POSITION_WINDOW, p->window_batches);
    add_sums(ret, &p->window, window_keys);
    if (conf->class_weights[0])
        add_real(ret, WINDOW_WEIGHT, p->window_weight);
    add_real(ret, "scaler.scale", p->scaler.scale);
    add_u64(ret, "scaler.good-steps", p->scaler.good_steps);
    add_u64(ret, "epoch", p->epochs);
    for (int s = 0; s < IM_SPLITS; s++)
        add_sums(ret, &p->sums[s], sums_keys[s]);
    add_sums(ret, &p->ema, ema_keys);
    add_u64(ret, "train.samples", p->train_samples);
    add_real(ret, BEST_TOP1, p->best_top1[TR_PLAIN]);
    if (conf->ema > 0)
        add_real(ret, BEST_EMA_TOP1, p->best_top1[TR_AVERAGED]);
    add_groups(ret, &p->groups);
    if (conf->early_stop > 0)
        add_early_stop(ret, conf, p);
}

void tr_position_write_times(const struct tr_position *p, struct tr_position_text *ret)
{
    add_real(ret, TRAIN_SECONDS, p->train_seconds);
    add_real(ret, EPOCH_SECONDS, p->epoch_seconds);
}

bool tr_position_has_times(const struct tr_safetensors *state)
{
    return tr_safetensors_metadata(state, TRAIN_SECONDS) && tr_safetensors_metadata(state, EPOCH_SECONDS);
}

size_t tr_position_pairs(const struct tr_position_text *text, struct tr_pair *ret_pairs)
{
    for (size_t i = 0; i < text->count; i++)
        ret_pairs[i] = (struct tr_pair){.key = text->key[i], .value = text->value[i]};
    return text->count;
}

static int get_u64(const struct tr_safetensors *state, const char *key, uint64_t *ret)
{
    const char *value = tr_safetensors_metadata(state, key);
    char *end;

    if (!value || !*value)
        return -EBADMSG;
    errno = 0;
    *ret = strtoull(value, &end, 10);
    return errno || *end ? -EBADMSG : 0;
}

static int get_real(const struct tr_safetensors *state, const char *key, double *ret)
{
    const char *value = tr_safetensors_metadata(state, key);
    char *end;

    if (!value || !*value)
        return -EBADMSG;
    *ret = strtod(value, &end);
    return *end ? -EBADMSG : 0;
}

/* Judged together, by shape_read(). */
static bool is_shape(const char *key)
{
    return strcmp(key, BATCH_SIZE) == 0 || strcmp(key, RANKS) == 0 || strcmp(key, ACCUMULATE) == 0;
}

/* What a state has that does not say it; NULL: it must. */
static const char *usual_of(const char *key)
{
    if (strcmp(key, im_conf_name(IM_KEY_sampler)) == 0) /* of before 0.3 */
        return im_conf_choice(IM_KEY_sampler, IM_SAMPLER_SHUFFLE);
    if (strcmp(key, im_conf_name(IM_KEY_virtual_ranks)) == 0)
        return "0";
    return strcmp(key, im_conf_name(IM_KEY_elastic)) == 0 ? im_conf_choice(IM_KEY_elastic, IM_ELASTIC_KEEP)
                                                          : NULL;
}

static int check_conditions(const struct tr_safetensors *state, const struct im_conf *conf,
                            const uint64_t samples[IM_SPLITS], struct im_text *text)
{
    struct tr_position_text now = {0};
    char flag[2][IM_CONF_TEXT_BYTES + 64];

    add_conditions(&now, conf, samples);
    if (conf->virtual_ranks == 0) /* whose gradients were added in another order */
        add_u64(&now, im_conf_name(IM_KEY_virtual_ranks), 0);
    if (conf->elastic == IM_ELASTIC_KEEP)
        add_choice(&now, IM_KEY_elastic, conf->elastic);
    for (size_t i = 0; i < now.count; i++) {
        const char *then = tr_safetensors_metadata(state, now.key[i]);

        if (!then)
            then = usual_of(now.key[i]);
        if (!then)
            return im_fail(text, -EBADMSG, "the checkpoint has no %s", now.key[i]);
        if (strcmp(then, now.value[i]) == 0 || is_shape(now.key[i]))
            continue;
        if (strstr(now.key[i], "images") || strstr(now.key[i], "hash"))
            return im_fail(
                text, -EINVAL,
                "the data set has changed since this run began (%s was %s, is %s); choose another --run-name",
                now.key[i], then, now.value[i]);
        return im_fail(
            text, -EINVAL,
            "this run began with %.700s, not %.700s; pass the old value, or choose another --run-name",
            im_conf_flag(now.key[i], then, flag[0]), im_conf_flag(now.key[i], now.value[i], flag[1]));
    }
    return 0;
}

/* How a run shares an optimiser step among its ranks. */
struct shape {
    uint64_t batch_size, ranks, accumulate; /* that the order of samples was made for */
    uint64_t ranks_now;
    bool drops; /* each rank keeps its batches, however many there are */
};

static uint64_t images_of(const struct shape *s)
{
    return s->batch_size * s->ranks * s->accumulate;
}

static uint64_t accumulate_now(const struct shape *s)
{
    return s->drops ? s->accumulate : (s->ranks * s->accumulate + s->ranks_now - 1) / s->ranks_now;
}

/* The shape of the checkpoint, and that of the configuration. -EINVAL: they do not make the same steps. */
static int read_shapes(const struct tr_safetensors *state, const struct im_conf *conf, struct shape *ret_then,
                       struct shape *ret_now, struct im_text *text)
{
    struct shape then = {0};
    const struct shape now = {.batch_size = (uint64_t)conf->batch_size,
                              .ranks = (uint64_t)im_conf_order_ranks(conf),
                              .accumulate = (uint64_t)im_conf_order_accumulate(conf),
                              .ranks_now = (uint64_t)im_conf_world(conf),
                              .drops = conf->elastic == IM_ELASTIC_DROP};

    if (get_u64(state, BATCH_SIZE, &then.batch_size) | get_u64(state, RANKS, &then.ranks) |
        get_u64(state, ACCUMULATE, &then.accumulate))
        return im_fail(text, -EBADMSG, "cannot read the position in the checkpoint");
    then.ranks_now = then.ranks;
    then.drops = now.drops;
    if (tr_safetensors_metadata(state, RANKS_NOW) && get_u64(state, RANKS_NOW, &then.ranks_now) < 0)
        return im_fail(text, -EBADMSG, "cannot read the position in the checkpoint");
    if (then.batch_size - 1 >= UINT32_MAX || then.ranks - 1 >= UINT16_MAX ||
        then.ranks_now - 1 >= UINT16_MAX || then.accumulate - 1 >= UINT32_MAX ||
        (!then.drops && then.ranks * then.accumulate < then.ranks_now))
        return im_fail(text, -EBADMSG,
                       "the checkpoint's batch, ranks and accumulation contradict each other");
    if (images_of(&then) != images_of(&now))
        return im_fail(text, -EINVAL,
                       "this run began with --batch-size %" PRIu64 " --ranks %" PRIu64
                       " --accumulate %" PRIu64 ", which are %" PRIu64 " images a step, not %" PRIu64
                       "; keep their product, or choose another --run-name",
                       then.batch_size, then.ranks, then.accumulate, images_of(&then), images_of(&now));
    *ret_then = then;
    *ret_now = now;
    return 0;
}

static bool same_shape(const struct shape *a, const struct shape *b)
{
    return a->batch_size == b->batch_size && a->ranks == b->ranks && a->ranks_now == b->ranks_now;
}

/* Optimiser steps of the plan before a batch. */
static uint64_t windows_before(const struct im_plan *plan, uint64_t batch, uint64_t accumulate)
{
    uint64_t windows = 0;

    for (uint32_t i = 0; i < plan->phases && plan->phase[i].first_batch < batch; i++) {
        const struct im_phase *p = &plan->phase[i];
        uint64_t left = batch - p->first_batch < p->steps ? batch - p->first_batch : p->steps;

        if (p->split == IM_TRAIN)
            windows += (left + accumulate - 1) / accumulate;
    }
    return windows;
}

/* The epochs so far must have had this plan's batches. */
static int check_batches(const struct tr_safetensors *state, const struct im_plan *plan, uint64_t next_batch,
                         struct im_text *text)
{
    const struct im_phase *phase = im_plan_phase_of_batch(plan, next_batch);
    uint64_t batch = 0, steps = 0;

    if (get_u64(state, "next.batch", &batch) | get_u64(state, "steps.planned", &steps))
        return im_fail(text, -EBADMSG, "cannot read the position in the checkpoint");
    if (steps != steps_before(plan, next_batch))
        return im_fail(text, -EINVAL,
                       "this run took %" PRIu64
                       " steps to get here; with these flags it would have been %" PRIu64
                       ": use its old --resize-schedule for the epochs that are over, or another --run-name",
                       steps, steps_before(plan, next_batch));
    if (phase && next_batch > phase->first_batch && batch != phase->batch_size)
        return im_fail(text, -EINVAL,
                       "this run stopped within a pass with a batch of %" PRIu64 ", which is %" PRIu32
                       " now; finish the epoch with its old flags first",
                       batch, phase->batch_size);
    return 0;
}

/* The same for a position of another shape: the optimiser steps must be those that were taken. */
static int check_windows(const struct tr_position *p, const struct im_plan *plan, const struct shape *now,
                         struct im_text *text)
{
    const uint64_t windows = windows_before(plan, p->next_batch, accumulate_now(now));

    if (windows == p->steps)
        return 0;
    return im_fail(
        text, -EINVAL,
        "this run took %" PRIu64 " optimiser steps to get here; with these flags it would have been "
        "%" PRIu64 ", because --drop-last or --resize-schedule cut its epochs in another way: use its old "
        "--batch-size, --ranks and --accumulate",
        p->steps, windows);
}

/* The place where the run continues, in batches of the checkpoint's ranks. */
struct next {
    uint64_t epoch, split, step;
};

static int read_next(const struct tr_safetensors *state, struct next *ret, struct im_text *text)
{
    if (get_u64(state, "next.epoch", &ret->epoch) | get_u64(state, "next.split", &ret->split) |
        get_u64(state, "next.step", &ret->step))
        return im_fail(text, -EBADMSG, "cannot read the position in the checkpoint");
    return 0;
}

/* Where the batches of a pass were shared by other ranks in the meantime. */
static int read_order(const struct tr_safetensors *state, const struct next *next, const struct shape *then,
                      struct tr_position *p)
{
    if (!then->drops || next->split != IM_TRAIN)
        return 0;
    if (!tr_safetensors_metadata(state, ORDER))
        return next->step > 0 ? -EBADMSG : 0;
    if (get_u64(state, ORDER, &p->order) | get_u64(state, WINDOW_ORDER, &p->window_order))
        return -EBADMSG;
    return p->window_order > p->order || p->order / then->ranks_now != next->step ? -EBADMSG : 0;
}

static void subtract(struct tr_sums *sums, const struct tr_sums *part)
{
    if (isfinite(part->loss))
        sums->loss -= part->loss;
    sums->valid -= part->valid;
    sums->top1 -= part->top1;
    sums->top5 -= part->top5;
}

/* Into batches of other ranks: the optimiser step or the validation pass that it is in the middle of begins
 * again, for another number of ranks cannot have done the same part of it. */
static void convert(struct next *next, struct tr_position *p, const struct shape *then,
                    const struct shape *now, bool counts_windows)
{
    if (next->split == IM_VAL) {
        next->step = 0;
        p->ema = (struct tr_sums){0};
        return;
    }
    if (!counts_windows) /* else the pass does not have it yet */
        subtract(&p->sums[IM_TRAIN], &p->window);
    p->window = (struct tr_sums){0};
    p->window_batches = 0;
    p->window_weight = 0;
    p->order = p->window_order;
    next->step =
        now->drops ? p->order / now->ranks_now : next->step / accumulate_now(then) * accumulate_now(now);
}

static int find_place(const struct next *next, const struct im_plan *plan, uint64_t *ret_batch,
                      struct im_text *text)
{
    for (uint32_t i = 0; i < plan->phases; i++) {
        const struct im_phase *phase = &plan->phase[i];

        if (phase->epoch == next->epoch && phase->split == next->split && next->step < phase->steps) {
            *ret_batch = phase->first_batch + next->step;
            return 0;
        }
    }
    *ret_batch = plan->batches;
    if (next->split == IM_TRAIN && next->step == 0 &&
        next->epoch == plan->phase[plan->phases - 1].epoch + UINT64_C(1))
        return 0;
    if (next->epoch > plan->phase[plan->phases - 1].epoch)
        return im_fail(text, -EINVAL,
                       "the run has finished %" PRIu64 " epochs already; ask for more --epochs", next->epoch);
    return im_fail(text, -EINVAL,
                   "the run stopped in the validation of epoch %" PRIu64
                   ", which these flags do not have; finish it with its old --epochs first",
                   next->epoch + 1);
}

static int get_sums(const struct tr_safetensors *state, const char *const keys[4], struct tr_sums *ret)
{
    return get_real(state, keys[0], &ret->loss) | get_u64(state, keys[1], &ret->valid) |
           get_u64(state, keys[2], &ret->top1) | get_u64(state, keys[3], &ret->top5);
}

static int get_u32(const struct tr_safetensors *state, const char *key, uint32_t *ret)
{
    uint64_t value = 0;
    int err = get_u64(state, key, &value);

    *ret = (uint32_t)value;
    return err < 0 || value > UINT32_MAX ? -EBADMSG : 0;
}

/* Zero where there is none. */
static int get_optional(const struct tr_safetensors *state, const char *key, uint64_t *ret)
{
    *ret = 0;
    return tr_safetensors_metadata(state, key) ? get_u64(state, key, ret) : 0;
}

static int read_groups(const struct tr_safetensors *state, uint64_t updates, struct tr_groups *g)
{
    uint64_t frozen;
    int bad = get_optional(state, FROZEN, &frozen) | get_optional(state, NORMS_SINCE, &g->norms_since);

    bad |= frozen > UINT32_MAX || g->norms_since > updates ? -EBADMSG : 0;
    g->frozen = (uint32_t)frozen;
    for (int i = 0; i < TR_STAGES_MAX; i++) {
        bad |= get_optional(state, since_keys[i], &g->since[i]);
        bad |= g->since[i] > updates ? -EBADMSG : 0;
    }
    return bad;
}

/* A file of before 0.3 has one best, of the averages where there are any; their epoch's plain weights need not be
 * the best plain ones. */
static int read_best(const struct tr_safetensors *state, bool averages, struct tr_position *p)
{
    int bad = get_real(state, BEST_TOP1, &p->best_top1[TR_PLAIN]);

    p->best_top1[TR_AVERAGED] = -1;
    if (tr_safetensors_metadata(state, BEST_EMA_TOP1))
        return bad | get_real(state, BEST_EMA_TOP1, &p->best_top1[TR_AVERAGED]);
    if (averages) {
        p->best_top1[TR_AVERAGED] = p->best_top1[TR_PLAIN];
        p->best_top1[TR_PLAIN] = -1;
    }
    return bad;
}

/* From now on where the state has none, or of something else. */
static int read_early_stop(const struct tr_safetensors *state, const struct im_conf *conf,
                           struct tr_position *p)
{
    const char *on = tr_safetensors_metadata(state, STOP_ON);

    p->stop_best = -INFINITY;
    p->stop_epoch = p->stop_seen = p->epochs;
    if (!on || strcmp(on, im_conf_choice(IM_KEY_early_stop_on, conf->early_stop_on)) != 0)
        return 0;
    return get_u32(state, STOP_EPOCH, &p->stop_epoch) | get_u32(state, STOP_SEEN, &p->stop_seen) |
           get_real(state, STOP_BEST, &p->stop_best) |
           (p->stop_epoch > p->stop_seen || p->stop_seen > p->epochs ? -EBADMSG : 0);
}

/* Of a state without one: the weight of each sample was 1. */
static int read_window_weight(const struct tr_safetensors *state, struct tr_position *p)
{
    p->window_weight = (double)p->window.valid;
    return tr_safetensors_metadata(state, WINDOW_WEIGHT) ? get_real(state, WINDOW_WEIGHT, &p->window_weight)
                                                         : 0;
}

static int read_numbers(const struct tr_safetensors *state, const struct im_conf *conf, struct tr_position *p)
{
    int bad = get_u64(state, "step", &p->steps) | get_u32(state, "epoch", &p->epochs) |
              get_u64(state, "updates", &p->updates) | get_u32(state, "bad-steps", &p->bad_steps) |
              get_u32(state, TR_POSITION_WINDOW, &p->window_batches) |
              get_sums(state, window_keys, &p->window) | get_real(state, "scaler.scale", &p->scaler.scale) |
              get_u32(state, "scaler.good-steps", &p->scaler.good_steps) |
              get_sums(state, ema_keys, &p->ema) | get_u64(state, "train.samples", &p->train_samples) |
              read_best(state, conf->ema > 0, p);

    for (int s = 0; s < IM_SPLITS; s++)
        bad |= get_sums(state, sums_keys[s], &p->sums[s]);
    bad |= read_groups(state, p->updates, &p->groups) | read_window_weight(state, p) |
           read_early_stop(state, conf, p);
    if (tr_position_has_times(state))
        bad |= get_real(state, TRAIN_SECONDS, &p->train_seconds) |
               get_real(state, EPOCH_SECONDS, &p->epoch_seconds);
    return bad;
}

int tr_position_read(const struct tr_safetensors *state, const struct im_conf *conf,
                     const struct im_plan *plan, const uint64_t samples[IM_SPLITS], struct tr_position *ret,
                     struct im_text *text)
{
    struct tr_position p = {0};
    struct shape then = {0}, now = {0};
    struct next next = {0};
    bool converts;
    int err = check_conditions(state, conf, samples, text);

    if (err == 0)
        err = read_shapes(state, conf, &then, &now, text);
    if (err == 0)
        err = read_next(state, &next, text);
    if (err < 0)
        return err;
    converts = !same_shape(&then, &now);
    if (read_numbers(state, conf, &p) || read_order(state, &next, &then, &p) || !(p.scaler.scale > 0) ||
        p.window_batches >= accumulate_now(&then))
        return im_fail(text, -EBADMSG, "cannot read the position in the checkpoint");
    if (converts)
        convert(&next, &p, &then, &now, conf->virtual_ranks > 0);
    err = find_place(&next, plan, &p.next_batch, text);
    if (err == 0)
        err = now.drops  ? 0 /* a pass has as many steps as the ranks of its time have made */
              : converts ? check_windows(&p, plan, &now, text)
                         : check_batches(state, plan, p.next_batch, text);
    if (err == 0)
        *ret = p;
    return err;
}
