/* Each class gives the same number q of images, or all it has; q is the largest for which the sum stays
 * within the wanted size, and the rest is spread one each over classes that have more, in an order drawn from
 * the seed. Streams: (seed, SUBSET, 0, class) chooses images of a class, (seed, SUBSET, 1, 0) the order of
 * classes; so adding a class changes no other class's draw. */
#include "reader/dataset/subset.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/aside.h"
#include "ipc/base/file.h"
#include "ipc/base/rng.h"
#include "reader/dataset/index_file.h"

struct choice {
    uint32_t class_count;
    uint64_t *have, *take;   /* of each class */
    uint64_t *first;         /* of each class: where its members begin in members */
    uint64_t *members;       /* sample ids, class after class */
    unsigned char *is_taken; /* of each sample */
};

static void choice_fini(struct choice *choice)
{
    free(choice->have);
    free(choice->take);
    free(choice->first);
    free(choice->members);
    free(choice->is_taken);
}

/* Sets of labels are too many to be balanced: all samples count as one class. */
static uint32_t class_of(const struct rd_index *index, uint64_t id)
{
    return rd_index_set_words(index) > 0 ? 0 : rd_index_label(index, IM_TRAIN, id);
}

static int choice_init(struct choice *choice, const struct rd_index *index)
{
    uint64_t count = rd_index_count(index, IM_TRAIN), sum = 0;
    uint32_t class_count = rd_index_set_words(index) > 0 ? 1 : rd_index_class_count(index);

    *choice = (struct choice){
        .class_count = class_count,
        .have = calloc(class_count, sizeof *choice->have),
        .take = calloc(class_count, sizeof *choice->take),
        .first = calloc(class_count, sizeof *choice->first),
        .members = calloc(count, sizeof *choice->members),
        .is_taken = calloc(count, 1),
    };
    if (!choice->have || !choice->take || !choice->first || !choice->members || !choice->is_taken)
        return -ENOMEM;
    for (uint64_t id = 0; id < count; id++)
        choice->have[class_of(index, id)]++;
    for (uint32_t class = 0; class < class_count; class ++) {
        choice->first[class] = sum;
        sum += choice->have[class];
    }
    for (uint64_t id = 0; id < count; id++) {
        uint32_t class = class_of(index, id);

        choice->members[choice->first[class] + choice->take[class]++] = id;
    }
    return 0;
}

static uint64_t total(const struct choice *choice, uint64_t quota)
{
    uint64_t sum = 0;

    for (uint32_t class = 0; class < choice->class_count; class ++)
        sum += choice->have[class] < quota ? choice->have[class] : quota;
    return sum;
}

static void shuffle(uint64_t *items, uint64_t count, uint64_t first_count, struct im_rng *rng)
{
    for (uint64_t i = 0; i < first_count && i + 1 < count; i++) {
        uint64_t j = i + im_rng_below(rng, count - i), kept = items[i];

        items[i] = items[j];
        items[j] = kept;
    }
}

static int set_quotas(struct choice *choice, uint64_t size, uint64_t seed)
{
    uint64_t low = 0, high = size, left, *order = calloc(choice->class_count, sizeof *order);
    struct im_rng rng = im_rng_at(seed, IM_RNG_SUBSET, 1, 0);

    if (!order)
        return -ENOMEM;
    while (low < high) { /* the largest quota whose total is at most `size` */
        uint64_t middle = low + (high - low + 1) / 2;

        if (total(choice, middle) <= size)
            low = middle;
        else
            high = middle - 1;
    }
    for (uint32_t class = 0; class < choice->class_count; class ++) {
        choice->take[class] = choice->have[class] < low ? choice->have[class] : low;
        order[class] = class;
    }
    left = size - total(choice, low);
    shuffle(order, choice->class_count, choice->class_count, &rng);
    for (uint32_t i = 0; i < choice->class_count && left > 0; i++) {
        if (choice->have[order[i]] > low) {
            choice->take[order[i]]++;
            left--;
        }
    }
    free(order);
    return 0;
}

static void subset_take(struct choice *choice, uint64_t seed)
{
    for (uint32_t class = 0; class < choice->class_count; class ++) {
        struct im_rng rng = im_rng_at(seed, IM_RNG_SUBSET, 0, class);
        uint64_t *members = choice->members + choice->first[class];

        shuffle(members, choice->have[class], choice->take[class], &rng);
        for (uint64_t i = 0; i < choice->take[class]; i++)
            choice->is_taken[members[i]] = 1;
    }
}

static int copy_samples(const struct rd_index *index, const unsigned char *is_taken, enum im_split split,
                        struct rd_index_writer *writer)
{
    int err = 0;

    for (uint64_t id = 0; id < rd_index_count(index, split) && err == 0; id++) {
        if (!is_taken || is_taken[id])
            err = rd_writer_copy(writer, index, split, id, split, rd_index_label(index, split, id));
    }
    return err;
}

static int write_index(const struct rd_index *index, const struct choice *choice, void **ret_bytes,
                       size_t *ret_size)
{
    struct rd_index_writer writer = {0};
    int err = rd_writer_begin_copy(&writer, index);

    if (err == 0)
        err = copy_samples(index, choice->is_taken, IM_TRAIN, &writer);
    if (err == 0)
        err = copy_samples(index, NULL, IM_VAL, &writer);
    if (err == 0)
        err = rd_writer_finish_copy(&writer, index, ret_bytes, ret_size);
    rd_writer_fini(&writer);
    return err;
}

int rd_subset_choose(const struct rd_index *index, uint64_t size, uint64_t seed, void **ret_bytes,
                     size_t *ret_size, struct im_text *text)
{
    struct choice choice;
    int err;

    if (size == 0 || size > rd_index_count(index, IM_TRAIN))
        return im_fail(text, -EINVAL, "a subset of %llu images cannot be taken from %llu training images",
                       (unsigned long long)size, (unsigned long long)rd_index_count(index, IM_TRAIN));
    err = choice_init(&choice, index);
    if (err == 0)
        err = set_quotas(&choice, size, seed);
    if (err == 0) {
        subset_take(&choice, seed);
        err = write_index(index, &choice, ret_bytes, ret_size);
    }
    choice_fini(&choice);
    return err == -ENOMEM ? im_fail(text, err, "not enough memory to choose a subset") : err;
}

static int write_list(const struct rd_index *index, const char *path, struct im_text *text)
{
    char *bytes = NULL, line[PATH_MAX];
    size_t size = 0;
    FILE *list = open_memstream(&bytes, &size);
    int length = 0, err;

    if (!list)
        return -ENOMEM;
    for (uint64_t id = 0; id < rd_index_count(index, IM_TRAIN) && length >= 0; id++) {
        length = rd_index_relative(index, IM_TRAIN, id, line, sizeof line);
        fprintf(list, "%s\n", line);
    }
    err = ferror(list) | fclose(list) ? -ENOMEM
          : length < 0                ? length
                                      : im_file_replace_any(path, bytes, size, text);
    free(bytes);
    return err;
}

int rd_subset_write(const char *folder, const void *bytes, size_t size, struct im_text *text)
{
    char path[PATH_MAX];
    struct rd_index index;
    int err = im_mkdirs(folder, 0777, text);

    if (err < 0)
        return err;
    if ((size_t)snprintf(path, sizeof path, "%s/subset.txt", folder) >= sizeof path)
        return im_fail(text, -ENAMETOOLONG, "the path '%.700s' is too long", folder);
    err = rd_index_attach(bytes, size, &index, text);
    if (err == 0)
        err = write_list(&index, path, text);
    if (err < 0)
        return err;
    snprintf(path, sizeof path, "%s/data.index", folder);
    return im_file_replace_any(path, bytes, size, text);
}
