/* Values that are right one by one and wrong together, and texts with a form of their own (train-crop, mean,
 * gpus).
 *
 * Only what the configuration itself shows: whether folders exist, memory suffices or a batch is larger than
 * the data set is checked where they are opened. */
#include "ipc/config/conf_table.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/suggest.h"

enum { RUN_NAME_BYTES_MAX = 100 };

/* Digits up to the end or `stop`; -1: none or too many. */
static int parse_small(const char *s, const char **ret_end)
{
    char *end;
    unsigned long value;

    if (!isdigit((unsigned char)*s) || strspn(s, "0123456789") > 6)
        return -1;
    value = strtoul(s, &end, 10);
    *ret_end = end;
    return (int)value;
}

int im_conf_train_crop(const struct im_conf *conf, enum im_crop *ret_crop, int *ret_padding)
{
    const char *s = conf->train_crop, *end = s;
    int padding = 0;

    if (strncmp(s, "pad:", 4) == 0) {
        padding = parse_small(s + 4, &end);
        if (padding < 1 || *end)
            return -EINVAL;
        *ret_crop = IM_CROP_PAD;
    } else if (strcmp(s, "rrc") == 0) {
        *ret_crop = IM_CROP_RRC;
    } else if (strcmp(s, "center") == 0) {
        *ret_crop = IM_CROP_CENTER;
    } else {
        return -EINVAL;
    }
    *ret_padding = padding;
    return 0;
}

int im_conf_triplet(const char *s, double ret_values[3])
{
    double values[3];

    for (int i = 0; i < 3; i++) {
        char *end;

        values[i] = strtod(s, &end);
        if (end == s || isspace((unsigned char)*s) || !isfinite(values[i]) || *end != (i < 2 ? ',' : '\0'))
            return -EINVAL;
        s = end + 1;
    }
    memcpy(ret_values, values, sizeof values);
    return 0;
}

int im_conf_parse_gpus(const char *s, struct im_conf_gpus *ret)
{
    struct im_conf_gpus gpus = {.count = 0, .is_list = strchr(s, ',') != NULL};

    if (strcmp(s, "auto") == 0) {
        *ret = (struct im_conf_gpus){.count = -1};
        return 0;
    }
    do {
        int number = parse_small(s, &s);

        if (number < 0 || (!gpus.is_list && (*s || number > IM_CONF_GPUS_MAX)))
            return -EINVAL;
        if (!gpus.is_list) {
            *ret = (struct im_conf_gpus){.count = number};
            return 0;
        }
        for (int i = 0; i < gpus.count; i++) {
            if (gpus.devices[i] == number)
                return -EINVAL;
        }
        if (gpus.count == IM_CONF_GPUS_MAX || (*s && *s != ','))
            return -EINVAL;
        gpus.devices[gpus.count++] = number;
        s += *s == ',';
    } while (*s);
    *ret = gpus;
    return 0;
}

int im_conf_gpu(const struct im_conf *conf, uint32_t rank)
{
    struct im_conf_gpus gpus;

    if (im_conf_parse_gpus(conf->gpus, &gpus) < 0 || !gpus.is_list || rank >= (uint32_t)gpus.count)
        return -1;
    return gpus.devices[rank];
}

static int check_augmentation(const struct im_conf *c, struct im_text *text)
{
    struct im_text sentence;
    double mean[3], std[3];
    enum im_crop crop;
    int padding;

    if (im_conf_train_crop(c, &crop, &padding) < 0)
        return im_fail(text, -EINVAL, "train-crop: \"%s\" is not rrc, center or pad:N (N is 1 or more)",
                       c->train_crop);
    if (crop == IM_CROP_PAD && padding >= (int)im_conf_smallest_image_size(c))
        return im_fail(text, -EINVAL, "train-crop: padding %d must be smaller than image-size %u", padding,
                       im_conf_smallest_image_size(c));
    if (crop == IM_CROP_PAD && c->pad_mode >= IM_PAD_REFLECT &&
        2 * padding >= (int)im_conf_smallest_image_size(c))
        return im_fail(
            text, -EINVAL,
            "pad-mode %s: padding %d must be smaller than half of image-size %u, so that a crop holds "
            "what is mirrored",
            im_conf_choice(IM_KEY_pad_mode, c->pad_mode), padding, im_conf_smallest_image_size(c));
    if (c->rrc_scale_min > c->rrc_scale_max)
        return im_fail(text, -EINVAL, "rrc-scale-min %g is larger than rrc-scale-max %g", c->rrc_scale_min,
                       c->rrc_scale_max);
    if (c->rrc_ratio_min > c->rrc_ratio_max)
        return im_fail(text, -EINVAL, "rrc-ratio-min %g is larger than rrc-ratio-max %g", c->rrc_ratio_min,
                       c->rrc_ratio_max);
    if (im_conf_eval_image_size(c) < 8)
        return im_fail(text, -EINVAL, "eval-image-size: %lld is out of range (expected 0 or 8 to 1024)",
                       (long long)c->eval_image_size);
    if (im_conf_eval_resize(c) < im_conf_eval_image_size(c))
        return im_fail(text, -EINVAL,
                       "eval-resize %lld is smaller than the %lld pixels of the crop in validation",
                       (long long)c->eval_resize, (long long)im_conf_eval_image_size(c));
    im_fail(&sentence, 0, "expected three numbers such as 0.5,0.5,0.5");
    if (im_conf_triplet(c->mean, mean) < 0)
        return im_fail(text, -EINVAL, "mean: \"%.200s\": %s", c->mean, sentence.s);
    if (im_conf_triplet(c->std, std) < 0 || !(std[0] > 0 && std[1] > 0 && std[2] > 0))
        return im_fail(text, -EINVAL, "std: \"%.200s\": %s, all above 0", c->std, sentence.s);
    return 0;
}

/* subset-size was set by a user. An effective config.yaml lists all defaults, which does not count. */
static bool is_meant(const struct im_conf *c, const struct im_conf *defaults)
{
    int source = c->origin[IM_KEY_subset_size].source;

    if (source == IM_CONF_FILE)
        return c->subset_size != defaults->subset_size;
    return source != IM_CONF_DEFAULT && source != IM_CONF_FROZEN;
}

static int check_training(const struct im_conf *c, struct im_text *text)
{
    struct im_conf defaults;

    im_conf_defaults(&defaults);
    if (!c->subset && is_meant(c, &defaults))
        return im_fail(text, -EINVAL, "subset-size %lld has no effect without subset: add --subset",
                       (long long)c->subset_size);
    return 0;
}

int im_conf_duration(const char *s, double *ret_seconds)
{
    static const struct {
        char unit;
        double seconds;
    } units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
    const size_t count = IM_COUNT(units);
    double total = 0;

    for (size_t next = 0; *s; next++) {
        char *end;
        double value;

        if (!isdigit((unsigned char)*s) || strspn(s, "0123456789.") > 12)
            return -EINVAL;
        value = strtod(s, &end);
        if (end != s + strspn(s, "0123456789."))
            return -EINVAL;
        while (next < count && units[next].unit != *end)
            next++;
        if (next == count)
            return -EINVAL;
        total += value * units[next].seconds;
        s = end + 1;
    }
    if (!(total > 0 && total <= 366 * 86400.0))
        return -EINVAL;
    *ret_seconds = total;
    return 0;
}

/* A run's name is one directory's name, without surprises for shells. */
static int check_run_name(const char *s, struct im_text *text)
{
    size_t n = strlen(s);

    if (n > RUN_NAME_BYTES_MAX)
        return im_fail(text, -EINVAL, "run-name: %zu bytes are too long (expected %d at most)", n,
                       RUN_NAME_BYTES_MAX);
    if (s[0] == '.' || s[0] == '-' || strchr(s, '/'))
        return im_fail(text, -EINVAL, "run-name: \"%s\" must not begin with . or -, or contain /", s);
    if (n > 0 && (s[0] == ' ' || s[n - 1] == ' '))
        return im_fail(text, -EINVAL, "run-name: \"%s\" must not begin or end with a blank", s);
    if (strcmp(s, "latest") == 0)
        return im_fail(text, -EINVAL,
                       "run-name: \"latest\" is the link to the newest run; choose another name");
    return 0;
}

/* Words that nobody means as the name of a folder. */
static int check_seek_index(const char *s, struct im_text *text)
{
    static const struct {
        const char *word, *meant;
    } words[] = {{"false", "off"}, {"no", "off"},   {"none", "off"}, {"0", "off"}, {"never", "off"},
                 {"true", "auto"}, {"yes", "auto"}, {"on", "auto"},  {"1", "auto"}};
    static const char *const choices[] = {"auto", "off"};
    const char *near;

    for (size_t i = 0; i < IM_COUNT(words); i++)
        if (strcasecmp(s, words[i].word) == 0)
            return im_fail(
                text, -EINVAL,
                "seek-index: \"%s\" is neither auto nor off; did you mean %s? (./%s names a folder)", s,
                words[i].meant, s);
    near = strchr(s, '/') || access(s, F_OK) == 0 ? NULL : im_nearest(s, choices, IM_COUNT(choices));
    if (near && strcmp(near, s) != 0)
        return im_fail(text, -EINVAL, "seek-index: \"%s\": did you mean %s? (./%s names a folder)", s, near,
                       s);
    return 0;
}

int im_conf_check(const struct im_conf *conf, struct im_text *text)
{
    struct im_conf_listen listen;
    struct im_conf_gpus gpus;
    double seconds;
    int err = im_conf_check_resize(conf, text);

    if (err == 0)
        err = check_augmentation(conf, text);
    if (err == 0)
        err = im_conf_check_transforms(conf, text);
    if (err == 0)
        err = check_training(conf, text);
    if (err == 0)
        err = im_conf_check_schedule(conf, text);
    if (err == 0)
        err = im_conf_check_optimizer(conf, text);
    if (err == 0)
        err = im_conf_check_finetune(conf, text);
    if (err == 0)
        err = im_conf_check_multi_label(conf, text);
    if (err == 0)
        err = im_conf_check_idle(conf, text);
    if (err == 0)
        err = check_run_name(conf->run_name, text);
    if (err == 0)
        err = check_seek_index(conf->seek_index, text);
    if (err == 0)
        err = im_conf_check_remote(conf, text);
    if (err == 0)
        err = im_conf_check_pixel_cache(conf, text);
    if (err < 0)
        return err;
    if (conf->time_limit[0] && im_conf_duration(conf->time_limit, &seconds) < 0)
        return im_fail(text, -EINVAL,
                       "time-limit: \"%.100s\" is not a duration such as 3h30m, 45m, 1d12h or 90s (a year at "
                       "most)",
                       conf->time_limit);
    if (conf->metrics_listen[0] && im_conf_listen(conf->metrics_listen, &listen) < 0)
        return im_fail(
            text, -EINVAL,
            "metrics-listen: \"%.200s\" is not PORT, ADDRESS:PORT, [IPV6]:PORT or unix:PATH (of at "
            "most %zu bytes)",
            conf->metrics_listen, sizeof listen.path - 1);
    if (conf->serve[0] && im_conf_listen(conf->serve, &listen) < 0)
        return im_fail(
            text, -EINVAL,
            "serve: \"%.200s\" is not PORT, ADDRESS:PORT, [IPV6]:PORT or unix:PATH (of at most %zu bytes)",
            conf->serve, sizeof listen.path - 1);
    if (!conf->workspace[0])
        return im_fail(text, -EINVAL, "workspace: expected the name of a folder");
    if (im_conf_parse_gpus(conf->gpus, &gpus) < 0)
        return im_fail(text, -EINVAL,
                       "gpus: \"%.200s\" is not 0, auto, a number up to %d or a list such as 0,2 "
                       "without duplicates",
                       conf->gpus, IM_CONF_GPUS_MAX);
    if (conf->sampler == IM_SAMPLER_BALANCED && strcmp(conf->class_weights, "balanced") == 0)
        return im_fail(
            text, -EINVAL,
            "sampler balanced and class-weights balanced both make up for classes of different sizes: "
            "use one of them");
    if (conf->virtual_ranks > 0 && conf->sync_bn)
        return im_fail(
            text, -EINVAL,
            "virtual-ranks and sync-bn contradict each other: batch norm over all trainers depends on how "
            "many there are; with virtual-ranks it is over the batch-size images of a virtual rank");
    if (conf->virtual_ranks > 0 && conf->elastic == IM_ELASTIC_DROP)
        return im_fail(
            text, -EINVAL,
            "virtual-ranks and elastic drop contradict each other: the one keeps what a step is for "
            "any number of trainers, the other changes it");
    if (conf->amp == IM_AMP_FP16 && conf->backend == IM_BACKEND_ONEDNN)
        return im_fail(text, -EINVAL, "amp fp16 is for GPUs: backend onednn supports fp32 and bf16");
    if (conf->backend == IM_BACKEND_CUDA && gpus.count == 0)
        return im_fail(text, -EINVAL, "backend cuda and gpus 0 contradict each other");
    if (conf->side_min > conf->side_max)
        return im_fail(text, -EINVAL, "side-min %lld is larger than side-max %lld", (long long)conf->side_min,
                       (long long)conf->side_max);
    return 0;
}
