#include "supervisor/cli/batch.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/json.h"
#include "ipc/config/command_line.h"
#include "supervisor/cli/program.h"

#define FIND_TIMEOUT_MS 120000
#define ANSWER_MAX 4096

/* What memory depends on. */
static const enum im_conf_key_id asked[] = {
    IM_KEY_model,      IM_KEY_stem, IM_KEY_head,         IM_KEY_blurpool,      IM_KEY_drop_path_rate,
    IM_KEY_image_size, IM_KEY_amp,  IM_KEY_backend,      IM_KEY_deterministic, IM_KEY_tf32,
    IM_KEY_ranks,      IM_KEY_opt,  IM_KEY_ema,          IM_KEY_muon_rest,     IM_KEY_accumulate,
    IM_KEY_sync_bn,    IM_KEY_loss, IM_KEY_wgrad_stream,
};

/* The run's GPU with the least memory; they need not be alike. */
static int smallest_gpu(const struct im_conf *conf, const struct sv_gpus *found)
{
    struct im_conf_gpus g = {0};
    int smallest = 0;

    im_conf_parse_gpus(conf->gpus, &g);
    for (int i = 0; i < g.count; i++)
        if (i == 0 || found->gpu[g.devices[i]].memory_bytes < found->gpu[smallest].memory_bytes)
            smallest = g.devices[i];
    return smallest;
}

static int ask(const struct im_conf *conf, int gpu, uint32_t classes, int64_t *ret_batch,
               struct im_text *text)
{
    char path[PATH_MAX], answer[ANSWER_MAX] = "", value[24];
    struct im_command_line line;
    struct im_json *j = NULL;
    int status = -ENOMEM;

    sv_program_find("imsuper-trainer", path, sizeof path);
    im_command_line_begin(&line, path);
    im_command_line_word(&line, "largest");
    for (size_t i = 0; i < IM_COUNT(asked); i++)
        im_command_line_flag(&line, conf, asked[i]);
    snprintf(value, sizeof value, "%d,", gpu);
    im_command_line_value(&line, IM_KEY_gpus, value);
    snprintf(value, sizeof value, "%u", classes);
    im_command_line_value(&line, IM_KEY_classes, value);
    if (line.words)
        status = sv_program_read(line.words, FIND_TIMEOUT_MS, answer, sizeof answer);
    im_command_line_free(&line);
    if (status == -EINTR)
        return status;
    if (im_json_parse(answer, strlen(answer), &j, NULL) < 0 ||
        strcmp(im_json_str_or(j, "schema", ""), "imsuper.largest/1") != 0) {
        im_json_free(&j);
        return im_fail(text, -ENODEV,
                       "--batch-size auto: imsuper-trainer, which asks GPU %d, failed (%d); give a number",
                       gpu, status);
    }
    *ret_batch = im_json_int_or(j, "batch", -1);
    if (*ret_batch < 0)
        im_fail(text, -ENODEV, "--batch-size auto: %.800s", im_json_str_or(j, "why", ""));
    im_json_free(&j);
    return *ret_batch < 0 ? -ENODEV : 0;
}

/* As tensor cores and people like it. */
static int64_t rounded(int64_t batch, int64_t *ret_unit)
{
    *ret_unit = batch >= 64 ? 32 : batch >= 8 ? 8 : 1;
    return batch / *ret_unit * *ret_unit;
}

int sv_batch_choose(struct im_conf *conf, const struct sv_gpus *found, uint64_t images, uint32_t classes,
                    struct im_text *ret_why, struct im_text *text)
{
    const int64_t others = conf->ranks * conf->accumulate;
    const int64_t most = (int64_t)images / others > 0 ? (int64_t)images / others : 1;
    int64_t fits, unit;
    int gpu, err;

    ret_why->s[0] = 0;
    if (conf->batch_size > 0)
        return 0;
    if (!sv_gpus_are_used(conf))
        return im_fail(
            text, -EINVAL,
            "--batch-size auto is for GPUs: a larger batch is no faster on a CPU; give a number, such as "
            "--batch-size 64");
    if (*conf->resize_schedule)
        return im_fail(
            text, -EINVAL,
            "--batch-size auto and --resize-schedule: a batch for each size cannot be found out; give a "
            "number");
    gpu = smallest_gpu(conf, found);
    err = ask(conf, gpu, classes, &fits, text);
    if (err < 0)
        return err;
    if (fits == 0)
        return im_fail(text, -ENODEV, "--batch-size auto: not even one image fits GPU %d (%s)", gpu,
                       found->gpu[gpu].name);
    conf->batch_size = rounded(fits < most ? fits : most, &unit);
    im_fail(ret_why, 0, "%" PRId64 ": %" PRId64 " fit GPU %d (%s)%s; auto, in multiples of %" PRId64,
            conf->batch_size, fits, gpu, found->gpu[gpu].name,
            fits > most ? ", more than the images of an epoch" : "", unit);
    return 0;
}
