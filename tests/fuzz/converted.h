/* What the targets of converters share: the safetensors file that a converter writes is kept in memory, and must be
 * right where the bytes were not refused with a sentence. */
#ifndef TESTS_FUZZ_CONVERTED_H
#define TESTS_FUZZ_CONVERTED_H

#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/checkpoint/safetensors.h"

struct converted {
    char *bytes;
    size_t n;
};

/* The write of a tr_sink, whose context is a struct converted. */
static inline int converted_keep(void *context, const void *bytes, size_t n, struct im_text *text)
{
    struct converted *c = context;
    char *grown = realloc(c->bytes, c->n + n + 1);

    (void)text;
    im_assert(grown != NULL);
    memcpy(grown + c->n, bytes, n);
    c->bytes = grown;
    c->n += n;
    return 0;
}

/* `err`: of the converter. Frees what was kept. */
static inline void converted_check(struct converted *c, int err, struct im_text *text)
{
    struct tr_safetensors *file = NULL;

    if (err < 0)
        im_assert(text->s[0] != '\0');
    else
        im_assert(tr_safetensors_parse("answer", c->bytes, c->n, &file, text) == 0);
    tr_safetensors_close(&file);
    free(c->bytes);
}

#endif
