#include "supervisor/cli/header.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ipc/abi.h"
#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "supervisor/cli/advice.h"
#include "supervisor/cli/precision.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/saved.h"

__attribute__((format(printf, 3, 4))) static void header_add(char *s, size_t n, const char *format, ...)
{
    const size_t used = strlen(s);
    va_list args;

    va_start(args, format);
    vsnprintf(s + used, n - used, format, args);
    va_end(args);
}

/* Where the state says that it goes on. */
static void add_place(const struct sv_state_file *saved, const struct im_conf *conf, char *s, size_t n)
{
    const int64_t epoch = sv_saved_int(saved, "next.epoch", -1), step = sv_saved_int(saved, "next.step", -1);

    if (epoch >= 0 && epoch < conf->epochs)
        header_add(s, n, " with epoch %" PRId64 " of %" PRId64, epoch + 1, conf->epochs);
    else if (epoch >= 0)
        header_add(s, n, " after epoch %" PRId64, epoch);
    if (step > 0)
        header_add(s, n, ", %s %" PRId64,
                   sv_saved_int(saved, "next.split", IM_TRAIN) == IM_TRAIN ? "step" : "validation step",
                   step + 1);
}

const char *sv_header_origin(const struct im_conf *conf, char *s, size_t n)
{
    const bool has_file = conf->resume[0] && strcmp(conf->resume, "auto") != 0;
    struct sv_state_file saved;

    s[0] = 0;
    sv_saved_read(conf->run_dir, &saved);
    if (saved.header) {
        header_add(s, n, "continues");
        add_place(&saved, conf, s, n);
        header_add(s, n, ", from %s/checkpoints", conf->run_dir);
    } else if (saved.exists || sv_saved_has_weights(conf->run_dir)) {
        header_add(s, n, "continues from what can be read in %s/checkpoints", conf->run_dir);
    } else if (has_file) {
        sv_saved_open(conf->resume, &saved, NULL);
        header_add(s, n, "new run, continues");
        add_place(&saved, conf, s, n);
        header_add(s, n, ", from %s", conf->resume);
    } else if (conf->init_from[0]) {
        header_add(s, n, "new run, with the weights of %s%s", conf->init_from,
                   conf->init_skip_head ? " but for the classifier" : "");
    } else {
        header_add(s, n, "new run, with random weights");
    }
    sv_saved_close(&saved);
    return s;
}

/* sv_advice_weights() of a new run that begins with the weights of a safetensors file. */
static bool find_other_images(const struct im_conf *conf, struct im_text *ret)
{
    struct sv_state_file saved, weights;
    bool is_told = false;

    if (!conf->init_from[0])
        return false;
    sv_saved_read(conf->run_dir, &saved);
    if (!saved.exists && sv_saved_open(conf->init_from, &weights, NULL) == 0) {
        is_told = sv_advice_weights(conf, im_json_get(weights.header, "__metadata__"), ret);
        sv_saved_close(&weights);
    }
    sv_saved_close(&saved);
    return is_told;
}

void sv_header_say_advice(const struct im_conf *conf, uint64_t updates)
{
    struct im_text text;

    if (sv_advice_ema(conf, updates, &text))
        im_say(stderr, "imsuper: %s", text.s);
    if (sv_advice_few_updates(conf, updates, &text))
        im_say(stderr, "imsuper: %s", text.s);
    if (find_other_images(conf, &text))
        im_say(stderr, "imsuper: warning: %s", text.s);
}

/* The option's name as users write it: aug.hue for aug-hue. */
static void add_option(const struct im_conf *conf, enum im_conf_key_id key, char *s, size_t n)
{
    const char *name = im_conf_name(key);
    char value[IM_CONF_TEXT_BYTES];
    const bool dotted = strncmp(name, "aug-", 4) == 0;

    im_conf_value(conf, key, value);
    if (strcmp(value, "true") == 0)
        header_add(s, n, ", %s", name);
    else
        header_add(s, n, ", %s%s %s", dotted ? "aug." : "", dotted ? name + 4 : name, value);
}

static void add_changed(const struct im_conf *conf, const struct im_conf *usual,
                        const enum im_conf_key_id *keys, size_t count, char *s, size_t n)
{
    for (size_t i = 0; i < count; i++) {
        char now[IM_CONF_TEXT_BYTES], then[IM_CONF_TEXT_BYTES];

        im_conf_value(conf, keys[i], now);
        im_conf_value(usual, keys[i], then);
        if (strcmp(now, then) != 0)
            add_option(conf, keys[i], s, n);
    }
}

const char *sv_header_model(const struct im_conf *conf, char *s, size_t n)
{
    static const enum im_conf_key_id keys[] = {
        IM_KEY_stem,           IM_KEY_head,    IM_KEY_blurpool,
        IM_KEY_drop_path_rate, IM_KEY_sync_bn, IM_KEY_zero_init_residual,
        IM_KEY_deterministic,
    };
    struct im_conf usual;

    im_conf_defaults(&usual);
    s[0] = 0;
    header_add(s, n, "%s, %s", im_conf_choice(IM_KEY_model, conf->model), sv_precision_word(conf));
    if (im_conf_amp(conf) != IM_AMP_NONE)
        header_add(s, n, " (weights fp32)");
    add_changed(conf, &usual, keys, IM_COUNT(keys), s, n);
    return s;
}

const char *sv_header_augment(const struct im_conf *conf, char *s, size_t n)
{
    enum im_conf_key_id keys[IM_KEY_COUNT];
    struct im_conf usual;
    size_t count = 0;

    im_conf_defaults(&usual);
    usual.augment = conf->augment;
    im_conf_apply_set(&usual);
    for (int key = IM_KEY_rrc_ratio_min; key <= IM_KEY_aug_erase_fill; key++)
        if (key != IM_KEY_hflip && key != IM_KEY_augment && key != IM_KEY_flip)
            keys[count++] = (enum im_conf_key_id)key;
    s[0] = 0;
    header_add(s, n, "%s: %s", im_conf_choice(IM_KEY_augment, conf->augment), conf->train_crop);
    if (strcmp(conf->train_crop, "rrc") == 0)
        header_add(s, n, " %g-%g", conf->rrc_scale_min, conf->rrc_scale_max);
    if (conf->pad_mode != IM_PAD_CONSTANT)
        header_add(s, n, " %s", im_conf_choice(IM_KEY_pad_mode, conf->pad_mode));
    if (conf->flip == IM_FLIP_ALTERNATE && conf->hflip > 0)
        header_add(s, n, ", hflip alternate");
    else
        header_add(s, n, ", hflip %g", conf->hflip);
    add_changed(conf, &usual, keys, count, s, n);
    return s;
}

/* "256", or the range over the run: "64-256". */
static void format_range(uint32_t low, uint32_t high, char *buffer, size_t n)
{
    if (low == high)
        snprintf(buffer, n, "%u", low);
    else
        snprintf(buffer, n, "%u-%u", low, high);
}

static void format_sizes(const struct im_conf *c, char *batch, char *size, size_t n)
{
    struct im_conf_sizes low = {UINT32_MAX, UINT32_MAX}, high = {0};
    struct im_conf_resize resize;
    int err = im_conf_resize(c, &resize, NULL);

    im_assert(err == 0); /* it has been checked */
    for (uint32_t epoch = 0; epoch < (uint32_t)c->epochs; epoch++) {
        const struct im_conf_sizes s = im_conf_resize_at(&resize, epoch);

        low.image_size = s.image_size < low.image_size ? s.image_size : low.image_size;
        high.image_size = s.image_size > high.image_size ? s.image_size : high.image_size;
        low.batch_size = s.batch_size < low.batch_size ? s.batch_size : low.batch_size;
        high.batch_size = s.batch_size > high.batch_size ? s.batch_size : high.batch_size;
    }
    format_range(low.batch_size, high.batch_size, batch, n);
    format_range(low.image_size, high.image_size, size, n);
}

const char *sv_header_batch(const struct im_conf *conf, char *s, size_t n)
{
    char batch[32], size[32];

    format_sizes(conf, batch, size, sizeof batch);
    s[0] = 0;
    header_add(s, n, "batch %s%s%s px", batch, sv_locale_is_utf8() && !conf->plain ? " · " : ", ", size);
    if (im_conf_world(conf) == 1 && conf->accumulate == 1)
        return s;
    if (*conf->resize_schedule)
        header_add(s, n, ", a step is");
    else
        header_add(s, n, ", %" PRId64 " images a step:", im_conf_step_images(conf));
    if (conf->virtual_ranks > 0) {
        header_add(s, n, " %" PRId64 " virtual ranks x %s", conf->virtual_ranks, batch);
        if (conf->order_accumulate > 1)
            header_add(s, n, " x accumulate %" PRId64, conf->order_accumulate);
        return s;
    }
    if (im_conf_world(conf) > 1)
        header_add(s, n, " %" PRId64 " trainers x %s", im_conf_world(conf), batch);
    else
        header_add(s, n, " %s", batch);
    if (conf->accumulate > 1)
        header_add(s, n, " x accumulate %s%" PRId64, conf->order_accumulate > 0 ? "up to " : "",
                   conf->accumulate);
    return s;
}
