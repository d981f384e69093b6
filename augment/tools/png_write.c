/* PNG files through libpng's simplified interface, and the only writer of pictures here. */
#include "augment/tools/session.h"

#include <errno.h>
#include <string.h>

#include <png.h>

int au_png_write(FILE *to, const char *path, const unsigned char *rgb, uint32_t width, uint32_t height,
                 struct im_text *text)
{
    png_image image;

    memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
    image.width = width;
    image.height = height;
    image.format = PNG_FORMAT_RGB;
    errno = 0;
    if (png_image_write_to_stdio(&image, to, 0, rgb, 0, NULL) && fflush(to) == 0)
        return 0;
    return im_fail(text, errno ? -errno : -EIO, "cannot write %.700s: %s", path,
                   errno ? strerror(errno) : image.message);
}
