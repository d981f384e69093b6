/* What `imsuper predict` says of an image, as JSON. */
#ifndef SUPERVISOR_SERVING_PREDICTION_H
#define SUPERVISOR_SERVING_PREDICTION_H

#include "ipc/base/json.h"
#include "ipc/outcome.h"

/* outcome NULL: `error` says why there is none. NULL: no memory. */
struct im_json *sv_prediction_json(const char *image, const char *const *class_name, uint32_t tops,
                                   const struct im_outcome *outcome, const char *error);

#endif
