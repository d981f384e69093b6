#include "augment/tools/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "augment/tools/likeness.h"
#include "ipc/base/verdict.h"

static const struct {
    const char *name, *sentence;
} kinds[AU_FINDINGS] = {
    [AU_BAD] = {"bad", "cannot be used: training leaves them out"},
    [AU_CMYK] = {"cmyk", "CMYK: converted, and their colours may be off"},
    [AU_ROTATED] = {"rotated", "EXIF says to turn them, which training does not do"},
    [AU_MISNAMED] = {"misnamed", "another format than the name's ending says"},
    [AU_DUPLICATE] = {"duplicates", "the same bytes as another image of the class"},
    [AU_CONTRADICTS] = {"contradictions", "the same bytes as an image of another class"},
    [AU_LEAK] = {"leaks", "validation images that are training images, too"},
    [AU_NEAR] = {"near_duplicates", "look like another image: resized, recompressed, or changed a little"},
};

const char *au_finding_name(enum au_finding finding)
{
    return kinds[finding].name;
}

const char *au_finding_sentence(enum au_finding finding)
{
    return kinds[finding].sentence;
}

const char *au_bad_sentence(const struct au_fact *fact)
{
    return fact->verdict == IM_VERDICT_KILLED ? "decoding it killed the process that did"
                                              : im_verdict_sentence(fact->verdict);
}

static int verify_find_add(struct au_list *list, size_t item, size_t like)
{
    if (list->count % 256 == 0) {
        size_t *items = realloc(list->items, (list->count + 256) * sizeof *items), *others;

        if (items)
            list->items = items;
        others = items ? realloc(list->like, (list->count + 256) * sizeof *others) : NULL;
        if (!others)
            return -ENOMEM;
        list->like = others;
    }
    list->items[list->count] = item;
    list->like[list->count++] = like;
    return 0;
}

static bool is_misnamed(const char *path, const struct au_fact *f)
{
    const char *slash = strrchr(path, '/');
    const enum im_image_type named = im_image_type_of_name(slash ? slash + 1 : path);

    return f->verdict == 0 && named != IM_IMAGE_TYPE_COUNT && named != (enum im_image_type)f->type;
}

/* An image of several labels counts for each of them. */
static void count_classes(const struct au_name *name, const struct au_fact *f, struct au_findings *r)
{
    for (const char *at = name->classes; *at;) {
        char *end;
        const size_t class = strtoul(at, &end, 10);

        if (end == at || class >= r->class_count)
            return;
        r->classes[class].count[name->is_val]++;
        r->classes[class].usable[name->is_val] += f->verdict == 0;
        at = end;
    }
}

static int take_image(const struct au_names *names, const struct au_facts *facts, size_t i,
                      struct au_findings *r)
{
    const struct au_fact *f = &facts->facts[i];
    const struct au_name *name = &names->names[i];
    int err = 0;

    r->images[name->is_val]++;
    r->types[f->type <= IM_IMAGE_TYPE_COUNT ? f->type : IM_IMAGE_TYPE_COUNT]++;
    r->grey += f->components == 1;
    r->progressive += f->is_progressive;
    count_classes(name, f, r);
    if (f->verdict != 0)
        return verify_find_add(&r->list[AU_BAD], i, i);
    if (f->components == 4)
        err = verify_find_add(&r->list[AU_CMYK], i, i);
    if (err == 0 && f->orientation > 1)
        err = verify_find_add(&r->list[AU_ROTATED], i, i);
    if (err == 0 && is_misnamed(name->path, f))
        err = verify_find_add(&r->list[AU_MISNAMED], i, i);
    return err;
}

struct key {
    uint64_t hash, bytes;
    size_t i;
};

static int by_content(const void *a, const void *b)
{
    const struct key *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return (x->i > y->i) - (x->i < y->i);
}

/* Of images with the same bytes, in the order of the list, training images first: what the later one is to the first. */
static int take_copy(const struct au_names *names, size_t first, size_t i, struct au_findings *r)
{
    const struct au_name *a = &names->names[first], *b = &names->names[i];
    int err = 0;

    if (a->label != b->label)
        err = verify_find_add(&r->list[AU_CONTRADICTS], i, first);
    if (err == 0 && !a->is_val && b->is_val)
        return verify_find_add(&r->list[AU_LEAK], i, first);
    return err < 0 || a->label != b->label ? err : verify_find_add(&r->list[AU_DUPLICATE], i, first);
}

static int find_copies(const struct au_names *names, const struct au_facts *facts, struct au_findings *r)
{
    struct key *keys = calloc(names->count + 1, sizeof *keys);
    size_t n = 0, first = 0;
    int err = keys ? 0 : -ENOMEM;

    for (size_t i = 0; keys && i < names->count; i++)
        if (facts->facts[i].bytes > 0)
            keys[n++] = (struct key){facts->facts[i].hash, facts->facts[i].bytes, i};
    if (keys)
        qsort(keys, n, sizeof *keys, by_content);
    for (size_t k = 1; err == 0 && k < n; k++) {
        if (keys[k].hash != keys[first].hash || keys[k].bytes != keys[first].bytes)
            first = k;
        else
            err = take_copy(names, keys[first].i, keys[k].i, r);
    }
    free(keys);
    return err;
}

static bool is_copy(const struct au_fact *a, const struct au_fact *b)
{
    return a->hash == b->hash && a->bytes == b->bytes;
}

static int find_near(const struct au_names *names, const struct au_facts *facts, int most,
                     struct au_findings *r)
{
    uint64_t *hash = calloc(names->count + 1, sizeof *hash);
    bool *known = calloc(names->count + 1, sizeof *known);
    struct au_alike *alike = NULL;
    size_t n = 0;
    int err = hash && known ? 0 : -ENOMEM;

    for (size_t i = 0; err == 0 && i < names->count; i++) {
        hash[i] = facts->facts[i].likeness;
        known[i] = facts->facts[i].verdict == 0 && facts->facts[i].has_likeness;
    }
    if (err == 0)
        err = au_likeness_find(hash, known, names->count, most, &alike, &n);
    for (size_t k = 0; err == 0 && k < n; k++)
        if (!is_copy(&facts->facts[alike[k].item], &facts->facts[alike[k].like]))
            err = verify_find_add(&r->list[AU_NEAR], alike[k].item, alike[k].like);
    free(alike);
    free(known);
    free(hash);
    return err;
}

int au_findings_make(const struct au_names *names, const struct au_facts *facts, int near,
                     struct au_findings *ret)
{
    int err = 0;

    *ret = (struct au_findings){0};
    ret->class_count = names->class_count;
    ret->classes = calloc(ret->class_count + 1, sizeof *ret->classes);
    if (!ret->classes)
        return -ENOMEM;
    for (size_t i = 0; i < names->class_count; i++)
        ret->classes[i].name = names->classes[i];
    for (size_t i = 0; err == 0 && i < names->count; i++)
        err = take_image(names, facts, i, ret);
    if (err == 0)
        err = find_copies(names, facts, ret);
    return err == 0 && near > 0 ? find_near(names, facts, near, ret) : err;
}

void au_findings_free(struct au_findings *findings)
{
    for (int kind = 0; kind < AU_FINDINGS; kind++) {
        free(findings->list[kind].items);
        free(findings->list[kind].like);
    }
    free(findings->classes);
    *findings = (struct au_findings){0};
}
