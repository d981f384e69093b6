/* What the augmenter's verbs share: the list of images from imsuper-reader, found beside this program, and the
 * way from the configuration to a renderer. The files are read whole and kept, so that nothing measured waits for
 * a disk. */
#include "augment/tools/session.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "augment/sandbox.h"
#include "ipc/base/piped.h"
#include "ipc/base/printable.h"
#include "ipc/base/reference.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"
#include "ipc/config/command_line.h"

#define UNREADABLE "imsuper-reader sent an unreadable answer"

enum { LIST_FIELDS = 5 };

/* All that the descriptor gives, malloc'ed, with a NUL after it. */
static int read_to_end(int fd, char **ret, size_t *ret_n)
{
    size_t room = 65536, have = 0;
    char *bytes = malloc(room), *grown;

    while (bytes) {
        ssize_t got = read(fd, bytes + have, room - have - 1);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
        if (room - have > 4096)
            continue;
        grown = realloc(bytes, room *= 2);
        if (!grown)
            free(bytes);
        bytes = grown;
    }
    if (!bytes)
        return -ENOMEM;
    bytes[have] = '\0';
    *ret = bytes;
    *ret_n = have;
    return 0;
}

/* The reader's answer. 0, its exit status, or a negative errno with a sentence. */
static int run_list(char *const argv[], char **ret, size_t *ret_n, struct im_text *text)
{
    struct im_piped p;
    int status, err = im_piped_start(&p, argv, &(struct im_piped_how){.with_input = false}, text);

    if (err < 0)
        return err;
    err = read_to_end(p.from, ret, ret_n);
    status = im_piped_end(&p);
    if (err == 0 && WIFEXITED(status))
        return WEXITSTATUS(status);
    return im_fail(text, err < 0 ? err : -EIO, "%s gave no list: %s", argv[0],
                   err < 0 ? strerror(-err) : "it was killed");
}

/* Takes n fields of one image; NULL when they are cut off. */
static const char *take_fields(const char *at, const char *end, const char **fields, int n)
{
    for (int i = 0; i < n; i++) {
        const char *nul = memchr(at, '\0', (size_t)(end - at));

        if (!nul)
            return NULL;
        fields[i] = at;
        at = nul + 1;
    }
    return at;
}

static int read_files(const struct im_conf *conf, struct au_files *files, size_t n, struct im_text *text)
{
    const char *at = files->names, *end = at + n, *fields[LIST_FIELDS];
    int err = 0;

    files->files = calloc((size_t)conf->images, sizeof *files->files);
    if (!files->files)
        return im_fail(text, -ENOMEM, "no memory for a list of images");
    while (err == 0 && at < end && files->count < (size_t)conf->images) {
        struct au_file *file = &files->files[files->count];

        at = take_fields(at, end, fields, LIST_FIELDS);
        if (!at)
            return im_fail(text, -EBADMSG, UNREADABLE);
        *file =
            (struct au_file){.id = strtoull(fields[0], NULL, 10), .class_name = fields[2], .path = fields[3]};
        err = im_reference_read(fields[4], (size_t)conf->max_file_bytes, &file->bytes, &file->n, text);
        files->count += err == 0;
    }
    return err;
}

/* The reader's list, of the images of --images or of all splits. 0; its exit status; or a negative errno with a
 * sentence. */
static int ask_reader(const struct im_conf *conf, bool all, char **ret, size_t *ret_n, struct im_text *text)
{
    char path[PATH_MAX];
    struct im_command_line line;
    int err;

    im_beside("imsuper-reader", path, sizeof path);
    im_command_line_begin(&line, path);
    im_command_line_word(&line, "data");
    im_command_line_word(&line, "list");
    im_command_line_data(&line, conf);
    im_command_line_flag(&line, conf, IM_KEY_split);
    im_command_line_flag(&line, conf, all ? IM_KEY_sample : IM_KEY_images);
    if (all)
        im_command_line_value(&line, IM_KEY_both_splits, "true");
    err = line.words ? run_list(line.words, ret, ret_n, text)
                     : im_fail(text, -ENOMEM, "no memory to ask %s", path);
    im_command_line_free(&line);
    return err;
}

int au_files_load(const struct im_conf *conf, struct au_files *ret, struct im_text *text)
{
    size_t n = 0;
    int err;

    *ret = (struct au_files){0};
    err = ask_reader(conf, false, &ret->names, &n, text);
    if (err == 0)
        err = read_files(conf, ret, n, text);
    if (err)
        au_files_free(ret);
    return err;
}

static size_t count_names(const char *at, const char *end)
{
    size_t nuls = 0;

    for (; at < end; at++)
        nuls += *at == '\0';
    return nuls / (LIST_FIELDS + 2);
}

/* The root, and the classes; NULL: cut off, or no memory. */
static const char *take_head(const char *at, const char *end, struct au_names *ret)
{
    size_t n;

    ret->root = at;
    at += strlen(at) + 1;
    n = at < end ? strtoul(at, NULL, 10) : 0;
    if (at >= end || n > (size_t)(end - at))
        return NULL;
    at += strlen(at) + 1;
    ret->classes = calloc(n + 1, sizeof *ret->classes);
    for (; ret->classes && ret->class_count < n && at < end; at += strlen(at) + 1)
        ret->classes[ret->class_count++] = at;
    return ret->classes && ret->class_count == n ? at : NULL;
}

int au_names_load(const struct im_conf *conf, struct au_names *ret, struct im_text *text)
{
    const char *at, *end, *fields[LIST_FIELDS], *more[2];
    size_t n = 0;
    int err;

    *ret = (struct au_names){0};
    err = ask_reader(conf, true, &ret->bytes, &n, text);
    if (err)
        return err;
    at = ret->bytes, end = at + n;
    if (n == 0 || at[n - 1] || !(at = take_head(at, end, ret)))
        return im_fail(text, -EBADMSG, UNREADABLE);
    ret->names = calloc(count_names(at, end) + 1, sizeof *ret->names);
    if (!ret->names)
        return im_fail(text, -ENOMEM, "no memory for a list of images");
    while (at < end) {
        at = take_fields(at, end, fields, LIST_FIELDS);
        at = at ? take_fields(at, end, more, 2) : NULL;
        if (!at)
            return im_fail(text, -EBADMSG, UNREADABLE);
        ret->names[ret->count++] = (struct au_name){.label = (uint32_t)strtoul(fields[1], NULL, 10),
                                                    .is_val = strcmp(more[0], "val") == 0,
                                                    .class_name = fields[2],
                                                    .path = fields[3],
                                                    .reference = fields[4],
                                                    .classes = more[1]};
    }
    return 0;
}

void au_names_free(struct au_names *names)
{
    free(names->names);
    free(names->classes);
    free(names->bytes);
    *names = (struct au_names){0};
}

void au_files_free(struct au_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->files[i].bytes);
    free(files->files);
    free(files->names);
    *files = (struct au_files){0};
}

int au_session_open(struct au_session *s, const struct im_conf *conf)
{
    struct im_text text = {""};
    int err;

    *s = (struct au_session){.conf = *conf};
    err = au_options_make(&s->conf, &s->options);
    if (err < 0)
        return im_command_fail(err, &text);
    err = au_files_load(&s->conf, &s->files, &text);
    if (err > 0)
        return err;
    if (err == 0)
        err = au_renderer_new(&s->renderer, &s->options.limits, imk_cpu_flags());
    if (err == 0 && s->files.count == 0)
        err = im_fail(&text, -ENOENT, "no %s images in %.700s",
                      s->conf.split == IM_SPLIT_CHOICE_VAL ? "validation" : "training", s->conf.data_dir);
    if (err < 0) {
        au_session_close(s);
        return im_command_fail(err, &text);
    }
    return 0;
}

int au_session_confine(struct im_text *text)
{
    struct im_sandbox_state state;
    struct im_text why = {""};
    int err = au_sandbox_enter(NULL, NULL, true, false, &state, &why); /* all files have been read */

    if (err == 0 && !state.filters_calls)
        im_say(stderr, "imsuper: %s", why.s);
    return err < 0 ? im_fail(text, err, "%s", why.s) : 0;
}

void au_session_close(struct au_session *s)
{
    au_renderer_free(&s->renderer);
    au_files_free(&s->files);
}
