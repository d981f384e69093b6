/* Runs an ONNX file, node by node and as its operators are defined, so that what is written can be compared with the network
 * itself where there is no other runtime. Float values only: what follows the preprocessing. */
#ifndef TESTS_UNIT_TRAINER_EXPORT_ONNX_RUN_H
#define TESTS_UNIT_TRAINER_EXPORT_ONNX_RUN_H

#include <stddef.h>

struct onnx_run;

/* Reads a file. Fails the test unless each name is made once, and before it is used. */
struct onnx_run *onnx_run_open(const char *path);
void onnx_run_close(struct onnx_run *r);

size_t onnx_run_count(const struct onnx_run *r, const char *op); /* nodes of an operator */
const char *onnx_run_metadata(const struct onnx_run *r, const char *key);

/* Gives the input [1, 3, size, size] to it; the answer called `output` has `n` numbers. */
const float *onnx_run(struct onnx_run *r, const char *input, const float *values, int size,
                      const char *output, size_t n);

#endif
