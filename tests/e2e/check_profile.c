/* Does a file keep the rules of its format? Chrome's trace events ("Trace Event Format", JSON object form, as Perfetto reads
 * it), or speedscope's file format (file-format-schema.json of its repository), by its content.
 *
 *   check_profile FILE [PROCESSES]
 *
 * Prints what is wrong and ends with 1. PROCESSES: a trace must have tracks of at least so many. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"

struct span {
    int64_t pid, tid;
    double begin, end;
};

static int wrong;

static void complain(const char *what, size_t where)
{
    if (wrong++ < 10)
        fprintf(stderr, "%s (%zu)\n", what, where);
}

static bool has_int(const struct im_json *j, const char *key, int64_t *ret)
{
    return im_json_as_int(im_json_get(j, key), ret) == 0;
}

static bool has_real(const struct im_json *j, const char *key, double *ret)
{
    return im_json_as_real(im_json_get(j, key), ret) == 0;
}

static bool has_str(const struct im_json *j, const char *key, const char **ret)
{
    return im_json_as_str(im_json_get(j, key), ret) == 0;
}

/* ---- trace events ---- */

static int by_track_and_time(const void *a, const void *b)
{
    const struct span *x = a, *y = b;

    if (x->pid != y->pid)
        return x->pid < y->pid ? -1 : 1;
    if (x->tid != y->tid)
        return x->tid < y->tid ? -1 : 1;
    if (x->begin < y->begin || x->begin > y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end > y->end ? -1 : x->end < y->end;
}

/* Those of a track lie beside or in each other. */
static void check_nesting(struct span *span, size_t n)
{
    struct span open[64];
    size_t depth = 0;

    qsort(span, n, sizeof *span, by_track_and_time);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && (span[i].pid != span[i - 1].pid || span[i].tid != span[i - 1].tid))
            depth = 0;
        while (depth > 0 && open[depth - 1].end <= span[i].begin + 0.002) /* us: what printing rounds */
            depth--;
        if (depth > 0 && open[depth - 1].end < span[i].end - 0.002)
            complain("an event of a track overlaps another", i);
        if (depth < 64)
            open[depth++] = span[i];
    }
}

static void check_event(const struct im_json *e, size_t i, struct span *spans, size_t *n)
{
    const char *ph = "", *name, *category;
    int64_t pid = 0, tid = 0, id;
    double ts = 0, dur = 0;

    if (!has_str(e, "ph", &ph) || strlen(ph) != 1 || !strchr("MXCbei", *ph))
        complain("ph", i);
    if (!has_str(e, "name", &name) || !*name || !has_int(e, "pid", &pid))
        complain("name or pid", i);
    if (*ph != 'M' && (!has_real(e, "ts", &ts) || ts < 0))
        complain("ts", i);
    if (*ph != 'C' && !has_int(e, "tid", &tid))
        complain("tid", i);
    if (*ph == 'X' && (!has_real(e, "dur", &dur) || dur < 0))
        complain("dur", i);
    if ((*ph == 'b' || *ph == 'e') && (!has_int(e, "id", &id) || !has_str(e, "cat", &category)))
        complain("an asynchronous event without id or cat", i);
    if ((*ph == 'M' || *ph == 'C') && !im_json_get(e, "args"))
        complain("args", i);
    if (*ph == 'X')
        spans[(*n)++] = (struct span){pid, tid, ts, ts + dur};
}

static size_t count_processes(const struct span *span, size_t n)
{
    size_t processes = 0;

    for (size_t i = 0; i < n; i++)
        processes += i == 0 || span[i].pid != span[i - 1].pid;
    return processes;
}

static void check_trace(const struct im_json *events, size_t least)
{
    const size_t count = im_json_count(events);
    struct span *span = calloc(count + 1, sizeof *span);
    size_t n = 0, opened = 0, closed = 0;

    for (size_t i = 0; span && i < count; i++) {
        const char *ph = im_json_str_or(im_json_at(events, i), "ph", "");

        check_event(im_json_at(events, i), i, span, &n);
        opened += *ph == 'b';
        closed += *ph == 'e';
    }
    if (opened != closed)
        complain("asynchronous events that do not end", opened);
    if (span && n > 0)
        check_nesting(span, n);
    if (!span || n == 0 || count_processes(span, n) < least)
        complain("too few processes", span ? count_processes(span, n) : 0);
    free(span);
}

/* ---- speedscope ---- */

static void check_sampled(const struct im_json *p, size_t frames)
{
    static const char *const units[] = {"none",         "nanoseconds", "microseconds",
                                        "milliseconds", "seconds",     "bytes"};
    const struct im_json *samples = im_json_get(p, "samples"), *weights = im_json_get(p, "weights");
    const char *name, *unit = "";
    double start = 0, end = -1, weight, sum = 0;
    bool known = false;

    if (!has_str(p, "name", &name) || !has_str(p, "unit", &unit))
        complain("a profile without name or unit", 0);
    for (size_t i = 0; i < IM_COUNT(units); i++)
        known |= strcmp(unit, units[i]) == 0;
    if (!known || strcmp(im_json_str_or(p, "type", ""), "sampled") != 0)
        complain("unit or type of a profile", 0);
    if (!has_real(p, "startValue", &start) || !has_real(p, "endValue", &end) || end < start)
        complain("startValue or endValue", 0);
    if (im_json_count(samples) == 0 || im_json_count(samples) != im_json_count(weights))
        complain("samples and weights", im_json_count(samples));
    for (size_t i = 0; i < im_json_count(samples); i++) {
        const struct im_json *stack = im_json_at(samples, i);

        if (im_json_as_real(im_json_at(weights, i), &weight) < 0 || weight < 0)
            complain("a weight", i);
        else
            sum += weight;
        for (size_t k = 0; k < im_json_count(stack); k++) {
            int64_t frame = -1;

            if (im_json_as_int(im_json_at(stack, k), &frame) < 0 || frame < 0 || (size_t)frame >= frames)
                complain("a frame that there is not", i);
        }
    }
    if (sum > (end - start) * 1.001 || sum < (end - start) * 0.999)
        complain("the weights do not sum up to the end", 0);
}

static void check_speedscope(const struct im_json *j)
{
    const struct im_json *frames = im_json_get(im_json_get(j, "shared"), "frames"),
                         *profiles = im_json_get(j, "profiles");
    const char *s;

    if (strcmp(im_json_str_or(j, "$schema", ""), "https://www.speedscope.app/file-format-schema.json") != 0)
        complain("$schema", 0);
    if (im_json_count(frames) == 0 || im_json_count(profiles) == 0)
        complain("no frames or profiles", 0);
    for (size_t i = 0; i < im_json_count(frames); i++)
        if (!has_str(im_json_at(frames, i), "name", &s))
            complain("a frame without a name", i);
    for (size_t i = 0; i < im_json_count(profiles); i++)
        check_sampled(im_json_at(profiles, i), im_json_count(frames));
}

int main(int argc, char **argv)
{
    struct im_json *j = NULL;
    struct im_text text = {""};
    char *bytes = NULL;
    size_t n = 0;

    if (argc < 2 || im_read_file(argv[1], (size_t)1 << 30, &bytes, &n, &text) < 0 ||
        im_json_parse(bytes, n, &j, &text) < 0) {
        fprintf(stderr, "check_profile: %s\n", text.s);
        return 1;
    }
    if (im_json_get(j, "$schema"))
        check_speedscope(j);
    else
        check_trace(im_json_get(j, "traceEvents"), argc > 2 ? strtoul(argv[2], NULL, 10) : 1);
    im_json_free(&j);
    free(bytes);
    return wrong ? 1 : 0;
}
