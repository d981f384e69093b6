/* What the header of a JPEG file says that decoding does not tell. */
#ifndef AUGMENT_TOOLS_JPEG_FACTS_H
#define AUGMENT_TOOLS_JPEG_FACTS_H

#include <stdbool.h>
#include <stddef.h>

struct au_jpeg_facts {
    int components; /* 1 grey, 3 colour, 4 CMYK; 0: there is no frame */
    bool is_progressive;
    int orientation; /* EXIF: 1 upright .. 8; 0: not said */
};

/* Any bytes may be given; those that are no JPEG file have no facts. */
struct au_jpeg_facts au_jpeg_facts_read(const unsigned char *bytes, size_t n);

#endif
