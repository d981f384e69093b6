/* Guarded images: an operation that writes outside its pixels is found out by test_image_intact, one that
 * reads there by the sanitizers, as nothing but IMK_SLACK bytes follows the last row. */
#include "tests/unit/kernels/ops_help.h"

#include <stdlib.h>
#include <string.h>

#define GUARD 0xa5
#define BEFORE 64

struct test_image test_image_new(uint32_t width, uint32_t height, size_t gap)
{
    struct test_image t = {.image = {.width = width, .height = height, .stride = (size_t)3 * width + gap}};

    t.bytes = BEFORE + t.image.stride * (height - 1) + (size_t)3 * width + IMK_SLACK;
    t.memory = malloc(t.bytes);
    if (!t.memory)
        abort();
    memset(t.memory, GUARD, t.bytes);
    t.image.pixels = t.memory + BEFORE;
    return t;
}

struct test_image test_image_copy(const struct test_image *from)
{
    struct test_image t = *from;

    t.memory = malloc(t.bytes);
    if (!t.memory)
        abort();
    memcpy(t.memory, from->memory, t.bytes);
    t.image.pixels = t.memory + BEFORE;
    return t;
}

void test_image_free(struct test_image *image)
{
    free(image->memory);
    image->memory = NULL;
}

static unsigned value(unsigned pattern, unsigned x, unsigned y, unsigned c)
{
    switch (pattern) {
    case 0:
        return x * x * 3 + y * y * 5 + x * y * 7 + c * 85 + (((x * 37) ^ (y * 91) ^ (c * 13)) & 63);
    case 1:
        return 40 + x * 2 + y + c * 17;
    case 2:
        return 37 + c * 80;
    case 3:
        return 0;
    case 4:
        return 255;
    case 5:
        return x * 7 + y * 3;
    case 6:
        return ((x * 5 + y * 3 + c) & 1) * 200 + 20;
    default:
        return (y * 4096 + x) >> (16 - 8 * c);
    }
}

void test_image_pattern(const struct test_image *image, unsigned pattern)
{
    for (uint32_t y = 0; y < image->image.height; y++)
        for (uint32_t x = 0; x < image->image.width; x++)
            for (unsigned c = 0; c < 3; c++)
                image->image.pixels[y * image->image.stride + (size_t)3 * x + c] =
                    (unsigned char)value(pattern, x, y, c);
}

static bool is_guard(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != GUARD)
            return false;
    return true;
}

bool test_image_intact(const struct test_image *image)
{
    const struct imk_image *p = &image->image;
    size_t row_bytes = (size_t)3 * p->width;

    if (!is_guard(image->memory, BEFORE))
        return false;
    for (uint32_t y = 0; y < p->height; y++) {
        const unsigned char *end = p->pixels + y * p->stride + row_bytes;

        if (!is_guard(end, y + 1 < p->height ? p->stride - row_bytes : IMK_SLACK))
            return false;
    }
    return true;
}

int test_image_difference(const struct test_image *a, const struct test_image *b)
{
    int largest = 0;

    for (uint32_t y = 0; y < a->image.height; y++) {
        const unsigned char *p = a->image.pixels + y * a->image.stride;
        const unsigned char *q = b->image.pixels + y * b->image.stride;

        for (size_t i = 0; i < (size_t)3 * a->image.width; i++) {
            int difference = abs(p[i] - q[i]);

            largest = difference > largest ? difference : largest;
        }
    }
    return largest;
}

uint32_t test_image_crc(const struct test_image *image)
{
    uint32_t table[256], crc = ~0u;

    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
    }
    for (uint32_t y = 0; y < image->image.height; y++)
        for (size_t i = 0; i < (size_t)3 * image->image.width; i++)
            crc = crc >> 8 ^ table[(crc ^ image->image.pixels[y * image->image.stride + i]) & 255];
    return ~crc;
}
