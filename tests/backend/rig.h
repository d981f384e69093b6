/* One op on a backend: guarded buffers, values in and out, forward and backward. Whatever goes wrong fails the
 * test. */
#ifndef TESTS_BACKEND_RIG_H
#define TESTS_BACKEND_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/backends/backend.h"

/* A backend under test and the plan of one op on it. */
struct rig {
    const struct tr_backend_ops *ops;
    struct tr_backend *b;
    struct tr_op op;
    struct tr_op_plan *plan;
    struct tr_plan_info info;
    const struct tr_bn_sync *sync;
};

struct tensor {
    size_t count;
    float *v;
};

/* What one op reads and writes, plain. */
struct values {
    struct tensor x, x2, y, dy[2], dx, dx2, w, b, dw, db, run_mean, run_var;
};

size_t rig_count(struct tr_shape s);
/* Uniform in [low, high); equal items draw equal values. */
struct tensor rig_draw(size_t count, uint64_t item, double low, double high);
/* For the op; with a fork dy comes from two. */
struct values rig_values(const struct tr_op *op, bool fork);
void rig_values_free(struct values *v);

/* Between bytes that must stay as they are, which freeing checks. */
char *rig_buffer(struct rig *r, size_t bytes);
void rig_buffer_free(struct rig *r, char *data, size_t bytes);

/* in_network: x has the layout that a convolution in front of the op would give it. */
void rig_open(struct rig *r, const struct tr_backend_ops *ops, const struct tr_op *op, bool in_network);
void rig_open_with(struct rig *r, const struct tr_backend_ops *ops, const struct tr_op *op, bool in_network,
                   int threads);
void rig_close(struct rig *r);
/* Forward, then backward; the answers replace y, dx, dw, db and the running statistics of v. */
void rig_run(struct rig *r, struct values *v, bool in_place);

#endif
