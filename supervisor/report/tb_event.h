/* Events of TensorBoard, each as a record at the end of `r`. Times are seconds since 1970, tags and texts UTF-8. */
#ifndef SUPERVISOR_REPORT_TB_EVENT_H
#define SUPERVISOR_REPORT_TB_EVENT_H

#include <stdint.h>

#include "supervisor/report/options.h"
#include "supervisor/report/tfrecord.h"

/* Begins a file. Who reads it drops what it has read of the run before. */
void sv_tb_begin(struct sv_records *r, double time);

enum { SV_TB_SCALARS = 48 };
struct sv_tb_scalar {
    char tag[64];
    double value;
};
void sv_tb_scalars(struct sv_records *r, double time, int64_t step, const struct sv_tb_scalar *scalar,
                   size_t count);

/* The options: those that differ from their defaults as hyper-parameters, all as a table. */
void sv_tb_options(struct sv_records *r, double time, const struct sv_options *options);

enum { SV_TB_BUCKETS = 48 };
struct sv_tb_histogram {
    double min, max, count, sum, squares;
    double limit[SV_TB_BUCKETS], bucket[SV_TB_BUCKETS]; /* upper ends, and how many values are below */
};
void sv_tb_histogram(struct sv_records *r, double time, int64_t step, const char *tag,
                     const struct sv_tb_histogram *histogram);

/* A PNG file. Nothing is written where it is none. */
void sv_tb_image(struct sv_records *r, double time, int64_t step, const char *tag, const void *png, size_t n);

/* Is the record one of a histogram, of a step up to `last`? Those cannot be made anew. */
bool sv_tb_is_kept(const unsigned char *record, size_t n, int64_t last);

#endif
