/* Runs a fuzz target without libFuzzer: the empty input, each file of the folders given, and N mutations of
 * each file.
 *
 *   fuzz_NAME [-mutations=N] [-seed=S] file-or-folder...
 *
 * The mutations are a pure function of the seed, the file's place in sorted order and the mutation's number,
 * so every machine and every compiler tries the same inputs; a crash names the three. Inputs are handed over
 * in a heap block of exactly their size, so that AddressSanitizer sees a read past the end. An input that
 * takes over 5 s fails the test.
 *
 * It does not search: it has no coverage feedback. That is what preset fuzz is for. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/rng.h"

enum { SECONDS_PER_INPUT = 5, SEED_BYTES_MAX = 1 << 20, STACKED_MAX = 8 };

/* What is running, for the handler that names it. */
static char running[512];

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));
const char *__ubsan_default_options(void);

const char *__ubsan_default_options(void)
{
    return "abort_on_error=1:print_stacktrace=1";
}

static void name_input(void)
{
    ssize_t ignored = write(STDERR_FILENO, running, strlen(running));

    (void)ignored;
}

/* SA_RESETHAND has put the default action back: returning repeats a fault, and raise() ends what
 * was no fault. */
static void on_signal(int number)
{
    name_input();
    raise(number);
}

/* AddressSanitizer keeps the faults, reports them better than we could and tells us when it is done; without
 * it they are ours. UBSan has no such call in gcc's build of it, so it is asked to abort. */
static void install_handlers(void)
{
    static const int ours[] = {SIGALRM, SIGABRT};
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    for (size_t i = 0; i < IM_COUNT(ours); i++)
        sigaction(ours[i], &action, NULL);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(name_input);
        return;
    }
    for (size_t i = 0; i < IM_COUNT(faults); i++)
        sigaction(faults[i], &action, NULL);
}

static void *grab(size_t size)
{
    void *block = malloc(size ? size : 1);

    if (!block) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return block;
}

static void run_input(const uint8_t *data, size_t size)
{
    uint8_t *exact = grab(size);

    memcpy(exact, data, size);
    alarm(SECONDS_PER_INPUT);
    LLVMFuzzerTestOneInput(exact, size);
    alarm(0);
    free(exact);
}

/* One change to `data`, in place; it may grow to `room`. Returns the new size. */
static size_t mutate_once(struct im_rng *r, uint8_t *data, size_t size, size_t room)
{
    static const uint8_t edge[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '"', '{', '['};
    size_t at = size ? (size_t)im_rng_below(r, size) : 0;
    size_t length = 1 + (size_t)im_rng_below(r, 8);

    switch (size ? im_rng_below(r, 6) : 5) {
    case 0:
        data[at] = (uint8_t)(data[at] ^ (1u << im_rng_below(r, 8)));
        return size;
    case 1:
        data[at] = edge[im_rng_below(r, sizeof edge)];
        return size;
    case 2: /* cut the tail off */
        return at;
    case 3: /* take some bytes out */
        length = length < size - at ? length : size - at;
        memmove(data + at, data + at + length, size - at - length);
        return size - length;
    case 4: /* repeat some bytes */
        length = length < size - at ? length : size - at;
        length = length < room - size ? length : room - size;
        memmove(data + at + length, data + at, size - at);
        return size + length;
    default: /* append noise */
        for (; length && size < room; length--)
            data[size++] = (uint8_t)im_rng_u32(r);
        return size;
    }
}

struct options {
    uint64_t seed;
    uint64_t mutation_count;
    uint64_t input_count;
    uint32_t file_number;
};

static void run_mutations(const struct options *o, const char *path, const uint8_t *seed, size_t size)
{
    size_t room = size + (size_t)8 * STACKED_MAX;
    uint8_t *data = grab(room);

    for (uint64_t i = 0; i < o->mutation_count; i++) {
        struct im_rng r = im_rng_at(o->seed, IM_RNG_TEST, o->file_number, i);
        size_t now = size;

        memcpy(data, seed, size);
        for (uint64_t n = 1 + im_rng_below(&r, STACKED_MAX); n; n--)
            now = mutate_once(&r, data, now, room);
        snprintf(running, sizeof running, "failed on mutation %llu of file %u, %s (-seed=%llu)\n",
                 (unsigned long long)i, o->file_number, path, (unsigned long long)o->seed);
        run_input(data, now);
    }
    free(data);
}

static int run_file(struct options *o, const char *path)
{
    uint8_t *data = grab(SEED_BYTES_MAX + 1);
    FILE *file = fopen(path, "rb");
    size_t size;

    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        free(data);
        return 1;
    }
    size = fread(data, 1, SEED_BYTES_MAX + 1, file);
    fclose(file);
    if (size > SEED_BYTES_MAX) {
        fprintf(stderr, "%s: a seed has at most %d bytes\n", path, SEED_BYTES_MAX);
        free(data);
        return 1;
    }
    snprintf(running, sizeof running, "failed on %s\n", path);
    run_input(data, size);
    run_mutations(o, path, data, size);
    o->input_count += 1 + o->mutation_count;
    o->file_number++;
    free(data);
    return 0;
}

static int run_path(struct options *o, const char *path)
{
    struct dirent **entry;
    struct stat info;
    int failed = 0;
    int n;

    if (stat(path, &info) == 0 && !S_ISDIR(info.st_mode))
        return run_file(o, path);
    n = scandir(path, &entry, NULL, alphasort);
    if (n < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    for (int i = 0; i < n; i++) {
        char inner[4096];

        snprintf(inner, sizeof inner, "%s/%s", path, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.')
            failed |= run_file(o, inner);
        free(entry[i]);
    }
    free(entry);
    return failed;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .mutation_count = 100};
    int failed = 0;

    install_handlers();
    snprintf(running, sizeof running, "failed on the empty input\n");
    run_input((const uint8_t *)"", 0);
    o.input_count = 1;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-mutations=", 11) == 0)
            o.mutation_count = strtoull(argv[i] + 11, NULL, 10);
        else if (strncmp(argv[i], "-seed=", 6) == 0)
            o.seed = strtoull(argv[i] + 6, NULL, 10);
        else
            failed |= run_path(&o, argv[i]);
    }
    if (!o.file_number) {
        fprintf(stderr, "no seed was run: give files or folders\n");
        return 1;
    }
    printf("%llu inputs from %u seeds\n", (unsigned long long)o.input_count, o.file_number);
    return failed;
}
