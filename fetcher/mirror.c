/* Makes a mirror: asks for the list, makes the folders and an empty file for each image, fetches what says which class
 * images are of, and writes the list last. Done again, it keeps what has not changed. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fetcher/cache.h"
#include "fetcher/listing.h"
#include "fetcher/shards.h"
#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/printable.h"
#include "reader/dataset/mirror.h"
#include "reader/dataset/scan.h"
#include "reader/dataset/shard_list.h"

#define LIST "index.txt"
#define LIST_MAX ((size_t)4 << 30)
#define PAGE_MAX ((size_t)64 << 20)
#define TABLE_MAX ((size_t)256 << 20)
#define TABLES_MAX 100000
#define STALL_MS 30000
#define REQUESTS 8
#define TELL_EVERY_NS (10 * IM_SECOND)

struct make {
    const char *data_dir;
    struct fe_address address;
    struct fe_client *client;
    struct fe_cache cache;
    struct fe_objects objects;
    struct fe_listing before; /* the list of last time */
    char mirror[PATH_MAX];
    int root_fd;
    bool has_csv;
    enum fe_list_how how;
    char list[PATH_MAX]; /* of shards, as they are named; "": what is there is asked for */
    uint32_t shards;     /* whose members are listed */
    uint64_t conflicts, tables;
    im_ns told;
};

/* With 200: of a server that has no such file, or of a network that asks for a name first. */
static bool is_page(const char *bytes, size_t n)
{
    return n > 0 && bytes[strspn(bytes, " \t\r\n")] == '<';
}

static int ask_list(struct make *m, struct im_text *text)
{
    char url[FE_URL_BYTES], *bytes = NULL;
    struct im_text why = {""};
    size_t n;
    int err = fe_address_url(&m->address, LIST, url, sizeof url);

    if (err == 0)
        err = fe_client_get(m->client, url, LIST_MAX, &bytes, &n, text);
    if (err == -ENOENT && !m->address.is_s3)
        return im_fail(text, -ENOENT,
                       "%.300s has no " LIST
                       ", which says what is there: in the folder on the server, `find . "
                       "-type f -printf '%%P\\n' >" LIST "` makes one",
                       m->data_dir);
    if (err < 0)
        return err;
    if (is_page(bytes, n))
        im_fail(&why, err = -EBADMSG, "the server gives a page in place of the list");
    else
        err = fe_objects_parse(&m->objects, bytes, n, &why);
    free(bytes);
    return err < 0 ? im_fail(text, err, "%.700s: %.200s", url, why.s) : 0;
}

static int ask_page(struct make *m, char *token, size_t size, struct im_text *text)
{
    char url[FE_URL_BYTES], prefix[3 * sizeof m->address.prefix], escaped[3 * 2048] = "", *bytes = NULL;
    int err = fe_escape(m->address.prefix, false, prefix, sizeof prefix);
    size_t n;

    if (err == 0)
        err = fe_escape(token, false, escaped, sizeof escaped);
    /* In the order of names, as the signature has it. */
    if (err == 0 && (size_t)snprintf(url, sizeof url, "%s/?%s%s%slist-type=2&prefix=%s", m->address.bucket,
                                     *escaped ? "continuation-token=" : "", escaped, *escaped ? "&" : "",
                                     prefix) >= sizeof url)
        err = -ENAMETOOLONG;
    if (err < 0)
        return im_fail(text, err, "the address of the list of %.300s is too long", m->data_dir);
    err = fe_client_get(m->client, url, PAGE_MAX, &bytes, &n, text);
    if (err < 0)
        return err;
    err = fe_objects_parse_s3(&m->objects, bytes, n, m->address.prefix, token, size, text);
    free(bytes);
    return err;
}

static int ask_bucket(struct make *m, struct im_text *text)
{
    char token[2048] = "", before[2048];
    int err;

    do {
        memcpy(before, token, sizeof before);
        err = ask_page(m, token, sizeof token, text);
        if (err == 0 && *token && strcmp(token, before) == 0)
            err = im_fail(text, -EBADMSG, "the server's list of objects does not end");
    } while (err == 0 && *token);
    return err;
}

/* Of a line of the list. */
struct object {
    char path[PATH_MAX], etag[FE_ETAG_BYTES];
    int64_t size;
};

static void object_at(const struct make *m, uint64_t i, struct object *ret)
{
    const char *line = m->objects.bytes + m->objects.line[i];
    const size_t n = strcspn(line, "\t"), size = strcspn(line + n + 1, "\t");
    const char *etag = line + n + 1 + size + 1;

    snprintf(ret->path, sizeof ret->path, "%.*s", (int)n, line);
    ret->size = size ? strtoll(line + n + 1, NULL, 10) : -1;
    snprintf(ret->etag, sizeof ret->etag, "%.*s", (int)strcspn(etag, "\n"), etag);
}

static bool has_suffix(const char *path, const char *suffix)
{
    const size_t n = strlen(path), m = strlen(suffix);

    return n >= m && strcasecmp(path + n - m, suffix) == 0;
}

/* Beside shards, what says which there are and what the classes are (reader/dataset/shard_classes.c). */
static const char *const shard_tables[] = {"classes.txt", "_info.json", "info.json", "dataset_info.json",
                                           "dataset_infos.json"};

static bool is_shard_table(const char *path)
{
    for (size_t i = 0; i < IM_COUNT(shard_tables); i++)
        if (strcmp(path, shard_tables[i]) == 0)
            return true;
    return false;
}

/* What tells classes; annotations only where nothing shorter does (reader/dataset/labels.c). */
static bool is_table(const struct make *m, const char *path)
{
    return has_suffix(path, ".csv") || has_suffix(path, ".txt") || has_suffix(path, ".mat") ||
           is_shard_table(path) || (has_suffix(path, ".xml") && !m->has_csv && strstr(path, "/val/"));
}

static int fetch_table(struct make *m, const struct object *o, struct im_text *text)
{
    char url[FE_URL_BYTES], path[2 * PATH_MAX + 16], *bytes = NULL;
    size_t n;
    int err = fe_address_url(&m->address, o->path, url, sizeof url);

    if (err == 0)
        err = fe_client_get(m->client, url, TABLE_MAX, &bytes, &n, text);
    if (err < 0)
        return err;
    snprintf(path, sizeof path, "%s/data/%s", m->mirror, o->path);
    if (*m->list && is_page(bytes, n))
        err = -ENOENT;
    else
        err = im_file_replace(path, bytes, n, text);
    free(bytes);
    return err;
}

/* 0, also where the name cannot be used here: a file and a folder of the same name. */
static int make_object(struct make *m, const struct object *o, struct im_text *text)
{
    char etag[FE_ETAG_BYTES];
    int64_t size;
    bool was_listed = fe_listing_find(&m->before, o->path, &size, etag, sizeof etag);
    int fd, err = fe_cache_folders(m->root_fd, o->path);

    if (err == 0 && !rd_is_image_name(o->path) && is_table(m, o->path)) {
        if (++m->tables > TABLES_MAX)
            return im_fail(text, -EFBIG, "%.300s lists more than %d tables and annotations", m->data_dir,
                           TABLES_MAX);
        return fetch_table(m, o, text);
    }
    if (err == 0 && was_listed && !has_suffix(o->path, ".tar") &&
        (size != o->size || strcmp(etag, o->etag) != 0))
        err = fe_cache_forget(&m->cache, m->root_fd, o->path);
    if (err == 0) {
        fd = openat(m->root_fd, o->path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, RD_MIRROR_AWAY_MODE);
        err = fd < 0 ? -errno : 0;
        if (fd >= 0)
            close(fd);
    }
    if (err == -EACCES && was_listed) /* marked as one that cannot be fetched */
        err = 0;
    if (err == -EISDIR || err == -ENOTDIR || err == -EEXIST) {
        m->conflicts++;
        err = 0;
    }
    return err < 0 ? im_fail(text, err, "cannot make '%.300s' in the cache folder %.300s: %s", o->path,
                             m->cache.path, strerror(-err))
                   : 0;
}

static bool is_listed(const struct make *m, const char *path, size_t n)
{
    uint64_t low = 0, high = m->objects.count;

    while (low < high) {
        const uint64_t i = low + (high - low) / 2;
        const char *line = m->objects.bytes + m->objects.line[i];
        const size_t k = strcspn(line, "\t");
        const int c = memcmp(path, line, n < k ? n : k);
        const int order = c ? c : n < k ? -1 : n > k;

        if (order == 0)
            return true;
        if (order < 0)
            high = i;
        else
            low = i + 1;
    }
    return false;
}

static void forget_members(struct make *m, const char *path)
{
    char folder[PATH_MAX];

    if (has_suffix(path, ".tar") && rd_mirror_members(path, folder, sizeof folder) > 0)
        fe_cache_forget_folder(&m->cache, m->root_fd, folder);
}

/* What was listed last time and is no more. */
static void remove_others(struct make *m)
{
    const char *end = m->before.bytes + m->before.n;
    char path[PATH_MAX];

    for (const char *line = m->before.bytes; line && line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line)), *tab;

        stop = stop ? stop : end;
        tab = memchr(line, '\t', (size_t)(stop - line));
        tab = tab ? tab : stop;
        if (!is_listed(m, line, (size_t)(tab - line)) && tab - line < PATH_MAX) {
            snprintf(path, sizeof path, "%.*s", (int)(tab - line), line);
            if (fe_path_is_good(path)) {
                fe_cache_forget(&m->cache, m->root_fd, path);
                unlinkat(m->root_fd, path, 0);
                forget_members(m, path);
            }
        }
        line = stop + 1;
    }
}

static int write_listing(struct make *m, struct im_text *text)
{
    struct im_file_writer w = {.fd = -1};
    char path[PATH_MAX + 16];
    int err;

    snprintf(path, sizeof path, "%s/listing", m->mirror);
    err = im_file_begin(&w, path, text);
    for (uint64_t i = 0; i < m->objects.count && err == 0; i++) {
        const char *line = m->objects.bytes + m->objects.line[i];

        err = im_file_write(&w, line, strcspn(line, "\n") + 1, text);
    }
    if (err == 0)
        err = im_file_commit(&w, text);
    /* An index that was made of members, which are not listed again, is no older than the list. */
    if (err == 0 && m->shards > 0 && m->how == FE_LIST_QUIETLY &&
        utimensat(AT_FDCWD, path, (const struct timespec[2]){{.tv_sec = 1}, {.tv_sec = 1}}, 0) < 0)
        err = im_fail(text, -errno, "cannot set the time of '%.700s': %s", path, strerror(errno));
    return err;
}

static int open_mirror(struct make *m, struct im_text *text)
{
    char path[PATH_MAX + 16];
    int err;

    snprintf(path, sizeof path, "%s/data", m->mirror);
    err = im_mkdirs(path, 0700, text);
    if (err < 0)
        return err;
    m->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->root_fd < 0)
        return im_fail(text, -errno, "cannot open '%.700s': %s", path, strerror(errno));
    snprintf(path, sizeof path, "%s/url", m->mirror);
    err = im_file_replace(path, m->data_dir, strlen(m->data_dir), text);
    if (err == 0)
        fe_listing_open(m->mirror, &m->before, NULL);
    return err;
}

/* The shards that a list names, and what may lie beside them: each is asked for by name. */
static int name_shards(struct make *m, struct im_text *text)
{
    struct rd_names words = {0};
    int err = rd_braces_expand(m->list, &words, text);

    for (uint32_t i = 0; i < words.count && err == 0; i++)
        err = fe_objects_add(&m->objects, rd_names_at(&words, i), -1, "");
    rd_names_fini(&words);
    for (size_t i = 0; i < IM_COUNT(shard_tables) && err == 0; i++) {
        struct object o = {.size = -1};
        struct im_text why = {""};

        snprintf(o.path, sizeof o.path, "%s", shard_tables[i]);
        err = fetch_table(m, &o, &why);
        if (err == -ENOENT || err == -EACCES)
            unlinkat(m->root_fd, o.path, 0);
        if (err == -ENOENT || err == -EACCES) /* buckets that may not be listed refuse what is not there */
            err = 0;
        else if (err < 0)
            im_fail(text, err, "%s", why.s);
    }
    return err;
}

/* Reads the table of a shard that is here already. */
static void take_table(struct make *m, struct fe_shard *s)
{
    struct rd_shard shard = {.path = s->path};
    char path[2 * PATH_MAX + 16], *bytes;
    size_t n;

    s->object = (struct rd_shard_object){.bytes = 0};
    snprintf(path, sizeof path, "%s/data/%s", m->mirror, s->path);
    if (im_read_file(path, RD_SHARD_TABLE_MAX, &bytes, &n, NULL) < 0)
        return;
    if (n > 0 && rd_shard_table_take(bytes, n, &shard, &s->object, NULL) < 0)
        s->object.bytes = 0;
    s->members = shard.count;
    rd_shard_fini(&shard);
    free(bytes);
}

/* A shard whose members are known now. */
static int put_table(void *context, struct fe_shard *s)
{
    struct make *m = context;
    char path[2 * PATH_MAX + 16];

    if (s->is_kept)
        return 0;
    forget_members(m, s->path);
    fe_cache_forget(&m->cache, m->root_fd, s->path);
    snprintf(path, sizeof path, "%s/data/%s", m->mirror, s->path);
    return im_file_replace(path, s->table, s->table_bytes, &s->why);
}

static void tick(void *context, uint64_t shards, uint64_t members)
{
    struct make *m = context;
    const im_ns now = im_now();

    if (m->how != FE_LIST_WHOLLY || now - m->told < TELL_EVERY_NS)
        return;
    m->told = now;
    im_say(stderr, "imsuper: %s: members of %" PRIu64 " of %u shards listed, %" PRIu64 " images", m->data_dir,
           shards, m->shards, members);
}

/* What the list says of an object where it says less than the server does. */
static int list_anew(struct make *m, struct fe_shard *shards, uint64_t count)
{
    struct fe_objects all = {0};
    int err = 0;

    for (uint64_t i = 0, next = 0; i < m->objects.count && err == 0; i++) {
        struct object o;

        object_at(m, i, &o);
        if (next < count && strcmp(shards[next].path, o.path) == 0) {
            const struct rd_shard_object *now = &shards[next++].now;

            err = fe_objects_add(&all, o.path, (int64_t)now->bytes, *now->etag ? now->etag : o.etag);
        } else {
            err = fe_objects_add(&all, o.path, o.size, o.etag);
        }
    }
    if (err < 0) {
        fe_objects_fini(&all);
        return err;
    }
    all.refused = m->objects.refused;
    memcpy(all.first_refused, m->objects.first_refused, sizeof all.first_refused);
    fe_objects_fini(&m->objects);
    m->objects = all;
    return 0;
}

/* Lists the members of all shards. Objects that have names of images beside them make the set a folder of images. */
static int list_members(struct make *m, struct im_text *text)
{
    struct fe_shards scan = {.address = &m->address, .done = put_table, .tick = tick, .context = m};
    struct object o;
    int err = 0;

    m->told = im_now();
    scan.shards = calloc(m->shards, sizeof *scan.shards);
    if (!scan.shards)
        return -ENOMEM;
    for (uint64_t i = 0; i < m->objects.count && err == 0 && scan.count < m->shards; i++) {
        struct fe_shard *s = &scan.shards[scan.count];

        object_at(m, i, &o);
        if (!has_suffix(o.path, ".tar"))
            continue;
        s->path = strdup(o.path);
        err = s->path ? 0 : -ENOMEM;
        s->is_listed = o.size > 0;
        s->now.bytes = o.size > 0 ? (uint64_t)o.size : 0;
        snprintf(s->now.etag, sizeof s->now.etag, "%s", o.etag);
        scan.count++;
        if (err == 0)
            take_table(m, s);
    }
    if (err == 0)
        err = fe_shards_scan(&scan, STALL_MS, text);
    if (err == 0)
        err = list_anew(m, scan.shards, scan.count);
    for (uint32_t i = 0; i < scan.count; i++)
        free((char *)(uintptr_t)scan.shards[i].path);
    free(scan.shards);
    return err;
}

/* How many shards there are whose members are to be listed: none where images lie beside them. */
static uint32_t count_shards(const struct make *m)
{
    uint32_t count = 0;
    struct object o;

    for (uint64_t i = 0; i < m->objects.count; i++) {
        object_at(m, i, &o);
        if (rd_is_image_name(o.path))
            return 0;
        count += has_suffix(o.path, ".tar");
    }
    return count;
}

static int make(struct make *m, struct im_text *text)
{
    struct object o;
    int err = *m->list ? name_shards(m, text) : m->address.is_s3 ? ask_bucket(m, text) : ask_list(m, text);

    if (err < 0)
        return err;
    fe_objects_sort(&m->objects);
    if (m->objects.count == 0)
        return im_fail(text, -EBADMSG, "there is nothing at %.700s", m->data_dir);
    for (uint64_t i = 0; i < m->objects.count; i++) {
        object_at(m, i, &o);
        m->has_csv |= has_suffix(o.path, ".csv");
    }
    remove_others(m);
    for (uint64_t i = 0; i < m->objects.count && err == 0; i++) {
        object_at(m, i, &o);
        if (strcmp(o.path, LIST) != 0)
            err = make_object(m, &o, text);
    }
    m->shards = err == 0 ? count_shards(m) : 0;
    if (err == 0 && m->shards > 0 && m->how == FE_LIST_WHOLLY)
        err = list_members(m, text);
    return err == 0 ? write_listing(m, text) : err;
}

int fe_list(const char *data_dir, const char *cache_dir, enum fe_list_how how, struct im_text *text)
{
    struct make m = {.data_dir = data_dir, .root_fd = -1, .how = how};
    char folder[PATH_MAX];
    int err = fe_address_read(data_dir, &m.address, text);

    if (err == 0)
        err = rd_shards_split_url(data_dir, folder, m.list, sizeof folder, text);

    if (err == 0)
        err = rd_mirror_path(data_dir, cache_dir, m.mirror, sizeof m.mirror, text);
    if (err == 0)
        err = fe_cache_open(cache_dir, 0, &m.cache, text);
    if (err < 0)
        return err;
    err = open_mirror(&m, text);
    if (err == 0)
        err = fe_client_open(&m.address, REQUESTS, STALL_MS, &m.client, text);
    if (err == 0)
        err = make(&m, text);
    if (err == 0 && how == FE_LIST_WHOLLY)
        im_say(stderr, "imsuper: %s: %" PRIu64 " objects, kept in %s", data_dir, m.objects.count, m.mirror);
    if (err == 0 && m.objects.refused > 0)
        im_say(stderr, "imsuper: warning: %" PRIu64 " names cannot be files here and are left out (%s)",
               m.objects.refused, m.objects.first_refused);
    if (err == 0 && m.conflicts > 0)
        im_say(stderr, "imsuper: warning: %" PRIu64 " objects have the name of a folder and are left out",
               m.conflicts);
    fe_client_close(&m.client);
    fe_listing_close(&m.before);
    fe_objects_fini(&m.objects);
    fe_cache_close(&m.cache);
    if (m.root_fd >= 0)
        close(m.root_fd);
    return err;
}
