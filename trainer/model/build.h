/* Private to model.c, which owns a model's tables, and resnet.c and airbench.c, which fill them. */
#ifndef TRAINER_MODEL_BUILD_H
#define TRAINER_MODEL_BUILD_H

#include "trainer/model/model.h"

enum {
    TR_TENSORS_MAX = 1024, /* resnet152 has 932 */
    TR_LAYERS_MAX = 640,   /* resnet152 has 364, with blur and stochastic depth 421 */
};

struct tr_init {
    enum tr_init_kind kind;
    double value;
};

/* Appends the tensor prefix.leaf at the end of its arena; shape: up to the first 0. Returns its number. */
int tr_model_tensor(struct tr_model *m, const char *prefix, const char *leaf, enum tr_tensor_kind kind,
                    const int shape[4], struct tr_init init);

/* Appends a layer and returns its number. */
int tr_model_layer(struct tr_model *m, struct tr_layer layer, const char *name);

/* Batch norm, with ReLU or not, and its five tensors; returns the layer's number. */
int tr_model_batch_norm(struct tr_model *m, int in, const char *name, bool relu);

/* The classifier and the loss behind value `in`, with the head and the classes of the model. */
void tr_model_classifier(struct tr_model *m, int in, const char *name, struct tr_init weight,
                         struct tr_init bias);

/* airbench94, as tr_resnet_build(). */
int tr_airbench_build(struct tr_model *m, const struct tr_model_config *config);

/* The residual networks. The model has its tables and what of the configuration it keeps; -EINVAL when there
 * is no such network. Resolves AUTO. */
int tr_resnet_build(struct tr_model *m, const struct tr_model_config *config);

#endif
