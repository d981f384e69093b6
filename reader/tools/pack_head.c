/* What stands before an image in a shard: 000000123.cls with the number of its class, 000000123.json with that, the name of
 * the class and of the file, and the header of 000000123.jpg. With several labels an image there is no .cls, and the .json has
 * lists. Times, users and groups are 0, so that bytes depend on the
 * images alone. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/image_type.h"
#include "ipc/base/json.h"
#include "reader/tools/pack.h"

#define OCTAL_MAX ((uint64_t)1 << 33) /* 8 GiB: more does not fit eleven octal digits */

static void put_number(unsigned char *field, size_t n, uint64_t value)
{
    if (value < OCTAL_MAX) {
        snprintf((char *)field, n, "%0*" PRIo64, (int)n - 1, value);
        return;
    }
    for (size_t i = n; i-- > 0; value >>= 8)
        field[i] = (unsigned char)value;
    field[0] = 0x80;
}

static void put_header(unsigned char *block, const char *name, uint64_t bytes)
{
    unsigned sum = 0;

    memset(block, 0, RD_TAR_BLOCK);
    snprintf((char *)block, 100, "%s", name);
    memcpy(block + 100, "0000444", 8);
    memcpy(block + 108, "0000000", 8);
    memcpy(block + 116, "0000000", 8);
    put_number(block + 124, 12, bytes);
    memcpy(block + 136, "00000000000", 12);
    memset(block + 148, ' ', 8);
    block[156] = '0';
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    for (int i = 0; i < RD_TAR_BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

/* The ending that every reader of WebDataset takes: jpg for .JPEG, .jpe and .jfif; others in small letters. */
static void ending_of(const char *path, char ret[16])
{
    const char *dot = strrchr(path, '.');
    size_t n = 0;

    if (im_image_type_of_name(path) == IM_IMAGE_JPEG) {
        snprintf(ret, 16, "jpg");
        return;
    }
    for (dot = dot ? dot + 1 : "img"; dot[n] && n < 15; n++)
        ret[n] = (char)tolower((unsigned char)dot[n]);
    ret[n] = 0;
}

/* "n01440764/x.JPEG" of ".../train/n01440764/day1/x.JPEG"; the last name where no folder has the name of the class. */
static const char *inside(const char *path, const char *class)
{
    const size_t n = strlen(class);
    const char *last = strrchr(path, '/'), *found = last ? last + 1 : path;

    for (const char *at = path; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL)
        if (strncmp(at, class, n) == 0 && at[n] == '/')
            found = at;
    return found;
}

static int put_member(struct rd_pack_head *head, const char *name, const char *content, size_t n)
{
    if (head->n + RD_TAR_BLOCK + rd_tar_padded(n) > sizeof head->bytes - RD_TAR_BLOCK)
        return -ENAMETOOLONG;
    put_header(head->bytes + head->n, name, n);
    head->n += RD_TAR_BLOCK;
    memset(head->bytes + head->n, 0, rd_tar_padded(n));
    memcpy(head->bytes + head->n, content, n);
    head->n += (uint32_t)rd_tar_padded(n);
    return 0;
}

static int put_json(struct rd_pack_head *head, const char *name, struct im_json **j, const char *file)
{
    char *text;
    int err;

    im_json_set_str(*j, "filename", file);
    text = im_json_dump(*j);
    im_json_free(j);
    err = text ? put_member(head, name, text, strlen(text)) : -ENOMEM;
    free(text);
    return err;
}

static int put_label(const struct rd_pack *pack, struct rd_pack_head *ret, uint64_t id, uint32_t label,
                     const char *path)
{
    const char *class = rd_index_class(pack->index, label);
    struct im_json *j = im_json_object();
    char name[64], number[16];
    int err;

    snprintf(number, sizeof number, "%u", label);
    snprintf(name, sizeof name, "%09" PRIu64 ".cls", id);
    err = put_member(ret, name, number, strlen(number));
    snprintf(name, sizeof name, "%09" PRIu64 ".json", id);
    im_json_set_int(j, "label", label);
    im_json_set_str(j, "class", class);
    if (err == 0)
        return put_json(ret, name, &j, inside(path, class));
    im_json_free(&j);
    return err;
}

static int put_labels(const struct rd_pack *pack, struct rd_pack_head *ret, uint64_t id, uint32_t label,
                      const char *path)
{
    struct im_json *j = im_json_object(), *numbers = im_json_array(), *names = im_json_array();
    char name[64];
    int err = 0;

    for (uint32_t c = 0; c < rd_index_class_count(pack->index) && err == 0; c++) {
        if (!rd_index_has(pack->index, label, c))
            continue;
        err = im_json_append_int(numbers, c);
        if (err == 0)
            err = im_json_append_str(names, rd_index_class(pack->index, c));
    }
    if (im_json_set(j, "label", numbers) < 0 || im_json_set(j, "class", names) < 0 || err < 0) {
        im_json_free(&j);
        return -ENOMEM;
    }
    snprintf(name, sizeof name, "%09" PRIu64 ".json", id);
    return put_json(ret, name, &j, inside(path, ""));
}

int rd_pack_head(const struct rd_pack *pack, enum im_split split, uint64_t id, struct rd_pack_head *ret,
                 struct im_text *text)
{
    const uint32_t label = rd_index_label(pack->index, split, id);
    char path[PATH_MAX], name[64], ending[16];
    int err = rd_index_relative(pack->index, split, id, path, sizeof path);

    ret->n = 0;
    if (err < 0)
        return im_fail(text, err, "a path of the data set is too long");
    err = rd_index_set_words(pack->index) > 0 ? put_labels(pack, ret, id, label, path)
                                              : put_label(pack, ret, id, label, path);
    if (err < 0)
        return im_fail(text, err, "the names of '%.500s' are too long for a shard", path);
    ending_of(path, ending);
    snprintf(name, sizeof name, "%09" PRIu64 ".%s", id, ending);
    put_header(ret->bytes + ret->n, name, pack->samples[split][id].bytes);
    ret->n += RD_TAR_BLOCK;
    return 0;
}

void rd_pack_name(const struct rd_pack_shard *shard, char ret[64])
{
    snprintf(ret, 64, "%s-%06u.tar", shard->split == IM_TRAIN ? "train" : "val", shard->number);
}
