/* For every processor. */
#include "trainer/backends/onednn/vector_code.h"

const struct tr_vector_loops tr_vector_loops_plain = VECTOR_LOOPS;
