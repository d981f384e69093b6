/* Headers are read through a window of 16 KiB: that of a label, the label and the next header mostly come with one read,
 * the bytes of images with none. */
#include "reader/dataset/tar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/hash.h"

/* Of a ustar header; IS_EXTENDED: of a sparse member of GNU's old format, whose map goes on in blocks before the bytes. */
enum {
    NAME = 0,
    NAME_BYTES = 100,
    SIZE = 124,
    SIZE_BYTES = 12,
    CHECKSUM = 148,
    CHECKSUM_BYTES = 8,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345,
    PREFIX_BYTES = 155,
    IS_EXTENDED = 482,
    BLOCK_IS_EXTENDED = 504
};

#define PADDING_MAX ((uint64_t)1 << 20) /* zeros behind the end, of the largest blocking factor in use */

/* n bytes at an offset, in the window. NULL: they are not there (*ret_err 0), or cannot be read. */
static const unsigned char *see(struct rd_tar *tar, uint64_t offset, uint32_t n, int *ret_err)
{
    int64_t got;

    *ret_err = 0;
    if (offset > tar->bytes || n > tar->bytes - offset)
        return NULL;
    if (offset < tar->window_at || offset + n > tar->window_at + tar->window_bytes) {
        tar->window_bytes = 0;
        tar->window_at = offset;
        got = tar->read(tar->context, offset, tar->window, sizeof tar->window);
        if (got < 0) {
            *ret_err = (int)got;
            return NULL;
        }
        tar->window_bytes = (uint32_t)got;
        if (got < n) /* shorter than it was */
            return NULL;
    }
    return tar->window + (offset - tar->window_at);
}

/* Copies bytes of any length; fewer at the end. */
static int64_t copy(struct rd_tar *tar, uint64_t offset, char *buffer, uint64_t n)
{
    uint64_t have = 0;
    int err;

    while (have < n) {
        const uint32_t part = n - have < RD_TAR_BLOCK ? (uint32_t)(n - have) : RD_TAR_BLOCK;
        const unsigned char *bytes = see(tar, offset + have, part, &err);

        if (!bytes)
            return err < 0 ? err : (int64_t)have;
        memcpy(buffer + have, bytes, part);
        have += part;
    }
    return (int64_t)have;
}

/* Octal digits between blanks and NULs, or a number in base 256 with the top bit set. False: neither, or beyond 2^62. */
static bool number(const unsigned char *field, size_t n, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i = 0;

    if (field[0] & 0x80) {
        if (field[0] != 0x80) /* negative, or huge */
            return false;
        for (i = 1; i < n; i++) {
            if (value >> 54)
                return false;
            value = value << 8 | field[i];
        }
        *ret = value;
        return true;
    }
    while (i < n && field[i] == ' ')
        i++;
    for (; i < n && field[i] >= '0' && field[i] <= '7'; i++)
        value = value << 3 | (uint64_t)(field[i] - '0');
    while (i < n && (field[i] == ' ' || field[i] == 0))
        i++;
    *ret = value;
    return i == n;
}

/* The sum of all bytes, blanks in place of the sum; some old programs took them as signed. */
static bool checksum_is_right(const unsigned char *header)
{
    uint64_t wanted, sum = 0;
    int64_t signed_sum = 0;

    if (!number(header + CHECKSUM, CHECKSUM_BYTES, &wanted))
        return false;
    for (int i = 0; i < RD_TAR_BLOCK; i++) {
        const unsigned char byte = i >= CHECKSUM && i < CHECKSUM + CHECKSUM_BYTES ? ' ' : header[i];

        sum += byte;
        signed_sum += (signed char)byte;
    }
    return wanted == sum || (int64_t)wanted == signed_sum;
}

static bool is_zero(const unsigned char *block)
{
    for (int i = 0; i < RD_TAR_BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

static int fail_cut(const struct rd_tar *tar, struct im_text *text)
{
    return im_fail(text, -ENODATA, "it is cut short at byte %llu", (unsigned long long)tar->bytes);
}

/* What is no archive at its beginning: a compressed one, or anything else. */
static int fail_no_archive(const struct rd_tar *tar, struct im_text *text)
{
    static const struct {
        const char *magic, *packer, *unpack;
        size_t n;
    } packed[] = {
        {"\x1f\x8b", "gzip", "gunzip", 2},       {"\x28\xb5\x2f\xfd", "zstd", "unzstd", 4},
        {"\xfd\x37zXZ", "xz", "unxz", 5},        {"BZh", "bzip2", "bunzip2", 3},
        {"\x04\x22\x4d\x18", "lz4", "unlz4", 4}, {"PK\x03\x04", "zip", "unzip", 4},
    };

    for (size_t i = 0; i < IM_COUNT(packed); i++)
        if (tar->window_at == 0 && tar->window_bytes >= packed[i].n &&
            memcmp(tar->window, packed[i].magic, packed[i].n) == 0)
            return im_fail(text, -EBADMSG, "it is compressed with %s: unpack it to a plain tar (%s)",
                           packed[i].packer, packed[i].unpack);
    return im_fail(text, -EBADMSG, "it is no tar archive");
}

static int fail_damaged(const struct rd_tar *tar, struct im_text *text)
{
    if (tar->at == 0)
        return fail_no_archive(tar, text);
    return im_fail(text, -EBADMSG, "it is damaged at byte %llu, where a header should begin",
                   (unsigned long long)tar->at);
}

/* Where the member behind one of `bytes` at `offset` begins; false: beyond the end of the archive. The padding of the last
 * one may be missing. */
static bool skip(const struct rd_tar *tar, uint64_t offset, uint64_t bytes, uint64_t *ret)
{
    if (offset > tar->bytes || bytes > tar->bytes - offset)
        return false;
    *ret = offset + (bytes + RD_TAR_BLOCK - 1) / RD_TAR_BLOCK * RD_TAR_BLOCK;
    return true;
}

/* A name that is longer than a path becomes "", which nothing has. */
static void set_name(struct rd_tar *tar, const char *name, size_t n)
{
    const char *nul = memchr(name, 0, n);

    n = nul ? (size_t)(nul - name) : n;
    if (n >= sizeof tar->name)
        n = 0;
    memcpy(tar->name, name, n);
    tar->name[n] = 0;
    tar->has_long_name = true;
}

/* A record of a pax header: "LENGTH KEY=VALUE\n", of which key and value are given. */
static void take_record(struct rd_tar *tar, const char *key, size_t key_bytes, const char *value, size_t n)
{
    uint64_t size = 0;

    if ((key_bytes == 4 && memcmp(key, "path", 4) == 0) ||
        (key_bytes == 15 && memcmp(key, "GNU.sparse.name", 15) == 0)) {
        tar->is_sparse |= key_bytes == 15;
        set_name(tar, value, n);
    } else if (key_bytes == 4 && memcmp(key, "size", 4) == 0 && n > 0 && n <= 18) {
        for (size_t i = 0; i < n; i++) {
            if (value[i] < '0' || value[i] > '9')
                return;
            size = 10 * size + (uint64_t)(value[i] - '0');
        }
        tar->pax_size = size;
        tar->has_size = true;
    } else if (key_bytes >= 10 && memcmp(key, "GNU.sparse", 10) == 0) {
        tar->is_sparse = true;
    }
}

static bool parse_pax(struct rd_tar *tar, const char *at, const char *end)
{
    while (at < end) {
        const char *digits = at, *line_end, *equals;
        size_t length = 0;

        if (*at == 0) /* padding */
            return true;
        while (at < end && *at >= '0' && *at <= '9' && length <= RD_TAR_EXTENSION_MAX)
            length = 10 * length + (size_t)(*at++ - '0');
        if (at == digits || at == end || *at != ' ' || length > (size_t)(end - digits) ||
            length <= (size_t)(at + 1 - digits))
            return false;
        line_end = digits + length - 1;
        at++;
        equals = memchr(at, '=', (size_t)(line_end - at));
        if (*line_end != '\n' || !equals)
            return false;
        take_record(tar, at, (size_t)(equals - at), equals + 1, (size_t)(line_end - equals - 1));
        at = line_end + 1;
    }
    return true;
}

/* A header that says something about the next member: 'L', 'x'. */
static int take_extension(struct rd_tar *tar, char type, uint64_t offset, uint64_t bytes,
                          struct im_text *text)
{
    int64_t got;

    if (bytes > RD_TAR_EXTENSION_MAX)
        return im_fail(text, -EBADMSG, "the header at byte %llu is larger than 1 MiB",
                       (unsigned long long)tar->at);
    if (!tar->extension)
        tar->extension = malloc(RD_TAR_EXTENSION_MAX);
    if (!tar->extension)
        return -ENOMEM;
    got = copy(tar, offset, tar->extension, bytes);
    if (got < 0)
        return im_fail(text, (int)got, "it cannot be read: %s", strerror((int)-got));
    if ((uint64_t)got < bytes)
        return fail_cut(tar, text);
    if (type == 'L')
        set_name(tar, tar->extension, bytes);
    else if (!parse_pax(tar, tar->extension, tar->extension + bytes))
        return im_fail(text, -EBADMSG, "the pax header at byte %llu is damaged", (unsigned long long)tar->at);
    return 0;
}

static enum rd_tar_type type_of(const struct rd_tar *tar, char type)
{
    const size_t n = strlen(tar->name);

    if (type == 'S' || tar->is_sparse)
        return RD_TAR_SPARSE;
    if (type == '5' || ((type == '0' || type == 0) && n > 0 && tar->name[n - 1] == '/'))
        return RD_TAR_FOLDER;
    if (n == 0)
        return RD_TAR_OTHER;
    if (type == '0' || type == 0 || type == '7')
        return RD_TAR_FILE;
    return type == '1' || type == '2' ? RD_TAR_LINK : RD_TAR_OTHER;
}

/* The name in the header itself. */
static void take_name(struct rd_tar *tar, const unsigned char *header)
{
    char name[PREFIX_BYTES + NAME_BYTES + 2];
    const size_t n = strnlen((const char *)header + NAME, NAME_BYTES);
    const size_t prefix =
        memcmp(header + MAGIC, "ustar\0", 6) == 0 ? strnlen((const char *)header + PREFIX, PREFIX_BYTES) : 0;

    memcpy(name, header + PREFIX, prefix);
    if (prefix > 0)
        name[prefix] = '/';
    memcpy(name + prefix + (prefix > 0), header + NAME, n);
    set_name(tar, name, prefix + (prefix > 0) + n);
}

/* "./a" and "/a" are a. */
static const char *without_dot(const char *name)
{
    while (name[0] == '/' || (name[0] == '.' && name[1] == '/'))
        name++;
    return name;
}

/* Goes over the blocks that the map of a sparse member fills behind its header. */
static int skip_map(struct rd_tar *tar, const unsigned char *header, struct im_text *text)
{
    bool more = header[TYPE] == 'S' && header[IS_EXTENDED];

    while (more) {
        int err;
        const unsigned char *block = see(tar, tar->at + RD_TAR_BLOCK, RD_TAR_BLOCK, &err);

        if (!block)
            return err < 0 ? im_fail(text, err, "it cannot be read: %s", strerror(-err))
                           : fail_cut(tar, text);
        more = block[BLOCK_IS_EXTENDED];
        tar->at += RD_TAR_BLOCK;
    }
    return 0;
}

/* Fills in a member from its own header. Links, folders and devices have no bytes, whatever their size says. */
static int take_member(struct rd_tar *tar, const unsigned char *header, uint64_t begin, uint64_t bytes,
                       struct rd_tar_member *ret, struct im_text *text)
{
    const char type = (char)header[TYPE];
    const int err = skip_map(tar, header, text);

    if (err < 0)
        return err;
    if (!tar->has_long_name)
        take_name(tar, header);
    if (tar->has_size)
        bytes = tar->pax_size;
    *ret = (struct rd_tar_member){.name = without_dot(tar->name),
                                  .type = type_of(tar, type),
                                  .header = begin,
                                  .mark = rd_tar_mark(header),
                                  .offset = tar->at + RD_TAR_BLOCK};
    ret->bytes = type >= '1' && type <= '6' ? 0 : bytes;
    tar->has_long_name = tar->has_size = tar->is_sparse = false;
    return skip(tar, ret->offset, ret->bytes, &tar->at) ? 1 : fail_cut(tar, text);
}

/* At the first block of zeros, the end for every program: another archive behind it is not read, and not unsaid. */
static int look_behind(struct rd_tar *tar, struct im_text *text)
{
    const uint64_t end = tar->at;
    const unsigned char *bytes;
    int err;

    do {
        tar->at += RD_TAR_BLOCK;
        bytes = see(tar, tar->at, RD_TAR_BLOCK, &err);
    } while (bytes && is_zero(bytes) && tar->at - end < PADDING_MAX);
    if (!bytes || is_zero(bytes) || !checksum_is_right(bytes))
        return 0;
    return im_fail(text, -ENODATA,
                   "it ends at byte %llu, and another archive begins at byte %llu: its members are not read "
                   "(make a shard of its own of it)",
                   (unsigned long long)end, (unsigned long long)tar->at);
}

int rd_tar_next(struct rd_tar *tar, struct rd_tar_member *ret_member, struct im_text *text)
{
    const uint64_t begin = tar->at;

    for (;;) {
        unsigned char header[RD_TAR_BLOCK];
        const unsigned char *bytes;
        uint64_t size, next;
        int err;

        bytes = see(tar, tar->at, RD_TAR_BLOCK, &err);
        if (err < 0)
            return im_fail(text, err, "it cannot be read: %s", strerror(-err));
        if (!bytes)
            return tar->at == 0 ? fail_no_archive(tar, text) : fail_cut(tar, text);
        if (is_zero(bytes))
            return look_behind(tar, text);
        if (!checksum_is_right(bytes) || !number(bytes + SIZE, SIZE_BYTES, &size))
            return fail_damaged(tar, text);
        memcpy(header, bytes, sizeof header);
        switch (header[TYPE]) {
        case 'L':
        case 'x':
        case 'X':
            err = take_extension(tar, (char)header[TYPE], tar->at + RD_TAR_BLOCK, size, text);
            if (err < 0)
                return err;
            break;
        case 'K': /* the name that a link leads to */
        case 'g': /* of the archive */
        case 'V':
            break;
        default:
            return take_member(tar, header, begin, size, ret_member, text);
        }
        if (!skip(tar, tar->at + RD_TAR_BLOCK, size, &next))
            return fail_cut(tar, text);
        tar->at = next;
    }
}

uint32_t rd_tar_mark(const unsigned char header[RD_TAR_BLOCK])
{
    const uint32_t mark = (uint32_t)im_hash64(header, RD_TAR_BLOCK, 0);

    return mark ? mark : 1;
}

bool rd_tar_is_header_of(const unsigned char header[RD_TAR_BLOCK], uint64_t bytes, uint32_t mark)
{
    const char type = (char)header[TYPE];
    uint64_t size;

    return (type == '0' || type == 0 || type == '7') && checksum_is_right(header) &&
           number(header + SIZE, SIZE_BYTES, &size) && size == bytes &&
           (mark == 0 || mark == rd_tar_mark(header));
}

int64_t rd_tar_peek(struct rd_tar *tar, const struct rd_tar_member *member, void *buffer, size_t size)
{
    return copy(tar, member->offset, buffer, member->bytes < size ? member->bytes : size);
}

void rd_tar_fini(struct rd_tar *tar)
{
    free(tar->extension);
    tar->extension = NULL;
}
