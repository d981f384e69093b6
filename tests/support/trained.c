/* See trained.h. */
#include "tests/support/trained.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "ipc/base/log.h"
#include "tests/support/dataset.h"
#include "trainer/checkpoint/checkpoint.h"

void trained_make_set(struct dataset *set)
{
    const struct rd_synth synth = {.class_count = TRAINED_CLASSES,
                                   .per_class = TRAINED_PER_CLASS,
                                   .val_per_class = TRAINED_VAL_PER_CLASS,
                                   .seed = 3,
                                   .size_min = 16,
                                   .size_max = 48,
                                   .quality = 90};
    struct im_text text = {""};

    im_log_level(IM_LOG_ERROR);
    if (dataset_make(set, &synth, &text) < 0)
        fail_msg("%s", text.s);
}

void trained_set_keys(struct im_conf *conf, const char *const keys[][2], size_t count)
{
    struct im_text text = {""};

    for (size_t i = 0; i < count; i++)
        if (im_conf_set(conf, keys[i][0], keys[i][1], &text) < 0)
            fail_msg("%s", text.s);
}

struct pipeline *trained_open(const struct im_conf *conf)
{
    struct im_text text = {""};
    struct pipeline *p = NULL;

    if (pipeline_open(&p, conf, &text) < 0)
        fail_msg("%s", text.s);
    return p;
}

static void assert_exactly_once(struct pipeline *p, uint64_t phases)
{
    const struct im_ledger *l = pipeline_run(p)->control->ledger;

    for (int s = 0; s < IM_SPLITS; s++) {
        assert_int_equal(atomic_load_explicit(&l[s].phases, memory_order_relaxed), phases);
        assert_int_equal(atomic_load_explicit(&l[s].phases_exact, memory_order_relaxed), phases);
    }
}

int trained_run(const struct im_conf *conf, uint64_t stop_at, pipeline_disturb *disturb, void *context,
                uint64_t phases)
{
    struct pipeline *p = trained_open(conf);
    struct im_text text = {""};
    int status = pipeline_train(p, stop_at, disturb, context, &text);

    if (status < 0)
        fail_msg("%s", text.s);
    if (phases)
        assert_exactly_once(p, phases);
    pipeline_close(&p);
    return status;
}

struct tr_safetensors *trained_state(const struct im_conf *conf)
{
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/checkpoints/last.state.safetensors", conf->run_dir);
    if (tr_checkpoint_open_file(path, &file, &text) < 0)
        fail_msg("%s", text.s);
    return file;
}
