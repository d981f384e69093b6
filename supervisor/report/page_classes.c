/* The part of report.html that has the numbers of each class. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "supervisor/report/page_text.h"
#include "supervisor/report/run_classes.h"

enum { SHOWN = 100 };

static int by_f1(const void *a, const void *b)
{
    const struct sv_class_line *x = a, *y = b;

    return x->f1 < y->f1 ? -1 : x->f1 > y->f1 ? 1 : x->name < y->name ? -1 : x->name > y->name;
}

/* Shares with four digits; the table has six. */
static void put_cell(FILE *f, const char *cell)
{
    char *end;
    const double share = strtod(cell, &end);

    if (strchr(cell, '.') && end != cell && *end == 0)
        fprintf(f, "%.4f", share);
    else
        sv_page_put(f, cell);
}

static void write_line(FILE *f, const struct sv_class_line *line, int columns)
{
    fputs("<tr><th>", f);
    sv_page_put(f, line->name);
    fputs("</th>", f);
    for (int i = 0; i < columns; i++) {
        fputs("<td>", f);
        put_cell(f, line->cell[i]);
        fputs("</td>", f);
    }
    fputs("</tr>\n", f);
}

static void write_table(FILE *f, struct sv_class_table *t, bool averaged)
{
    static const char *const headings[SV_TABLE_COLUMNS] = {"images", "predicted", "precision",
                                                           "recall", "F1",        "average precision"};
    const int columns = SV_TABLE_COLUMNS - !t->has_average_precision;

    qsort(t->line, t->count, sizeof *t->line, by_f1);
    fprintf(f,
            "<h2>Each class%s, epoch %" PRIu32 "</h2>\n<p class=\"dim\">by F1, the lowest first; recall is "
            "the top-1 of the class",
            averaged ? " by the averaged weights" : "", t->epoch);
    if (t->count > SHOWN)
        fprintf(f, "; %d of %" PRIu32, SHOWN, t->count);
    fprintf(f,
            " (" IM_PER_CLASS_FOLDER "/" IM_PER_CLASS_TABLE
            ")</p>\n<div class=\"wide\"><table>\n<tr><th>class</th>",
            t->epoch, im_per_class_of(averaged));
    for (int i = 0; i < columns; i++)
        fprintf(f, "<th>%s</th>", headings[i]);
    fputs("</tr>\n", f);
    for (uint32_t i = 0; i < t->count && i < SHOWN; i++)
        write_line(f, &t->line[i], columns);
    fputs("</table></div>\n", f);
}

void sv_page_classes(FILE *f, const char *run_dir, uint32_t epoch)
{
    struct sv_class_table t;

    for (int averaged = 0; averaged < 2; averaged++) {
        if (sv_class_table_read_last(run_dir, epoch, averaged, &t, NULL) == 0 && t.count > 0)
            write_table(f, &t, averaged);
        sv_class_table_free(&t);
    }
}
