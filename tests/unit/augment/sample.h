/* The real files that tests may use when they are there: the members of a tar archive, mapped into memory. */
#ifndef TESTS_UNIT_AUGMENT_SAMPLE_H
#define TESTS_UNIT_AUGMENT_SAMPLE_H

#include <stddef.h>

#define SAMPLE_MAX 256

struct sample_file {
    const char *name;
    const unsigned char *bytes;
    size_t n;
};

struct sample {
    struct sample_file files[SAMPLE_MAX]; /* in the archive's order */
    size_t count;
    void *map;
    size_t map_bytes;
};

/* Opens imagenet-sample-200.tar in $IMSUPER_DATA, or in ../shared/data beside the source tree. 0, or -1 when
 * it is not there (having said so). */
int sample_open(struct sample *sample);
void sample_close(struct sample *sample);

#endif
