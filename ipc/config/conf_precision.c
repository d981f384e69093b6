/* The number type of a run: what --amp auto means on a device. */
#include "ipc/config/conf.h"

enum { SM_FP16 = 70, SM_BF16 = 80 }; /* compute capabilities from which on GPUs multiply these fast */

enum im_conf_amp im_conf_auto_amp(int sm)
{
    return sm >= SM_BF16 ? IM_AMP_BF16 : sm >= SM_FP16 ? IM_AMP_FP16 : IM_AMP_NONE;
}

enum im_conf_amp im_conf_amp(const struct im_conf *conf)
{
    return conf->amp == IM_AMP_AUTO ? IM_AMP_NONE : (enum im_conf_amp)conf->amp;
}
