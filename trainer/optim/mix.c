/* Draws MixUp's and CutMix's parameters; see mix.h for the definition. Order of the draws: whether to mix,
 * which of the two, lambda, the box's centre. */
#include "trainer/optim/mix.h"

#include <math.h>

#define RANKS 256 /* random streams of one step */

/* The logarithm of a Gamma(alpha, 1) draw: for alpha < 1 that of alpha + 1, times u^(1/alpha). */
static double log_gamma_draw(struct im_rng *r, double alpha)
{
    double boost = alpha < 1 ? log(1 - im_rng_unit(r)) / alpha : 0;
    double d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3, c = 1 / sqrt(9 * d);

    for (;;) {
        double x = im_rng_normal(r), u = 1 - im_rng_unit(r), v = 1 + c * x;

        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(u) < 0.5 * x * x + d * (1 - v + log(v)))
            return log(d * v) + boost;
    }
}

double tr_beta(struct im_rng *r, double alpha)
{
    double a = log_gamma_draw(r, alpha), b = log_gamma_draw(r, alpha);

    return 1 / (1 + exp(b - a));
}

static int within(int v, int size)
{
    return v < 0 ? 0 : v > size ? size : v;
}

struct tr_mix tr_mix_box(double lambda, int size, int centre_y, int centre_x)
{
    int cut = (int)(size * sqrt(1 - lambda));
    struct tr_mix mix = {.kind = TR_MIX_CUT,
                         .y0 = within(centre_y - cut / 2, size),
                         .y1 = within(centre_y + (cut + 1) / 2, size),
                         .x0 = within(centre_x - cut / 2, size),
                         .x1 = within(centre_x + (cut + 1) / 2, size)};

    mix.lambda = 1 - (double)((mix.y1 - mix.y0) * (mix.x1 - mix.x0)) / ((double)size * size);
    return mix;
}

struct tr_mix tr_mix_draw(const struct tr_mix_config *config, uint32_t epoch, uint64_t step, uint32_t rank,
                          int size)
{
    struct im_rng r = im_rng_at(config->seed, IM_RNG_MIX, epoch, step * RANKS + rank);
    const struct tr_mix none = {.kind = TR_MIX_NONE, .lambda = 1};
    double choice, lambda;
    int y;
    bool cut;

    if (!(config->mixup > 0 || config->cutmix > 0) || im_rng_unit(&r) >= config->p)
        return none;
    choice = im_rng_unit(&r);
    cut = config->cutmix > 0 && (!(config->mixup > 0) || choice < config->switch_p);
    lambda = tr_beta(&r, cut ? config->cutmix : config->mixup);
    if (!(lambda < 1))
        return none;
    if (!cut)
        return (struct tr_mix){.kind = TR_MIX_UP, .lambda = lambda};
    y = (int)im_rng_below(&r, (uint64_t)size);
    return tr_mix_box(lambda, size, y, (int)im_rng_below(&r, (uint64_t)size));
}
