/* What the augmenter's verbs share: the list of images from imsuper-reader, found beside this program, and the
 * way from the configuration to a renderer. The files are read whole and kept, so that nothing measured waits for
 * a disk. */
#include "augment/tools/session.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "augment/sandbox.h"
#include "ipc/base/printable.h"
#include "ipc/base/reference.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"

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

/* The reader's answer. 0, its exit status, or a negative errno. */
static int run_list(const char *path, char *const argv[], char **ret, size_t *ret_n)
{
    posix_spawn_file_actions_t actions;
    int fds[2], status = 0, err, read_err = 0;
    pid_t pid;

    if (pipe(fds) < 0)
        return -errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    err = -posix_spawn(&pid, path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (err == 0)
        read_err = read_to_end(fds[0], ret, ret_n);
    close(fds[0]);
    while (err == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (err < 0 || read_err < 0)
        return err < 0 ? err : read_err;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

/* Takes the fields of one image; NULL when they are cut off. */
static const char *take_fields(const char *at, const char *end, const char *fields[LIST_FIELDS])
{
    for (int i = 0; i < LIST_FIELDS; i++) {
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

        at = take_fields(at, end, fields);
        if (!at)
            return im_fail(text, -EBADMSG, "imsuper-reader sent an unreadable answer");
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
    char path[PATH_MAX], data[] = "data", verb[] = "list", data_dir[IM_CONF_TEXT_BYTES + 16], layout[64],
                         images[64], split[64], split_seed[64], which[64], labels[IM_CONF_TEXT_BYTES + 16],
                         val_labels[IM_CONF_TEXT_BYTES + 16], both[] = "--both-splits",
                         multi[] = "--multi-label";
    char *argv[13] = {path, data, verb, data_dir, layout, images, split, split_seed, which};
    int words = 9, err;

    im_beside("imsuper-reader", path, sizeof path);
    snprintf(data_dir, sizeof data_dir, "--data-dir=%s", conf->data_dir);
    snprintf(layout, sizeof layout, "--layout=%s", im_conf_choice(IM_KEY_layout, conf->layout));
    snprintf(images, sizeof images, all ? "--sample=%" PRId64 : "--images=%" PRId64,
             all ? conf->sample : conf->images);
    snprintf(labels, sizeof labels, "--labels=%s", conf->labels);
    snprintf(val_labels, sizeof val_labels, "--val-labels=%s", conf->val_labels);
    if (*conf->labels)
        argv[words++] = labels;
    if (*conf->val_labels)
        argv[words++] = val_labels;
    if (conf->multi_label)
        argv[words++] = multi;
    snprintf(split, sizeof split, "--val-split=%.17g", conf->val_split);
    snprintf(split_seed, sizeof split_seed, "--val-split-seed=%" PRId64, conf->val_split_seed);
    snprintf(which, sizeof which, "--split=%s", im_conf_choice(IM_KEY_split, conf->split));
    if (all)
        argv[words++] = both;
    err = run_list(path, argv, ret, ret_n);
    return err < 0 ? im_fail(text, err, "cannot run %s: %s", path, strerror(-err)) : err;
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
    return nuls / (LIST_FIELDS + 1);
}

int au_names_load(const struct im_conf *conf, struct au_names *ret, struct im_text *text)
{
    const char *at, *end, *fields[LIST_FIELDS], *split;
    size_t n = 0;
    int err;

    *ret = (struct au_names){0};
    err = ask_reader(conf, true, &ret->bytes, &n, text);
    if (err)
        return err;
    at = ret->bytes, end = at + n;
    ret->root = at;
    at += n ? strlen(at) + 1 : 0;
    ret->names = calloc(count_names(at, end) + 1, sizeof *ret->names);
    if (!ret->names)
        return im_fail(text, -ENOMEM, "no memory for a list of images");
    while (at < end) {
        at = take_fields(at, end, fields);
        split = at;
        if (!at || !memchr(at, '\0', (size_t)(end - at)))
            return im_fail(text, -EBADMSG, "imsuper-reader sent an unreadable answer");
        at += strlen(at) + 1;
        ret->names[ret->count++] = (struct au_name){.label = (uint32_t)strtoul(fields[1], NULL, 10),
                                                    .is_val = strcmp(split, "val") == 0,
                                                    .class_name = fields[2],
                                                    .path = fields[3],
                                                    .reference = fields[4]};
    }
    return 0;
}

void au_names_free(struct au_names *names)
{
    free(names->names);
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
    err = au_options_make(&s->conf, &s->recipe);
    if (err < 0)
        return im_command_fail(err, &text);
    err = au_files_load(&s->conf, &s->files, &text);
    if (err > 0)
        return err;
    if (err == 0)
        err = au_renderer_new(&s->renderer, &s->recipe.limits, imk_cpu_flags());
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
    int err = au_sandbox_enter(NULL, NULL, false, &state, &why); /* all files have been read */

    if (err == 0 && !state.filters_calls)
        im_say(stderr, "imsuper: %s", why.s);
    return err < 0 ? im_fail(text, err, "%s", why.s) : 0;
}

void au_session_close(struct au_session *s)
{
    au_renderer_free(&s->renderer);
    au_files_free(&s->files);
}
