#include "supervisor/cli/advice.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/err.h"
#include "supervisor/report/screen.h"

#define EMA_LEFT_MOST 0.01
#define FINE_TUNING_UPDATES 300 /* tests/bench/results/2026-12-01-finetune.md */

uint64_t sv_advice_updates(const struct im_conf *conf, const struct im_plan *plan)
{
    const uint64_t accumulate = (uint64_t)conf->accumulate;
    uint64_t updates = 0;

    for (uint32_t i = 0; i < plan->phases; i++)
        if (plan->phase[i].split == IM_TRAIN)
            updates += (plan->phase[i].steps + accumulate - 1) / accumulate;
    return updates;
}

/* Of the training pass: images that do not fill a step. */
static uint64_t remainder_of(const struct im_phase *pass, uint64_t samples)
{
    return samples % ((uint64_t)pass->batch_size * pass->order_ranks);
}

int sv_advice_onecycle(const struct im_conf *conf, const struct im_plan *plan, struct im_text *ret)
{
    const uint64_t window = (uint64_t)conf->accumulate;
    double steps = 0, warmup = conf->warmup_epochs;

    if (conf->schedule != IM_SCHEDULE_ONECYCLE || conf->schedule_restarts || im_conf_is_probe(conf))
        return 0;
    for (const struct im_phase *p = plan->phase; p < plan->phase + plan->phases; p++) {
        const uint64_t of_epoch = p->split == IM_TRAIN ? (p->steps + window - 1) / window : 0;

        steps += (double)of_epoch * (1 - fmin(fmax(warmup, 0), 1));
        warmup -= p->split == IM_TRAIN;
    }
    if (conf->pct_start * steps > 1 && steps > 2)
        return 0;
    return im_fail(ret, -EINVAL,
                   "onecycle: pct-start %g of the %g steps after warm-up is less than two steps of rise; "
                   "raise --pct-start or --epochs, or lower --batch-size",
                   conf->pct_start, steps);
}

bool sv_advice_left_out(const struct im_conf *conf, const struct im_plan *plan, uint64_t samples,
                        struct im_text *ret)
{
    const struct im_phase *most = NULL;
    char left[24], all[24];
    bool varies = false;

    for (const struct im_phase *p = plan->phase; conf->drop_last && p < plan->phase + plan->phases; p++) {
        if (p->split != IM_TRAIN)
            continue;
        varies |= most && remainder_of(p, samples) != remainder_of(most, samples);
        if (!most || remainder_of(p, samples) > remainder_of(most, samples))
            most = p;
    }
    if (!most || remainder_of(most, samples) == 0)
        return false;
    im_fail(ret, 0,
            "%s%s of %s %s %s left out of each epoch, others in each: they do not "
            "fill a step of %" PRIu64 " (--no-drop-last trains on them)",
            varies ? "up to " : "", sv_format_count(remainder_of(most, samples), left, sizeof left),
            sv_format_count(samples, all, sizeof all),
            conf->sampler == IM_SAMPLER_BALANCED ? "draws (--sampler balanced)" : "training images",
            remainder_of(most, samples) == 1 ? "is" : "are", (uint64_t)most->batch_size * most->order_ranks);
    return true;
}

bool sv_advice_single(const struct im_conf *conf, const struct im_plan *plan, uint64_t samples,
                      struct im_text *ret)
{
    for (const struct im_phase *p = plan->phase; !conf->drop_last && p < plan->phase + plan->phases; p++) {
        const uint64_t left = p->split == IM_TRAIN ? remainder_of(p, samples) : 0;

        if (left == 0 || left >= 2 * (uint64_t)p->order_ranks || p->batch_size == 1)
            continue;
        im_fail(ret, 0,
                "--no-drop-last: in the last step of epoch %" PRIu32
                " a trainer has a batch of one image, of which batch norm makes statistics; use another "
                "--batch-size, or --drop-last",
                p->epoch + 1);
        return true;
    }
    return false;
}

/* Both kinds of warm-up have forgotten the first weights after some ten updates. */
bool sv_advice_ema(const struct im_conf *conf, uint64_t updates, struct im_text *ret)
{
    const double left = pow(conf->ema, (double)updates);
    const double decay = pow(EMA_LEFT_MOST, 1 / fmax((double)updates, 1));

    if (conf->ema <= 0 || conf->ema_warmup != IM_EMA_WARMUP_NONE || left <= EMA_LEFT_MOST)
        return false;
    im_fail(ret, 0,
            "--ema %g: at the end, after %" PRIu64
            " updates, the averages still hold %.0f %% of the weights they "
            "began with; use --ema-warmup tf (or timm), or a decay below %.3g",
            conf->ema, updates, 100 * left, floor(1000 * decay) / 1000);
    return true;
}

bool sv_advice_few_updates(const struct im_conf *conf, uint64_t updates, struct im_text *ret)
{
    const double an_epoch = (double)updates / (double)(conf->epochs > 0 ? conf->epochs : 1);

    if (!im_conf_finetunes(conf) || updates == 0 || updates >= FINE_TUNING_UPDATES)
        return false;
    im_fail(ret, 0,
            "the whole run updates the weights %" PRIu64
            " times, which is few for fine-tuning: --epochs %.0f makes it %d",
            updates, ceil(FINE_TUNING_UPDATES / an_epoch), FINE_TUNING_UPDATES);
    return true;
}

/* " --NAME VALUE" where the weights have another value than this run, and nobody gave one. */
static void add_option_of_weights(const struct im_conf *conf, const struct im_json *metadata,
                                  enum im_conf_key_id of_weights, enum im_conf_key_id key, const char *ours,
                                  struct im_text *options)
{
    const char *theirs = im_json_str_or(metadata, im_conf_name(of_weights), "");
    const size_t used = strlen(options->s);

    if (*theirs && strcmp(theirs, ours) != 0 && conf->origin[key].source == IM_CONF_DEFAULT)
        snprintf(options->s + used, sizeof options->s - used, " --%s %.60s", im_conf_name(key), theirs);
}

bool sv_advice_weights(const struct im_conf *conf, const struct im_json *metadata, struct im_text *ret)
{
    struct im_text options = {""};
    char side[24], resize[24];

    snprintf(side, sizeof side, "%" PRId64, im_conf_eval_image_size(conf));
    snprintf(resize, sizeof resize, "%" PRId64, im_conf_eval_resize(conf));
    add_option_of_weights(conf, metadata, IM_KEY_eval_image_size, IM_KEY_image_size, side, &options);
    add_option_of_weights(conf, metadata, IM_KEY_eval_resize, IM_KEY_eval_resize, resize, &options);
    add_option_of_weights(conf, metadata, IM_KEY_mean, IM_KEY_mean, conf->mean, &options);
    add_option_of_weights(conf, metadata, IM_KEY_std, IM_KEY_std, conf->std, &options);
    if (!options.s[0])
        return false;
    im_fail(
        ret, 0,
        "the weights of %.300s learnt from images that were made otherwise: give%s, or values of your own",
        conf->init_from, options.s);
    return true;
}
