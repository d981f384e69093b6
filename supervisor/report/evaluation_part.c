#include "supervisor/report/evaluation_part.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/file.h"
#include "ipc/base/hash.h"
#include "ipc/base/output.h"

#define PART_BYTES_MAX ((size_t)1 << 40)
#define PARTS_MAX 1000000

/* ---- writing ---- */

static int write_bytes(const struct sv_evaluation *e, char **ret, size_t *ret_n, size_t *ret_names)
{
    FILE *out = open_memstream(ret, ret_n);
    long before = 0, after = 0;

    if (!out)
        return -ENOMEM;
    for (uint32_t k = 0; k < e->classes; k++)
        fwrite(e->class_name[k], strlen(e->class_name[k]) + 1, 1, out);
    before = ftell(out);
    for (uint64_t i = 0; i < e->images; i++)
        fwrite(e->name[i], strlen(e->name[i]) + 1, 1, out);
    after = ftell(out);
    fwrite(e->records, e->record_bytes, e->images, out);
    *ret_names = (size_t)(after - before);
    return ferror(out) | fclose(out) || before < 0 || after < before ? -ENOMEM : 0;
}

static void set_hash(struct im_json *head, const char *bytes, size_t n)
{
    char hash[17];

    snprintf(hash, sizeof hash, "%016" PRIx64, im_hash64(bytes, n, 0));
    im_json_set_str(head, "hash", hash);
}

int sv_evaluation_write_part(const struct sv_evaluation *e, struct im_json *head, const char *path,
                             struct im_text *text)
{
    char *bytes = NULL, *line, *whole;
    size_t n = 0, names = 0, length;
    int err = write_bytes(e, &bytes, &n, &names);

    im_json_set_int(head, "classes", e->classes);
    im_json_set_int(head, "images", (int64_t)e->images);
    im_json_set_int(head, "tops", e->tops);
    im_json_set_int(head, "name_bytes", (int64_t)names);
    im_json_set_int(head, "bytes", (int64_t)n);
    set_hash(head, bytes, n);
    line = err == 0 ? im_json_dump(head) : NULL;
    length = line ? strlen(line) : 0;
    whole = line ? malloc(length + 1 + n) : NULL;
    if (whole) {
        memcpy(whole, line, length);
        whole[length] = '\n';
        memcpy(whole + length + 1, bytes, n);
        err = im_output_write(path, whole, length + 1 + n, text);
    }
    free(line);
    free(bytes);
    free(whole);
    return whole ? err : -ENOMEM;
}

/* ---- reading ---- */

struct part {
    char *path; /* owned */
    struct im_json *head;
    char *bytes, *body; /* bytes: of the file, owned */
    size_t n;           /* of body */
    uint64_t images;
    uint32_t classes;
    size_t name_bytes, class_bytes, record_bytes;
};

struct parts {
    struct part *part; /* by number; head NULL: not there */
    uint32_t count;
};

static void part_fini(struct part *p)
{
    im_json_free(&p->head);
    free(p->bytes);
    free(p->path);
}

static void parts_fini(struct parts *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        part_fini(&p->part[i]);
    free(p->part);
}

/* Do these bytes hold so many strings with their ends, and nothing else? */
static bool are_names(const char *bytes, size_t n, uint64_t count)
{
    uint64_t ends = 0;

    for (size_t i = 0; i < n; i++)
        ends += bytes[i] == 0;
    return ends == count && (n == 0 || bytes[n - 1] == 0);
}

/* Lengths of the three pieces; false: they are not what the head says. */
static bool measure(struct part *p)
{
    const int64_t images = im_json_int_or(p->head, "images", -1),
                  classes = im_json_int_or(p->head, "classes", -1),
                  tops = im_json_int_or(p->head, "tops", -1),
                  names = im_json_int_or(p->head, "name_bytes", -1);

    if (images < 0 || classes < 1 || classes > INT32_MAX || tops < 1 || tops > classes || names < 0 ||
        (uint64_t)names > p->n || (int64_t)p->n != im_json_int_or(p->head, "bytes", -1))
        return false;
    p->images = (uint64_t)images;
    p->classes = (uint32_t)classes;
    p->record_bytes = im_outcome_bytes((uint32_t)tops);
    p->name_bytes = (size_t)names;
    if (p->images > (p->n - p->name_bytes) / p->record_bytes)
        return false;
    p->class_bytes = p->n - p->name_bytes - (size_t)p->images * p->record_bytes;
    return are_names(p->body, p->class_bytes, p->classes) &&
           are_names(p->body + p->class_bytes, p->name_bytes, p->images);
}

static int read_part(struct part *p, struct im_text *text)
{
    char hash[17];
    size_t n = 0;
    int err = im_read_file(p->path, PART_BYTES_MAX, &p->bytes, &n, text);
    char *end;

    if (err < 0)
        return err;
    end = memchr(p->bytes, '\n', n);
    if (!end || im_json_parse(p->bytes, (size_t)(end - p->bytes), &p->head, NULL) < 0 ||
        strcmp(im_json_str_or(p->head, "schema", ""), SV_PART_SCHEMA) != 0)
        return im_fail(text, -EBADMSG,
                       "%.300s is no part of an evaluation of this version (imsuper eval --shard)", p->path);
    p->body = end + 1;
    p->n = n - (size_t)(p->body - p->bytes);
    snprintf(hash, sizeof hash, "%016" PRIx64, im_hash64(p->body, p->n, 0));
    if (strcmp(hash, im_json_str_or(p->head, "hash", "")) != 0 || !measure(p))
        return im_fail(text, -EBADMSG,
                       "%.300s is damaged, or was not copied to its end: copy it, or make it, again",
                       p->path);
    return 0;
}

/* ---- do they belong together ---- */

static int check_same(const struct part *a, const struct part *b, struct im_text *text)
{
    const struct im_json *same = im_json_get(a->head, "same"), *others = im_json_get(b->head, "same"), *value;

    for (const char *key = NULL; (value = im_json_next(same, &key));) {
        const char *mine = "", *theirs = im_json_str_or(others, key, "");

        if (im_json_as_str(value, &mine) < 0 || strcmp(mine, theirs) != 0)
            return im_fail(text, -EBADMSG,
                           "%.200s and %.200s are not of one evaluation: %s is %.60s and %.60s", a->path,
                           b->path, key, mine, theirs);
    }
    if (im_json_count(same) == 0 || im_json_count(same) != im_json_count(others) ||
        a->classes != b->classes || a->record_bytes != b->record_bytes || a->class_bytes != b->class_bytes ||
        memcmp(a->body, b->body, a->class_bytes) != 0)
        return im_fail(text, -EBADMSG, "%.200s and %.200s are not of one evaluation: their classes differ",
                       a->path, b->path);
    return 0;
}

static int check_place(const struct parts *all, int64_t number, int64_t count, const struct part *p,
                       struct im_text *text)
{
    const struct part *other = all->part;

    while (!other->head)
        other++; /* there is one */
    if (all->count != (uint32_t)count)
        return im_fail(text, -EBADMSG,
                       "%.200s is one of %u parts, %.200s of %" PRId64
                       ": keep those of one evaluation in a folder",
                       other->path, all->count, p->path, count);
    if (all->part[number].head)
        return im_fail(text, -EBADMSG, "%.200s and %.200s are both part %" PRId64 " of %" PRId64,
                       all->part[number].path, p->path, number, count);
    return check_same(other, p, text);
}

/* Takes what was read into its place, or says why not. */
static int place_part(struct parts *all, struct part *p, struct im_text *text)
{
    const int64_t number = im_json_int_or(p->head, "shard", -1),
                  count = im_json_int_or(p->head, "shards", -1);
    int err = 0;

    if (number < 0 || count < 1 || number >= count || count > PARTS_MAX)
        return im_fail(text, -EBADMSG, "%.300s says to be part %" PRId64 " of %" PRId64, p->path, number,
                       count);
    if (all->part)
        err = check_place(all, number, count, p, text);
    else
        all->part = calloc((size_t)count, sizeof *all->part);
    if (err < 0 || !all->part)
        return err < 0 ? err : -ENOMEM;
    all->count = (uint32_t)count;
    all->part[number] = *p;
    *p = (struct part){.path = NULL};
    return 0;
}

static bool ends_like_a_part(const char *name)
{
    const size_t n = strlen(name), ending = strlen(SV_PART_ENDING);

    return name[0] != '.' && n > ending && strcmp(name + n - ending, SV_PART_ENDING) == 0;
}

static int read_folder(const char *folder, struct parts *all, struct im_text *text)
{
    struct dirent **entry = NULL;
    const int count = scandir(folder, &entry, NULL, alphasort);
    int err =
        count < 0 ? im_fail(text, -errno, "cannot read the folder %.300s: %s", folder, strerror(errno)) : 0;

    for (int i = 0; i < count; i++) {
        struct part p = {.path = NULL};

        if (err == 0 && ends_like_a_part(entry[i]->d_name)) {
            if (asprintf(&p.path, "%s/%s", folder, entry[i]->d_name) < 0)
                p.path = NULL;
            err = p.path ? read_part(&p, text) : -ENOMEM;
            if (err == 0)
                err = place_part(all, &p, text);
            part_fini(&p);
        }
        free(entry[i]);
    }
    free(entry);
    if (err == 0 && !all->part)
        err = im_fail(
            text, -ENOENT,
            "%.300s holds no parts of an evaluation: imsuper eval RUN --shard I/N -o %.300s makes them",
            folder, folder);
    return err;
}

/* All are there, and each begins where the one before ends. */
static int check_whole(const char *folder, const struct parts *all, uint64_t *ret_images,
                       struct im_text *text)
{
    int64_t next = 0;

    for (uint32_t i = 0; i < all->count; i++)
        if (!all->part[i].head)
            return im_fail(
                text, -ENOENT,
                "part %u of %u is missing in %.300s: imsuper eval RUN --shard %u/%u -o ... makes it", i,
                all->count, folder, i, all->count);
    for (uint32_t i = 0; i < all->count; i++) {
        if (im_json_int_or(all->part[i].head, "first", -1) != next)
            return im_fail(text, -EBADMSG, "%.300s does not begin where the part before it ends",
                           all->part[i].path);
        next += (int64_t)all->part[i].images;
    }
    if (im_json_int_or(all->part[0].head, "all_images", -1) != next)
        return im_fail(text, -EBADMSG, "the parts in %.300s have %" PRId64 " images of %" PRId64, folder,
                       next, im_json_int_or(all->part[0].head, "all_images", -1));
    *ret_images = (uint64_t)next;
    return 0;
}

/* ---- joining ---- */

static int join(const struct parts *all, uint64_t images, struct sv_evaluation *ret, struct im_text *text)
{
    const struct part *first = &all->part[0];
    struct sv_evaluation_bytes b = {.classes = first->classes,
                                    .class_bytes = first->class_bytes,
                                    .images = images,
                                    .tops = (uint32_t)im_json_int_or(first->head, "tops", 0)};
    char *name, *record;

    for (uint32_t i = 0; i < all->count; i++)
        b.name_bytes += all->part[i].name_bytes;
    b.class_names = malloc(b.class_bytes + 1);
    name = b.image_names = malloc(b.name_bytes + 1);
    record = b.records = malloc(images * first->record_bytes + 1);
    if (b.class_names && name && record) {
        memcpy(b.class_names, first->body, b.class_bytes);
        for (uint32_t i = 0; i < all->count; i++) {
            const struct part *p = &all->part[i];

            memcpy(name, p->body + p->class_bytes, p->name_bytes);
            memcpy(record, p->body + p->class_bytes + p->name_bytes, p->images * p->record_bytes);
            name += p->name_bytes;
            record += p->images * p->record_bytes;
        }
    }
    return sv_evaluation_of_bytes(ret, &b, text);
}

int sv_evaluation_join(const char *folder, struct sv_evaluation *ret, struct im_json **ret_head,
                       struct im_text *text)
{
    struct parts all = {0};
    uint64_t images = 0;
    double seconds = 0;
    int err = read_folder(folder, &all, text);

    if (err == 0)
        err = check_whole(folder, &all, &images, text);
    if (err == 0)
        err = join(&all, images, ret, text);
    for (uint32_t i = 0; i < all.count && err == 0; i++)
        seconds = fmax(seconds, im_json_real_or(all.part[i].head, "seconds", 0));
    if (err == 0) {
        *ret_head = all.part[0].head;
        all.part[0].head = NULL;
        im_json_set_real(*ret_head, "seconds", seconds);
    }
    parts_fini(&all);
    return err;
}
