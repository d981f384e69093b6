/* Makes the bytes of an index file from what a scan, or a choice of samples, adds in order. Everything is
 * collected in growing arrays and copied once at the end: at most some hundred megabytes for a moment, and no
 * second pass over the disk. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/hash.h"
#include "ipc/base/image_type.h"
#include "reader/dataset/index_file.h"

static int grow(void **items, uint64_t *capacity, uint64_t count, size_t item_bytes)
{
    uint64_t wanted = 2 * *capacity + 64;
    void *grown;

    if (count < *capacity)
        return 0;
    grown = realloc(*items, wanted * item_bytes);
    if (!grown)
        return -ENOMEM;
    *items = grown;
    *capacity = wanted;
    return 0;
}

/* Keeps the string in strings and its offset in `list`. */
static int64_t add_name(struct rd_index_writer *writer, struct rd_names *list, const char *name)
{
    int64_t offset = rd_names_add(&writer->strings, name), place;

    if (offset < 0)
        return offset;
    place = list->count;
    if (list->count == list->offsets_capacity) {
        uint64_t capacity = list->offsets_capacity;
        void *offsets = list->offsets;

        if (capacity > INT32_MAX / 4 || grow(&offsets, &capacity, capacity, sizeof *list->offsets) < 0)
            return -ENOMEM;
        list->offsets = offsets;
        list->offsets_capacity = (uint32_t)capacity;
    }
    list->offsets[list->count++] = (uint32_t)offset;
    return place;
}

int64_t rd_writer_class(struct rd_index_writer *writer, const char *name)
{
    return add_name(writer, &writer->classes, name);
}

int64_t rd_writer_directory(struct rd_index_writer *writer, const char *path)
{
    return add_name(writer, &writer->directories, path);
}

int rd_writer_sample(struct rd_index_writer *writer, enum im_split split, uint32_t directory,
                     const char *name, uint32_t label)
{
    int64_t offset = rd_names_add(&writer->strings, name);
    void *items = writer->samples[split];
    int err;

    if (offset < 0)
        return (int)offset;
    err = grow(&items, &writer->sample_capacity[split], writer->sample_count[split],
               sizeof(struct rd_index_sample));
    if (err < 0)
        return err;
    writer->samples[split] = items;
    writer->samples[split][writer->sample_count[split]++] =
        (struct rd_index_sample){directory, (uint32_t)offset, label};
    return 0;
}

int rd_writer_part(struct rd_index_writer *writer, enum im_split split, uint32_t directory, const char *name,
                   uint32_t label, const struct rd_index_place *place)
{
    void *items = writer->places[split];
    int err = grow(&items, &writer->place_capacity[split], writer->place_count[split], sizeof *place);

    if (err < 0)
        return err;
    writer->places[split] = items;
    writer->places[split][writer->place_count[split]++] = *place;
    return rd_writer_sample(writer, split, directory, name, label);
}

int rd_writer_copy(struct rd_index_writer *writer, const struct rd_index *index, enum im_split from,
                   uint64_t id, enum im_split to, uint32_t label)
{
    const struct rd_index_sample *s = &index->samples[from][id];
    const char *name = index->strings + s->name;

    return index->places[from]
               ? rd_writer_part(writer, to, s->directory, name, label, &index->places[from][id])
               : rd_writer_sample(writer, to, s->directory, name, label);
}

int rd_writer_stamp(struct rd_index_writer *writer, const char *path, const struct rd_stamp *stamp)
{
    int64_t offset = rd_names_add(&writer->strings, path);
    void *items = writer->stamps;
    int err;

    if (offset < 0)
        return (int)offset;
    err = grow(&items, &writer->stamp_capacity, writer->stamp_count, sizeof *writer->stamps);
    if (err < 0)
        return err;
    writer->stamps = items;
    writer->stamps[writer->stamp_count++] =
        (struct rd_index_stamp){.path = (uint32_t)offset, .stamp = *stamp};
    return 0;
}

int rd_writer_left_out(struct rd_index_writer *writer, enum rd_skip kind, const char *path, const char *note)
{
    void *items = writer->left_out;
    int64_t path_at, note_at;
    int err;

    writer->skipped_count[kind]++;
    if (writer->left_out_count == RD_LEFT_OUT_MAX)
        return 0;
    path_at = rd_names_add(&writer->strings, path);
    note_at = *note ? rd_names_add(&writer->strings, note) : 0; /* offset 0 holds "" */
    if (path_at < 0 || note_at < 0)
        return (int)(path_at < 0 ? path_at : note_at);
    err = grow(&items, &writer->left_out_capacity, writer->left_out_count, sizeof *writer->left_out);
    if (err < 0)
        return err;
    writer->left_out = items;
    writer->left_out[writer->left_out_count++] =
        (struct rd_index_left_out){(uint32_t)kind, (uint32_t)path_at, (uint32_t)note_at};
    return 0;
}

/* One that cannot be listed may be readable tomorrow, without another time of change: its stamp is never fresh. */
static int add_unreadable(struct rd_index_writer *writer, const struct rd_listing *folder)
{
    const struct rd_stamp never = {.mtime_ns = INT64_MAX};
    int err = rd_writer_stamp(writer, folder->path, &never);

    return err < 0 ? err
                   : rd_writer_left_out(writer, RD_SKIP_UNREADABLE, folder->path, strerror(-folder->err));
}

static bool is_table(const struct rd_index_writer *writer, const char *path)
{
    for (int split = 0; split < IM_SPLITS; split++)
        if (writer->tables[split] && strcmp(writer->tables[split], path) == 0)
            return true;
    return false;
}

int rd_writer_folder(struct rd_index_writer *writer, const struct rd_listing *folder, bool is_loop)
{
    char path[PATH_MAX + NAME_MAX];
    enum rd_skip kind;
    int err;

    if (is_loop)
        return rd_writer_left_out(writer, RD_SKIP_LOOP, folder->path, "");
    if (folder->err < 0)
        return add_unreadable(writer, folder);
    err = rd_writer_stamp(writer, folder->path, &folder->stamp);
    for (uint32_t i = 0; i < folder->skipped.count && err == 0; i++) {
        const char *name = rd_skipped_at(folder, i, &kind);

        rd_join(path, sizeof path, folder->path, name);
        if (!is_table(writer, path))
            err = rd_writer_left_out(writer, kind, path,
                                     kind == RD_SKIP_TYPE ? im_image_type_missing(im_image_type_of_name(name))
                                                          : "");
    }
    return err;
}

int rd_writer_sets(struct rd_index_writer *writer, const uint32_t *sets, uint64_t count)
{
    const size_t words = rd_index_words(writer->classes.count);

    writer->sets = calloc((size_t)count * words + 1, sizeof *writer->sets);
    if (!writer->sets)
        return -ENOMEM;
    if (sets)
        memcpy(writer->sets, sets, (size_t)count * words * sizeof *writer->sets);
    writer->set_count = count;
    writer->multi_label = true;
    return 0;
}

int rd_writer_single_sets(struct rd_index_writer *writer)
{
    const size_t words = rd_index_words(writer->classes.count);
    int err = rd_writer_sets(writer, NULL, writer->classes.count);

    for (uint32_t k = 0; k < writer->classes.count && err == 0; k++)
        writer->sets[k * words + k / 32] |= 1u << (k % 32);
    return err;
}

/* The label of a sample, which is the same in any order of the sets. */
static void hash_label(struct im_hash *hash, const struct rd_index_writer *writer, uint32_t label)
{
    const size_t words = rd_index_words(writer->classes.count);

    if (writer->multi_label)
        im_hash_add(hash, writer->sets + label * words, words * sizeof *writer->sets);
    else
        im_hash_add(hash, &label, sizeof label);
}

static void hash_string(struct im_hash *hash, const char *string)
{
    im_hash_add(hash, string, strlen(string) + 1);
}

static int content_hash(const struct rd_index_writer *writer, uint64_t *ret_hash)
{
    struct im_hash *hash = im_hash_new(RD_INDEX_HASH_SEED);
    const char *strings = writer->strings.bytes;

    if (!hash)
        return -ENOMEM;
    for (uint32_t i = 0; i < writer->classes.count; i++)
        hash_string(hash, strings + writer->classes.offsets[i]);
    for (int split = 0; split < IM_SPLITS; split++) {
        im_hash_add(hash, &writer->sample_count[split], sizeof writer->sample_count[split]);
        for (uint64_t i = 0; i < writer->sample_count[split]; i++) {
            const struct rd_index_sample *sample = &writer->samples[split][i];

            hash_string(hash, strings + writer->directories.offsets[sample->directory]);
            hash_string(hash, strings + sample->name);
            hash_label(hash, writer, sample->label);
        }
    }
    *ret_hash = im_hash_value(hash);
    im_hash_free(&hash);
    return 0;
}

static int fill_header(struct rd_index_writer *writer, const struct rd_index_origin *origin,
                       struct rd_index_header *header)
{
    int64_t offset = rd_names_add(&writer->strings, origin->root);

    *header = (struct rd_index_header){
        .magic = RD_INDEX_MAGIC,
        .version = RD_INDEX_VERSION,
        .endian = RD_INDEX_ENDIAN,
        .layout_hash = origin->layout_hash,
        .built_ns = origin->built_ns,
        .layout = (uint32_t)origin->layout,
        .root = (uint32_t)offset,
        .flags = (origin->leads_out ? RD_INDEX_LEADS_OUT : 0) | (origin->has_members ? RD_INDEX_MEMBERS : 0),
        .set_words = writer->multi_label ? rd_index_words(writer->classes.count) : 0,
    };
    memcpy(header->skipped_count, writer->skipped_count, sizeof writer->skipped_count);
    return offset < 0 ? (int)offset : content_hash(writer, &header->content_hash);
}

int rd_writer_finish(struct rd_index_writer *writer, const struct rd_index_origin *origin, void **ret_bytes,
                     size_t *ret_size)
{
    struct rd_index_header header;
    int err = fill_header(writer, origin, &header);
    const struct {
        const void *items;
        uint64_t count, bytes;
    } sections[RD_SECTIONS] = {
        [RD_STRINGS] = {writer->strings.bytes, writer->strings.used, writer->strings.used},
        [RD_CLASSES] = {writer->classes.offsets, writer->classes.count,
                        writer->classes.count * sizeof(uint32_t)},
        [RD_DIRECTORIES] = {writer->directories.offsets, writer->directories.count,
                            writer->directories.count * sizeof(uint32_t)},
        [RD_TRAIN_SAMPLES] = {writer->samples[IM_TRAIN], writer->sample_count[IM_TRAIN],
                              writer->sample_count[IM_TRAIN] * sizeof(struct rd_index_sample)},
        [RD_VAL_SAMPLES] = {writer->samples[IM_VAL], writer->sample_count[IM_VAL],
                            writer->sample_count[IM_VAL] * sizeof(struct rd_index_sample)},
        [RD_STAMPS] = {writer->stamps, writer->stamp_count, writer->stamp_count * sizeof *writer->stamps},
        [RD_LEFT_OUT] = {writer->left_out, writer->left_out_count,
                         writer->left_out_count * sizeof *writer->left_out},
        [RD_TRAIN_PLACES] = {writer->places[IM_TRAIN], writer->place_count[IM_TRAIN],
                             writer->place_count[IM_TRAIN] * sizeof(struct rd_index_place)},
        [RD_VAL_PLACES] = {writer->places[IM_VAL], writer->place_count[IM_VAL],
                           writer->place_count[IM_VAL] * sizeof(struct rd_index_place)},
        [RD_SETS] = {writer->sets, writer->set_count * header.set_words,
                     writer->set_count * header.set_words * sizeof *writer->sets},
    };
    size_t size = sizeof header;
    char *bytes;

    if (err < 0)
        return err;
    for (int i = 0; i < RD_SECTIONS; i++) {
        header.sections[i].offset = size;
        header.sections[i].count = sections[i].count;
        size += (sections[i].bytes + 7) & ~(uint64_t)7;
    }
    header.file_bytes = size;
    bytes = calloc(1, size);
    if (!bytes)
        return -ENOMEM;
    memcpy(bytes, &header, sizeof header);
    for (int i = 0; i < RD_SECTIONS; i++)
        if (sections[i].bytes)
            memcpy(bytes + header.sections[i].offset, sections[i].items, sections[i].bytes);
    rd_index_seal((struct rd_index_header *)bytes, size);
    *ret_bytes = bytes;
    *ret_size = size;
    return 0;
}

int rd_writer_begin_copy(struct rd_index_writer *writer, const struct rd_index *index)
{
    int64_t err = 0;

    for (uint32_t class = 0; class < rd_index_class_count(index) && err >= 0; class ++)
        err = rd_writer_class(writer, rd_index_class(index, class));
    for (uint64_t i = 0; i < index->header->sections[RD_DIRECTORIES].count && err >= 0; i++)
        err = rd_writer_directory(writer, index->strings + index->directories[i]);
    if (err >= 0 && rd_index_set_words(index) > 0)
        err = rd_writer_sets(writer, index->sets, rd_index_label_count(index));
    return err < 0 ? (int)err : 0;
}

int rd_writer_finish_copy(struct rd_index_writer *writer, const struct rd_index *index, void **ret_bytes,
                          size_t *ret_size)
{
    const struct rd_index_origin origin = {
        .root = rd_index_root(index),
        .layout = rd_index_layout(index),
        .layout_hash = index->header->layout_hash,
        .built_ns = index->header->built_ns,
        .leads_out = rd_index_leads_out(index),
        .has_members = (index->header->flags & RD_INDEX_MEMBERS) != 0,
    };
    const char *path, *note;
    int err = 0;

    for (uint64_t i = 0; i < rd_index_left_out_count(index) && err == 0; i++) {
        enum rd_skip kind = rd_index_left_out(index, i, &path, &note);

        err = rd_writer_left_out(writer, kind, path, note);
    }
    memcpy(writer->skipped_count, index->header->skipped_count, sizeof writer->skipped_count);
    return err < 0 ? err : rd_writer_finish(writer, &origin, ret_bytes, ret_size);
}

void rd_writer_fini(struct rd_index_writer *writer)
{
    rd_names_fini(&writer->strings);
    rd_names_fini(&writer->classes);
    rd_names_fini(&writer->directories);
    free(writer->samples[IM_TRAIN]);
    free(writer->samples[IM_VAL]);
    free(writer->places[IM_TRAIN]);
    free(writer->places[IM_VAL]);
    free(writer->stamps);
    free(writer->left_out);
    free(writer->sets);
    *writer = (struct rd_index_writer){0};
}
