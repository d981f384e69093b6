/* The undo file: lines of words with tabs between them, where \\, \t, \n and \r stand for these bytes:
 *
 *     imsuper-organise 1
 *     how<TAB>copy
 *     source<TAB>/absolute/path
 *     folder<TAB>train/cat
 *     file<TAB>train/cat/1.jpg<TAB>train/cat/images/1.jpg
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/file.h"
#include "reader/tools/organise.h"

#define MAGIC "imsuper-organise 1"
#define BYTES_MAX ((size_t)4 << 30)

static const char *const hows[RD_HOWS] = {"copy", "hard-link", "symlink"};

int rd_undo_add(struct rd_undo *undo, const char *path, const char *source)
{
    int64_t path_at, source_at;

    if (undo->count == undo->capacity) {
        const uint64_t capacity = 2 * undo->capacity + 256;
        void *grown = realloc(undo->files, capacity * sizeof *undo->files);

        if (!grown)
            return -ENOMEM;
        undo->files = grown;
        undo->capacity = capacity;
    }
    path_at = rd_names_add(&undo->strings, path);
    source_at = path_at < 0 ? path_at : rd_names_add(&undo->strings, source);
    if (source_at < 0)
        return (int)source_at;
    undo->files[undo->count++] = (struct rd_undo_entry){(uint32_t)path_at, (uint32_t)source_at};
    return 0;
}

static int by_path(const void *a, const void *b, void *bytes)
{
    return strcmp((const char *)bytes + ((const struct rd_undo_entry *)a)->path,
                  (const char *)bytes + ((const struct rd_undo_entry *)b)->path);
}

void rd_undo_sort(struct rd_undo *undo)
{
    if (undo->count > 1)
        qsort_r(undo->files, undo->count, sizeof *undo->files, by_path, undo->strings.bytes);
}

bool rd_undo_has(const struct rd_undo *undo, const char *path)
{
    uint64_t low = 0, high = undo->count;

    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        const int order = strcmp(path, rd_undo_string(undo, undo->files[middle].path));

        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

static bool is_name(const char *name, size_t n)
{
    return n > 0 && n <= NAME_MAX && !(n == 1 && name[0] == '.') &&
           !(n == 2 && name[0] == '.' && name[1] == '.');
}

/* train or val, then /NAME exactly `names` times. */
static bool is_below(const char *path, int names)
{
    const size_t split = strcspn(path, "/");

    if (!(split == 5 && memcmp(path, "train", 5) == 0) && !(split == 3 && memcmp(path, "val", 3) == 0))
        return false;
    path += split;
    for (; names > 0; names--) {
        size_t n;

        if (*path != '/')
            return false;
        n = strcspn(path + 1, "/");
        if (!is_name(path + 1, n))
            return false;
        path += n + 1;
    }
    return *path == 0;
}

/* In place; NULL: an escape that there is not. */
static char *unescape(char *word)
{
    char *to = word;

    for (char *from = word; *from; from++) {
        if (*from == '\\') {
            from++;
            if (*from != '\\' && *from != 't' && *from != 'n' && *from != 'r')
                return NULL;
            *to++ = *from == 't' ? '\t' : *from == 'n' ? '\n' : *from == 'r' ? '\r' : '\\';
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
    return word;
}

static bool take_line(char *line, struct rd_undo *undo, int *ret_err)
{
    char *words[3] = {line, NULL, NULL};
    int count = 1;

    for (char *tab = strchr(line, '\t'); tab; tab = strchr(tab + 1, '\t')) {
        if (count == 3)
            return false;
        *tab = 0;
        words[count++] = tab + 1;
    }
    for (int i = 1; i < count; i++)
        if (!unescape(words[i]) || !*words[i])
            return false;
    if (strcmp(words[0], "file") == 0 && count == 3 && is_below(words[1], 2)) {
        *ret_err = rd_undo_add(undo, words[1], words[2]);
    } else if (strcmp(words[0], "folder") == 0 && count == 2 &&
               (strcmp(words[1], ".") == 0 || is_below(words[1], 0) || is_below(words[1], 1))) {
        const int64_t at = rd_names_add(&undo->folders, words[1]);

        *ret_err = at < 0 ? (int)at : 0;
    } else if (strcmp(words[0], "source") == 0 && count == 2 && *words[1] == '/' &&
               strlen(words[1]) < sizeof undo->source) {
        snprintf(undo->source, sizeof undo->source, "%s", words[1]);
    } else if (strcmp(words[0], "how") == 0 && count == 2) {
        for (int how = 0; how < RD_HOWS; how++)
            if (strcmp(words[1], hows[how]) == 0) {
                undo->how = (enum rd_how)how;
                return true;
            }
        return false;
    } else {
        return false;
    }
    return true;
}

int rd_undo_parse(char *bytes, size_t n, const char *path, struct rd_undo *ret_undo, struct im_text *text)
{
    struct rd_undo undo = {.how = RD_HOWS};
    unsigned long long line = 1;
    char *at = bytes, *end;
    int err = 0;

    if (strlen(bytes) != n || strncmp(bytes, MAGIC "\n", strlen(MAGIC "\n")) != 0)
        return im_fail(text, -EBADMSG, "'%.700s' is no undo file of `imsuper data organise`", path);
    for (at += strlen(MAGIC "\n"), line = 2; *at && err == 0; at = end + 1, line++) {
        end = strchr(at, '\n');
        if (!end)
            err = im_fail(text, -EBADMSG, "'%.700s' ends within line %llu", path, line);
        if (err == 0) {
            *end = 0;
            if (!take_line(at, &undo, &err))
                err = im_fail(text, -EBADMSG, "'%.600s', line %llu: it is none of an undo file", path, line);
        }
        if (!end)
            break;
    }
    if (err == 0 && (undo.how == RD_HOWS || !*undo.source))
        err = im_fail(text, -EBADMSG, "'%.700s' does not say how and from where files were made", path);
    rd_undo_sort(&undo);
    if (err < 0)
        rd_undo_fini(&undo);
    else
        *ret_undo = undo;
    return err;
}

int rd_undo_read(const char *path, struct rd_undo *ret_undo, struct im_text *text)
{
    struct im_text why = {""};
    char *bytes;
    size_t n;
    int err = im_read_file(path, BYTES_MAX, &bytes, &n, &why);

    if (err == -ENOENT)
        return err;
    if (err < 0)
        return im_fail(text, err, "%.1000s", why.s);
    err = rd_undo_parse(bytes, n, path, ret_undo, text);
    free(bytes);
    return err;
}

static void write_word(FILE *out, const char *word)
{
    putc('\t', out);
    for (; *word; word++) {
        const char *escape = *word == '\\'   ? "\\\\"
                             : *word == '\t' ? "\\t"
                             : *word == '\n' ? "\\n"
                             : *word == '\r' ? "\\r"
                                             : NULL;

        if (escape)
            fputs(escape, out);
        else
            putc(*word, out);
    }
}

int rd_undo_write(const char *path, const struct rd_undo *undo, struct im_text *text)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    int err;

    if (!out)
        return -ENOMEM;
    fprintf(out, MAGIC "\nhow\t%s\nsource", hows[undo->how]);
    write_word(out, undo->source);
    for (uint32_t i = 0; i < undo->folders.count; i++) {
        fputs("\nfolder", out);
        write_word(out, rd_names_at(&undo->folders, i));
    }
    for (uint64_t i = 0; i < undo->count; i++) {
        fputs("\nfile", out);
        write_word(out, rd_undo_string(undo, undo->files[i].path));
        write_word(out, rd_undo_string(undo, undo->files[i].source));
    }
    putc('\n', out);
    err = ferror(out) | fclose(out) ? -ENOMEM : im_file_replace(path, bytes, size, text);
    free(bytes);
    return err;
}

void rd_undo_fini(struct rd_undo *undo)
{
    rd_names_fini(&undo->strings);
    rd_names_fini(&undo->folders);
    free(undo->files);
    *undo = (struct rd_undo){.count = 0};
}
