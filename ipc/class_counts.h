/* How often the classes of images were told right: what `imsuper eval` counts of its images, and the trainer of those of a
 * validation with --per-class-log. The tables of both are the same, byte for byte. */
#ifndef IPC_CLASS_COUNTS_H
#define IPC_CLASS_COUNTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define IM_PER_CLASS_FOLDER "per_class"       /* of a run directory */
#define IM_PER_CLASS_TABLE "epoch_%03u%s.csv" /* epoch, im_per_class_of() */
/* "true,predicted,images", classes as their places in classes.txt from 0; only pairs that there are */
#define IM_PER_CLASS_CONFUSION "confusion_%03u%s.csv"

/* In the names of files: of the weights themselves, or of their averages (--ema). */
static inline const char *im_per_class_of(bool averaged)
{
    return averaged ? ".ema" : "";
}

struct im_class_counts {
    uint64_t support, predicted, correct; /* images of the class; images taken for it; both */
};

double
im_class_precision(const struct im_class_counts *c); /* 0 where nothing was predicted, as in scikit-learn */
double im_class_recall(const struct im_class_counts *c);
double im_class_f1(const struct im_class_counts *c);

/* As a field of CSV: in quotes. */
void im_csv_quoted(FILE *out, const char *field);

/* A heading and a line for each class. average_precision: NULL, or of each class, NaN where it has no image. */
void im_class_table(FILE *out, const char *const *names, const struct im_class_counts *counts,
                    const double *average_precision, uint32_t classes);

#endif
