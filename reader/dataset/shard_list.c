/* A shard's split is that of the list _info.json (as timm writes it) which names it, or that of the first word of its name
 * that says one: train-000000.tar, imagenet1k-validation-00.tar. Where none says one, all are for training. */
#include "reader/dataset/shard_list.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/plan.h"
#include "reader/dataset/layout_names.h"

#define JSON_BYTES_MAX ((size_t)64 << 20)

static bool ends_in(const char *name, const char *ending)
{
    const size_t n = strlen(name), e = strlen(ending);

    return n > e && strcasecmp(name + n - e, ending) == 0;
}

static bool is_shard(const char *name)
{
    return ends_in(name, ".tar");
}

static bool is_packed(const char *name)
{
    return ends_in(name, ".tar.gz") || ends_in(name, ".tgz") || ends_in(name, ".tar.zst") ||
           ends_in(name, ".tar.xz") || ends_in(name, ".tar.bz2");
}

bool rd_shards_is_list(const char *data_dir)
{
    return strstr(data_dir, "::") || (strchr(data_dir, '{') && strchr(data_dir, '}')) || is_shard(data_dir) ||
           is_packed(data_dir);
}

/* Bytes of the folder that a list's names begin with, up to the last slash before the first brace or the second pattern. */
static size_t folder_bytes(const char *list)
{
    const char *slash = NULL;

    for (const char *c = list; *c && *c != '{' && !(c[0] == ':' && c[1] == ':'); c++)
        slash = *c == '/' ? c : slash;
    return slash ? (size_t)(slash - list) + 1 : 0;
}

int rd_shards_split_url(const char *url, char *ret_folder, char *ret_list, size_t size, struct im_text *text)
{
    const char *host = strstr(url, "://"), *path = host ? host + 3 + strcspn(host + 3, "/") : url, *end;
    const size_t n = (size_t)(path - url) + folder_bytes(path);
    size_t used = 0;

    *ret_list = 0;
    if (strlen(url) >= size)
        return im_fail(text, -EINVAL, "the address is too long");
    snprintf(ret_folder, size, "%s", url);
    if (!rd_shards_is_list(path))
        return 0;
    ret_folder[n] = 0;
    for (const char *at = url; at; at = end ? end + 2 : NULL) {
        end = strstr(at == url ? path : at, "::");
        if (strncmp(at, ret_folder, n) == 0)
            at += n;
        if (strncmp(at, "http://", 7) == 0 || strncmp(at, "https://", 8) == 0 || strncmp(at, "s3://", 5) == 0)
            return im_fail(text, -EINVAL,
                           "the shards of one list must be in one folder, here %.300s: not so %.300s",
                           ret_folder, at);
        used += (size_t)snprintf(ret_list + used, size - used, "%s%.*s", used ? "::" : "",
                                 end ? (int)(end - at) : (int)strlen(at), at);
    }
    return 0;
}

/* ---- braces ---- */

struct expansion {
    struct rd_names *words;
    struct im_text *text;
};

static int expand(struct expansion *e, const char *before, const char *rest);

/* The brace that closes the one at `open`; NULL: there is none. */
static const char *closing(const char *open)
{
    int depth = 0;

    for (const char *c = open; *c; c++) {
        depth += *c == '{';
        depth -= *c == '}';
        if (depth == 0)
            return c;
    }
    return NULL;
}

static int expand_word(struct expansion *e, const char *before, const char *word, size_t n, const char *rest)
{
    char inside[PATH_MAX];

    if ((size_t)snprintf(inside, sizeof inside, "%.*s%s", (int)n, word, rest) >= sizeof inside)
        return im_fail(e->text, -ENAMETOOLONG, "a name in the list of shards is too long");
    return expand(e, before, inside);
}

/* "000..127", "a..f", "0..100..10". */
struct range {
    int64_t first, last, step; /* step > 0 */
    int digits;                /* to write; 0: letters */
};

#define RANGE_DIGITS_MAX 12

/* The next part of a range, up to ".." or the end: its bytes; 0: it is none. */
static size_t range_part(const char *in, const char *end, int64_t *ret)
{
    size_t n = 0;

    *ret = 0;
    while (in + n < end && isdigit((unsigned char)in[n]) && n < RANGE_DIGITS_MAX)
        *ret = 10 * *ret + (in[n++] - '0');
    if (n == 0 && in < end && isalpha((unsigned char)*in)) {
        *ret = (unsigned char)*in;
        n = 1;
    }
    return in + n == end || (end - in > (ptrdiff_t)n + 2 && in[n] == '.' && in[n + 1] == '.') ? n : 0;
}

static bool is_range(const char *in, size_t n, struct range *ret)
{
    const char *const end = in + n;
    int64_t of[3] = {0, 0, 1};
    size_t bytes[3] = {0};
    bool letters[3];
    int parts = 0;

    for (const char *at = in; at < end; at += bytes[parts++] + 2) {
        if (parts == 3 || (bytes[parts] = range_part(at, end, &of[parts])) == 0)
            return false;
        letters[parts] = isalpha((unsigned char)*at);
    }
    if (parts < 2 || letters[0] != letters[1] || (parts == 3 && letters[2]))
        return false;
    *ret = (struct range){.first = of[0], .last = of[1], .step = of[2] > 0 ? of[2] : 1};
    if (!letters[0])
        ret->digits = (in[0] == '0' && bytes[0] > 1) || (in[bytes[0] + 2] == '0' && bytes[1] > 1)
                          ? (int)(bytes[0] > bytes[1] ? bytes[0] : bytes[1])
                          : 1;
    return true;
}

static int expand_range(struct expansion *e, const char *before, const struct range *range, const char *rest)
{
    const int64_t sign = range->first <= range->last ? 1 : -1, far = (range->last - range->first) * sign;
    char word[64];
    int err = 0;

    if (far / range->step >= RD_SHARDS_MAX)
        return im_fail(e->text, -EFBIG, "the list of shards names more than %d", RD_SHARDS_MAX);
    for (int64_t i = 0; i <= far && err == 0; i += range->step) {
        const int64_t value = range->first + sign * i;

        if (range->digits > 0)
            snprintf(word, sizeof word, "%0*lld", range->digits, (long long)value);
        else
            snprintf(word, sizeof word, "%c", (char)value);
        err = expand_word(e, before, word, strlen(word), rest);
    }
    return err;
}

static int expand_brace(struct expansion *e, const char *before, const char *open, const char *close)
{
    const char *word = open + 1;
    struct range range;
    int depth = 0, err = 0;

    if (is_range(word, (size_t)(close - word), &range))
        return expand_range(e, before, &range, close + 1);
    for (const char *c = word; c <= close && err == 0; c++) {
        if (depth == 0 && (c == close || *c == ',')) {
            err = expand_word(e, before, word, (size_t)(c - word), close + 1);
            word = c + 1;
        }
        depth += *c == '{';
        depth -= *c == '}';
    }
    return err;
}

/* All words of `rest` behind `before`, which has no braces left. */
static int expand(struct expansion *e, const char *before, const char *rest)
{
    const char *open = strchr(rest, '{'), *close = open ? closing(open) : NULL;
    char whole[PATH_MAX];
    int64_t added;

    if (open && !close)
        return im_fail(e->text, -EINVAL, "a brace of the list of shards is not closed: %.300s", open);
    if ((size_t)snprintf(whole, sizeof whole, "%s%.*s", before, open ? (int)(open - rest) : (int)strlen(rest),
                         rest) >= sizeof whole)
        return im_fail(e->text, -ENAMETOOLONG, "a name in the list of shards is too long");
    if (open)
        return expand_brace(e, whole, open, close);
    if (e->words->count >= RD_SHARDS_MAX)
        return im_fail(e->text, -EFBIG, "the list of shards names more than %d", RD_SHARDS_MAX);
    added = rd_names_add(e->words, whole);
    return added < 0 ? (int)added : 0;
}

int rd_braces_expand(const char *pattern, struct rd_names *ret_words, struct im_text *text)
{
    struct expansion e = {ret_words, text};
    char one[PATH_MAX];
    int err = 0;

    for (const char *at = pattern, *end; at && err == 0; at = end ? end + 2 : NULL) {
        end = strstr(at, "::");
        if ((size_t)snprintf(one, sizeof one, "%.*s", end ? (int)(end - at) : (int)strlen(at), at) >=
            sizeof one)
            return im_fail(text, -ENAMETOOLONG, "the list of shards is too long");
        if (*one)
            err = expand(&e, "", one);
    }
    return err;
}

/* ---- where they are ---- */

static int count_shards(int root_fd, const char *path, uint32_t *ret_packed, struct im_text *text)
{
    struct rd_listing listing = {.path = path};
    uint32_t count = 0;
    enum rd_skip kind;
    int err = rd_scan(root_fd, &listing, 1, NULL, text);

    for (uint32_t i = 0; i < listing.skipped.count; i++) {
        const char *name = rd_skipped_at(&listing, i, &kind);

        count += kind == RD_SKIP_OTHER && is_shard(name);
        *ret_packed += kind == RD_SKIP_OTHER && is_packed(name);
    }
    rd_listing_fini(&listing);
    return err < 0 ? err : count > INT_MAX ? INT_MAX : (int)count;
}

static int split_list(const char *list, struct rd_layout *layout, struct im_text *text)
{
    char folder[PATH_MAX];
    const size_t n = folder_bytes(list);

    if (n >= sizeof folder || strlen(list) >= PATH_MAX)
        return im_fail(text, -ENAMETOOLONG, "the list of shards is too long");
    snprintf(folder, sizeof folder, "%.*s", n > 0 ? (int)n : 1, n > 0 ? list : ".");
    if (!realpath(folder, layout->root))
        return im_fail(text, -errno, "cannot open the data folder '%.700s': %s", folder, strerror(errno));
    snprintf(layout->labels_path, sizeof layout->labels_path, "%s", list);
    layout->kind = RD_LAYOUT_SHARDS;
    return 1;
}

static int find_in_folders(int root_fd, struct rd_layout *layout, uint32_t *packed, struct im_text *text)
{
    struct rd_listing listing = {.path = "."};
    int found = rd_scan(root_fd, &listing, 1, NULL, text);

    for (uint32_t i = 0; i < listing.folders.count && found == 0; i++)
        if (rd_role_of(rd_names_at(&listing.folders, i)) == RD_ROLE_TRAIN)
            found = count_shards(root_fd, rd_names_at(&listing.folders, i), packed, text);
    rd_listing_fini(&listing);
    if (found > 0)
        snprintf(layout->train, sizeof layout->train, "train");
    return found;
}

int rd_layout_find_shards(const char *data_dir, struct rd_layout *layout, struct im_text *text)
{
    uint32_t packed = 0;
    int root_fd, found;

    if (rd_shards_is_list(data_dir) && (root_fd = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return split_list(data_dir, layout, text);
    if (!realpath(data_dir, layout->root))
        return im_fail(text, -errno, "cannot open the data folder '%.700s': %s", data_dir, strerror(errno));
    root_fd = open(layout->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return im_fail(text, -errno, "cannot open the data folder '%.700s': %s", data_dir, strerror(errno));
    found = count_shards(root_fd, ".", &packed, text);
    if (found > 0)
        snprintf(layout->train, sizeof layout->train, ".");
    else if (found == 0)
        found = find_in_folders(root_fd, layout, &packed, text);
    close(root_fd);
    layout->kind = RD_LAYOUT_SHARDS;
    if (found == 0 && packed > 0)
        return im_fail(
            text, -EBADMSG,
            "the tar files in '%.700s' are compressed, so that no image can be read by itself: unpack "
            "them to plain .tar (gunzip, unzstd)",
            layout->root);
    return found < 0 ? found : found > 0;
}

/* ---- the list ---- */

/* The role that a shard's name says. */
static enum rd_role role_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *at = slash ? slash + 1 : path;
    char word[NAME_MAX + 1];

    while (*at) {
        size_t n = 0;

        while (isalpha((unsigned char)at[n]) && n < NAME_MAX)
            n++;
        snprintf(word, sizeof word, "%.*s", (int)n, at);
        if (n > 0 && rd_role_of(word) != RD_ROLE_NONE)
            return rd_role_of(word);
        at += n ? n : 1;
    }
    return RD_ROLE_NONE;
}

static int shard_list_add(struct rd_shard_list *list, struct rd_names *roles, const char *path,
                          enum rd_role role, int64_t expected)
{
    char said[32];
    int64_t added = rd_names_add(&list->paths, path);

    snprintf(said, sizeof said, "%c%lld", 'a' + (int)role, (long long)expected);
    if (added >= 0)
        added = rd_names_add(roles, said);
    return added < 0 ? (int)added : 0;
}

/* The tar files of a folder, in the order of their names. */
static int add_folder(int root_fd, struct rd_shard_list *list, struct rd_names *roles, const char *folder,
                      enum rd_role role, struct im_text *text)
{
    struct rd_listing listing = {.path = folder};
    char path[PATH_MAX];
    enum rd_skip kind;
    int64_t added = rd_names_add(&list->folders, folder);
    int err = added < 0 ? (int)added : rd_scan(root_fd, &listing, 1, NULL, text);

    for (uint32_t i = 0; i < listing.skipped.count && err == 0; i++) {
        const char *name = rd_skipped_at(&listing, i, &kind);

        if (kind != RD_SKIP_OTHER || (!is_shard(name) && !is_packed(name)))
            continue;
        rd_join(path, sizeof path, folder, name);
        if (is_packed(name))
            err = rd_names_add(&list->packed, path) < 0 ? -ENOMEM : 0;
        else
            err = shard_list_add(list, roles, path, role == RD_ROLE_NONE ? role_of(name) : role, 0);
    }
    rd_listing_fini(&listing);
    return err;
}

/* train/, val/ and the like, with shards in them. */
static int add_folders(int root_fd, struct rd_shard_list *list, struct rd_names *roles, struct im_text *text)
{
    struct rd_listing listing = {.path = "."};
    int err = rd_scan(root_fd, &listing, 1, NULL, text);

    for (uint32_t i = 0; i < listing.folders.count && err == 0; i++) {
        const char *name = rd_names_at(&listing.folders, i);

        if (rd_role_of(name) != RD_ROLE_NONE)
            err = add_folder(root_fd, list, roles, name, rd_role_of(name), text);
    }
    rd_listing_fini(&listing);
    return err;
}

int rd_shards_json(int root_fd, const char *root, const char *name, struct im_json **ret,
                   struct im_text *text)
{
    char path[PATH_MAX + NAME_MAX + 2], *bytes;
    struct im_text why = {""};
    size_t n;
    int err;

    if (faccessat(root_fd, name, F_OK, 0) < 0)
        return -ENOENT;
    snprintf(path, sizeof path, "%s/%s", root, name);
    err = im_read_file(path, JSON_BYTES_MAX, &bytes, &n, text);
    if (err < 0)
        return err;
    err = im_json_parse(bytes, n, ret, &why);
    free(bytes);
    return err < 0 ? im_fail(text, err, "cannot use '%.500s': %.300s", path, why.s) : 0;
}

/* A split of _info.json: {"filenames": [...], "shard_lengths": [...]}. */
static int add_split(int root_fd, struct rd_shard_list *list, struct rd_names *roles, enum rd_role role,
                     const struct im_json *split)
{
    const struct im_json *names = im_json_get(split, "filenames"),
                         *lengths = im_json_get(split, "shard_lengths");
    const char *name;
    int64_t length, added = 0;

    for (size_t i = 0; i < im_json_count(names) && added >= 0; i++) {
        if (im_json_as_str(im_json_at(names, i), &name) < 0 || !*name || *name == '/' || strstr(name, ".."))
            continue;
        if (faccessat(root_fd, name, F_OK, 0) < 0) {
            added = rd_names_add(&list->missing, name);
            continue;
        }
        if (im_json_as_int(im_json_at(lengths, i), &length) < 0 || length < 0 || length > INT32_MAX)
            length = 0;
        added = shard_list_add(list, roles, name, role, length);
    }
    return added < 0 ? (int)added : 0;
}

/* _info.json or info.json, if it lists shards that are here. */
static int add_info(int root_fd, const struct rd_layout *layout, struct rd_shard_list *list,
                    struct rd_names *roles, struct im_text *text)
{
    static const char *const names[] = {"_info.json", "info.json"};
    struct im_json *info = NULL;
    const struct im_json *splits, *split;
    int err = -ENOENT;

    for (size_t i = 0; i < IM_COUNT(names) && err == -ENOENT; i++) {
        err = rd_shards_json(root_fd, layout->root, names[i], &info, text);
        if (err == 0)
            snprintf(list->info, sizeof list->info, "%s", names[i]);
    }
    if (err < 0)
        return err == -ENOENT ? 0 : err;
    splits = im_json_get(info, "splits");
    for (const char *key = NULL; err == 0 && (split = im_json_next(splits, &key)) != NULL;)
        if (rd_role_of(key) != RD_ROLE_NONE)
            err = add_split(root_fd, list, roles, rd_role_of(key), split);
    im_json_free(&info);
    return err;
}

/* Where a word of a list is, relative to the root. A shard that is a link stands where the link does: those of the Hugging Face
 * hub's cache lead to files whose names say nothing. */
static int place_of(const char *word, const char *root, char ret[PATH_MAX], struct im_text *text)
{
    const char *slash = strrchr(word, '/'), *base = slash ? slash + 1 : word, *below;
    char folder[PATH_MAX], real[PATH_MAX];
    const size_t root_bytes = strcmp(root, "/") == 0 ? 0 : strlen(root);

    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash + 1 - word) : 1, slash ? word : ".");
    if (access(word, F_OK) < 0 || !realpath(folder, real))
        return im_fail(text, -errno, "the shard '%.700s' is not there: %s%s", word, strerror(errno),
                       strpbrk(word, "*?")
                           ? " (a list has braces, {000..127}, and no * or ?; a folder stands "
                             "for all shards in it)"
                           : "");
    if (strncmp(real, root, root_bytes) != 0 || (real[root_bytes] && real[root_bytes] != '/'))
        return im_fail(text, -EINVAL,
                       "the shard '%.400s' is not below '%.400s': take a list whose shards are in one folder",
                       word, root);
    below = real + root_bytes + (real[root_bytes] == '/');
    return snprintf(ret, PATH_MAX, "%s%s%s", below, *below ? "/" : "", base) < PATH_MAX
               ? 0
               : im_fail(text, -ENAMETOOLONG, "a name in the list of shards is too long");
}

/* The words of a list, relative to the root, which all of them are below. */
static int add_list(int root_fd, const struct rd_layout *layout, struct rd_shard_list *list,
                    struct rd_names *roles, struct im_text *text)
{
    struct rd_names words = {0};
    char path[PATH_MAX];
    int err = rd_braces_expand(layout->labels_path, &words, text);

    for (uint32_t i = 0; i < words.count && err == 0; i++) {
        const char *word = rd_names_at(&words, i);

        err = place_of(word, layout->root, path, text);
        if (err == 0)
            err = shard_list_add(list, roles, path, role_of(word), 0);
    }
    rd_names_fini(&words);
    (void)root_fd;
    return err == 0 && list->paths.count == 0 ? im_fail(text, -EINVAL, "the list of shards is empty") : err;
}

/* Splits by role: without training shards those of the next role train. */
static int assign(struct rd_shard_list *list, const struct rd_names *roles)
{
    uint32_t of[4] = {0};
    enum rd_role train, val;
    int64_t added = 0;

    list->shards = calloc((size_t)list->paths.count + 1, sizeof *list->shards);
    if (!list->shards)
        return -ENOMEM;
    for (uint32_t i = 0; i < list->paths.count; i++)
        of[rd_names_at(roles, i)[0] - 'a']++;
    train = of[RD_ROLE_TRAIN]  ? RD_ROLE_TRAIN
            : of[RD_ROLE_NONE] ? RD_ROLE_NONE
            : of[RD_ROLE_VAL]  ? RD_ROLE_VAL
                               : RD_ROLE_TEST;
    val = of[RD_ROLE_VAL] ? RD_ROLE_VAL : RD_ROLE_TEST;
    for (uint32_t i = 0; i < list->paths.count && added >= 0; i++) {
        const char *said = rd_names_at(roles, i), *path = rd_names_at(&list->paths, i);
        const enum rd_role role = (enum rd_role)(said[0] - 'a');

        if (role != train && role != val)
            added = rd_names_add(&list->others, path);
        else
            list->shards[list->count++] =
                (struct rd_shard){.path = path,
                                  .split = role == train ? IM_TRAIN : IM_VAL,
                                  .expected = (uint32_t)strtoul(said + 1, NULL, 10)};
    }
    return added < 0 ? (int)added : 0;
}

int rd_shard_list_make(int root_fd, const struct rd_layout *layout, struct rd_shard_list *ret,
                       struct im_text *text)
{
    struct rd_names roles = {0};
    int err = 0;

    *ret = (struct rd_shard_list){0};
    if (*layout->labels_path) {
        err = add_list(root_fd, layout, ret, &roles, text);
    } else {
        err = add_info(root_fd, layout, ret, &roles, text);
        if (err == 0 && ret->paths.count > 0)
            err = rd_names_add(&ret->folders, ".") < 0 ? -ENOMEM : 0;
        else if (err == 0)
            err = strcmp(layout->train, ".") == 0 ? add_folder(root_fd, ret, &roles, ".", RD_ROLE_NONE, text)
                                                  : add_folders(root_fd, ret, &roles, text);
    }
    if (err == 0)
        err = assign(ret, &roles);
    rd_names_fini(&roles);
    return err;
}

void rd_shard_list_fini(struct rd_shard_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        rd_shard_fini(&list->shards[i]);
    free(list->shards);
    rd_names_fini(&list->paths);
    rd_names_fini(&list->missing);
    rd_names_fini(&list->others);
    rd_names_fini(&list->packed);
    rd_names_fini(&list->folders);
    *list = (struct rd_shard_list){0};
}
