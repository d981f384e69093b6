/* Are the libraries whole that cuDNN loads by itself? Without some of them it ends the process or, worse, has
 * no engines for batch norm and says nothing. */
#ifndef TRAINER_BACKENDS_CUDA_LIBRARIES_H
#define TRAINER_BACKENDS_CUDA_LIBRARIES_H

struct im_text;

/* Before anything of cuDNN is called. 0; -ELIBACC with a sentence that names the library and what to install.
 * What was loaded stays loaded: cuDNN takes it. */
int tr_cuda_libraries(struct im_text *text);

#endif
