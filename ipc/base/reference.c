#include "ipc/base/reference.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/file.h"

#define MARK "//@"

int im_reference_add(char *reference, size_t size, uint64_t offset, uint64_t bytes)
{
    const size_t n = strlen(reference);
    const int added = snprintf(reference + n, size - n, MARK "%llu+%llu", (unsigned long long)offset,
                               (unsigned long long)bytes);

    return added < 0 || (size_t)added >= size - n ? -ENAMETOOLONG : (int)n + added;
}

/* Digits only, below 2^63; moves *at behind them. */
static bool number(const char **at, uint64_t *ret)
{
    const size_t digits = strspn(*at, "0123456789");

    if (digits == 0 || digits > 18)
        return false;
    *ret = strtoull(*at, NULL, 10);
    *at += digits;
    return true;
}

size_t im_reference_parse(const char *reference, uint64_t *ret_offset, uint64_t *ret_bytes)
{
    const char *mark = NULL, *at = reference;

    while ((at = strstr(at, MARK)) != NULL)
        mark = at++;
    *ret_offset = 0;
    *ret_bytes = UINT64_MAX;
    if (mark && mark > reference) {
        uint64_t offset, bytes;

        at = mark + strlen(MARK);
        if (number(&at, &offset) && *at++ == '+' && number(&at, &bytes) && *at == 0) {
            *ret_offset = offset;
            *ret_bytes = bytes;
            return (size_t)(mark - reference);
        }
    }
    return strlen(reference);
}

static int read_part(int fd, const char *path, uint64_t offset, char *bytes, size_t n, struct im_text *text)
{
    size_t have = 0;

    while (have < n) {
        ssize_t got = pread(fd, bytes + have, n - have, (off_t)(offset + have));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return im_fail(text, -errno, "cannot read '%.700s': %s", path, strerror(errno));
        if (got == 0)
            return im_fail(text, -ENODATA, "'%.700s' ends before the image does", path);
        have += (size_t)got;
    }
    return 0;
}

/* Opens the file of a reference. Returns its descriptor, or negative errno with a sentence. */
static int open_path(const char *reference, char path[PATH_MAX], uint64_t *ret_offset, uint64_t *ret_bytes,
                     struct im_text *text)
{
    const size_t n = im_reference_parse(reference, ret_offset, ret_bytes);
    struct stat st;

    if (n >= PATH_MAX)
        return im_fail(text, -ENAMETOOLONG, "the path '%.700s' is too long", reference);
    memcpy(path, reference, n);
    path[n] = 0;
    return im_open_regular(path, &st, text);
}

int im_reference_read(const char *reference, size_t bytes_max, char **ret_bytes, size_t *ret_n,
                      struct im_text *text)
{
    uint64_t offset, bytes;
    char path[PATH_MAX], *content;
    int fd, err;

    im_reference_parse(reference, &offset, &bytes);
    if (bytes == UINT64_MAX)
        return im_read_file(reference, bytes_max, ret_bytes, ret_n, text);
    if (bytes > bytes_max)
        return im_fail(text, -EFBIG, "'%.700s' is larger than %zu bytes", reference, bytes_max);
    fd = open_path(reference, path, &offset, &bytes, text);
    if (fd < 0)
        return fd;
    content = malloc(bytes + 1);
    err = content ? read_part(fd, path, offset, content, bytes, text)
                  : im_fail(text, -ENOMEM, "no memory for '%.700s'", reference);
    close(fd);
    if (err < 0) {
        free(content);
        return err;
    }
    content[bytes] = 0;
    *ret_bytes = content;
    *ret_n = bytes;
    return 0;
}

int im_reference_read_two(const char *reference, size_t n, const size_t two[3], char **ret_bytes,
                          struct im_text *text)
{
    const size_t head = two[0], from = two[1], to = two[2];
    uint64_t offset, bytes;
    char path[PATH_MAX], *content;
    int fd = open_path(reference, path, &offset, &bytes, text), err;

    if (fd < 0)
        return fd;
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    content = calloc(1, n + 1);
    err = content ? read_part(fd, path, offset, content, head, text)
                  : im_fail(text, -ENOMEM, "no memory for '%.700s'", reference);
    if (err == 0)
        err = read_part(fd, path, offset + from, content + from, to - from, text);
    close(fd);
    if (err < 0)
        free(content);
    else
        *ret_bytes = content;
    return err;
}
