#include "trainer/checkpoint/classes.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/number.h"
#include "trainer/checkpoint/safetensors.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)

enum { NAMED_MAX = 3, NAMES_BYTES = 256 };

char *tr_classes_read(const char *run_dir, uint32_t count, struct im_text *text)
{
    char path[PATH_MAX], *bytes = NULL, *rest, *dumped = NULL;
    struct im_json *names = im_json_array();
    size_t n;

    snprintf(path, sizeof path, "%s/classes.txt", run_dir);
    if (access(path, F_OK) == 0 && im_read_file(path, FILE_BYTES_MAX, &bytes, &n, text) == 0) {
        for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            im_json_append_str(names, line);
        if (im_json_count(names) == count)
            dumped = im_json_dump(names);
        else
            im_fail(text, 0, "%s has %zu lines for %u classes", path, im_json_count(names), count);
    }
    free(bytes);
    im_json_free(&names);
    return dumped;
}

/* Names with their places, sorted by name. */
struct named {
    const char *name;
    uint32_t place;
};

struct names {
    struct im_json *json; /* owns the strings */
    struct named *items;
    uint32_t count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static void names_fini(struct names *names)
{
    free(names->items);
    im_json_free(&names->json);
}

/* -EBADMSG: no array of strings, or a name twice: such a list says nothing. */
static int names_parse(const char *text, struct names *ret)
{
    int err = im_json_parse(text, strlen(text), &ret->json, NULL);

    ret->count = err == 0 ? (uint32_t)im_json_count(ret->json) : 0;
    ret->items = calloc(ret->count + 1, sizeof *ret->items);
    if (!ret->items)
        return -ENOMEM;
    if (!im_json_is_array(ret->json))
        return -EBADMSG;
    for (uint32_t i = 0; i < ret->count; i++) {
        ret->items[i].place = i;
        if (im_json_as_str(im_json_at(ret->json, i), &ret->items[i].name) < 0)
            return -EBADMSG;
    }
    qsort(ret->items, ret->count, sizeof *ret->items, by_name);
    for (uint32_t i = 1; i < ret->count; i++)
        if (by_name(&ret->items[i - 1], &ret->items[i]) == 0)
            return -EBADMSG;
    return 0;
}

/* Those of `names` that `others` lack, a few of them quoted in s; returns how many. */
static uint32_t missing_in(const struct names *others, const struct names *names, char s[NAMES_BYTES])
{
    uint32_t missing = 0;

    s[0] = 0;
    for (uint32_t i = 0; i < names->count; i++) {
        const size_t used = strlen(s);

        if (bsearch(&names->items[i], others->items, others->count, sizeof *others->items, by_name))
            continue;
        if (missing++ < NAMED_MAX)
            snprintf(s + used, NAMES_BYTES - used, "%s'%.60s'", used ? ", " : "", names->items[i].name);
    }
    if (missing > NAMED_MAX)
        snprintf(s + strlen(s), NAMES_BYTES - strlen(s), ", ...");
    return missing;
}

/* from[i]: the row of the file that becomes row i. Returns how many rows move. */
static uint32_t find_rows(const struct names *theirs, const struct names *ours, uint32_t *from)
{
    uint32_t moved = 0;

    for (uint32_t i = 0; i < ours->count; i++) {
        from[ours->items[i].place] = theirs->items[i].place; /* the same names, both sorted */
        moved += ours->items[i].place != theirs->items[i].place;
    }
    return moved;
}

static int move_rows(struct tr_network *net, const uint32_t *from, uint32_t count)
{
    const struct tr_model *m = tr_network_model(net);
    float *params = calloc(m->param_floats, sizeof *params), *moved = calloc(m->param_floats, sizeof *moved);
    int err = params && moved ? tr_network_read(net, TR_ARENA_PARAMS, params) : -ENOMEM;

    if (err == 0)
        memcpy(moved, params, m->param_floats * sizeof *moved);
    for (int i = 0; i < m->tensor_count && err == 0; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        const size_t row = t->count / count;

        if (t->kind != TR_TENSOR_FC_WEIGHT && t->kind != TR_TENSOR_FC_BIAS)
            continue;
        for (uint32_t k = 0; k < count; k++)
            memcpy(moved + t->offset + k * row, params + t->offset + from[k] * row, row * sizeof *moved);
    }
    if (err == 0)
        err = tr_network_write(net, TR_ARENA_PARAMS, moved);
    if (err == 0 && tr_network_floats(net, TR_ARENA_EMA) > 0)
        err = tr_network_reset_averages(net);
    free(params);
    free(moved);
    return err;
}

static int fail_others(const char *path, const struct names *theirs, const struct names *ours,
                       struct im_text *text)
{
    char lacking[NAMES_BYTES], added[NAMES_BYTES];
    const uint32_t lacks = missing_in(ours, theirs, lacking), adds = missing_in(theirs, ours, added);

    return im_fail(
        text, -EBADMSG,
        "--init-from %.200s: its classifier is for other classes: %u of its %u are not in this data set "
        "(%s), %u of %u here are not in it (%s); --init-skip-head loads all but the classifier",
        path, lacks, theirs->count, lacking, adds, ours->count, added);
}

static int map(const char *path, struct tr_network *net, const struct names *theirs, const struct names *ours,
               struct im_text *note, struct im_text *text)
{
    char s[NAMES_BYTES];
    uint32_t *from, moved;
    int err;

    if (theirs->count != ours->count || missing_in(theirs, ours, s) > 0)
        return fail_others(path, theirs, ours, text);
    from = calloc(ours->count + 1, sizeof *from);
    if (!from)
        return -ENOMEM;
    moved = find_rows(theirs, ours, from);
    err = moved > 0 ? move_rows(net, from, ours->count) : 0;
    free(from);
    if (err < 0)
        return im_fail(text, err, "cannot order the classifier of %.200s: %s", path, strerror(-err));
    if (moved > 0)
        im_fail(note, 0,
                "%.200s has the same classes in another order: %u of %u rows of its classifier were moved to "
                "the class of their name",
                path, moved, ours->count);
    return moved > 0;
}

/* Of weights that do not name their classes. */
static void warn_of_numbers(const struct im_json *classes, const char *path, struct im_text *note)
{
    struct im_number_order order = {0};
    const char *name;

    for (size_t i = 0; i < im_json_count(classes); i++)
        if (im_json_as_str(im_json_at(classes, i), &name) == 0)
            im_number_order_see(&order, name);
    if (im_number_order_is_of_text(&order))
        im_fail(
            note, 0,
            "%.200s does not name its classes, and those of the data are numbers in the order of their text "
            "(0, 1, 10, ...), as torchvision's ImageFolder has them; if its outputs are in the order of the "
            "numbers, add --init-skip-head",
            path);
}

int tr_classes_map(const char *path, struct tr_network *net, const char *classes, struct im_text *note,
                   struct im_text *text)
{
    struct tr_safetensors *file = NULL;
    struct names theirs = {0}, ours = {0};
    const char *said = NULL;
    int err = 0;

    if (classes && tr_safetensors_open(path, &file, NULL) == 0)
        said = tr_safetensors_metadata(file, TR_CLASSES_KEY);
    if (said && names_parse(said, &theirs) == 0 && names_parse(classes, &ours) == 0)
        err = map(path, net, &theirs, &ours, note, text);
    else if (classes && !said && names_parse(classes, &ours) == 0)
        warn_of_numbers(ours.json, path, note);
    names_fini(&theirs);
    names_fini(&ours);
    tr_safetensors_close(&file);
    return err;
}

bool tr_classes_are_others(const char *path, const char *classes, struct im_text *why)
{
    struct tr_safetensors *file = NULL;
    struct names theirs = {0}, ours = {0};
    const char *said = NULL;
    char s[NAMES_BYTES];
    bool others = false;

    if (classes && tr_safetensors_open(path, &file, NULL) == 0)
        said = tr_safetensors_metadata(file, TR_CLASSES_KEY);
    if (said && names_parse(said, &theirs) == 0 && names_parse(classes, &ours) == 0)
        others = theirs.count != ours.count || missing_in(&theirs, &ours, s) > 0;
    if (others)
        im_fail(why, 0, "the file's is for other classes");
    names_fini(&theirs);
    names_fini(&ours);
    tr_safetensors_close(&file);
    return others;
}
