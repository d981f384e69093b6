/* Attaching to an index: everything that later look-ups rely on is checked once, here, so that they need no
 * checks. The bytes come from a cache folder, where a torn write, another version or a stranger may have left
 * anything: tests/fuzz/fuzz_index.c tries that.
 *
 * The checksum is over all bytes (44 MB take 5 ms for ImageNet), but it is no proof against intent, so ranges
 * are checked besides. */
#include "reader/dataset/index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/hash.h"
#include "ipc/base/reference.h"
#include "reader/dataset/index_file.h"
#include "reader/dataset/mirror.h"

static const uint32_t item_bytes[RD_SECTIONS] = {
    [RD_STRINGS] = 1,
    [RD_CLASSES] = sizeof(uint32_t),
    [RD_DIRECTORIES] = sizeof(uint32_t),
    [RD_TRAIN_SAMPLES] = sizeof(struct rd_index_sample),
    [RD_VAL_SAMPLES] = sizeof(struct rd_index_sample),
    [RD_STAMPS] = sizeof(struct rd_index_stamp),
    [RD_LEFT_OUT] = sizeof(struct rd_index_left_out),
    [RD_TRAIN_PLACES] = sizeof(struct rd_index_place),
    [RD_VAL_PLACES] = sizeof(struct rd_index_place),
    [RD_SETS] = sizeof(uint32_t),
};

static uint64_t checksum(const struct rd_index_header *header, size_t size)
{
    struct rd_index_header copy = *header;

    copy.checksum = 0;
    return im_hash64((const char *)header + sizeof copy, size - sizeof copy,
                     im_hash64(&copy, sizeof copy, 0));
}

void rd_index_seal(struct rd_index_header *header, size_t size)
{
    header->checksum = checksum(header, size);
}

static const char *check_header(const struct rd_index_header *header, size_t size)
{
    if (size < sizeof *header || header->magic != RD_INDEX_MAGIC)
        return "it is no index of imsuper";
    if (header->endian != RD_INDEX_ENDIAN)
        return "it comes from a machine with another byte order";
    if (header->version != RD_INDEX_VERSION)
        return "it has another version";
    if (header->file_bytes != size)
        return "it is cut short or too long";
    if (header->checksum != checksum(header, size))
        return "its checksum is wrong";
    for (int i = 0; i < RD_SECTIONS; i++) {
        uint64_t offset = header->sections[i].offset, count = header->sections[i].count;

        if (offset % 8 || offset < sizeof *header || offset > size || count > (size - offset) / item_bytes[i])
            return "a section lies outside of it";
    }
    for (int split = 0; split < IM_SPLITS; split++)
        if (header->sections[RD_TRAIN_PLACES + split].count != 0 &&
            header->sections[RD_TRAIN_PLACES + split].count !=
                header->sections[RD_TRAIN_SAMPLES + split].count)
            return "some of its samples have no place";
    if (header->layout == RD_LAYOUT_AUTO || header->layout >= RD_LAYOUT_KINDS)
        return "its layout is unknown";
    if (header->sections[RD_CLASSES].count > INT32_MAX || header->sections[RD_DIRECTORIES].count > UINT32_MAX)
        return "it has too many classes or folders";
    if (header->set_words > 0 &&
        (header->set_words != rd_index_words((uint32_t)header->sections[RD_CLASSES].count) ||
         header->sections[RD_SETS].count % header->set_words != 0 ||
         header->sections[RD_SETS].count / header->set_words > INT32_MAX))
        return "its sets of labels are not of its classes";
    return NULL;
}

static int strings_are_good(const uint32_t *offsets, uint64_t count, uint64_t strings_bytes)
{
    for (uint64_t i = 0; i < count; i++)
        if (offsets[i] >= strings_bytes)
            return 0;
    return 1;
}

/* No bit of a set is behind the last class. */
static int sets_are_good(const struct rd_index *index)
{
    const uint32_t words = index->header->set_words;
    const uint64_t classes = index->header->sections[RD_CLASSES].count;
    uint32_t beyond = 0;

    if (words == 0 || classes % 32 == 0)
        return 1;
    for (uint64_t i = words - 1; i < index->header->sections[RD_SETS].count; i += words)
        beyond |= index->sets[i] >> (classes % 32);
    return beyond == 0;
}

static const char *check_content(const struct rd_index *index)
{
    const struct rd_index_header *header = index->header;
    uint64_t strings_bytes = header->sections[RD_STRINGS].count;
    const uint64_t labels = rd_index_label_count(index);
    uint32_t bad = 0;

    /* With the last byte NUL every offset inside names a string that ends inside. */
    if (strings_bytes == 0 || index->strings[0] || index->strings[strings_bytes - 1])
        return "its strings do not end";
    if (header->root >= strings_bytes ||
        !strings_are_good(index->classes, header->sections[RD_CLASSES].count, strings_bytes) ||
        !strings_are_good(index->directories, header->sections[RD_DIRECTORIES].count, strings_bytes))
        return "a name lies outside of it";
    for (int split = 0; split < IM_SPLITS; split++) {
        const struct rd_index_sample *samples = index->samples[split];

        for (uint64_t i = 0; i < header->sections[RD_TRAIN_SAMPLES + split].count; i++)
            bad |= (uint32_t)(samples[i].name >= strings_bytes) |
                   (uint32_t)(samples[i].directory >= header->sections[RD_DIRECTORIES].count) |
                   (uint32_t)(samples[i].label >= labels);
    }
    for (int split = 0; split < IM_SPLITS; split++)
        for (uint64_t i = 0; i < header->sections[RD_TRAIN_PLACES + split].count; i++)
            bad |= (uint32_t)(index->places[split][i].offset > INT64_MAX) |
                   (uint32_t)(index->places[split][i].bytes != RD_INDEX_WHOLE &&
                              index->places[split][i].bytes > INT64_MAX - index->places[split][i].offset);
    for (uint64_t i = 0; i < header->sections[RD_STAMPS].count; i++)
        bad |= (uint32_t)(index->stamps[i].path >= strings_bytes);
    for (uint64_t i = 0; i < header->sections[RD_LEFT_OUT].count; i++)
        bad |= (uint32_t)(index->left_out[i].kind >= RD_SKIP_KINDS) |
               (uint32_t)(index->left_out[i].path >= strings_bytes) |
               (uint32_t)(index->left_out[i].note >= strings_bytes);
    if (!sets_are_good(index))
        return "a set of labels holds a class that it does not have";
    return bad ? "a sample refers to what it does not hold" : NULL;
}

int rd_index_attach(const void *bytes, size_t size, struct rd_index *ret_index, struct im_text *text)
{
    const struct rd_index_header *header = bytes;
    struct rd_index index = {.header = header, .bytes = size};
    const void *sections[RD_SECTIONS];
    const char *wrong;

    im_assert((uintptr_t)bytes % 8 == 0);
    wrong = check_header(header, size);
    if (wrong)
        return im_fail(text, -EBADMSG, "the index cannot be used: %s", wrong);
    for (int i = 0; i < RD_SECTIONS; i++)
        sections[i] = (const char *)bytes + header->sections[i].offset;
    index.strings = sections[RD_STRINGS];
    index.classes = sections[RD_CLASSES];
    index.directories = sections[RD_DIRECTORIES];
    index.samples[IM_TRAIN] = sections[RD_TRAIN_SAMPLES];
    index.samples[IM_VAL] = sections[RD_VAL_SAMPLES];
    index.stamps = sections[RD_STAMPS];
    index.left_out = sections[RD_LEFT_OUT];
    for (int split = 0; split < IM_SPLITS; split++)
        if (header->sections[RD_TRAIN_PLACES + split].count > 0)
            index.places[split] = sections[RD_TRAIN_PLACES + split];
    index.sets = sections[RD_SETS];
    wrong = check_content(&index);
    if (wrong)
        return im_fail(text, -EBADMSG, "the index cannot be used: %s", wrong);
    *ret_index = index;
    return 0;
}

int rd_index_open(const char *path, struct rd_index *ret_index, struct im_text *text)
{
    int err, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return im_fail(text, -errno, "cannot open the index '%.700s': %s", path, strerror(errno));
    err = rd_index_map(fd, path, ret_index, text);
    close(fd);
    return err;
}

int rd_index_map(int fd, const char *path, struct rd_index *ret_index, struct im_text *text)
{
    struct im_text why = {""};
    struct stat st;
    void *mapping;
    int err;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return im_fail(text, -EBADMSG, "the index '%.700s' is empty or not a file", path);
    /* Index files are replaced, never written in place, so the mapping cannot shrink under us. */
    mapping = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    err = mapping == MAP_FAILED ? -errno : 0;
    if (err < 0)
        return im_fail(text, err, "cannot map the index '%.700s': %s", path, strerror(-err));
    err = rd_index_attach(mapping, (size_t)st.st_size, ret_index, &why);
    if (err < 0) {
        munmap(mapping, (size_t)st.st_size);
        return im_fail(text, err, "%.200s ('%.700s')", why.s, path);
    }
    ret_index->mapping = mapping;
    return 0;
}

void rd_index_close(struct rd_index *index)
{
    if (index->mapping)
        munmap(index->mapping, index->bytes);
    *index = (struct rd_index){0};
}

uint64_t rd_index_count(const struct rd_index *index, enum im_split split)
{
    return index->header->sections[RD_TRAIN_SAMPLES + split].count;
}

uint32_t rd_index_class_count(const struct rd_index *index)
{
    return (uint32_t)index->header->sections[RD_CLASSES].count;
}

uint32_t rd_index_set_words(const struct rd_index *index)
{
    return index->header->set_words;
}

uint64_t rd_index_label_count(const struct rd_index *index)
{
    return index->header->set_words > 0 ? index->header->sections[RD_SETS].count / index->header->set_words
                                        : index->header->sections[RD_CLASSES].count;
}

bool rd_index_has(const struct rd_index *index, uint32_t label, uint32_t class)
{
    const uint32_t words = index->header->set_words;

    im_assert(label < rd_index_label_count(index) && class < rd_index_class_count(index));
    return words > 0 ? index->sets[(uint64_t)label * words + class / 32] >> (class % 32) & 1 : label == class;
}

const char *rd_index_label_text(const struct rd_index *index, uint32_t label, char *buffer, size_t size)
{
    size_t used = 0;

    buffer[0] = 0;
    for (uint32_t class = 0; class < rd_index_class_count(index) && used < size; class ++)
        if (rd_index_has(index, label, class))
            used += (size_t)snprintf(buffer + used, size - used, "%s%s", used ? "|" : "",
                                     rd_index_class(index, class));
    return buffer;
}

const char *rd_index_class(const struct rd_index *index, uint32_t label)
{
    im_assert(label < rd_index_class_count(index));
    return index->strings + index->classes[label];
}

const char *rd_index_root(const struct rd_index *index)
{
    return index->strings + index->header->root;
}

enum rd_layout_kind rd_index_layout(const struct rd_index *index)
{
    return (enum rd_layout_kind)index->header->layout;
}

uint64_t rd_index_hash(const struct rd_index *index)
{
    return index->header->content_hash;
}

bool rd_index_leads_out(const struct rd_index *index)
{
    return (index->header->flags & RD_INDEX_LEADS_OUT) != 0;
}

uint64_t rd_index_left_out_count(const struct rd_index *index)
{
    return index->header->sections[RD_LEFT_OUT].count;
}

enum rd_skip rd_index_left_out(const struct rd_index *index, uint64_t i, const char **ret_path,
                               const char **ret_note)
{
    im_assert(i < rd_index_left_out_count(index));
    *ret_path = index->strings + index->left_out[i].path;
    *ret_note = index->strings + index->left_out[i].note;
    return (enum rd_skip)index->left_out[i].kind;
}

void rd_index_skipped(const struct rd_index *index, struct rd_skipped *ret_skipped)
{
    const char *path, *note;

    *ret_skipped = (struct rd_skipped){0};
    for (uint64_t i = 0; i < rd_index_left_out_count(index); i++) {
        enum rd_skip kind = rd_index_left_out(index, i, &path, &note);

        if (ret_skipped->count[kind]++ == 0)
            snprintf(ret_skipped->first[kind], sizeof ret_skipped->first[kind], "%s", path);
    }
    for (int kind = 0; kind < RD_SKIP_KINDS; kind++)
        ret_skipped->count[kind] = index->header->skipped_count[kind];
}

uint32_t rd_index_label(const struct rd_index *index, enum im_split split, uint64_t id)
{
    im_assert(id < rd_index_count(index, split));
    return index->samples[split][id].label;
}

static int write_path(const struct rd_index *index, enum im_split split, uint64_t id, const char *root,
                      char *ret_path, size_t size)
{
    const struct rd_index_sample *sample;
    int length;

    im_assert(id < rd_index_count(index, split));
    sample = &index->samples[split][id];
    length = snprintf(ret_path, size, "%s%s%s/%s", root, *root ? "/" : "",
                      index->strings + index->directories[sample->directory], index->strings + sample->name);
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : length;
}

int rd_index_relative(const struct rd_index *index, enum im_split split, uint64_t id, char *ret_path,
                      size_t size)
{
    return write_path(index, split, id, "", ret_path, size);
}

int rd_index_path(const struct rd_index *index, enum im_split split, uint64_t id, char *ret_path, size_t size)
{
    return write_path(index, split, id, rd_index_root(index), ret_path, size);
}

const char *rd_index_name(const struct rd_index *index, enum im_split split, uint64_t id)
{
    im_assert(id < rd_index_count(index, split));
    return index->strings + index->samples[split][id].name;
}

static const struct rd_index_place *place_of(const struct rd_index *index, enum im_split split, uint64_t id)
{
    const struct rd_index_place *places = index->places[split];

    im_assert(id < rd_index_count(index, split));
    return places && places[id].bytes != RD_INDEX_WHOLE ? &places[id] : NULL;
}

static const char *container_of(const struct rd_index *index, enum im_split split, uint64_t id)
{
    return index->strings + index->directories[index->samples[split][id].directory];
}

/* The place of a sample that is fetched as an object of its own. */
static const struct rd_index_place *member_of(const struct rd_index *index, enum im_split split, uint64_t id)
{
    return index->header->flags & RD_INDEX_MEMBERS ? place_of(index, split, id) : NULL;
}

bool rd_index_has_containers(const struct rd_index *index)
{
    return index->places[IM_TRAIN] || index->places[IM_VAL];
}

int rd_index_source(const struct rd_index *index, enum im_split split, uint64_t id,
                    struct rd_source_of *ret_source, char *ret_path, size_t size)
{
    const struct rd_index_place *place = place_of(index, split, id);
    int length;

    *ret_source = (struct rd_source_of){0};
    if (!place)
        return rd_index_relative(index, split, id, ret_path, size);
    if (member_of(index, split, id))
        return rd_mirror_member(container_of(index, split, id), place->offset, place->mark, ret_path, size);
    *ret_source = (struct rd_source_of){index->samples[split][id].directory + 1, place->offset, place->bytes,
                                        place->mark};
    length = snprintf(ret_path, size, "%s", container_of(index, split, id));
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : length;
}

int rd_index_member(const struct rd_index *index, enum im_split split, uint64_t id,
                    struct rd_source_of *ret_source, char *ret_path, size_t size)
{
    const struct rd_index_place *place = member_of(index, split, id);
    int length;

    *ret_source = (struct rd_source_of){0};
    if (!place)
        return 0;
    *ret_source = (struct rd_source_of){index->samples[split][id].directory + 1, place->offset, place->bytes,
                                        place->mark};
    length = snprintf(ret_path, size, "%s", container_of(index, split, id));
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : length;
}

int rd_index_reference(const struct rd_index *index, enum im_split split, uint64_t id, char *ret, size_t size)
{
    const struct rd_index_place *place = place_of(index, split, id);
    const char *root = rd_index_root(index);
    char member[PATH_MAX];
    int length;

    if (!place)
        return rd_index_path(index, split, id, ret, size);
    if (member_of(index, split, id)) {
        length = rd_mirror_member(container_of(index, split, id), place->offset, place->mark, member,
                                  sizeof member);
        if (length < 0)
            return length;
        length = snprintf(ret, size, "%s/%s", root, member);
        return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : length;
    }
    length = snprintf(ret, size, "%s/%s", strcmp(root, "/") == 0 ? "" : root, container_of(index, split, id));
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG
                                                : im_reference_add(ret, size, place->offset, place->bytes);
}
