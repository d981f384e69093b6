#include "trainer/tools/average.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/file.h"
#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "trainer/export/average.h"
#include "trainer/export/ending.h"
#include "trainer/export/state_dict.h"

struct soup {
    const struct im_conf *conf;
    char words[IM_CONF_TEXT_BYTES];
    const char *names[TR_AVERAGE_MAX];
    double shares[TR_AVERAGE_MAX];
    int count;
    struct tr_source first; /* becomes the mean */
    struct tr_average sum;
    int64_t images; /* that the statistics were taken over; 0: they are averaged */
};

static int list_names(struct soup *s, struct im_text *text)
{
    char *rest;

    snprintf(s->words, sizeof s->words, "%s", s->conf->weights_list);
    for (char *word = strtok_r(s->words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (s->count == TR_AVERAGE_MAX)
            return im_fail(text, -EINVAL, "more than %d weights", TR_AVERAGE_MAX);
        s->names[s->count++] = word;
    }
    return s->count > 1 ? 0 : im_fail(text, -EINVAL, "one file of weights is its own mean: name two or more");
}

/* Shares sum to 1 whatever they were given as. */
static int list_shares(struct soup *s, struct im_text *text)
{
    const char *at = s->conf->ratio;
    double sum = 0;
    char *end;
    int n = 0;

    for (; *at && n < s->count; n++, at = *end == ',' ? end + 1 : end) {
        s->shares[n] = strtod(at, &end);
        if (end == at || !(s->shares[n] >= 0) || !isfinite(s->shares[n]) || (*end && *end != ','))
            break;
        sum += s->shares[n];
    }
    for (; !s->conf->ratio[0] && n < s->count; n++)
        sum += s->shares[n] = 1;
    if (*at || n != s->count || !(sum > 0))
        return im_fail(text, -EINVAL, "--ratio %.200s: give %d numbers, such as 0.3,0.7", s->conf->ratio,
                       s->count);
    for (int i = 0; i < s->count; i++)
        s->shares[i] /= sum;
    return 0;
}

static int add_all(struct soup *s, struct im_text *text)
{
    int err = tr_source_open(&s->first, s->conf, s->names[0], text);

    if (err < 0)
        return err;
    s->sum.params = calloc(s->first.model->param_floats + 1, sizeof *s->sum.params);
    s->sum.stats = calloc(s->first.model->stat_floats + 1, sizeof *s->sum.stats);
    if (!s->sum.params || !s->sum.stats)
        return im_fail(text, -ENOMEM, "out of memory for the mean");
    err = tr_average_add(&s->sum, &s->first, &s->first, s->shares[0], text);
    for (int i = 1; i < s->count && err == 0; i++) {
        struct tr_source other;

        err = tr_source_open(&other, s->conf, s->names[i], text);
        if (err == 0)
            err = tr_average_add(&s->sum, &s->first, &other, s->shares[i], text);
        if (err == 0 && other.tracked > s->first.tracked)
            s->first.tracked = other.tracked;
        tr_source_close(&other);
    }
    if (err == 0)
        tr_average_store(&s->sum, &s->first);
    return err;
}

static int renew(struct soup *s, struct im_text *text)
{
    const struct im_conf *c = &s->first.conf;

    if (s->conf->average_bn == IM_AVERAGE_BN_MEAN)
        return 0;
    if (!c->data_dir[0] || !im_data_is_there(c->data_dir))
        return im_fail(
            text, -EINVAL,
            "batch norm's statistics need training images%s%.300s: name their folder with --data-dir, or "
            "average the statistics too with --bn mean (usually worse)",
            c->data_dir[0] ? ", and there are none in " : "", c->data_dir);
    return tr_average_statistics(&s->first, s->conf->bn_images, &s->images, text);
}

static int write_out(struct soup *s, struct im_text *text)
{
    char *made_of = NULL;
    int err = -ENOMEM;

    if (asprintf(&made_of, "mean of %s; ratio %s; bn %s", s->conf->weights_list,
                 s->conf->ratio[0] ? s->conf->ratio : "equal", s->images ? "anew" : "mean") >= 0)
        err = tr_state_dict_write(s->conf->output, &s->first, TR_HEAD_AS_IT_IS, made_of, text);
    free(made_of);
    return err;
}

static int print(const struct soup *s)
{
    struct im_json *j;
    int err;

    if (!s->conf->json) {
        im_say(stdout, "%s: mean of %d weights of %s", s->conf->output, s->count, s->first.model->name);
        if (s->images)
            im_say(stdout, "statistics of batch norm: taken anew over %lld training images of %s",
                   (long long)s->images, s->first.conf.data_dir);
        else
            im_say(stdout,
                   "statistics of batch norm: averaged too (--bn mean); they are not those of these weights");
        return 0;
    }
    j = im_json_object();
    im_json_set_str(j, "schema", "imsuper.average/1");
    im_json_set_str(j, "file", s->conf->output);
    im_json_set_str(j, "model", s->first.model->name);
    im_json_set_int(j, "count", s->count);
    im_json_set_str(j, "bn", s->images ? "anew" : "mean");
    im_json_set_int(j, "bn_images", s->images);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int tr_cmd_average(struct im_conf *conf)
{
    struct im_text text = {""};
    struct soup *s;
    int err = tr_ending_is_ours(conf, "average", &text);

    if (err < 0) {
        im_command_fail(err, &text);
        return IM_EXIT_USAGE;
    }
    s = calloc(1, sizeof *s);
    err = s ? 0 : -ENOMEM;
    if (err == 0) {
        s->conf = conf;
        err = list_names(s, &text);
    }
    if (err == 0)
        err = list_shares(s, &text);
    if (err == 0)
        err = im_output_find_file(conf->output, sizeof conf->output, &text);
    if (err == 0)
        err = add_all(s, &text);
    if (err == 0)
        err = renew(s, &text);
    if (err == 0)
        err = write_out(s, &text);
    if (err == 0)
        err = print(s);
    if (s) {
        tr_source_close(&s->first);
        free(s->sum.params);
        free(s->sum.stats);
    }
    free(s);
    return err < 0 ? im_command_fail(err == -ENOENT ? IM_EXIT_UNKNOWN_RUN : err, &text) : IM_EXIT_OK;
}
