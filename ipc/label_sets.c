#include "ipc/label_sets.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/aside.h"
#include "ipc/base/file.h"

#define MAGIC 0x736c6d69u /* "imls" in a little-endian file */
#define FILE_BYTES_MAX ((size_t)4 << 30)

struct header {
    uint32_t magic, classes, count, words;
};

static int path_of(const char *folder, char path[PATH_MAX], struct im_text *text)
{
    if (snprintf(path, PATH_MAX, "%s/" IM_LABEL_SETS_FILE, folder) < PATH_MAX)
        return 0;
    return im_fail(text, -ENAMETOOLONG, "the path of " IM_LABEL_SETS_FILE " in '%.300s' is too long", folder);
}

int im_label_sets_write(const struct im_label_sets *sets, const char *folder, struct im_text *text)
{
    const struct header header = {MAGIC, sets->classes, sets->count, sets->words};
    const size_t body = (size_t)sets->count * sets->words * sizeof *sets->bits;
    char path[PATH_MAX], *bytes = malloc(sizeof header + body);
    int err = bytes ? path_of(folder, path, text) : -ENOMEM;

    if (err == 0) {
        memcpy(bytes, &header, sizeof header);
        memcpy(bytes + sizeof header, sets->bits, body);
        err = im_file_replace_any(path, bytes, sizeof header + body, text);
    }
    free(bytes);
    return err;
}

int im_label_sets_read(const char *folder, uint32_t classes, struct im_label_sets *ret, struct im_text *text)
{
    struct header header = {0};
    char path[PATH_MAX], *bytes = NULL;
    size_t n = 0;
    int err = path_of(folder, path, text);

    if (err == 0)
        err = im_read_file(path, FILE_BYTES_MAX, &bytes, &n, text);
    if (err < 0)
        return err;
    if (n >= sizeof header)
        memcpy(&header, bytes, sizeof header);
    if (header.magic != MAGIC || header.classes != classes || header.words != (classes + 31) / 32 ||
        n - sizeof header != (size_t)header.count * header.words * sizeof(uint32_t)) {
        free(bytes);
        return im_fail(text, -EBADMSG, "%.500s does not hold the sets of labels of %u classes", path,
                       classes);
    }
    memmove(bytes, bytes + sizeof header, n - sizeof header); /* the words at the block's alignment */
    *ret = (struct im_label_sets){.classes = classes,
                                  .count = header.count,
                                  .words = header.words,
                                  .bits = (const uint32_t *)(const void *)bytes,
                                  .bytes = bytes};
    return 0;
}

void im_label_sets_fini(struct im_label_sets *sets)
{
    free(sets->bytes);
    *sets = (struct im_label_sets){0};
}
