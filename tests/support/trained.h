/* Trainings of a pipeline whose ends are compared: for cmocka programs, which fail with the sentence of what
 * went wrong. */
#ifndef TESTS_SUPPORT_TRAINED_H
#define TESTS_SUPPORT_TRAINED_H

#include "tests/support/pipeline.h"

struct tr_safetensors;
struct dataset;

/* A small set: 27 images of three classes for training, 9 for validation. Errors alone are logged from now on. */
enum { TRAINED_CLASSES = 3, TRAINED_PER_CLASS = 9, TRAINED_VAL_PER_CLASS = 3 };
void trained_make_set(struct dataset *set);

/* im_conf_set() of `count` keys with their values. */
void trained_set_keys(struct im_conf *conf, const char *const keys[][2], size_t count);

/* pipeline_open(). */
struct pipeline *trained_open(const struct im_conf *conf);

/* pipeline_train() of a pipeline of its own: the exit status. Unless `phases` is 0: each split had so many
 * passes, and each delivered every sample once. */
int trained_run(const struct im_conf *conf, uint64_t stop_at, pipeline_disturb *disturb, void *context,
                uint64_t phases);

/* The run's last state: parameters, statistics, the optimiser's. The caller closes it. */
struct tr_safetensors *trained_state(const struct im_conf *conf);

#endif
