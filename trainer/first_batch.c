/* The first images that a run trains on, for its pictures. A failure to write them is logged, and no reason to end. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/log.h"
#include "ipc/first_batch.h"
#include "trainer/impl.h"

static int write_images(const char *path, const struct tr_ring_batch *b, struct im_text *text)
{
    const uint32_t side = b->phase->image_size, n = im_first_batch_images(b->count, side);
    const struct im_first_batch head = {IM_FIRST_BATCH_MAGIC, n, side};
    const size_t pixels = (size_t)n * side * side * 3, bytes = sizeof head + n * sizeof(int32_t) + pixels;
    char *all = malloc(bytes), *to = all;
    int err;

    if (!all)
        return -ENOMEM;
    memcpy(to, &head, sizeof head);
    to += sizeof head;
    for (uint32_t i = 0; i < n; i++, to += sizeof(int32_t)) {
        const int32_t label = b->batch.valid[i] ? b->batch.labels[i] : -1;

        memcpy(to, &label, sizeof label);
    }
    memcpy(to, b->batch.pixels, pixels);
    err = im_file_replace_any(path, all, bytes, text);
    free(all);
    return err;
}

void tr_first_batch_keep(const struct tr_trainer *t, const struct tr_ring_batch *b)
{
    const struct im_conf *conf = t->child->conf;
    struct im_text text = {""};
    char path[PATH_MAX], drawn[PATH_MAX];

    if (b->g != 0 || b->phase->split != IM_TRAIN || !tr_trainer_leads(t) || !conf->tensorboard ||
        im_conf_is_probe(conf) ||
        snprintf(path, sizeof path, "%s/" IM_FIRST_BATCH_FILE, conf->run_dir) >= (int)sizeof path ||
        snprintf(drawn, sizeof drawn, "%s/" IM_FIRST_BATCH_PICTURE, conf->run_dir) >= (int)sizeof drawn ||
        access(path, F_OK) == 0 || access(drawn, F_OK) == 0)
        return;
    if (write_images(path, b, &text) < 0)
        im_log(IM_LOG_WARN, "no picture of the first batch", "why=%s",
               im_log_quote(&(struct im_quoted){0}, text.s));
}
