/* A zip archive: NAME/data.pkl, NAME/byteorder, NAME/data/KEY for each storage.
 *
 * Before PyTorch 1.6: the pickles of a magic number, of the protocol's version and of the machine; that of the object;
 * that of a list of keys; and for each key the number of elements and their bytes. */
#include "trainer/checkpoint/torch_storage.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"

#ifdef IMSUPER_LIBZIP
#include <zip.h>
#endif

#define PICKLE_BYTES_MAX ((uint64_t)1 << 28)

/* A storage in a file of before 1.6. */
struct place {
    const struct tr_torch_storage *storage;
    size_t at;
    bool has_place;
};

struct tr_torch_storages {
    const unsigned char *bytes;
    size_t n;
    /* of a file of before 1.6 */
    struct place *places; /* by key */
    size_t place_count;
    /* of an archive */
    struct zip *archive;
    char folder[256];
    char *loaded, *pickle; /* a storage, the pickle */
    char loaded_key[132];
    uint64_t loaded_bytes;
};

#ifdef IMSUPER_LIBZIP

/* Reads an entry as a whole, which must have so many bytes, or any number up to `limit` where *bytes is 0. */
static int read_entry(struct tr_torch_storages *s, const char *name, uint64_t limit, uint64_t *bytes,
                      char **ret, struct im_text *text)
{
    struct zip_stat st;
    zip_file_t *f;
    zip_int64_t got = -1;

    if (zip_stat(s->archive, name, 0, &st) < 0 || !(st.valid & ZIP_STAT_SIZE))
        return im_fail(text, -EBADMSG, "%.200s is missing in it", name);
    if (*bytes ? st.size != *bytes : st.size > limit)
        return im_fail(text, -EBADMSG, "%.200s in it has %llu bytes, which is not what belongs there", name,
                       (unsigned long long)st.size);
    *ret = malloc(st.size ? st.size : 1);
    f = *ret ? zip_fopen(s->archive, name, 0) : NULL;
    if (f) {
        got = zip_fread(f, *ret, st.size);
        zip_fclose(f);
    }
    if (!*ret || got < 0 || (uint64_t)got != st.size) {
        const bool memory = !*ret;

        free(*ret);
        *ret = NULL;
        return im_fail(text, memory ? -ENOMEM : -EBADMSG,
                       memory ? "out of memory for %.200s" : "%.200s in it is damaged", name);
    }
    *bytes = st.size;
    return 0;
}

/* The folder that everything is in: that of the first data.pkl. */
static int find_folder(struct tr_torch_storages *s, struct im_text *text)
{
    static const char end[] = "/data.pkl";
    const zip_int64_t count = zip_get_num_entries(s->archive, 0);

    for (zip_int64_t i = 0; i < count; i++) {
        const char *name = zip_get_name(s->archive, (zip_uint64_t)i, 0);
        const size_t n = name ? strlen(name) : 0;

        if (n < sizeof end || n >= sizeof s->folder || strcmp(name + n - (sizeof end - 1), end) != 0)
            continue;
        memcpy(s->folder, name, n - (sizeof end - 1));
        s->folder[n - (sizeof end - 1)] = '\0';
        return 0;
    }
    return im_fail(text, -EBADMSG, "it is an archive, but none of torch.save(): data.pkl is missing in it");
}

static int check_byte_order(struct tr_torch_storages *s, struct im_text *text)
{
    char name[300], *order = NULL;
    uint64_t n = 0;
    int err = 0;

    snprintf(name, sizeof name, "%s/byteorder", s->folder);
    if (zip_name_locate(s->archive, name, 0) < 0)
        return 0; /* PyTorch 1.6 to 2.0 did not say it */
    err = read_entry(s, name, 16, &n, &order, text);
    if (err == 0 && (n != 6 || memcmp(order, "little", 6) != 0))
        err = im_fail(text, -ENOTSUP, "its numbers are in the byte order of other machines");
    free(order);
    return err;
}

static int open_archive(struct tr_torch_storages *s, struct tr_pickle *pickle,
                        const struct tr_value **ret_root, struct im_text *text)
{
    zip_error_t why;
    zip_source_t *source;
    char name[300];
    uint64_t bytes = 0;
    size_t used;
    int err;

    zip_error_init(&why);
    source = zip_source_buffer_create(s->bytes, s->n, 0, &why);
    s->archive = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    if (!s->archive) {
        zip_source_free(source);
        err = im_fail(text, -EBADMSG, "it is a damaged archive: %.200s", zip_error_strerror(&why));
        zip_error_fini(&why);
        return err;
    }
    zip_error_fini(&why);
    err = find_folder(s, text);
    if (err == 0)
        err = check_byte_order(s, text);
    snprintf(name, sizeof name, "%s/data.pkl", s->folder);
    if (err == 0)
        err = read_entry(s, name, PICKLE_BYTES_MAX, &bytes, &s->pickle, text);
    return err < 0 ? err : tr_pickle_read(pickle, s->pickle, bytes, ret_root, &used, text);
}

static int get_entry(struct tr_torch_storages *s, const char *key, uint64_t bytes, const void **ret,
                     struct im_text *text)
{
    char name[512];
    int err = 0;

    if (!s->loaded || strcmp(s->loaded_key, key) != 0 || s->loaded_bytes != bytes) {
        free(s->loaded);
        s->loaded = NULL;
        snprintf(name, sizeof name, "%s/data/%s", s->folder, key);
        err = read_entry(s, name, 0, &bytes, &s->loaded, text);
        snprintf(s->loaded_key, sizeof s->loaded_key, "%s", key);
        s->loaded_bytes = bytes;
    }
    *ret = s->loaded;
    return err;
}

static void close_archive(struct tr_torch_storages *s)
{
    if (s->archive)
        zip_discard(s->archive);
}

#else

static int open_archive(struct tr_torch_storages *s, struct tr_pickle *pickle,
                        const struct tr_value **ret_root, struct im_text *text)
{
    (void)s, (void)pickle, (void)ret_root;
    return im_fail(
        text, -ENOTSUP,
        "this program was built without libzip, which reads .pt and .pth files: install libzip-dev and build "
        "again, or save the weights as safetensors");
}

static int get_entry(struct tr_torch_storages *s, const char *key, uint64_t bytes, const void **ret,
                     struct im_text *text)
{
    (void)s, (void)key, (void)bytes, (void)ret;
    return im_fail(text, -ENOTSUP, "there is no archive");
}

static void close_archive(struct tr_torch_storages *s)
{
    (void)s;
}

#endif

/* Of the long number that files of before 1.6 begin with. */
static const unsigned char magic[] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9,
                                      0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->storage->key, ((const struct place *)b)->storage->key);
}

static struct place *find_place(const struct tr_torch_storages *s, const char *key)
{
    const struct tr_torch_storage wanted = {.key = key};
    const struct place p = {.storage = &wanted};

    return s->place_count ? bsearch(&p, s->places, s->place_count, sizeof *s->places, by_key) : NULL;
}

/* The storages that the object named, each once. */
static int list_places(struct tr_torch_storages *s, const struct tr_pickle *pickle, struct im_text *text)
{
    size_t count = 0, kept = 0;

    for (const struct tr_torch_storage *t = pickle->storages; t; t = t->next)
        count++;
    s->places = calloc(count + 1, sizeof *s->places);
    if (!s->places)
        return im_fail(text, -ENOMEM, "out of memory for its storages");
    for (const struct tr_torch_storage *t = pickle->storages; t; t = t->next)
        s->places[s->place_count++].storage = t;
    qsort(s->places, count, sizeof *s->places, by_key);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || by_key(&s->places[kept - 1], &s->places[i]) != 0)
            s->places[kept++] = s->places[i];
    s->place_count = kept;
    return 0;
}

/* Behind the pickles: the number of elements and the elements of each storage, in the order of the keys. */
static int find_parts(struct tr_torch_storages *s, const struct tr_value *keys, size_t at,
                      struct im_text *text)
{
    char key[132];

    for (size_t i = 0; i < keys->u.items.n; i++) {
        const struct tr_value *v = keys->u.items.v[i];
        struct place *place = NULL;
        uint64_t bytes;

        if (v->kind == TR_VALUE_TEXT && v->u.text.n < sizeof key) {
            snprintf(key, sizeof key, "%.*s", (int)v->u.text.n, v->u.text.s);
            place = find_place(s, key);
        }
        if (!place || place->storage->element == 0)
            return im_fail(text, -ENOTSUP, "it has a storage of a type that is not known");
        if (s->n - at < 8 || __builtin_mul_overflow(place->storage->count, place->storage->element, &bytes) ||
            s->n - at - 8 < bytes)
            return im_fail(text, -EBADMSG, "it is cut off in the bytes of its tensors");
        place->at = at + 8;
        place->has_place = true;
        at += 8 + bytes;
    }
    return 0;
}

static int open_sequence(struct tr_torch_storages *s, struct tr_pickle *pickle,
                         const struct tr_value **ret_root, struct im_text *text)
{
    const struct tr_value *v = NULL;
    size_t at = 0;
    int err = 0;

    if (!memmem(s->bytes, s->n < 32 ? s->n : 32, magic, sizeof magic))
        return im_fail(text, -EBADMSG, "it is a pickle, but none of torch.save()");
    for (int i = 0; i < 5 && err == 0; i++) { /* the number, the version, the machine, the object, the keys */
        size_t used = 0;

        err = tr_pickle_read(pickle, s->bytes + at, s->n - at, &v, &used, text);
        at += used;
        if (i == 3)
            *ret_root = v;
    }
    if (err == 0 && v->kind != TR_VALUE_LIST)
        err = im_fail(text, -EBADMSG, "the list of its storages is missing");
    if (err == 0)
        err = list_places(s, pickle, text);
    return err < 0 ? err : find_parts(s, v, at, text);
}

static int get_part(struct tr_torch_storages *s, const char *key, uint64_t bytes, const void **ret,
                    struct im_text *text)
{
    const struct place *place = find_place(s, key);

    if (!place || !place->has_place || place->storage->count * place->storage->element != bytes)
        return im_fail(text, -EBADMSG, "the bytes of storage %.100s are missing in it", key);
    *ret = s->bytes + place->at;
    return 0;
}

int tr_torch_storages_open(const void *bytes, size_t n, struct tr_pickle *pickle,
                           struct tr_torch_storages **ret, const struct tr_value **ret_root,
                           struct im_text *text)
{
    struct tr_torch_storages *s = calloc(1, sizeof *s);

    *ret = s;
    if (!s)
        return im_fail(text, -ENOMEM, "out of memory");
    s->bytes = bytes;
    s->n = n;
    return n > 1 && s->bytes[0] == 'P' ? open_archive(s, pickle, ret_root, text)
                                       : open_sequence(s, pickle, ret_root, text);
}

void tr_torch_storages_close(struct tr_torch_storages **s)
{
    if (*s) {
        close_archive(*s);
        free((*s)->places);
        free((*s)->loaded);
        free((*s)->pickle);
    }
    free(*s);
    *s = NULL;
}

int tr_torch_storage_get(struct tr_torch_storages *s, const char *key, uint64_t bytes, const void **ret,
                         struct im_text *text)
{
    return s->places ? get_part(s, key, bytes, ret, text) : get_entry(s, key, bytes, ret, text);
}
