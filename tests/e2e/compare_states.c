/* compare_states [--tensors | --but-best | --within=SHARE] A B: are two checkpoints the same run at the same point?
 *
 * Every tensor bit for bit, and all metadata; with --but-best not which epoch was the best, for runs that could not keep it on a
 * full disk; with --tensors no metadata, for runs that came to the same weights by different phases; with --within the same but for
 * rounding. Both files are verified against their
 * own checksums first, so that two equally damaged files do not pass. Exit status: 0 the same, 1 different
 * (each difference is printed), 2 unreadable. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/checkpoint/checkpoint.h"

static int compare_tensor(const struct tr_tensor *a, const struct tr_safetensors *other)
{
    const struct tr_tensor *b = tr_safetensors_find(other, a->name);
    const unsigned char *x = a->data, *y;
    size_t n, differing = 0, first = 0;

    if (!b) {
        printf("%s: only in the first\n", a->name);
        return 1;
    }
    if (a->dtype != b->dtype || a->rank != b->rank ||
        memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) != 0) {
        printf("%s: another type or shape\n", a->name);
        return 1;
    }
    if (tr_tensor_bytes(a, &n) < 0)
        return 1;
    y = b->data;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i] && differing++ == 0)
            first = i;
    if (differing)
        printf("%s: %zu of %zu bytes differ, the first at %zu\n", a->name, differing, n, first);
    return differing > 0;
}

static double float_at(const void *data, size_t i)
{
    float value;

    memcpy(&value, (const char *)data + i * sizeof value, sizeof value);
    return value;
}

/* By the norm of the difference over that of the tensor; statistics apart. */
static int compare_values(const struct tr_tensor *a, const struct tr_safetensors *other, double within)
{
    const struct tr_tensor *b = tr_safetensors_find(other, a->name);
    double difference = 0, norm = 0;
    size_t n = 0;

    if (strstr(a->name, "running_") || strstr(a->name, "num_batches_tracked"))
        return 0;
    if (!b || a->dtype != TR_F32 || b->dtype != TR_F32 || tr_tensor_bytes(a, &n) < 0) {
        printf("%s: only in the first, or no floats\n", a->name);
        return 1;
    }
    for (size_t i = 0; i < n / sizeof(float); i++) {
        double x = float_at(a->data, i), d = x - float_at(b->data, i);

        difference += d * d;
        norm += x * x;
    }
    if (difference <= within * within * norm)
        return 0;
    printf("%s: differs by %.3g of its norm\n", a->name, sqrt(difference / norm));
    return 1;
}

enum metadata { ALL, NONE, BUT_BEST };

static int compare_metadata(struct tr_pair pair, const struct tr_safetensors *other, enum metadata which)
{
    const char *value = tr_safetensors_metadata(other, pair.key);

    if (which == BUT_BEST && (strncmp(pair.key, "best.", 5) == 0 || strcmp(pair.key, "checksum") == 0))
        return 0;
    if (value && strcmp(pair.value, value) == 0)
        return 0;
    printf("metadata %s: %.80s and %.80s\n", pair.key, pair.value, value ? value : "nothing");
    return 1;
}

static int compare(const struct tr_safetensors *a, const struct tr_safetensors *b, enum metadata which,
                   double within)
{
    int differences = 0;

    if (tr_safetensors_count(a) != tr_safetensors_count(b) ||
        (which == ALL && tr_safetensors_metadata_count(a) != tr_safetensors_metadata_count(b))) {
        printf("%zu tensors and %zu\n", tr_safetensors_count(a), tr_safetensors_count(b));
        differences++;
    }
    for (size_t i = 0; i < tr_safetensors_count(a); i++)
        differences += within > 0 ? compare_values(tr_safetensors_at(a, i), b, within)
                                  : compare_tensor(tr_safetensors_at(a, i), b);
    for (size_t i = 0; which != NONE && i < tr_safetensors_metadata_count(a); i++)
        differences += compare_metadata(tr_safetensors_metadata_at(a, i), b, which);
    return differences;
}

int main(int argc, char **argv)
{
    struct tr_safetensors *files[2] = {NULL, NULL};
    struct im_text text = {0};
    int flags = argc > 1 && strncmp(argv[1], "--", 2) == 0, differences;
    double within = flags && strncmp(argv[1], "--within=", 9) == 0 ? strtod(argv[1] + 9, NULL) : 0;
    enum metadata which = !flags ? ALL : strcmp(argv[1], "--but-best") == 0 ? BUT_BEST : NONE;

    if (argc != 3 + flags) {
        fprintf(stderr, "usage: compare_states [--tensors | --but-best | --within=SHARE] A B\n");
        return 2;
    }
    for (int i = 0; i < 2; i++)
        if (tr_checkpoint_open_file(argv[1 + flags + i], &files[i], &text) < 0) {
            fprintf(stderr, "%s\n", text.s);
            tr_safetensors_close(&files[0]);
            return 2;
        }
    differences = compare(files[0], files[1], which, within);
    if (tr_safetensors_count(files[0]) == 0)
        differences++;
    tr_safetensors_close(&files[0]);
    tr_safetensors_close(&files[1]);
    return differences ? 1 : 0;
}
