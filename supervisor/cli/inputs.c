#include "supervisor/cli/inputs.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/image_type.h"

#define DEPTH_MAX 64

int sv_inputs_append(struct sv_inputs *inputs, const char *name, const char *path, int err)
{
    struct sv_input *i;

    if (inputs->count == inputs->room) {
        const size_t room = 2 * inputs->room + 64;
        struct sv_input *grown = realloc(inputs->item, room * sizeof *grown);

        if (!grown)
            return -ENOMEM;
        inputs->item = grown;
        inputs->room = room;
    }
    i = &inputs->item[inputs->count];
    *i = (struct sv_input){.name = strdup(name), .path = path ? strdup(path) : NULL, .err = err};
    if (!i->name || (path && !i->path)) {
        free(i->name);
        free(i->path);
        return -ENOMEM;
    }
    inputs->count++;
    inputs->readable += path != NULL;
    return 0;
}

static bool is_shard(const char *name)
{
    const size_t n = strlen(name);

    return n > 4 && strcasecmp(name + n - 4, ".tar") == 0;
}

static int add_file(struct sv_inputs *inputs, const char *name, const struct stat *st)
{
    char path[PATH_MAX];

    if (!S_ISREG(st->st_mode))
        return sv_inputs_append(inputs, name, NULL, -EINVAL);
    if (access(name, R_OK) < 0 || !realpath(name, path))
        return sv_inputs_append(inputs, name, NULL, -errno);
    if (is_shard(name))
        return sv_inputs_add_shard(inputs, name, path);
    return sv_inputs_append(inputs, name, path, 0);
}

static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_folder(struct sv_inputs *inputs, const char *folder, int depth);

/* Links to files are followed, links to folders are not: those may lead round in a circle. */
static int add_below(struct sv_inputs *inputs, const char *folder, const char *entry, int depth)
{
    const size_t n = strlen(folder);
    char name[PATH_MAX];
    struct stat st, link;

    if (snprintf(name, sizeof name, "%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", entry) >=
        (int)sizeof name)
        return sv_inputs_append(inputs, folder, NULL, -ENAMETOOLONG);
    if (lstat(name, &link) < 0 || stat(name, &st) < 0)
        return im_image_type_of_name(entry) != IM_IMAGE_TYPE_COUNT
                   ? sv_inputs_append(inputs, name, NULL, -errno)
                   : 0;
    if (S_ISDIR(link.st_mode))
        return add_folder(inputs, name, depth + 1);
    if (S_ISDIR(st.st_mode))
        return 0;
    return (inputs->takes_shards ? is_shard(entry) : im_image_type_of_name(entry) != IM_IMAGE_TYPE_COUNT)
               ? add_file(inputs, name, &st)
               : 0;
}

static int add_folder(struct sv_inputs *inputs, const char *folder, int depth)
{
    struct dirent **entries = NULL;
    int err = 0, n = depth > DEPTH_MAX ? -1 : scandir(folder, &entries, is_entry, by_name);

    if (n < 0)
        return sv_inputs_append(inputs, folder, NULL, depth > DEPTH_MAX ? -ELOOP : -errno);
    for (int i = 0; i < n; i++) {
        if (err == 0)
            err = add_below(inputs, folder, entries[i]->d_name, depth);
        free(entries[i]);
    }
    free(entries);
    return err;
}

static int add_name(struct sv_inputs *inputs, const char *name)
{
    const size_t before = inputs->count;
    struct stat st;
    int err;

    if (stat(name, &st) < 0)
        return sv_inputs_append(inputs, name, NULL, -errno);
    if (!S_ISDIR(st.st_mode))
        return add_file(inputs, name, &st);
    err = add_folder(inputs, name, 0);
    if (err < 0 || inputs->count > before)
        return err;
    inputs->takes_shards = true; /* there are no images, but maybe shards of them */
    err = add_folder(inputs, name, 0);
    inputs->takes_shards = false;
    return err;
}

/* All of a stream, with a NUL behind it. */
static char *read_stream(FILE *in, size_t *ret_n)
{
    char *bytes = NULL, part[65536];
    size_t n;
    FILE *out = open_memstream(&bytes, ret_n);

    if (!out)
        return NULL;
    while ((n = fread(part, 1, sizeof part, in)) > 0)
        fwrite(part, 1, n, out);
    if (ferror(out) | fclose(out)) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

/* By what the common types of images begin with, which no name does. */
static bool is_image(const char *bytes, size_t n)
{
    static const struct {
        size_t n;
        const char *bytes;
    } begins[] = {{3, "\xff\xd8\xff"}, {4, "\x89PNG"}, {6, "GIF89a"}, {6, "GIF87a"}, {4, "RIFF"}};

    for (size_t i = 0; i < IM_COUNT(begins); i++)
        if (n >= begins[i].n && memcmp(bytes, begins[i].bytes, begins[i].n) == 0)
            return memchr(bytes, 0, n) != NULL;
    return false;
}

static int add_names(struct sv_inputs *inputs, FILE *in, struct im_text *text)
{
    size_t n = 0;
    char *bytes = read_stream(in, &n), end;
    int err = 0;

    if (!bytes)
        return -ENOMEM;
    if (ferror(in))
        err = im_fail(text, -EIO, "cannot read names from standard input");
    if (err == 0 && is_image(bytes, n))
        err = im_fail(text, -EINVAL,
                      "standard input holds an image, not names of images: name its file instead");
    end = memchr(bytes, 0, n) ? '\0' : '\n';
    for (size_t at = 0; at < n && err == 0;) {
        char *stop = memchr(bytes + at, end, n - at);
        const size_t length = stop ? (size_t)(stop - bytes) - at : n - at;

        bytes[at + length] = 0;
        if (length > 0)
            err = add_name(inputs, bytes + at);
        at += length + 1;
    }
    free(bytes);
    return err;
}

int sv_inputs_add(struct sv_inputs *inputs, const char *word, FILE *in, struct im_text *text)
{
    return strcmp(word, "-") == 0 ? add_names(inputs, in, text) : add_name(inputs, word);
}

static void free_items(struct sv_inputs *inputs, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        inputs->readable -= inputs->item[i].path != NULL;
        free(inputs->item[i].name);
        free(inputs->item[i].path);
    }
}

/* Of the first image that is not among the first `readable` ones. */
static size_t place_after(const struct sv_inputs *inputs, size_t readable)
{
    size_t i = 0;

    for (; i < inputs->count; i++) {
        if (readable == 0 && inputs->item[i].path)
            return i;
        readable -= inputs->item[i].path != NULL;
    }
    return i;
}

void sv_inputs_keep(struct sv_inputs *inputs, const struct sv_shard *shard, size_t images)
{
    const size_t steps = (inputs->readable + images - 1) / images, count = inputs->count;
    const size_t first = steps * shard->number / shard->count * images,
                 end = steps * (shard->number + 1) / shard->count * images;
    const size_t from =
        shard->number == 0 ? 0 : place_after(inputs, first < inputs->readable ? first : inputs->readable);
    const size_t to = shard->number + 1 == shard->count
                          ? count
                          : place_after(inputs, end < inputs->readable ? end : inputs->readable);

    free_items(inputs, 0, from);
    free_items(inputs, to, count);
    memmove(inputs->item, inputs->item + from, (to - from) * sizeof *inputs->item);
    inputs->count = to - from;
}

int sv_inputs_write(const struct sv_inputs *inputs, const char *path, struct im_text *text)
{
    char *bytes = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&bytes, &n);
    int err;

    if (!out)
        return -ENOMEM;
    for (size_t i = 0; i < inputs->count; i++)
        if (inputs->item[i].path)
            fwrite(inputs->item[i].path, strlen(inputs->item[i].path) + 1, 1, out);
    err = ferror(out) | fclose(out) ? -ENOMEM : im_file_replace(path, bytes, n, text);
    free(bytes);
    return err;
}

void sv_inputs_fini(struct sv_inputs *inputs)
{
    for (size_t i = 0; i < inputs->count; i++) {
        free(inputs->item[i].name);
        free(inputs->item[i].path);
    }
    free(inputs->item);
    *inputs = (struct sv_inputs){0};
}
