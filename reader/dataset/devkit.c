#include "reader/dataset/devkit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"

#define BYTES_MAX ((size_t)64 << 20)

static bool ends_with(const char *path, const char *end)
{
    const size_t n = strlen(path), m = strlen(end);

    return n >= m && strcmp(path + n - m, end) == 0;
}

bool rd_is_ground_truth(const char *path)
{
    return ends_with(path, "validation_ground_truth.txt");
}

bool rd_is_synset_list(const char *path)
{
    return ends_with(path, "validation_synset_labels.txt");
}

int rd_devkit_find(int root_fd, const char *labels_path, char ret_path[PATH_MAX])
{
    static const char *const names[] = {"meta.mat", "map_clsloc.txt", "../meta.mat", "../map_clsloc.txt"};
    const char *slash = strrchr(labels_path, '/');
    const int folder = slash ? (int)(slash + 1 - labels_path) : 0;

    for (size_t i = 0; i < IM_COUNT(names); i++)
        if (snprintf(ret_path, PATH_MAX, "%.*s%s", folder, labels_path, names[i]) < PATH_MAX &&
            faccessat(root_fd, ret_path, R_OK, 0) == 0)
            return 0;
    return -ENOENT;
}

int rd_numbering_add(struct rd_numbering *numbering, uint64_t number, const char *name)
{
    const char *before = rd_numbering_name(numbering, number);
    int64_t at;

    if (number > RD_NUMBERS_MAX)
        return -EINVAL;
    if (before)
        return strcmp(before, name) == 0 ? 0 : -EEXIST;
    if (number >= numbering->count) {
        uint32_t *grown = realloc(numbering->names, (number + 1) * sizeof *grown);

        if (!grown)
            return -ENOMEM;
        memset(grown + numbering->count, 0, (number + 1 - numbering->count) * sizeof *grown);
        numbering->names = grown;
        numbering->count = (uint32_t)number + 1;
    }
    at = rd_names_add(&numbering->strings, name);
    if (at < 0)
        return (int)at;
    numbering->names[number] = (uint32_t)at;
    return 0;
}

const char *rd_numbering_name(const struct rd_numbering *numbering, uint64_t number)
{
    return number < numbering->count && numbering->names[number]
               ? numbering->strings.bytes + numbering->names[number]
               : NULL;
}

void rd_numbering_fini(struct rd_numbering *numbering)
{
    rd_names_fini(&numbering->strings);
    free(numbering->names);
    *numbering = (struct rd_numbering){.count = 0};
}

/* "n02119789 1 kit_fox" */
static int read_map(char *bytes, const char *path, struct rd_numbering *ret, struct im_text *text)
{
    char *next, *line;
    int err = 0, count = 0;

    for (line = strtok_r(bytes, "\r\n", &next); line && err == 0; line = strtok_r(NULL, "\r\n", &next)) {
        char *rest, *end = NULL, *name = strtok_r(line, " \t", &rest), *number = strtok_r(NULL, " \t", &rest);
        const unsigned long long value = number ? strtoull(number, &end, 10) : 0;

        count++;
        if (!number || *end || *number == '-')
            err = -EBADMSG;
        else
            err = rd_numbering_add(ret, value, name);
    }
    if (err == 0 && ret->count == 0)
        err = -EBADMSG;
    if (err < 0 && err != -ENOMEM)
        err =
            im_fail(text, -EBADMSG,
                    "'%.700s', line %d: it is not 'NAME NUMBER ...', as in n02119789 1 kit_fox", path, count);
    return err;
}

int rd_devkit_read(const char *path, struct rd_numbering *ret_numbering, struct im_text *text)
{
    struct rd_numbering numbering = {.count = 0};
    char *bytes;
    size_t n;
    int err = im_read_file(path, BYTES_MAX, &bytes, &n, text);

    if (err < 0)
        return err;
    err = ends_with(path, ".mat") ? rd_mat_read(bytes, n, path, &numbering, text)
                                  : read_map(bytes, path, &numbering, text);
    free(bytes);
    if (err < 0)
        rd_numbering_fini(&numbering);
    else
        *ret_numbering = numbering;
    return err;
}
