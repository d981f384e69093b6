#include "supervisor/warden/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const names[SV_PROGRAMS] = {
    [SV_PROGRAM_SUPERVISOR] = "imsuper",          [SV_PROGRAM_READER] = "imsuper-reader",
    [SV_PROGRAM_AUGMENTER] = "imsuper-augmenter", [SV_PROGRAM_TRAINER] = "imsuper-trainer",
    [SV_PROGRAM_FETCHER] = "imsuper-fetcher",
};

const char *sv_program_name(enum sv_program program)
{
    return names[program];
}

enum sv_program sv_program_of(enum im_role role)
{
    return role == IM_ROLE_READER      ? SV_PROGRAM_READER
           : role == IM_ROLE_AUGMENTER ? SV_PROGRAM_AUGMENTER
           : role == IM_ROLE_FETCHER   ? SV_PROGRAM_FETCHER
                                       : SV_PROGRAM_TRAINER;
}

void sv_programs_close(struct sv_programs *p)
{
    for (int i = 0; i < SV_PROGRAMS; i++)
        if (p->fd[i] >= 0)
            close(p->fd[i]);
    if (p->module >= 0)
        close(p->module);
    memset(p->fd, 0xff, sizeof p->fd);
    p->module = -1;
}

static int open_beside(const struct sv_programs *p, const char *name, int flags)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", p->directory, name);
    return open(path, flags | O_CLOEXEC);
}

int sv_programs_open(struct sv_programs *ret, struct im_text *text)
{
    struct sv_programs p = {.fd = {-1, -1, -1, -1, -1}, .module = -1};
    ssize_t n = readlink("/proc/self/exe", p.directory, sizeof p.directory - 1);
    char *slash;
    int err;

    if (n <= 0)
        return im_fail(text, -errno, "cannot read /proc/self/exe: %s; is /proc mounted?", strerror(errno));
    p.directory[n] = 0;
    slash = strrchr(p.directory, '/');
    if (slash)
        *slash = 0;
    for (int i = 0; i < SV_PROGRAMS; i++) {
        p.fd[i] = i == SV_PROGRAM_SUPERVISOR ? open("/proc/self/exe", O_PATH | O_CLOEXEC)
                                             : open_beside(&p, names[i], O_PATH);
        if (p.fd[i] >= 0 || (i == SV_PROGRAM_FETCHER && errno == ENOENT))
            continue;
        err = -errno;
        sv_programs_close(&p);
        return im_fail(text, err, "cannot run %s/%s: %s%s", p.directory, names[i], strerror(-err),
                       err == -ENOENT ? "; it must be in the folder of imsuper" : "");
    }
    p.module = open_beside(&p, "imsuper-cuda.so", O_RDONLY);
    *ret = p;
    return 0;
}
