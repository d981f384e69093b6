#include "augment/tools/jpeg_facts.h"

#include <stdint.h>
#include <string.h>

enum {
    MARKER_SOI = 0xd8,
    MARKER_EOI = 0xd9,
    MARKER_SOS = 0xda,
    MARKER_APP1 = 0xe1,
    ORIENTATION = 0x112,
    EXIF_HEADER = 6,
    TIFF_HEADER = 8,
    ENTRY = 12
};

struct tiff {
    const unsigned char *bytes;
    size_t n;
    bool is_big_endian;
};

/* A number of 2 or 4 bytes; 0 beyond the end. */
static uint32_t number(const struct tiff *t, size_t at, size_t size)
{
    uint32_t value = 0;

    if (at > t->n || t->n - at < size)
        return 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | t->bytes[at + (t->is_big_endian ? i : size - 1 - i)];
    return value;
}

/* The orientation in the first directory of EXIF's TIFF structure. */
static int orientation_in(const unsigned char *bytes, size_t n)
{
    struct tiff t = {bytes, n, false};
    uint32_t entries;
    size_t at;

    if (n < TIFF_HEADER || (memcmp(bytes, "II", 2) != 0 && memcmp(bytes, "MM", 2) != 0))
        return 0;
    t.is_big_endian = bytes[0] == 'M';
    if (number(&t, 2, 2) != 42)
        return 0;
    at = number(&t, 4, 4);
    entries = number(&t, at, 2);
    for (uint32_t i = 0; i < entries; i++) {
        const size_t entry = at + 2 + (size_t)i * ENTRY;

        if (entry > n || n - entry < ENTRY)
            return 0;
        if (number(&t, entry, 2) == ORIENTATION) {
            const uint32_t value = number(&t, entry + 8, 2);

            return value >= 1 && value <= 8 ? (int)value : 0;
        }
    }
    return 0;
}

/* SOF0 to SOF15 but for DHT, JPG and DAC, which share their range. */
static bool is_frame(unsigned marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

static void take_segment(unsigned marker, const unsigned char *body, size_t n, struct au_jpeg_facts *facts)
{
    if (is_frame(marker) && n >= 6) {
        facts->components = body[5];
        facts->is_progressive = (marker & 3) == 2;
    } else if (marker == MARKER_APP1 && facts->orientation == 0 && n > EXIF_HEADER &&
               memcmp(body, "Exif\0\0", EXIF_HEADER) == 0) {
        facts->orientation = orientation_in(body + EXIF_HEADER, n - EXIF_HEADER);
    }
}

struct au_jpeg_facts au_jpeg_facts_read(const unsigned char *bytes, size_t n)
{
    struct au_jpeg_facts facts = {0};
    size_t at = 2;

    if (n < 4 || bytes[0] != 0xff || bytes[1] != MARKER_SOI)
        return facts;
    while (at + 4 <= n && bytes[at] == 0xff) {
        const unsigned marker = bytes[at + 1];
        size_t length;

        if (marker == 0xff) { /* a fill byte */
            at++;
            continue;
        }
        if (marker == MARKER_SOS || marker == MARKER_EOI)
            break;
        length = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (length < 2 || length > n - at - 2)
            break;
        take_segment(marker, bytes + at + 4, length - 2, &facts);
        at += 2 + length;
    }
    return facts;
}
