/* The weights are found, and the options are those, as for a run of `imsuper predict` (evaluation.h); the temporary
 * folder is gone before the first request. This process parses HTTP and nothing else of what comes in. */
#include "supervisor/cli/serve_images.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/exit.h"
#include "ipc/base/printable.h"
#include "ipc/base/sysinfo.h"
#include "ipc/config/class_names.h"
#include "ipc/serving.h"
#include "supervisor/cli/evaluation.h"
#include "supervisor/cli/gpus.h"
#include "supervisor/cli/messages.h"
#include "supervisor/cli/program.h"
#include "supervisor/report/mhd.h"
#include "supervisor/serving/http.h"

#define LOOK_NS 200000000l
#define DRAIN_NS (5 * IM_SECOND) /* for what waits, after SIGTERM */
#define THREADS_MAX 256

struct serving {
    struct im_conf *conf;
    struct im_conf_listen where;
    struct im_class_names names; /* of all outputs */
    struct sv_mhd mhd;
    int fd; /* the socket; -1: none, or served */
    bool has_path;
    struct sv_service *service;
    struct sv_http *http;
};

/* One trainer: the first GPU of --gpus, or all cores. */
static int choose_device(struct im_conf *conf, struct im_text *text)
{
    struct sv_gpus *found = calloc(1, sizeof *found);
    struct im_conf_gpus wish;
    int err = found ? im_conf_parse_gpus(conf->gpus, &wish) : -ENOMEM;

    if (err == 0 && (wish.count > 1 || conf->ranks > 1))
        err =
            im_fail(text, -EINVAL, "--serve uses one GPU or trainer: name it, as --gpus 0, (with the comma)");
    if (err == 0)
        err = im_conf_set(conf, "ranks", "1", text);
    if (err == 0 && sv_gpus_are_wanted(conf))
        sv_gpus_find(found);
    if (err == 0)
        err = sv_gpus_choose(conf, found, getenv("CUDA_VISIBLE_DEVICES"), text);
    free(found);
    if (err == 0 && conf->trainer_threads == 0) { /* as supervisor/cli/sizes.c */
        const int64_t cpus = sv_gpus_are_used(conf) ? 1 : im_cpu_count();

        conf->trainer_threads = cpus > THREADS_MAX ? THREADS_MAX : cpus;
    }
    return err;
}

/* Weights, options, names of classes. */
static int find_weights(struct serving *s, struct im_text *text)
{
    struct sv_inputs none = {0};
    struct sv_evaluation_run run = {0};
    int err = sv_evaluation_open(s->conf, &none, &run, text);

    if (err == 0)
        err = im_class_names_read(s->conf->class_names, &s->names, text);
    sv_evaluation_close(&run);
    return err;
}

static bool is_stopped(void *unused)
{
    (void)unused;
    return sv_stop_signal() != 0;
}

static int open_all(struct serving *s, struct im_text *text)
{
    char augmenter[PATH_MAX], trainer[PATH_MAX];
    struct im_conf *conf = s->conf;
    struct sv_http_config http = {.body_max = (size_t)conf->max_file_bytes};
    int err = sv_mhd_load(&s->mhd, text);

    if (err == 0)
        err = find_weights(s, text); /* which checks the options */
    if (err == 0)
        err = im_conf_listen(conf->serve, &s->where);
    if (err == 0)
        err = choose_device(conf, text);
    if (err != 0)
        return err;
    conf->batch_size = sv_service_batch(conf);
    s->fd = sv_mhd_socket(&s->where, text);
    if (s->fd < 0)
        return s->fd;
    s->has_path = s->where.path[0] != 0;
    sv_program_find("imsuper-augmenter", augmenter, sizeof augmenter);
    sv_program_find("imsuper-trainer", trainer, sizeof trainer);
    if (!conf->quiet)
        im_say(stderr, "serve   %s, %u classes, %" PRId64 " px of %" PRId64 ", %s%s%s (%" PRId64 " thread%s)",
               im_conf_choice(IM_KEY_model, conf->model), s->names.count, im_conf_eval_image_size(conf),
               im_conf_eval_resize(conf), sv_gpus_are_used(conf) ? "GPU" : "CPU",
               sv_gpus_are_used(conf) ? " " : "", sv_gpus_are_used(conf) ? conf->gpus : "",
               conf->trainer_threads, conf->trainer_threads == 1 ? "" : "s");
    err = sv_service_open(
        &(struct sv_service_config){
            .conf = conf, .augmenter = augmenter, .trainer = trainer, .is_stopped = is_stopped},
        &s->service, text);
    if (err != 0)
        return err;
    http.service = s->service;
    http.class_name = s->names.name;
    http.classes = s->names.count;
    http.tops = im_outcome_tops(conf, s->names.count);
    http.threshold = conf->threshold;
    http.model = im_conf_choice(IM_KEY_model, conf->model);
    http.size = (uint32_t)im_conf_eval_image_size(conf);
    err = sv_http_open(&http, &s->mhd, s->fd, &s->http, text);
    s->fd = err == 0 ? -1 : s->fd;
    return err;
}

static void close_all(struct serving *s)
{
    if (s->service)
        sv_service_drain(s->service, 0);
    sv_http_close(&s->http);
    sv_service_close(&s->service);
    if (s->fd >= 0)
        close(s->fd);
    if (s->has_path)
        unlink(s->where.path);
    im_class_names_fini(&s->names);
}

static void say_where(const struct serving *s)
{
    if (s->conf->quiet)
        return;
    if (s->has_path)
        im_say(stderr,
               "imsuper: images are answered at unix:%s: curl --unix-socket %s --data-binary @FILE http://x/",
               s->where.path, s->where.path);
    else
        im_say(stderr,
               "imsuper: images are answered at http://%s%s%s:%u/: open it, or curl --data-binary @FILE",
               s->where.is_ipv6 ? "[" : "", s->where.address, s->where.is_ipv6 ? "]" : "", s->where.port);
}

/* There is nothing to continue: a service that was asked to end, and did, has done its work. */
static int status_of(int signal)
{
    return signal == SIGINT ? IM_EXIT_FORCED : IM_EXIT_OK;
}

/* Until a signal, or the service fails. */
static int serve(struct serving *s, struct im_text *text)
{
    const struct timespec look = {.tv_nsec = LOOK_NS};
    struct sv_service_state state;
    int signal;

    while ((signal = sv_stop_signal()) == 0) {
        if (sv_service_failed(s->service, text))
            return -EIO;
        nanosleep(&look, NULL);
        sv_http_tick(s->http);
    }
    if (signal != SIGINT)
        sv_service_drain(s->service, im_now() + DRAIN_NS);
    state = sv_service_state(s->service);
    if (!s->conf->quiet)
        im_say(stderr, "imsuper: stopped: %" PRIu64 " image%s answered, %" PRIu64 " could not be used",
               state.answered, state.answered == 1 ? "" : "s", state.bad);
    return status_of(signal);
}

int sv_serve_images(struct im_conf *conf, struct im_text *text)
{
    struct serving s = {.conf = conf, .fd = -1};
    struct sv_messages messages;
    int err;

    setenv("OMP_WAIT_POLICY", "passive", 0); /* as for the trainer of a run */
    sv_hold_stop_signals();
    signal(SIGPIPE, SIG_IGN);
    sv_messages_begin(&messages);
    err = open_all(&s, text);
    if (err == -EINTR || (err != 0 && sv_stop_signal())) {
        im_say(stderr, "imsuper: stopped");
        err = status_of(sv_stop_signal());
    } else if (err == 0) {
        say_where(&s);
        err = serve(&s, text);
    }
    close_all(&s);
    sv_messages_end(&messages);
    return err;
}
