/* Each image gets a hash of (seed, class, file name); the smallest ones of a class are its validation images. With several
 * labels an image, labels take turns, the rarest first, as in iterative stratification (Sechidis et al. 2011): a label takes
 * what its share still lacks from the images that no label before had, of which those with the smallest hashes. */
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

static int by_hash(const void *a, const void *b)
{
    const struct member *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int by_label_and_hash(const void *a, const void *b)
{
    const struct member *x = a, *y = b;

    return x->label != y->label ? (x->label < y->label ? -1 : 1) : by_hash(a, b);
}

static uint64_t part_of(uint64_t count, double share)
{
    const uint64_t part = (uint64_t)floor((double)count * share + 0.5);

    if (count < 2)
        return 0;
    return part < 1 ? 1 : part < count ? part : count - 1;
}

static uint64_t hash_of(const struct rd_index *index, uint64_t id, const char *class, uint64_t seed)
{
    const char *path = index->strings + index->samples[IM_TRAIN][id].name, *slash = strrchr(path, '/'),
               *name = slash ? slash + 1 : path; /* of a shard's member: as of a file */

    return im_hash64(name, strlen(name), im_hash64(class, strlen(class), seed));
}

/* ---- several labels an image ---- */

/* A class, and how many images have it. */
struct rarity {
    uint64_t images;
    uint32_t class;
};

struct sets {
    const struct rd_index *index;
    struct member *members; /* all images, by hash; label: that of the index */
    uint64_t count;
    uint64_t *first;           /* [class + 1], of `having` */
    uint64_t *having;          /* members of each class, by hash; behind the last class those without any */
    unsigned char *is_settled; /* [member] */
    unsigned char *is_taken;   /* [id] */
};

static int by_images(const void *a, const void *b)
{
    const struct rarity *x = a, *y = b;

    if (x->images != y->images)
        return x->images < y->images ? -1 : 1;
    return x->class < y->class ? -1 : x->class > y->class;
}

/* Calls for each class of a member, or with the number of classes where it has none. */
static void each_class(struct sets *s, uint64_t member,
                       void (*call)(struct sets *, uint64_t member, uint32_t class))
{
    const uint32_t words = rd_index_set_words(s->index);
    const uint32_t *set = s->index->sets + (size_t)s->members[member].label * words;
    bool any = false;

    for (uint32_t w = 0; w < words; w++)
        for (uint32_t rest = set[w]; rest; rest &= rest - 1) {
            call(s, member, 32 * w + (uint32_t)__builtin_ctz(rest));
            any = true;
        }
    if (!any)
        call(s, member, rd_index_class_count(s->index));
}

static void count_one(struct sets *s, uint64_t member, uint32_t class)
{
    (void)member;
    s->first[class + 1]++;
}

static void put_one(struct sets *s, uint64_t member, uint32_t class)
{
    s->having[s->first[class]++] = member;
}

/* Fills first and having. */
static int list_members(struct sets *s)
{
    const uint32_t classes = rd_index_class_count(s->index);

    s->first = calloc((size_t)classes + 3, sizeof *s->first);
    if (!s->first)
        return -ENOMEM;
    s->first++; /* counts of class c at c + 1, its beginning at c, moved by put_one() to its end */
    for (uint64_t i = 0; i < s->count; i++)
        each_class(s, i, count_one);
    for (uint32_t c = 0; c <= classes; c++)
        s->first[c + 1] += s->first[c];
    s->having = malloc((s->first[classes + 1] + 1) * sizeof *s->having);
    for (uint64_t i = 0; i < s->count && s->having; i++)
        each_class(s, i, put_one);
    s->first--; /* now class c begins at c */
    return s->having ? 0 : -ENOMEM;
}

/* Settles all images of a class that are not settled yet; returns how many of them are taken. */
static int64_t settle_class(const struct sets *s, uint32_t class, double share)
{
    const uint64_t *having = s->having + s->first[class], all = s->first[class + 1] - s->first[class];
    uint64_t had = 0, wanted = part_of(all, share), taken = 0;

    for (uint64_t i = 0; i < all; i++)
        had += s->is_taken[s->members[having[i]].id];
    for (uint64_t i = 0; i < all; i++) {
        if (s->is_settled[having[i]])
            continue;
        s->is_settled[having[i]] = 1;
        if (had + taken >= wanted)
            continue;
        s->is_taken[s->members[having[i]].id] = 1;
        taken++;
    }
    return (int64_t)taken;
}

static int64_t settle_classes(const struct sets *s, double share)
{
    const uint32_t classes = rd_index_class_count(s->index);
    struct rarity *order = calloc((size_t)classes + 1, sizeof *order);
    int64_t taken = 0;

    if (!order)
        return -ENOMEM;
    for (uint32_t c = 0; c < classes; c++)
        order[c] = (struct rarity){s->first[c + 1] - s->first[c], c};
    qsort(order, classes, sizeof *order, by_images);
    for (uint32_t c = 0; c < classes; c++)
        taken += settle_class(s, order[c].class, share);
    free(order);
    return taken + settle_class(s, classes, share);
}

/* As choose(). */
static int64_t choose_of_sets(const struct rd_index *index, double share, uint64_t seed,
                              unsigned char *is_taken)
{
    const uint64_t count = rd_index_count(index, IM_TRAIN);
    struct sets s = {.index = index,
                     .members = malloc((count + 1) * sizeof *s.members),
                     .count = count,
                     .is_settled = calloc(count + 1, 1),
                     .is_taken = is_taken};
    int64_t taken = -ENOMEM;

    if (s.members && s.is_settled) {
        for (uint64_t id = 0; id < count; id++)
            s.members[id] =
                (struct member){hash_of(index, id, "", seed), id, rd_index_label(index, IM_TRAIN, id)};
        qsort(s.members, count, sizeof *s.members, by_hash);
        taken = list_members(&s);
    }
    if (taken == 0)
        taken = settle_classes(&s, share);
    free(s.members);
    free(s.is_settled);
    free(s.first);
    free(s.having);
    return taken;
}

/* ---- one label an image ---- */

/* Sets is_taken[id] for the validation images; returns how many, or -ENOMEM. */
static int64_t choose(const struct rd_index *index, double share, uint64_t seed, unsigned char *is_taken)
{
    const uint64_t count = rd_index_count(index, IM_TRAIN);
    struct member *members = malloc((count + 1) * sizeof *members);
    int64_t taken = 0;

    if (!members)
        return -ENOMEM;
    for (uint64_t id = 0; id < count; id++) {
        const uint32_t label = rd_index_label(index, IM_TRAIN, id);

        members[id] = (struct member){hash_of(index, id, rd_index_class(index, label), seed), id, label};
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
    taken = !is_taken                       ? -ENOMEM
            : rd_index_set_words(index) > 0 ? choose_of_sets(index, share, seed, is_taken)
                                            : choose(index, share, seed, is_taken);
    if (taken == 0)
        err = im_fail(text, -EINVAL,
                      "--val-split: no class has two images, of which one could be for validation");
    else
        err = taken < 0 ? (int)taken : write_index(index, is_taken, ret_bytes, ret_size);
    free(is_taken);
    return err == -ENOMEM ? im_fail(text, err, "not enough memory to split the training images") : err;
}
