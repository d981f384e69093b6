/* imsuper-augmenter pixels: the samples of training or validation, and the images they are made of, on stdout (ipc/pixels.h). */
#include "augment/tools/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/verdict.h"
#include "ipc/child.h"
#include "ipc/pixels.h"

struct sender {
    struct au_session *session;
    unsigned char *sample;
    bool is_training;
    uint32_t size;
};

static int send_all(const void *bytes, size_t n, struct im_text *text)
{
    int err = im_write_all(STDOUT_FILENO, bytes, n);

    return err < 0 ? im_fail(text, err, "cannot send pixels: %s", strerror(-err)) : 0;
}

/* The whole image, decoded. */
static int decode(struct sender *s, const struct au_file *file, struct au_image *image,
                  struct au_pixels *pixels, struct im_text *text)
{
    struct au_decoder *d = au_renderer_decoder(s->session->renderer);
    int result = au_decoder_open(d, file->bytes, file->n, image, text);

    if (result == 0)
        result = au_decoder_region(d, &(struct imk_box){.w = image->width, .h = image->height}, pixels, text);
    return result;
}

static int send_image(struct sender *s, const struct au_file *file, struct im_text *text)
{
    const struct im_conf *conf = &s->session->conf;
    const size_t path_bytes = strlen(file->path), sample_bytes = (size_t)3 * s->size * s->size;
    const struct au_job job = au_run_job(&s->session->options, s->is_training, conf->seed,
                                         (uint32_t)conf->epoch, file->id, s->size);
    struct im_pixels_record record = {.id = file->id, .path_bytes = (uint32_t)path_bytes, .size = s->size};
    struct au_image image = {.width = 0};
    struct au_pixels pixels = {NULL, 0};
    int result = au_render(s->session->renderer, &job, file->bytes, file->n, s->sample, text), err;

    if (result == 0 && conf->whole_images)
        result = decode(s, file, &image, &pixels, text);
    if (result < 0)
        return result;
    record.verdict = (uint32_t)result;
    if (result == 0) {
        record.width = image.width;
        record.height = image.height;
    }
    err = send_all(&record, sizeof record, text);
    if (err == 0)
        err = send_all(file->path, path_bytes, text);
    if (err == 0 && result == 0)
        err = send_all(s->sample, sample_bytes, text);
    for (uint32_t y = 0; y < record.height && err == 0; y++)
        err = send_all(pixels.data + y * pixels.stride, (size_t)3 * record.width, text);
    return err;
}

int au_cmd_pixels(struct im_conf *conf)
{
    struct im_text text = {""};
    struct au_session session;
    struct sender s = {.session = &session, .is_training = conf->split != IM_SPLIT_CHOICE_VAL};
    int err = au_session_open(&session, conf);

    if (err)
        return err;
    s.size = s.is_training ? (uint32_t)conf->image_size : (uint32_t)im_conf_eval_image_size(conf);
    s.sample = malloc((size_t)3 * s.size * s.size);
    err = s.sample ? au_session_confine(&text) : -ENOMEM;
    for (size_t i = 0; i < session.files.count && err == 0; i++)
        err = send_image(&s, &session.files.files[i], &text);
    free(s.sample);
    au_session_close(&session);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
