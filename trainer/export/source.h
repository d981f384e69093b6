/* What is exported: weights, with all that a network needs to give the same answers elsewhere.
 *
 * In this folder: a network's weights for other programs (onnx, torch_write, timm, state_dict), the proof that they give
 * the same answers there (prove), and weights made of others' (source, average). Nothing here trains, and nothing
 * writes into a run's directory. */
#ifndef TRAINER_EXPORT_SOURCE_H
#define TRAINER_EXPORT_SOURCE_H

#include <limits.h>
#include <stdbool.h>

#include "ipc/base/json.h"
#include "ipc/config/conf.h"
#include "trainer/model/model.h"

struct tr_source {
    char path[PATH_MAX];
    char run_dir[PATH_MAX]; /* of the run that the file is of; "": of none */
    struct im_conf conf;    /* the run's options, below those that the user gave */
    struct tr_model *model;
    float *params, *stats; /* as tr_param_tensor.offset counts */
    int64_t tracked;
    struct im_json *classes; /* array of names; NULL: not known */
    double mean[3], std[3];  /* of pixels from 0 to 1 */
    uint32_t size, resize;   /* pixels: side of the crop, short side of the image that it is cut from */
    bool unsaid_colors;      /* nobody has said mean and std: the defaults */
    bool unsaid_size;
    struct im_text note; /* names that were read as others; "": none */
};

/* Opens `what`: a file of weights, a run's directory, or the name of a run in conf->workspace, of which
 * conf->weights are taken. What the network is: options the user gave, then those of the
 * run, then what the file says, then what its tensors fit. -EBADMSG and others with a sentence. The caller closes it,
 * also after an error. */
int tr_source_open(struct tr_source *s, const struct im_conf *conf, const char *what, struct im_text *text);
void tr_source_close(struct tr_source *s); /* zeroed is fine */

/* "class_007", or the class's number in `room`. */
const char *tr_source_class(const struct tr_source *s, int i, char room[16]);

#endif
