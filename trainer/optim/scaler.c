/* See scaler.h. As in PyTorch's amp_update_scale, a growth beyond the range of float is skipped, but the
 * count restarts. */
#include "trainer/optim/scaler.h"

#include <float.h>

struct tr_scaler tr_scaler_init(bool dynamic)
{
    return (struct tr_scaler){.scale = dynamic ? TR_SCALER_INIT : 1};
}

void tr_scaler_update(struct tr_scaler *s, bool finite)
{
    if (!finite) {
        s->scale *= TR_SCALER_BACKOFF;
        s->good_steps = 0;
        return;
    }
    if (++s->good_steps < TR_SCALER_INTERVAL)
        return;
    if (s->scale * TR_SCALER_GROWTH <= (double)FLT_MAX)
        s->scale *= TR_SCALER_GROWTH;
    s->good_steps = 0;
}
