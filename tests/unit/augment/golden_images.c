#include "tests/unit/augment/golden_images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/image_type.h"
#include "tests/unit/augment/golden_file.h"

static unsigned char *read_bytes(FILE *f, size_t n)
{
    unsigned char *bytes = malloc(n + 1);

    if (bytes && fread(bytes, 1, n, f) != n) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

static int read_image(FILE *f, size_t name_length, struct golden_image *g)
{
    if (name_length >= sizeof g->name || fread(g->name, 1, name_length, f) != name_length)
        return -1;
    g->n = (size_t)golden_number(f, 4);
    g->bytes = read_bytes(f, g->n);
    g->w = (uint32_t)golden_number(f, 2);
    g->h = (uint32_t)golden_number(f, 2);
    g->rgb = read_bytes(f, (size_t)3 * g->w * g->h);
    return g->bytes && g->rgb ? 0 : -1;
}

int golden_images_add(struct golden_images *golden, const char *file)
{
    const size_t before = golden->count;
    char path[512];
    int64_t name_length;
    int err = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", GOLDEN_DIR, file);
    f = fopen(path, "rb");
    if (!f)
        return -1;
    while (err == 0 && (name_length = golden_number(f, 2)) > 0)
        err = golden->count < GOLDEN_IMAGES_MAX
                  ? read_image(f, (size_t)name_length, &golden->images[golden->count++])
                  : -1;
    fclose(f);
    return err < 0 ? err : (int)(golden->count - before);
}

void golden_images_free(struct golden_images *golden)
{
    for (size_t i = 0; i < golden->count; i++) {
        free(golden->images[i].bytes);
        free(golden->images[i].rgb);
    }
    *golden = (struct golden_images){.count = 0};
}

int golden_image_is_left_out(const struct golden_image *image)
{
    return (strncmp(image->name, "jp2-", 4) == 0 && !IM_HAS_JPEG2000) ||
           (strncmp(image->name, "avif-", 5) == 0 && !IM_HAS_AVIF);
}
