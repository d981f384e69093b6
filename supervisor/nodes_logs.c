/* A piece of this machine's log for another one. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/exit.h"
#include "ipc/base/file.h"
#include "ipc/base/printable.h"
#include "supervisor/nodes_ask.h"

#define PIECE 16384 /* of the file; escaped it is a message still */

/* Up to the last whole line; all where there is none. */
static size_t whole_lines(const char *bytes, size_t n)
{
    size_t end = n;

    while (end > 0 && bytes[end - 1] != '\n')
        end--;
    return end > 0 ? end : n == PIECE ? n : 0;
}

static void set_text(struct im_json *j, char *bytes, size_t n)
{
    char *shown;

    bytes[n] = 0;
    for (size_t i = 0; i < n; i++)
        if (bytes[i] == 0)
            bytes[i] = '?';
    if (im_json_set_str(j, "text", bytes) == 0)
        return;
    shown = malloc(4 * n + 1); /* it is no UTF-8 */
    if (shown) {
        for (size_t i = 0, at = 0; i <= n; i++)
            at += (size_t)snprintf(shown + at, 4 * n + 1 - at,
                                   i == n || (unsigned char)bytes[i] < 0x80 ? "%c" : "?", bytes[i]);
        im_json_set_str(j, "text", shown);
    }
    free(shown);
}

struct im_json *sv_nodes_logs(const char *run_dir, const struct im_json *message)
{
    int64_t offset = im_json_int_or(message, "offset", 0);
    struct im_json *j = im_json_object();
    struct im_text text = {""};
    char path[PATH_MAX], bytes[PIECE + 1];
    struct stat st;
    ssize_t n;
    int fd;

    im_json_set_str(j, "schema", "imsuper.reply/1");
    snprintf(path, sizeof path, "%s/log.txt", run_dir);
    fd = im_open_regular(path, &st, &text);
    if (fd < 0) {
        im_json_set_str(j, "error", text.s);
        im_json_set_int(j, "exit_status", IM_EXIT_FAILED);
        return j;
    }
    if (offset < 0 || offset > st.st_size || im_json_int_or(message, "inode", 0) != (int64_t)st.st_ino)
        offset = 0; /* another file has taken its place */
    n = pread(fd, bytes, PIECE, (off_t)offset);
    close(fd);
    n = n > 0 ? (ssize_t)whole_lines(bytes, (size_t)n) : 0;
    im_json_set_str(j, "ok", "logs");
    im_json_set_int(j, "offset", offset + n);
    im_json_set_int(j, "inode", (int64_t)st.st_ino);
    im_json_set_bool(j, "more", n > 0);
    set_text(j, bytes, (size_t)n);
    return j;
}
