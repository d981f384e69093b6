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

/* The losses of the steps that were taken. */
struct im_lr_range_curve {
    const double *loss, *finder, *fastai; /* as they came, and smoothed in both ways */
    size_t count;
    size_t steps; /* that were asked for: fastai leaves out a tenth of them at the beginning */
};

/* Indices into the losses. */
struct im_lr_range_suggestion {
    size_t steepest; /* torch-lr-finder: steepest descent of its smoothed loss by index, without the first 10
                        and the last 5 points */
    size_t valley;   /* fastai's default: half way down the longest valley of its smoothed loss */
    size_t minimum;  /* fastai: its lowest smoothed loss, whose rate is divided by ten */
    size_t lowest;   /* torch-lr-finder's lowest smoothed loss; many divide its rate by ten for OneCycle */
    size_t usable;   /* points before the loss rose for good; suggestions come from these alone */
};

/* Both programs suggest a rate whatever the losses are. Here a loss that never fell suggests none, and what comes
 * after it began to rise, where it may also fall steeply, does not count:
 *
 *   noise     of one loss: the median of |l_i - l_(i-1)| over a normal one's, 0.954
 *   a rise    5 losses or more whose mean is 4 standard errors, and a tenth, above the mean of all before them
 *   a fall    the same below it, by a hundredth; without one before the first rise there is no suggestion
 *
 * -EINVAL with a sentence: no fall, or fewer than IM_LR_RANGE_POINTS_MIN points; -ENOMEM. */
int im_lr_range_suggest(const struct im_lr_range_curve *curve, struct im_lr_range_suggestion *ret,
                        struct im_text *text);

#endif
