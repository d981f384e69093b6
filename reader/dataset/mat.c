/* The format: MathWorks, "MAT-File Format", level 5. A file is a header of 128 bytes and elements: tag (type, bytes), data,
 * padding to 8 bytes. Elements of up to four bytes lie within their tag. A compressed element holds another, by zlib. Only
 * what the devkit's file needs is read: other variables, other fields and nested arrays are stepped over. */
#include "reader/dataset/mat.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "ipc/base/count.h"

enum {
    HEADER_BYTES = 128,
    INFLATED_MAX = 64 << 20,
    FIELDS_MAX = 64,
    FIELD_NAME_MAX = 64,
    CLASS_BYTES_MAX = 255,

    MI_INT8 = 1,
    MI_UINT8 = 2,
    MI_INT16 = 3,
    MI_UINT16 = 4,
    MI_INT32 = 5,
    MI_UINT32 = 6,
    MI_SINGLE = 7,
    MI_DOUBLE = 9,
    MI_INT64 = 12,
    MI_UINT64 = 13,
    MI_MATRIX = 14,
    MI_COMPRESSED = 15,
    MI_UTF8 = 16,

    MX_STRUCT = 2
};

struct bytes {
    const unsigned char *at;
    size_t n;
};

struct element {
    uint32_t type;
    struct bytes data;
};

static uint32_t word32(const unsigned char *at)
{
    uint32_t word;

    memcpy(&word, at, sizeof word);
    return le32toh(word);
}

/* The element at the beginning of *b, which goes on behind it. False: there is none that ends in the bytes. */
static bool next_element(struct bytes *b, struct element *ret)
{
    uint32_t tag, n;
    size_t all;

    if (b->n < 8)
        return false;
    tag = word32(b->at);
    if (tag >> 16) { /* within its tag */
        if (tag >> 16 > 4)
            return false;
        *ret = (struct element){tag & 0xffff, {b->at + 4, tag >> 16}};
        all = 8;
    } else {
        n = word32(b->at + 4);
        if (n > b->n - 8)
            return false;
        *ret = (struct element){tag, {b->at + 8, n}};
        all = 8 + (size_t)n + (tag == MI_COMPRESSED ? 0 : -(size_t)n % 8);
        all = all < b->n ? all : b->n; /* the last one may go without its padding */
    }
    b->at += all;
    b->n -= all;
    return true;
}

/* An array: its class, the number of its values, and what stands behind its name. */
struct matrix {
    uint32_t class;
    uint64_t count;
    char name[FIELD_NAME_MAX];
    struct bytes rest;
};

static void copy_name(const struct bytes *from, char ret[FIELD_NAME_MAX])
{
    const size_t n = from->n < FIELD_NAME_MAX - 1 ? from->n : FIELD_NAME_MAX - 1;

    memcpy(ret, from->at, n);
    ret[n] = 0;
}

static bool read_matrix(const struct element *element, struct matrix *ret)
{
    struct element flags, dimensions, name;

    *ret = (struct matrix){.count = 1, .rest = element->data};
    if (element->type != MI_MATRIX || !next_element(&ret->rest, &flags) || flags.type != MI_UINT32 ||
        flags.data.n < 4 || !next_element(&ret->rest, &dimensions) || dimensions.type != MI_INT32 ||
        !next_element(&ret->rest, &name))
        return false;
    ret->class = word32(flags.data.at) & 0xff;
    for (size_t i = 0; i + 4 <= dimensions.data.n; i += 4) {
        ret->count *= word32(dimensions.data.at + i);
        if (ret->count > UINT32_MAX)
            return false;
    }
    copy_name(&name.data, ret->name);
    return true;
}

static size_t width_of(uint32_t type)
{
    static const uint8_t widths[] = {
        [MI_INT8] = 1,   [MI_UINT8] = 1,  [MI_INT16] = 2, [MI_UINT16] = 2, [MI_INT32] = 4, [MI_UINT32] = 4,
        [MI_SINGLE] = 4, [MI_DOUBLE] = 8, [MI_INT64] = 8, [MI_UINT64] = 8, [MI_UTF8] = 1};

    return type < IM_COUNT(widths) ? widths[type] : 0;
}

/* Value i of an element of numbers; NAN where there is none. */
static double value(const struct element *e, size_t i)
{
    const size_t width = width_of(e->type);
    unsigned char raw[8];
    uint64_t bits = 0;
    double number;
    float single;

    if (width == 0 || (i + 1) * width > e->data.n)
        return NAN;
    memcpy(raw, e->data.at + i * width, width);
    for (size_t k = 0; k < width; k++)
        bits |= (uint64_t)raw[k] << (8 * k);
    if (e->type == MI_DOUBLE) {
        memcpy(&number, &bits, sizeof number);
        return number;
    }
    if (e->type == MI_SINGLE) {
        const uint32_t half = (uint32_t)bits;

        memcpy(&single, &half, sizeof single);
        return (double)single;
    }
    return (double)bits; /* a negative one becomes too great, and is refused */
}

/* A number that counts; UINT64_MAX: none. */
static uint64_t read_number(const struct element *element)
{
    struct matrix matrix;
    struct element values;
    double number;

    if (!read_matrix(element, &matrix) || matrix.count != 1 || !next_element(&matrix.rest, &values))
        return UINT64_MAX;
    number = value(&values, 0);
    return number >= 0 && number <= RD_NUMBERS_MAX && number == floor(number) ? (uint64_t)number : UINT64_MAX;
}

/* A string of printable ASCII, as WordNet's ids are. */
static bool read_string(const struct element *element, char ret[CLASS_BYTES_MAX + 1])
{
    struct matrix matrix;
    struct element values;

    if (!read_matrix(element, &matrix) || matrix.count == 0 || matrix.count > CLASS_BYTES_MAX ||
        !next_element(&matrix.rest, &values))
        return false;
    for (size_t i = 0; i < matrix.count; i++) {
        const double c = value(&values, i);

        if (!(c > ' ' && c < 127))
            return false;
        ret[i] = (char)c;
    }
    ret[matrix.count] = 0;
    return true;
}

/* The places of the two fields among a structure's. */
static bool find_fields(const struct bytes *names, uint32_t length, uint32_t *ret_count, uint32_t *ret_number,
                        uint32_t *ret_name)
{
    const uint32_t count = length ? (uint32_t)(names->n / length) : 0;
    char name[FIELD_NAME_MAX];

    *ret_number = *ret_name = UINT32_MAX;
    if (count == 0 || count > FIELDS_MAX || length > FIELD_NAME_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        copy_name(&(struct bytes){names->at + (size_t)i * length, length}, name);
        if (strcmp(name, "ILSVRC2012_ID") == 0 || strcmp(name, "ILSVRC2010_ID") == 0)
            *ret_number = i;
        else if (strcmp(name, "WNID") == 0)
            *ret_name = i;
    }
    *ret_count = count;
    return *ret_number != UINT32_MAX && *ret_name != UINT32_MAX;
}

static int read_synsets(struct matrix *matrix, struct rd_numbering *ret)
{
    uint32_t fields, number_at, name_at;
    char name[CLASS_BYTES_MAX + 1];
    struct element length, names, field;
    int err = 0;

    if (!next_element(&matrix->rest, &length) || length.data.n != 4 || !next_element(&matrix->rest, &names) ||
        !find_fields(&names.data, word32(length.data.at), &fields, &number_at, &name_at))
        return -EBADMSG;
    for (uint64_t i = 0; i < matrix->count && err == 0; i++) {
        uint64_t number = UINT64_MAX;
        bool named = false;

        for (uint32_t f = 0; f < fields; f++) {
            if (!next_element(&matrix->rest, &field))
                return -EBADMSG;
            if (f == number_at)
                number = read_number(&field);
            else if (f == name_at)
                named = read_string(&field, name);
        }
        err = number == UINT64_MAX || !named ? -EBADMSG : rd_numbering_add(ret, number, name);
    }
    return err == 0 && ret->count == 0 ? -EBADMSG : err;
}

/* *ret_bytes is malloc'ed. */
static int inflate_all(const struct bytes *from, unsigned char **ret_bytes, size_t *ret_n)
{
    size_t room = 4 * from->n + 65536;
    z_stream z = {.next_in = (unsigned char *)from->at, .avail_in = (unsigned)from->n};
    unsigned char *bytes = NULL, *grown;
    int status = inflateInit(&z) == Z_OK ? Z_OK : Z_MEM_ERROR;

    room = room < INFLATED_MAX ? room : INFLATED_MAX;
    while (status == Z_OK) {
        if (z.total_out < room && bytes) { /* the input is at its end, and the stream is not */
            status = Z_DATA_ERROR;
            break;
        }
        room = bytes ? 2 * room : room;
        grown = room <= INFLATED_MAX ? realloc(bytes, room) : NULL;
        if (!grown) {
            status = room <= INFLATED_MAX ? Z_MEM_ERROR : Z_DATA_ERROR;
            break;
        }
        bytes = grown;
        z.next_out = bytes + z.total_out;
        z.avail_out = (unsigned)(room - z.total_out);
        status = inflate(&z, Z_NO_FLUSH);
    }
    *ret_n = z.total_out;
    inflateEnd(&z);
    *ret_bytes = bytes;
    if (status == Z_STREAM_END)
        return 0;
    free(bytes);
    *ret_bytes = NULL;
    return status == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

/* 1: it was "synsets"; 0: another variable. */
static int take_variable(const struct element *element, struct rd_numbering *ret)
{
    struct matrix matrix;
    int err;

    if (!read_matrix(element, &matrix))
        return -EBADMSG;
    if (strcmp(matrix.name, "synsets") != 0 || matrix.class != MX_STRUCT)
        return 0;
    err = read_synsets(&matrix, ret);
    return err < 0 ? err : 1;
}

static int take_element(const struct element *element, struct rd_numbering *ret)
{
    unsigned char *inflated;
    struct element inner;
    struct bytes rest;
    size_t n;
    int found;

    if (element->type == MI_MATRIX)
        return take_variable(element, ret);
    if (element->type != MI_COMPRESSED)
        return 0;
    found = inflate_all(&element->data, &inflated, &n);
    if (found < 0)
        return found;
    rest = (struct bytes){inflated, n};
    found = next_element(&rest, &inner) && inner.type == MI_MATRIX ? take_variable(&inner, ret) : 0;
    free(inflated);
    return found;
}

static int read_file(const unsigned char *bytes, size_t n, struct rd_numbering *ret)
{
    struct bytes rest = {bytes + HEADER_BYTES, n - HEADER_BYTES};
    struct element element;
    int found = 0;

    while (found == 0 && next_element(&rest, &element))
        found = take_element(&element, ret);
    return found;
}

int rd_mat_read(const void *bytes, size_t n, const char *path, struct rd_numbering *ret_numbering,
                struct im_text *text)
{
    struct rd_numbering numbering = {.count = 0};
    const unsigned char *header = bytes;
    int found;

    if (n < HEADER_BYTES || memcmp(header + 126, "IM", 2) != 0) /* "MI": written by a big-endian machine */
        return im_fail(text, -EBADMSG, "'%.700s' is no MATLAB file of level 5, little-endian", path);
    found = read_file(header, n, &numbering);
    if (found == 1) {
        *ret_numbering = numbering;
        return 0;
    }
    rd_numbering_fini(&numbering);
    if (found == -ENOMEM)
        return found;
    return im_fail(text, -EBADMSG,
                   found == 0 ? "'%.700s' holds no array 'synsets', as the meta.mat of ILSVRC's devkit does"
                              : "'%.700s' is damaged, or its 'synsets' are not those of ILSVRC's devkit",
                   path);
}
