/* imsuper-trainer answers: what the network says of samples that come from standard input (ipc/serving.h). The network
 * is opened, and its outputs are judged, as in the run of an evaluation. Batches are rounded up to a power of two, so
 * that a handful of graphs serves all; they are made before this process is ready. */
#include "trainer/tools/answers.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/config/command.h"
#include "ipc/serving.h"
#include "trainer/backends/cuda/plan_cache.h"
#include "trainer/checkpoint/import.h"
#include "trainer/network_config.h"
#include "trainer/outcomes.h"

struct answers {
    struct im_conf conf;
    struct tr_network *net;
    struct tr_outcomes outcomes;
    unsigned char *pixels; /* [IM_SERVING_BATCH_MAX][size][size][3] */
    char plan_cache[PATH_MAX];
    uint32_t size;
};

static int open_network(struct answers *a, struct im_text *text)
{
    struct tr_network_config config;
    struct im_text note = {""};
    size_t loaded;
    int err = tr_network_configure(&a->conf, (int)a->conf.outputs, &config, text);

    if (err < 0)
        return err;
    if (im_conf_gpu(&a->conf, 0) >= 0)
        config.device.index = im_conf_gpu(&a->conf, 0);
    if (tr_plan_cache_path(a->plan_cache, sizeof a->plan_cache) == 0)
        config.device.cache = a->plan_cache;
    err = tr_network_new(&config, &a->net, text);
    if (err == 0)
        err = tr_import(a->conf.init_from, a->net, false, &loaded, &note, text);
    for (int n = (int)a->conf.batch_size; n >= 1 && err == 0; n /= 2)
        err = tr_network_prepare(a->net, n, (int)a->size, false, text);
    return err;
}

static int open_answers(struct answers *a, struct im_text *text)
{
    struct im_serving_ready ready;
    size_t bytes;
    int err = im_serving_options(&a->conf, text);

    if (err < 0)
        return err;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    a->size = (uint32_t)im_conf_eval_image_size(&a->conf);
    bytes = (size_t)IM_SERVING_BATCH_MAX * a->size * a->size * 3;
    a->pixels = calloc(bytes, 1);
    err = a->pixels ? open_network(a, text) : -ENOMEM;
    if (err == 0)
        err =
            tr_outcomes_alloc(&a->outcomes, &a->conf, (uint32_t)a->conf.outputs, IM_SERVING_BATCH_MAX, bytes);
    if (err < 0)
        return err;
    ready = (struct im_serving_ready){
        .size = a->size, .classes = (uint32_t)a->conf.outputs, .tops = a->outcomes.tops};
    return im_write_all(STDOUT_FILENO, &ready, sizeof ready);
}

static int evaluate(struct answers *a, uint32_t images, struct im_text *text)
{
    static const int32_t labels[IM_SERVING_BATCH_MAX];
    unsigned char valid[IM_SERVING_BATCH_MAX] = {0};
    struct tr_batch batch = {
        .pixels = a->pixels, .labels = labels, .valid = valid, .n = 1, .size = (int)a->size};
    struct tr_outcomes *o = &a->outcomes;
    struct tr_tally tally;
    int err;

    memset(valid, 1, images);
    while (batch.n < (int)images)
        batch.n *= 2;
    err = tr_outcomes_logits(o, a->net, &batch, &tally, text);
    for (uint32_t i = 0; i < images && err == 0; i++) {
        memset(o->record, 0, im_outcome_bytes(o->tops));
        o->record->sample_plus_1 = i + 1;
        o->record->label = -1;
        if (o->is_multi)
            tr_outcome_judge_set(o->logits + (size_t)i * o->classes, o->classes, NULL, -1, o->tops,
                                 o->record);
        else
            tr_outcome_judge(o->logits + (size_t)i * o->classes, o->classes, -1, o->tops, o->shares,
                             o->record);
        err = im_write_all(STDOUT_FILENO, o->record, im_outcome_bytes(o->tops));
    }
    return err;
}

/* 1; 0: there are no more. */
static int answer(struct answers *a, struct im_text *text)
{
    struct im_serving_batch head;
    int err = im_serving_read(STDIN_FILENO, &head, sizeof head);

    if (err <= 0)
        return err;
    if (head.images < 1 || head.images > IM_SERVING_BATCH_MAX || head.size != a->size)
        return im_fail(text, -EBADMSG, "a batch of %u images of %u px was sent", head.images, head.size);
    err = im_serving_read(STDIN_FILENO, a->pixels, (size_t)head.images * a->size * a->size * 3);
    if (err > 0)
        err = evaluate(a, head.images, text);
    return err < 0 ? err : 1;
}

int tr_words_answers(int argc, char **argv)
{
    struct answers *a = calloc(1, sizeof *a);
    struct im_text text = {""};
    int err = a ? open_answers(a, &text) : -ENOMEM;

    (void)argc, (void)argv;
    if (err == 0)
        do
            err = answer(a, &text);
        while (err > 0);
    if (a) {
        tr_outcomes_close(&a->outcomes);
        tr_network_free(a->net);
        free(a->pixels);
    }
    free(a);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
