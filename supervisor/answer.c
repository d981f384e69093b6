/* Control messages: requests of `imsuper status|stop`, news from the trainers. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/sysinfo.h"
#include "ipc/encoded.h"
#include "ipc/process.h"
#include "supervisor/nodes_ask.h"
#include "supervisor/report/epochs.h"
#include "supervisor/super.h"
#include "supervisor/tracing.h"
#include "supervisor/usage.h"

/* Of a process's items; null before the first one. */
static double quantile_ms(const struct sv_super *s, uint32_t slot, double quantile)
{
    const uint64_t ns = im_stats_quantile(&s->run.stats[slot], IM_H_ITEM, quantile);

    return ns > 0 ? (double)ns / 1e6 : (double)NAN;
}

static struct im_json *process_json(struct sv_super *s, const struct sv_child *child)
{
    static const char *const activity[IM_ACTIVITIES] = {"idle", "waits for input", "works",
                                                        "waits for output", "waits for I/O"};
    struct im_process *p = &s->run.process[child->slot];
    struct im_stats_view stats;
    struct im_json *j = im_json_object();
    uint64_t now_at = atomic_load_explicit(&s->run.stats[child->slot].activity, memory_order_relaxed);
    const im_ns ready = atomic_load_explicit(&p->ready_ns, memory_order_relaxed);
    struct sv_usage usage;

    sv_usage_read(child->incarnation ? child->pid : 0, &usage);
    im_stats_read(&s->run.stats[child->slot], im_now(), &stats);
    im_json_set_str(j, "role", im_role_name(child->role));
    im_json_set_int(j, "index", child->index);
    im_json_set_int(j, "pid", child->pid);
    im_json_set_str(j, "state",
                    child->incarnation == 0                                    ? "down"
                    : im_process_state(&s->run, child->slot) == IM_PROCESS_RUN ? "running"
                                                                               : "starting");
    im_json_set_str(j, "activity", child->incarnation && now_at < IM_ACTIVITIES ? activity[now_at] : "-");
    im_json_set_int(j, "restarts", atomic_load_explicit(&p->restarts, memory_order_relaxed));
    im_json_set_int(j, "samples", (int64_t)stats.counter[IM_C_SAMPLES]);
    im_json_set_int(j, "bytes", (int64_t)stats.counter[IM_C_BYTES]);
    im_json_set_int(j, "bad", (int64_t)stats.counter[IM_C_BAD]);
    im_json_set_real(j, "item_p50_ms", quantile_ms(s, child->slot, 0.5));
    im_json_set_real(j, "item_p99_ms", quantile_ms(s, child->slot, 0.99));
    im_json_set_real(j, "up_seconds",
                     child->incarnation && ready ? (double)(im_now() - ready) / 1e9 : (double)NAN);
    im_json_set_real(j, "cpu_seconds", usage.cpu_seconds);
    if (usage.rss_bytes >= 0)
        im_json_set_int(j, "rss_bytes", usage.rss_bytes);
    return j;
}

/* A slot that is reserved for more processes, and that none has been in, is not shown. */
static bool is_shown(struct sv_super *s, const struct sv_child *child)
{
    return child->incarnation != 0 || child->index < sv_children_count(&s->children, child->role);
}

static struct im_json *stages_json(const struct sv_super *s)
{
    struct im_json *list = im_json_array();

    for (int stage = 0; stage < SV_STAGES; stage++) {
        const struct sv_stage_view *v = &s->view.stage[stage];
        struct im_json *j = im_json_object();

        im_json_set_str(j, "stage", sv_stage_name(stage));
        im_json_set_int(j, "processes", v->alive);
        if (stage != SV_STAGE_TRAIN) {
            enum im_role role = stage == SV_STAGE_READ ? IM_ROLE_READER : IM_ROLE_AUGMENTER;

            im_json_set_int(j, "wanted", sv_children_count(&s->children, role));
            im_json_set_int(j, "room", sv_scale_max(s, role));
            im_json_set_bool(j, "automatic",
                             atomic_load_explicit(&s->run.control->automatic[role], memory_order_relaxed) !=
                                 0);
        }
        im_json_set_real(j, "busy", v->busy);
        im_json_set_real(j, "wait_input", v->wait_input);
        im_json_set_real(j, "wait_output", v->wait_output);
        im_json_set_real(j, "per_second", v->per_second);
        im_json_append(list, j);
    }
    return list;
}

/* Training images that have no part in this epoch, because they do not fill a step (--drop-last). */
static uint64_t left_out(const struct sv_super *s)
{
    const struct im_phase *p = im_plan_phase_of_batch(&s->plan, s->view.next_batch);

    if (!p)
        p = s->plan.phase + s->plan.phases - 1;
    while (p->split != IM_TRAIN && p > s->plan.phase)
        p--;
    return p->split == IM_TRAIN ? s->run.geometry.samples[IM_TRAIN] - p->samples : 0;
}

static struct im_json *ledger_json(const struct sv_super *s)
{
    struct im_json *both = im_json_object();

    for (int split = 0; split < IM_SPLITS; split++) {
        const struct im_ledger *l = &s->run.control->ledger[split];
        struct im_json *j = im_json_object();

        im_json_set_int(j, "delivered", (int64_t)atomic_load_explicit(&l->delivered, memory_order_relaxed));
        im_json_set_int(j, "duplicates", (int64_t)atomic_load_explicit(&l->duplicates, memory_order_relaxed));
        im_json_set_int(j, "bad", (int64_t)atomic_load_explicit(&l->bad, memory_order_relaxed));
        im_json_set_int(j, "passes", (int64_t)atomic_load_explicit(&l->phases, memory_order_relaxed));
        im_json_set_int(j, "passes_exactly_once",
                        (int64_t)atomic_load_explicit(&l->phases_exact, memory_order_relaxed));
        if (split == IM_TRAIN && s->plan.phases > 0)
            im_json_set_int(j, "left_out", (int64_t)left_out(s));
        im_json_set(both, split == IM_TRAIN ? "train" : "val", j);
    }
    return both;
}

static void add_position(const struct sv_super *s, struct im_json *j)
{
    const struct im_phase *phase = im_plan_phase_of_batch(&s->plan, s->view.next_batch);
    struct sv_progress p;

    im_json_set_int(j, "epochs", s->conf.epochs);
    if (!phase)
        return;
    im_json_set_int(j, "epoch", phase->epoch + 1);
    im_json_set_str(j, "split", phase->split == IM_TRAIN ? "train" : "val");
    im_json_set_int(j, "step", (int64_t)(s->view.next_batch - phase->first_batch));
    im_json_set_int(j, "steps", phase->steps);
    im_json_set_int(j, "batch_size", phase->batch_size);
    im_json_set_int(j, "image_size", phase->image_size);
    sv_outlook(s, &p);
    if (p.eta_epoch >= 0)
        im_json_set_real(j, "eta_epoch_seconds", p.eta_epoch);
    if (p.eta_run >= 0)
        im_json_set_real(j, "eta_seconds", p.eta_run);
}

/* One object for each trainer whose GPU says something; null what it does not say. */
static struct im_json *gpus_json(const struct sv_super *s)
{
    static const struct {
        const char *key;
        enum im_gauge gauge;
    } keys[] = {{"busy", IM_G_GPU_BUSY},      {"memory_bytes", IM_G_GPU_MEMORY},
                {"power_w", IM_G_GPU_POWER},  {"temperature_c", IM_G_GPU_TEMPERATURE},
                {"sm_mhz", IM_G_GPU_CLOCK},   {"memory_mhz", IM_G_GPU_MEMORY_CLOCK},
                {"energy_j", IM_G_GPU_ENERGY}};
    struct im_json *list = im_json_array();

    for (uint32_t r = 0; r < s->run.geometry.ranks; r++) {
        struct im_json *j, *throttled;
        struct im_stats_view v;

        im_stats_read(&s->run.stats[im_run_slot(&s->run, IM_ROLE_TRAINER, r)], im_now(), &v);
        if (!(v.gauge[IM_G_GPU_SAMPLES] > 0))
            continue;
        j = im_json_object();
        throttled = im_json_array();
        im_json_set_int(j, "rank", r);
        im_json_set_int(j, "gpu", im_conf_gpu(&s->conf, r));
        for (size_t i = 0; i < IM_COUNT(keys); i++)
            im_json_set_real(j, keys[i].key, v.gauge[keys[i].gauge]);
        for (unsigned i = 0; i < IM_THROTTLES; i++)
            if (v.gauge[IM_G_GPU_THROTTLED] >= 1 && v.gauge[IM_G_GPU_THROTTLED] < 1 << IM_THROTTLES &&
                (unsigned)v.gauge[IM_G_GPU_THROTTLED] >> i & 1)
                im_json_append_str(throttled, im_throttle_word(i));
        im_json_set(j, "throttled", throttled);
        im_json_append(list, j);
    }
    return list;
}

/* Of rank 0's trainer as it lives now; without "bytes" none are taken. */
static struct im_json *snapshot_json(const struct sv_super *s)
{
    struct im_json *j = im_json_object();
    struct im_stats_view stats;

    im_stats_read(&s->run.stats[im_run_slot(&s->run, IM_ROLE_TRAINER, 0)], im_now(), &stats);
    im_json_set_int(j, "bytes", (int64_t)stats.gauge[IM_G_SNAPSHOT_BYTES]);
    im_json_set_int(j, "taken", (int64_t)stats.counter[IM_C_SNAPSHOTS]);
    im_json_set_real(j, "last_seconds", stats.gauge[IM_G_SNAPSHOT_SECONDS]);
    return j;
}

static struct im_json *cache_json(const struct sv_super *s)
{
    const struct sv_fetch_view *v = &s->view.fetch;
    struct im_json *j = im_json_object();

    im_json_set_str(j, "from", s->conf.data_dir);
    im_json_set_int(j, "hits", (int64_t)v->hits);
    im_json_set_int(j, "misses", (int64_t)v->misses);
    im_json_set_int(j, "fetched", (int64_t)v->fetched);
    im_json_set_int(j, "fetched_bytes", (int64_t)v->bytes);
    im_json_set_real(j, "bytes_per_second", v->bytes_per_second);
    im_json_set_int(j, "evicted", (int64_t)v->evicted);
    im_json_set_int(j, "bytes", (int64_t)v->cache_bytes);
    return j;
}

struct im_json *sv_status_json(struct sv_super *s)
{
    struct im_json *j = im_json_object(), *processes = im_json_array();

    im_json_set_str(j, "schema", "imsuper.status/1");
    im_json_set_str(j, "run", s->conf.run_name);
    im_json_set_str(j, "run_dir", s->conf.run_dir);
    im_json_set_str(j, "state", sv_state_name(s));
    im_json_set_bool(j, "paused", sv_is_paused(s));
    im_json_set_real(j, "up_seconds", (double)(im_now() - s->run.control->created_ns) / 1e9);
    if (s->time_limit > 0)
        im_json_set_real(j, "time_left_seconds",
                         s->time_limit - (double)(im_now() - s->run.control->created_ns) / 1e9);
    add_position(s, j);
    im_json_set_str(j, "amp", im_conf_choice(IM_KEY_amp, (int32_t)im_conf_amp(&s->conf)));
    im_json_set_real(j, "images_per_second", s->view.samples_per_second);
    if (s->view.gpus.gpus > 0)
        im_json_set_real(j, "images_per_second_per_gpu", s->view.per_gpu);
    if (s->view.mfu > 0)
        im_json_set_real(j, "mfu", s->view.mfu);
    im_json_set_str(j, "limited_by", s->view.limit >= 0 ? sv_stage_name(s->view.limit) : "unknown");
    im_json_set_real(j, "loss", sv_view_has_step(&s->view) ? s->view.gauge[IM_G_LOSS] : (double)NAN);
    im_json_set_real(j, "lr", sv_view_has_step(&s->view) ? s->view.gauge[IM_G_LR] : (double)NAN);
    if (s->view.gauge[IM_G_VAL_LOSS] != 0) { /* there has been a validation */
        im_json_set_real(j, "val_loss", s->view.gauge[IM_G_VAL_LOSS]);
        if (s->conf.multi_label)
            im_json_set_real(j, "val_map", s->view.gauge[IM_G_VAL_MAP]);
        else
            im_json_set_real(j, "val_top1", s->view.gauge[IM_G_VAL_TOP1]);
    }
    im_json_set_int(j, "skipped_steps", (int64_t)s->view.gauge[IM_G_SKIPPED]);
    im_json_set(j, "stages", stages_json(s));
    im_json_set(j, "gpus", gpus_json(s));
    if (s->view.fetch.is_on)
        im_json_set(j, "cache", cache_json(s));
    im_json_set_int(j, "ready_cells", s->view.ready_cells);
    im_json_set_int(j, "cells", s->run.geometry.encoded_cells);
    im_json_set_int(j, "ready_batches", s->view.ready_batches);
    im_json_set_int(j, "batches", (int64_t)s->run.geometry.batches * s->run.geometry.ranks);
    im_json_set_int(j, "deaths", atomic_load_explicit(&s->run.control->deaths, memory_order_relaxed));
    if (s->reads.waiting)
        im_json_set_real(
            j, "outage_seconds",
            (double)(im_now() - atomic_load_explicit(&s->run.control->outage_ns, memory_order_relaxed)) /
                1e9);
    im_json_set_int(j, "bad_samples", atomic_load_explicit(&s->run.control->bad_told, memory_order_relaxed));
    im_json_set_int(j, "resets",
                    (int64_t)atomic_load_explicit(&s->run.control->generation, memory_order_relaxed) - 1);
    im_json_set(j, "ledger", ledger_json(s));
    im_json_set(j, "snapshot", snapshot_json(s));
    for (uint32_t i = 0; i < s->children.count; i++)
        if (is_shown(s, &s->children.child[i]))
            im_json_append(processes, process_json(s, &s->children.child[i]));
    im_json_set(j, "processes", processes);
    sv_nodes_status(s, j);
    im_json_set_real(j, "quantile_error", IM_STATS_QUANTILE_ERROR); /* of item_p50_ms and item_p99_ms */
    return j;
}

static struct im_json *simple_reply(const char *key, const char *value)
{
    struct im_json *j = im_json_object();

    im_json_set_str(j, "schema", "imsuper.reply/1");
    im_json_set_str(j, key, value);
    return j;
}

static struct im_json *command(struct sv_super *s, const char *cmd, const struct im_json *message)
{
    struct im_json *answer;

    if (strcmp(cmd, "status") == 0)
        return sv_status_json(s);
    if (strcmp(cmd, "trace") == 0)
        return sv_trace_answer(s);
    answer = sv_control(s, cmd, message);
    return answer ? answer : simple_reply("error", "unknown command");
}

/* One row per epoch, under a heading; another heading where the terminal's width has changed. */
static void tell_epoch(struct sv_super *s, const struct im_json *m)
{
    const struct sv_epochs table = {.columns = sv_screen_columns(&s->screen),
                                    .has_averages = im_json_get(m, "ema_val_loss") != NULL,
                                    .multi_label = s->conf.multi_label,
                                    .few_classes = s->run.geometry.classes <= 5};
    char line[256];

    if (!s->rows_told || table.columns != s->rows_columns)
        sv_screen_say(&s->screen, "%s", sv_epochs_heading(&table, line, sizeof line));
    s->rows_told = true;
    s->rows_columns = table.columns;
    s->epochs_told++;
    sv_screen_say(&s->screen, "%s", sv_epochs_row(&table, m, line, sizeof line));
}

/* What a trainer holds, a line for each kind of memory that there is. Once a run, and not after each death:
 * the next trainer holds the same. */
static void tell_memory(struct sv_super *s, const struct im_json *m)
{
    static const struct {
        const char *key, *name, *note;
    } kinds[] = {
        {"parameters", "parameters", ""},
        {"gradients", "gradients", ""},
        {"optimizer", "optimiser's state", ""},
        {"statistics", "statistics", "  of batch norm"},
        {"averages", "averages", ""},
        {"activations", "activations", "  of the largest batch; not shared "},
        {"backend", "backend", "  copies of weights, scratch"},
        {"shadow", "copy", "  on the GPU, for snapshots"},
        {"snapshots", "snapshots", "  in shared memory"},
    };
    const struct im_json *memory = im_json_get(m, "memory_bytes");

    if (s->memory_told || s->conf.evaluate)
        return;
    s->memory_told = true;
    for (size_t i = 0; i < IM_COUNT(kinds); i++) {
        uint64_t bytes = (uint64_t)im_json_int_or(memory, kinds[i].key, 0);
        uint64_t apart = (uint64_t)im_json_int_or(memory, "activations_apart", 0);
        char held[24], more[24] = "";

        if (strcmp(kinds[i].key, "activations") == 0)
            sv_format_bytes(apart, more, sizeof more);
        if (bytes > 0)
            sv_screen_say(&s->screen, "%-7s %-17s %10s%s%s",
                          i == 0                        ? "memory"
                          : i == 1 && s->conf.ranks > 1 ? "of each"
                                                        : "",
                          kinds[i].name, sv_format_bytes(bytes, held, sizeof held), kinds[i].note, more);
    }
    if (im_json_int_or(memory, "snapshots", 0) == 0 && !im_conf_is_probe(&s->conf))
        sv_screen_say(&s->screen, "%-7s %-17s %10s  a trainer that dies goes back to the last checkpoint", "",
                      "snapshots", "none");
}

void sv_answer(struct sv_super *s)
{
    struct im_ctl_peer from;
    struct im_json *m = NULL;
    int got;

    while (s->ctl && (got = im_ctl_receive(s->ctl, 0, &from, &m)) != 0) {
        const char *cmd = got > 0 ? im_json_str_or(m, "cmd", "") : "";
        const char *event = got > 0 ? im_json_str_or(m, "event", "") : "";

        if (got == -EBADMSG)
            im_ctl_send(s->ctl, &from, simple_reply("error", "not a JSON object"));
        else if (*cmd && sv_nodes_take_command(s, &from, cmd, m))
            ; /* answered later */
        else if (*cmd)
            im_ctl_send(s->ctl, &from, command(s, cmd, m));
        else if (strcmp(event, "epoch") == 0 && !im_conf_is_probe(&s->conf)) {
            tell_epoch(s, m);
            sv_journal_draw(&s->journal);
            sv_note_stages_now(s);
            sv_journal_pass(&s->journal, "epoch.ended", m);
        } else if (strcmp(event, "ready") == 0)
            tell_memory(s, m);
        im_json_free(&m);
        if (got < 0 && got != -EBADMSG)
            return;
    }
}
