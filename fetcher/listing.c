#include "fetcher/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <expat.h>

#define LISTING_MAX ((size_t)1 << 36)
#define COMPONENTS_MAX 60
#define ETAG_MAX 100

bool fe_path_is_good(const char *path)
{
    int components = 0;

    if (!*path || strlen(path) > PATH_MAX / 2)
        return false;
    for (const char *s = path;;) {
        size_t n = strcspn(s, "/");

        if (n == 0 || n > NAME_MAX || (n == 1 && *s == '.') || (n == 2 && s[0] == '.' && s[1] == '.') ||
            ++components > COMPONENTS_MAX)
            return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
                return false;
        if (!s[n])
            return true;
        s += n + 1;
    }
}

static int reserve(struct fe_objects *o, size_t more)
{
    if (o->n + more > LISTING_MAX)
        return -EFBIG;
    if (o->n + more > o->capacity) {
        size_t capacity = 2 * (o->n + more);
        char *bytes = realloc(o->bytes, capacity);

        if (!bytes)
            return -ENOMEM;
        o->bytes = bytes;
        o->capacity = capacity;
    }
    if (o->count == o->line_capacity) {
        uint64_t capacity = o->line_capacity ? 2 * o->line_capacity : 1024;
        size_t *line = realloc(o->line, capacity * sizeof *line);

        if (!line)
            return -ENOMEM;
        o->line = line;
        o->line_capacity = capacity;
    }
    return 0;
}

static bool etag_is_good(const char *etag)
{
    size_t n = strlen(etag);

    for (size_t i = 0; i < n; i++)
        if ((unsigned char)etag[i] <= ' ' || (unsigned char)etag[i] >= 0x7f)
            return false;
    return n < ETAG_MAX;
}

int fe_objects_add(struct fe_objects *objects, const char *path, int64_t size, const char *etag)
{
    char number[24] = "";
    size_t n = strlen(path);
    int err;

    if (!fe_path_is_good(path)) {
        if (objects->refused++ == 0)
            snprintf(objects->first_refused, sizeof objects->first_refused, "%s", path);
        return 0;
    }
    if (!etag_is_good(etag))
        etag = "";
    if (size >= 0)
        snprintf(number, sizeof number, "%" PRId64, size);
    err = reserve(objects, n + strlen(number) + strlen(etag) + 4);
    if (err < 0)
        return err;
    objects->line[objects->count++] = objects->n;
    objects->n += (size_t)snprintf(objects->bytes + objects->n, objects->capacity - objects->n,
                                   "%s\t%s\t%s\n", path, number, etag);
    return 0;
}

/* Two lines up to their first tab. */
static int compare_paths(const char *a, const char *b)
{
    size_t x = strcspn(a, "\t\n"), y = strcspn(b, "\t\n");
    int c = memcmp(a, b, x < y ? x : y);

    return c ? c : x < y ? -1 : x > y;
}

static int by_path(const void *a, const void *b, void *bytes)
{
    return compare_paths((const char *)bytes + *(const size_t *)a, (const char *)bytes + *(const size_t *)b);
}

void fe_objects_sort(struct fe_objects *objects)
{
    uint64_t kept = 0;

    if (objects->count == 0)
        return;
    qsort_r(objects->line, objects->count, sizeof *objects->line, by_path, objects->bytes);
    for (uint64_t i = 0; i < objects->count; i++)
        if (kept == 0 ||
            compare_paths(objects->bytes + objects->line[kept - 1], objects->bytes + objects->line[i]) != 0)
            objects->line[kept++] = objects->line[i];
    objects->count = kept;
}

void fe_objects_fini(struct fe_objects *objects)
{
    free(objects->bytes);
    free(objects->line);
    *objects = (struct fe_objects){0};
}

/* A number up to `end`; -1: none. */
static int64_t parse_size(const char *s, const char *end)
{
    int64_t value = 0;

    if (s == end || end - s > 18)
        return -1;
    for (; s < end; s++) {
        if (*s < '0' || *s > '9')
            return -1;
        value = 10 * value + (*s - '0');
    }
    return value;
}

static int parse_line(struct fe_objects *objects, const char *line, const char *end)
{
    char path[PATH_MAX], etag[ETAG_MAX] = "";
    const char *tab = memchr(line, '\t', (size_t)(end - line)), *size_end = end, *stop = tab ? tab : end;
    int64_t size = -1;

    if (stop - line > 2 && line[0] == '.' && line[1] == '/') /* as find writes them */
        line += 2;
    if (line == stop)
        return 0;
    snprintf(path, sizeof path, "%.*s", (int)(stop - line < PATH_MAX ? stop - line : PATH_MAX), line);
    if (tab) {
        const char *second = memchr(tab + 1, '\t', (size_t)(end - tab - 1));

        size_end = second ? second : end;
        size = parse_size(tab + 1, size_end);
        if (second && end - second - 1 < ETAG_MAX)
            snprintf(etag, sizeof etag, "%.*s", (int)(end - second - 1), second + 1);
    }
    return fe_objects_add(objects, path, size, etag);
}

int fe_objects_parse(struct fe_objects *objects, const char *bytes, size_t n, struct im_text *text)
{
    const char *end = bytes + n;
    int err = 0;

    if (memchr(bytes, 0, n))
        return im_fail(text, -EBADMSG, "it holds a byte 0, so it is no text");
    for (const char *line = bytes; line < end && err == 0;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));

        stop = stop ? stop : end;
        err = parse_line(objects, line, stop > line && stop[-1] == '\r' ? stop - 1 : stop);
        line = stop + 1;
    }
    return err;
}

/* What a page of S3 is read into, element by element. */
struct page {
    struct fe_objects *objects;
    const char *prefix;
    char key[2048], size[32], etag[ETAG_MAX], token[2048];
    char *field; /* that characters go to; NULL: to none */
    size_t room, used;
    int depth, err;
    bool is_list, in_contents, is_cut; /* a key that does not fit */
};

static void XMLCALL start(void *data, const XML_Char *name, const XML_Char **attributes)
{
    struct page *p = data;

    (void)attributes;
    p->depth++;
    p->field = NULL;
    p->used = 0;
    if (p->depth == 1)
        p->is_list = strcmp(name, "ListBucketResult") == 0;
    if (p->depth == 2 && strcmp(name, "Contents") == 0) {
        p->in_contents = true;
        p->is_cut = false;
        p->key[0] = p->size[0] = p->etag[0] = 0;
    }
    if (p->depth == 2 && strcmp(name, "NextContinuationToken") == 0) {
        p->field = p->token;
        p->room = sizeof p->token;
    }
    if (p->depth != 3 || !p->in_contents)
        return;
    if (strcmp(name, "Key") == 0) {
        p->field = p->key;
        p->room = sizeof p->key;
    } else if (strcmp(name, "Size") == 0) {
        p->field = p->size;
        p->room = sizeof p->size;
    } else if (strcmp(name, "ETag") == 0) {
        p->field = p->etag;
        p->room = sizeof p->etag;
    }
}

static void XMLCALL characters(void *data, const XML_Char *bytes, int n)
{
    struct page *p = data;

    if (!p->field)
        return;
    if (p->used + (size_t)n >= p->room) {
        p->is_cut |= p->field == p->key;
        p->field = NULL;
        return;
    }
    memcpy(p->field + p->used, bytes, (size_t)n);
    p->used += (size_t)n;
    p->field[p->used] = 0;
}

static void XMLCALL end(void *data, const XML_Char *name)
{
    struct page *p = data;
    size_t n = strlen(p->prefix);

    (void)name;
    p->field = NULL;
    /* A key that ends in / is how some tools show a folder. */
    if (p->depth == 2 && p->in_contents && p->err == 0 && !p->is_cut && strncmp(p->key, p->prefix, n) == 0 &&
        p->key[n] && p->key[strlen(p->key) - 1] != '/')
        p->err =
            fe_objects_add(p->objects, p->key + n, parse_size(p->size, p->size + strlen(p->size)), p->etag);
    if (p->depth == 2)
        p->in_contents = false;
    p->depth--;
}

int fe_objects_parse_s3(struct fe_objects *objects, const char *bytes, size_t n, const char *prefix,
                        char *ret_token, size_t token_size, struct im_text *text)
{
    struct page *p = calloc(1, sizeof *p);
    XML_Parser parser = XML_ParserCreate(NULL);
    int err = 0;

    if (!p || !parser) {
        free(p);
        if (parser)
            XML_ParserFree(parser);
        return -ENOMEM;
    }
    p->objects = objects;
    p->prefix = prefix;
    XML_SetUserData(parser, p);
    XML_SetElementHandler(parser, start, end);
    XML_SetCharacterDataHandler(parser, characters);
    if (n > INT_MAX || XML_Parse(parser, bytes, (int)n, 1) != XML_STATUS_OK)
        err = im_fail(text, -EBADMSG, "the server's list of objects cannot be read: %s",
                      XML_ErrorString(XML_GetErrorCode(parser)));
    else if (!p->is_list)
        err = im_fail(text, -EBADMSG, "the server's answer is no list of objects");
    else if (p->err == 0 && strlen(p->token) >= token_size)
        err = im_fail(text, -EBADMSG, "the server's list of objects cannot be continued");
    else
        err = p->err;
    if (err == 0)
        memcpy(ret_token, p->token, strlen(p->token) + 1);
    XML_ParserFree(parser);
    free(p);
    return err;
}

int fe_listing_open(const char *mirror, struct fe_listing *ret, struct im_text *text)
{
    char path[PATH_MAX + 16];
    struct stat st;
    void *map = NULL;
    int fd, err = 0;

    *ret = (struct fe_listing){.n = 0};
    snprintf(path, sizeof path, "%s/listing", mirror);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        err = -errno;
    else if (st.st_size > 0)
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        err = -errno;
    if (fd >= 0)
        close(fd);
    if (err < 0)
        return im_fail(text, err, "cannot open '%.700s': %s", path, strerror(-err));
    if (map)
        *ret = (struct fe_listing){map, (size_t)st.st_size};
    return 0;
}

void fe_listing_close(struct fe_listing *listing)
{
    if (listing->bytes)
        munmap((void *)(uintptr_t)listing->bytes, listing->n);
    *listing = (struct fe_listing){.n = 0};
}

/* A path beside a line up to its tab; the line ends before `end`. */
static int compare_line(const char *path, const char *line, const char *end)
{
    const char *tab = memchr(line, '\t', (size_t)(end - line));
    size_t n = (size_t)((tab ? tab : end) - line), m = strlen(path);
    int c = memcmp(path, line, n < m ? n : m);

    return c ? c : m < n ? -1 : m > n;
}

bool fe_listing_find(const struct fe_listing *listing, const char *path, int64_t *ret_size, char *ret_etag,
                     size_t etag_size)
{
    const char *low = listing->bytes, *high = listing->bytes ? listing->bytes + listing->n : NULL;

    *ret_size = -1;
    *ret_etag = 0;
    while (low < high) {
        const char *line = low + (high - low) / 2, *stop, *tab, *second;
        int c;

        while (line > low && line[-1] != '\n')
            line--;
        stop = memchr(line, '\n', (size_t)(high - line));
        stop = stop ? stop : high;
        c = compare_line(path, line, stop);
        if (c < 0)
            high = line;
        else if (c > 0)
            low = stop < high ? stop + 1 : high;
        else {
            tab = memchr(line, '\t', (size_t)(stop - line));
            second = tab ? memchr(tab + 1, '\t', (size_t)(stop - tab - 1)) : NULL;
            if (tab)
                *ret_size = parse_size(tab + 1, second ? second : stop);
            if (second && (size_t)(stop - second - 1) < etag_size)
                snprintf(ret_etag, etag_size, "%.*s", (int)(stop - second - 1), second + 1);
            return true;
        }
    }
    return false;
}
