/* What an evaluation found, from the records of its images (ipc/outcome.h): per class, confusion, calibration, the images
 * that are furthest off. */
#ifndef SUPERVISOR_REPORT_EVALUATION_H
#define SUPERVISOR_REPORT_EVALUATION_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "ipc/class_counts.h"
#include "ipc/outcome.h"

enum { SV_ECE_BINS = 15, SV_CONFUSION_CLASSES_MAX = 8192 };

struct sv_calibration_bin {
    uint64_t images, correct;
    double confidence; /* summed */
};

struct sv_evaluation {
    char *records; /* [images], record_bytes each; owned */
    size_t record_bytes;
    uint64_t images;
    uint32_t classes, tops;
    char *name_bytes, *class_bytes; /* owned */
    const char **name;              /* [images] */
    const char **class_name;        /* [classes] */

    uint64_t valid, unusable, missing; /* usable images; others with a verdict; images without a record */
    uint64_t top1, top5;
    double loss;                   /* summed */
    bool multi_label;              /* images have several labels: no confusion, no calibration */
    double *precision;             /* [classes] average precision, NaN without an image; with multi_label */
    struct im_class_counts *count; /* [classes] */
    uint32_t *confusion;           /* [classes][classes], true class first; NULL: too many classes */
    struct sv_calibration_bin bin[SV_ECE_BINS];
    uint64_t *worst; /* places of the usable images by falling loss, the first `worsts` of them */
    uint64_t worsts;
};

/* Reads the files of a run directory. Zeroed before; fini in any case. The second: all but the records, which come
 * one by one while the pass goes on. */
int sv_evaluation_read(struct sv_evaluation *e, const struct im_conf *conf, struct im_text *text);
int sv_evaluation_read_names(struct sv_evaluation *e, const struct im_conf *conf, struct im_text *text);

/* What an evaluation is read from, where it does not lie in a run directory. */
struct sv_evaluation_bytes {
    char *class_names, *image_names; /* malloc'ed, with room for a byte more; each name ended by a NUL */
    char *records;                   /* malloc'ed */
    size_t class_bytes, name_bytes;
    uint64_t images;
    uint32_t classes, tops;
};
/* Takes the three over, failed or not. Of images with one label each. -ENOMEM (also where one is NULL); -EBADMSG with a sentence. */
int sv_evaluation_of_bytes(struct sv_evaluation *e, const struct sv_evaluation_bytes *b,
                           struct im_text *text);

/* The record reads as one of this evaluation (a zeroed one does). */
bool sv_evaluation_takes(const struct sv_evaluation *e, const struct im_outcome *r);

/* Fills what is counted from records, images, classes and tops. */
int sv_evaluation_count(struct sv_evaluation *e, uint64_t worsts);
void sv_evaluation_fini(struct sv_evaluation *e);

const struct im_outcome *sv_evaluation_at(const struct sv_evaluation *e, uint64_t place);

struct sv_averages {
    double precision, recall, f1;
};
/* Over the classes that have images: each once, or by its images. */
struct sv_averages sv_evaluation_averages(const struct sv_evaluation *e, bool weighted);

/* Expected calibration error [Guo et al. 2017]: bins of equal width over the confidence of the likeliest class, mean
 * |accuracy - confidence| by images. NAN without images. */
double sv_evaluation_ece(const struct sv_evaluation *e);

/* Files, and JSON for the answer. */
void sv_evaluation_add_json(const struct sv_evaluation *e, struct im_json *j);
int sv_evaluation_write(const struct sv_evaluation *e, const struct im_json *answer, const char *title,
                        const char *folder, struct im_text *text);

#endif
