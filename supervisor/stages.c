/* What readers, augmenters and trainers do, noted now and then, so that a person can see later which stage limited
 * the run. A line of stages.jsonl is of the last seconds (SV_WINDOW_NS). */
#include <time.h>

#include "supervisor/super.h"

#define NOTE_EVERY_NS (30 * IM_SECOND)
#define REPORT_EVERY_NS (10 * IM_SECOND)

/* Optimiser steps before a batch: what metrics.jsonl counts. */
static uint64_t steps_before(const struct sv_super *s, uint64_t batch)
{
    const uint64_t accumulate = s->plan.window_steps;
    uint64_t steps = 0;

    for (uint32_t i = 0; i < s->plan.phases && s->plan.phase[i].first_batch < batch; i++) {
        const struct im_phase *p = &s->plan.phase[i];
        const uint64_t done = batch - p->first_batch < p->steps ? batch - p->first_batch : p->steps;

        if (p->split == IM_TRAIN)
            steps += done == p->steps ? (done + accumulate - 1) / accumulate : done / accumulate;
    }
    return steps;
}

static struct im_json *stage_json(const struct sv_stage_view *v)
{
    struct im_json *j = im_json_object();

    im_json_set_real(j, "rate", v->per_second);
    im_json_set_real(j, "busy", v->busy);
    im_json_set_real(j, "wait_input", v->wait_input);
    im_json_set_real(j, "wait_output", v->wait_output);
    im_json_set_int(j, "processes", v->alive);
    return j;
}

void sv_note_stages_now(struct sv_super *s)
{
    struct im_json *line = im_json_object();
    struct timespec now;
    long ms;

    s->stages_at = im_now();
    clock_gettime(CLOCK_REALTIME, &now);
    ms = now.tv_nsec / 1000000;
    im_json_set_real(line, "time", (double)now.tv_sec + (double)ms / 1e3);
    im_json_set_int(line, "step", (int64_t)steps_before(s, s->view.next_batch));
    for (int stage = 0; stage < SV_STAGES; stage++)
        im_json_set(line, sv_stage_name(stage), stage_json(&s->view.stage[stage]));
    im_json_set_str(line, "limit", s->view.limit < 0 ? "" : sv_stage_name(s->view.limit));
    im_json_set_int(line, "ready_cells", s->view.ready_cells);
    im_json_set_int(line, "ready_batches", s->view.ready_batches);
    sv_journal_stages(&s->journal, line);
    sv_journal_report(&s->journal);
    s->reported_at = s->stages_at;
}

/* A checkpoint was written when it is known how long that took. Those before this supervisor were told. */
static void note_checkpoint(struct sv_super *s)
{
    const double seconds = s->view.gauge[IM_G_SAVE_SECONDS];
    struct im_json *fields;

    if (s->save.known && seconds > 0 && seconds != s->save.seconds) {
        fields = im_json_object();
        im_json_set_real(fields, "seconds", seconds);
        im_json_set_str(fields, "file", "checkpoints/last.safetensors");
        sv_journal_pass(&s->journal, "checkpoint.saved", fields);
        im_json_free(&fields);
    }
    s->save.seconds = seconds;
    s->save.known = true;
}

void sv_note_stages(struct sv_super *s)
{
    const im_ns now = im_now();

    note_checkpoint(s);
    if (s->conf.lr_range_test || im_run_state(&s->run) != IM_RUN_RUNNING)
        return;
    if (s->stages_at == 0)
        s->stages_at = s->reported_at = now;
    if (now - s->stages_at >= NOTE_EVERY_NS) {
        sv_note_stages_now(s);
    } else if (now - s->reported_at >= REPORT_EVERY_NS) {
        sv_journal_report(&s->journal);
        s->reported_at = now;
    }
}
