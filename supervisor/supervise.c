/* One poll loop over the warden's channel, the pidfds of the children, the log pipe and the control socket,
 * with a tick.
 *
 * Nothing here is precious: a supervisor that dies is replaced, finds everything in shared memory and in the
 * warden's list, and goes on. The data plane does not stop meanwhile. */
#include "supervisor/supervise.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/log.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"
#include "ipc/process.h"
#include "ipc/sent_signals.h"
#include "supervisor/blame.h"
#include "supervisor/report/saved.h"
#include "supervisor/super.h"
#include "supervisor/tracing.h"

#define TICK_MS 50
/* While nobody starts, ends or is waited for: deaths, requests and lines wake the loop at once. */
#define QUIET_TICK_MS 100
#define FIRST_CHILD 4 /* of the descriptors that are polled */
#define END_WAIT_NS (10 * IM_SECOND)
#define DONE_WAIT_NS (15 * IM_SECOND) /* for the numbers of the last line */
#define DONE_LOOK_NS (IM_SECOND / 2)
#define FILES_WAIT_NS (5 * IM_SECOND)  /* at the end, for what is not written yet */
#define SCREEN_WAIT_NS (2 * IM_SECOND) /* the same for a terminal that takes nothing */
#define HOOK_WAIT_NS (30 * IM_SECOND)  /* the same for the command of --on-event */
#define HOOK_TELL_NS (2 * IM_SECOND)
#define FORCED_WAIT_NS (IM_SECOND / 2) /* instead of both when told to stop at once */
#define SEEK_WAIT_NS (IM_SECOND / 2)   /* for seek indexes, which can be made again */

static int attach(struct sv_super *s, struct im_text *text)
{
    const struct im_attach how = {.batch_read_rank = -1, .first_fd = IM_FD_CONTROL};
    struct im_conf now;
    int err = im_run_attach(&how, &s->run, text);

    if (err == 0)
        err = im_conf_of_run(&s->run, &now, text);
    if (err == 0)
        err = im_plan_from_conf(&now, s->run.geometry.samples, &s->plan, text);
    if (err == 0) /* as the user has it, wherever other machines are */
        err = im_conf_thaw(&s->conf, s->run.conf, text);
    if (err == 0)
        im_run_copy_header(&s->run, &s->header);
    return err;
}

static int open_all(struct sv_super *s, struct im_text *text)
{
    int err = attach(s, text);

    if (err < 0)
        return err;
    im_log_identity("supervisor", 0);
    s->started = im_now();
    sv_blame_begin(s->run.control);
    sv_screen_init(&s->screen, s->conf.color, s->conf.plain, s->conf.quiet,
                   (im_ns)(s->conf.status_interval * 1e9));
    if (im_conf_is_probe(&s->conf)) /* is over before there is something to tell, mostly */
        s->screen.last = s->started;
    err = sv_journal_open(&s->journal, &s->conf, IM_FD_LOG, &s->screen,
                          s->conf.log_level == IM_CONF_LOG_INFO ? IM_LOG_WARN : s->conf.log_level, text);
    if (err == 0)
        sv_socket_open(s);
    if (err == 0 && s->conf.time_limit[0])
        err = im_conf_duration(s->conf.time_limit, &s->time_limit);
    sv_children_init(&s->children, &s->run, &s->plan, IM_FD_CHANNEL);
    sv_seek_open(&s->seek, &s->run, &s->conf);
    return err < 0 ? err : sv_nodes_open(s, text);
}

static void read_channel(struct sv_super *s)
{
    struct sv_message m;
    int pidfd, got;

    while (!s->warden_gone && (got = sv_channel_receive(IM_FD_CHANNEL, &m, &pidfd)) != 0) {
        if (got < 0)
            sv_on_warden_gone(s);
        else
            sv_on_message(s, &m, pidfd);
    }
}

/* Learns from the warden what lives, and continues from the run's state. */
static void adopt(struct sv_super *s)
{
    bool listed = false;

    while (!listed && !s->warden_gone) {
        struct pollfd p = {.fd = IM_FD_CHANNEL, .events = POLLIN};
        struct sv_message m;
        int pidfd, got;

        poll(&p, 1, 1000);
        while (!listed && (got = sv_channel_receive(IM_FD_CHANNEL, &m, &pidfd)) != 0) {
            if (got < 0) {
                sv_on_warden_gone(s);
                break;
            }
            listed = m.type == SV_LISTED;
            if (!listed)
                sv_on_message(s, &m, pidfd);
        }
    }
    sv_children_adopt(&s->children);
}

static void resume_state(struct sv_super *s)
{
    bool anyone = sv_children_alive(&s->children, IM_ROLE_TRAINER) +
                      sv_children_alive(&s->children, IM_ROLE_READER) +
                      sv_children_alive(&s->children, IM_ROLE_AUGMENTER) +
                      sv_children_alive(&s->children, IM_ROLE_FETCHER) >
                  0;

    switch (im_run_state(&s->run)) {
    case IM_RUN_STARTING:
        if (anyone)
            sv_reset(s, "the supervisor was replaced while the run was starting");
        else if (sv_nodes_allow(s))
            sv_children_want(&s->children, IM_ROLE_TRAINER, true);
        break;
    case IM_RUN_ENDED:
        sv_finish(s,
                  im_exit_of_word(atomic_load_explicit(&s->run.control->exit_status, memory_order_relaxed)));
        break;
    case IM_RUN_STOPPING:
        sv_ending_resume(s); /* not a reset, which would forget that somebody asked to stop */
        break;
    default:
        sv_children_want(&s->children, IM_ROLE_READER, true);
        sv_children_want(&s->children, IM_ROLE_AUGMENTER, true);
        sv_children_want(&s->children, IM_ROLE_FETCHER, true);
        sv_children_want(&s->children, IM_ROLE_TRAINER, true);
        /* A trainer that died while nobody watched: everyone goes back to the last snapshot or checkpoint. */
        if (sv_children_alive(&s->children, IM_ROLE_TRAINER) < s->run.geometry.ranks)
            sv_reset(s, "a trainer died while the supervisor was being replaced");
    }
}

static void show_progress(struct sv_super *s)
{
    struct sv_progress p;

    if (sv_outlook(s, &p)) {
        sv_screen_progress(&s->screen, &p, false);
        sv_journal_progress(&s->journal, &p);
    }
}

static nfds_t fill_poll(struct sv_super *s, struct pollfd *p)
{
    nfds_t n = 0;

    p[n++] = (struct pollfd){.fd = s->warden_gone ? -1 : IM_FD_CHANNEL, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = IM_FD_LOG, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = im_ctl_fd(s->ctl), .events = POLLIN};
    p[n++] = (struct pollfd){.fd = sv_nodes_fd(s), .events = POLLIN};
    for (uint32_t i = 0; i < s->children.count; i++)
        p[n++] = (struct pollfd){.fd = s->children.child[i].pidfd, .events = POLLIN};
    return n;
}

static void tell_of_seek_index(struct sv_super *s)
{
    struct im_text why;

    while (sv_seek_news(&s->seek, &why)) {
        struct im_json *fields = im_json_object();

        im_json_set_str(fields, "file", "seek index");
        if (why.s[0])
            im_json_set_str(fields, "why", why.s);
        sv_journal_event(&s->journal, why.s[0] ? "report.failed" : "report.continued", fields);
        if (why.s[0])
            sv_screen_warn(&s->screen, SV_WARN, "the seek index takes nothing new: %s; the run goes on",
                           why.s);
        else
            sv_screen_warn(&s->screen, SV_WARN, "the seek index is written again");
    }
}

static bool is_quiet(const struct sv_super *s)
{
    if (im_run_state(&s->run) != IM_RUN_RUNNING || s->resetting || s->finished || s->warden_gone ||
        s->ending.stage != SV_GOING_ON || s->restart_by != 0)
        return false;
    for (uint32_t i = 0; i < s->children.count; i++) {
        const struct sv_child *child = &s->children.child[i];

        if (child->lost_at != 0 || child->retire_by != 0 || (child->wanted && child->incarnation == 0) ||
            (child->incarnation != 0 &&
             atomic_load_explicit(&s->run.process[child->slot].ready_ns, memory_order_relaxed) == 0))
            return false;
    }
    return true;
}

static void one_turn(struct sv_super *s, struct pollfd *p)
{
    nfds_t n = fill_poll(s, p);

    poll(p, n, is_quiet(s) ? QUIET_TICK_MS : TICK_MS);
    /* The warden ends a supervisor that does not come here. */
    atomic_fetch_add_explicit(&s->run.control->turns, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < s->children.count; i++)
        if (p[FIRST_CHILD + i].fd >= 0 && (p[FIRST_CHILD + i].revents & POLLIN))
            sv_on_death_seen(s, &s->children.child[i]);
    sv_journal_drain(&s->journal);
    read_channel(s);
    sv_observe(&s->observer, &s->run, &s->plan, &s->view);
    sv_nodes_turn(s);
    sv_guard(s);
    sv_watch_trainers(s);
    sv_advance(s);
    sv_note_recoveries(s);
    sv_socket_check(s);
    sv_answer(s);
    sv_scale(s);
    sv_restart_turn(s);
    sv_trace_turn(s);
    sv_check_time_limit(s);
    sv_seek_turn(&s->seek);
    tell_of_seek_index(s);
    sv_pixels_turn(s);
    sv_note_stages(s);
    sv_serve_metrics(s);
    sv_journal_tell(&s->journal);
    if (!s->finished)
        show_progress(s);
}

/* Gives everyone time to leave, then none. */
static void end_children(struct sv_super *s, struct pollfd *p)
{
    const bool has_results = s->exit_status == IM_EXIT_OK || !im_conf_is_probe(&s->conf);
    im_ns deadline = im_now() + (s->exit_status == IM_EXIT_FORCED || !has_results ? 0 : END_WAIT_NS);
    bool killed = false;

    for (;;) {
        uint32_t alive = sv_children_alive(&s->children, IM_ROLE_TRAINER) +
                         sv_children_alive(&s->children, IM_ROLE_READER) +
                         sv_children_alive(&s->children, IM_ROLE_AUGMENTER) +
                         sv_children_alive(&s->children, IM_ROLE_FETCHER);

        if (alive == 0 || im_now() > deadline + END_WAIT_NS)
            return;
        if (!killed && im_now() >= deadline) {
            for (uint32_t i = 0; i < s->children.count; i++)
                sv_child_kill(&s->children.child[i], SIGKILL);
            killed = true;
        }
        one_turn(s, p);
    }
}

/* The ledger's final numbers belong to the run's record: passes that came to their end, and those of them
 * that delivered each sample exactly once; of this start of the run. */
static void add_ledger(const struct sv_super *s, struct im_json *fields)
{
    static const char *const keys[IM_SPLITS][3] = {
        {"train_passes", "train_passes_exactly_once", "train_samples"},
        {"val_passes", "val_passes_exactly_once", "val_samples"}};
    uint32_t generation = atomic_load_explicit(&s->run.control->generation, memory_order_relaxed);

    for (int split = 0; split < IM_SPLITS; split++) {
        const struct im_ledger *l = &s->run.control->ledger[split];

        im_json_set_int(fields, keys[split][0],
                        (int64_t)atomic_load_explicit(&l->phases, memory_order_relaxed));
        im_json_set_int(fields, keys[split][1],
                        (int64_t)atomic_load_explicit(&l->phases_exact, memory_order_relaxed));
        im_json_set_int(fields, keys[split][2],
                        (int64_t)atomic_load_explicit(&l->total_delivered, memory_order_relaxed));
    }
    im_json_set_int(fields, "resets", generation ? generation - 1 : 0);
}

/* Bytes of images that readers have read; images decoded with a seek index, indexes made, and those that were wrong; images from the pixel cache, and put there;
 * by all augmenters of this start. */
static void add_saved_decoding(const struct sv_super *s, struct im_json *fields)
{
    const bool seeks = s->conf.seek_file[0] != 0;
    const bool ranges = seeks && s->conf.read_ranges != IM_RANGES_OFF,
               keeps = im_conf_has_pixel_cache(&s->conf);
    const struct {
        const char *key;
        enum im_role role;
        enum im_counter counter;
        bool on;
    } sums[] = {{"read_bytes", IM_ROLE_READER, IM_C_BYTES, true},
                {"seek_used", IM_ROLE_AUGMENTER, IM_C_SEEK_USED, seeks},
                {"seek_made", IM_ROLE_AUGMENTER, IM_C_SEEK_MADE, seeks},
                {"seek_wrong", IM_ROLE_AUGMENTER, IM_C_SEEK_WRONG, seeks},
                {"ranges_read", IM_ROLE_READER, IM_C_PARTS, ranges},
                {"ranges_changed", IM_ROLE_READER, IM_C_PARTS_WRONG, ranges},
                {"ranges_refused", IM_ROLE_AUGMENTER, IM_C_PARTS_WRONG, ranges},
                {"pixels_used", IM_ROLE_AUGMENTER, IM_C_PIXELS_USED, keeps},
                {"pixels_made", IM_ROLE_AUGMENTER, IM_C_PIXELS_MADE, keeps},
                {"pixels_unread", IM_ROLE_READER, IM_C_PIXELS_USED, keeps}};

    for (size_t i = 0; i < IM_COUNT(sums); i++) {
        const struct im_geometry *g = &s->run.geometry;
        const uint32_t n = sums[i].role == IM_ROLE_READER ? g->readers_max : g->augmenters_max;
        uint64_t sum = 0;

        for (uint32_t k = 0; sums[i].on && k < n; k++)
            sum += atomic_load_explicit(
                &s->run.stats[im_run_slot(&s->run, sums[i].role, k)].counter[sums[i].counter],
                memory_order_relaxed);
        if (sums[i].on)
            im_json_set_int(fields, sums[i].key, (int64_t)sum);
    }
}

static void say_files(struct sv_super *s, const struct sv_done *done)
{
    struct sv_run_files files;

    sv_saved_list(s->conf.run_dir, done, s->conf.ema > 0, &files);
    if (files.weights[0])
        sv_screen_say(&s->screen, "weights   %s/%s (torchvision's names; others beside it)", s->conf.run_dir,
                      files.weights);
    if (files.averages[0])
        sv_screen_say(&s->screen, "averages  %s/%s (--ema %g)", s->conf.run_dir, files.averages, s->conf.ema);
    if (files.numbers[0])
        sv_screen_say(&s->screen, "numbers   %s/%s", s->conf.run_dir, files.numbers);
    if (files.missing[0])
        sv_screen_warn(&s->screen, SV_WARN, "%s lacks %s: removed, moved, or never written", s->conf.run_dir,
                       files.missing);
}

/* Charts and reports are written before, which takes a busy machine some seconds; the warden sees meanwhile that we go on. */
static bool read_done(struct sv_super *s, struct sv_done *ret)
{
    const im_ns until = im_now() + DONE_WAIT_NS;
    bool known;

    sv_journal_ask_done(&s->journal);
    do {
        known = sv_journal_done(&s->journal, DONE_LOOK_NS, ret);
        atomic_fetch_add_explicit(&s->run.control->turns, 1, memory_order_relaxed);
        read_channel(s);
    } while (!known && !s->hurry && im_now() < until);
    return known;
}

static void say_done(struct sv_super *s)
{
    struct sv_done done;
    const bool known = read_done(s, &done);
    const char *measure = done.multi_label ? "mAP" : "top-1";
    char took[24], up[64];

    sv_format_seconds((double)(im_now() - s->run.control->created_ns) / 1e9, took, sizeof took);
    snprintf(up, sizeof up, "%s%s", took, known && done.epochs > s->epochs_told ? " this time" : "");
    if (done.best_epoch > 0)
        sv_screen_say(&s->screen,
                      "stopped   after epoch %" PRId64 " of %" PRId64
                      ": validation %s was best in epoch %" PRId64 " (--early-stop %" PRId64 ")",
                      done.epochs, s->conf.epochs,
                      s->conf.early_stop_on == IM_EARLY_STOP_TOP1 && s->conf.multi_label
                          ? "mAP"
                          : im_conf_choice(IM_KEY_early_stop_on, s->conf.early_stop_on),
                      done.best_epoch, s->conf.early_stop);
    if (done.top1 >= 0 && done.average >= 0)
        sv_screen_say(&s->screen, "done      best validation %s %.2f%%, of averaged weights %.2f%%, after %s",
                      measure, 100 * done.top1, 100 * done.average, up);
    else if (done.top1 >= 0)
        sv_screen_say(&s->screen, "done      best validation %s %.2f%%%s after %s", measure, 100 * done.top1,
                      s->rows_told ? " (*: best so far)" : "", up);
    else if (!known && s->hurry)
        sv_screen_say(&s->screen, "done      after %s; its last reports were not waited for", up);
    else if (!known)
        sv_screen_say(&s->screen,
                      "done      after %s; %s does not answer, so its accuracy cannot be read now: `imsuper "
                      "runs` shows "
                      "it later",
                      up, s->conf.run_dir);
    else
        sv_screen_say(&s->screen, "done      after %s", up);
    if (known) /* looking for them would wait as long */
        say_files(s, &done);
}

static void say_goodbye(struct sv_super *s)
{
    struct im_json *fields = im_json_object();

    sv_serve_end(s);
    sv_journal_drain(&s->journal);
    im_json_set_int(fields, "exit_status", s->exit_status);
    if (s->ending.stage != SV_GOING_ON)
        im_json_set_str(fields, "saved", s->ending.saved == SV_NOT_SAVED ? "no" : "yes");
    add_ledger(s, fields);
    add_saved_decoding(s, fields);
    sv_journal_event(&s->journal, s->exit_status == IM_EXIT_OK ? "run.finished" : "run.ended", fields);
    sv_screen_end(&s->screen);
    if (s->socket.was_missing) /* epochs were not told */
        sv_journal_draw(&s->journal);
    sv_journal_tidy(&s->journal);
    if (sv_nodes_is_member(s)) {
        sv_nodes_say_end(s);
        return;
    }
    if (s->exit_status == IM_EXIT_OK && !im_conf_is_probe(&s->conf))
        say_done(s);
    sv_ending_say(s);
}

/* The command of --on-event gets the last events, too, for a bounded time. */
static void wait_for_hook(struct sv_super *s, im_ns timeout)
{
    const im_ns began = im_now();
    im_ns until = began + timeout;
    bool told = false, hurried = false;

    while (s->journal.hook && sv_hook_pending(s->journal.hook) > 0 && im_now() < until) {
        /* The warden ends a supervisor whose loop does not turn. */
        atomic_fetch_add_explicit(&s->run.control->turns, 1, memory_order_relaxed);
        read_channel(s);
        if (s->hurry && !hurried && until > im_now() + FORCED_WAIT_NS)
            until = im_now() + FORCED_WAIT_NS;
        hurried = s->hurry;
        if (!told && im_now() - began > HOOK_TELL_NS) {
            sv_screen_say(&s->screen, "waiting   for the command of --on-event; Ctrl-C ends the wait");
            told = true;
        }
        poll(NULL, 0, TICK_MS);
    }
}

/* Waits for files and screen, for a bounded time, then tells the warden. */
static void leave(struct sv_super *s)
{
    struct sv_message m = {.type = SV_FINISHED, .status = s->exit_status};
    const bool forced = s->exit_status == IM_EXIT_FORCED;

    wait_for_hook(s, forced ? FORCED_WAIT_NS : HOOK_WAIT_NS);
    sv_journal_close(&s->journal, forced ? FORCED_WAIT_NS : FILES_WAIT_NS);
    sv_screen_close(&s->screen, forced ? FORCED_WAIT_NS : SCREEN_WAIT_NS);
    sv_channel_send(IM_FD_CHANNEL, &m, -1);
}

/* In a signal handler. */
static void tell_warden(int signo)
{
    const struct sv_message m = {.type = SV_SENT, .status = signo};

    sv_channel_send(IM_FD_CHANNEL, &m, -1);
}

int sv_supervise(void)
{
    struct sv_super s = {.socket.lock = PTHREAD_MUTEX_INITIALIZER};
    struct im_text text = {0};
    struct rlimit nofile;
    struct pollfd *p;
    bool seek_ended;

    im_sent_signals_note(tell_warden);
    im_child_name("");
    signal(SIGTTOU, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) {
        nofile.rlim_cur = nofile.rlim_max;
        setrlimit(RLIMIT_NOFILE, &nofile);
    }
    signal(SIGXFSZ, SIG_IGN);
    if (open_all(&s, &text) < 0) {
        sv_screen_warn(&s.screen, SV_ERROR, "%s", text.s);
        sv_screen_close(&s.screen, SCREEN_WAIT_NS);
        return IM_EXIT_USAGE;
    }
    p = calloc(s.children.count + FIRST_CHILD, sizeof *p);
    if (!p)
        return IM_EXIT_FAILED;
    adopt(&s);
    resume_state(&s);
    while (!s.finished)
        one_turn(&s, p);
    end_children(&s, p);
    say_goodbye(&s);
    sv_nodes_close(&s);
    leave(&s);
    free(p);
    seek_ended = sv_seek_close(&s.seek, SEEK_WAIT_NS);
    im_ctl_close(&s.ctl, 100);
    if (s.warden_gone) /* which would do it; we hold the run's lock, too */
        im_ctl_remove(s.conf.run_dir);
    im_plan_fini(&s.plan);
    if (seek_ended)
        im_run_close(&s.run);
    return IM_EXIT_OK;
}
