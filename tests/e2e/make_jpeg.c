/* Progressive JPEG files that cost much and weigh little: `make_jpeg SIDE FACTOR SCANS >FILE` writes one of
 * SIDE x SIDE grey-blue pixels, its chroma sampled at 1/FACTOR (1 or 2) each way, with SCANS more scans without
 * codes behind those of the encoder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

static unsigned char *compress(unsigned side, int factor, unsigned long *ret_n)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL, *row = malloc(3 * (size_t)side);

    if (!row)
        abort();
    memset(row, 120, 3 * (size_t)side);
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, ret_n);
    c.image_width = c.image_height = side;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    c.comp_info[0].h_samp_factor = c.comp_info[0].v_samp_factor = factor;
    jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < side)
        jpeg_write_scanlines(&c, &row, 1);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    free(row);
    return bytes;
}

/* Where the last scan begins: its marker. */
static size_t last_scan(const unsigned char *bytes, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i + 1 < n; i++)
        if (bytes[i] == 0xff && bytes[i + 1] == 0xda)
            at = i;
    return at;
}

/* Ends the program where the text is no number. */
static unsigned number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (end == text || *end || value > 65535) {
        fprintf(stderr, "make_jpeg: '%s' is no number up to 65535\n", text);
        exit(2);
    }
    return (unsigned)value;
}

int main(int argc, char **argv)
{
    unsigned long n = 0;
    unsigned char *bytes;
    size_t scan;

    if (argc != 4) {
        fprintf(stderr, "usage: make_jpeg SIDE FACTOR SCANS >FILE\n");
        return 2;
    }
    bytes = compress(number(argv[1]), (int)number(argv[2]), &n);
    scan = last_scan(bytes, n);
    fwrite(bytes, 1, n - 2, stdout);
    for (int i = 0; i < (int)number(argv[3]); i++)
        fwrite(bytes + scan, 1, 2 + (size_t)(bytes[scan + 2] << 8 | bytes[scan + 3]), stdout);
    fwrite(bytes + n - 2, 1, 2, stdout);
    free(bytes);
    return fflush(stdout) == 0 ? 0 : 1;
}
