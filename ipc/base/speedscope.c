#include "ipc/base/speedscope.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "ipc/base/output.h"

enum { DEPTH_MAX = 8 };

struct im_speedscope {
    struct im_json *frames, *samples, *weights;
    char *name;
    char **frame; /* [count], names of the frames */
    size_t count, room;
    double total;
};

struct im_speedscope *im_speedscope_new(const char *name)
{
    struct im_speedscope *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->name = strdup(name);
    s->frames = im_json_array();
    s->samples = im_json_array();
    s->weights = im_json_array();
    return s;
}

/* Negative: no memory. */
static int64_t frame_of(struct im_speedscope *s, const char *name)
{
    struct im_json *frame;

    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->frame[i], name) == 0)
            return (int64_t)i;
    if (s->count == s->room) {
        char **grown = realloc(s->frame, (2 * s->room + 64) * sizeof *grown);

        if (!grown)
            return -1;
        s->frame = grown;
        s->room = 2 * s->room + 64;
    }
    s->frame[s->count] = strdup(name);
    if (!s->frame[s->count])
        return -1;
    frame = im_json_object();
    im_json_set_str(frame, "name", name);
    im_json_append(s->frames, frame);
    return (int64_t)s->count++;
}

void im_speedscope_add(struct im_speedscope *s, const char *const stack[], size_t depth, double ms)
{
    struct im_json *sample = im_json_array();

    for (size_t i = 0; i < depth && i < DEPTH_MAX; i++) {
        const int64_t frame = frame_of(s, stack[i]);

        if (frame >= 0)
            im_json_append_int(sample, frame);
    }
    ms = ms > 0 ? ms : 0;
    s->total += ms;
    im_json_append(s->samples, sample);
    im_json_append_real(s->weights, ms);
}

/* Takes samples and weights. */
static struct im_json *as_speedscope(struct im_speedscope *s)
{
    struct im_json *j = im_json_object(), *shared = im_json_object(), *profiles = im_json_array(),
                   *profile = im_json_object();

    im_json_set_str(profile, "type", "sampled");
    im_json_set_str(profile, "name", s->name ? s->name : "");
    im_json_set_str(profile, "unit", "milliseconds");
    im_json_set_real(profile, "startValue", 0);
    im_json_set_real(profile, "endValue", s->total);
    im_json_set(profile, "samples", s->samples);
    im_json_set(profile, "weights", s->weights);
    im_json_append(profiles, profile);
    im_json_set(shared, "frames", s->frames);
    im_json_set_str(j, "$schema", "https://www.speedscope.app/file-format-schema.json");
    im_json_set_str(j, "name", s->name ? s->name : "");
    im_json_set_str(j, "exporter", "imsuper");
    im_json_set(j, "shared", shared);
    im_json_set(j, "profiles", profiles);
    s->frames = s->samples = s->weights = NULL;
    return j;
}

static int64_t frame_at(const struct im_json *stack, size_t depth)
{
    int64_t frame = -1;

    im_json_as_int(im_json_at(stack, depth), &frame);
    return frame;
}

/* Frames that are open, from `depth` on, end at `now` (ms). */
static void close_frames(const struct im_speedscope *s, struct im_json *events, const struct im_json *stack,
                         size_t depth, const double *since, double now)
{
    for (size_t i = im_json_count(stack); i-- > depth;) {
        struct im_json *e = im_json_object();

        im_json_set_str(e, "ph", "X");
        im_json_set_str(e, "name", s->frame[frame_at(stack, i)]);
        im_json_set_str(e, "cat", "profile");
        im_json_set_int(e, "pid", 1);
        im_json_set_int(e, "tid", 1);
        im_json_set_real(e, "ts", since[i] * 1e3);
        im_json_set_real(e, "dur", (now - since[i]) * 1e3);
        im_json_append(events, e);
    }
}

static struct im_json *as_trace(const struct im_speedscope *s)
{
    struct im_json *j = im_json_object(), *events = im_json_array(), *process = im_json_object(),
                   *args = im_json_object();
    const struct im_json *open = NULL;
    double since[DEPTH_MAX] = {0}, now = 0, weight;

    im_json_set_str(args, "name", s->name ? s->name : "");
    im_json_set_str(process, "ph", "M");
    im_json_set_str(process, "name", "process_name");
    im_json_set_int(process, "pid", 1);
    im_json_set_int(process, "tid", 1);
    im_json_set(process, "args", args);
    im_json_append(events, process);
    for (size_t i = 0; i < im_json_count(s->samples); i++) {
        const struct im_json *stack = im_json_at(s->samples, i);
        size_t same = 0;

        while (same < im_json_count(open) && same < im_json_count(stack) &&
               frame_at(open, same) == frame_at(stack, same))
            same++;
        close_frames(s, events, open, same, since, now);
        for (size_t k = same; k < im_json_count(stack); k++)
            since[k] = now;
        open = stack;
        weight = 0;
        im_json_as_real(im_json_at(s->weights, i), &weight);
        now += weight;
    }
    close_frames(s, events, open, 0, since, now);
    im_json_set_str(j, "displayTimeUnit", "ms");
    im_json_set(j, "traceEvents", events);
    return j;
}

static bool is_trace(const char *path)
{
    static const char end[] = ".trace.json";
    const size_t n = strlen(path);

    return n >= sizeof end - 1 && strcmp(path + n - (sizeof end - 1), end) == 0;
}

int im_speedscope_write(struct im_speedscope *s, const char *path, struct im_text *text)
{
    struct im_json *j = is_trace(path) ? as_trace(s) : as_speedscope(s);
    char *dumped = im_json_dump(j);
    int err = dumped ? im_output_write(path, dumped, strlen(dumped), text) : -ENOMEM;

    free(dumped);
    im_json_free(&j);
    im_speedscope_free(&s);
    return err;
}

void im_speedscope_free(struct im_speedscope **p)
{
    struct im_speedscope *s = *p;

    *p = NULL;
    if (!s)
        return;
    im_json_free(&s->frames);
    im_json_free(&s->samples);
    im_json_free(&s->weights);
    for (size_t i = 0; i < s->count; i++)
        free(s->frame[i]);
    free(s->frame);
    free(s->name);
    free(s);
}
