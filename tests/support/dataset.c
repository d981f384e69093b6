#include "tests/support/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "reader/dataset/data.h"
#include "tests/unit/augment/sample.h"

static int make_root(struct dataset *d, struct im_text *text)
{
    const char *tmp = getenv("TMPDIR");
    char path[PATH_MAX / 4], cache[PATH_MAX / 2];

    snprintf(path, sizeof path, "%s/imsuper-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        return im_fail(text, -errno, "%s: %s", path, strerror(errno));
    snprintf(d->root, sizeof d->root, "%s", path);
    snprintf(d->data, sizeof d->data, "%s/data", d->root);
    snprintf(cache, sizeof cache, "%s/cache", d->root);
    return setenv("XDG_CACHE_HOME", cache, 1) == 0 ? 0 : -errno;
}

static int build_index(struct dataset *d, struct im_text *text)
{
    const struct rd_source source = {.folder = d->data, .layout = RD_LAYOUT_AUTO, .rebuild = 1};
    struct rd_data data = {0};
    int err = rd_data_open(&source, NULL, &data, text);

    if (err == 0 && !data.path[0])
        err = im_fail(text, -EIO, "%.900s", data.note.s);
    if (err == 0 &&
        (size_t)snprintf(d->index_file, sizeof d->index_file, "%s", data.path) >= sizeof d->index_file)
        err = -ENAMETOOLONG;
    rd_data_close(&data);
    return err;
}

int dataset_make(struct dataset *d, const struct rd_synth *synth, struct im_text *text)
{
    struct rd_synth images = *synth;
    int err;

    *d = (struct dataset){0};
    err = make_root(d, text);
    images.folder = d->data;
    if (err == 0)
        err = rd_synth_write(&images, NULL, NULL, text);
    if (err == 0)
        err = build_index(d, text);
    if (err < 0)
        dataset_remove(d);
    return err;
}

static int write_file(const char *path, const struct sample_file *file, struct im_text *text)
{
    char folder[PATH_MAX];
    int err;

    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    err = im_mkdirs(folder, 0700, text);
    return err < 0 ? err : im_file_replace(path, file->bytes, file->n, text);
}

static int unpack(struct dataset *d, const struct sample *sample, struct im_text *text)
{
    char path[PATH_MAX];
    int err = 0;

    for (size_t i = 0; i < sample->count && err == 0; i++) {
        snprintf(path, sizeof path, "%s/%s", d->data, sample->files[i].name);
        err = write_file(path, &sample->files[i], text);
    }
    return err;
}

int dataset_unpack_sample(struct dataset *d, struct im_text *text)
{
    struct sample sample;
    int err;

    *d = (struct dataset){0};
    if (sample_open(&sample) < 0)
        return -ENOENT;
    err = make_root(d, text);
    if (err == 0)
        err = unpack(d, &sample, text);
    if (err == 0)
        err = build_index(d, text);
    sample_close(&sample);
    if (err < 0)
        dataset_remove(d);
    return err;
}

int dataset_use(struct dataset *d, const char *folder, struct im_text *text)
{
    int err;

    *d = (struct dataset){.keep = true};
    err = make_root(d, text);
    if (err == 0 && (size_t)snprintf(d->data, sizeof d->data, "%s", folder) >= sizeof d->data)
        err = -ENAMETOOLONG;
    if (err == 0)
        err = build_index(d, text);
    if (err < 0)
        dataset_remove(d);
    return err;
}

int dataset_configure(const struct dataset *d, const char *run_name, struct im_conf *conf,
                      struct im_text *text)
{
    char checkpoints[PATH_MAX];

    snprintf(conf->data_dir, sizeof conf->data_dir, "%.900s", d->data);
    snprintf(conf->index_file, sizeof conf->index_file, "%.900s", d->index_file);
    snprintf(conf->run_name, sizeof conf->run_name, "%s", run_name);
    snprintf(conf->run_dir, sizeof conf->run_dir, "%.900s/runs/%.100s", d->root, run_name);
    snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", conf->run_dir);
    return im_mkdirs(checkpoints, 0700, text);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void dataset_remove(struct dataset *d)
{
    if (d->root[0])
        nftw(d->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    *d = (struct dataset){0};
}
