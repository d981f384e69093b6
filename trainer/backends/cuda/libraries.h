/* Checks the libraries that cuDNN loads by itself. If some are missing, it aborts the process or, worse,
 * silently has no engines for batch norm. */
#ifndef TRAINER_BACKENDS_CUDA_LIBRARIES_H
#define TRAINER_BACKENDS_CUDA_LIBRARIES_H

struct im_text;

/* Call before any cuDNN function. 0; -ELIBACC with a sentence that names the library and what to install. The
 * libraries stay loaded for cuDNN. */
int tr_cuda_libraries(struct im_text *text);

#endif
