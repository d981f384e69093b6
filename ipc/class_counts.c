#include "ipc/class_counts.h"

#include <inttypes.h>
#include <math.h>

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

double im_class_precision(const struct im_class_counts *c)
{
    return share(c->correct, c->predicted);
}

double im_class_recall(const struct im_class_counts *c)
{
    return share(c->correct, c->support);
}

double im_class_f1(const struct im_class_counts *c)
{
    return share(2 * c->correct, c->support + c->predicted);
}

void im_csv_quoted(FILE *out, const char *field)
{
    fputc('"', out);
    for (; *field; field++) {
        if (*field == '"')
            fputc('"', out);
        fputc(*field, out);
    }
    fputc('"', out);
}

void im_class_table(FILE *out, const char *const *names, const struct im_class_counts *counts,
                    const double *average_precision, uint32_t classes)
{
    fprintf(out, "class,support,predicted,precision,recall,f1%s\n",
            average_precision ? ",average_precision" : "");
    for (uint32_t k = 0; k < classes; k++) {
        const struct im_class_counts *c = &counts[k];

        im_csv_quoted(out, names[k]);
        fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%.6f,%.6f,%.6f", c->support, c->predicted,
                im_class_precision(c), im_class_recall(c), im_class_f1(c));
        if (average_precision)
            fprintf(out, isnan(average_precision[k]) ? "," : ",%.6f", average_precision[k]);
        fputc('\n', out);
    }
}
