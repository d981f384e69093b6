/* Reading the golden files: little-endian numbers, one after the other. */
#ifndef TESTS_UNIT_AUGMENT_GOLDEN_FILE_H
#define TESTS_UNIT_AUGMENT_GOLDEN_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A little-endian number of 1 to 8 bytes; -1 at the end of the file. */
static inline int64_t golden_number(FILE *f, int bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < bytes; i++) {
        int byte = fgetc(f);

        if (byte == EOF)
            return -1;
        value |= (uint64_t)byte << (8 * i);
    }
    return (int64_t)value;
}

#endif
