/* First all members, then those of a key together, wherever they are in the archive: tar lists a folder in no order. */
#include "reader/dataset/shard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ipc/base/image_type.h"
#include "ipc/base/json.h"
#include "ipc/base/number.h"
#include "reader/dataset/shard_labels.h"

#define LABEL_BYTES_MAX 65536 /* of a member that is a label */
#define MEMBERS_MAX (UINT32_C(1) << 27)

enum kind { IMAGE, UNDECODED, CLS, JSON, OTHER };

struct member {
    uint32_t name;      /* string */
    uint16_t key, stem; /* bytes of the name before the first and before the last dot of its last part */
    uint8_t kind;
    bool is_taken;
    uint32_t label, file; /* strings, of a label */
    int64_t number;
    uint64_t offset, bytes;
    uint32_t mark;
};

struct scan {
    struct rd_shard *shard;
    struct member *members;
    uint32_t count, capacity, skipped_capacity, image_capacity;
    uint32_t *order; /* of the members: by key, then as they come */
};

static int64_t add_string(struct rd_shard *shard, const char *s)
{
    return *s ? rd_names_add(&shard->strings, s) : 0;
}

static int grow(void **items, uint32_t *capacity, uint32_t count, size_t bytes)
{
    const uint32_t wanted = 2 * *capacity + 64;
    void *grown;

    if (count < *capacity)
        return 0;
    if (count >= MEMBERS_MAX)
        return -EFBIG;
    grown = realloc(*items, wanted * bytes);
    if (!grown)
        return -ENOMEM;
    *items = grown;
    *capacity = wanted;
    return 0;
}

static int leave_out(struct scan *scan, enum rd_skip kind, uint32_t name, const char *note)
{
    struct rd_shard *shard = scan->shard;
    const int64_t note_at = add_string(shard, note);
    void *items = shard->skipped;
    int err = note_at < 0
                  ? (int)note_at
                  : grow(&items, &scan->skipped_capacity, shard->skipped_count, sizeof *shard->skipped);

    if (err < 0)
        return err;
    shard->skipped = items;
    shard->skipped[shard->skipped_count++] =
        (struct rd_shard_skipped){.name = name, .note = (uint32_t)note_at, .kind = (uint8_t)kind};
    return 0;
}

static enum kind kind_of(const char *name, const char *ending)
{
    if (strcasecmp(ending, "cls") == 0)
        return CLS;
    if (strcasecmp(ending, "json") == 0)
        return JSON;
    if (rd_is_image_name(name))
        return IMAGE;
    return im_image_type_of_name(name) < IM_IMAGE_TYPE_COUNT ? UNDECODED : OTHER;
}

static int set_label(struct scan *scan, struct member *m, const char *label)
{
    const int64_t at = add_string(scan->shard, label);

    m->number = im_whole_number(label);
    m->label = at < 0 ? 0 : (uint32_t)at;
    return at < 0 ? (int)at : 0;
}

static int take_cls(struct scan *scan, struct member *m, const char *text, size_t n)
{
    char *label = NULL;
    int err = memchr(text, 0, n) ? 0 : rd_shard_label_of_text(text, n, &label);

    if (err == 0 && label)
        err = set_label(scan, m, label);
    free(label);
    return err;
}

static int take_json(struct scan *scan, struct member *m, const char *text, size_t n)
{
    struct im_json *j;
    char *label;
    const char *word;
    int64_t file = 0;
    int err = im_json_parse(text, n, &j, NULL);

    if (err < 0)
        return err == -ENOMEM ? err : 0;
    err = rd_shard_label_of_json(j, &label);
    if (err == 0 && label)
        err = set_label(scan, m, label);
    free(label);
    if (im_json_as_str(im_json_get(j, "filename"), &word) == 0)
        file = add_string(scan->shard, word);
    m->file = file > 0 ? (uint32_t)file : 0;
    im_json_free(&j);
    return file < 0 ? (int)file : err;
}

static int read_label(struct scan *scan, struct rd_tar *tar, const struct rd_tar_member *found,
                      struct member *m)
{
    char *text;
    int64_t n;
    int err;

    if (found->bytes > LABEL_BYTES_MAX)
        return 0;
    text = malloc(LABEL_BYTES_MAX + 1);
    if (!text)
        return -ENOMEM;
    n = rd_tar_peek(tar, found, text, LABEL_BYTES_MAX);
    err = n < 0            ? (int)n
          : m->kind == CLS ? take_cls(scan, m, text, (size_t)n)
                           : take_json(scan, m, text, (size_t)n);
    free(text);
    return err;
}

static bool is_hidden(const char *base)
{
    const size_t n = strlen(base);

    /* WebDataset's own: "__" in front and behind. */
    return base[0] == '.' || (n > 4 && memcmp(base, "__", 2) == 0 && memcmp(base + n - 2, "__", 2) == 0);
}

static int add_member(struct scan *scan, struct rd_tar *tar, const struct rd_tar_member *found)
{
    const char *slash = strrchr(found->name, '/'), *base = slash ? slash + 1 : found->name,
               *dot = strchr(base, '.'), *last = strrchr(base, '.');
    const int64_t name = add_string(scan->shard, found->name);
    void *items = scan->members;
    struct member *m;
    int err = name < 0 ? (int)name : 0;

    if (err < 0 || found->type == RD_TAR_FOLDER)
        return err;
    if (is_hidden(base) || strstr(found->name, "__MACOSX/"))
        return leave_out(scan, RD_SKIP_HIDDEN, (uint32_t)name, "");
    if (found->type != RD_TAR_FILE)
        return leave_out(scan, RD_SKIP_SPECIAL, (uint32_t)name,
                         found->type == RD_TAR_SPARSE ? "a sparse member, whose bytes are not in one piece"
                         : found->type == RD_TAR_LINK ? "a link inside the archive"
                                                      : "");
    err = grow(&items, &scan->capacity, scan->count, sizeof *scan->members);
    if (err < 0)
        return err;
    scan->members = items;
    m = &scan->members[scan->count++];
    *m = (struct member){.name = (uint32_t)name,
                         .key = (uint16_t)(dot ? dot - found->name : (ptrdiff_t)strlen(found->name)),
                         .stem = (uint16_t)(dot ? last - found->name : (ptrdiff_t)strlen(found->name)),
                         .kind = (uint8_t)(dot ? kind_of(base, last + 1) : OTHER),
                         .number = RD_NO_NUMBER,
                         .offset = found->offset,
                         .bytes = found->bytes,
                         .mark = found->mark};
    if (m->kind != CLS && m->kind != JSON)
        return 0;
    scan->shard->has_labels = true;
    return read_label(scan, tar, found, m);
}

static int add_image(struct scan *scan, struct member *m, const struct member *cls, const struct member *json)
{
    struct rd_shard *shard = scan->shard;
    const struct member *label = cls && cls->label ? cls : json;
    void *items = shard->images;
    int err = grow(&items, &scan->image_capacity, shard->count, sizeof *shard->images);

    if (err < 0)
        return err;
    m->is_taken = true;
    shard->images = items;
    shard->images[shard->count++] = (struct rd_shard_image){.member = m->name,
                                                            .file = json ? json->file : 0,
                                                            .label = label ? label->label : 0,
                                                            .number = label ? label->number : RD_NO_NUMBER,
                                                            .offset = m->offset,
                                                            .bytes = m->bytes,
                                                            .mark = m->mark};
    return 0;
}

static const char *name_of(const struct scan *scan, const struct member *m)
{
    return rd_shard_string(scan->shard, m->name);
}

static int by_key(const void *a, const void *b, void *context)
{
    const struct scan *scan = context;
    const uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    const struct member *x = &scan->members[i], *y = &scan->members[k];
    const int order = memcmp(name_of(scan, x), name_of(scan, y), x->key < y->key ? x->key : y->key);

    if (order != 0)
        return order;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return i < k ? -1 : i > k;
}

static int by_offset(const void *a, const void *b)
{
    const struct rd_shard_image *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The members [first, end) of `order`, which have one key. */
struct group {
    const struct scan *scan;
    uint32_t first, end;
};

static struct member *at(const struct group *g, uint32_t i)
{
    return &g->scan->members[g->scan->order[i]];
}

/* The label for an image of the group: the one that has its whole stem (a.b.jpg, a.b.cls), or else that of the key. */
static const struct member *label_for(const struct group *g, const struct member *m, enum kind kind)
{
    const struct member *found = NULL;
    const char *name = name_of(g->scan, m);

    for (uint32_t i = g->first; i < g->end; i++) {
        const struct member *label = at(g, i);

        if (label->kind != kind)
            continue;
        if (label->stem == m->stem && memcmp(name_of(g->scan, label), name, m->stem) == 0)
            return label;
        if (label->stem == label->key && !found)
            found = label;
    }
    return found;
}

/* a.b.jpg of a key whose image is not a.jpg: one of its own, if it has a label of its own. */
static bool has_own_label(const struct group *g, const struct member *m)
{
    for (int kind = CLS; kind <= JSON; kind++) {
        const struct member *label = label_for(g, m, (enum kind)kind);

        if (label && label->stem == m->stem)
            return true;
    }
    return false;
}

/* The only label of the group: a.target.cls is that of a.input.png. */
static const struct member *only_label(const struct group *g, enum kind kind)
{
    const struct member *found = NULL;

    for (uint32_t i = g->first; i < g->end; i++)
        if (at(g, i)->kind == kind) {
            if (found)
                return NULL;
            found = at(g, i);
        }
    return found;
}

/* With `alone` it is the only image of the group. */
static int take_image(struct scan *scan, const struct group *g, struct member *m, bool alone)
{
    const struct member *cls = label_for(g, m, CLS), *json = label_for(g, m, JSON);

    if (alone && !cls)
        cls = only_label(g, CLS);
    if (alone && !json)
        json = only_label(g, JSON);
    return add_image(scan, m, cls, json);
}

/* The image of the key is the first whose name has one dot; without any, each that has a label with its name, or the
 * first. */
static int take_group(struct scan *scan, const struct group *g)
{
    struct member *plain = NULL, *first = NULL;
    uint32_t own = 0;
    int err = 0;

    for (uint32_t i = g->first; i < g->end; i++) {
        struct member *m = at(g, i);

        if (m->kind != IMAGE)
            continue;
        first = first ? first : m;
        plain = plain || m->stem != m->key ? plain : m;
        own += m->stem != m->key && has_own_label(g, m);
    }
    if (plain)
        err = take_image(scan, g, plain, true);
    for (uint32_t i = g->first; i < g->end && err == 0 && !plain && own > 0; i++)
        if (at(g, i)->kind == IMAGE && has_own_label(g, at(g, i)))
            err = take_image(scan, g, at(g, i), false);
    if (err == 0 && first && !plain && own == 0)
        err = take_image(scan, g, first, true);
    for (uint32_t i = g->first; i < g->end && err == 0; i++) {
        const struct member *m = at(g, i);

        if (m->kind == IMAGE && !m->is_taken)
            err = leave_out(scan, plain && m->stem != m->key ? RD_SKIP_OTHER : RD_SKIP_TWICE, m->name,
                            "another image of its key");
        else if (m->kind == UNDECODED)
            err = leave_out(scan, RD_SKIP_TYPE, m->name,
                            im_image_type_missing(im_image_type_of_name(name_of(scan, m))));
        else if (m->kind == OTHER && !first)
            err = leave_out(scan, RD_SKIP_OTHER, m->name, "");
        else if ((m->kind == CLS || m->kind == JSON) && !first)
            err = leave_out(scan, RD_SKIP_MISSING, m->name, "a label without an image");
    }
    return err;
}

static int group(struct scan *scan)
{
    struct group g = {.scan = scan};
    int err = 0;

    scan->order = malloc(((size_t)scan->count + 1) * sizeof *scan->order);
    if (!scan->order)
        return -ENOMEM;
    for (uint32_t i = 0; i < scan->count; i++)
        scan->order[i] = i;
    qsort_r(scan->order, scan->count, sizeof *scan->order, by_key, scan);
    for (; g.first < scan->count && err == 0; g.first = g.end) {
        const struct member *m = at(&g, g.first);

        for (g.end = g.first + 1; g.end < scan->count; g.end++) {
            const struct member *other = at(&g, g.end);

            if (other->key != m->key || memcmp(name_of(scan, other), name_of(scan, m), m->key) != 0)
                break;
        }
        err = take_group(scan, &g);
    }
    return err;
}

/* Without labels each image stands for itself. */
static int take_all(struct scan *scan)
{
    int err = 0;

    for (uint32_t i = 0; i < scan->count && err == 0; i++) {
        struct member *m = &scan->members[i];

        if (m->kind == IMAGE)
            err = add_image(scan, m, NULL, NULL);
        else
            err = leave_out(
                scan, m->kind == UNDECODED ? RD_SKIP_TYPE : RD_SKIP_OTHER, m->name,
                m->kind == UNDECODED ? im_image_type_missing(im_image_type_of_name(name_of(scan, m))) : "");
    }
    return err;
}

/* An archive that ends in the midst, or is damaged there, keeps what stands before. */
static void note_cut(struct rd_shard *shard, const struct im_text *why)
{
    if (shard->count > 0)
        im_fail(&shard->cut, 0, "%.200s; the last whole sample is %.500s", why->s,
                rd_shard_string(shard, shard->images[shard->count - 1].member));
    else
        im_fail(&shard->cut, 0, "%.200s; no sample is whole", why->s);
}

int rd_shard_read(struct rd_tar *tar, struct rd_shard *shard)
{
    struct scan scan = {.shard = shard};
    struct rd_tar_member member;
    struct im_text cut = {""};
    int err = 0, more;

    while ((more = rd_tar_next(tar, &member, &cut)) == 1 && err == 0)
        err = add_member(&scan, tar, &member);
    if (err == 0 && more < 0 && ((more != -ENODATA && more != -EBADMSG) || tar->at == 0)) {
        im_fail(&shard->why, more, "%.900s", cut.s);
        err = more;
    }
    if (err == 0)
        err = shard->has_labels ? group(&scan) : take_all(&scan);
    if (err == 0 && shard->count > 0)
        qsort(shard->images, shard->count, sizeof *shard->images, by_offset);
    if (err == 0 && more < 0)
        note_cut(shard, &cut);
    free(scan.members);
    free(scan.order);
    return err;
}

void rd_shard_fini(struct rd_shard *shard)
{
    rd_names_fini(&shard->strings);
    free(shard->images);
    free(shard->skipped);
    shard->images = NULL;
    shard->skipped = NULL;
}
