#include "supervisor/report/saved.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"

#define HEADER_MAX ((uint64_t)100000000)

/* u64 N | N bytes of JSON | the tensors (trainer/checkpoint/safetensors.h). */
static int read_header(int fd, uint64_t file_bytes, struct im_json **ret, uint64_t *ret_data)
{
    uint64_t n = 0;
    char *bytes;
    int err;

    if (pread(fd, &n, sizeof n, 0) != (ssize_t)sizeof n)
        return -EBADMSG;
    n = le64toh(n);
    if (n == 0 || n > HEADER_MAX || n > file_bytes - sizeof n)
        return -EBADMSG;
    bytes = malloc(n);
    if (!bytes)
        return -ENOMEM;
    err = pread(fd, bytes, n, sizeof n) == (ssize_t)n ? im_json_parse(bytes, n, ret, NULL) : -EBADMSG;
    free(bytes);
    *ret_data = sizeof n + n;
    return err;
}

int sv_saved_open_tensors(const char *path, struct sv_state_file *ret, struct sv_tensor_data *ret_data,
                          struct im_text *text)
{
    struct stat st;
    int fd = im_open_regular(path, &st, text), err;

    *ret = (struct sv_state_file){0};
    *ret_data = (struct sv_tensor_data){.fd = fd};
    if (fd < 0)
        return fd;
    ret->exists = true;
    err = read_header(fd, (uint64_t)st.st_size, &ret->header, &ret_data->begin);
    if (err == 0) {
        ret_data->bytes = (uint64_t)st.st_size - ret_data->begin;
        return 0;
    }
    close(fd);
    return im_fail(text, err, "%s is not a safetensors file", path);
}

int sv_saved_open(const char *path, struct sv_state_file *ret, struct im_text *text)
{
    struct sv_tensor_data data;
    int err = sv_saved_open_tensors(path, ret, &data, text);

    if (err == 0)
        close(data.fd);
    return err;
}

void sv_saved_read(const char *run_dir, struct sv_state_file *ret)
{
    static const char *const names[] = {"last.state", "last.prev.state"};
    char path[PATH_MAX];
    bool exists = false;
    int unknown = 0;

    *ret = (struct sv_state_file){0};
    for (size_t i = 0; i < IM_COUNT(names) && !ret->header; i++) {
        int err;

        snprintf(path, sizeof path, "%s/checkpoints/%s.safetensors", run_dir, names[i]);
        err = sv_saved_open(path, ret, NULL);
        exists |= ret->exists;
        if (err < 0 && err != -ENOENT && !ret->exists && unknown == 0)
            unknown = err;
    }
    ret->exists = exists;
    ret->err = exists ? 0 : unknown;
}

void sv_saved_close(struct sv_state_file *saved)
{
    im_json_free(&saved->header);
    *saved = (struct sv_state_file){0};
}

int64_t sv_saved_int(const struct sv_state_file *saved, const char *key, int64_t otherwise)
{
    const char *value = im_json_str_or(im_json_get(saved->header, "__metadata__"), key, "");
    char *end;
    long long number;

    errno = 0;
    number = strtoll(value, &end, 10);
    return end == value || *end || errno ? otherwise : number;
}

static bool is_weights(const char *name)
{
    static const char suffix[] = ".safetensors";
    size_t n = strlen(name), tail = sizeof suffix - 1;

    return name[0] != '.' && n > tail && strcmp(name + n - tail, suffix) == 0 && !strstr(name, ".state.");
}

bool sv_saved_has_weights(const char *run_dir)
{
    char path[PATH_MAX];
    struct dirent *entry;
    bool found = false;
    DIR *d;

    snprintf(path, sizeof path, "%s/checkpoints", run_dir);
    d = opendir(path);
    while (d && !found && (entry = readdir(d)))
        found = is_weights(entry->d_name);
    if (d)
        closedir(d);
    return found;
}

static bool is_there(const char *run_dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    return snprintf(path, sizeof path, "%s/%s", run_dir, name) < (int)sizeof path && stat(path, &st) == 0 &&
           S_ISREG(st.st_mode);
}

static void add_name(char list[PATH_MAX], const char *name)
{
    size_t n = strlen(list);

    snprintf(list + n, PATH_MAX - n, "%s%s", n ? ", " : "", name);
}

/* The first of two files that is there; the others are missing. */
static void list_weights(const char *run_dir, bool has_best, const char *suffix, char ret[64],
                         char missing[PATH_MAX])
{
    static const char *const stems[] = {"best", "last"};
    char name[64];

    for (size_t i = has_best ? 0 : 1; i < IM_COUNT(stems); i++) {
        snprintf(name, sizeof name, "checkpoints/%s%s.safetensors", stems[i], suffix);
        if (!is_there(run_dir, name))
            add_name(missing, name);
        else if (!ret[0])
            snprintf(ret, 64, "%s", name);
    }
}

void sv_saved_list(const char *run_dir, const struct sv_done *done, bool has_averages,
                   struct sv_run_files *ret)
{
    static const char *const numbers[] = {"summary.csv", "metrics.jsonl", "events.jsonl"};

    *ret = (struct sv_run_files){0};
    list_weights(run_dir, done->top1 >= 0, "", ret->weights, ret->missing);
    if (has_averages)
        list_weights(run_dir, done->average >= 0, ".ema", ret->averages, ret->missing);
    for (size_t i = 0; i < IM_COUNT(numbers); i++)
        add_name(is_there(run_dir, numbers[i]) ? ret->numbers : ret->missing, numbers[i]);
}
