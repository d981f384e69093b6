/* What `imsuper data verify` finds in the facts. */
#ifndef AUGMENT_TOOLS_VERIFY_H
#define AUGMENT_TOOLS_VERIFY_H

#include "augment/tools/facts.h"
#include "ipc/base/image_type.h"

/* Images with something to say about them. */
enum au_finding {
    AU_BAD,         /* training leaves it out */
    AU_CMYK,        /* converted, with colours that may be off */
    AU_ROTATED,     /* EXIF says to turn it, which training does not do */
    AU_MISNAMED,    /* the name's ending is another format's */
    AU_DUPLICATE,   /* the same bytes as an earlier one of its split and class */
    AU_CONTRADICTS, /* the same bytes under another class */
    AU_LEAK,        /* a validation image with the bytes of a training image */
    AU_NEAR,        /* looks like an earlier image, whose bytes are others; with --near-duplicates */
    AU_FINDINGS
};
const char *au_finding_name(enum au_finding finding);     /* "cmyk" */
const char *au_finding_sentence(enum au_finding finding); /* for the terminal */

const char *au_bad_sentence(const struct au_fact *fact); /* why training leaves it out */

struct au_list {
    size_t *items; /* numbers of names */
    size_t *like;  /* the other image, from AU_DUPLICATE on; otherwise the image itself */
    size_t count;
};

struct au_class_counts {
    const char *name;
    uint64_t count[2]; /* train, val */
    uint64_t usable[2];
};

struct au_findings {
    struct au_list list[AU_FINDINGS];
    struct au_class_counts *classes;
    size_t class_count;
    size_t images[2];
    size_t types[IM_IMAGE_TYPE_COUNT + 1];
    size_t grey, progressive;
};

/* `near`: bits that may differ between images that look alike (likeness.h); 0: that is not looked at.
 * au_findings_free() in every case. 0 or -ENOMEM. */
int au_findings_make(const struct au_names *names, const struct au_facts *facts, int near,
                     struct au_findings *ret);
void au_findings_free(struct au_findings *findings);

/* Writes the page of pictures. 0, or a negative errno with a sentence. */
int au_findings_write_html(const struct im_conf *conf, const struct au_names *names,
                           const struct au_facts *facts, const struct au_findings *findings, const char *path,
                           struct im_text *text);

#endif
