/* `imsuper runs`: a line for each run of a workspace, the newest first, from the files of its directory alone.
 *
 * Any file may be missing, torn or another user's: what cannot be read is shown as unknown. A folder without a
 * sign of a run is passed over. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "supervisor/cli/commands.h"
#include "supervisor/report/run_epochs.h"
#include "supervisor/report/run_state.h"

#define RUNS_MAX 100000

struct row {
    char name[NAME_MAX + 1];
    const char *state; /* a word of sv_run_state() */
    struct sv_run_epochs of;
    time_t when; /* last change */
    uint64_t bytes;
};

static bool exists(const char *run_dir, const char *name)
{
    char path[PATH_MAX + 32];

    snprintf(path, sizeof path, "%s/%s", run_dir, name);
    return access(path, F_OK) == 0;
}

static bool is_run(const char *run_dir)
{
    return exists(run_dir, "config.yaml") || exists(run_dir, ".lock") || exists(run_dir, "events.jsonl");
}

/* Files of the folder and of those in it, two levels deep; the time of the newest. */
static void add_files(int parent, const char *name, int depth, struct row *row)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    struct stat st;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(d))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode)) {
            row->bytes += (uint64_t)st.st_size;
            row->when = st.st_mtime > row->when ? st.st_mtime : row->when;
        } else if (S_ISDIR(st.st_mode) && depth > 0) {
            add_files(fd, entry->d_name, depth - 1, row);
        }
    }
    closedir(d);
}

static bool make_row(const char *workspace, const char *name, struct row *ret)
{
    char run_dir[PATH_MAX];
    struct stat st;

    if (name[0] == '.' ||
        snprintf(run_dir, sizeof run_dir, "%s/%s", workspace, name) >= (int)sizeof run_dir ||
        lstat(run_dir, &st) < 0 || !S_ISDIR(st.st_mode) || !is_run(run_dir))
        return false;
    *ret = (struct row){.when = 0};
    snprintf(ret->name, sizeof ret->name, "%s", name);
    ret->state = sv_run_state(run_dir);
    sv_run_epochs(run_dir, &ret->of);
    add_files(AT_FDCWD, run_dir, 1, ret);
    return true;
}

static int newest_first(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return x->when != y->when ? (x->when < y->when ? 1 : -1) : strcmp(x->name, y->name);
}

static int collect(const char *workspace, struct row **ret, size_t *ret_count, struct im_text *text)
{
    DIR *d = opendir(workspace);
    struct row *rows = NULL;
    size_t count = 0, room = 0;
    struct dirent *entry;
    int err = 0;

    if (!d)
        return errno == ENOENT
                   ? im_fail(text, -ENOENT, "there is no workspace %s; use --workspace", workspace)
                   : im_fail(text, -errno, "cannot read %s: %s", workspace, strerror(errno));
    while (err == 0 && count < RUNS_MAX && (entry = readdir(d))) {
        if (count == room) {
            struct row *grown = realloc(rows, (room = 2 * room + 16) * sizeof *rows);

            if (!grown) {
                err = im_fail(text, -ENOMEM, "out of memory");
                break;
            }
            rows = grown;
        }
        count += make_row(workspace, entry->d_name, &rows[count]);
    }
    closedir(d);
    if (rows && count > 0)
        qsort(rows, count, sizeof *rows, newest_first);
    *ret = rows;
    *ret_count = count;
    return err;
}

static void format_time(time_t when, const char *format, bool utc, char *s, size_t n)
{
    struct tm tm;

    if (utc)
        gmtime_r(&when, &tm);
    else
        localtime_r(&when, &tm);
    strftime(s, n, format, &tm);
}

static int runs_print_json(const char *workspace, const struct row *rows, size_t count)
{
    struct im_json *j = im_json_object(), *list = im_json_array();
    char when[32];
    int err;

    im_json_set_str(j, "schema", "imsuper.runs/1");
    im_json_set_str(j, "workspace", workspace);
    for (size_t i = 0; i < count; i++) {
        struct im_json *one = im_json_object();

        format_time(rows[i].when, "%Y-%m-%dT%H:%M:%SZ", true, when, sizeof when);
        im_json_set_str(one, "run", rows[i].name);
        im_json_set_str(one, "state", rows[i].state);
        sv_run_epochs_add_json(&rows[i].of, one);
        im_json_set_str(one, "changed", when);
        im_json_set_int(one, "bytes", (int64_t)rows[i].bytes);
        im_json_append(list, one);
    }
    im_json_set(j, "runs", list);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static void print_table(const struct row *rows, size_t count)
{
    char when[32], epoch[48], top1[16];

    printf("STATE      EPOCHS     BEST TOP-1  CHANGED                  SIZE  RUN\n");
    for (size_t i = 0; i < count; i++) {
        const struct row *r = &rows[i];

        format_time(r->when, "%Y-%m-%d %H:%M", false, when, sizeof when);
        im_say(stdout, "%-9s  %-9s  %10s  %s  %7.1f MiB  %s", r->state,
               sv_run_epochs_format(&r->of, epoch, sizeof epoch),
               sv_run_best_format(&r->of, top1, sizeof top1), when, (double)r->bytes / (1 << 20), r->name);
    }
}

int sv_cmd_runs(struct im_conf *conf)
{
    struct im_text text = {0};
    struct row *rows = NULL;
    size_t count = 0;
    int err = collect(conf->workspace, &rows, &count, &text);

    if (err == 0 && conf->json)
        err = runs_print_json(conf->workspace, rows, count);
    else if (err == 0 && count == 0)
        im_say(stdout, "no runs in %s", conf->workspace);
    else if (err == 0)
        print_table(rows, count);
    free(rows);
    if (err < 0 && text.s[0])
        im_say(stderr, "imsuper: %s", text.s);
    return err == -ENOENT ? IM_EXIT_UNKNOWN_RUN : err < 0 ? IM_EXIT_FAILED : IM_EXIT_OK;
}
