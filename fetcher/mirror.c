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
#include "ipc/base/file.h"
#include "ipc/base/printable.h"
#include "reader/dataset/mirror.h"
#include "reader/dataset/scan.h"

#define LIST "index.txt"
#define LIST_MAX ((size_t)4 << 30)
#define PAGE_MAX ((size_t)64 << 20)
#define TABLE_MAX ((size_t)256 << 20)
#define TABLES_MAX 100000
#define STALL_MS 30000
#define REQUESTS 8

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
    uint64_t conflicts, tables;
};

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

/* What tells classes; annotations only where nothing shorter does (reader/dataset/labels.c). */
static bool is_table(const struct make *m, const char *path)
{
    return has_suffix(path, ".csv") || has_suffix(path, ".txt") || has_suffix(path, ".mat") ||
           (has_suffix(path, ".xml") && !m->has_csv && strstr(path, "/val/"));
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
    if (err == 0 && was_listed && (size != o->size || strcmp(etag, o->etag) != 0))
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
    return err == 0 ? im_file_commit(&w, text) : err;
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

static int make(struct make *m, struct im_text *text)
{
    struct object o;
    int err = m->address.is_s3 ? ask_bucket(m, text) : ask_list(m, text);

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
    return err == 0 ? write_listing(m, text) : err;
}

int fe_list(const char *data_dir, const char *cache_dir, bool speaks, struct im_text *text)
{
    struct make m = {.data_dir = data_dir, .root_fd = -1};
    int err = fe_address_read(data_dir, &m.address, text);

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
    if (err == 0 && speaks)
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
