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

#include "ipc/base/aside.h"
#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/sysinfo.h"
#include "supervisor/report/saved.h"

#define LOCK_NAME ".lock"
#define SECOND_LOCK_NAME "checkpoints/.lock"
#define STARTING_NAME ".starting"
#define LOCK_TRIES 10
#define CONFIG_BYTES_MAX ((size_t)1 << 20)
#define CONFIGS_MAX 10000

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

static bool is_described(const char *run_dir)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/config.yaml", run_dir);
    return access(path, F_OK) == 0;
}

/* A pipe in the place of a file must not hold up whoever opens it. */
static int open_lock(const char *run_dir, const char *name, int flags)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", run_dir, name);
    return open(path, flags | O_NONBLOCK | O_CLOEXEC, 0600);
}

/* Whoever asks whether the run is live holds the lock for an instant; so it is tried a little longer. */
static int lock_alone(int fd)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK)
            return -errno;
        if (i == LOCK_TRIES)
            return -EBUSY;
        nanosleep(&pause, NULL);
    }
    return 0;
}

void sv_rundir_unlock(struct sv_rundir_lock *lock)
{
    if (lock->file >= 0)
        close(lock->file);
    if (lock->second >= 0)
        close(lock->second);
    *lock = (struct sv_rundir_lock){-1, -1};
}

/* Where the second file cannot be made, the first one's lock has to do. */
static int lock_both(const char *run_dir, int flags, struct sv_rundir_lock *lock)
{
    int err = lock_alone(lock->file);

    if (err == 0)
        lock->second = open_lock(run_dir, SECOND_LOCK_NAME, flags);
    if (lock->second < 0)
        return err;
    err = lock_alone(lock->second);
    if (err < 0 && err != -EBUSY) {
        close(lock->second);
        lock->second = -1;
        err = 0;
    }
    return err;
}

static int take_lock(const char *run_dir, struct sv_rundir_lock *ret, struct im_text *text)
{
    char path[PATH_MAX];
    int err;

    snprintf(path, sizeof path, "%s/" LOCK_NAME, run_dir);
    if (im_is_no_file(path) && im_move_aside(path, text) < 0)
        return -EISDIR;
    *ret = (struct sv_rundir_lock){open_lock(run_dir, LOCK_NAME, O_RDWR | O_CREAT), -1};
    if (ret->file < 0)
        return im_fail(text, -errno, "cannot write to the run directory %s: %s; choose another --workspace",
                       run_dir, strerror(errno));
    err = lock_both(run_dir, O_RDWR | O_CREAT, ret);
    if (err < 0) {
        sv_rundir_unlock(ret);
        return im_fail(text, err,
                       err == -EBUSY
                           ? "the run in %s is going on; see `imsuper status`, or choose another --run-name"
                           : "cannot lock %s",
                       run_dir);
    }
    return 0;
}

static int find_run(struct im_conf *conf, struct im_text *text);

/* --resume without a file: a run that can be continued must be there. */
static int find_to_resume(struct im_conf *conf, struct im_text *text)
{
    static const char *const states[] = {"last.state", "last.prev.state"};
    char path[PATH_MAX];
    int err = find_run(conf, text);

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

int sv_rundir_open(struct im_conf *conf, struct sv_rundir_lock *ret_lock, struct im_text *text)
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
    return err < 0 ? err : take_lock(conf->run_dir, ret_lock, text);
}

void sv_rundir_discard(const char *run_dir, struct sv_rundir_lock *lock)
{
    /* What a start makes before its first step. A name that is not here stays, and with it the folder. */
    static const char *const files[] = {
        "data.index",     "subset.txt",        "left_out.txt",   "classes.txt",     "class_weights.txt",
        "label_sets.bin", ".config.yaml.next", ".env.json.next", "metrics.jsonl",   "stages.jsonl",
        "summary.csv",    "events.jsonl",      "log.txt",        "training_log.md", "training_log.json",
        "report.html",    "on-event.log",      LOCK_NAME};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/" SECOND_LOCK_NAME, run_dir);
    if (!is_described(run_dir))
        unlink(path);
    snprintf(path, sizeof path, "%s/checkpoints", run_dir);
    /* Never described, and nothing was saved: nothing was ever run here. */
    if (!is_described(run_dir) && (rmdir(path) == 0 || errno == ENOENT)) {
        for (size_t i = 0; i < IM_COUNT(files); i++) {
            snprintf(path, sizeof path, "%s/%s", run_dir, files[i]);
            unlink(path);
        }
        im_file_sweep(run_dir); /* what the program that measures the data did not come to */
        rmdir(run_dir);
    }
    sv_rundir_unlock(lock);
}

/* The run that is being started, if one is: it takes `latest` only once its trainers are ready. */
static bool find_starting(struct im_conf *conf)
{
    char link[PATH_MAX], target[sizeof conf->run_name];
    ssize_t n;

    snprintf(link, sizeof link, "%s/" STARTING_NAME, conf->workspace);
    n = readlink(link, target, sizeof target - 1);
    if (n <= 0)
        return false;
    target[n] = 0;
    if (strchr(target, '/') || join(conf, target, NULL) < 0 || !sv_rundir_is_live(conf->run_dir))
        return false;
    memcpy(conf->run_name, target, (size_t)n + 1);
    return true;
}

/* The run was given as a path: of its folder. */
static bool is_path(const char *s)
{
    return strchr(s, '/') || strcmp(s, ".") == 0 || strcmp(s, "..") == 0;
}

static int split_path(struct im_conf *conf, struct im_text *text)
{
    char path[PATH_MAX], *slash;
    int err;

    if (!realpath(conf->run_name, path)) {
        err = -errno;
        if (err == -EACCES)
            return im_fail(text, err, "%s: permission denied", conf->run_name);
        return im_fail(text, -ENOENT, "no run in %s: %s", conf->run_name, strerror(-err));
    }
    slash = strrchr(path, '/');
    if (!slash[1] || strlen(path) >= sizeof conf->workspace)
        return im_fail(text, -ENOENT, "no run in %s", conf->run_name);
    memcpy(conf->run_name, slash + 1, strlen(slash + 1) + 1);
    slash[slash == path] = 0; /* of "/run", the slash stays */
    memcpy(conf->workspace, path, strlen(path) + 1);
    return 0;
}

/* Anything that a start makes, or that cannot be looked at. */
static bool holds_run(const char *run_dir)
{
    static const char *const names[] = {"config.yaml", LOCK_NAME, "events.jsonl", "checkpoints", ".control"};
    char path[PATH_MAX];

    for (size_t i = 0; i < IM_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", run_dir, names[i]);
        if (access(path, F_OK) == 0 || errno != ENOENT)
            return true;
    }
    return false;
}

static int find_run(struct im_conf *conf, struct im_text *text)
{
    struct stat st;
    char target[IM_CONF_TEXT_BYTES];
    int err = is_path(conf->run_name) ? split_path(conf, text) : 0;

    if (err < 0)
        return err;
    if (!conf->run_name[0] && find_starting(conf))
        return 0;
    err = join(conf, conf->run_name[0] ? conf->run_name : "latest", text);
    if (err < 0)
        return err;
    err = stat(conf->run_dir, &st) < 0 ? -errno : 0;
    if (err == -EACCES)
        return im_fail(text, err, "%s: permission denied", conf->run_dir);
    if (err < 0 || !S_ISDIR(st.st_mode) || !holds_run(conf->run_dir))
        return conf->run_name[0]
                   ? im_fail(text, -ENOENT,
                             "no run in %s; `imsuper runs --workspace %s` lists those there are",
                             conf->run_dir, conf->workspace)
                   : im_fail(text, -ENOENT,
                             "no run in %s here; --workspace DIR looks elsewhere, RUN names one",
                             conf->workspace);
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

/* Another machine than node 0 of a run has only a folder of its own, nodes/nodeN in the run's (supervisor/nodes.h). */
static int find_node(struct im_conf *conf, struct im_text *text)
{
    char path[PATH_MAX], node[32];
    const int length = snprintf(path, sizeof path, "%s/nodes/latest", conf->run_dir);
    const ssize_t n = length < (int)sizeof path ? readlink(path, node, sizeof node) : -1;

    if (n <= 0 || n >= (ssize_t)sizeof node || length >= (int)sizeof conf->workspace)
        return -ENOENT;
    path[length - (int)strlen("/latest")] = 0;
    memcpy(conf->workspace, path, strlen(path) + 1);
    snprintf(conf->run_name, sizeof conf->run_name, "%.*s", (int)n, node);
    return join(conf, conf->run_name, text);
}

int sv_rundir_find(struct im_conf *conf, struct im_text *text)
{
    const int err = find_run(conf, text);

    return err == -ENOENT && *conf->run_dir && find_node(conf, text) == 0 ? 0 : err;
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

void sv_rundir_done(const char *run_dir, struct sv_done *ret)
{
    struct im_json *done = read_done(run_dir);

    const bool several = im_json_get(done, "best_val_map") != NULL;

    *ret = (struct sv_done){
        .multi_label = several,
        .epochs = im_json_int_or(done, "epochs", 0),
        .best_epoch = im_json_int_or(done, "stopped_early_best_epoch", 0),
        .top1 = im_json_real_or(done, several ? "best_val_map" : "best_val_top1", -1),
        .average = im_json_real_or(done, several ? "best_ema_val_map" : "best_ema_val_top1", -1)};
    im_json_free(&done);
}

bool sv_rundir_try_lock(const char *run_dir, struct sv_rundir_lock *ret)
{
    *ret = (struct sv_rundir_lock){open_lock(run_dir, LOCK_NAME, O_RDONLY), -1};
    if (ret->file >= 0 && lock_both(run_dir, O_RDONLY, ret) == 0)
        return true;
    sv_rundir_unlock(ret);
    return false;
}

/* 1: somebody holds the lock of this descriptor. Closes it. */
static int is_locked(int fd)
{
    int locked;

    if (fd < 0)
        return errno == EACCES ? -EACCES : 0;
    locked = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    close(fd);
    return locked;
}

int sv_rundir_look(const char *run_dir)
{
    int file = is_locked(open_lock(run_dir, LOCK_NAME, O_RDONLY));
    int second = file == 1 ? 1 : is_locked(open_lock(run_dir, SECOND_LOCK_NAME, O_RDONLY));

    if (file == 1 || second == 1)
        return 1;
    return file < 0 ? file : second;
}

bool sv_rundir_is_live(const char *run_dir)
{
    return sv_rundir_look(run_dir) == 1;
}

static int write_text(const char *run_dir, const char *name, char *content, struct im_text *text)
{
    char path[PATH_MAX];
    int err;

    if (!content)
        return -ENOMEM;
    snprintf(path, sizeof path, "%s/%s", run_dir, name);
    err = im_file_replace_any(path, content, strlen(content), text);
    free(content);
    return err;
}

/* "model name : AMD EPYC ..." of the first processor; some architectures have no such line. */
static bool processor_name(char *ret, size_t n)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[512];
    bool found = false;

    while (f && !found && fgets(line, sizeof line, f)) {
        const char *value = strstr(line, ": ");

        found = strncmp(line, "model name", 10) == 0 && value;
        if (found)
            snprintf(ret, n, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
    }
    if (f)
        fclose(f);
    return found;
}

static char *environment_json(void)
{
    struct im_json *j = im_json_object();
    struct utsname u;
    char *dumped, name[128], directory[PATH_MAX];

    uname(&u);
    im_json_set_str(j, "schema", "imsuper.env/1");
    im_json_set_str(j, "version", IMSUPER_VERSION);
    im_json_set_str(j, "build", im_build_id());
    im_json_set_str(j, "kernel", u.release);
    im_json_set_str(j, "machine", u.machine);
    if (processor_name(name, sizeof name))
        im_json_set_str(j, "processor", name);
    im_json_set_int(j, "cpus", im_cpu_count());
    im_json_set_int(j, "memory_bytes", (int64_t)im_memory_available());
    if (getcwd(directory, sizeof directory)) /* what relative paths in config.yaml are relative to */
        im_json_set_str(j, "directory", directory);
    dumped = im_json_dump_indented(j);
    im_json_free(&j);
    return dumped;
}

static void point(const struct im_conf *conf, const char *name)
{
    char link[PATH_MAX], temporary[PATH_MAX];

    snprintf(link, sizeof link, "%s/%s", conf->workspace, name);
    snprintf(temporary, sizeof temporary, "%s/.%s-%d", conf->workspace, name, (int)getpid());
    unlink(temporary);
    if (symlink(conf->run_name, temporary) == 0 && rename(temporary, link) < 0)
        unlink(temporary);
}

/* Not of another start, which has come since. */
static void end_starting(const struct im_conf *conf)
{
    char link[PATH_MAX], target[sizeof conf->run_name];
    ssize_t n;

    snprintf(link, sizeof link, "%s/" STARTING_NAME, conf->workspace);
    n = readlink(link, target, sizeof target - 1);
    if (n <= 0)
        return;
    target[n] = 0;
    if (strcmp(target, conf->run_name) == 0)
        unlink(link);
}

int sv_rundir_describe(const struct im_conf *conf, struct im_text *text)
{
    int err = write_text(conf->run_dir, ".config.yaml.next", im_conf_dump_yaml(conf, IM_FOR_START), text);

    if (err == 0)
        err = write_text(conf->run_dir, ".env.json.next", environment_json(), text);
    if (err == 0)
        point(conf, STARTING_NAME);
    return err;
}

static const char *const described[] = {"config.yaml", "env.json"};

static void next_path(const char *run_dir, size_t i, char ret_path[PATH_MAX])
{
    snprintf(ret_path, PATH_MAX, "%s/.%s.next", run_dir, described[i]);
}

/* Takes the comments of a configuration away: where a value came from is no difference. */
static void strip_comments(char *yaml)
{
    char *to = yaml;

    for (char *line = yaml, *end; *line; line = end) {
        char *comment = line[0] == '#' ? line : strstr(line, "  # ");

        end = strchr(line, '\n');
        end = end ? end + 1 : line + strlen(line);
        if (!comment || comment >= end)
            comment = end;
        memmove(to, line, (size_t)(comment - line));
        to += comment - line;
    }
    *to = 0;
}

static bool same_values(const char *a_path, const char *b_path)
{
    char *a = NULL, *b = NULL;
    size_t n;
    bool same = im_read_file(a_path, CONFIG_BYTES_MAX, &a, &n, NULL) == 0 &&
                im_read_file(b_path, CONFIG_BYTES_MAX, &b, &n, NULL) == 0;

    if (same) {
        strip_comments(a);
        strip_comments(b);
        same = strcmp(a, b) == 0;
    }
    free(a);
    free(b);
    return same;
}

/* The configuration of before stays as config.1.yaml, config.2.yaml, ..., the oldest first. */
static void keep_config(const char *run_dir)
{
    char old[PATH_MAX], next[PATH_MAX], kept[PATH_MAX];

    snprintf(old, sizeof old, "%s/config.yaml", run_dir);
    next_path(run_dir, 0, next);
    if (access(old, F_OK) < 0 || access(next, F_OK) < 0 || same_values(old, next))
        return;
    for (int i = 1; i < CONFIGS_MAX; i++) {
        snprintf(kept, sizeof kept, "%s/config.%d.yaml", run_dir, i);
        if (access(kept, F_OK) < 0) {
            rename(old, kept);
            return;
        }
    }
}

bool sv_rundir_accept(const struct im_conf *conf)
{
    char from[PATH_MAX], to[PATH_MAX];
    bool first = false;

    keep_config(conf->run_dir);
    for (size_t i = 0; i < IM_COUNT(described); i++) {
        next_path(conf->run_dir, i, from);
        snprintf(to, sizeof to, "%s/%s", conf->run_dir, described[i]);
        first |= rename(from, to) == 0; /* not there: accepted already, by an earlier supervisor */
    }
    if (first)
        point(conf, "latest");
    end_starting(conf);
    return first;
}

void sv_rundir_withdraw(const struct im_conf *conf)
{
    for (size_t i = 0; i < IM_COUNT(described); i++) {
        char path[PATH_MAX];

        next_path(conf->run_dir, i, path);
        unlink(path);
    }
    end_starting(conf);
}

int64_t sv_rundir_began_ns(const char *run_dir)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/" LOCK_NAME, run_dir); /* made once and never written */
    if (!is_described(run_dir) || stat(path, &st) < 0)
        return 0;
    return (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

bool sv_rundir_is_described(const char *run_dir)
{
    return is_described(run_dir);
}

int sv_rundir_check_done(const char *run_dir, int64_t epochs, bool *ret_done, struct im_text *note,
                         struct im_text *text)
{
    int64_t done = sv_rundir_done_epochs(run_dir), have;
    struct sv_state_file saved;
    bool exists;

    note->s[0] = 0;
    sv_saved_read(run_dir, &saved);
    exists = saved.exists;
    have = exists ? sv_saved_int(&saved, "epoch", done) : 0; /* one that cannot be read: the trainer says */
    sv_saved_close(&saved);
    if (!exists && (done > 0 || sv_saved_has_weights(run_dir)))
        return im_fail(
            text, -EINVAL,
            "the run in %s has trained before, but its state is missing "
            "(checkpoints/last.state.safetensors), and without it nothing continues: put it back, or "
            "choose another --run-name; --init-from %s/checkpoints/last.safetensors begins a new run "
            "with its weights",
            run_dir, run_dir);
    if (done > have)
        im_fail(note, 0,
                "%s/DONE says that %lld epochs are done, but the last state has %lld; going on from there",
                run_dir, (long long)done, (long long)have);
    *ret_done = (done < have ? done : have) >= epochs;
    return 0;
}
