/* See emulation.h. A block's threads are fibres with stacks of their own; the launching thread is the
 * scheduler. A fibre runs until it comes to a barrier or a shuffle, ends, or fails. When none can run, the
 * scheduler looks for warps that have all come to one shuffle, and then for a barrier that all have come to;
 * if there is neither, the threads would wait for ever.
 *
 * Shared memory keeps for each number who wrote and read it last, and in which interval between
 * barriers: two threads that meet at one number in one interval, one of them writing, race. A shuffle is
 * taken for no barrier. */
#include "tests/cuda/emulator/emulation.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef __x86_64__
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define FIBRES_UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBRES_UNDER_ASAN 1
#endif
#endif
#ifdef FIBRES_UNDER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum {
    THREADS_MAX = 1024,
    LANES = 32,
    STACK_BYTES =
        (1 << 17) + 69 * 64, /* no power of two, at which all tops would lie in a few sets of a cache */
    SHARED_BYTES_MAX = 48 << 10,
    ARRAYS_MAX = 16,
    NOBODY = -1,
    SEVERAL = -2,
};

enum state { READY, AT_BARRIER, AT_SHUFFLE, ENDED };

struct fibre {
    enum state state;
    dim3 thread;
    const char *file; /* of the barrier it is at */
    int line;
    unsigned lanes; /* of the shuffle it is at */
    int mask;
    uint64_t bits;
#ifdef __x86_64__
    void *stack_pointer;
#else
    ucontext_t context;
#endif
    void *fake_stack;
    char *stack; /* from its first turn to its end */
};

struct use {
    int thread; /* or SEVERAL */
    unsigned interval;
};

struct emulated_array {
    const void *tag;
    size_t count, item_bytes;
    char *bytes; /* of exactly that many, so that AddressSanitizer guards them too */
    struct use *written, *read;
};

struct emulated_thread emulated;

static struct {
    struct fibre fibres[THREADS_MAX];
    char *stacks,
        *unused[THREADS_MAX]; /* a stack that a fibre has left is the next one's: it is in the cache */
    unsigned unused_count;
    unsigned order[THREADS_MAX];
    int running;       /* its number; NOBODY: the scheduler runs */
    unsigned interval; /* barriers and blocks of this launch so far */
    unsigned block;    /* its first interval: an earlier use was another block's */
    struct emulated_array arrays[ARRAYS_MAX];
    int array_count;
    size_t shared_bytes;
    void (*kernel)(void *);
    void *argument;
    unsigned seed;
    uint64_t random;
    char error[256];
    bool failed;
    struct emulation_counts counts;
#ifdef __x86_64__
    void *scheduler;
#else
    ucontext_t scheduler;
#endif
    void *scheduler_fake_stack;
    const void *scheduler_stack;
    size_t scheduler_stack_bytes;
} e;

/* ---- changing over ---- */

#ifdef __x86_64__
/* Saves what a call must keep on the stack that is left, whose pointer goes to *from, and takes
 * up the other. */
extern "C" void emulation_change(void **from, void *to);
__asm__(".text\n.globl emulation_change\n.type emulation_change, @function\nemulation_change:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".size emulation_change, .-emulation_change\n");
#endif

static void to_fibre(int i)
{
    struct fibre *f = &e.fibres[i];

    e.running = i;
    emulated.thread = f->thread;
#ifdef FIBRES_UNDER_ASAN
    __sanitizer_start_switch_fiber(&e.scheduler_fake_stack, f->stack, STACK_BYTES);
#endif
#ifdef __x86_64__
    emulation_change(&e.scheduler, f->stack_pointer);
#else
    swapcontext(&e.scheduler, &f->context);
#endif
#ifdef FIBRES_UNDER_ASAN
    __sanitizer_finish_switch_fiber(e.scheduler_fake_stack, NULL, NULL);
#endif
    e.running = NOBODY;
}

/* From the running fibre; returns when the scheduler takes it up again, and never after its end. */
static void to_scheduler(void)
{
    struct fibre *f = &e.fibres[e.running];

#ifdef FIBRES_UNDER_ASAN
    __sanitizer_start_switch_fiber(f->state == ENDED ? NULL : &f->fake_stack, e.scheduler_stack,
                                   e.scheduler_stack_bytes);
#endif
#ifdef __x86_64__
    emulation_change(&f->stack_pointer, e.scheduler);
#else
    swapcontext(&f->context, &e.scheduler);
#endif
#ifdef FIBRES_UNDER_ASAN
    __sanitizer_finish_switch_fiber(f->fake_stack, &e.scheduler_stack, &e.scheduler_stack_bytes);
#endif
}

static void fibre_main(void)
{
#ifdef FIBRES_UNDER_ASAN
    __sanitizer_finish_switch_fiber(NULL, &e.scheduler_stack, &e.scheduler_stack_bytes);
#endif
    e.kernel(e.argument);
    e.fibres[e.running].state = ENDED;
    to_scheduler();
}

static void make_stacks(void)
{
    if (!e.stacks)
        e.stacks = (char *)mmap(NULL, (size_t)THREADS_MAX * STACK_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (unsigned i = 0; i < THREADS_MAX; i++)
        e.unused[i] = e.stacks + (size_t)i * STACK_BYTES;
    e.unused_count = THREADS_MAX;
}

static void give_stack(struct fibre *f)
{
    f->stack = e.unused[--e.unused_count];
#ifdef FIBRES_UNDER_ASAN
    __asan_unpoison_memory_region(f->stack, STACK_BYTES); /* an earlier fibre may have failed on it */
#endif
#ifdef __x86_64__
    void **top = (void **)(f->stack + STACK_BYTES);

    *--top = NULL; /* nobody to return to; and the alignment that a called function finds */
    *--top = (void *)fibre_main;
    for (int saved = 0; saved < 6; saved++)
        *--top = NULL;
    f->stack_pointer = top;
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->context, fibre_main, 0);
#endif
}

static void take_turn(unsigned i)
{
    struct fibre *f = &e.fibres[i];

    if (!f->stack)
        give_stack(f);
    to_fibre((int)i);
    if (f->state == ENDED)
        e.unused[e.unused_count++] = f->stack;
}

/* ---- errors ---- */

void emulation_fail(const char *sentence)
{
    if (!e.failed)
        snprintf(e.error, sizeof e.error, "block %u %u, thread %u: %s", emulated.block.x, emulated.block.y,
                 emulated.thread.x, sentence);
    e.failed = true;
    if (e.running != NOBODY)
        to_scheduler(); /* which takes up nothing of this launch again */
}

extern "C" const char *emulation_error(void)
{
    static char said[sizeof e.error];

    memcpy(said, e.error, sizeof said);
    e.error[0] = '\0';
    return said;
}

/* ---- order ---- */

static uint32_t draw(uint32_t below)
{
    e.random = e.random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((e.random >> 33) % below);
}

static void shuffle(unsigned *order, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        order[i] = e.seed == 1 ? count - 1 - i : i;
    for (unsigned i = count; e.seed > 1 && i > 1; i--) {
        const unsigned k = draw(i), kept = order[k];

        order[k] = order[i - 1];
        order[i - 1] = kept;
    }
}

extern "C" void emulation_seed(unsigned seed)
{
    e.seed = seed;
    e.random = seed;
}

extern "C" int emulation_finish(void)
{
    return 0;
}

extern "C" struct emulation_counts emulation_count(void)
{
    const struct emulation_counts counts = e.counts;

    e.counts = emulation_counts();
    return counts;
}

/* ---- meeting points ---- */

void emulation_barrier(int line, const char *file)
{
    struct fibre *f = &e.fibres[e.running];

    f->state = AT_BARRIER;
    f->line = line;
    f->file = file;
    to_scheduler();
}

uint64_t emulation_shuffle(unsigned lanes, uint64_t bits, int mask)
{
    struct fibre *f = &e.fibres[e.running];

    f->state = AT_SHUFFLE;
    f->lanes = lanes;
    f->mask = mask;
    f->bits = bits;
    to_scheduler();
    return f->bits;
}

/* Lets the warp go on that begins with fibre `first` if all its lanes are at one shuffle. */
static bool release_warp(unsigned first, unsigned threads)
{
    struct fibre *w = &e.fibres[first];
    uint64_t bits[LANES];

    for (unsigned i = 0; i < LANES; i++) {
        if (first + i >= threads || w[i].state != AT_SHUFFLE || w[i].lanes != 0xffffffffu ||
            w[i].mask != w[0].mask)
            return false;
        bits[i] = w[i].bits;
    }
    for (unsigned i = 0; i < LANES; i++) {
        w[i].bits = bits[(i ^ (unsigned)w[i].mask) % LANES];
        w[i].state = READY;
    }
    return true;
}

static bool release_barrier(unsigned threads)
{
    for (unsigned i = 0; i < threads; i++)
        if (e.fibres[i].state != AT_BARRIER || e.fibres[i].line != e.fibres[0].line ||
            strcmp(e.fibres[i].file, e.fibres[0].file) != 0)
            return false;
    for (unsigned i = 0; i < threads; i++)
        e.fibres[i].state = READY;
    e.interval++;
    e.counts.barriers++;
    return true;
}

/* ---- shared memory ---- */

static void free_arrays(void)
{
    for (int i = 0; i < e.array_count; i++) {
        free(e.arrays[i].bytes);
        free(e.arrays[i].written);
        free(e.arrays[i].read);
    }
    e.array_count = 0;
    e.shared_bytes = 0;
}

struct emulated_array *emulation_shared(const void *tag, size_t count, size_t item_bytes)
{
    struct emulated_array *a = &e.arrays[e.array_count];

    for (int i = 0; i < e.array_count; i++)
        if (e.arrays[i].tag == tag)
            return &e.arrays[i];
    e.shared_bytes += count * item_bytes;
    if (e.array_count == ARRAYS_MAX || e.shared_bytes > SHARED_BYTES_MAX)
        emulation_fail("a block has more than 48 KiB of shared memory, or too many arrays");
    *a = {tag,
          count,
          item_bytes,
          (char *)malloc(count * item_bytes),
          (struct use *)calloc(count, sizeof(struct use)),
          (struct use *)calloc(count, sizeof(struct use))};
    e.array_count++;
    return a;
}

static bool is_other(const struct use *u)
{
    return u->interval == e.interval && u->thread != e.running;
}

void *emulation_read(struct emulated_array *a, size_t i)
{
    if (i >= a->count)
        emulation_fail("a read of shared memory is out of bounds");
    if (a->written[i].interval < e.block)
        emulation_fail("a read of shared memory that nobody wrote");
    if (is_other(&a->written[i]))
        emulation_fail("a read of shared memory that another thread wrote, with no barrier in between");
    a->read[i].thread = is_other(&a->read[i]) ? SEVERAL : e.running;
    a->read[i].interval = e.interval;
    return a->bytes + i * a->item_bytes;
}

void *emulation_write(struct emulated_array *a, size_t i)
{
    if (i >= a->count)
        emulation_fail("a write to shared memory is out of bounds");
    if (is_other(&a->written[i]))
        emulation_fail("two threads write one number of shared memory, with no barrier in between");
    if (is_other(&a->read[i]))
        emulation_fail("a write to shared memory that another thread read, with no barrier in between");
    a->written[i] = {e.running, e.interval};
    return a->bytes + i * a->item_bytes;
}

/* ---- launches ---- */

/* Runs what can run; false when nothing could, or a fibre failed. */
static bool run_ready(unsigned threads)
{
    bool ran = false;

    for (unsigned i = 0; i < threads && !e.failed; i++) {
        if (e.fibres[e.order[i]].state == READY) {
            take_turn(e.order[i]);
            ran = true;
        }
    }
    return ran && !e.failed;
}

static void say_stuck(unsigned threads)
{
    int count[4] = {0}, line = 0;

    for (unsigned i = 0; i < threads; i++) {
        count[e.fibres[i].state]++;
        line = e.fibres[i].state == AT_BARRIER ? e.fibres[i].line : line;
    }
    snprintf(e.error, sizeof e.error,
             "block %u %u: of %u threads %d wait at barriers (the last in line %d), %d at shuffles, %d ended",
             emulated.block.x, emulated.block.y, threads, count[AT_BARRIER], line, count[AT_SHUFFLE],
             count[ENDED]);
    e.failed = true;
}

static void run_block(unsigned threads)
{
    e.block = ++e.interval;
    shuffle(e.order, threads);
    for (unsigned i = 0; i < threads; i++) {
        e.fibres[i] = fibre();
        e.fibres[i].thread = dim3(i, 0, 0);
    }
    while (!e.failed) {
        bool released = false;
        unsigned ended = 0;

        if (run_ready(threads))
            continue;
        if (e.failed)
            break;
        for (unsigned i = 0; i < threads; i++)
            ended += e.fibres[i].state == ENDED;
        if (ended == threads)
            break;
        for (unsigned i = 0; i < threads; i += LANES)
            released = release_warp(i, threads) || released;
        if (!released && !release_barrier(threads))
            say_stuck(threads);
    }
}

static bool is_launch(dim3 blocks, unsigned threads)
{
    return threads >= 1 && threads <= THREADS_MAX && blocks.x >= 1 && blocks.x <= 0x7fffffff &&
           blocks.y >= 1 && blocks.y <= 65535 && blocks.z == 1;
}

int emulation_launch(dim3 blocks, unsigned threads, void (*kernel)(void *), void *argument)
{
    const unsigned count = blocks.x * blocks.y;
    unsigned *order;

    make_stacks();
    e.running = NOBODY;
    e.failed = false;
    e.interval = 0;
    emulated = {dim3(0), dim3(0), dim3(threads), blocks};
    if (!is_launch(blocks, threads)) {
        snprintf(e.error, sizeof e.error, "no GPU takes %u x %u x %u blocks of %u threads", blocks.x,
                 blocks.y, blocks.z, threads);
        return -EIO;
    }
    order = (unsigned *)malloc(count * sizeof *order);
    shuffle(order, count);
    e.kernel = kernel;
    e.argument = argument;
    e.counts.launches++;
    for (unsigned i = 0; i < count && !e.failed; i++) {
        emulated.block = dim3(order[i] % blocks.x, order[i] / blocks.x, 0);
        run_block(threads);
    }
    e.counts.blocks += count;
    e.counts.threads += (unsigned long)count * threads;
    free(order);
    free_arrays();
    return e.failed ? -EIO : 0;
}
