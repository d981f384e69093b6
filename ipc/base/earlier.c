#include "ipc/base/earlier.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/file.h"

#define BYTES_MAX ((size_t)64 << 20)
#define SIGNIFICANT 0.05
#define LEAST 0.01 /* two runs of one program differ by so much: where its memory lies, how warm the CPU is */

int im_earlier_open(const char *path, const char *schema, struct im_json **ret, struct im_text *text)
{
    char *bytes = NULL;
    struct im_text why = {""};
    size_t n = 0;
    int err;

    *ret = NULL;
    if (!*path)
        return 0;
    err = im_read_file(path, BYTES_MAX, &bytes, &n, &why);
    if (err == 0) {
        struct im_text where = {""};

        err = im_json_parse(bytes, n, ret, &where);
        if (err < 0)
            im_fail(&why, err, "it holds no JSON: %.500s", where.s);
    }
    free(bytes);
    if (err == 0 && strcmp(im_json_str_or(*ret, "schema", ""), schema) != 0)
        err = im_fail(&why, -EBADMSG, "it is no answer of the same command with --json (schema %s)", schema);
    if (err < 0) {
        im_json_free(ret);
        return im_fail(text, err, "--compare %.300s: %.600s", path, why.s);
    }
    return 0;
}

bool im_earlier_take(const struct im_json *list, int tests, struct im_earlier *ret)
{
    const size_t count = im_json_count(list);
    double *value = calloc(count + 1, sizeof *value);
    size_t n = 0;

    *ret = (struct im_earlier){.given = false};
    for (size_t i = 0; value && i < count; i++)
        n += im_json_as_real(im_json_at(list, i), &value[n]) == 0;
    if (n > 0)
        *ret = (struct im_earlier){.given = true, .tests = tests, .old = im_series_summary(value, n)};
    free(value);
    return n > 0;
}

int im_earlier_load(const char *path, const char *schema, const char *list, struct im_earlier *ret,
                    struct im_text *text)
{
    struct im_json *j = NULL;
    int err = im_earlier_open(path, schema, &j, text);

    *ret = (struct im_earlier){.given = false};
    if (err == 0 && j && !im_earlier_take(im_json_get(j, list), 1, ret))
        err =
            im_fail(text, -EBADMSG, "--compare %.300s: there is no list \"%s\" of numbers in it", path, list);
    im_json_free(&j);
    return err;
}

static double ratio(const struct im_earlier *e, const struct im_summary *now)
{
    return e->old.mean > 0 ? now->mean / e->old.mean : 0;
}

static const char *word(const struct im_earlier *e, const struct im_summary *now, bool more_is_better)
{
    if (im_series_welch(now, &e->old) * e->tests >= SIGNIFICANT || fabs(ratio(e, now) - 1) < LEAST)
        return "no difference shown";
    return (now->mean > e->old.mean) == more_is_better ? "faster" : "slower";
}

void im_earlier_add_json(const struct im_earlier *e, const struct im_summary *now, bool more_is_better,
                         struct im_json *j)
{
    struct im_json *compared;

    if (!e->given)
        return;
    compared = im_json_object();
    im_json_set_real(compared, "old_mean", e->old.mean);
    im_json_set_real(compared, "old_sigma", e->old.sigma);
    im_json_set_real(compared, "ratio", ratio(e, now));
    im_json_set_str(compared, "test", "Welch, two-sided");
    im_json_set_real(compared, "p", im_series_welch(now, &e->old));
    im_json_set_str(compared, "result", word(e, now, more_is_better));
    im_json_set(j, "compare", compared);
}

const char *im_earlier_sentence(const struct im_earlier *e, const struct im_summary *now, bool more_is_better,
                                const char *unit, struct im_text *ret)
{
    *ret = (struct im_text){""};
    if (e->given)
        im_fail(ret, 0, "%.3f of %.1f +- %.1f %s: %s (Welch's t-test, p = %.2g)", ratio(e, now), e->old.mean,
                e->old.sigma, unit, word(e, now, more_is_better), im_series_welch(now, &e->old));
    return ret->s;
}

struct im_json *im_earlier_list(const double *values, size_t n)
{
    struct im_json *list = im_json_array();

    for (size_t i = 0; i < n; i++)
        im_json_append_real(list, values[i]);
    return list;
}
