/* Integers are written in decimal, doubles in hexadecimal, so that a run continues with identical sums. */
#include "trainer/checkpoint/position.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/checkpoint/safetensors.h"

#define TRAIN_SECONDS "train.seconds"
#define EPOCH_SECONDS "epoch.seconds"

struct tr_position tr_position_start(const struct im_conf *conf)
{
    return (struct tr_position){
        .best_top1 = -1,
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
    add_u64(t, "batch-size", (uint64_t)conf->batch_size);
    add_u64(t, "ranks", (uint64_t)conf->ranks);
    add_u64(t, "seed", conf->seed);
    add_u64(t, "drop-last", conf->drop_last);
    add_u64(t, "validate-every", (uint64_t)conf->validate_every);
    add_u64(t, "train-images", samples[IM_TRAIN]);
    add_u64(t, "val-images", samples[IM_VAL]);
    add_u64(t, "accumulate", (uint64_t)conf->accumulate);
    add_choice(t, IM_KEY_opt, conf->opt);
    add_choice(t, IM_KEY_loss_scale, conf->loss_scale);
    t->key[t->count] = "ema"; /* the flag's spelling */
    snprintf(t->value[t->count++], sizeof t->value[0], "%.9g", conf->ema);
    t->key[t->count] = "index-hash";
    snprintf(t->value[t->count++], sizeof t->value[0], "%.60s", conf->index_hash);
}

static void add_sums(struct tr_position_text *t, const struct tr_sums *sums, const char *const keys[4])
{
    add_real(t, keys[0], sums->loss);
    add_u64(t, keys[1], sums->valid);
    add_u64(t, keys[2], sums->top1);
    add_u64(t, keys[3], sums->top5);
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
    add_place(ret, p, plan);
    add_u64(ret, "step", p->steps);
    add_u64(ret, "updates", p->updates);
    add_u64(ret, "bad-steps", p->bad_steps);
    add_u64(ret, TR_POSITION_WINDOW, p->window_batches);
    add_sums(ret, &p->window, window_keys);
    add_real(ret, "scaler.scale", p->scaler.scale);
    add_u64(ret, "scaler.good-steps", p->scaler.good_steps);
    add_u64(ret, "epoch", p->epochs);
    for (int s = 0; s < IM_SPLITS; s++)
        add_sums(ret, &p->sums[s], sums_keys[s]);
    add_sums(ret, &p->ema, ema_keys);
    add_u64(ret, "train.samples", p->train_samples);
    add_real(ret, "best.top1", p->best_top1);
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

static int check_conditions(const struct tr_safetensors *state, const struct im_conf *conf,
                            const uint64_t samples[IM_SPLITS], struct im_text *text)
{
    struct tr_position_text now = {0};

    add_conditions(&now, conf, samples);
    for (size_t i = 0; i < now.count; i++) {
        const char *then = tr_safetensors_metadata(state, now.key[i]);

        if (!then)
            return im_fail(text, -EBADMSG, "the checkpoint has no %s", now.key[i]);
        if (strcmp(then, now.value[i]) == 0)
            continue;
        if (strstr(now.key[i], "images") || strstr(now.key[i], "hash"))
            return im_fail(
                text, -EINVAL,
                "the data set has changed since this run began (%s was %s, is %s); choose another --run-name",
                now.key[i], then, now.value[i]);
        return im_fail(
            text, -EINVAL,
            "this run began with --%s %s, not %s; pass the old value, or choose another --run-name",
            now.key[i], then, now.value[i]);
    }
    return 0;
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

static int find_place(const struct tr_safetensors *state, const struct im_plan *plan, uint64_t *ret_batch,
                      struct im_text *text)
{
    uint64_t epoch = 0, split = 0, step = 0;

    if (get_u64(state, "next.epoch", &epoch) | get_u64(state, "next.split", &split) |
        get_u64(state, "next.step", &step))
        return im_fail(text, -EBADMSG, "cannot read the position in the checkpoint");
    for (uint32_t i = 0; i < plan->phases; i++) {
        const struct im_phase *phase = &plan->phase[i];

        if (phase->epoch == epoch && phase->split == split && step < phase->steps) {
            *ret_batch = phase->first_batch + step;
            return 0;
        }
    }
    *ret_batch = plan->batches;
    if (split == IM_TRAIN && step == 0 && epoch == plan->phase[plan->phases - 1].epoch + UINT64_C(1))
        return 0;
    if (epoch > plan->phase[plan->phases - 1].epoch)
        return im_fail(text, -EINVAL,
                       "the run has finished %" PRIu64 " epochs already; ask for more --epochs", epoch);
    return im_fail(text, -EINVAL,
                   "the run stopped in the validation of epoch %" PRIu64
                   ", which these flags do not have; finish it with its old --epochs first",
                   epoch + 1);
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

int tr_position_read(const struct tr_safetensors *state, const struct im_conf *conf,
                     const struct im_plan *plan, const uint64_t samples[IM_SPLITS], struct tr_position *ret,
                     struct im_text *text)
{
    struct tr_position p = {0};
    int bad, err = check_conditions(state, conf, samples, text);

    if (err == 0)
        err = find_place(state, plan, &p.next_batch, text);
    if (err == 0)
        err = check_batches(state, plan, p.next_batch, text);
    if (err < 0)
        return err;
    bad = get_u64(state, "step", &p.steps) | get_u32(state, "epoch", &p.epochs) |
          get_u64(state, "updates", &p.updates) | get_u32(state, "bad-steps", &p.bad_steps) |
          get_u32(state, TR_POSITION_WINDOW, &p.window_batches) | get_sums(state, window_keys, &p.window) |
          get_real(state, "scaler.scale", &p.scaler.scale) |
          get_u32(state, "scaler.good-steps", &p.scaler.good_steps) | get_sums(state, ema_keys, &p.ema) |
          get_u64(state, "train.samples", &p.train_samples) | get_real(state, "best.top1", &p.best_top1);
    for (int s = 0; s < IM_SPLITS; s++)
        bad |= get_sums(state, sums_keys[s], &p.sums[s]);
    if (tr_position_has_times(state))
        bad |= get_real(state, TRAIN_SECONDS, &p.train_seconds) |
               get_real(state, EPOCH_SECONDS, &p.epoch_seconds);
    if (bad || !(p.scaler.scale > 0) || p.window_batches >= (uint64_t)conf->accumulate)
        return im_fail(text, -EBADMSG, "cannot read the position in the checkpoint");
    *ret = p;
    return 0;
}
