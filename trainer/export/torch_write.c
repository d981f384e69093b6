/* A zip archive of stored entries:
 *
 *     archive/data.pkl       the dictionary; a tensor is _rebuild_tensor_v2(storage KEY, offset, shape, strides)
 *     archive/byteorder      "little"
 *     archive/data/KEY       the bytes of a storage, at a multiple of 64 in the file, as torch.load(mmap=True) likes it
 *     archive/version        "3\n"
 *
 * Names, order and pickled words are those of PyTorch 1.6 and later. The archive is made in memory and written by
 * ipc/base/file.h, since libzip does not wait for the disk. */
#include "trainer/export/torch_write.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/file.h"

#ifdef IMSUPER_LIBZIP
#include <zip.h>

enum {
    ALIGNMENT = 64,
    PADDING_ID = 0x4246, /* of PyTorch's own padding in a local header ("FB") */
    LOCAL_HEADER = 30,
    EXTRA_HEADER = 4,
};
#define FOLDER "archive/"

/* ---- the pickle ---- */

struct pickle {
    char *bytes;
    size_t n;
    FILE *f;
};

static void torch_write_put(struct pickle *p, const char *bytes, size_t n)
{
    fwrite(bytes, 1, n, p->f);
}

static void put_word(struct pickle *p, const char *opcodes)
{
    torch_write_put(p, opcodes, strlen(opcodes));
}

static void put_u32(struct pickle *p, uint32_t v)
{
    const char bytes[4] = {(char)(v & 255), (char)(v >> 8 & 255), (char)(v >> 16 & 255), (char)(v >> 24)};

    torch_write_put(p, bytes, sizeof bytes);
}

/* BININT1, BININT or LONG1 of eight bytes. */
static void put_int(struct pickle *p, uint64_t v)
{
    const char small = (char)v;

    if (v < 256) {
        put_word(p, "K");
        torch_write_put(p, &small, 1);
    } else if (v <= INT32_MAX) {
        put_word(p, "J");
        put_u32(p, (uint32_t)v);
    } else {
        put_word(p, "\x8a\x08");
        put_u32(p, (uint32_t)v);
        put_u32(p, (uint32_t)(v >> 32));
    }
}

/* BINUNICODE */
static void put_text(struct pickle *p, const char *s)
{
    put_word(p, "X");
    put_u32(p, (uint32_t)strlen(s));
    put_word(p, s);
}

static uint64_t elements(const struct tr_tensor *t)
{
    uint64_t n = 1;

    for (int d = 0; d < t->rank; d++)
        n *= t->shape[d];
    return n;
}

static void put_tensor(struct pickle *p, const struct tr_tensor *t, size_t key)
{
    char text[24];

    snprintf(text, sizeof text, "%zu", key);
    put_text(p, t->name);
    put_word(p, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(p, "storage");
    put_word(p, t->dtype == TR_I64 ? "ctorch\nLongStorage\n" : "ctorch\nFloatStorage\n");
    put_text(p, text);
    put_text(p, "cpu");
    put_int(p, elements(t));
    put_word(p, "tQ"); /* the storage's persistent id */
    put_int(p, 0);
    put_word(p, "(");
    for (int d = 0; d < t->rank; d++)
        put_int(p, t->shape[d]);
    put_word(p, "t(");
    for (int d = 0; d < t->rank; d++) {
        uint64_t stride = 1;

        for (int e = d + 1; e < t->rank; e++)
            stride *= t->shape[e];
        put_int(p, stride);
    }
    put_word(p, "t\x89" /* no gradient */ "ccollections\nOrderedDict\n)RtR");
}

static int make_pickle(struct pickle *p, const struct tr_tensor *tensors, size_t count)
{
    bool good;

    p->f = open_memstream(&p->bytes, &p->n);
    if (!p->f)
        return -ENOMEM;
    put_word(p, "\x80\x02" /* protocol 2 */ "ccollections\nOrderedDict\n)R(");
    for (size_t i = 0; i < count; i++)
        put_tensor(p, &tensors[i], i);
    put_word(p, "u.");
    good = !ferror(p->f);
    return fclose(p->f) == 0 && good ? 0 : -ENOMEM;
}

/* ---- the archive ---- */

struct archive {
    zip_t *zip;
    uint64_t at; /* where the next local header will be */
};

/* Pads an entry's local header so that its bytes begin at a multiple of ALIGNMENT. */
static bool align(struct archive *a, zip_uint64_t index, size_t name_bytes)
{
    static const zip_uint8_t zeros[ALIGNMENT];
    const uint64_t begins = a->at + LOCAL_HEADER + name_bytes + EXTRA_HEADER;
    const zip_uint16_t padding = (zip_uint16_t)((ALIGNMENT - begins % ALIGNMENT) % ALIGNMENT);

    a->at = begins + padding;
    return zip_file_extra_field_set(a->zip, index, PADDING_ID, 0, zeros, padding, ZIP_FL_LOCAL) == 0;
}

static bool torch_write_add(struct archive *a, const char *name, const void *bytes, size_t n)
{
    zip_source_t *source = zip_source_buffer(a->zip, bytes, n, 0);
    zip_int64_t index = source ? zip_file_add(a->zip, name, source, ZIP_FL_ENC_UTF_8) : -1;

    if (index < 0) {
        zip_source_free(source);
        return false;
    }
    if (zip_set_file_compression(a->zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) < 0 ||
        zip_file_set_mtime(a->zip, (zip_uint64_t)index, 315532800 /* 1980-01-01 */, 0) < 0 ||
        !align(a, (zip_uint64_t)index, strlen(name)))
        return false;
    a->at += n;
    return true;
}

static bool add_all(struct archive *a, const struct pickle *p, const struct tr_tensor *tensors, size_t count)
{
    bool good = torch_write_add(a, FOLDER "data.pkl", p->bytes, p->n) &&
                torch_write_add(a, FOLDER "byteorder", "little", 6);
    char name[48];

    for (size_t i = 0; i < count && good; i++) {
        size_t n;

        snprintf(name, sizeof name, FOLDER "data/%zu", i);
        good = tr_tensor_bytes(&tensors[i], &n) == 0 && torch_write_add(a, name, tensors[i].data, n);
    }
    return good && torch_write_add(a, FOLDER "version", "3\n", 2);
}

static int copy_out(zip_source_t *source, const char *path, struct im_text *text)
{
    struct im_file_writer w;
    char piece[16384];
    zip_int64_t n = 1;
    int err = im_file_begin(&w, path, text);

    while (err == 0 && n > 0) {
        n = zip_source_read(source, piece, sizeof piece);
        if (n > 0)
            err = im_file_write(&w, piece, (size_t)n, text);
    }
    if (err == 0 && n < 0)
        err = im_fail(text, -EIO, "cannot write %.300s: %s", path,
                      zip_error_strerror(zip_source_error(source)));
    if (err == 0)
        err = im_file_commit(&w, text);
    else
        im_file_abort(&w);
    return err;
}

static int write_archive(const char *path, const struct pickle *p, const struct tr_tensor *tensors,
                         size_t count, struct im_text *text)
{
    zip_error_t error;
    zip_source_t *source;
    struct archive a = {NULL, 0};
    int err = 0;

    zip_error_init(&error);
    source = zip_source_buffer_create(NULL, 0, 0, &error);
    if (source)
        a.zip = zip_open_from_source(source, ZIP_CREATE | ZIP_TRUNCATE, &error);
    if (!a.zip) {
        err = im_fail(text, -ENOMEM, "cannot write %.300s: %s", path, zip_error_strerror(&error));
        zip_source_free(source);
        zip_error_fini(&error);
        return err;
    }
    zip_source_keep(source);
    if (!add_all(&a, p, tensors, count) || zip_close(a.zip) < 0) {
        err = im_fail(text, -ENOMEM, "cannot write %.300s: %s", path, zip_strerror(a.zip));
        zip_discard(a.zip);
    } else if (zip_source_open(source) < 0) {
        err = im_fail(text, -EIO, "cannot write %.300s: %s", path,
                      zip_error_strerror(zip_source_error(source)));
    } else {
        err = copy_out(source, path, text);
        zip_source_close(source);
    }
    zip_source_free(source);
    zip_error_fini(&error);
    return err;
}

int tr_torch_write(const char *path, const struct tr_tensor *tensors, size_t count, struct im_text *text)
{
    struct pickle p = {NULL, 0, NULL};
    int err = make_pickle(&p, tensors, count);

    if (err < 0)
        im_fail(text, err, "cannot write %.300s: out of memory", path);
    else
        err = write_archive(path, &p, tensors, count, text);
    free(p.bytes);
    return err;
}

#else

int tr_torch_write(const char *path, const struct tr_tensor *tensors, size_t count, struct im_text *text)
{
    (void)tensors, (void)count;
    return im_fail(
        text, -ENOTSUP,
        "cannot write %.300s: this build is without libzip (libzip-dev); --format safetensors needs "
        "none",
        path);
}

#endif
