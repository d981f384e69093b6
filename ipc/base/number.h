/* Names that are numbers: of classes, of labels, of parts. */
#ifndef IPC_BASE_NUMBER_H
#define IPC_BASE_NUMBER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A whole number without a sign and without blanks, of at most 18 digits; -1: another text. */
static inline int64_t im_whole_number(const char *word)
{
    const size_t digits = strspn(word, "0123456789");

    return digits == 0 || digits > 18 || word[digits] ? -1 : strtoll(word, NULL, 10);
}

/* "I/N", part I of N, from 0: whole numbers as above, I below N. false: another text. */
static inline bool im_part_of(const char *word, int64_t *ret_number, int64_t *ret_count)
{
    const size_t digits = strcspn(word, "/");
    char number[20];

    if (digits >= sizeof number || word[digits] != '/')
        return false;
    memcpy(number, word, digits);
    number[digits] = 0;
    *ret_number = im_whole_number(number);
    *ret_count = im_whole_number(word + digits + 1);
    return *ret_number >= 0 && *ret_number < *ret_count;
}

/* Zero-initialise, and show it each name in turn. */
struct im_number_order {
    int64_t last;
    bool falls, has_text;
};

static inline void im_number_order_see(struct im_number_order *o, const char *name)
{
    const int64_t n = im_whole_number(name);

    o->has_text |= n < 0;
    o->falls |= n < o->last;
    o->last = n;
}

/* All were numbers, in another order than that of their values: 0, 1, 10, 2, as names of folders are sorted. */
static inline bool im_number_order_is_of_text(const struct im_number_order *o)
{
    return o->falls && !o->has_text;
}

#endif
