/* Facts about each image of a data set: every file is read and decoded whole, by processes in the augmenter's sandbox
 * that a bad file may kill. */
#ifndef AUGMENT_TOOLS_FACTS_H
#define AUGMENT_TOOLS_FACTS_H

#include "augment/tools/session.h"
#include "ipc/base/clock.h"

struct au_fact {
    uint64_t hash, bytes; /* of the file */
    uint32_t width, height;
    uint8_t is_done;
    uint8_t verdict;     /* enum im_verdict */
    uint8_t type;        /* enum im_image_type by its first bytes; IM_IMAGE_TYPE_COUNT: none that is known */
    uint8_t components;  /* of JPEG */
    uint8_t orientation; /* of JPEG's EXIF; 0: not said */
    uint8_t is_progressive;
    uint8_t has_likeness;
    uint8_t deaths;           /* of processes that looked at it */
    uint64_t likeness;        /* with --near-duplicates: au_likeness_hash() */
    float mean[3], square[3]; /* of its pixels in 0 .. 1, and of their squares */
};

struct au_facts {
    struct au_fact *facts; /* one a name; shared memory */
    size_t count;
    int64_t jobs;
    double seconds;
};

void au_facts_free(struct au_facts *facts);

/* What verify and stats begin with. 0 or an exit status, having said why. */
int au_facts_open(struct im_conf *conf, struct au_names *names, struct au_facts *facts);

#endif
