#include "trainer/export/pixels.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/sysinfo.h"

#define PROGRAM "imsuper-augmenter"

enum {
    PATH_BYTES_MAX = 1 << 16,
    SIDE_MAX = 65535,
};

/* The options as a file in memory: as flags they would be held against each other as if a user had typed them. */
static int write_options(const struct im_conf *conf, struct im_text *text)
{
    char *yaml = im_conf_dump_yaml(conf, IM_FOR_PIXELS);
    int fd = yaml ? memfd_create("imsuper-options", MFD_CLOEXEC) : -1;
    int err = fd < 0 ? -ENOMEM : im_write_all(fd, yaml, strlen(yaml));

    free(yaml);
    if (err == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return im_fail(text, err, "no file in memory for the options of samples: %s", strerror(-err));
}

/* The environment without options, which are in that file. NULL: no memory. */
static char **plain_environment(void)
{
    size_t n = 0, kept = 0;
    char **plain;

    while (environ[n])
        n++;
    plain = calloc(n + 1, sizeof *plain);
    for (size_t i = 0; plain && i < n; i++)
        if (strncmp(environ[i], "IMSUPER_", 8) != 0)
            plain[kept++] = environ[i];
    return plain;
}

static int start(struct tr_pixels *p, int options, struct im_text *text)
{
    char path[PATH_MAX], verb[] = "pixels", flag[] = "--config=/dev/fd/3", *argv[] = {path, verb, flag, NULL};
    const struct im_piped_how how = {.passed = &options, .environment = plain_environment()};
    int err;

    static_assert(IM_PIPED_FD == 3, "named in the flag");
    im_beside(PROGRAM, path, sizeof path);
    err = how.environment ? im_piped_start(&p->program, argv, &how, text)
                          : im_fail(text, -ENOMEM, "no memory to ask for samples");
    free(how.environment);
    if (err < 0)
        return err;
    p->from = fdopen(p->program.from, "r");
    if (!p->from)
        return im_fail(text, -ENOMEM, "no memory to read samples");
    p->program.from = -1; /* is the stream's */
    return 0;
}

int tr_pixels_open(struct tr_pixels *p, const struct im_conf *conf, enum im_conf_split split, int64_t images,
                   bool whole, struct im_text *text)
{
    struct im_conf *wanted = malloc(sizeof *wanted);
    int options, err;

    *p = (struct tr_pixels){.program = IM_PIPED_NONE};
    if (!wanted)
        return im_fail(text, -ENOMEM, "no memory to ask for samples");
    *wanted = *conf;
    wanted->split = (int32_t)split;
    wanted->images = images;
    wanted->whole_images = whole;
    options = write_options(wanted, text);
    free(wanted);
    if (options < 0)
        return options;
    err = start(p, options, text);
    close(options);
    return err;
}

static int read_bytes(struct tr_pixels *p, void *to, size_t n, struct im_text *text)
{
    return fread(to, 1, n, p->from) == n ? 0
                                         : im_fail(text, -EIO, PROGRAM " ended in the middle of a sample");
}

static int read_into(struct tr_pixels *p, unsigned char **to, size_t *room, size_t n, struct im_text *text)
{
    if (n > *room) {
        free(*to);
        *to = malloc(n);
        *room = *to ? n : 0;
    }
    return *to ? read_bytes(p, *to, n, text) : im_fail(text, -ENOMEM, "no memory for an image");
}

int tr_pixels_next(struct tr_pixels *p, size_t *skipped, struct im_text *text)
{
    struct im_pixels_record *r = &p->record;
    char path[PATH_BYTES_MAX];
    int err;

    for (;;) {
        int first = getc(p->from);

        if (first == EOF)
            return 0;
        ungetc(first, p->from);
        err = read_bytes(p, r, sizeof *r, text);
        if (err == 0 && (r->path_bytes >= PATH_BYTES_MAX || r->size > SIDE_MAX || r->width > SIDE_MAX ||
                         r->height > SIDE_MAX))
            err = im_fail(text, -EBADMSG, PROGRAM " sent something else than samples");
        if (err == 0)
            err = read_bytes(p, path, r->path_bytes, text);
        if (err < 0)
            return err;
        if (r->verdict == 0)
            break;
        (*skipped)++;
    }
    err = read_into(p, &p->sample, &p->sample_room, (size_t)3 * r->size * r->size, text);
    if (err == 0 && r->width > 0)
        err = read_into(p, &p->whole, &p->whole_room, (size_t)3 * r->width * r->height, text);
    return err < 0 ? err : 1;
}

int tr_pixels_close(struct tr_pixels *p, struct im_text *text)
{
    int status;

    if (p->from)
        fclose(p->from);
    status = im_piped_end(&p->program);
    free(p->sample);
    free(p->whole);
    *p = (struct tr_pixels){.program = IM_PIPED_NONE};
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : im_fail(text, -EBADMSG, PROGRAM ", which makes the samples, has failed");
}
