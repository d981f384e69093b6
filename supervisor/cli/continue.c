#include "supervisor/cli/continue.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "supervisor/report/saved.h"

/* How the run shared a step: trainers x batches of a trainer. */
struct shape {
    int64_t batch_size, ranks, accumulate; /* that the order of its samples was made for */
    int64_t ranks_now, accumulate_now;     /* of its last start */
    int64_t drop_last;
};

static bool takes_file(const struct im_conf *conf)
{
    return conf->resume[0] && strcmp(conf->resume, "auto") != 0;
}

/* 1: the run, or the file of --resume, has a state that says it. */
static int read_shape(const struct im_conf *conf, struct shape *ret, struct im_text *text)
{
    struct sv_state_file saved;
    int err = 0;

    sv_saved_read(conf->run_dir, &saved);
    if (!saved.exists && takes_file(conf))
        err = sv_saved_open(conf->resume, &saved, text);
    if (err == 0 && saved.header) {
        *ret = (struct shape){.batch_size = sv_saved_int(&saved, "batch-size", 0),
                              .ranks = sv_saved_int(&saved, "ranks", 0),
                              .accumulate = sv_saved_int(&saved, "accumulate", 0),
                              .drop_last = sv_saved_int(&saved, "drop-last", conf->drop_last)};
        ret->ranks_now = sv_saved_int(&saved, "ranks.now", ret->ranks);
        err = ret->batch_size > 0 && ret->ranks > 0 && ret->accumulate > 0 && ret->ranks_now > 0;
    }
    sv_saved_close(&saved);
    if (err == 1)
        ret->accumulate_now = conf->elastic == IM_ELASTIC_DROP
                                  ? ret->accumulate
                                  : (ret->ranks * ret->accumulate + ret->ranks_now - 1) / ret->ranks_now;
    return err;
}

static int does_not_divide(const struct im_conf *conf, const struct shape *then, int64_t images,
                           struct im_text *text)
{
    int64_t each = images / im_conf_world(conf);

    if (images % im_conf_world(conf) != 0 || *conf->resize_schedule)
        return im_fail(text, -EINVAL,
                       "each step of this run has %" PRId64 " images (--batch-size %" PRId64
                       " x --ranks %" PRId64 " x --accumulate %" PRId64 "), which %" PRId64
                       " trainers with batches of %" PRId64
                       " cannot share evenly; use another --ranks or --gpus",
                       images, then->batch_size, then->ranks_now, then->accumulate_now, im_conf_world(conf),
                       conf->batch_size);
    while (each > conf->batch_size && images % (each / 2 * im_conf_world(conf)) == 0 && each % 2 == 0)
        each /= 2;
    return im_fail(text, -EINVAL,
                   "each step of this run has %" PRId64 " images (--batch-size %" PRId64 " x --ranks %" PRId64
                   " x --accumulate %" PRId64 "), which is no multiple of --batch-size %" PRId64
                   " x --ranks %" PRId64 "; use --batch-size %" PRId64,
                   images, then->batch_size, then->ranks_now, then->accumulate_now, conf->batch_size,
                   im_conf_world(conf), each);
}

/* The batches of a trainer per step: what was asked for, where somebody did. */
static int set_accumulate(struct im_conf *conf, const struct shape *then, int64_t accumulate,
                          struct im_text *text)
{
    const bool asked = conf->origin[IM_KEY_accumulate].source != IM_CONF_DEFAULT;

    /* The value of before, in a command that was repeated with other ranks, is no wish for other steps. */
    if (asked && conf->accumulate != accumulate && conf->accumulate != then->accumulate &&
        conf->accumulate != then->accumulate_now)
        return im_fail(text, -EINVAL,
                       "--accumulate %" PRId64 " gives steps of %" PRId64
                       " images, but this run's have %" PRId64 "; use --accumulate %" PRId64
                       ", or choose another --run-name",
                       conf->accumulate, conf->batch_size * im_conf_world(conf) * conf->accumulate,
                       conf->batch_size * im_conf_world(conf) * accumulate, accumulate);
    conf->accumulate = accumulate;
    return 0;
}

static void say_change(const struct im_conf *conf, const struct shape *then, struct im_text *note)
{
    const bool regrouped = conf->batch_size != then->batch_size || conf->sync_bn;
    const char *more = im_conf_step_batches(conf) % im_conf_world(conf) != 0 ? "up to " : "";

    if (*conf->resize_schedule) /* batches of several sizes */
        im_fail(note, 0,
                "ranks   %" PRId64 " x accumulate %s%" PRId64 ", before %" PRId64 " x %" PRId64
                ": the same images a step in the same order",
                im_conf_world(conf), more, conf->accumulate, then->ranks_now, then->accumulate_now);
    else
        im_fail(note, 0,
                "ranks   %" PRId64 " x batch %" PRId64 " x accumulate %s%" PRId64 ", before %" PRId64
                " x %" PRId64 " x %" PRId64 ": the same %" PRId64 " images a step in the same order%s",
                im_conf_world(conf), conf->batch_size, more, conf->accumulate, then->ranks_now,
                then->batch_size, then->accumulate_now, im_conf_step_images(conf),
                regrouped ? "; batch norm takes its statistics over other groups of them" : "");
}

/* Those of which a position depends: with another value its numbers would mean something else. The batch, ranks
 * and accumulation are sv_continue_shape()'s. */
static const enum im_conf_key_id fixed[] = {
    IM_KEY_model,       IM_KEY_stem,          IM_KEY_head,           IM_KEY_blurpool, IM_KEY_drop_path_rate,
    IM_KEY_seed,        IM_KEY_drop_last,     IM_KEY_validate_every, IM_KEY_opt,      IM_KEY_loss_scale,
    IM_KEY_ema,         IM_KEY_val_split,     IM_KEY_val_split_seed, IM_KEY_sampler,  IM_KEY_muon_rest,
    IM_KEY_multi_label, IM_KEY_virtual_ranks, IM_KEY_elastic,
};

/* Where a run lies and how it talks: no difference. */
static const enum im_conf_key_id silent[] = {
    IM_KEY_resume, IM_KEY_rebuild_index, IM_KEY_config,     IM_KEY_recipe,  IM_KEY_workspace, IM_KEY_run_name,
    IM_KEY_color,  IM_KEY_plain,         IM_KEY_quiet,      IM_KEY_json,    IM_KEY_log_level, IM_KEY_ranks,
    IM_KEY_gpus,   IM_KEY_batch_size,    IM_KEY_accumulate, IM_KEY_dry_run,
};

static bool has(const enum im_conf_key_id *list, size_t n, int key)
{
    for (size_t i = 0; i < n; i++)
        if ((int)list[i] == key)
            return true;
    return false;
}

/* The configuration that the run, or that of the file of --resume, was last started with. */
static bool find_config(const struct im_conf *conf, char path[PATH_MAX])
{
    struct sv_state_file saved;
    bool own;
    char *slash;

    sv_saved_read(conf->run_dir, &saved);
    own = saved.exists;
    sv_saved_close(&saved);
    if (own) {
        snprintf(path, PATH_MAX, "%s/config.yaml", conf->run_dir);
        return access(path, F_OK) == 0;
    }
    if (!takes_file(conf))
        return false;
    snprintf(path, PATH_MAX, "%s", conf->resume);
    for (int i = 0; i < 2; i++) { /* RUN/checkpoints/FILE */
        slash = strrchr(path, '/');
        if (!slash)
            return false;
        *slash = 0;
    }
    snprintf(path + strlen(path), PATH_MAX - strlen(path), "/config.yaml");
    return access(path, F_OK) == 0;
}

/* Gradients of GPUs are added in an order that NCCL chooses by their number. */
static int check_virtual_ranks(const struct im_conf *conf, struct im_text *text)
{
    const int64_t world = im_conf_world(conf);

    if (conf->virtual_ranks < world)
        return im_fail(text, -EINVAL,
                       "--virtual-ranks %" PRId64 " are fewer than the %" PRId64
                       " trainers of this run: use as many or more, or fewer trainers",
                       conf->virtual_ranks, world);
    if (conf->backend == IM_BACKEND_CUDA && world > 1)
        return im_fail(
            text, -EINVAL,
            "--virtual-ranks %" PRId64 " on %" PRId64
            " GPUs: NCCL adds gradients in an order of its own, which depends on their number; use "
            "one GPU, or CPUs (--gpus 0)",
            conf->virtual_ranks, world);
    return 0;
}

/* The same threads as before, where nobody says otherwise: bits depend on them. */
static void take_threads(struct im_conf *conf)
{
    char path[PATH_MAX];
    struct im_conf old;

    if (conf->trainer_threads > 0 || !find_config(conf, path))
        return;
    im_conf_defaults(&old);
    if (im_conf_load_yaml(&old, path, NULL) == 0)
        conf->trainer_threads = old.trainer_threads;
}

/* What may not be another for the bits to stay the same. The sentences of other options that may not change are
 * sv_continue_compare()'s. */
static int continue_virtual_ranks(struct im_conf *conf, const struct shape *then, struct im_text *text)
{
    if (conf->virtual_ranks == 0)
        return 0;
    take_threads(conf);
    if (conf->virtual_ranks != then->ranks) /* sv_continue_compare() refuses it */
        return 0;
    if (conf->batch_size != then->batch_size)
        return im_fail(text, -EINVAL,
                       "this run began with --batch-size %" PRId64
                       ", which with --virtual-ranks is that of a virtual rank, whatever the number of "
                       "trainers; pass the old value, or choose another --run-name",
                       then->batch_size);
    return 0;
}

/* With --elastic drop: each trainer keeps its batches, and a step has as many as there are trainers. */
static int continue_dropping(struct im_conf *conf, const struct shape *then, struct im_text *note,
                             struct im_text *text)
{
    struct im_text step;
    int err;

    if (conf->batch_size != then->batch_size)
        return im_fail(
            text, -EINVAL,
            "this run began with --batch-size %" PRId64
            ", which with --elastic drop each trainer keeps; pass the old value, or choose another "
            "--run-name",
            then->batch_size);
    err = set_accumulate(conf, then, then->accumulate, text);
    if (err < 0)
        return err;
    conf->order_ranks = then->ranks;
    conf->order_accumulate = then->accumulate;
    if (im_conf_world(conf) != then->ranks_now) {
        im_conf_say_step(conf, then->ranks_now, &step);
        im_fail(note, 0,
                "ranks   %" PRId64 " x accumulate %" PRId64 ", before %" PRId64
                ": the same order of images, %s",
                im_conf_world(conf), conf->accumulate, then->ranks_now, step.s);
    }
    return 0;
}

int sv_continue_shape(struct im_conf *conf, struct im_text *note, struct im_text *text)
{
    struct shape then = {0};
    int64_t batches, images, accumulate;
    int err = read_shape(conf, &then, text);

    note->s[0] = 0;
    if (err >= 0 && conf->virtual_ranks > 0 && check_virtual_ranks(conf, text) < 0)
        return -EINVAL;
    if (err >= 0 && conf->virtual_ranks > 0 && (err == 0 || im_conf_is_probe(conf))) {
        im_conf_use_virtual_ranks(conf);
        return 0;
    }
    if (err <= 0 || im_conf_is_probe(conf))
        return err;
    if (conf->origin[IM_KEY_drop_last].source == IM_CONF_DEFAULT) /* which was false before 0.3 */
        conf->drop_last = then.drop_last != 0;
    if (conf->batch_size == 0) /* auto: found out when the run began */
        conf->batch_size = then.batch_size;
    if (conf->elastic == IM_ELASTIC_DROP)
        return continue_dropping(conf, &then, note, text);
    err = continue_virtual_ranks(conf, &then, text);
    if (err < 0)
        return err;
    batches = then.ranks * then.accumulate;
    images = then.batch_size * batches;
    if (conf->batch_size == then.batch_size && batches >= im_conf_world(conf))
        accumulate = (batches + im_conf_world(conf) - 1) / im_conf_world(conf);
    else if (!*conf->resize_schedule && images % (conf->batch_size * im_conf_world(conf)) == 0)
        accumulate = images / (conf->batch_size * im_conf_world(conf));
    else
        return does_not_divide(conf, &then, images, text);
    err = set_accumulate(conf, &then, accumulate, text);
    if (err < 0)
        return err;
    if (conf->batch_size == then.batch_size &&
        (im_conf_world(conf) != then.ranks || batches % im_conf_world(conf) != 0 ||
         conf->virtual_ranks > 0)) {
        conf->order_ranks = then.ranks;
        conf->order_accumulate =
            batches % im_conf_world(conf) != 0 || conf->virtual_ranks > 0 ? then.accumulate : 0;
    }
    if (conf->batch_size != then.batch_size || im_conf_world(conf) != then.ranks_now)
        say_change(conf, &then, note);
    return 0;
}

bool sv_continue_precision(struct im_conf *conf)
{
    const bool is_open = conf->origin[IM_KEY_amp].source == IM_CONF_DEFAULT;
    char path[PATH_MAX];
    struct im_conf old;

    if (im_conf_is_probe(conf) || !find_config(conf, path))
        return false;
    im_conf_defaults(&old);
    if (im_conf_load_yaml(&old, path, NULL) < 0)
        return false; /* sv_continue_compare() says why */
    if (conf->origin[IM_KEY_tf32].source == IM_CONF_DEFAULT)
        conf->tf32 = old.tf32;
    if (is_open)
        conf->amp = old.amp;
    return is_open && old.amp != IM_AMP_AUTO;
}

/* Was the run last started with this file, or is the file its own state? */
static bool is_the_runs_file(const struct im_conf *conf)
{
    char path[PATH_MAX], own[PATH_MAX];
    struct im_text why = {""};
    struct im_conf old;

    snprintf(path, sizeof path, "%s/checkpoints/last.state.safetensors", conf->run_dir);
    if (realpath(path, own) && strcmp(own, conf->resume) == 0)
        return true;
    snprintf(path, sizeof path, "%s/config.yaml", conf->run_dir);
    im_conf_defaults(&old);
    return im_conf_load_yaml(&old, path, &why) == 0 && strcmp(old.resume, conf->resume) == 0;
}

int sv_continue_file(const struct im_conf *conf, struct im_text *text)
{
    struct sv_state_file saved;
    bool own;

    if (!takes_file(conf))
        return 0;
    sv_saved_read(conf->run_dir, &saved);
    own = saved.exists;
    sv_saved_close(&saved);
    if (!own || is_the_runs_file(conf))
        return 0;
    return im_fail(
        text, -EINVAL,
        "--resume %.300s: the run in %.300s has a state of its own; choose another --run-name to begin "
        "from this file, or --resume without a file to continue the run",
        conf->resume, conf->run_dir);
}

/* The configuration of before has the key; one of an older program may lack it, and then only a wish is a change. */
static bool counts(const struct im_conf *old, const struct im_conf *now, enum im_conf_key_id key)
{
    const int32_t source = now->origin[key].source;

    return old->origin[key].source == IM_CONF_FILE ||
           (im_conf_is_for(key, IM_FOR_START) && source != IM_CONF_DEFAULT && source != IM_CONF_CODE &&
            source != IM_CONF_FROZEN);
}

/* A folder has several names: data, ./data, the whole path, a link. */
static bool is_same_folder(const char *then, const char *now)
{
    char a[PATH_MAX], b[PATH_MAX];

    return realpath(then, a) && realpath(now, b) && strcmp(a, b) == 0;
}

enum sv_change sv_continue_change(const struct im_conf *old, const struct im_conf *now,
                                  enum im_conf_key_id key)
{
    char then[IM_CONF_TEXT_BYTES], value[IM_CONF_TEXT_BYTES];

    if (has(silent, IM_COUNT(silent), (int)key) || !counts(old, now, key))
        return SV_CHANGE_NONE;
    im_conf_value(old, key, then);
    im_conf_value(now, key, value);
    if (strcmp(then, value) == 0 || (key == IM_KEY_data_dir && is_same_folder(then, value)))
        return SV_CHANGE_NONE;
    if (key == IM_KEY_trainer_threads && now->virtual_ranks > 0)
        return SV_CHANGE_REFUSED;
    return has(fixed, IM_COUNT(fixed), (int)key) ? SV_CHANGE_REFUSED : SV_CHANGE_SAID;
}

int sv_continue_compare(const struct im_conf *conf, struct im_text *text)
{
    char path[PATH_MAX], then[IM_CONF_TEXT_BYTES], now[IM_CONF_TEXT_BYTES];
    char old_flag[IM_CONF_TEXT_BYTES + 64], new_flag[IM_CONF_TEXT_BYTES + 64];
    struct im_text why = {""};
    struct im_conf old;

    if (!find_config(conf, path))
        return 0;
    im_conf_defaults(&old);
    if (im_conf_load_yaml(&old, path, &why) < 0) {
        fprintf(stderr, "imsuper: the options of before are not compared: %s\n", why.s);
        return 0;
    }
    for (int key = 0; key < IM_KEY_COUNT; key++) {
        const enum sv_change change = sv_continue_change(&old, conf, (enum im_conf_key_id)key);

        im_conf_value(&old, (enum im_conf_key_id)key, then);
        im_conf_value(conf, (enum im_conf_key_id)key, now);
        if (change == SV_CHANGE_REFUSED)
            return im_fail(
                text, -EINVAL,
                "this run began with %.700s, not %.700s; pass the old value, or choose another --run-name",
                im_conf_flag(im_conf_name((enum im_conf_key_id)key), then, old_flag),
                im_conf_flag(im_conf_name((enum im_conf_key_id)key), now, new_flag));
        if (change == SV_CHANGE_SAID && !conf->quiet)
            fprintf(stderr, "changed %s: %s, before %s\n", im_conf_name((enum im_conf_key_id)key),
                    *now ? now : "none", *then ? then : "none");
    }
    return 0;
}
