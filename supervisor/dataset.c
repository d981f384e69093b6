#include "supervisor/dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/json.h"
#include "ipc/child.h"

#define ANSWER_MAX 65536

extern char **environ;

/* The path of a program of ours, which lies beside this one. */
static void find_program(const char *name, char *path, size_t n)
{
    char self[PATH_MAX - 32];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    self[length > 0 ? length : 0] = 0;
    slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    snprintf(path, n, "%s/%s", self, name);
}

int sv_program_exec(const char *name, char **argv)
{
    char path[PATH_MAX];

    find_program(name, path, sizeof path);
    argv[0] = path;
    execv(path, argv);
    fprintf(stderr, "imsuper: cannot run %s: %s; build it, it belongs beside imsuper\n", path,
            strerror(errno));
    return IM_EXIT_UNAVAILABLE;
}

/* Runs argv with its stdout read into answer (n bytes with the final 0). Its exit status, or negative errno.
 */
static int run_and_read(const char *path, char *const argv[], char *answer, size_t n)
{
    posix_spawn_file_actions_t actions;
    size_t have = 0;
    ssize_t got;
    int fds[2], status, err;
    pid_t pid;

    if (pipe(fds) < 0)
        return -errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    err = -posix_spawn(&pid, path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    while (err == 0 && have + 1 < n && (got = read(fds[0], answer + have, n - 1 - have)) != 0) {
        if (got < 0 && errno != EINTR)
            break;
        have += got > 0 ? (size_t)got : 0;
    }
    answer[have] = 0;
    close(fds[0]);
    if (err < 0)
        return err;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

static int parse(const char *answer, struct sv_dataset *ret, struct im_text *text)
{
    struct im_json *j = NULL;
    int err = im_json_parse(answer, strlen(answer), &j, text);

    if (err < 0)
        return im_fail(text, -EBADMSG, "imsuper-data gave no answer that can be read");
    *ret = (struct sv_dataset){
        .samples = {(uint64_t)im_json_int_or(j, "train", 0), (uint64_t)im_json_int_or(j, "val", 0)},
        .classes = (uint32_t)im_json_int_or(j, "classes", 0),
        .seconds = im_json_real_or(j, "seconds", 0),
        .cached = im_json_bool_or(j, "cached", false),
    };
    snprintf(ret->layout, sizeof ret->layout, "%s", im_json_str_or(j, "layout", ""));
    snprintf(ret->index_file, sizeof ret->index_file, "%s", im_json_str_or(j, "index", ""));
    snprintf(ret->hash, sizeof ret->hash, "%s", im_json_str_or(j, "hash", ""));
    im_json_free(&j);
    return 0;
}

int sv_dataset_load(const struct im_conf *conf, struct sv_dataset *ret, struct im_text *text)
{
    char path[PATH_MAX], verb[] = "index", json[] = "--json", data_dir[PATH_MAX + 16], layout[64], size[64],
                         seed[64], out[PATH_MAX + 16], rebuild[] = "--rebuild-index", subset[] = "--subset",
                         output[ANSWER_MAX], quiet[] = "--quiet";
    char *argv[16] = {path, verb, json, data_dir, layout};
    int n = 5, status;

    find_program("imsuper-data", path, sizeof path);
    snprintf(data_dir, sizeof data_dir, "--data-dir=%s", conf->data_dir);
    snprintf(layout, sizeof layout, "--layout=%s", im_conf_choice(IM_KEY_layout, conf->layout));
    if (conf->rebuild_index)
        argv[n++] = rebuild;
    if (conf->quiet)
        argv[n++] = quiet;
    if (conf->subset) {
        snprintf(size, sizeof size, "--subset-size=%" PRId64, conf->subset_size);
        snprintf(seed, sizeof seed, "--seed=%" PRIu64, conf->seed);
        argv[n++] = subset;
        argv[n++] = size;
        argv[n++] = seed;
    }
    /* The run gets its own copy of the index: what the readers map cannot change under them. */
    snprintf(out, sizeof out, "--subset-out=%s", conf->run_dir);
    argv[n++] = out;
    status = run_and_read(path, argv, output, sizeof output);
    if (status < 0)
        return im_fail(text, status, "cannot run %s: %s", path, strerror(-status));
    return status ? status : parse(output, ret, text);
}
