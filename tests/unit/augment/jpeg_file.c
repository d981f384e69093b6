/* Writes and reads JPEG in the most ordinary way that libjpeg offers, to hold the decoder against. */
#include "tests/unit/augment/jpeg_file.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

struct errors {
    struct jpeg_error_mgr base;
    jmp_buf escape;
};

/* A picture with edges, slopes and noise in every component. */
static unsigned char picture(uint32_t x, uint32_t y, uint32_t c)
{
    uint32_t noise = (x * 2654435761u) ^ (y * 2246822519u) ^ (c * 3266489917u);
    uint32_t slope = x * (2 + c) + y * (5 - c), edge = ((x / 11 + y / 7 + c) & 1) * 90;

    return (unsigned char)((slope + edge + (noise >> 27)) & 255);
}

static J_COLOR_SPACE file_space(enum jpeg_colour colour)
{
    static const J_COLOR_SPACE spaces[] = {JCS_GRAYSCALE, JCS_YCbCr, JCS_RGB,
                                           JCS_CMYK,      JCS_YCCK,  JCS_UNKNOWN};

    return spaces[colour];
}

static J_COLOR_SPACE input_space(enum jpeg_colour colour)
{
    static const J_COLOR_SPACE spaces[] = {JCS_GRAYSCALE, JCS_RGB, JCS_RGB, JCS_CMYK, JCS_CMYK, JCS_UNKNOWN};

    return spaces[colour];
}

static void write_rows(struct jpeg_compress_struct *c)
{
    unsigned components = (unsigned)c->input_components;
    unsigned char *row = malloc((size_t)c->image_width * components);

    while (row && c->next_scanline < c->image_height) {
        for (uint32_t x = 0; x < c->image_width; x++)
            for (uint32_t k = 0; k < components; k++)
                row[x * components + k] = picture(x, c->next_scanline, k);
        jpeg_write_scanlines(c, &row, 1);
    }
    free(row);
}

unsigned char *jpeg_make(const struct jpeg_spec *spec, size_t *ret_n)
{
    static const int components[] = {1, 3, 3, 4, 4, 2};
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    jpeg_scan_info scans[4];
    unsigned char *bytes = NULL;
    unsigned long n = 0;

    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &n);
    c.image_width = spec->w;
    c.image_height = spec->h;
    c.in_color_space = input_space(spec->colour);
    c.input_components = components[spec->colour];
    jpeg_set_defaults(&c);
    jpeg_set_colorspace(&c, file_space(spec->colour));
    jpeg_set_quality(&c, spec->quality, TRUE);
    for (int k = 0; k < c.num_components; k++) {
        c.comp_info[k].h_samp_factor = k == 0 ? spec->h_sampling : 1;
        c.comp_info[k].v_samp_factor = k == 0 ? spec->v_sampling : 1;
    }
    c.restart_interval = spec->restart_interval;
    c.arith_code = spec->arithmetic;
    if (spec->progressive) {
        jpeg_simple_progression(&c);
    } else if (spec->separate_scans) {
        for (int k = 0; k < c.num_components; k++)
            scans[k] = (jpeg_scan_info){.comps_in_scan = 1, .component_index = {k}, .Se = 63};
        c.scan_info = scans;
        c.num_scans = c.num_components;
    }
    jpeg_start_compress(&c, TRUE);
    write_rows(&c);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    *ret_n = n;
    return bytes;
}

static void on_error(j_common_ptr cinfo)
{
    struct errors *errors = (struct errors *)(void *)cinfo->err;

    longjmp(errors->escape, 1);
}

static void on_message(j_common_ptr cinfo, int level)
{
    (void)cinfo;
    (void)level;
}

static unsigned char *read_all(struct jpeg_decompress_struct *d, const void *bytes, size_t n)
{
    unsigned char *pixels;
    size_t row_bytes;

    jpeg_mem_src(d, bytes, n);
    jpeg_read_header(d, TRUE);
    d->out_color_space = d->num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(d);
    row_bytes = (size_t)d->output_width * (size_t)d->output_components;
    pixels = malloc(row_bytes * d->output_height);
    while (pixels && d->output_scanline < d->output_height) {
        JSAMPROW row = pixels + d->output_scanline * row_bytes;

        jpeg_read_scanlines(d, &row, 1);
    }
    return pixels;
}

unsigned char *jpeg_decode_whole(const void *bytes, size_t n, uint32_t *ret_w, uint32_t *ret_h,
                                 int *ret_components)
{
    struct jpeg_decompress_struct d;
    struct errors errors;
    unsigned char *pixels;

    d.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = on_error;
    errors.base.emit_message = on_message;
    if (setjmp(errors.escape) != 0) {
        jpeg_destroy_decompress(&d);
        return NULL;
    }
    jpeg_create_decompress(&d);
    pixels = read_all(&d, bytes, n);
    *ret_w = d.output_width;
    *ret_h = d.output_height;
    *ret_components = d.output_components;
    jpeg_destroy_decompress(&d);
    return pixels;
}
