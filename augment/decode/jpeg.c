/* JPEG through libjpeg-turbo's jpeglib interface: decodes no more than the wanted box needs.
 *
 * Rows above the box are skipped (their Huffman codes must be read, their pixels need not be made), columns
 * left and right of it are cropped, and reading stops after its last row. The result must equal the same box
 * of a whole decode, bit for bit. Three things could break that, and are why the code looks as it does:
 *  - "fancy" upsampling looks at the neighbouring chroma sample, so an edge of a cropped decode is wrong: where
 *    that sample is in another iMCU, the crop has one spare iMCU on that side;
 *  - skipping to a row that begins no iMCU row has had bugs (libjpeg-turbo issues 194, 237, 915): rows are
 *    skipped up to the iMCU row of the box, the rest is decoded and dropped;
 *  - block smoothing of a progressive file that lacks scans looks two blocks around: such a file is decoded
 *    whole.
 *
 * A new decompress object is made for every image. Reusing one is hardly faster (its pools go back after each
 * image anyway) and would let a file without its own tables be decoded with those of the file before it: the
 * pixels of a sample would then depend on which process had seen what.
 *
 * The Huffman codes, which are most of the work, are read by huffman.c: libjpeg calls whatever its entropy
 * module's decode_mcu points to, and that is replaced once libjpeg has checked the scan and its tables. What
 * huffman.c does not do (progressive, arithmetic, unsound) is libjpeg's own as before. On a CPU with AVX2 the coefficient
 * controller's decompress_data is replaced, too (blocks.c): inverse DCTs of our own, whose samples go where libjpeg's would.
 * Upsampling and colours are libjpeg's. Nothing else of its inside is touched, and both modules' place and type are the same in all
 * of libjpeg 6b's line.
 *
 * Corrupt codes are passed over with libjpeg's substitutes, as Pillow does it; the end of the file before the
 * end of the wanted rows is the verdict "truncated", also as there. Markers other than JFIF's and Adobe's are
 * skipped unread. */
#include "augment/decode/format.h"

#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>
#include <jpegint.h>

#include "augment/decode/blocks.h"
#include "augment/decode/huffman.h"
#include "augment/decode/jpeg_header.h"
#include "ipc/base/msan.h"

/* Every scan goes over all blocks again, even if its codes are a few bytes. So an image of the largest size
 * may have this many (encoders make about 10), a smaller one more, up to au_limits.scans_max. */
#define SCANS_OF_LARGEST 16

/* Rows asked for in one call; libjpeg makes at most two at a time (four with unusual sampling). */
#define ROWS_AT_ONCE 4

struct au_jpeg {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    struct au_input *input;
    struct im_text *text;
    int result;        /* set before a jump to `escape` */
    bool created;      /* d is to be destroyed */
    bool exhausted;    /* the end of the bytes was met; since then the source gives an EOI marker */
    bool use_library;  /* for the Huffman codes, too */
    bool used_library; /* for those of this image */
    struct au_huffman *huffman;
    struct au_blocks blocks;
    struct au_seek seek;
    enum au_seek_mode seek_mode; /* of the image's first try */
    size_t seek_from, seek_to;   /* with an index: the part of the file that is there; to == 0: all */
    struct au_scan_shape shape;
    enum au_seek_result seek_result;       /* of the image */
    uint32_t unwanted_mcus;                /* what to skip before decoding into `scratch` */
    JBLOCK scratch[AU_HUFFMAN_BLOCKS_MAX]; /* for codes of which no pixels are made */
    JBLOCKROW scratch_rows[AU_HUFFMAN_BLOCKS_MAX];
    struct imk_box box;
    uint32_t scale; /* 1/scale is what is made; the box is in its pixels */
    uint32_t parsed_rows;
};

/* ---- the managers that libjpeg calls back; they leave through `escape`, never through exit() ---- */

static struct au_jpeg *self(j_common_ptr cinfo)
{
    return cinfo->client_data;
}

_Noreturn static void leave(struct au_jpeg *j, int result)
{
    j->result = result;
    longjmp(j->escape, 1);
}

static int verdict_of(const struct au_jpeg *j, int code)
{
    switch (code) {
    case JERR_OUT_OF_MEMORY:
        return -ENOMEM;
    case JERR_NO_BACKING_STORE:
        return IM_VERDICT_MEMORY_LIMIT;
    case JERR_IMAGE_TOO_BIG:
    case JERR_WIDTH_OVERFLOW:
        return IM_VERDICT_TOO_LARGE;
    case JERR_ARITH_NOTIMPL:
    case JERR_BAD_PRECISION:
    case JERR_COMPONENT_COUNT:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_SOF_UNSUPPORTED:
        return IM_VERDICT_UNSUPPORTED;
    default:
        return j->exhausted ? IM_VERDICT_TRUNCATED : IM_VERDICT_CORRUPT;
    }
}

_Noreturn static void on_error(j_common_ptr cinfo)
{
    struct au_jpeg *j = self(cinfo);
    char message[JMSG_LENGTH_MAX];
    int result = verdict_of(j, cinfo->err->msg_code);

    cinfo->err->format_message(cinfo, message);
    leave(j, im_fail(j->text, result, "JPEG: %s", message));
}

/* Warnings (level -1) are about corrupt data that libjpeg has a substitute for. One of them counts: coded
 * data were needed and the file had no more. */
static void on_message(j_common_ptr cinfo, int level)
{
    struct au_jpeg *j = self(cinfo);

    if (level == -1 && cinfo->err->msg_code == JWRN_HIT_MARKER && j->exhausted)
        leave(j, im_fail(j->text, IM_VERDICT_TRUNCATED, "JPEG: the file ends before row %u of %u",
                         j->d.output_scanline, j->d.image_height));
}

static void on_output(j_common_ptr cinfo)
{
    (void)cinfo;
}

static uint64_t scans_max(const struct au_jpeg *j)
{
    const struct au_limits *limits = &j->input->limits;
    uint64_t pixels = (uint64_t)j->d.image_width * j->d.image_height;
    uint64_t scans = SCANS_OF_LARGEST * limits->pixels_max / pixels;

    return scans < limits->scans_max ? scans : limits->scans_max;
}

static int too_many_scans(const struct au_jpeg *j, struct im_text *text)
{
    return im_fail(text, IM_VERDICT_TOO_MANY_SCANS, "JPEG: more than %u scans of %u x %u pixels",
                   (unsigned)scans_max(j), j->d.image_width, j->d.image_height);
}

/* What check_scans() has not seen, for libjpeg finds its way through damage in its own manner. */
static void on_progress(j_common_ptr cinfo)
{
    struct au_jpeg *j = self(cinfo);

    if ((uint64_t)j->d.input_scan_number > scans_max(j))
        leave(j, too_many_scans(j, j->text));
}

static void on_source(j_decompress_ptr d)
{
    (void)d;
}

/* All bytes are in memory, so being asked for more means that the file has ended. */
static boolean on_fill(j_decompress_ptr d)
{
    static const JOCTET end_of_image[2] = {0xff, JPEG_EOI};

    self((j_common_ptr)d)->exhausted = true;
    d->src->next_input_byte = end_of_image;
    d->src->bytes_in_buffer = sizeof end_of_image;
    return TRUE;
}

static void on_skip(j_decompress_ptr d, long n)
{
    if (n <= 0)
        return;
    if ((unsigned long)n > d->src->bytes_in_buffer) {
        on_fill(d);
    } else {
        d->src->next_input_byte += n;
        d->src->bytes_in_buffer -= (size_t)n;
    }
}

/* ---- our Huffman decoder in the place of libjpeg's ---- */

/* What a step returns when the image is to be done again with libjpeg's decoder. No verdict, no errno. */
#define AGAIN (-4096)

static boolean on_mcu(j_decompress_ptr d, JBLOCKROW *blocks)
{
    struct au_jpeg *j = self((j_common_ptr)d);

    if (!au_huffman_mcu(j->huffman, blocks))
        leave(j, AGAIN);
    return TRUE;
}

/* The same for codes alone: what libjpeg skips is decoded where pixels would be wanted. */
static boolean on_parsed_mcu(j_decompress_ptr d, JBLOCKROW *blocks)
{
    struct au_jpeg *j = self((j_common_ptr)d);

    (void)blocks;
    if (j->unwanted_mcus == 0)
        return on_mcu(d, j->scratch_rows);
    j->unwanted_mcus--;
    return on_mcu(d, NULL);
}

/* The same for the samples of a whole row of iMCUs. */
static int on_imcu_row(j_decompress_ptr d, JSAMPIMAGE out)
{
    struct au_jpeg *j = self((j_common_ptr)d);
    const struct au_blocks_row row = {d->master->first_iMCU_col, d->master->last_iMCU_col,
                                      d->input_iMCU_row == d->total_iMCU_rows - 1, out};

    if (!au_blocks_make(&j->blocks, j->huffman, &row))
        leave(j, AGAIN);
    d->output_iMCU_row++;
    if (++d->input_iMCU_row < d->total_iMCU_rows)
        return JPEG_ROW_COMPLETED;
    d->inputctl->finish_input_pass(d);
    return JPEG_SCAN_COMPLETED;
}

static void on_large_block(void *context, uint32_t component, int16_t block[64], JSAMPARRAY rows, uint32_t x)
{
    struct jpeg_decompress_struct *d = &((struct au_jpeg *)context)->d;

    d->idct->inverse_DCT[component](d, &d->comp_info[component], block, rows, x);
}

/* A scan of one component has as many MCU rows in an iMCU row as it has blocks there: left to libjpeg where that is not one. */
static bool use_blocks(struct au_jpeg *j)
{
    const struct jpeg_decompress_struct *d = &j->d;
    struct au_blocks_component components[MAX_COMPS_IN_SCAN];

    if (d->comps_in_scan == 1 && d->cur_comp_info[0]->v_samp_factor != 1)
        return false;
    for (int i = 0; i < d->comps_in_scan; i++) {
        const jpeg_component_info *c = d->cur_comp_info[i];

        if (c->DCT_scaled_size != DCTSIZE || !c->component_needed || !c->quant_table)
            return false;
        components[i] = (struct au_blocks_component){
            c->quant_table->quantval, (uint32_t)c->component_index, (uint32_t)c->MCU_width,
            (uint32_t)c->MCU_height,  (uint32_t)c->last_col_width,  (uint32_t)c->last_row_height};
    }
    return au_blocks_begin(&j->blocks, components, d->comps_in_scan, d->MCUs_per_row);
}

static void take_table(struct au_huffman *huffman, int class, int slot, const JHUFF_TBL *table)
{
    im_msan_written(table, sizeof *table);
    au_huffman_table(huffman, class, slot, table->bits, table->huffval);
}

/* A scan with restart markers has no index: each marker is a state that is known. */
static void use_seek(struct au_jpeg *j)
{
    const struct jpeg_decompress_struct *d = &j->d;

    if (j->seek_mode == AU_SEEK_OFF)
        return;
    if (j->seek_mode == AU_SEEK_RECORD) {
        if (d->restart_interval != 0 ||
            !au_seek_plan(&j->seek, d->MCUs_per_row, d->MCU_rows_in_scan, d->src->bytes_in_buffer))
            return;
        au_huffman_record(j->huffman, &j->seek);
        j->seek_result = AU_SEEK_BEGUN;
    } else if (d->restart_interval != 0 || j->seek.mcus_per_row != d->MCUs_per_row ||
               j->seek.mcu_rows != d->MCU_rows_in_scan || j->seek.count != au_seek_total(&j->seek)) {
        j->seek_result = AU_SEEK_WRONG;
    } else {
        au_huffman_seek(j->huffman, &j->seek);
        j->seek_result = AU_SEEK_USED;
    }
}

/* How many of the scan's n bytes are there, up to the last of them. */
static size_t bytes_there(const struct au_jpeg *j, size_t n)
{
    const size_t at = j->input->n - n;

    if (j->seek_to == 0)
        return n;
    return j->seek_to > at ? j->seek_to - at : 0;
}

/* Of one component with sampling factors, whose MCUs are blocks while rows are skipped by several of them, no box is
 * known: the sides are 0. */
static struct au_scan_shape shape_of(const struct au_jpeg *j)
{
    const struct jpeg_decompress_struct *d = &j->d;
    const uint32_t block = (uint32_t)d->min_DCT_scaled_size;
    const bool is_odd = d->comps_in_scan == 1 && (d->max_h_samp_factor > 1 || d->max_v_samp_factor > 1);

    return (struct au_scan_shape){
        .at = j->input->n - d->src->bytes_in_buffer,
        .mcu_width = is_odd ? 0 : block * (uint32_t)d->max_h_samp_factor,
        .mcu_height = is_odd ? 0 : block * (uint32_t)d->max_v_samp_factor,
        .looks_sideways = au_jpeg_looks_aside(d, false),
        .looks_up = au_jpeg_looks_aside(d, true),
    };
}

/* After jpeg_start_decompress(), which has checked the scan and its tables, and has read all scans if there are
 * several: nothing is left to count for each row. */
static void use_own_decoder(struct au_jpeg *j)
{
    struct jpeg_decompress_struct *d = &j->d;
    struct au_huffman_scan scan = {
        .bytes = d->src->next_input_byte,
        .n = bytes_there(j, d->src->bytes_in_buffer),
        .restart_interval = d->restart_interval,
        .mcus_per_row = d->MCUs_per_row,
        .order = au_huffman_natural_order,
        .blocks = (uint32_t)d->blocks_in_MCU,
    };

    d->progress = NULL;
    j->used_library = j->use_library || !au_jpeg_is_plain(d);
    if (j->used_library && j->seek_to > 0)
        leave(j, AGAIN);
    if (j->used_library)
        return;
    j->shape = shape_of(j);
    scan.first = j->seek_from > j->shape.at ? j->seek_from - j->shape.at : 0;
    for (int i = 0; i < d->blocks_in_MCU; i++) {
        int component = d->MCU_membership[i];

        scan.block[i].component = (uint8_t)component;
        scan.block[i].dc_slot = (uint8_t)d->cur_comp_info[component]->dc_tbl_no;
        scan.block[i].ac_slot = (uint8_t)d->cur_comp_info[component]->ac_tbl_no;
        scan.block[i].only_dc = d->cur_comp_info[component]->DCT_scaled_size == 1;
    }
    for (int i = 0; i < d->comps_in_scan; i++) {
        const jpeg_component_info *c = d->cur_comp_info[i];

        take_table(j->huffman, AU_HUFFMAN_DC, c->dc_tbl_no, d->dc_huff_tbl_ptrs[c->dc_tbl_no]);
        take_table(j->huffman, AU_HUFFMAN_AC, c->ac_tbl_no, d->ac_huff_tbl_ptrs[c->ac_tbl_no]);
    }
    if (use_blocks(j)) {
        scan.order = j->blocks.order;
        d->coef->decompress_data = on_imcu_row;
    }
    au_huffman_begin(j->huffman, &scan);
    use_seek(j);
    if (j->seek_to > 0 && j->seek_result != AU_SEEK_USED)
        leave(j, AGAIN);
    d->entropy->decode_mcu = on_mcu;
}

/* ---- steps, each run by guarded() ---- */

static int guarded(struct au_jpeg *j, int (*step)(struct au_jpeg *), struct im_text *text)
{
    j->text = text;
    if (setjmp(j->escape) == 0)
        return step(j);
    jpeg_abort_decompress(&j->d);
    return j->result;
}

static void set_up(struct au_jpeg *j)
{
    if (j->created)
        jpeg_destroy_decompress(&j->d);
    j->created = false;
    j->exhausted = false;

    /* jpeg_create_decompress clears everything in d but err and client_data. */
    j->d.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_message;
    j->errors.output_message = on_output;
    j->d.client_data = j;
    j->created = true;
    jpeg_create_decompress(&j->d);

    j->progress.progress_monitor = on_progress;
    j->d.progress = &j->progress;
    j->source = (struct jpeg_source_mgr){
        .next_input_byte = j->input->bytes,
        .bytes_in_buffer = j->input->n,
        .init_source = on_source,
        .fill_input_buffer = on_fill,
        .skip_input_data = on_skip,
        .resync_to_restart = jpeg_resync_to_restart,
        .term_source = on_source,
    };
    j->d.src = &j->source;
    j->d.mem->max_memory_to_use = (long)j->input->limits.memory_max;
}

static int read_header(struct au_jpeg *j)
{
    set_up(j);
    jpeg_read_header(&j->d, TRUE);
    return 0;
}

/* Grey becomes RGB in libjpeg; of four colours it makes CMYK, which is ours to convert. */
static int choose_colours(struct au_jpeg *j)
{
    switch (j->d.jpeg_color_space) {
    case JCS_GRAYSCALE:
    case JCS_RGB:
    case JCS_YCbCr:
        j->d.out_color_space = JCS_RGB;
        return 0;
    case JCS_CMYK:
    case JCS_YCCK:
        j->d.out_color_space = JCS_CMYK;
        return 0;
    default:
        return im_fail(j->text, IM_VERDICT_UNSUPPORTED, "JPEG: %d colour components", j->d.num_components);
    }
}

/* The MCUs of other columns need not be decoded. In a scan of one component an MCU is one block. */
static void keep_columns(struct au_jpeg *j, uint32_t left, uint32_t width)
{
    uint32_t block = (uint32_t)j->d.min_DCT_scaled_size;
    uint32_t mcu = j->d.comps_in_scan == 1 ? block : (uint32_t)j->d.max_h_samp_factor * block;

    au_huffman_keep(j->huffman, left / mcu, (left + width - 1) / mcu);
}

/* Crops to the iMCU columns of the box, and one more on a side where upsampling looks past the box's edge out
 * of its iMCU. Such a crop is never one iMCU wide: libjpeg takes a chroma row of a single sample for that of
 * a narrow image, which it upsamples in another way. Returns the first column that will come out. */
static uint32_t crop_columns(struct au_jpeg *j)
{
    const uint32_t imcu = (uint32_t)(j->d.max_h_samp_factor * j->d.min_DCT_scaled_size);
    const uint32_t width = j->d.output_width, end = j->box.x + j->box.w;
    uint32_t first = j->box.x / imcu, last = (end - 1) / imcu;

    if (au_jpeg_looks_aside(&j->d, false)) {
        bool is_narrow = first == last;

        first -= first > 0 && (is_narrow || j->box.x % imcu == 0);
        last += is_narrow || end % imcu == 0;
    }
    if (first > 0 || last + 1 < (width + imcu - 1) / imcu) {
        JDIMENSION left = first * imcu, wide = ((last + 1) * imcu < width ? (last + 1) * imcu : width) - left;

        jpeg_crop_scanline(&j->d, &left, &wide);
        keep_columns(j, left, wide);
        return left;
    }
    return 0;
}

static void skip_rows(struct au_jpeg *j)
{
    uint32_t imcu = (uint32_t)(j->d.max_v_samp_factor * j->d.min_DCT_scaled_size);
    uint32_t rows = j->box.y / imcu * imcu;

    if (rows > 0)
        jpeg_skip_scanlines(&j->d, rows);
}

/* Reads rows up to the end of the box. Those above it all go to the first place of the strip, which is
 * filled last. */
static void read_rgb_rows(struct au_jpeg *j, struct au_strip *strip)
{
    unsigned char *at = au_strip_at(strip, NULL);

    while (j->d.output_scanline < j->box.y)
        jpeg_read_scanlines(&j->d, &at, 1);
    while (j->d.output_scanline < j->box.y + j->box.h) {
        uint32_t room, n;
        JSAMPROW rows[ROWS_AT_ONCE];

        at = au_strip_at(strip, &room);
        for (n = 0; n < ROWS_AT_ONCE && n < room; n++)
            rows[n] = at + n * strip->stride;
        n = jpeg_read_scanlines(&j->d, rows, n);
        im_msan_written(at, n * strip->stride);
        au_strip_add(strip, n);
    }
}

static void read_cmyk_rows(struct au_jpeg *j, struct au_strip *strip, unsigned char *cmyk)
{
    struct imk_image_ops ops;

    imk_image_ops_init(&ops, imk_cpu_flags());
    while (j->d.output_scanline < j->box.y + j->box.h) {
        uint32_t scanline = j->d.output_scanline;

        jpeg_read_scanlines(&j->d, &cmyk, 1);
        im_msan_written(cmyk, (size_t)4 * j->d.output_width);
        if (scanline >= j->box.y) {
            ops.cmyk_to_rgb(au_strip_at(strip, NULL), cmyk, j->d.output_width);
            au_strip_add(strip, 1);
        }
    }
}

static int read_region(struct au_jpeg *j)
{
    struct jpeg_decompress_struct *d = &j->d;
    struct au_strip strip;
    uint32_t left = 0;
    int result = choose_colours(j);

    if (result)
        return result;
    d->dct_method = JDCT_ISLOW;
    d->do_fancy_upsampling = TRUE;
    d->scale_num = 1;
    d->scale_denom = j->scale;
    jpeg_start_decompress(d);

    /* With several scans all of the file has been read now, and what is missing at its end is missing in
     * every row; arithmetic decoding gives no warning when it runs dry. */
    if (j->exhausted && (jpeg_has_multiple_scans(d) || d->arith_code))
        return im_fail(j->text, IM_VERDICT_TRUNCATED, "JPEG: the file ends within its scans");
    use_own_decoder(j);
    if (!au_jpeg_is_smoothed(d)) {
        left = crop_columns(j);
        skip_rows(j);
    }

    result = au_strip_begin(&strip, j->input, (size_t)3 * d->output_width, (size_t)3 * (j->box.x - left),
                            j->box.h, j->text);
    if (result)
        return result;
    if (d->out_color_space == JCS_CMYK) {
        if (au_buffer_reserve(&j->input->row, (size_t)4 * d->output_width) < 0)
            return im_fail(j->text, -ENOMEM, "no memory for a row of pixels");
        read_cmyk_rows(j, &strip, j->input->row.data);
    } else {
        read_rgb_rows(j, &strip);
    }
    if (j->exhausted && d->arith_code)
        return im_fail(j->text, IM_VERDICT_TRUNCATED, "JPEG: the file ends before its last row");
    if (j->seek_result == AU_SEEK_USED && !au_huffman_agrees(j->huffman))
        return AGAIN;
    return 0;
}

static void parse_instead(struct au_jpeg *j)
{
    uint32_t mcu_rows = (uint32_t)(j->d.comps_in_scan == 1 ? 1 : j->d.max_v_samp_factor) * DCTSIZE;

    if (j->used_library)
        return;
    keep_columns(j, j->box.x, j->box.w);
    j->unwanted_mcus = j->box.y / mcu_rows * j->d.MCUs_per_row;
    for (int i = 0; i < AU_HUFFMAN_BLOCKS_MAX; i++)
        j->scratch_rows[i] = &j->scratch[i];
    j->d.entropy->decode_mcu = on_parsed_mcu;
}

/* Skips whole iMCU rows down to the end of the box, for which libjpeg-turbo decodes Huffman codes and nothing
 * else. To skip up to the last row would be done without decoding. */
static int parse_region(struct au_jpeg *j)
{
    uint32_t imcu = (uint32_t)j->d.max_v_samp_factor * DCTSIZE, rows = (j->box.y + j->box.h) / imcu * imcu;
    int result = choose_colours(j);

    if (result)
        return result;
    jpeg_start_decompress(&j->d);
    use_own_decoder(j);
    parse_instead(j);
    while (rows >= j->d.output_height)
        rows -= imcu;
    j->parsed_rows = rows;
    if (rows > 0)
        jpeg_skip_scanlines(&j->d, rows);
    return 0;
}

/* Codes alone, from the first to the last. Of several scans there is no index, and libjpeg would read them all. */
static int record_all(struct au_jpeg *j)
{
    int result;

    if (jpeg_has_multiple_scans(&j->d))
        return 0;
    result = choose_colours(j);
    if (result)
        return result;
    jpeg_start_decompress(&j->d);
    use_own_decoder(j);
    return 0;
}

/* Before the first of them is decoded: an image of too many costs one pass over its bytes. */
static int check_scans(const struct au_jpeg *j, struct im_text *text)
{
    const struct jpeg_source_mgr *src = j->d.src;

    if (!jpeg_has_multiple_scans((j_decompress_ptr)&j->d) || j->exhausted ||
        au_jpeg_count_scans(src->next_input_byte, src->bytes_in_buffer, scans_max(j)) <= scans_max(j))
        return 0;
    return too_many_scans(j, text);
}

/* ---- what decode.c calls ---- */

int au_jpeg_new(struct au_jpeg **ret)
{
    struct au_jpeg *jpeg = calloc(1, sizeof *jpeg);

    if (!jpeg)
        return -ENOMEM;
    if (au_huffman_new(&jpeg->huffman) < 0) {
        free(jpeg);
        return -ENOMEM;
    }
    au_blocks_init(&jpeg->blocks, imk_cpu_flags(), on_large_block, jpeg);
    *ret = jpeg;
    return 0;
}

void au_jpeg_free(struct au_jpeg **jpeg)
{
    if (*jpeg && (*jpeg)->created)
        jpeg_destroy_decompress(&(*jpeg)->d);
    if (*jpeg) {
        au_huffman_free(&(*jpeg)->huffman);
        au_seek_fini(&(*jpeg)->seek);
    }
    free(*jpeg);
    *jpeg = NULL;
}

void au_jpeg_use_library(struct au_jpeg *j, bool use_library)
{
    j->use_library = use_library;
}

void au_jpeg_use_cpu(struct au_jpeg *j, unsigned cpu_flags)
{
    au_huffman_use_cpu(j->huffman, cpu_flags);
    au_blocks_init(&j->blocks, cpu_flags, on_large_block, j);
}

struct au_seek *au_jpeg_seek(struct au_jpeg *j)
{
    return &j->seek;
}

struct au_scan_shape au_jpeg_scan(const struct au_jpeg *j)
{
    return j->shape;
}

void au_jpeg_seek_begin(struct au_jpeg *j, enum au_seek_mode mode, size_t from, size_t to)
{
    j->seek_mode = mode;
    j->seek_from = from;
    j->seek_to = to;
    j->seek_result = AU_SEEK_NONE;
}

enum au_seek_result au_jpeg_seek_result(const struct au_jpeg *j)
{
    return j->seek_result;
}

bool au_jpeg_seek_finish(struct au_jpeg *j)
{
    bool begun = j->seek_result == AU_SEEK_BEGUN;

    j->seek_result = AU_SEEK_NONE;
    return begun && au_huffman_rest(j->huffman);
}

bool au_jpeg_seek_make(struct au_jpeg *j)
{
    bool made;

    au_jpeg_seek_begin(j, AU_SEEK_RECORD, 0, 0);
    made = guarded(j, record_all, NULL) == 0 && au_jpeg_seek_finish(j);
    j->seek_mode = AU_SEEK_OFF;
    jpeg_abort_decompress(&j->d);
    return made;
}

bool au_jpeg_used_library(const struct au_jpeg *j)
{
    return j->used_library;
}

int au_jpeg_open(struct au_jpeg *j, struct au_input *input, struct au_image *ret, struct im_text *text)
{
    int result;

    j->input = input;
    result = guarded(j, read_header, text);
    if (result)
        return result;
    *ret = (struct au_image){IM_IMAGE_JPEG, j->d.image_width, j->d.image_height, au_jpeg_memory(&j->d)};
    result = au_input_check(input, ret, text);
    return result ? result : check_scans(j, text);
}

static int from_the_start(struct au_jpeg *j, int (*step)(struct au_jpeg *), struct im_text *text)
{
    int result = guarded(j, read_header, text);

    return result ? result : guarded(j, step, text);
}

/* A step over the codes: with our Huffman decoder and the index; if that meets something unusual from the
 * start without the index; and then from the start with libjpeg's decoder. */
static int decode(struct au_jpeg *j, int (*step)(struct au_jpeg *), struct im_text *text)
{
    int result = guarded(j, step, text);

    if (result == AGAIN && j->seek_to > 0) { /* the rest of the file is not here */
        j->seek_result = AU_SEEK_WRONG;
        result = im_fail(text, -ENODATA, "JPEG: the part of the file that is here does not do");
    }
    if (result == AGAIN && j->seek_result == AU_SEEK_USED) {
        j->seek_mode = AU_SEEK_OFF;
        j->seek_result = AU_SEEK_WRONG;
        result = from_the_start(j, step, text);
    }
    if (result == AGAIN) {
        bool use_library = j->use_library;

        j->use_library = true;
        result = from_the_start(j, step, text);
        j->use_library = use_library;
    }
    if (result != 0 || j->used_library)
        j->seek_result = j->seek_result == AU_SEEK_WRONG ? AU_SEEK_WRONG : AU_SEEK_NONE;
    j->seek_mode = AU_SEEK_OFF;
    j->seek_to = 0;
    jpeg_abort_decompress(&j->d);
    return result;
}

int au_jpeg_region(struct au_jpeg *j, uint32_t scale, const struct imk_box *box, struct im_text *text)
{
    j->box = *box;
    j->scale = scale;
    return decode(j, read_region, text);
}

int au_jpeg_parse(struct au_jpeg *j, const struct imk_box *box, uint32_t *ret_rows, struct im_text *text)
{
    int result;

    j->box = *box;
    result = decode(j, parse_region, text);
    if (result == 0)
        *ret_rows = j->parsed_rows;
    return result;
}
