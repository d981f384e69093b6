/* imsuper-augmenter images: samples of files that come from standard input, for `imsuper predict --serve`
 * (ipc/serving.h). The files are a stranger's: nothing is looked at before the sandbox is closed, and whatever a file
 * does to this process costs the one that sent it its answer and nobody else. */
#include "augment/tools/session.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "augment/limits.h"
#include "ipc/base/file.h"
#include "ipc/serving.h"

struct images {
    struct im_conf conf;
    struct au_options options;
    struct au_renderer *renderer;
    unsigned char *sample;
    uint32_t size;
};

static int send_all(const void *bytes, size_t n, struct im_text *text)
{
    int err = im_write_all(STDOUT_FILENO, bytes, n);

    return err < 0 ? im_fail(text, err, "cannot send a sample") : 0;
}

static int open_images(struct images *s, struct im_text *text)
{
    const struct im_serving_ready *ready;
    int err = im_serving_options(&s->conf, text);

    if (err == 0)
        err = au_options_make(&s->conf, &s->options);
    if (err == 0)
        err = au_renderer_new(&s->renderer, &s->options.limits, imk_cpu_flags());
    if (err < 0)
        return err;
    s->size = (uint32_t)im_conf_eval_image_size(&s->conf);
    s->sample = malloc((size_t)3 * s->size * s->size);
    if (!s->sample)
        return im_fail(text, -ENOMEM, "no memory for a sample");
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* an image may keep this process from seeing the end of its input */
    au_limit_memory(&s->conf);
    err = au_session_confine(text);
    ready = &(struct im_serving_ready){.size = s->size};
    return err < 0 ? err : send_all(ready, sizeof *ready, text);
}

/* 1; 0: there are no more. */
static int answer(struct images *s, struct im_text *text)
{
    const struct au_job job = au_run_job(&s->options, false, s->conf.seed, 0, 0, s->size);
    struct im_serving_sample head = {.size = s->size};
    struct im_serving_image image;
    unsigned char *bytes;
    int result, err = im_serving_read(STDIN_FILENO, &image, sizeof image);

    if (err <= 0)
        return err;
    if (image.bytes > (uint64_t)s->conf.max_file_bytes)
        return im_fail(text, -EBADMSG, "a file of %llu bytes was sent", (unsigned long long)image.bytes);
    bytes = malloc(image.bytes + 1);
    if (!bytes)
        return im_fail(text, -ENOMEM, "no memory for a file");
    err = image.bytes > 0 ? im_serving_read(STDIN_FILENO, bytes, image.bytes) : 1;
    result = err > 0 ? au_render(s->renderer, &job, bytes, image.bytes, s->sample, text) : 0;
    free(bytes);
    if (err <= 0 || result < 0)
        return err < 0 ? err : result < 0 ? result : -EBADMSG;
    head.verdict = (uint32_t)result;
    err = send_all(&head, sizeof head, text);
    if (err == 0 && result == 0)
        err = send_all(s->sample, (size_t)3 * s->size * s->size, text);
    return err < 0 ? err : 1;
}

int au_words_images(int argc, char **argv)
{
    struct images *s = calloc(1, sizeof *s);
    struct im_text text = {""};
    int err = s ? open_images(s, &text) : -ENOMEM;

    (void)argc, (void)argv;
    if (err == 0)
        do
            err = answer(s, &text);
        while (err > 0);
    if (s) {
        free(s->sample);
        au_renderer_free(&s->renderer);
    }
    free(s);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
