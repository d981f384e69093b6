/* imsuper data preview: one image under 16 draws (16 epochs of a run), and up to 64 images in one epoch, in
 * one picture. Samples are rendered as in a run with the same seed: what the picture shows is what training
 * would see.
 *
 * With --diff each tile is two: the same crop without transforms, and with them. Small samples are shown
 * enlarged by a whole number. */
#include "augment/tools/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "ipc/base/verdict.h"
#include "ipc/child.h"

enum { DRAWS = 16, COLUMNS = 8, IMAGES_MAX = 64, GAP = 6, TILE_MIN = 160, PAPER = 250, NOTE_BYTES = 160 };

struct grid {
    struct au_session *session;
    struct au_picture picture;
    unsigned char *sample; /* size * size */
    uint32_t size, zoom;   /* of a sample; of its pixels in the picture */
    uint32_t tile_w, tile_h, columns;
    uint32_t y; /* where the next row goes */
};

/* Renders one sample into grid->sample. 0 or an errno or verdict with a sentence. */
static int render(struct grid *g, const struct au_file *file, uint32_t epoch, bool plain,
                  struct im_text *text)
{
    struct au_session *s = g->session;
    struct au_job job = au_run_job(&s->options, true, s->conf.seed, epoch, file->id, g->size);
    int result;

    if (plain)
        job.transforms = NULL;
    result = au_render(s->renderer, &job, file->bytes, file->n, g->sample, text);
    if (result > 0)
        return im_fail(text, -EBADMSG, "%.600s: %s", file->path, im_verdict_sentence((unsigned)result));
    return result;
}

/* Shows grid->sample with its top left corner at (x, y). */
static void preview_put(struct grid *g, uint32_t x, uint32_t y)
{
    for (uint32_t row = 0; row < g->size * g->zoom; row++) {
        unsigned char *to = g->picture.rgb + 3 * ((size_t)(y + row) * g->picture.width + x);
        const unsigned char *from = g->sample + (size_t)3 * (row / g->zoom) * g->size;

        for (uint32_t i = 0; i < g->size * g->zoom; i++)
            memcpy(to + (size_t)3 * i, from + (size_t)3 * (i / g->zoom), 3);
    }
}

static int show_tile(struct grid *g, const struct au_file *file, uint32_t epoch, uint32_t place,
                     const char *title, struct im_text *text)
{
    uint32_t x = GAP + place % g->columns * (g->tile_w + GAP), side = g->size * g->zoom;
    uint32_t y = g->y + place / g->columns * (g->tile_h + GAP);
    char note[NOTE_BYTES];
    int err = 0;

    if (g->session->conf.diff) {
        err = render(g, file, epoch, true, text);
        if (err == 0)
            preview_put(g, x, y);
        x += side;
    }
    if (err == 0)
        err = render(g, file, epoch, false, text);
    if (err < 0)
        return err;
    preview_put(g, x, y);
    x -= g->session->conf.diff ? side : 0;
    au_draw_describe(au_renderer_draw(g->session->renderer), note, sizeof note);
    au_text_draw(&g->picture, x, y + side + 3, title, g->tile_w);
    au_text_draw(&g->picture, x, y + side + 3 + AU_LETTER_HEIGHT, note, g->tile_w);
    return 0;
}

static void heading(struct grid *g, const char *s)
{
    au_text_draw(&g->picture, GAP, g->y + 2, s, g->picture.width - 2 * GAP);
    g->y += AU_LETTER_HEIGHT + GAP;
}

static uint32_t rows_of(const struct grid *g, uint32_t tiles)
{
    return (tiles + g->columns - 1) / g->columns;
}

static int show_draws(struct grid *g, struct im_text *text)
{
    const struct im_conf *conf = &g->session->conf;
    const struct au_file *file = &g->session->files.files[0];
    char line[IM_CONF_TEXT_BYTES];
    int err = 0;

    snprintf(line, sizeof line, "%d epochs of image %" PRIu64 " (%.200s), --augment %s, seed %" PRIu64, DRAWS,
             file->id, file->class_name, im_conf_choice(IM_KEY_augment, conf->augment), conf->seed);
    heading(g, line);
    for (uint32_t i = 0; err == 0 && i < DRAWS; i++) {
        uint32_t epoch = (uint32_t)conf->epoch + i;

        snprintf(line, sizeof line, "epoch %u", (unsigned)epoch);
        err = show_tile(g, file, epoch, i, line, text);
    }
    g->y += rows_of(g, DRAWS) * (g->tile_h + GAP);
    return err;
}

static int show_images(struct grid *g, struct im_text *text)
{
    const struct au_files *files = &g->session->files;
    uint32_t epoch = (uint32_t)g->session->conf.epoch;
    char line[IM_CONF_TEXT_BYTES];
    int err = 0;

    snprintf(line, sizeof line, "%zu images in epoch %u", files->count, (unsigned)epoch);
    heading(g, line);
    for (uint32_t i = 0; err == 0 && i < files->count; i++) {
        snprintf(line, sizeof line, "%.200s #%" PRIu64, files->files[i].class_name, files->files[i].id);
        err = show_tile(g, &files->files[i], epoch, i, line, text);
    }
    return err;
}

/* Measures the picture and makes its paper. */
static int set_up(struct grid *g)
{
    const struct im_conf *conf = &g->session->conf;
    uint32_t side, rows;
    size_t bytes;

    g->size = (uint32_t)conf->image_size;
    g->zoom = g->size < TILE_MIN ? (TILE_MIN + g->size - 1) / g->size : 1;
    side = g->size * g->zoom;
    g->columns = conf->diff ? COLUMNS / 2 : COLUMNS;
    g->tile_w = conf->diff ? 2 * side : side;
    g->tile_h = side + 2 * AU_LETTER_HEIGHT + 4;
    rows = rows_of(g, DRAWS) + rows_of(g, (uint32_t)g->session->files.count);
    g->picture.width = GAP + g->columns * (g->tile_w + GAP);
    g->picture.height = GAP + 2 * (AU_LETTER_HEIGHT + GAP) + rows * (g->tile_h + GAP);
    g->y = GAP;
    bytes = (size_t)3 * g->picture.width * g->picture.height;
    g->picture.rgb = malloc(bytes);
    g->sample = malloc((size_t)3 * g->size * g->size);
    if (!g->picture.rgb || !g->sample)
        return -ENOMEM;
    memset(g->picture.rgb, PAPER, bytes);
    return 0;
}

static int make(struct au_session *s, FILE *to, const char *path, struct im_text *text)
{
    struct grid g = {.session = s};
    int err = set_up(&g);

    if (err == 0)
        err = au_session_confine(text);
    if (err == 0)
        err = show_draws(&g, text);
    if (err == 0)
        err = show_images(&g, text);
    if (err == 0)
        err = au_png_write(to, path, g.picture.rgb, g.picture.width, g.picture.height, text);
    free(g.picture.rgb);
    free(g.sample);
    return err;
}

static int print_json(const struct au_session *s, const char *path)
{
    struct im_json *j = im_json_object();
    int err;

    im_json_set_str(j, "schema", "imsuper.preview/1");
    im_json_set_str(j, "file", path);
    im_json_set_int(j, "images", (int64_t)s->files.count);
    im_json_set_int(j, "epoch", s->conf.epoch);
    im_json_set_int(j, "epochs", DRAWS);
    im_json_set_int(j, "image_size", s->conf.image_size);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int au_cmd_preview(struct im_conf *conf)
{
    struct im_text text = {""};
    struct au_session s;
    const char *path = conf->output[0] ? conf->output : "preview.png";
    FILE *to = NULL;
    int err = im_output_check(path, &text);

    if (err < 0)
        return im_command_fail(err, &text);
    err = au_session_open(&s, conf);
    if (err)
        return err;
    if (conf->images > IMAGES_MAX)
        err = im_fail(&text, -EINVAL, "--images %" PRId64 ": a preview shows %d at most", conf->images,
                      IMAGES_MAX);
    if (err == 0)
        to = fopen(path, "wbe");
    if (err == 0 && !to)
        err = im_fail(&text, -errno, "cannot write %.700s: %s", path, strerror(errno));
    if (err == 0)
        err = make(&s, to, path, &text);
    if (to)
        fclose(to);
    if (err == 0 && conf->json)
        err = print_json(&s, path);
    else if (err == 0 && !conf->quiet)
        im_say(stdout, "%s", path);
    au_session_close(&s);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
