/* The types of image files, in one table: the reader takes files by the ending of their names, the augmenter
 * tells the type of what it decodes by the first bytes, whatever the name says. A new type is a row here and
 * a decoder in augment/decode/. */
#ifndef IPC_BASE_IMAGE_TYPE_H
#define IPC_BASE_IMAGE_TYPE_H

#include <stdbool.h>

/* CMakeLists.txt defines these where it has found the library. */
#ifdef IMSUPER_JPEG2000
#define IM_HAS_JPEG2000 true
#else
#define IM_HAS_JPEG2000 false
#endif
#ifdef IMSUPER_AVIF
#define IM_HAS_AVIF true
#else
#define IM_HAS_AVIF false
#endif

/* X(type, name, is decoded, what is missing otherwise, endings of file names, each with a space before it) */
#define IM_IMAGE_TYPES(X)                                                                                    \
    X(JPEG, "JPEG", true, "", " .jpg .jpeg .jpe .jfif")                                                      \
    X(PNG, "PNG", true, "", " .png .apng")                                                                   \
    X(WEBP, "WebP", true, "", " .webp")                                                                      \
    X(GIF, "GIF", true, "", " .gif")                                                                         \
    X(BMP, "BMP", true, "", " .bmp")                                                                         \
    X(TIFF, "TIFF", true, "", " .tif .tiff")                                                                 \
    X(PNM, "PNM", true, "", " .ppm .pgm .pbm .pnm")                                                          \
    X(JPEG2000, "JPEG 2000", IM_HAS_JPEG2000, "this program was built without OpenJPEG",                     \
      " .jp2 .j2k .j2c .jpc .jpf .jpx")                                                                      \
    X(AVIF, "AVIF", IM_HAS_AVIF, "this program was built without libavif", " .avif .avifs")                  \
    X(HEIF, "HEIF", false, "convert them, to JPEG for example", " .heic .heif .hif")                         \
    X(JPEGXL, "JPEG XL", false, "convert them, to JPEG for example", " .jxl")

#define IM_IMAGE_TYPE_ENUM(type, name, decoded, missing, endings) IM_IMAGE_##type,
enum im_image_type { IM_IMAGE_TYPES(IM_IMAGE_TYPE_ENUM) IM_IMAGE_TYPE_COUNT };
#undef IM_IMAGE_TYPE_ENUM

/* By the ending of a file's name, in upper or lower case; IM_IMAGE_TYPE_COUNT: not that of an image. */
enum im_image_type im_image_type_of_name(const char *file_name);

/* "JPEG 2000" */
const char *im_image_type_name(enum im_image_type type);

/* Whether this program decodes files of the type, and a sentence on what to do where it does not. */
bool im_image_type_is_decoded(enum im_image_type type);
const char *im_image_type_missing(enum im_image_type type);

/* The names of the types that are decoded (or are not): "JPEG, PNG, WebP". */
struct im_image_type_list {
    char s[160];
};
const char *im_image_types_list(struct im_image_type_list *list, bool decoded);

#endif
