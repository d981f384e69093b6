#include "reader/dataset/evaluated.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/aside.h"
#include "ipc/base/number.h"
#include "ipc/base/printable.h"
#include "ipc/base/reference.h"
#include "ipc/outcome.h"
#include "reader/dataset/index_file.h"

enum { NAMED_MAX = 3, NAMES_BYTES = 256, UNKNOWN = -1 };

struct named {
    const char *name;
    uint32_t place;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static struct named *sort_names(const struct im_class_names *outputs)
{
    struct named *sorted = calloc(outputs->count + 1, sizeof *sorted);

    for (uint32_t i = 0; sorted && i < outputs->count; i++)
        sorted[i] = (struct named){outputs->name[i], i};
    if (sorted)
        qsort(sorted, outputs->count, sizeof *sorted, by_name);
    return sorted;
}

/* Of each class of the data its output. */
struct mapping {
    int32_t *output;   /* [classes of the data], UNKNOWN: there is none */
    const char **name; /* [outputs] as the data writes it, or the weights */
};

static void mapping_fini(struct mapping *m)
{
    free(m->output);
    free(m->name);
}

static int map(const struct rd_index *index, const struct im_class_names *outputs, struct mapping *ret)
{
    const uint32_t classes = rd_index_class_count(index);
    struct named *sorted = sort_names(outputs);

    ret->output = calloc(classes + 1, sizeof *ret->output);
    ret->name = calloc(outputs->count + classes, sizeof *ret->name);
    for (uint32_t i = 0; ret->name && i < outputs->count; i++)
        ret->name[i] = outputs->name[i];
    for (uint32_t c = 0; sorted && ret->output && ret->name && c < classes; c++) {
        struct im_shown shown; /* files of weights and classes.txt hold this form */
        const struct named wanted = {im_shown(&shown, rd_index_class(index, c)), 0};
        const struct named *found = bsearch(&wanted, sorted, outputs->count, sizeof *sorted, by_name);

        ret->output[c] = outputs->count == 0 ? (int32_t)c : found ? (int32_t)found->place : UNKNOWN;
        if (ret->output[c] >= 0)
            ret->name[ret->output[c]] = rd_index_class(index, c);
    }
    free(sorted);
    return sorted && ret->output && ret->name ? 0 : -ENOMEM;
}

/* Classes of which there are images, and which the weights lack. */
static int check_mapping(const struct rd_index *index, enum im_split split,
                         const struct im_class_names *outputs, const struct mapping *m, struct im_text *note,
                         struct im_text *text)
{
    const uint32_t classes = rd_index_class_count(index);
    unsigned char *used = calloc(classes + 1, 1);
    uint32_t lacking = 0, moved = 0;
    struct im_number_order order = {0};
    char names[NAMES_BYTES] = "";
    struct im_shown shown;

    if (!used)
        return -ENOMEM;
    for (uint64_t id = 0; id < rd_index_count(index, split); id++)
        for (uint32_t c = 0; c < classes; c++)
            used[c] |= rd_index_has(index, rd_index_label(index, split, id), c);
    for (uint32_t c = 0; c < classes; c++) {
        const size_t n = strlen(names);

        im_number_order_see(&order, rd_index_class(index, c));
        moved += m->output[c] != (int32_t)c;
        if (m->output[c] == UNKNOWN && used[c] && lacking++ < NAMED_MAX)
            snprintf(names + n, sizeof names - n, "%s'%.60s'", n ? ", " : "",
                     im_shown(&shown, rd_index_class(index, c)));
    }
    free(used);
    if (lacking > 0)
        return im_fail(
            text, -EBADMSG,
            "%u of the %u classes of the data are not among the %u of the weights: %s%s; the first of "
            "theirs is '%.60s'; --class-names FILE gives the outputs other names",
            lacking, classes, outputs->count, names, lacking > NAMED_MAX ? ", ..." : "", outputs->name[0]);
    if (outputs->count > 0 && classes < outputs->count)
        im_fail(note, 0, "the data has %u of the %u classes of the weights; labels are matched by name",
                classes, outputs->count);
    else if (moved > 0)
        im_fail(note, 0,
                "the data has the classes in another order than the weights; labels are matched by name");
    else if (outputs->count == 0 && im_number_order_is_of_text(&order))
        im_fail(note, 0,
                "the weights do not name their classes, and those of the data are numbers in the order of "
                "their text "
                "(0, 1, 10, ...), as torchvision's ImageFolder has them; of weights whose outputs are in the "
                "order "
                "of the numbers all is wrong: --class-names FILE, with a number a line, says their order");
    return 0;
}

static int evaluated_begin(struct rd_index_writer *writer, const char *const *names, uint32_t count)
{
    int64_t err = 0;

    for (uint32_t i = 0; i < count && err >= 0; i++)
        err = rd_writer_class(writer, names[i]);
    return err < 0 ? (int)err : 0;
}

/* The sets with the outputs in place of the classes. */
static int add_sets(struct rd_index_writer *writer, const struct rd_index *index, const struct mapping *m)
{
    const size_t words = rd_index_words(writer->classes.count);
    const uint64_t count = rd_index_label_count(index);
    uint32_t *sets = calloc((size_t)count * words + 1, sizeof *sets);
    int err;

    for (uint64_t i = 0; sets && i < count; i++)
        for (uint32_t c = 0; c < rd_index_class_count(index); c++) {
            const uint32_t output = (uint32_t)m->output[c];

            if (m->output[c] >= 0 && rd_index_has(index, (uint32_t)i, c))
                sets[i * words + output / 32] |= 1u << (output % 32);
        }
    err = sets ? rd_writer_sets(writer, sets, count) : -ENOMEM;
    free(sets);
    return err;
}

static int write_choice(const struct rd_index *index, enum im_split split,
                        const struct rd_evaluated_part *part, uint32_t outputs, const struct mapping *m,
                        void **ret_bytes, size_t *ret_size)
{
    const uint64_t directories = index->header->sections[RD_DIRECTORIES].count;
    struct rd_index_writer writer = {0};
    const bool many = rd_index_set_words(index) > 0;
    int64_t place = 0;
    int err = evaluated_begin(&writer, m->name, outputs ? outputs : rd_index_class_count(index));

    if (err == 0 && many)
        err = add_sets(&writer, index, m);

    for (uint64_t i = 0; i < directories && err == 0; i++) {
        place = rd_writer_directory(&writer, index->strings + index->directories[i]);
        err = place < 0 ? (int)place : 0;
    }
    for (uint64_t id = part->first; id < part->end && err == 0; id++) {
        const uint32_t label = rd_index_label(index, split, id);

        err = rd_writer_copy(&writer, index, split, id, IM_VAL, many ? label : (uint32_t)m->output[label]);
    }
    if (err == 0)
        err = rd_writer_finish_copy(&writer, index, ret_bytes, ret_size);
    rd_writer_fini(&writer);
    return err;
}

int rd_evaluated_choose(const struct rd_index *index, enum im_split split,
                        const struct rd_evaluated_part *part, const struct im_class_names *outputs,
                        void **ret_bytes, size_t *ret_size, struct im_text *note, struct im_text *text)
{
    const struct rd_evaluated_part all = {0, rd_index_count(index, split)};
    struct mapping m = {0};
    int err = map(index, outputs, &m);

    if (err == 0)
        err = check_mapping(index, split, outputs, &m, note, text);
    if (err == 0)
        err = write_choice(index, split, part ? part : &all, outputs->count, &m, ret_bytes, ret_size);
    mapping_fini(&m);
    return err;
}

int rd_evaluated_part(uint64_t images, uint64_t step, uint32_t number, uint32_t count,
                      struct rd_evaluated_part *ret, struct im_text *text)
{
    const uint64_t steps = (images + step - 1) / step, end = steps * (number + 1) / count * step;

    if (steps < count)
        return im_fail(text, -EINVAL,
                       "--shard: %" PRIu64 " images are %" PRIu64 " steps of %" PRIu64
                       ", too few for %u parts: take fewer, or a smaller --batch-size",
                       images, steps, step, count);
    *ret = (struct rd_evaluated_part){steps * number / count * step, end < images ? end : images};
    return 0;
}

/* A file, or a part of one: then the file stands in place of the folder. */
static int add_path(struct rd_index_writer *writer, const char *path, char last[PATH_MAX], int64_t *directory)
{
    struct rd_index_place place = {0};
    const size_t whole = im_reference_parse(path, &place.offset, &place.bytes);
    const char *slash = place.bytes == RD_INDEX_WHOLE ? strrchr(path, '/') : path + whole + 1;
    const size_t n = place.bytes == RD_INDEX_WHOLE ? (size_t)(slash - path) : whole;

    if (path[0] != '/' || n >= PATH_MAX || !slash[1])
        return -EINVAL;
    if (*directory < 0 || strlen(last) != n || memcmp(last, path, n) != 0) {
        memcpy(last, path, n);
        last[n] = 0;
        *directory = rd_writer_directory(writer, last[0] ? last + 1 : last);
    }
    return *directory < 0 ? (int)*directory
                          : rd_writer_part(writer, IM_VAL, (uint32_t)*directory, slash + 1, 0, &place);
}

int rd_evaluated_list(const char *paths, size_t n, const struct im_class_names *outputs, bool multi_label,
                      void **ret_bytes, size_t *ret_size, struct im_text *text)
{
    const struct rd_index_origin origin = {.root = "/", .layout = RD_LAYOUT_SINGLE, .leads_out = true};
    struct rd_index_writer writer = {0};
    char last[PATH_MAX] = "";
    int64_t directory = -1;
    int err = n > 0 && paths[n - 1] == 0 ? 0 : im_fail(text, -EINVAL, "the list of images has no end");

    if (err == 0)
        err = evaluated_begin(&writer, outputs->name, outputs->count);
    if (err == 0 && multi_label) /* one that is empty: the labels are unknown */
        err = rd_writer_sets(&writer, NULL, 1);
    for (size_t at = 0; at < n && err == 0; at += strlen(paths + at) + 1)
        err = add_path(&writer, paths + at, last, &directory);
    if (err == 0)
        err = rd_writer_finish(&writer, &origin, ret_bytes, ret_size);
    rd_writer_fini(&writer);
    return err;
}

int rd_evaluated_names(const struct rd_index *index, const char *folder, struct im_text *text)
{
    char *bytes = NULL, path[PATH_MAX];
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    int length = 0, err;

    if (!out)
        return -ENOMEM;
    for (uint64_t id = 0; id < rd_index_count(index, IM_VAL) && length >= 0; id++) {
        length = rd_index_relative(index, IM_VAL, id, path, sizeof path);
        if (length >= 0)
            fwrite(path, (size_t)length + 1, 1, out);
    }
    err = ferror(out) | fclose(out) ? -ENOMEM : length < 0 ? length : 0;
    if (err == 0 && (size_t)snprintf(path, sizeof path, "%s/" IM_EVALUATED_FILE, folder) >= sizeof path)
        err = -ENAMETOOLONG;
    if (err == 0)
        err = im_file_replace_any(path, bytes, size, text);
    free(bytes);
    return err;
}
