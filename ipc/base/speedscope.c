#include "ipc/base/speedscope.h"

#include <errno.h>
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

int im_speedscope_write(struct im_speedscope *s, const char *path, struct im_text *text)
{
    struct im_json *j = im_json_object(), *shared = im_json_object(), *profiles = im_json_array(),
                   *profile = im_json_object();
    char *dumped;
    int err;

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
    dumped = im_json_dump(j);
    err = dumped ? im_output_write(path, dumped, strlen(dumped), text) : -ENOMEM;
    free(dumped);
    im_json_free(&j);
    for (size_t i = 0; i < s->count; i++)
        free(s->frame[i]);
    free(s->frame);
    free(s->name);
    free(s);
    return err;
}
