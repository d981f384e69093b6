/* The cache of chosen engines; plan_cache.h has the format and the failure modes. Lists are searched
 * linearly: a network has some hundreds of plans, and each is looked up once a run. */
#include "trainer/backends/cuda/plan_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "ipc/base/crc32c.h"
#include "ipc/base/err.h"
#include "ipc/base/file.h"

#define FILE_MAX ((size_t)TR_PLANS_MAX * TR_PLANS_LINE_MAX)

/* A line without its checksum and newline. */
struct choice {
    char text[TR_PLANS_LINE_MAX];
    char *scope, *key,
        *engine; /* copies of the parts, one after the other in one allocation, from scope on */
    uint64_t ns;
    int tried, listed;
    bool added;
};

struct list {
    struct choice *choices;
    int count, room;
};

struct tr_plan_cache {
    char path[PATH_MAX]; /* empty: none */
    char scope[160];
    struct list list;
    bool changed;
    int lock; /* -1: not held */
};

int tr_plan_cache_path(char *ret_path, size_t size)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length;

    /* the XDG specification: ignore a path that is not absolute */
    if (xdg && *xdg == '/')
        length = snprintf(ret_path, size, "%s/imsuper/cuda.plans", xdg);
    else if (home && *home == '/')
        length = snprintf(ret_path, size, "%s/.cache/imsuper/cuda.plans", home);
    else
        return -ENOENT;
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

static void list_fini(struct list *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->choices[i].scope);
    free(list->choices);
    *list = (struct list){0};
}

static int find_line(const struct list *list, const char *scope, const char *key)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->choices[i].key, key) == 0 && strcmp(list->choices[i].scope, scope) == 0)
            return i;
    return -1;
}

/* Evicts the first choice of another scope, if there is one. */
static bool make_room(struct list *list, const char *scope)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->choices[i].scope, scope) != 0) {
            free(list->choices[i].scope);
            memmove(&list->choices[i], &list->choices[i + 1],
                    (size_t)(list->count - i - 1) * sizeof *list->choices);
            list->count--;
            return true;
        }
    return false;
}

static struct choice *slot(struct list *list, const char *scope)
{
    int room = list->room ? 2 * list->room : 64;
    struct choice *grown;

    if (list->count >= TR_PLANS_MAX && !make_room(list, scope))
        return NULL;
    if (list->count < list->room)
        return &list->choices[list->count];
    grown = realloc(list->choices, (size_t)room * sizeof *grown);
    if (!grown)
        return NULL;
    list->choices = grown;
    list->room = room;
    return &list->choices[list->count];
}

/* A decimal number up to the character `end`; *at moves behind it. */
static bool take_number(const char **at, char end, uint64_t max, uint64_t *ret)
{
    char *stop;

    if (**at < '0' || **at > '9')
        return false;
    errno = 0;
    *ret = strtoull(*at, &stop, 10);
    if (errno || *stop != end || *ret > max)
        return false;
    *at = stop + 1;
    return true;
}

/* Nanoseconds, tried, listed. */
static bool take_numbers(const char *at, struct choice *c)
{
    uint64_t tried, listed;

    if (!take_number(&at, '\t', UINT64_MAX, &c->ns) || !take_number(&at, '\t', INT_MAX, &tried) ||
        !take_number(&at, '\0', INT_MAX, &listed))
        return false;
    c->tried = (int)tried;
    c->listed = (int)listed;
    return true;
}

/* Parses a line: exactly six fields. */
static int parse(const char *text, struct choice *c)
{
    char *parts = strdup(text), *key, *engine, *ns;

    if (!parts)
        return -ENOMEM;
    key = strchr(parts, '\t');
    engine = key ? strchr(key + 1, '\t') : NULL;
    ns = engine ? strchr(engine + 1, '\t') : NULL;
    if (!ns)
        goto bad;
    *key = *engine = *ns = '\0';
    *c = (struct choice){.scope = parts, .key = key + 1, .engine = engine + 1};
    if (!take_numbers(ns + 1, c) || !*c->scope || !*c->key || !*c->engine)
        goto bad;
    snprintf(c->text, sizeof c->text, "%s", text);
    return 0;
bad:
    free(parts);
    return -EBADMSG;
}

static int put_line(struct list *list, const char *text, bool added)
{
    struct choice c, *place;
    int at, err = parse(text, &c);

    if (err < 0)
        return err;
    c.added = added;
    at = find_line(list, c.scope, c.key);
    if (at >= 0) {
        free(list->choices[at].scope);
        list->choices[at] = c;
        return 0;
    }
    place = slot(list, c.scope);
    if (!place) {
        free(c.scope);
        return -ENOMEM;
    }
    *place = c;
    list->count++;
    return 0;
}

/* Reads a line and verifies its checksum; a bad line is skipped: the choice is made again. */
static void read_line(struct list *list, const char *line, size_t length)
{
    char text[TR_PLANS_LINE_MAX], *end;
    unsigned long crc;

    if (length < 10 || length - 9 >= sizeof text || line[8] != '\t' || memchr(line, '\0', length))
        return;
    memcpy(text, line, 8);
    text[8] = '\0';
    crc = strtoul(text, &end, 16);
    if (end != text + 8 || crc != im_crc32c(0, line + 9, length - 9))
        return;
    memcpy(text, line + 9, length - 9);
    text[length - 9] = '\0';
    put_line(list, text, false);
}

static void read_file(struct list *list, const char *path)
{
    char *bytes = NULL, *line, *end;
    size_t n = 0;

    if (!*path || im_read_file(path, FILE_MAX, &bytes, &n, NULL) < 0)
        return;
    for (line = bytes; line < bytes + n; line = end + 1) {
        end = memchr(line, '\n', (size_t)(bytes + n - line));
        if (!end)
            break; /* a torn last line */
        read_line(list, line, (size_t)(end - line));
    }
    free(bytes);
}

int tr_plan_cache_open(const char *path, const char *scope, struct tr_plan_cache **ret_plans)
{
    struct tr_plan_cache *p = calloc(1, sizeof *p);

    if (!p)
        return -ENOMEM;
    p->lock = -1;
    snprintf(p->path, sizeof p->path, "%s", path ? path : "");
    snprintf(p->scope, sizeof p->scope, "%s", scope);
    for (char *c = p->scope; *c; c++)
        if (*c == '\t' || *c == '\n')
            *c = ' ';
    read_file(&p->list, p->path);
    *ret_plans = p;
    return 0;
}

void tr_plan_cache_close(struct tr_plan_cache *p)
{
    if (!p)
        return;
    tr_plan_cache_unlock(p);
    list_fini(&p->list);
    free(p);
}

/* The lock file is never removed: another process may have locked it already. */
int tr_plan_cache_lock(struct tr_plan_cache *p)
{
    char path[PATH_MAX], folder[PATH_MAX];
    int fd, err;

    if (!*p->path)
        return -ENOENT;
    if (p->lock >= 0)
        return 1;
    if (snprintf(path, sizeof path, "%s.%08" PRIx32 ".lock", p->path,
                 im_crc32c(0, p->scope, strlen(p->scope))) >= (int)sizeof path)
        return -ENAMETOOLONG;
    memcpy(folder, p->path, sizeof folder);
    err = im_mkdirs(dirname(folder), 0777, NULL);
    if (err < 0)
        return err;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        err = errno == EWOULDBLOCK ? 0 : -errno;
        close(fd);
        return err;
    }
    p->lock = fd;
    read_file(&p->list, p->path);
    return 1;
}

void tr_plan_cache_unlock(struct tr_plan_cache *p)
{
    if (p->lock >= 0)
        close(p->lock);
    p->lock = -1;
}

bool tr_plan_cache_find(const struct tr_plan_cache *p, const char *key, struct tr_plan_choice *ret)
{
    int at = find_line(&p->list, p->scope, key);
    const struct choice *c;

    if (at < 0)
        return false;
    c = &p->list.choices[at];
    *ret = (struct tr_plan_choice){.engine = c->engine, .ns = c->ns, .tried = c->tried, .listed = c->listed};
    return true;
}

int tr_plan_cache_add(struct tr_plan_cache *p, const char *key, const struct tr_plan_choice *choice)
{
    char text[TR_PLANS_LINE_MAX - 16]; /* the checksum and its tab fit beside it */
    int length, err;

    if (strpbrk(key, "\t\n") || strpbrk(choice->engine, "\t\n"))
        return -EINVAL;
    length = snprintf(text, sizeof text, "%s\t%s\t%s\t%" PRIu64 "\t%d\t%d", p->scope, key, choice->engine,
                      choice->ns, choice->tried, choice->listed);
    if (length < 0 || (size_t)length >= sizeof text)
        return -EINVAL;
    err = put_line(&p->list, text, true);
    if (err == 0)
        p->changed = true;
    return err;
}

/* The contents of the file. */
static int compose(const struct list *list, char **ret_bytes, size_t *ret_n)
{
    size_t room = (size_t)list->count * TR_PLANS_LINE_MAX + 1, n = 0;
    char *bytes = malloc(room);

    if (!bytes)
        return -ENOMEM;
    for (int i = 0; i < list->count; i++) {
        const char *text = list->choices[i].text;

        n += (size_t)snprintf(bytes + n, room - n, "%08" PRIx32 "\t%s\n", im_crc32c(0, text, strlen(text)),
                              text);
    }
    *ret_bytes = bytes;
    *ret_n = n;
    return 0;
}

int tr_plan_cache_save(struct tr_plan_cache *p, struct im_text *text)
{
    char folder[PATH_MAX], *bytes = NULL;
    struct list merged = {0};
    size_t n = 0;
    int err = 0;

    if (!p->changed || !*p->path)
        return 0;
    read_file(&merged, p->path);
    for (int i = 0; i < p->list.count && err == 0; i++)
        if (p->list.choices[i].added)
            err = put_line(&merged, p->list.choices[i].text, true);
    if (err == 0)
        err = compose(&merged, &bytes, &n);
    list_fini(&merged);
    if (err < 0)
        return im_fail(text, err, "no memory for the plan cache");
    memcpy(folder, p->path, sizeof folder);
    err = im_mkdirs(dirname(folder), 0777, text);
    if (err == 0)
        err = im_file_replace(p->path, bytes, n, text);
    free(bytes);
    p->changed = err < 0;
    return err;
}

/* The header of a choice's blob, and its path. */
static int name_blob(const struct tr_plan_cache *p, const char *key, const char *engine, char *head,
                     char *path)
{
    int length = snprintf(head, TR_PLANS_LINE_MAX, "%s\t%s\t%s\n", p->scope, key, engine);
    uint32_t a, b;

    if (!*p->path)
        return -ENOENT;
    if (length < 0 || length >= TR_PLANS_LINE_MAX)
        return -EINVAL;
    a = im_crc32c(0, head, (size_t)length);
    b = im_crc32c(0x9e3779b9, head, (size_t)length);
    if (snprintf(path, PATH_MAX, "%s.d/%08" PRIx32 "%08" PRIx32, p->path, a, b) >= PATH_MAX)
        return -ENAMETOOLONG;
    return length;
}

int tr_plan_cache_load(const struct tr_plan_cache *p, const char *key, const char *engine, char **ret_bytes,
                       size_t *ret_n)
{
    char head[TR_PLANS_LINE_MAX], path[PATH_MAX], *bytes = NULL, crc[9] = "";
    int length = name_blob(p, key, engine, head, path);
    size_t n = 0, skip;

    if (length < 0 || im_read_file(path, TR_PLANS_BLOB_MAX, &bytes, &n, NULL) < 0)
        return -ENOENT;
    skip = 8 + (size_t)length;
    if (n > skip)
        snprintf(crc, sizeof crc, "%08" PRIx32, im_crc32c(0, bytes + 8, n - 8));
    if (n <= skip || memcmp(bytes, crc, 8) != 0 || memcmp(bytes + 8, head, (size_t)length) != 0) {
        free(bytes);
        return -ENOENT;
    }
    memmove(bytes, bytes + skip, n - skip);
    *ret_bytes = bytes;
    *ret_n = n - skip;
    return 0;
}

int tr_plan_cache_store(const struct tr_plan_cache *p, const char *key, const char *engine, const char *bytes,
                        size_t n, struct im_text *text)
{
    char head[TR_PLANS_LINE_MAX], path[PATH_MAX], folder[PATH_MAX], *all, crc[9];
    int length = name_blob(p, key, engine, head, path), err;

    if (length == -ENOENT)
        return 0; /* kept in memory only */
    if (length < 0 || n > TR_PLANS_BLOB_MAX - TR_PLANS_LINE_MAX)
        return im_fail(text, -EINVAL, "a cuDNN plan is too large for the cache");
    all = malloc(8 + (size_t)length + n);
    if (!all)
        return im_fail(text, -ENOMEM, "no memory for a cuDNN plan");
    memcpy(all + 8, head, (size_t)length);
    memcpy(all + 8 + length, bytes, n);
    snprintf(crc, sizeof crc, "%08" PRIx32, im_crc32c(0, all + 8, (size_t)length + n));
    memcpy(all, crc, 8);
    memcpy(folder, path, sizeof folder);
    err = im_mkdirs(dirname(folder), 0777, text);
    if (err == 0)
        err = im_file_replace(path, all, 8 + (size_t)length + n, text);
    free(all);
    return err;
}
