#include "trainer/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "ipc/base/count.h"
#include "ipc/base/log.h"
#include "ipc/base/sysinfo.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/early_stop.h"

/* The run is not at its end. */
static void clear_done(struct tr_report *r)
{
    struct im_text text = {""};

    r->done_is_old = tr_done_clear(r->child->conf->run_dir, &text) < 0;
    if (r->done_is_old)
        im_log(IM_LOG_WARN, "the mark of the finished run stays for now", "why=%s",
               im_log_quote(&(struct im_quoted){0}, text.s));
}

/* Says once what cannot be written, and once that it can be again. */
static void tell_news(struct tr_report *r)
{
    struct im_writer_news news;

    while (tr_metrics_news(&r->metrics, &news)) {
        if (news.err < 0)
            im_log(IM_LOG_WARN, "cannot write; lines are kept, and training goes on", "file=%s why=%s",
                   news.name, im_log_quote(&(struct im_quoted){0}, news.text.s));
        else
            im_log(IM_LOG_WARN, "writes again", "file=%s lines_lost=%" PRIu64, news.name, news.lost);
    }
}

int tr_report_open(struct tr_report *r, struct im_child *child, const struct tr_position *p,
                   struct im_text *text)
{
    struct im_json *config;
    int err;

    *r = (struct tr_report){.child = child};
    err = tr_metrics_open(&r->metrics, child->conf->run_dir, p->steps, p->epochs, child->conf->multi_label,
                          text);
    if (err < 0)
        return err;
    err = 0;
    clear_done(r);
    if (tr_metrics_is_new(&r->metrics)) {
        config = im_json_object();
        im_json_set_str(config, "event", "config");
        im_json_set_str(config, "run", child->conf->run_name);
        im_json_set_str(config, "build", im_build_id());
        for (int key = 0; key < IM_KEY_COUNT; key++) {
            char value[IM_CONF_TEXT_BYTES];

            im_conf_value(child->conf, (enum im_conf_key_id)key, value);
            im_json_set_str(config, im_conf_name((enum im_conf_key_id)key), value);
        }
        err = tr_metrics_line(&r->metrics, config, text);
        im_json_free(&config);
    }
    return err;
}

/* Tells the supervisor; takes `message`. Best effort: a lost message only misses a line on the screen. The
 * control socket may have moved, or there may be none. */
static void send_news(struct tr_report *r, struct im_json *message)
{
    struct im_ctl_record now;

    if (im_ctl_find(r->child->conf->run_dir, &now) == 0 && strcmp(now.path, r->connected.path) != 0) {
        im_ctl_close(&r->ctl, 0);
        r->connected = now;
        if (im_ctl_connect(now.path, &r->ctl, NULL) < 0)
            r->connected.path[0] = 0;
    }
    if (r->ctl)
        im_ctl_send(r->ctl, NULL, message);
    else
        im_json_free(&message);
}

void tr_report_close(struct tr_report *r)
{
    if (r->metrics.writer)
        tell_news(r);
    if (tr_metrics_close(&r->metrics) > 0)
        im_log(IM_LOG_WARN, "lines were not written, and are lost",
               "metrics.jsonl=%" PRIu64 " summary.csv=%" PRIu64, r->metrics.lost[r->metrics.lines],
               r->metrics.lost[r->metrics.summary]);
    im_ctl_close(&r->ctl, 500);
}

int tr_report_ready(struct tr_report *r, const struct tr_position *p, const struct tr_network_bytes *network,
                    uint64_t snapshot_bytes, struct im_text *text)
{
    const struct {
        const char *name;
        uint64_t bytes;
    } kinds[] = {
        {"parameters", network->parameters},
        {"gradients", network->gradients},
        {"optimizer", network->optimizer},
        {"statistics", network->statistics},
        {"averages", network->averages},
        {"activations", network->activations},
        {"activations_apart", network->unshared},
        {"backend", network->backend},
        {"shadow", network->shadow},
        {"snapshots", snapshot_bytes},
    };
    struct im_json *j = im_json_object(), *memory = im_json_object();
    int err;

    for (size_t i = 0; i < IM_COUNT(kinds); i++)
        im_json_set_int(memory, kinds[i].name, (int64_t)kinds[i].bytes);
    im_json_set_str(j, "event", "ready");
    im_json_set_int(j, "step", (int64_t)p->steps);
    im_json_set(j, "memory_bytes", memory);
    err = tr_metrics_line(&r->metrics, j, text);
    send_news(r, j);
    return err;
}

/* When a line was written, seconds since 1970; the last of its keys. */
static void set_time(struct im_json *line)
{
    struct timespec now;
    long ms;

    clock_gettime(CLOCK_REALTIME, &now);
    ms = now.tv_nsec / 1000000;
    im_json_set_real(line, "time", (double)now.tv_sec + (double)ms / 1e3);
}

int tr_report_step(struct tr_report *r, const struct tr_position *p, const struct tr_step_result *step,
                   struct im_text *text)
{
    struct im_json *line;
    int err;

    tell_news(r);
    im_stats_gauge(r->child->stats, IM_G_LOSS, step->loss);
    im_stats_gauge(r->child->stats, IM_G_LR, step->lr);
    im_stats_gauge(r->child->stats, IM_G_SKIPPED, (double)(p->steps - p->updates));
    if (im_conf_gpu(r->child->conf, 0) >= 0)
        tr_gpu_interval_step(&r->stretch, r->child->run, p->train_samples);
    if (p->steps > TR_LINE_EACH_UNTIL && p->steps % TR_LINE_EVERY_STEPS != 0 && !step->skipped &&
        !r->child->conf->lr_range_test)
        return 0;
    line = im_json_object();
    if (step->skipped)
        im_json_set_str(line, "event", "skipped_step");
    im_json_set_int(line, "step", (int64_t)p->steps);
    im_json_set_int(line, "epoch",
                    (int64_t)p->epochs + 1); /* the one in progress, as an epoch's line counts */
    im_json_set_str(line, "split", "train");
    im_json_set_real(line, "loss", step->loss);
    im_json_set_real(line, "lr", step->lr);
    if (!r->child->conf->multi_label)
        im_json_set_real(line, "top1", step->top1);
    im_json_set_real(line, "grad_norm", step->norm);
    if (p->scaler.scale != 1)
        im_json_set_real(line, "loss_scale", p->scaler.scale);
    tr_gpu_interval_line(&r->stretch, r->child->run, line);
    set_time(line);
    err = tr_metrics_line(&r->metrics, line, text);
    im_json_free(&line);
    return err;
}

/* Of images with one label, or with several; `of`: "ema_" of averaged weights. */
static void add_accuracies(struct im_json *j, const char *of, double top1, double top5,
                           const struct tr_several *several)
{
    const struct {
        const char *name;
        double value;
    } one[] = {{"top1", top1}, {"top5", top5}}, many[] = {{"map", several ? several->map : 0},
                                                          {"f1", several ? several->f1 : 0},
                                                          {"f1_macro", several ? several->f1_macro : 0}};
    char key[32];

    for (size_t i = 0; i < (several ? IM_COUNT(many) : IM_COUNT(one)); i++) {
        snprintf(key, sizeof key, "%sval_%s", of, several ? many[i].name : one[i].name);
        im_json_set_real(j, key, several ? many[i].value : one[i].value);
    }
}

static struct im_json *epoch_json(const struct tr_summary *s, const struct tr_position *p, bool averages,
                                  bool several)
{
    struct im_json *j = im_json_object();

    im_json_set_str(j, "event", "epoch");
    im_json_set_int(j, "step", (int64_t)p->steps);
    im_json_set_int(j, "epoch", s->epoch);
    im_json_set_real(j, "train_loss", s->train_loss);
    if (!several)
        im_json_set_real(j, "train_top1", s->train_top1);
    im_json_set_real(j, "val_loss", s->val_loss);
    add_accuracies(j, "", s->val_top1, s->val_top5, several ? &s->val : NULL);
    im_json_set_real(j, "lr", s->lr);
    im_json_set_real(j, "images_per_second", s->images_per_second);
    im_json_set_real(j, "seconds", s->seconds);
    im_json_set_int(j, "image_size", s->image_size);
    im_json_set_int(j, "batch_size", s->batch_size);
    im_json_set_int(j, "skipped_steps", (int64_t)(p->steps - p->updates));
    if (averages) {
        im_json_set_real(j, "ema_val_loss", s->ema_val_loss);
        add_accuracies(j, "ema_", s->ema_val_top1, s->ema_val_top5, several ? &s->ema_val : NULL);
    }
    return j;
}

/* The training pass of the epoch that ends before `next_batch`. */
static const struct im_phase *training_pass(const struct im_plan *plan, uint64_t next_batch)
{
    const struct im_phase *p = im_plan_phase_of_batch(plan, next_batch - 1);

    while (p > plan->phase && p->split != IM_TRAIN)
        p--;
    return p;
}

/* Of a pass, with NaN for what is not known. */
static struct tr_several several_of(const struct tr_sums *sums, bool validated)
{
    const bool known = validated && sums->multi.known;
    const double none = (double)NAN;

    return (struct tr_several){.map = known ? sums->multi.map : none,
                               .f1 = known ? sums->multi.f1 : none,
                               .f1_macro = known ? sums->multi.f1_macro : none};
}

int tr_report_epoch(struct tr_report *r, const struct tr_position *p, double lr, bool validated,
                    unsigned best, struct im_text *text)
{
    const struct im_phase *pass = training_pass(r->child->plan, p->next_batch);
    const bool averages = r->child->conf->ema > 0, several = r->child->conf->multi_label;
    const struct tr_summary summary = {
        .epoch = p->epochs,
        .train_loss = tr_mean_loss(&p->sums[IM_TRAIN]),
        .train_top1 = several ? (double)NAN : tr_top1(&p->sums[IM_TRAIN]),
        .val_loss = validated ? tr_mean_loss(&p->sums[IM_VAL]) : (double)NAN,
        .val_top1 = validated && !several ? tr_top1(&p->sums[IM_VAL]) : (double)NAN,
        .val_top5 = validated && !several ? tr_top5(&p->sums[IM_VAL]) : (double)NAN,
        .lr = lr,
        .images_per_second = p->train_seconds > 0 ? (double)p->train_samples / p->train_seconds : (double)NAN,
        .seconds = p->epoch_seconds,
        .image_size = pass->image_size,
        .batch_size = pass->batch_size,
        .ema_val_loss = averages && validated ? tr_mean_loss(&p->ema) : (double)NAN,
        .ema_val_top1 = averages && validated && !several ? tr_top1(&p->ema) : (double)NAN,
        .ema_val_top5 = averages && validated && !several ? tr_top5(&p->ema) : (double)NAN,
        .val = several_of(&p->sums[IM_VAL], validated),
        .ema_val = several_of(&p->ema, averages && validated),
    };
    struct im_json *j = epoch_json(&summary, p, averages, several);
    int err;

    im_json_set_bool(j, "best", (best & TR_BEST_PLAIN) != 0);
    if (averages)
        im_json_set_bool(j, "ema_best", (best & TR_BEST_AVERAGE) != 0);
    tr_stretch_epoch(&r->stretch, r->child->run, j);
    set_time(j);
    err = tr_metrics_line(&r->metrics, j, text);
    im_stats_gauge(r->child->stats, IM_G_VAL_LOSS, summary.val_loss);
    im_stats_gauge(r->child->stats, IM_G_VAL_TOP1, summary.val_top1);
    im_stats_gauge(r->child->stats, IM_G_VAL_TOP5, summary.val_top5);
    im_stats_gauge(r->child->stats, IM_G_VAL_MAP, summary.val.map);
    im_stats_gauge(r->child->stats, IM_G_VAL_F1, summary.val.f1);
    tr_metrics_summary(&r->metrics, &summary);
    tr_metrics_sync(&r->metrics);
    tell_news(r);
    if (r->done_is_old)
        clear_done(r);
    send_news(r, j);
    return err;
}

bool tr_report_settle(struct tr_report *r)
{
    return tr_metrics_settle(&r->metrics) == 0;
}

static double known(double top1)
{
    return top1 >= 0 ? top1 : (double)NAN;
}

int tr_report_done(struct tr_report *r, const struct tr_position *p, struct im_text *text)
{
    static const char *const of[TR_WEIGHTS] = {"", "ema_"};
    const bool several = r->child->conf->multi_label;
    const char *measure = several ? "map" : "top1";
    struct im_json *j = im_json_object();
    char key[32];
    int err;

    im_json_set_int(j, "epochs", p->epochs);
    im_json_set_int(j, "steps", (int64_t)p->steps);
    im_json_set_int(j, "skipped_steps", (int64_t)(p->steps - p->updates));
    for (int w = 0; w < (r->child->conf->ema > 0 ? TR_WEIGHTS : 1); w++) {
        const struct tr_sums *sums = w == TR_PLAIN ? &p->sums[IM_VAL] : &p->ema;

        snprintf(key, sizeof key, "%sval_%s", of[w], measure);
        if (!several || sums->multi.known)
            im_json_set_real(j, key, tr_accuracy(sums));
        snprintf(key, sizeof key, "best_%sval_%s", of[w], measure);
        im_json_set_real(j, key, known(p->best_top1[w]));
    }
    if (tr_early_stop_is_due(r->child->conf, p) && p->epochs < (uint64_t)r->child->conf->epochs)
        im_json_set_int(j, "stopped_early_best_epoch", p->stop_epoch);
    err = tr_done_set(r->child->conf->run_dir, j, text);
    im_json_free(&j);
    return err;
}
