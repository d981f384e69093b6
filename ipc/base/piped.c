#include "ipc/base/piped.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void close_both(const int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int spawn(pid_t *ret, char *const argv[], const struct im_piped_how *how, int in, int out)
{
    posix_spawn_file_actions_t actions;
    int err;

    posix_spawn_file_actions_init(&actions);
    if (in >= 0)
        posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (how->passed)
        posix_spawn_file_actions_adddup2(&actions, *how->passed, IM_PIPED_FD);
    if (how->without_errors)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    err = -posix_spawnp(ret, argv[0], &actions, NULL, argv, how->environment ? how->environment : environ);
    posix_spawn_file_actions_destroy(&actions);
    return err;
}

int im_piped_start(struct im_piped *p, char *const argv[], const struct im_piped_how *how,
                   struct im_text *text)
{
    int in[2] = {-1, -1}, out[2], err = 0;

    *p = IM_PIPED_NONE;
    if (pipe2(out, O_CLOEXEC) < 0)
        return im_fail(text, -errno, "cannot make a pipe: %s", strerror(errno));
    if (how->with_input && pipe2(in, O_CLOEXEC) < 0) {
        err = -errno;
        close_both(out);
        return im_fail(text, err, "cannot make a pipe: %s", strerror(-err));
    }
    err = spawn(&p->pid, argv, how, in[0], out[1]);
    if (err < 0) {
        p->pid = 0;
        close_both(in);
        close_both(out);
        return im_fail(text, err, "cannot run %.700s: %s", argv[0], strerror(-err));
    }
    close(out[1]);
    if (in[0] >= 0)
        close(in[0]);
    p->to = in[1];
    p->from = out[0];
    return 0;
}

int im_piped_end(struct im_piped *p)
{
    const int fds[2] = {p->to, p->from};
    int status = 0;

    if (p->pid <= 0)
        return 0;
    close_both(fds);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    *p = IM_PIPED_NONE;
    return status;
}
