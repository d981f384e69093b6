/* `imsuper start`: configuration, data, run directory, memory; then this process becomes the run's warden. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/printable.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"
#include "ipc/ctl.h"
#include "supervisor/cli/advice.h"
#include "supervisor/cli/batch.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/continue.h"
#include "supervisor/cli/dataset.h"
#include "supervisor/cli/dry_run.h"
#include "supervisor/cli/gpus.h"
#include "supervisor/cli/header.h"
#include "supervisor/cli/launcher.h"
#include "supervisor/cli/messages.h"
#include "supervisor/cli/nodes.h"
#include "supervisor/cli/pixel_cache.h"
#include "supervisor/cli/precision.h"
#include "supervisor/cli/program.h"
#include "supervisor/cli/sizes.h"
#include "supervisor/cli/start.h"
#include "supervisor/cli/start_json.h"
#include "supervisor/cluster/pass.h"
#include "supervisor/limits.h"
#include "supervisor/nodes.h"
#include "supervisor/report/history.h"
#include "supervisor/report/rundir.h"
#include "supervisor/report/screen.h"
#include "supervisor/warden/topology.h"
#include "supervisor/warden/warden.h"

#define FOLDER_NS (60 * IM_SECOND) /* for the run's folder, where another machine may have it */

struct start {
    struct im_conf conf;
    struct sv_dataset data;
    struct im_geometry geometry;
    struct sv_machine machine;
    struct sv_gpus gpus;
    struct sv_placement placement; /* zeroed: processes are left to the scheduler */
    struct im_run run;
    struct im_text shared_otherwise; /* how a step is shared, where that is another way than before */
    struct im_text precision;        /* the number type, and why */
    struct im_text batch;            /* of --batch-size auto; "": it was a number */
    struct im_text left_out;         /* images that fill no last step; "": none */
    struct sv_rundir_lock lock;
    struct sv_meeting meeting;   /* on several machines */
    struct sv_nodes_found found; /* which of them is node 0 */
    im_ns began;                 /* this command; 0: not known yet */
    bool looks_elsewhere;        /* it has lost node 0, and is to look for another */
    struct sv_pixel_cache pixels;
};

static int fail(const struct im_text *text, int status)
{
    im_say(stderr, "imsuper: %s", text->s);
    return status;
}

/* What this build or machine cannot do is refused here, not found out later. 0, or an exit status. */
static int choose_devices(struct start *s)
{
    struct im_text text = {0};
    bool kept;
    int err;

    if (sv_gpus_are_wanted(&s->conf))
        sv_gpus_find(&s->gpus);
    kept = sv_continue_precision(&s->conf);
    err = sv_gpus_choose(&s->conf, &s->gpus, getenv("CUDA_VISIBLE_DEVICES"), &text);
    if (err == 0)
        err = sv_precision_choose(&s->conf, &s->gpus, kept, &s->precision, &text);
    if (err == 0 && s->conf.wgrad_stream && s->conf.origin[IM_KEY_wgrad_stream].source == IM_CONF_FLAG &&
        !sv_gpus_are_used(&s->conf))
        err = im_fail(&text, -EINVAL, "--wgrad-stream has no effect without a GPU: leave it out");
    if (err < 0)
        return fail(&text, err == -ENODEV ? IM_EXIT_UNAVAILABLE : IM_EXIT_USAGE);
#ifndef IMSUPER_GLOO
    if (im_conf_world(&s->conf) > 1 && !sv_gpus_are_used(&s->conf)) {
        fprintf(
            stderr,
            "imsuper: --ranks %" PRId64
            ": this program was built without Gloo, by which trainers work together; install libgloo-dev and "
            "build again, or give one trainer all cores: --trainer-threads\n",
            s->conf.ranks);
        return IM_EXIT_UNAVAILABLE;
    }
#endif
    return 0;
}

/* Trainers next to their GPUs. A machine that cannot be described is no reason not to train. */
static void choose_places(struct start *s)
{
    const struct sv_topology_source here = {.sysfs = "/sys"};
    char pci[IM_RANKS_MAX][16] = {{0}};
    struct im_conf_gpus gpus;
    struct im_text text = {0};

    if (!sv_gpus_are_used(&s->conf) || im_conf_parse_gpus(s->conf.gpus, &gpus) < 0)
        return;
    for (int r = 0; r < gpus.count; r++)
        memcpy(pci[r], s->gpus.gpu[gpus.devices[r]].pci, sizeof pci[r]);
    if (sv_topology_place(&here, pci, (uint32_t)gpus.count, &s->placement, &text) < 0)
        im_say(stderr, "imsuper: trainers are not bound to cores: %s", text.s);
}

static int status_of(int err)
{
    switch (err) {
    case -EINVAL:
    case -EBUSY:
        return IM_EXIT_USAGE;
    case -EMFILE:
    case -EFBIG:
        return IM_EXIT_UNAVAILABLE;
    default:
        return IM_EXIT_FAILED;
    }
}

/* As many epochs as the steps of a range test take. */
static void fit_to_lr_range_test(struct start *s)
{
    uint64_t images = (uint64_t)im_conf_step_images(&s->conf);
    uint64_t train = s->data.samples[IM_TRAIN];
    uint64_t steps = train / images > 0 ? train / images : 1;

    s->conf.epochs = (int64_t)(((uint64_t)s->conf.num_iter + steps - 1) / steps);
}

/* The index tells paths and labels apart, not bytes. */
static void say_changed_images(const struct sv_dataset *d)
{
    const uint64_t all = d->samples[IM_TRAIN] + d->samples[IM_VAL];
    char of[64] = "";

    if (d->changed == 0)
        return;
    if (d->changed_checked < all)
        snprintf(of, sizeof of, " of the first %" PRIu64 " asked", d->changed_checked);
    fprintf(stderr,
            "imsuper: %" PRIu64
            " image%s%s changed since this run began (%s%s); continuing uses the new bytes\n",
            d->changed, d->changed == 1 ? "" : "s", of, d->changed_names, d->changed > 3 ? ", ..." : "");
}

/* Weights that do not name their classes fit data with as many. */
static int check_outputs(const struct start *s, struct im_text *text)
{
    if ((int64_t)s->data.classes == s->conf.outputs)
        return 0;
    return im_fail(text, -EINVAL,
                   "%.300s has %" PRId64
                   " outputs without names, and the data has %u classes: give their names, one a "
                   "line in the order of the outputs, with --class-names FILE",
                   s->conf.init_from, s->conf.outputs, s->data.classes);
}

/* The dataset, and how the run is cut for it and for the machine. 0, or an exit status. */
static int measure(struct start *s)
{
    struct im_text text = {0};
    struct im_plan plan;
    char own[PATH_MAX];
    int err;

    sv_nodes_enter_run(&s->conf, own);
    err = choose_devices(s);
    if (err == 0)
        err = sv_continue_shape(&s->conf, &s->shared_otherwise, &text);
    sv_nodes_leave_run(&s->conf, own);
    if (err < 0)
        return fail(&text, status_of(err));
    if (err == 0)
        err = sv_dataset_load(&s->conf, &s->data, &text);
    if (err > 0)
        return err; /* why has been said */
    if (err == -EINTR)
        return IM_EXIT_RESUMABLE; /* sv_start_run() says it */
    if (err < 0)
        return fail(&text, IM_EXIT_BAD_DATA);
    say_changed_images(&s->data);
    err = sv_batch_choose(&s->conf, &s->gpus, s->data.samples[IM_TRAIN], s->data.classes, &s->batch, &text);
    if (err == -EINTR)
        return IM_EXIT_RESUMABLE;
    if (err < 0)
        return fail(&text, err == -ENODEV ? IM_EXIT_UNAVAILABLE : IM_EXIT_USAGE);
    if (s->conf.evaluate && check_outputs(s, &text) < 0)
        return fail(&text, IM_EXIT_BAD_DATA);
    if (s->conf.early_stop > 0 && s->data.samples[IM_VAL] == 0) {
        im_fail(&text, 0, "early-stop needs validation images, and the data set has none; see --val-split");
        return fail(&text, IM_EXIT_USAGE);
    }
    if (s->conf.lr_range_test)
        fit_to_lr_range_test(s);
    s->machine = (struct sv_machine){.cpus = (uint32_t)im_cpu_count(),
                                     .gpus = sv_gpus_are_used(&s->conf),
                                     .memory_bytes = im_memory_available(),
                                     .memory_total = im_memory_total()};
    choose_places(s);
    snprintf(s->conf.index_file, sizeof s->conf.index_file, "%s", s->data.index_file);
    err = sv_pixel_cache_plan(&s->conf, s->data.samples, s->data.hash, &s->pixels, &text);
    if (err < 0)
        return fail(&text, IM_EXIT_UNAVAILABLE);
    if (s->pixels.is_on && !*s->pixels.path) /* the rest is what others may use */
        s->machine.memory_bytes -= s->pixels.bytes;
    snprintf(s->conf.seek_file, sizeof s->conf.seek_file, "%s", s->pixels.is_on ? "" : s->data.seek_file);
    snprintf(s->conf.read_root, sizeof s->conf.read_root, "%s", s->data.read_root);
    s->conf.has_avif = s->data.has_avif;
    snprintf(s->conf.index_hash, sizeof s->conf.index_hash, "%s", s->data.hash);
    s->meeting.copies = s->data.copies; /* whose it is now */
    s->data.copies = NULL;
    err = sv_sizes_choose(&s->conf, &s->machine, s->data.samples, s->data.classes, &s->geometry, &text);
    if (err == 0)
        err = im_plan_from_conf(&s->conf, s->data.samples, &plan, &text);
    if (err < 0)
        return fail(&text, status_of(err));
    if (!im_conf_is_probe(&s->conf))
        sv_header_say_advice(&s->conf, sv_advice_updates(&s->conf, &plan));
    err = sv_advice_onecycle(&s->conf, &plan, &text);
    if (err < 0) {
        im_plan_fini(&plan);
        return fail(&text, status_of(err));
    }
    sv_advice_left_out(&s->conf, &plan, s->data.samples[IM_TRAIN], &s->left_out);
    if (sv_advice_single(&s->conf, &plan, s->data.samples[IM_TRAIN], &text))
        im_say(stderr, "imsuper: warning: %s", text.s);
    im_plan_fini(&plan);
    err = sv_continue_compare(&s->conf, &text);
    return err < 0 ? fail(&text, status_of(err)) : 0;
}

/* A file that a trainer would wait for, or never come to the end of, is refused before anything is started. */
static int check_file(const char *flag, const char *path, struct im_text *text)
{
    const char *of_run = strcmp(flag, "--resume") == 0 ? "last.state.safetensors" : "best.safetensors";
    struct im_text why = {""};
    char inside[PATH_MAX];
    struct stat st;
    int fd;

    if (!*path || strcmp(path, "auto") == 0)
        return 0;
    fd = im_open_regular(path, &st, &why);
    if (fd < 0 && snprintf(inside, sizeof inside, "%s/checkpoints/%s", path, of_run) < PATH_MAX &&
        access(inside, F_OK) == 0)
        return im_fail(text, -EINVAL, "%s: %.400s is the folder of a run: name its file, %.400s", flag, path,
                       inside);
    if (fd < 0)
        return im_fail(text, -EINVAL, "%s: %s", flag, why.s);
    close(fd);
    return 0;
}

/* A file of torch.save() has weights that can be used, and a state of another program's that cannot. */
static int refuse_torch(const char *path, struct im_text *text)
{
    unsigned char first[9] = {0};
    struct stat st;
    const int fd = strcmp(path, "auto") == 0 || !*path ? -1 : im_open_regular(path, &st, NULL);
    const ssize_t n = fd >= 0 ? pread(fd, first, sizeof first, 0) : 0;

    if (fd >= 0)
        close(fd);
    if (n < (ssize_t)sizeof first ||
        (memcmp(first, "PK\3\4", 4) != 0 && (first[0] != 0x80 || first[8] == '{')))
        return 0;
    return im_fail(
        text, -EINVAL,
        "--resume %.300s: this is a checkpoint of PyTorch; the optimizer's state and the position of another "
        "program cannot be continued; --init-from %.300s begins a run with its weights",
        path, path);
}

static int check_files(const struct im_conf *conf, struct im_text *text)
{
    int err = check_file("--init-from", conf->init_from, text);

    if (err == 0)
        err = check_file("--resume", conf->resume, text);
    return err < 0 ? err : refuse_torch(conf->resume, text);
}

static bool is_asked_to_stop(void *context)
{
    (void)context;
    return sv_stop_signal() != 0;
}

/* On several machines: finds the others. 0, or an exit status. */
static int meet(struct start *s)
{
    struct im_text text = {""};
    struct sv_launch launch;
    int err = s->conf.node_count > 1 ? sv_launch_find(getenv, &launch, &text) : 0;

    if (err < 0 || s->conf.node_count == 1 || s->conf.dry_run)
        return err < 0 ? fail(&text, IM_EXIT_USAGE) : 0;
    err = sv_nodes_meet(&s->conf, &launch, &s->found, is_asked_to_stop, &s->meeting, &text);
    if (err == -EINTR)
        return IM_EXIT_RESUMABLE; /* sv_start_run() says it */
    if (err < 0)
        return fail(&text, err == -EINVAL || err == -EACCES ? IM_EXIT_USAGE : IM_EXIT_UNAVAILABLE);
    return 0;
}

/* Which machine is node 0 now. Negative errno with a sentence. */
static int find_head(struct start *s, struct im_text *text)
{
    struct sv_launch launch;
    int err = s->conf.node_count > 1 ? sv_launch_find(getenv, &launch, text) : 0;

    if (err == 0 && s->conf.node_count > 1)
        err = sv_nodes_find_head(&s->conf, &launch, is_asked_to_stop, &s->found, text);
    s->began = s->found.began;
    return err;
}

static int check_limits(const struct start *s)
{
    const struct sv_limits_need need = sv_limits_need(&s->conf, &s->geometry);
    struct im_text text = {0};

    return sv_limits_check(&need, &text) < 0 ? fail(&text, IM_EXIT_UNAVAILABLE) : 0;
}

static int try_folder(struct start *s, struct im_text *text)
{
    int err = find_head(s, text);

    if (err == 0)
        err = sv_nodes_part(&s->conf, text);
    if (err == 0)
        err = check_files(&s->conf, text);
    return err == 0 ? sv_rundir_open(&s->conf, &s->lock, text) : err;
}

/* Its part of the run, and the folder of that. Where machines have the run's folder in common, another may hold it: about to be
 * node 0, or node 0 before, which has not noticed yet that it is cut off, or still saves. */
static int take_folder(struct start *s, struct im_text *text)
{
    const struct im_conf given = s->conf;
    const im_ns until = im_now() + FOLDER_NS;
    int err = try_folder(s, text);

    while (err == -EBUSY && s->conf.node_count > 1 && s->conf.node_index == 0 && !s->conf.dry_run &&
           sv_nodes_may_take_over(&given) && im_now() < until) {
        if (!s->found.looks_again)
            im_say(stderr,
                   "imsuper: %s; on several machines it may be that of a node 0 before: looking for another",
                   text->s);
        s->found.looks_again = true;
        s->conf = given;
        err = try_folder(s, text);
    }
    return err;
}

/* Everything that can be wrong is found here, before anything is started. 0, or an exit status; *ret_done:
 * the run has all its epochs. */
static int prepare(struct start *s, bool *ret_done)
{
    struct im_text text = {0}, note = {0};
    char own[PATH_MAX];
    int status, err = take_folder(s, &text);

    if (err == -EINTR)
        return IM_EXIT_RESUMABLE; /* sv_start_run() says it */
    if (err == -ETIMEDOUT)
        return fail(&text, IM_EXIT_RESUMABLE);
    if (err < 0)
        return fail(&text, status_of(err));
    err = sv_continue_file(&s->conf, &text);
    if (err < 0)
        return fail(&text, status_of(err));
    im_ctl_remove(s->conf.run_dir); /* that a run left which was killed as a whole; we hold its lock now */
    sv_nodes_enter_run(&s->conf, own);
    err = sv_rundir_check_done(s->conf.run_dir, s->conf.epochs, ret_done, &note, &text);
    sv_nodes_leave_run(&s->conf, own);
    if (note.s[0])
        im_say(stderr, "imsuper: %s", note.s);
    if (*ret_done && err == 0)
        return 0;
    status = err < 0 ? fail(&text, status_of(err)) : meet(s);
    if (status == 0)
        status = measure(s);
    if (status == 0)
        status = check_limits(s);
    if (status == 0 && sv_rundir_describe(&s->conf, &text) < 0)
        status = fail(&text, IM_EXIT_FAILED);
    return status;
}

/* A start that failed leaves no run behind that never was one. What the log says of a failure without a sentence
 * of its own stays. */
static void discard(struct start *s, int status)
{
    if (s->lock.file < 0)
        return;
    sv_rundir_withdraw(&s->conf);
    if (status != IM_EXIT_FAILED || s->run.control == NULL)
        sv_rundir_discard(s->conf.run_dir, &s->lock);
    else
        sv_rundir_unlock(&s->lock);
}

static void set_counts(struct im_control *c, enum im_role role, int64_t count, bool automatic)
{
    atomic_store_explicit(&c->wanted[role], (uint32_t)count, memory_order_relaxed);
    atomic_store_explicit(&c->automatic[role], automatic, memory_order_relaxed);
}

static int create(struct start *s)
{
    char frozen[IM_CONF_FROZEN_BYTES];
    struct im_text text = {0};
    int err = im_conf_freeze(&s->conf, frozen, sizeof frozen);

    if (err == 0)
        err = im_run_create(&s->geometry, frozen, (uint32_t)strlen(frozen) + 1, &s->run, &text);
    if (err < 0)
        return fail(&text, status_of(err));
    memcpy(s->run.control->nodes_place, s->meeting.place, sizeof s->run.control->nodes_place);
    set_counts(s->run.control, IM_ROLE_READER, s->conf.readers, s->conf.readers_auto);
    set_counts(s->run.control, IM_ROLE_AUGMENTER, s->conf.augmenters, s->conf.augmenters_auto);
    return 0;
}

/* "lr 0.1 cosine", "lr 0.1 x 4 (linear: 1024 images a step) = 0.4 onecycle". */
static void format_rate(const struct im_conf *c, char *buffer, size_t n)
{
    double images = (double)im_conf_step_images(c), times = images / 256;
    const char *schedule = im_conf_choice(IM_KEY_schedule, c->schedule);

    if (c->lr_scale == IM_LR_SCALE_SQRT)
        times = sqrt(times);
    if (c->lr_scale == IM_LR_SCALE_NONE)
        snprintf(buffer, n, "lr %g %s", c->lr, schedule);
    else if (*c->resize_schedule)
        snprintf(buffer, n, "lr %g x %s of each epoch's images a step / 256, %s", c->lr,
                 im_conf_choice(IM_KEY_lr_scale, c->lr_scale), schedule);
    else
        snprintf(buffer, n, "lr %g x %.4g (%s: %g images a step) = %.4g %s", c->lr, times,
                 im_conf_choice(IM_KEY_lr_scale, c->lr_scale), images, c->lr * times, schedule);
}

/* What a step does besides: "momentum 0.9 wd 0.0001, mixup 0.2, ema 0.999". */
static const char *format_recipe(const struct im_conf *c, char *s, size_t n)
{
    const bool adaptive = im_optimizer_is_adaptive(im_conf_rest_opt(c));
    const struct {
        const char *name;
        double value;
        bool on;
    } parts[] = {
        {" wd", c->weight_decay, true},
        {", bce threshold", c->bce_threshold, c->bce_threshold > 0},
        {", smoothing", c->label_smoothing, c->label_smoothing > 0},
        {", mixup", c->mixup, c->mixup > 0},
        {", cutmix", c->cutmix, c->cutmix > 0},
        {", clip", c->grad_clip, c->grad_clip > 0},
        {", ema", c->ema, c->ema > 0},
        {", layer decay", c->layer_decay, c->layer_decay < 1},
    };
    size_t used = 0;

    if (c->opt == IM_OPTIMIZER_MUON)
        used = (size_t)snprintf(s, n, "momentum %g, rest %s lr %g ", c->muon_momentum,
                                im_conf_choice(IM_KEY_muon_rest, c->muon_rest), c->lr * im_conf_rest_rate(c));
    if (used < n)
        used += (size_t)(adaptive ? snprintf(s + used, n - used, "betas %g %g", c->beta1, c->beta2)
                                  : snprintf(s + used, n - used, "momentum %g", c->momentum));
    for (size_t i = 0; i < IM_COUNT(parts); i++)
        if (parts[i].on && used < n)
            used += (size_t)snprintf(s + used, n - used, "%s %g", parts[i].name, parts[i].value);
    if (c->loss == IM_CONF_LOSS_BCE && used < n)
        snprintf(s + used, n - used, ", bce");
    return s;
}

/* "device  2 x NVIDIA H200 ..." and "cores   trainers 0-1|2-3 (near their GPUs), others 4-15". */
static void print_devices(const struct start *s)
{
    const struct sv_placement *p = &s->placement;
    char line[1024], cpus[256];
    size_t used = 0;

    if (*sv_gpus_format(&s->conf, &s->gpus, line, sizeof line))
        sv_say_header(s->conf.plain, "device  %s", line);
    if (p->nodes == 0)
        return;
    line[0] = 0;
    for (uint32_t r = 0; r < p->ranks && used + 32 < sizeof line; r++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%s", r ? "|" : "",
                                 sv_format_cpus(&p->trainer[r].cpus, cpus, sizeof cpus));
    used = used < sizeof line ? used : sizeof line - 1;
    for (uint32_t n = 0; n < p->nodes && used + 32 < sizeof line; n++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%s", n ? "|" : "; the others ",
                                 sv_format_cpus(&p->worker[n].cpus, cpus, sizeof cpus));
    sv_say_header(s->conf.plain, "cores   trainers %s%s", line,
                  p->applies ? "" : " (of another machine's description: not applied)");
    if (p->far > 0)
        sv_say_header(s->conf.plain,
                      "cores   %u of the trainers may not use any core near their GPU (cpuset or affinity)",
                      p->far);
}

static const char *ending(int64_t count)
{
    return count == 1 ? "" : "s";
}

/* "frozen  backbone until after epochs 2,4, batch norms". */
static void print_frozen(const struct im_conf *c)
{
    const char *norms = c->freeze[0] ? ", batch norms" : "batch norms";

    if (c->freeze[0] || c->freeze_bn)
        sv_say_header(c->plain, "frozen  %s%s%s%s", c->freeze,
                      c->unfreeze_epochs[0] ? " until after epochs " : "", c->unfreeze_epochs,
                      c->freeze_bn ? norms : "");
}

/* "classes sampler balanced, weights balanced (class_weights.txt)". */
static void print_classes(const struct im_conf *c)
{
    const bool balanced = c->sampler == IM_SAMPLER_BALANCED;

    if (balanced || c->class_weights[0])
        sv_say_header(c->plain, "classes %s%s%s%s%s", balanced ? "sampler balanced" : "",
                      balanced && c->class_weights[0] ? ", " : "", c->class_weights[0] ? "weights " : "",
                      c->class_weights, c->class_weights[0] ? " (class_weights.txt)" : "");
}

static void print_nodes(const struct start *s)
{
    const struct im_conf *c = &s->conf;
    struct im_text how = {"a dry run does not look for the others"}, succession;

    if (c->node_count == 1)
        return;
    if (!c->dry_run)
        sv_meeting_describe(&s->meeting, &how);
    sv_say_header(c->plain,
                  "nodes   %" PRId64 " machines with %" PRId64 " trainer%s each; this is node %" PRId64
                  "; %s",
                  c->node_count, c->ranks, ending(c->ranks), c->node_index, how.s);
    sv_say_header(c->plain, "nodes   %s", sv_nodes_describe_succession(c, &succession));
}

static void print_header(const struct start *s)
{
    const struct im_conf *c = &s->conf;
    char train[24], val[24], rate[128], text[4096];

    if (c->quiet)
        return;
    if (c->evaluate) {
        im_say(stderr,
               "%s %s, %s image%s, batch %" PRId64 ", %" PRId64 " px of %" PRId64 ", %" PRId64
               " trainer%s (%" PRId64 " thread%s%s)",
               *c->image_list ? "predict" : "eval   ", im_conf_choice(IM_KEY_model, c->model),
               sv_format_count(s->data.samples[IM_VAL], val, sizeof val),
               ending((int64_t)s->data.samples[IM_VAL]), c->batch_size, im_conf_eval_image_size(c),
               im_conf_eval_resize(c), c->ranks, ending(c->ranks), c->trainer_threads,
               ending(c->trainer_threads), c->ranks > 1 ? " each" : "");
        print_devices(s);
        return;
    }
    if (c->lr_range_test) {
        sv_say_header(c->plain,
                      "lr-find %s, %" PRId64 " steps of %" PRId64 " images of %" PRId64
                      " px, lr %g to %g, seed %" PRIu64 "",
                      im_conf_choice(IM_KEY_model, c->model), c->num_iter, im_conf_step_images(c),
                      c->image_size, c->start_lr, c->end_lr, c->seed);
        return;
    }
    sv_say_header(c->plain, "imsuper %s  run %s", IMSUPER_VERSION, c->run_name);
    sv_say_header(c->plain, "folder  %s (all options: config.yaml)", c->run_dir);
    sv_say_header(c->plain, "start   %s", sv_header_origin(c, text, sizeof text));
    sv_say_header(c->plain, "data    %s train, %s val, %u classes, layout %s, index %s in %.2f s",
                  sv_format_count(s->data.samples[IM_TRAIN], train, sizeof train),
                  sv_format_count(s->data.samples[IM_VAL], val, sizeof val), s->data.classes, s->data.layout,
                  s->data.cached ? "cached" : "built", s->data.seconds);
    if (s->left_out.s[0])
        sv_say_header(c->plain, "data    %s", s->left_out.s);
    sv_say_header(c->plain, "augment %s", sv_header_augment(c, text, sizeof text));
    sv_say_header(c->plain, "model   %s", sv_header_model(c, text, sizeof text));
    sv_say_header(c->plain, "amp     %s", s->precision.s);
    if (s->pixels.is_on)
        sv_say_header(c->plain, "pixels  %s", sv_pixel_cache_line(&s->pixels, text, sizeof text));
    if (s->batch.s[0])
        sv_say_header(c->plain, "batch   %s", s->batch.s);
    format_rate(c, rate, sizeof rate);
    sv_header_batch(c, text, sizeof text / 2);
    sv_say_header(c->plain, "train   %" PRId64 " epoch%s, %s, %s %s, %s, seed %" PRIu64 "", c->epochs,
                  ending(c->epochs), text, im_conf_choice(IM_KEY_opt, c->opt), rate,
                  format_recipe(c, text + sizeof text / 2, sizeof text / 2), c->seed);
    print_classes(c);
    print_frozen(c);
    sv_say_header(c->plain,
                  "host    %u cpu: %" PRId64 " reader%s, %" PRId64 " augmenter%s, %" PRId64
                  " trainer%s (%" PRId64 " thread%s%s); shared memory %.2f of %.1f GiB",
                  s->machine.cpus, c->readers, ending(c->readers), c->augmenters, ending(c->augmenters),
                  c->ranks, ending(c->ranks), c->trainer_threads, ending(c->trainer_threads),
                  c->ranks > 1 ? " each" : "", (double)sv_sizes_bytes(&s->geometry) / (1 << 30),
                  (double)s->machine.memory_bytes / (1 << 30));
    sv_say_header(c->plain, "decode  an image may take up to %" PRId64 " MiB to decode (--decode-memory-mib)",
                  c->decode_memory_mib);
    if (s->shared_otherwise.s[0])
        sv_say_header(c->plain, "%s", s->shared_otherwise.s);
    print_nodes(s);
    print_devices(s);
    if (c->time_limit[0])
        sv_say_header(c->plain, "limit   %s from now; the run stops before it, saved, with exit status %d",
                      c->time_limit, IM_EXIT_RESUMABLE);
}

/* Requests to save wait until the warden reads them. Programs that measure the data inherit this: a signal to all
 * processes does not end them either. */
static void keep_requests_waiting(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

bool sv_start_is_ours(struct im_conf *conf, int *ret_status)
{
    struct im_text note = {""}, text = {""};
    struct sv_launch launch;
    bool is_other;

    *ret_status = IM_EXIT_OK;
    if (sv_launch_find(getenv, &launch, &text) < 0 || sv_nodes_choose(conf, &launch, &text) < 0) {
        *ret_status = fail(&text, IM_EXIT_USAGE);
        return false;
    }
    sv_launcher_ranks(conf, &launch, &is_other, &note);
    if (note.s[0] && !conf->quiet)
        im_say(stderr, "imsuper: %s", note.s);
    return !is_other;
}

static bool says_json(const struct im_conf *conf)
{
    return conf->json && !im_conf_is_probe(conf);
}

/* The user has asked to stop before anything was started. */
static int say_stopped(const struct start *s)
{
    im_say(stderr,
           "imsuper: %s while the data was looked at: nothing was trained; the same command %s the run",
           strsignal(sv_stop_signal()), sv_rundir_is_described(s->conf.run_dir) ? "continues" : "begins");
    return IM_EXIT_RESUMABLE;
}

/* No process writes into the run folder any more. One that was killed while it wrote has left half a file; and a run that was
 * done at that moment is done. */
static int look_at_end(const struct start *s, int status)
{
    const bool entered = atomic_load_explicit(&s->run.control->accepted, memory_order_relaxed) != 0;

    sv_history_tidy(s->conf.run_dir);
    return status == IM_EXIT_FORCED && entered && sv_rundir_done_epochs(s->conf.run_dir) > 0 ? IM_EXIT_OK
                                                                                             : status;
}

static int start(struct start *s, struct im_conf *conf, struct sv_messages *messages)
{
    struct sv_warden_fds fds = {.pixels = -1};
    struct sv_kept kept = {.count = 0};
    struct sv_programs programs;
    struct im_text text = {0};
    bool done = false;
    int status, meeting = -1;

    if (sv_limits_first(&text) < 0 || sv_programs_open(&programs, &text) < 0)
        return fail(&text, IM_EXIT_UNAVAILABLE);
    keep_requests_waiting();
    sv_hold_stop_signals();
    signal(SIGPIPE, SIG_IGN); /* whoever read what we say may leave; the run goes on */
    signal(SIGTTOU, SIG_IGN); /* and a terminal may be another job's (stty tostop) */
    status = prepare(s, &done);
    if (sv_stop_signal())
        status = say_stopped(s);

    *conf = s->conf;
    if (status) {
        discard(s, status);
        return status;
    }
    if (done) {
        if (says_json(&s->conf))
            sv_start_say_done(&s->conf);
        im_say(stderr,
               "imsuper: the run in %s is done; more --epochs continue it, another --run-name begins anew",
               s->conf.run_dir);
        return IM_EXIT_OK;
    }
    print_header(s);
    if (says_json(&s->conf))
        sv_start_say_prepared(&s->conf, &s->data, sv_sizes_bytes(&s->geometry), s->precision.s);
    sv_dataset_warn(&s->data, &s->conf);
    if (s->conf.dry_run) {
        if (!s->conf.json)
            sv_dry_run_options(&s->conf);
        sv_rundir_withdraw(&s->conf);
        sv_rundir_discard(s->conf.run_dir, &s->lock);
        fprintf(stderr, "imsuper: dry run: nothing was started\n");
        return IM_EXIT_OK;
    }
    status = create(s);
    if (status == 0 && s->conf.node_count > 1 && sv_meeting_pass(&s->meeting, &meeting, &text) < 0)
        status = fail(&text, IM_EXIT_FAILED);
    if (status == 0 && s->pixels.is_on) {
        fds.pixels = sv_pixel_cache_open(&s->pixels, &text);
        status = fds.pixels < 0 ? fail(&text, IM_EXIT_UNAVAILABLE) : 0;
    }
    if (status == 0 && sv_warden_open(&fds, &text) < 0) {
        status = fail(&text, IM_EXIT_FAILED);
    }
    if (status == 0) {
        fds.programs = programs;
        fds.lock = s->lock.second >= 0 ? s->lock.second : s->lock.file; /* we hold both */
        fds.index = open(s->conf.index_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        fds.meeting = meeting;
        fds.listener = s->meeting.listener;
        sv_kept_read(s->conf.run_dir, &kept);
        fds.kept = &kept;
        sv_messages_end(messages);
        status = sv_warden_run(&s->run, &fds, &s->placement);
        sv_kept_fini(&kept);
        im_ctl_remove(s->conf.run_dir);
        status = look_at_end(s, status);
    }
    if (status && !sv_rundir_is_described(s->conf.run_dir))
        discard(s, status);
    if (s->run.control) {
        s->looks_elsewhere = sv_nodes_has_lost_head(&s->conf, s->run.control, status);
        s->began = s->began ? s->began : (im_ns)s->run.control->created_ns;
        sv_nodes_keep(s->run.control, &s->meeting);
    }
    im_run_close(&s->run);
    return status;
}

int sv_start_run(struct im_conf *conf)
{
    struct start s = {
        .conf = *conf, .lock = {-1, -1}, .meeting = {.listener = -1}, .found = {.before = {.listener = -1}}};
    struct sv_messages messages;
    int status;

    sv_messages_begin(&messages);
    status = start(&s, conf, &messages);
    sv_messages_end(&messages);
    if (s.looks_elsewhere && !sv_stop_signal()) {
        sv_rundir_unlock(&s.lock);
        if (s.meeting.listener >= 0)
            close(s.meeting.listener);
        s.meeting.listener = -1;
        status = sv_nodes_execute_again(s.began, &s.meeting, status);
    }
    sv_meeting_fini(&s.meeting);
    sv_meeting_fini(&s.found.before);
    free(s.data.copies);
    return status;
}

int sv_cmd_start(struct im_conf *conf)
{
    int status;

    conf->quiet |= conf->json; /* its lines are in place of the screen */

    return sv_start_is_ours(conf, &status) ? sv_start_run(conf) : status;
}
