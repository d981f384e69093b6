/* Learning-rate schedules: see schedule.h for the formulas. All arithmetic is in double; the optimiser rounds
 * once. */
#include "trainer/schedule.h"

#include <errno.h>
#include <math.h>

#include "ipc/base/err.h"

/* Written so that NaN fails too. */
static int check(const char *name, double value, double low, double high, struct im_text *text)
{
    if (value >= low && value <= high)
        return 0;
    return im_fail(text, -EINVAL, "%s is %g; it must lie in %g .. %g", name, value, low, high);
}

int tr_schedule_init(struct tr_schedule *s, const struct tr_schedule_config *config, struct im_text *text)
{
    const double tiny = 1e-9, huge = 1e12;
    int err = check("the learning rate", config->lr, 0, huge, text);

    if (err == 0 && config->kind == TR_SCHEDULE_COSINE)
        err = check("the last learning rate", config->lr_min, 0, config->lr, text);
    if (err == 0)
        err = check("the number of epochs", config->epochs, tiny, huge, text);
    if (err == 0)
        err = check("the number of warm-up epochs", config->warmup_epochs, 0, config->epochs, text);
    if (err == 0)
        err = check("the warm-up's first factor", config->warmup_factor, tiny, 1, text);
    if (err == 0)
        err = check("the number of steps per epoch", config->steps_per_epoch, tiny, huge, text);
    if (err < 0)
        return err;
    *s = (struct tr_schedule){
        .kind = config->kind,
        .lr = config->lr,
        .lr_min = config->lr_min,
        .warmup_factor = config->warmup_factor,
        .warmup_steps = config->warmup_epochs * config->steps_per_epoch,
        .total_steps = config->epochs * config->steps_per_epoch,
    };
    return 0;
}

double tr_schedule_lr(const struct tr_schedule *s, uint64_t step)
{
    double now = (double)step;

    if (now < s->warmup_steps)
        return s->lr * (s->warmup_factor + (1 - s->warmup_factor) * now / s->warmup_steps);
    if (s->kind == TR_SCHEDULE_CONSTANT)
        return s->lr;
    if (now >= s->total_steps)
        return s->lr_min;
    return s->lr_min + (s->lr - s->lr_min) * 0.5 *
                           (1 + cos(M_PI * (now - s->warmup_steps) / (s->total_steps - s->warmup_steps)));
}
