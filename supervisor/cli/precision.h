/* The number type of a run: --amp auto becomes one by the GPUs that the run takes. */
#ifndef SUPERVISOR_CLI_PRECISION_H
#define SUPERVISOR_CLI_PRECISION_H

#include "supervisor/cli/gpus.h"

/* After sv_gpus_choose(). conf->amp is none, bf16 or fp16 then; *ret_why: "bf16: compute capability 8.0 has it (auto;
 * --amp none for fp32)". `kept`: the run goes on, and has its values from before. -EINVAL with a sentence: a type that the
 * device does not compute in. */
int sv_precision_choose(struct im_conf *conf, const struct sv_gpus *found, bool kept, struct im_text *ret_why,
                        struct im_text *text);

/* "bf16", "fp16", "tf32" or "fp32": what convolutions read. */
const char *sv_precision_word(const struct im_conf *conf);

#endif
