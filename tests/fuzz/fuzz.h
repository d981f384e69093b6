/* What every fuzz target defines: takes `size` bytes from a stranger and returns 0, whatever they are.
 * libFuzzer calls it in preset fuzz, fuzz_replay.c in all others. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
