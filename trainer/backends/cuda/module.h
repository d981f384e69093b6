/* The CUDA part of the trainer, imsuper-cuda.so: loaded with dlopen() on demand, so that one program runs on
 * machines with and without CUDA, and a missing library is an error message.
 *
 * The module exports one table. It must be from the same build as the program, which is checked; it has its
 * own copy of what it uses of ipc/base, so it calls nothing in the program. */
#ifndef TRAINER_BACKENDS_CUDA_MODULE_H
#define TRAINER_BACKENDS_CUDA_MODULE_H

#include <stdint.h>

struct tr_backend_ops;
struct im_text;
struct tr_comm_ops;
struct tr_gpu_properties;

#define TR_CUDA_FILE "imsuper-cuda.so"
#define TR_CUDA_TABLE "tr_cuda_table" /* the symbol */
#define TR_CUDA_VERSION 3

struct tr_cuda_table {
    uint32_t version;  /* TR_CUDA_VERSION: the version of the members below */
    const char *build; /* im_build_id() of the build it is from */
    /* Number of visible GPUs; an error with its sentence if none is usable. */
    int (*gpu_count)(int *ret_count, struct im_text *text);
    int (*gpu_query)(int index, struct tr_gpu_properties *ret_properties,
                     struct im_text *text); /* tr_gpu_query() */
    int (*libraries)(struct im_text *text); /* tr_cuda_libraries(); NULL: nothing to check */
    const struct tr_backend_ops *backend;   /* NULL: the module was built without one */
    const struct tr_comm_ops *comm;         /* between GPUs; NULL: it was built without NCCL */
    void (*range_push)(const char *name);   /* tr_gpu_range_push(), tr_gpu_range_pop() */
    void (*range_pop)(void);
};

/* Loads the module beside the executable; it stays loaded. -ENOSYS: there is none; -ELIBACC: a library that
 * it needs is missing; -ELIBBAD: it is from another build. Each with a sentence. */
int tr_cuda_load(const struct tr_cuda_table **ret_table, struct im_text *text);
/* The same from a path, for tests. */
int tr_cuda_load_file(const char *path, const struct tr_cuda_table **ret_table, struct im_text *text);

#endif
