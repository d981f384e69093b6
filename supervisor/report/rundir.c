#include "supervisor/report/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/sysinfo.h"

#define LOCK_NAME ".lock"

static void make_name(struct im_conf *conf)
{
    time_t now = time(NULL);
    struct tm local;
    char stamp[32];

    localtime_r(&now, &local);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
    snprintf(conf->run_name, sizeof conf->run_name, "%s-%s", im_conf_choice(IM_KEY_model, conf->model),
             stamp);
}

static int join(struct im_conf *conf, const char *name, struct im_text *text)
{
    int n = snprintf(conf->run_dir, sizeof conf->run_dir, "%s/%s", conf->workspace, name);

    if (n < 0 || (size_t)n >= sizeof conf->run_dir)
        return im_fail(text, -ENAMETOOLONG, "--workspace and --run-name together are too long");
    return 0;
}

static int take_lock(const char *run_dir, struct im_text *text)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof path, "%s/" LOCK_NAME, run_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return im_fail(text, -errno, "cannot write to the run directory %s: %s; choose another --workspace",
                       run_dir, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int err = errno == EWOULDBLOCK ? -EBUSY : -errno;

        close(fd);
        return im_fail(text, err,
                       err == -EBUSY
                           ? "the run in %s is going on; see `imsuper status`, or choose another --run-name"
                           : "cannot lock %s",
                       run_dir);
    }
    return fd;
}

/* --resume without a file: a run that can be continued must be there. */
static int find_to_resume(struct im_conf *conf, struct im_text *text)
{
    static const char *const states[] = {"last.state", "last.prev.state"};
    char path[PATH_MAX];
    int err = sv_rundir_find(conf, text);

    if (err < 0)
        return err == -ENOENT ? -EINVAL : err;
    for (size_t i = 0; i < IM_COUNT(states); i++) {
        snprintf(path, sizeof path, "%s/checkpoints/%s.safetensors", conf->run_dir, states[i]);
        if (access(path, F_OK) == 0)
            return 0;
    }
    return im_fail(text, -EINVAL, "--resume: the run in %s has no checkpoint yet; without --resume it starts",
                   conf->run_dir);
}

/* --resume FILE: the processes of the run may have another working directory. */
static int resolve_resume(struct im_conf *conf, struct im_text *text)
{
    char path[PATH_MAX];

    if (!realpath(conf->resume, path))
        return im_fail(text, -EINVAL, "--resume %s: %s", conf->resume, strerror(errno));
    if (strlen(path) >= sizeof conf->resume)
        return im_fail(text, -EINVAL, "--resume %s: the path is too long", conf->resume);
    memcpy(conf->resume, path, strlen(path) + 1);
    return 0;
}

int sv_rundir_open(struct im_conf *conf, struct im_text *text)
{
    char path[PATH_MAX];
    int err = 0;

    if (strchr(conf->run_name, '/') || conf->run_name[0] == '.')
        return im_fail(text, -EINVAL, "--run-name %s: must not contain '/' or begin with '.'",
                       conf->run_name);
    if (strcmp(conf->resume, "auto") == 0)
        err = find_to_resume(conf, text);
    else if (conf->resume[0])
        err = resolve_resume(conf, text);
    if (err < 0)
        return err;
    if (!conf->run_name[0])
        make_name(conf);
    err = join(conf, conf->run_name, text);
    if (err < 0)
        return err;
    snprintf(path, sizeof path, "%s/checkpoints", conf->run_dir);
    err = im_mkdirs(path, 0777, text);
    return err < 0 ? err : take_lock(conf->run_dir, text);
}

void sv_rundir_discard(const char *run_dir, int lock)
{
    static const char *const files[] = {"data.index", "subset.txt", LOCK_NAME};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/config.yaml", run_dir);
    if (access(path, F_OK) != 0) { /* never described: nothing was ever run here */
        snprintf(path, sizeof path, "%s/checkpoints", run_dir);
        rmdir(path);
        for (size_t i = 0; i < IM_COUNT(files); i++) {
            snprintf(path, sizeof path, "%s/%s", run_dir, files[i]);
            unlink(path);
        }
        rmdir(run_dir);
    }
    close(lock);
}

int sv_rundir_find(struct im_conf *conf, struct im_text *text)
{
    struct stat st;
    char target[IM_CONF_TEXT_BYTES];
    int err = join(conf, conf->run_name[0] ? conf->run_name : "latest", text);

    if (err < 0)
        return err;
    if (stat(conf->run_dir, &st) < 0 || !S_ISDIR(st.st_mode))
        return im_fail(text, -ENOENT, "no run in %s; use --workspace and --run-name", conf->run_dir);
    if (!conf->run_name[0]) {
        ssize_t n = readlink(conf->run_dir, target, sizeof target - 1);

        if (n > 0) {
            target[n] = 0;
            snprintf(conf->run_name, sizeof conf->run_name, "%s", target);
            return join(conf, target, text);
        }
    }
    return 0;
}

/* The DONE file, which the trainer writes at the very end; NULL when there is none that can be read. */
static struct im_json *read_done(const char *run_dir)
{
    struct im_json *done = NULL;
    char path[PATH_MAX], *bytes = NULL;
    size_t n = 0;

    snprintf(path, sizeof path, "%s/DONE", run_dir);
    if (im_read_file(path, 65536, &bytes, &n, NULL) == 0)
        im_json_parse(bytes, n, &done, NULL);
    free(bytes);
    return done;
}

int64_t sv_rundir_done_epochs(const char *run_dir)
{
    struct im_json *done = read_done(run_dir);
    int64_t epochs = im_json_int_or(done, "epochs", 0);

    im_json_free(&done);
    return epochs;
}

double sv_rundir_best_top1(const char *run_dir)
{
    struct im_json *done = read_done(run_dir);
    double top1 = im_json_real_or(done, "best_val_top1", -1);

    im_json_free(&done);
    return top1;
}

int sv_rundir_try_lock(const char *run_dir)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof path, "%s/" LOCK_NAME, run_dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool sv_rundir_is_live(const char *run_dir)
{
    char path[PATH_MAX];
    int fd;
    bool live;

    snprintf(path, sizeof path, "%s/" LOCK_NAME, run_dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    live = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    close(fd);
    return live;
}

static int write_text(const char *run_dir, const char *name, char *content, struct im_text *text)
{
    char path[PATH_MAX];
    int err;

    if (!content)
        return -ENOMEM;
    snprintf(path, sizeof path, "%s/%s", run_dir, name);
    err = im_file_replace(path, content, strlen(content), text);
    free(content);
    return err;
}

static char *environment_json(void)
{
    struct im_json *j = im_json_object();
    struct utsname u;
    char *dumped;

    uname(&u);
    im_json_set_str(j, "schema", "imsuper.env/1");
    im_json_set_str(j, "version", IMSUPER_VERSION);
    im_json_set_str(j, "build", im_build_id());
    im_json_set_str(j, "kernel", u.release);
    im_json_set_str(j, "machine", u.machine);
    im_json_set_int(j, "cpus", im_cpu_count());
    im_json_set_int(j, "memory_bytes", (int64_t)im_memory_available());
    dumped = im_json_dump_indented(j);
    im_json_free(&j);
    return dumped;
}

static void point_latest(const struct im_conf *conf)
{
    char link[PATH_MAX], temporary[PATH_MAX];

    snprintf(link, sizeof link, "%s/latest", conf->workspace);
    snprintf(temporary, sizeof temporary, "%s/.latest-%d", conf->workspace, (int)getpid());
    unlink(temporary);
    if (symlink(conf->run_name, temporary) == 0 && rename(temporary, link) < 0)
        unlink(temporary);
}

int sv_rundir_describe(const struct im_conf *conf, struct im_text *text)
{
    int err = write_text(conf->run_dir, ".config.yaml.next", im_conf_dump_yaml(conf, IM_FOR_START), text);

    if (err == 0)
        err = write_text(conf->run_dir, ".env.json.next", environment_json(), text);
    if (err == 0)
        point_latest(conf);
    return err;
}

static const char *const described[] = {"config.yaml", "env.json"};

static void next_path(const char *run_dir, size_t i, char ret_path[PATH_MAX])
{
    snprintf(ret_path, PATH_MAX, "%s/.%s.next", run_dir, described[i]);
}

void sv_rundir_accept(const char *run_dir)
{
    for (size_t i = 0; i < IM_COUNT(described); i++) {
        char from[PATH_MAX], to[PATH_MAX];

        next_path(run_dir, i, from);
        snprintf(to, sizeof to, "%s/%s", run_dir, described[i]);
        rename(from, to); /* not there: accepted already, by an earlier supervisor */
    }
}

void sv_rundir_withdraw(const char *run_dir)
{
    for (size_t i = 0; i < IM_COUNT(described); i++) {
        char path[PATH_MAX];

        next_path(run_dir, i, path);
        unlink(path);
    }
}
