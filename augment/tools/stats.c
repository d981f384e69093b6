/* `imsuper data stats`: colours and sizes of the training images. Each image counts once, whatever its size: the mean is
 * that of the images' means, and the deviation comes from the mean of their squares. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "augment/tools/facts.h"
#include "ipc/base/count.h"
#include "ipc/base/json.h"
#include "ipc/base/series.h"
#include "ipc/base/verdict.h"

enum { WIDTH, HEIGHT, SHORT_SIDE, ASPECT, KILOBYTES, MEASURES };

static const char *const measure_names[MEASURES] = {"width", "height", "short side", "width / height",
                                                    "kB a file"};
static const char *const measure_keys[MEASURES] = {"width", "height", "short_side", "aspect", "kilobytes"};
static const double shares[] = {0, 0.05, 0.5, 0.95, 1};
static const uint32_t sides[] = {32, 64, 96, 128, 160, 192, 224, 256, 320, 384, 512};

struct stats {
    double mean[3], deviation[3];
    double *measure[MEASURES];
    size_t count, bad;
};

static int gather(const struct au_names *names, const struct au_facts *facts, struct stats *s)
{
    double square[3] = {0};

    for (int m = 0; m < MEASURES; m++) {
        s->measure[m] = calloc(names->count + 1, sizeof *s->measure[m]);
        if (!s->measure[m])
            return -ENOMEM;
    }
    for (size_t i = 0; i < names->count; i++) {
        const struct au_fact *f = &facts->facts[i];

        if (names->names[i].is_val)
            continue;
        s->bad += f->verdict != 0;
        if (f->verdict != 0)
            continue;
        for (int c = 0; c < 3; c++)
            s->mean[c] += (double)f->mean[c], square[c] += (double)f->square[c];
        s->measure[WIDTH][s->count] = f->width;
        s->measure[HEIGHT][s->count] = f->height;
        s->measure[SHORT_SIDE][s->count] = f->width < f->height ? f->width : f->height;
        s->measure[ASPECT][s->count] = (double)f->width / f->height;
        s->measure[KILOBYTES][s->count++] = (double)f->bytes / 1e3;
    }
    for (int c = 0; c < 3 && s->count > 0; c++) {
        s->mean[c] /= (double)s->count;
        s->deviation[c] = sqrt(fmax(square[c] / (double)s->count - s->mean[c] * s->mean[c], 0));
    }
    for (int m = 0; m < MEASURES; m++)
        im_series_sort(s->measure[m], s->count);
    return 0;
}

/* The share of images whose shorter side is below. */
static double share_below(const struct stats *s, uint32_t side)
{
    size_t below = 0;

    while (below < s->count && s->measure[SHORT_SIDE][below] < side)
        below++;
    return s->count ? (double)below / (double)s->count : 0;
}

static int stats_print_json(const struct im_conf *conf, const struct stats *s)
{
    static const char *const keys[] = {"min", "p5", "p50", "p95", "max"};
    struct im_json *j = im_json_object(), *mean = im_json_array(), *deviation = im_json_array(),
                   *below = im_json_object();
    int err;

    im_json_set_str(j, "schema", "imsuper.stats/1");
    im_json_set_str(j, "data_dir", conf->data_dir);
    im_json_set_int(j, "images", (int64_t)s->count);
    im_json_set_int(j, "bad", (int64_t)s->bad);
    for (int c = 0; c < 3; c++) {
        im_json_append_real(mean, s->mean[c]);
        im_json_append_real(deviation, s->deviation[c]);
    }
    im_json_set(j, "mean", mean);
    im_json_set(j, "std", deviation);
    for (int m = 0; m < MEASURES; m++) {
        struct im_json *quantiles = im_json_object();

        for (size_t q = 0; q < IM_COUNT(shares); q++)
            im_json_set_real(quantiles, keys[q], im_series_quantile(s->measure[m], s->count, shares[q]));
        im_json_set(j, measure_keys[m], quantiles);
    }
    for (size_t i = 0; i < IM_COUNT(sides); i++) {
        char key[16];

        snprintf(key, sizeof key, "%u", sides[i]);
        im_json_set_real(below, key, share_below(s, sides[i]));
    }
    im_json_set(j, "share_with_short_side_below", below);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static void stats_print_text(const struct stats *s)
{
    printf("%zu training images%s\n", s->count, s->bad ? "" : ", all of them usable");
    if (s->bad)
        printf("%zu more cannot be used: see imsuper data verify\n", s->bad);
    printf("mean  %.4f %.4f %.4f   (red, green, blue; of 1)\n", s->mean[0], s->mean[1], s->mean[2]);
    printf("std   %.4f %.4f %.4f\n\n", s->deviation[0], s->deviation[1], s->deviation[2]);
    printf("%-15s %9s %9s %9s %9s %9s\n", "", "min", "p5", "p50", "p95", "max");
    for (int m = 0; m < MEASURES; m++) {
        printf("%-15s", measure_names[m]);
        for (size_t q = 0; q < IM_COUNT(shares); q++)
            printf(" %9.*f",
                   m == ASPECT      ? 2
                   : m == KILOBYTES ? 1
                                    : 0,
                   im_series_quantile(s->measure[m], s->count, shares[q]));
        printf("\n");
    }
    printf("\nshort side below");
    for (size_t i = 0; i < IM_COUNT(sides); i++)
        if (share_below(s, sides[i]) > 0 && (i == 0 || share_below(s, sides[i - 1]) < 1))
            printf("  %u: %.0f%%", sides[i], 100 * share_below(s, sides[i]));
    printf("\n");
}

int au_cmd_stats(struct im_conf *conf)
{
    struct im_text text = {""};
    struct stats s = {0};
    struct au_names names;
    struct au_facts facts;
    int status = au_facts_open(conf, &names, &facts), err = 0;

    if (status == 0) {
        err = gather(&names, &facts, &s);
        if (err == 0 && s.count == 0)
            err =
                im_fail(&text, -EBADMSG, "no training image of %.700s%s can be used; see imsuper data verify",
                        conf->data_dir, conf->sample ? " that was looked at (--sample)" : "");
        if (err == 0 && conf->json)
            err = stats_print_json(conf, &s);
        else if (err == 0)
            stats_print_text(&s);
        status = err == -EBADMSG ? (im_command_fail(err, &text), IM_EXIT_BAD_DATA)
                 : err < 0       ? im_command_fail(err, &text)
                                 : IM_EXIT_OK;
    }
    for (int m = 0; m < MEASURES; m++)
        free(s.measure[m]);
    au_facts_free(&facts);
    au_names_free(&names);
    return status;
}
