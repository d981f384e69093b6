/* Each image gets a hash of (seed, class, file name); the smallest ones of a class are its validation images. */
#include "reader/dataset/split.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/hash.h"
#include "reader/dataset/index_file.h"

struct member {
    uint64_t hash, id;
    uint32_t label;
};

static int by_label_and_hash(const void *a, const void *b)
{
    const struct member *x = a, *y = b;

    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint64_t part_of(uint64_t count, double share)
{
    const uint64_t part = (uint64_t)floor((double)count * share + 0.5);

    if (count < 2)
        return 0;
    return part < 1 ? 1 : part < count ? part : count - 1;
}

/* Sets is_taken[id] for the validation images; returns how many, or -ENOMEM. */
static int64_t choose(const struct rd_index *index, double share, uint64_t seed, unsigned char *is_taken)
{
    const uint64_t count = rd_index_count(index, IM_TRAIN);
    struct member *members = malloc((count + 1) * sizeof *members);
    int64_t taken = 0;

    if (!members)
        return -ENOMEM;
    for (uint64_t id = 0; id < count; id++) {
        const struct rd_index_sample *sample = &index->samples[IM_TRAIN][id];
        const bool many =
            rd_index_set_words(index) > 0; /* sets of labels are too many to take a share of each */
        const char *class = many ? "" : rd_index_class(index, sample->label),
                   *path = index->strings + sample->name, *slash = strrchr(path, '/'),
                   *name = slash ? slash + 1 : path; /* of a shard's member: as of a file */

        members[id] = (struct member){im_hash64(name, strlen(name), im_hash64(class, strlen(class), seed)),
                                      id, many ? 0 : sample->label};
    }
    qsort(members, count, sizeof *members, by_label_and_hash);
    for (uint64_t first = 0, end; first < count; first = end) {
        for (end = first; end < count && members[end].label == members[first].label;)
            end++;
        for (uint64_t i = 0; i < part_of(end - first, share); i++, taken++)
            is_taken[members[first + i].id] = 1;
    }
    free(members);
    return taken;
}

static int copy_samples(const struct rd_index *index, const unsigned char *is_taken,
                        struct rd_index_writer *writer)
{
    int err = 0;

    for (uint64_t id = 0; id < rd_index_count(index, IM_TRAIN) && err == 0; id++) {
        err = rd_writer_copy(writer, index, IM_TRAIN, id, is_taken[id] ? IM_VAL : IM_TRAIN,
                             rd_index_label(index, IM_TRAIN, id));
    }
    return err;
}

static int write_index(const struct rd_index *index, const unsigned char *is_taken, void **ret_bytes,
                       size_t *ret_size)
{
    struct rd_index_writer writer = {0};
    int err = rd_writer_begin_copy(&writer, index);

    if (err == 0)
        err = copy_samples(index, is_taken, &writer);
    if (err == 0)
        err = rd_writer_finish_copy(&writer, index, ret_bytes, ret_size);
    rd_writer_fini(&writer);
    return err;
}

int rd_split_choose(const struct rd_index *index, double share, uint64_t seed, void **ret_bytes,
                    size_t *ret_size, struct im_text *text)
{
    unsigned char *is_taken;
    int64_t taken;
    int err;

    if (rd_index_count(index, IM_VAL) > 0)
        return im_fail(
            text, -EINVAL,
            "--val-split takes validation images from the training images, but '%.600s' has validation "
            "images; leave --val-split away (or say --val-split 0 where a run's options have it)",
            rd_index_root(index));
    is_taken = calloc(rd_index_count(index, IM_TRAIN) + 1, 1);
    taken = is_taken ? choose(index, share, seed, is_taken) : -ENOMEM;
    if (taken == 0)
        err = im_fail(text, -EINVAL,
                      "--val-split: no class has two images, of which one could be for validation");
    else
        err = taken < 0 ? (int)taken : write_index(index, is_taken, ret_bytes, ret_size);
    free(is_taken);
    return err == -ENOMEM ? im_fail(text, err, "not enough memory to split the training images") : err;
}
