#include "reader/tools/data_report.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/printable.h"

enum { NAMED_MAX = 3, NAMES_BYTES = 256 };

static const struct {
    const char *key, *one, *many;
} kinds[RD_SKIP_KINDS] = {
    [RD_SKIP_OTHER] = {"other", "file that is no image by name", "files that are no images by name"},
    [RD_SKIP_FOLDER] = {"folders", "folder without images", "folders without images"},
    [RD_SKIP_HIDDEN] = {"hidden", "hidden file or folder", "hidden files or folders"},
    [RD_SKIP_SPECIAL] = {"special", "pipe, device or broken link", "pipes, devices or broken links"},
    [RD_SKIP_LOOSE] = {"loose", "image outside of class folders", "images outside of class folders"},
    [RD_SKIP_UNREADABLE] = {"unreadable", "folder that cannot be listed", "folders that cannot be listed"},
    [RD_SKIP_LOOP] = {"loops", "link to a folder around it", "links to folders around them"},
    [RD_SKIP_CLASS] = {"class", "validation image of a class without training images",
                       "validation images of classes without training images"},
    [RD_SKIP_UNLABELLED] = {"unlabelled", "image without a class", "images without a class"},
    [RD_SKIP_MISSING] = {"missing", "label whose image is not there", "labels whose images are not there"},
    [RD_SKIP_TWICE] = {"twice", "image that was named before", "images that were named before"},
    [RD_SKIP_TYPE] = {"types", "image of a type that is not decoded", "images of types that are not decoded"},
    [RD_SKIP_CUT] = {"cut", "shard that is cut short, damaged or compressed",
                     "shards that are cut short, damaged or compressed"},
};
static const char empty_key[] = "empty";

/* Images first, and what nobody misses last. */
static const enum rd_skip in_order[RD_SKIP_KINDS] = {
    RD_SKIP_CUT,    RD_SKIP_CLASS, RD_SKIP_TYPE,       RD_SKIP_MISSING, RD_SKIP_UNLABELLED,
    RD_SKIP_TWICE,  RD_SKIP_LOOSE, RD_SKIP_UNREADABLE, RD_SKIP_LOOP,    RD_SKIP_SPECIAL,
    RD_SKIP_FOLDER, RD_SKIP_OTHER, RD_SKIP_HIDDEN};

static void add_part(struct im_text *ret, uint64_t count, const char *one, const char *many,
                     const char *first)
{
    char part[512];
    const size_t used = strlen(ret->s);

    snprintf(part, sizeof part, "%s%" PRIu64 " %s (%.160s)", used ? ", " : "", count, count == 1 ? one : many,
             first);
    if (used + strlen(part) < sizeof ret->s)
        memcpy(ret->s + used, part, strlen(part) + 1);
}

static void add_empty(const struct rd_report *report, struct im_text *ret)
{
    const uint64_t all = rd_index_count(report->index, IM_TRAIN) + rd_index_count(report->index, IM_VAL);
    const uint32_t count = report->empty->paths.count;
    char many[64] = "empty files";

    if (report->empty->checked < all)
        snprintf(many, sizeof many, "empty of the first %" PRIu64 " files looked at", report->empty->checked);
    if (count > 0)
        add_part(ret, count, report->empty->checked < all ? many : "empty file", many,
                 rd_names_at(&report->empty->paths, 0));
}

/* "203 left out: 200 that are no images by name (train/a/notes.txt), ..."; "" where nothing is. */
static void describe_left_out(const struct rd_report *report, struct im_text *ret)
{
    uint64_t sum = report->empty->paths.count;
    struct im_text parts = {""};
    struct rd_skipped skipped;

    ret->s[0] = 0;
    add_empty(report, &parts);
    rd_index_skipped(report->index, &skipped);
    for (int i = 0; i < RD_SKIP_KINDS; i++) {
        const enum rd_skip kind = in_order[i];

        sum += skipped.count[kind];
        if (skipped.count[kind] > 0)
            add_part(&parts, skipped.count[kind], kinds[kind].one, kinds[kind].many, skipped.first[kind]);
    }
    if (sum > 0)
        snprintf(ret->s, sizeof ret->s, "%" PRIu64 " left out: %.900s%s", sum, parts.s,
                 report->empty->paths.count == 0   ? ""
                 : report->empty->paths.count == 1 ? "; the numbers of images still count the empty file"
                                                   : "; the numbers of images still count the empty files");
    if (report->table_why[0]) {
        const size_t n = strlen(ret->s);

        snprintf(ret->s + n, sizeof ret->s - n, "%sthe class folders give the classes, no table does: %.400s",
                 n > 0 ? "; " : "", report->table_why);
    }
}

void rd_report_add_json(const struct rd_report *report, struct im_json *object)
{
    struct im_json *list = im_json_object(), *first = im_json_object();
    struct rd_skipped skipped;
    struct im_text line;

    rd_index_skipped(report->index, &skipped);
    for (int kind = 0; kind < RD_SKIP_KINDS; kind++) {
        im_json_set_int(list, kinds[kind].key, (int64_t)skipped.count[kind]);
        if (skipped.count[kind])
            im_json_set_str(first, kinds[kind].key, skipped.first[kind]);
    }
    im_json_set_int(list, empty_key, report->empty->paths.count);
    if (report->empty->paths.count > 0)
        im_json_set_str(first, empty_key, rd_names_at(&report->empty->paths, 0));
    im_json_set(object, "skipped", list);
    im_json_set(object, "skipped_first", first);
    describe_left_out(report, &line);
    im_json_set_str(object, "left_out", line.s);
}

/* 'a', 'b', 'c', ... */
struct named {
    char s[NAMES_BYTES];
    uint32_t count;
};

static void name(struct named *named, const char *class)
{
    const size_t used = strlen(named->s);

    if (named->count++ < NAMED_MAX)
        snprintf(named->s + used, sizeof named->s - used, "%s'%.60s'", used ? ", " : "", class);
    else if (named->count == NAMED_MAX + 1)
        snprintf(named->s + used, sizeof named->s - used, ", ...");
}

/* Sets seen[class] of the classes that samples of the split have. */
static void mark_classes(const struct rd_index *index, enum im_split split, unsigned char *seen)
{
    for (uint64_t id = 0; id < rd_index_count(index, split); id++) {
        const uint32_t label = rd_index_label(index, split, id);

        if (rd_index_set_words(index) == 0)
            seen[label] = 1;
        for (uint32_t c = 0; rd_index_set_words(index) > 0 && c < rd_index_class_count(index); c++)
            seen[c] |= rd_index_has(index, label, c);
    }
}

/* Classes that training has and validation does not. */
static int warn_of_missing(const struct rd_index *index, struct im_json *warnings)
{
    const uint32_t classes = rd_index_class_count(index);
    unsigned char *seen = calloc(classes + 1, 1);
    struct named named = {.count = 0};
    struct im_text line;

    if (!seen)
        return -ENOMEM;
    mark_classes(index, IM_VAL, seen);
    for (uint32_t class = 0; class < classes; class ++)
        if (!seen[class])
            name(&named, rd_index_class(index, class));
    free(seen);
    if (named.count == 0)
        return 0;
    snprintf(line.s, sizeof line.s, "%u of %u classes %s no validation images: %s", named.count, classes,
             named.count == 1 ? "has" : "have", named.s);
    return im_json_append_str(warnings, line.s);
}

/* Classes that validation has and training does not: the notes of what was left out for it. */
static int warn_of_strangers(const struct rd_index *index, struct im_json *warnings)
{
    struct rd_names classes = {0};
    struct named named = {.count = 0};
    const char *path, *note;
    struct rd_skipped skipped;
    struct im_text line;
    int64_t added = 0;

    for (uint64_t i = 0; i < rd_index_left_out_count(index) && added >= 0; i++)
        if (rd_index_left_out(index, i, &path, &note) == RD_SKIP_CLASS)
            added = rd_names_add(&classes, note);
    rd_names_sort(&classes);
    for (uint32_t i = 0; i < classes.count; i++)
        if (i == 0 || strcmp(rd_names_at(&classes, i), rd_names_at(&classes, i - 1)) != 0)
            name(&named, rd_names_at(&classes, i));
    rd_names_fini(&classes);
    if (added < 0 || named.count == 0)
        return added < 0 ? (int)added : 0;
    rd_index_skipped(index, &skipped);
    snprintf(line.s, sizeof line.s,
             "%" PRIu64 " validation image%s left out, of %u class%s without training images: %s",
             skipped.count[RD_SKIP_CLASS], skipped.count[RD_SKIP_CLASS] == 1 ? " is" : "s are", named.count,
             named.count == 1 ? "" : "es", named.s);
    return im_json_append_str(warnings, line.s);
}

/* Images for training and for validation: a row for each in two tables. Samples of tables are in the order of paths. */
static int warn_of_both(const struct rd_index *index, struct im_json *warnings)
{
    const uint64_t count[IM_SPLITS] = {rd_index_count(index, IM_TRAIN), rd_index_count(index, IM_VAL)};
    char train[PATH_MAX], val[PATH_MAX], first[PATH_MAX] = "";
    uint64_t both = 0;
    struct im_text line;

    for (uint64_t i = 0, k = 0; i < count[IM_TRAIN] && k < count[IM_VAL];) {
        int order;

        if (rd_index_relative(index, IM_TRAIN, i, train, sizeof train) < 0 ||
            rd_index_relative(index, IM_VAL, k, val, sizeof val) < 0)
            return 0;
        order = strcmp(train, val);
        if (order == 0 && both++ == 0)
            memcpy(first, train, sizeof first);
        i += order <= 0;
        k += order >= 0;
    }
    if (both == 0)
        return 0;
    snprintf(line.s, sizeof line.s,
             "%" PRIu64 " of %" PRIu64
             " validation images %s for training, too (%.300s): their accuracy says "
             "little about new images",
             both, count[IM_VAL], both == 1 ? "is" : "are", first);
    return im_json_append_str(warnings, line.s);
}

struct im_json *rd_report_warnings(const struct rd_index *index, bool is_whole)
{
    struct im_json *warnings = im_json_array();
    struct im_text line;
    int err = warnings ? warn_of_strangers(index, warnings) : 0;

    if (rd_index_class_count(index) == 1 && rd_index_set_words(index) == 0) {
        snprintf(line.s, sizeof line.s, "there is only one class, '%.200s': a classifier needs two",
                 rd_index_class(index, 0));
        im_json_append_str(warnings, line.s);
    }
    if (rd_index_count(index, IM_VAL) == 0)
        im_json_append_str(warnings, "there are no validation images, so no accuracy of them either; "
                                     "--val-split 0.1 takes a tenth of the training images");
    else if (err == 0 && is_whole)
        err = warn_of_missing(index, warnings);
    if (err == 0 && rd_index_layout(index) == RD_LAYOUT_CSV)
        err = warn_of_both(index, warnings);
    if (err < 0)
        im_json_free(&warnings);
    return warnings;
}

void rd_report_say(const struct rd_report *report)
{
    struct im_json *warnings = rd_report_warnings(report->index, true);
    struct im_text left_out;
    const char *line;

    describe_left_out(report, &left_out);
    if (left_out.s[0])
        im_say(stderr, "imsuper: %s", left_out.s);
    for (size_t i = 0; i < im_json_count(warnings); i++)
        if (im_json_as_str(im_json_at(warnings, i), &line) == 0)
            im_say(stderr, "imsuper: warning: %s", line);
    im_json_free(&warnings);
}

static void write_line(FILE *out, const char *why, const char *path, const char *note)
{
    struct im_shown shown_path, shown_note;

    fprintf(out, "%s\t%s%s%s\n", why, im_shown(&shown_path, path), *note ? "\t" : "",
            im_shown(&shown_note, note));
}

static void write_all(const struct rd_report *report, FILE *out)
{
    const struct rd_index *index = report->index;
    struct rd_skipped skipped;
    const char *path, *note;

    rd_index_skipped(index, &skipped);
    for (int k = 0; k < RD_SKIP_KINDS; k++) {
        const enum rd_skip kind = in_order[k];
        uint64_t written = 0;

        for (uint64_t i = 0; skipped.count[kind] > 0 && i < rd_index_left_out_count(index); i++) {
            if (rd_index_left_out(index, i, &path, &note) != kind)
                continue;
            write_line(out, kinds[kind].one, path, note);
            written++;
        }
        if (written < skipped.count[kind])
            fprintf(out, "%s\tand %" PRIu64 " more\n", kinds[kind].one, skipped.count[kind] - written);
    }
    for (uint32_t i = 0; i < report->empty->paths.count; i++)
        write_line(out, "empty file", rd_names_at(&report->empty->paths, i), "");
}

static int write_file(const char *folder, const char *name, char *bytes, size_t size, struct im_text *text)
{
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return im_fail(text, -ENAMETOOLONG, "the path '%.700s' is too long", folder);
    if (size > 0)
        return im_file_replace_any(path, bytes, size, text);
    unlink(path);
    return 0;
}

int rd_report_write(const struct rd_report *report, const char *folder, struct im_text *text)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    int err;

    if (!out)
        return -ENOMEM;
    write_all(report, out);
    err = ferror(out) | fclose(out) ? -ENOMEM : write_file(folder, RD_LEFT_OUT_FILE, bytes, size, text);
    free(bytes);
    return err;
}

int rd_report_classes(const struct rd_index *index, const char *folder, struct im_text *text)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    struct im_shown shown;
    int err;

    if (!out)
        return -ENOMEM;
    for (uint32_t class = 0; class < rd_index_class_count(index); class ++)
        fprintf(out, "%s\n", im_shown(&shown, rd_index_class(index, class)));
    err = ferror(out) | fclose(out) ? -ENOMEM : write_file(folder, RD_CLASSES_FILE, bytes, size, text);
    free(bytes);
    return err;
}
