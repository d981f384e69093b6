/* The same tests on a GPU: in place of emulation.cc, beside the kernels that nvcc made.
 *
 * The tests hand pointers to their own memory to kernels. Here that memory is page-locked and mapped, so that
 * the GPU reaches it where it lies: what they allocate (they are compiled with malloc, calloc and free named
 * after the functions below), and their stack, which is that of a thread of ours. Slow, and enough. Exit
 * status 77 where there is no GPU. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <cuda_runtime_api.h>

#include "tests/cuda/emulator/emulation.h"

enum { STACK_BYTES = 8 << 20 };

int test_main(void); /* main of the test's file: help.h */
void *mapped_malloc(size_t bytes);
void *mapped_calloc(size_t count, size_t bytes);
void mapped_free(void *memory);

void *mapped_malloc(size_t bytes)
{
    void *memory = NULL;

    return cudaHostAlloc(&memory, bytes ? bytes : 1, cudaHostAllocMapped) == cudaSuccess ? memory : NULL;
}

void *mapped_calloc(size_t count, size_t bytes)
{
    void *memory = mapped_malloc(count * bytes);

    return memory ? memset(memory, 0, count * bytes) : NULL;
}

void mapped_free(void *memory)
{
    if (memory)
        (void)cudaFreeHost(memory);
}

/* A GPU has its own order. */
void emulation_seed(unsigned seed)
{
    (void)seed;
}

const char *emulation_error(void)
{
    return cudaGetErrorString(cudaGetLastError());
}

int emulation_finish(void)
{
    return cudaDeviceSynchronize() == cudaSuccess ? 0 : -EIO;
}

static void *run(void *ret_status)
{
    *(int *)ret_status = test_main();
    return NULL;
}

int main(void)
{
    int gpus = 0, status = 1;
    pthread_attr_t attributes;
    pthread_t thread;
    void *stack;

    if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus == 0) {
        printf("skipped: no GPU (%s)\n", cudaGetErrorString(cudaGetLastError()));
        return 77;
    }
    stack = mapped_malloc(STACK_BYTES);
    if (!stack || pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setstack(&attributes, stack, STACK_BYTES) != 0 ||
        pthread_create(&thread, &attributes, run, &status) != 0) {
        fprintf(stderr, "no thread with a page-locked stack\n");
        return 1;
    }
    pthread_join(thread, NULL);
    return status;
}
