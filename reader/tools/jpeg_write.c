/* Encodes with libjpeg(-turbo) into memory. libjpeg reports errors by a call that must not return; ours jumps
 * back here, and what must outlive the jump lies in one struct that the frame does not change afterwards. */
#include "reader/tools/jpeg_write.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

struct encoder {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    unsigned char *bytes; /* of jpeg_mem_dest */
    unsigned long size;
    char message[JMSG_LENGTH_MAX];
};

static _Noreturn void jpeg_write_error(j_common_ptr common)
{
    struct encoder *encoder = common->client_data;

    common->err->format_message(common, encoder->message);
    longjmp(encoder->failed, 1);
}

static void say_nothing(j_common_ptr common, int level)
{
    (void)common;
    (void)level;
}

static void encode(struct encoder *encoder, const uint8_t *rgb, uint32_t width, uint32_t height, int quality)
{
    struct jpeg_compress_struct *jpeg = &encoder->jpeg;

    jpeg_create_compress(jpeg);
    jpeg_mem_dest(jpeg, &encoder->bytes, &encoder->size);
    jpeg->image_width = width;
    jpeg->image_height = height;
    jpeg->input_components = 3;
    jpeg->in_color_space = JCS_RGB;
    jpeg_set_defaults(jpeg);
    jpeg_set_quality(jpeg, quality, TRUE);
    jpeg_start_compress(jpeg, TRUE);
    while (jpeg->next_scanline < height) {
        JSAMPROW row =
            (JSAMPROW)(uintptr_t)(rgb + (size_t)jpeg->next_scanline * width * 3); /* libjpeg only reads it */

        jpeg_write_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_compress(jpeg);
}

static int compress_rows(struct encoder *encoder, const uint8_t *rgb, uint32_t width, uint32_t height,
                         int quality)
{
    if (setjmp(encoder->failed) != 0)
        return -EINVAL;
    encode(encoder, rgb, width, height, quality);
    return 0;
}

int rd_jpeg_encode(const uint8_t *rgb, uint32_t width, uint32_t height, int quality, uint8_t **ret_bytes,
                   size_t *ret_size, struct im_text *text)
{
    struct encoder *encoder = calloc(1, sizeof *encoder);
    int err = 0;

    if (!encoder)
        return -ENOMEM;
    encoder->jpeg.err = jpeg_std_error(&encoder->errors);
    encoder->jpeg.client_data = encoder;
    encoder->errors.error_exit = jpeg_write_error;
    encoder->errors.emit_message = say_nothing;
    if (compress_rows(encoder, rgb, width, height, quality) < 0)
        err =
            im_fail(text, -EINVAL, "cannot encode an image of %u x %u: %s", width, height, encoder->message);
    jpeg_destroy_compress(&encoder->jpeg);
    if (err == 0) {
        *ret_bytes = encoder->bytes;
        *ret_size = encoder->size;
    } else {
        free(encoder->bytes);
    }
    free(encoder);
    return err;
}
