/* Control messages: requests of `imsuper status|stop`, news from the trainers. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/sysinfo.h"
#include "ipc/encoded.h"
#include "ipc/process.h"
#include "supervisor/super.h"

static struct im_json *process_json(struct sv_super *s, const struct sv_child *child)
{
    static const char *const activity[IM_ACTIVITIES] = {"idle", "waits for input", "works",
                                                        "waits for output", "waits for I/O"};
    struct im_process *p = &s->run.process[child->slot];
    struct im_stats_view stats;
    struct im_json *j = im_json_object();
    uint64_t now_at = atomic_load_explicit(&s->run.stats[child->slot].activity, memory_order_relaxed);

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
    im_json_set_real(j, "item_p50_ms",
                     (double)im_stats_quantile(&s->run.stats[child->slot], IM_H_ITEM, 0.5) / 1e6);
    im_json_set_real(j, "item_p99_ms",
                     (double)im_stats_quantile(&s->run.stats[child->slot], IM_H_ITEM, 0.99) / 1e6);
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
        im_json_set(both, split == IM_TRAIN ? "train" : "val", j);
    }
    return both;
}

static void add_position(const struct sv_super *s, struct im_json *j)
{
    const struct im_phase *phase = im_plan_phase_of_batch(&s->plan, s->view.next_batch);

    im_json_set_int(j, "epochs", s->conf.epochs);
    if (!phase)
        return;
    im_json_set_int(j, "epoch", phase->epoch + 1);
    im_json_set_str(j, "split", phase->split == IM_TRAIN ? "train" : "val");
    im_json_set_int(j, "step", (int64_t)(s->view.next_batch - phase->first_batch));
    im_json_set_int(j, "steps", phase->steps);
    im_json_set_int(j, "batch_size", phase->batch_size);
    im_json_set_int(j, "image_size", phase->image_size);
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
    im_json_set_real(j, "images_per_second", s->view.samples_per_second);
    if (s->view.gpus.gpus > 0)
        im_json_set_real(j, "images_per_second_per_gpu", s->view.per_gpu);
    if (s->view.mfu > 0)
        im_json_set_real(j, "mfu", s->view.mfu);
    im_json_set_str(j, "limited_by", s->view.limit >= 0 ? sv_stage_name(s->view.limit) : "unknown");
    im_json_set_real(j, "loss", s->view.gauge[IM_G_LOSS]);
    im_json_set_real(j, "lr", s->view.gauge[IM_G_LR]);
    im_json_set_int(j, "skipped_steps", (int64_t)s->view.gauge[IM_G_SKIPPED]);
    im_json_set(j, "stages", stages_json(s));
    im_json_set(j, "gpus", gpus_json(s));
    im_json_set_int(j, "ready_cells", s->view.ready_cells);
    im_json_set_int(j, "ready_batches", s->view.ready_batches);
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
    answer = sv_control(s, cmd, message);
    return answer ? answer : simple_reply("error", "unknown command");
}

/* A number right-aligned in `width`, or "-" where it was not measured (null in the message). */
static void cell(char *line, size_t n, const struct im_json *m, const char *key, int width, int digits,
                 double scale, const char *unit)
{
    double value = im_json_real_or(m, key, (double)NAN);
    size_t used = strlen(line);

    if (isnan(value))
        snprintf(line + used, n - used, "  %*s", width, "-");
    else
        snprintf(line + used, n - used, "  %*.*f%s", width - (int)strlen(unit), digits, scale * value, unit);
}

/* One row per epoch, under a heading. */
static void tell_epoch(struct sv_super *s, const struct im_json *m)
{
    const bool averages = im_json_get(m, "ema_val_top1") != NULL;
    char line[256], rate[24], time[24];

    if (!s->rows_told)
        sv_screen_say(
            &s->screen,
            "epoch    px  train loss  train top1   val loss  val top1  val top5%s      lr    img/s    time",
            averages ? "  ema top1" : "");
    s->rows_told = true;
    snprintf(line, sizeof line, "%5lld", (long long)im_json_int_or(m, "epoch", 0));
    cell(line, sizeof line, m, "image_size", 4, 0, 1, "");
    cell(line, sizeof line, m, "train_loss", 10, 4, 1, "");
    cell(line, sizeof line, m, "train_top1", 10, 2, 100, "%");
    cell(line, sizeof line, m, "val_loss", 9, 4, 1, "");
    cell(line, sizeof line, m, "val_top1", 8, 2, 100, "%");
    cell(line, sizeof line, m, "val_top5", 8, 2, 100, "%");
    if (averages)
        cell(line, sizeof line, m, "ema_val_top1", 8, 2, 100, "%");
    cell(line, sizeof line, m, "lr", 6, 4, 1, "");
    sv_screen_say(&s->screen, "%s  %7s  %6s", line,
                  sv_format_rate(im_json_real_or(m, "images_per_second", 0), rate, sizeof rate),
                  sv_format_seconds(im_json_real_or(m, "seconds", -1), time, sizeof time));
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
        {"activations", "activations", "  of the largest batch, placed by lifetime; one by one "},
        {"backend", "backend", "  copies of weights, scratch"},
        {"snapshots", "snapshots", "  in shared memory"},
    };
    const struct im_json *memory = im_json_get(m, "memory_bytes");

    if (s->memory_told)
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
    if (im_json_int_or(memory, "snapshots", 0) == 0 && !s->conf.lr_range_test)
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
        else if (*cmd)
            im_ctl_send(s->ctl, &from, command(s, cmd, m));
        else if (strcmp(event, "epoch") == 0 && !s->conf.lr_range_test) {
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
