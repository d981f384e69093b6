#include "trainer/class_weights.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/file.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)

/* Lines of a weight, a tab, the number of images, a tab and more. Returns how many there are; -1: one is none. */
static int parse(char *bytes, int classes, enum tr_class_scaling scaling, double *weights)
{
    double sum = 0, images = 0;
    int count = 0;
    char *rest = NULL;

    for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), count++) {
        char *end;
        const double weight = strtod(line, &end);
        double own;

        if (end == line || *end != '\t' || !isfinite(weight) || weight < 0)
            return -1;
        own = strtod(end + 1, &end);
        if (*end != '\t' || !(own >= 0))
            return -1;
        own = scaling == TR_SCALE_BALANCED ? own > 0 : own;
        sum += own * weight;
        images += own;
        if (count < classes)
            weights[count] = weight;
    }
    for (int i = 0; scaling != TR_SCALE_NONE && i < count && i < classes; i++)
        weights[i] *= images / sum;
    return sum > 0 ? count : -1;
}

int tr_class_weights_read(const char *run_dir, int classes, enum tr_class_scaling scaling,
                          float **ret_weights, struct im_text *text)
{
    float *weights = calloc((size_t)classes, sizeof *weights);
    double *exact = calloc((size_t)classes, sizeof *exact);
    char path[PATH_MAX], *bytes = NULL;
    size_t n;
    int err, count = 0;

    snprintf(path, sizeof path, "%s/" TR_CLASS_WEIGHTS_FILE, run_dir);
    err = weights && exact ? im_read_file(path, FILE_BYTES_MAX, &bytes, &n, text) : -ENOMEM;
    if (err == 0)
        count = parse(bytes, classes, scaling, exact);
    for (int i = 0; i < count && i < classes; i++)
        weights[i] = (float)exact[i];
    free(bytes);
    free(exact);
    if (err == 0 && count != classes)
        err = im_fail(text, -EBADMSG,
                      count < 0
                          ? "%s: a line is not the weight, the number of images and the name of a class (%d; "
                            "classes: %d)"
                          : "%s has %d lines for %d classes",
                      path, count, classes);
    if (err < 0) {
        free(weights);
        return err;
    }
    *ret_weights = weights;
    return 0;
}
