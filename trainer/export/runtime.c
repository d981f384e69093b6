#include "trainer/export/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/sysinfo.h"

#define SCRIPT "prove_onnx.py"

enum { ARGUMENTS_MAX = 8, ANSWER_BYTES = 16384 };

static int find_script(char *path, size_t n, struct im_text *text)
{
    static const char *const places[] = {SCRIPT, "../share/imsuper/" SCRIPT};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        im_beside(places[i], path, n);
        if (access(path, R_OK) == 0)
            return 0;
    }
    return im_fail(text, -ENOENT, "%s is not beside the program", SCRIPT);
}

/* Its errors and warnings are for nobody: what matters is in the answer. */
static int spawn(struct tr_runtime *r, char *const argv[], const int in[2], const int out[2])
{
    posix_spawn_file_actions_t actions;
    int err;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    err = posix_spawnp(&r->pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (err)
        r->pid = 0;
    return -err;
}

int tr_runtime_start(struct tr_runtime *r, const char *const *arguments, struct im_text *text)
{
    char python[] = "python3", path[PATH_MAX], *argv[ARGUMENTS_MAX + 3] = {python, path};
    int in[2], out[2], err = find_script(path, sizeof path, text);

    *r = (struct tr_runtime){NULL, NULL, 0};
    if (err < 0)
        return err;
    for (size_t i = 0; arguments[i]; i++) {
        im_assert(i < ARGUMENTS_MAX);
        memcpy(&argv[i + 2], &arguments[i], sizeof *argv); /* posix_spawn() only reads them */
    }
    if (pipe2(in, O_CLOEXEC) < 0)
        return im_fail(text, -errno, "no pipe: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC) < 0) {
        close(in[0]);
        close(in[1]);
        return im_fail(text, -errno, "no pipe: %s", strerror(errno));
    }
    err = spawn(r, argv, in, out);
    close(in[0]);
    close(out[1]);
    r->to = fdopen(in[1], "w");
    r->from = fdopen(out[0], "r");
    return err < 0 ? im_fail(text, -ENOENT, "there is no python3 (%s)", strerror(-err)) : 0;
}

int tr_runtime_end(struct tr_runtime *r, struct im_json **ret, struct im_text *text)
{
    char answer[ANSWER_BYTES];
    size_t n = 0;
    int err;

    if (r->to)
        fclose(r->to);
    if (r->from) {
        n = fread(answer, 1, sizeof answer, r->from);
        fclose(r->from);
    }
    while (r->pid > 0 && waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    *r = (struct tr_runtime){NULL, NULL, 0};
    while (n > 0 && answer[n - 1] == '\n')
        n--;
    err = n > 0 ? im_json_parse(answer, n, ret, NULL) : -EIO;
    return err < 0 ? im_fail(text, -EIO, "%s gave no answer", SCRIPT) : 0;
}
