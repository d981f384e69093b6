/* The learning-rate range test (Smith 2017, section 3.3): rates from a low to a high one, a step each, and
 * what the losses suggest. Pure functions; the trainer and `imsuper lr-find` must agree on them.
 *
 * The loss is smoothed in two ways, as the two programs do whose suggestions are made here:
 *
 *   torch-lr-finder   s_0 = l_0, s_i = 0.05 l_i + 0.95 s_(i-1); diverged when s_i > 5 min s
 *   fastai            v_i = 0.98 v_(i-1) + 0.02 l_i, s_i = v_i / (1 - 0.98^(i+1));
 *                     diverged when s_i > 4 min s
 *
 * A test ends at its last step, when either calls it diverged, or at a loss that is not finite. */
#ifndef IPC_CONFIG_LR_RANGE_H
#define IPC_CONFIG_LR_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct im_text;

#define IM_LR_RANGE_POINTS_MIN 20 /* fewer suggest nothing */

/* Of step i of `steps` (two or more): low * (high / low) ^ (i / (steps - 1)). */
double im_lr_range_lr(double low, double high, uint64_t i, uint64_t steps);

/* Both smoothed losses so far; zero-initialise. */
struct im_lr_range_smooth {
    double finder, finder_best;
    double fastai, fastai_best, fastai_sum;
    uint32_t count;
};

/* Takes the next loss; true when the test is over. A loss that is not finite changes nothing else. */
bool im_lr_range_add(struct im_lr_range_smooth *s, double loss);

/* Indices into the losses. */
struct im_lr_range_suggestion {
    size_t steepest; /* torch-lr-finder: steepest descent of its smoothed loss by index, without the first 10
                        and the last 5 points */
    size_t valley;   /* fastai's default: half way down the longest valley of its smoothed loss */
    size_t minimum;  /* fastai: its lowest smoothed loss, whose rate is divided by ten */
};

/* `finder` and `fastai`: the smoothed losses of each step that was taken; `steps`: how many were asked for,
 * a tenth of which fastai leaves out at the beginning. -EINVAL with a sentence when there are fewer than
 * IM_LR_RANGE_POINTS_MIN; -ENOMEM. */
int im_lr_range_suggest(const double *finder, const double *fastai, size_t count, size_t steps,
                        struct im_lr_range_suggestion *ret, struct im_text *text);

#endif
