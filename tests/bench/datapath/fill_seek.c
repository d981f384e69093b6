/* fill_seek INDEX FROM TO: a seek index as large as that of a data set of many files, for measurements of size, memory and start-up.
 *
 * INDEX (data.index) is of a data set of hard links to few files, whose first names FROM, a seek index, has links and records of. TO gets a
 * link for each name, which is right, and, for each name, a record of its size under a key of its own, which nothing asks for: what
 * different files would have. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ipc/base/hash.h"
#include "ipc/seek_link.h"
#include "reader/dataset/index.h"

#define FILES_MAX 4096

struct file {
    ino_t inode;
    size_t link_bytes, bytes;
    struct im_seek_link link;
    unsigned char record[IM_SEEK_BYTES_MAX];
};

struct fill {
    struct im_seek_file from;
    struct im_seek_owner to;
    struct file *files[FILES_MAX];
    size_t count;
    uint64_t links, records, record_bytes, image_bytes;
};

/* Waits for records that are on their way into memory. */
static int find(struct im_seek_file *from, uint64_t key, void *buffer, size_t size)
{
    int n;

    while ((n = im_seek_find(from, key, buffer, size)) == -EAGAIN)
        ;
    return n;
}

/* The file of an inode; the first of its names says its link. */
static const struct file *file_of(struct fill *f, ino_t inode, const char *path)
{
    struct file *file;
    int n;

    for (size_t i = 0; i < f->count; i++)
        if (f->files[i]->inode == inode)
            return f->files[i];
    file = f->count < FILES_MAX ? calloc(1, sizeof *file) : NULL;
    if (!file)
        return NULL;
    file->inode = inode;
    n = find(&f->from, im_seek_link_key(path, 0), &file->link, sizeof file->link);
    file->link_bytes = n > 0 ? (size_t)n : 0;
    n = n > 0 ? find(&f->from, file->link.image, file->record, sizeof file->record) : 0;
    file->bytes = n > 0 ? (size_t)n : 0;
    f->files[f->count++] = file;
    return file;
}

static int add(struct fill *f, const char *path)
{
    const uint64_t key = im_seek_link_key(path, 0);
    const struct file *file;
    struct stat st;
    int err = 0;

    if (stat(path, &st) < 0)
        return -errno;
    f->image_bytes += (uint64_t)st.st_size;
    file = file_of(f, st.st_ino, path);
    if (!file || file->link_bytes == 0)
        return file ? 0 : -ENOMEM;
    err = im_seek_add(&f->to, file->link.image, file->record, file->bytes);
    if (err == 0 || err == -EEXIST)
        err = im_seek_add(&f->to, key, &file->link, file->link_bytes);
    if (err == 0)
        err = im_seek_add(&f->to, im_hash64(path, strlen(path), 1), file->record, file->bytes);
    f->links++;
    f->records += err == 0;
    f->record_bytes += file->bytes;
    return err;
}

int main(int argc, char **argv)
{
    static struct fill f;
    struct rd_index index;
    struct im_text text = {""};
    char path[PATH_MAX];
    uint64_t all;
    int err = argc == 4 ? rd_index_open(argv[1], &index, &text) : -EINVAL;

    if (err == 0)
        err = im_seek_open(argv[2], &f.from, &text);
    all = err == 0 ? rd_index_count(&index, IM_TRAIN) + rd_index_count(&index, IM_VAL) : 0;
    if (err == 0)
        err = im_seek_own(argv[3], all, &f.to, &text);
    for (int split = IM_TRAIN; err == 0 && split <= IM_VAL; split++)
        for (uint64_t i = 0; err == 0 && i < rd_index_count(&index, (enum im_split)split); i++)
            if (rd_index_reference(&index, (enum im_split)split, i, path, sizeof path) > 0)
                err = add(&f, path);
    if (err < 0)
        fprintf(stderr, "fill_seek INDEX FROM TO: %s %s\n", strerror(-err), text.s);
    printf("%" PRIu64 " images of %.1f GB: %" PRIu64 " links, %" PRIu64 " records of %.0f bytes\n", all,
           (double)f.image_bytes / 1e9, f.links, f.records,
           f.records ? (double)f.record_bytes / (double)f.records : 0);
    im_seek_disown(&f.to);
    return err < 0;
}
