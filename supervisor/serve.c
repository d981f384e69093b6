/* The run's numbers for Prometheus, where --metrics-listen asks for them. The loop makes the text once a second; a
 * thread of its own answers (report/listen.h). Without its port the run goes on, and it is tried again. */
#include "supervisor/report/exposition.h"
#include "supervisor/report/listen.h"
#include "supervisor/super.h"

#define MAKE_EVERY_NS IM_SECOND
#define TRY_EVERY_NS (10 * IM_SECOND)

static void open_listener(struct sv_super *s)
{
    struct im_conf_listen where;
    struct im_text text = {""};

    if (im_conf_listen(s->conf.metrics_listen, &where) < 0)
        return; /* im_conf_check() has refused it */
    if (sv_listen_open(&where, &s->serve.listener, &text) < 0) {
        if (!s->serve.told)
            sv_screen_warn(&s->screen, SV_WARN, "no metrics: %s; the run goes on, and it is tried again",
                           text.s);
        s->serve.told = true;
        s->serve.at = im_now() + TRY_EVERY_NS - MAKE_EVERY_NS;
    } else if (s->serve.told) {
        s->serve.told = false;
        sv_screen_warn(&s->screen, SV_WARN, "metrics are served at %s now", s->conf.metrics_listen);
    }
}

/* Of the last validation; before one all are 0. */
static void add_validation(const struct sv_super *s, struct im_json *status)
{
    if (!(s->view.gauge[IM_G_VAL_LOSS] > 0))
        return;
    im_json_set_real(status, "val_loss", s->view.gauge[IM_G_VAL_LOSS]);
    if (s->conf.multi_label) {
        im_json_set_real(status, "val_map", s->view.gauge[IM_G_VAL_MAP]);
        im_json_set_real(status, "val_f1", s->view.gauge[IM_G_VAL_F1]);
        return;
    }
    im_json_set_real(status, "val_top1", s->view.gauge[IM_G_VAL_TOP1]);
    im_json_set_real(status, "val_top5", s->view.gauge[IM_G_VAL_TOP5]);
}

void sv_serve_metrics(struct sv_super *s)
{
    const im_ns now = im_now();
    struct im_json *status;

    if (!s->conf.metrics_listen[0] || now < s->serve.at)
        return;
    s->serve.at = now + MAKE_EVERY_NS;
    if (!s->serve.listener)
        open_listener(s);
    if (!s->serve.listener)
        return;
    status = sv_status_json(s);
    add_validation(s, status);
    sv_listen_set(s->serve.listener, sv_exposition(status));
    im_json_free(&status);
}

void sv_serve_end(struct sv_super *s)
{
    sv_listen_close(&s->serve.listener);
}
