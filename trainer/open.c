/* Opens a trainer from its options to its first batch, and closes it. The order matters: the position comes
 * first, because the readers start on it while the network is being built; all memory is allocated before the
 * run is reported as ready, so that a run without enough memory fails here. */
#include "trainer/impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/base/log.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/backends/cuda/plan_cache.h"
#include "trainer/checkpoint/classes.h"
#include "trainer/checkpoint/import.h"
#include "trainer/checkpoint/import_head.h"
#include "trainer/checkpoint/resume.h"
#include "trainer/class_weights.h"
#include "trainer/finetune.h"
#include "trainer/model/flops.h"
#include "trainer/network_config.h"

#define OUTAGE_NAP_NS (200 * IM_MS) /* between two looks whether the workspace is back */

/* Progress of planning: a first start takes minutes on a GPU. Stops when the run does. */
static int planning(void *context, int at, int of)
{
    struct im_child *child = context;

    im_stats_gauge(child->stats, IM_G_PLANS_OF, of);
    im_stats_gauge(child->stats, IM_G_PLANS, at);
    atomic_fetch_add_explicit(&child->entry->progress, 1, memory_order_relaxed);
    return im_child_should_leave(child);
}

static int open_network(struct tr_trainer *t, struct im_text *text)
{
    struct tr_network_config config;
    int err = tr_network_configure(t->child->conf, (int)t->child->run->geometry.classes, &config, text);

    if (err < 0)
        return err;
    if (t->child->conf->sync_bn && t->child->plan->world > 1)
        config.bn_sync = &t->ranks.bn_sync;
    if (im_conf_gpu(t->child->conf, t->child->index) >= 0)
        config.device.index = im_conf_gpu(t->child->conf, t->child->index);
    config.device.progress = planning;
    config.device.progress_context = t->child;
    config.device.recovers = t->begins_again;
    if (tr_plan_cache_path(t->plan_cache, sizeof t->plan_cache) == 0)
        config.device.cache = t->plan_cache;
    config.rank_sum = tr_ranks_rank_sum(&t->ranks);
    tr_training_step_network(t->child->conf, &config);
    err = tr_multi_label_open(&t->multi, t->child, text);
    if (err < 0)
        return err;
    if (tr_is_multi_label(&t->multi)) {
        config.loss.sets = t->multi.sets.bits;
        config.loss.set_words = (int)t->multi.sets.words;
        config.loss.set_count = (int)t->multi.sets.count;
    }
    if (*t->child->conf->class_weights)
        err = tr_class_weights_read(t->child->conf->run_dir, config.classes,
                                    t->child->conf->multi_label                      ? TR_SCALE_NONE
                                    : t->child->conf->sampler == IM_SAMPLER_BALANCED ? TR_SCALE_BALANCED
                                                                                     : TR_SCALE_IMAGES,
                                    &t->class_weights, text);
    if (err < 0)
        return err;
    config.loss.weights = t->class_weights;
    return tr_network_new(&config, &t->net, text);
}

/* Where in the run the trainers are, and how fast they go through it, with --elastic drop. */
static void pace_of(const struct tr_trainer *t, struct tr_schedule_pace *ret)
{
    const struct im_phase *now = im_plan_phase_of_batch(t->child->plan, t->at.next_batch);
    const bool trains = now && now->split == IM_TRAIN;

    *ret = (struct tr_schedule_pace){.taken = t->at.steps,
                                     .epoch = now ? now->epoch + !trains : (uint32_t)t->child->conf->epochs,
                                     .ranks = tr_world(t->child),
                                     .order_ranks = (uint32_t)im_conf_order_ranks(t->child->conf),
                                     .accumulate = (uint32_t)t->child->conf->accumulate};
    if (trains) {
        ret->order = t->at.window_order;
        ret->step = t->at.next_batch - now->first_batch - t->at.window_batches;
    }
}

/* The optimiser steps of every epoch, the same for all ranks. */
static int open_schedule(struct tr_trainer *t, struct im_text *text)
{
    const struct im_plan *plan = t->child->plan;
    struct tr_schedule_epoch *epochs = calloc(plan->phases, sizeof *epochs);
    uint64_t *batches = calloc(plan->phases, sizeof *batches);
    const uint32_t window = (uint32_t)t->child->conf->accumulate;
    struct tr_schedule_pace pace = {0};
    uint32_t count = 0;
    int err = epochs && batches ? 0 : -ENOMEM;

    for (uint32_t i = 0; i < plan->phases && err == 0; i++) {
        const struct im_phase *pass = &plan->phase[i];

        if (pass->split != IM_TRAIN)
            continue;
        batches[count] = im_plan_order_batches(pass);
        epochs[count++] = (struct tr_schedule_epoch){.steps = (pass->steps + window - 1) / window,
                                                     .images = pass->batch_size * plan->window};
    }
    if (t->child->conf->elastic == IM_ELASTIC_DROP)
        pace_of(t, &pace);
    pace.batches = batches;
    if (err == 0 && !t->child->conf->evaluate) /* which has no steps */
        err = tr_schedule_init_paced(&t->schedule, t->child->conf, epochs, count, &pace, text);
    free(epochs);
    free(batches);
    return err;
}

/* Errors of a workspace that is away, or lets nobody in, for a while. */
static bool is_outage(int err)
{
    switch (-err) {
    case EACCES:
    case EPERM:
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case EIO:
    case ESTALE:
    case ENOTCONN:
    case ENODEV:
    case ENXIO:
    case EHOSTDOWN:
    case EREMOTEIO:
    case ETIMEDOUT:
    case EROFS:
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
        return true;
    default:
        return false;
    }
}

static int look_for_state(struct tr_trainer *t, const char *directory, struct tr_resume *ret_from,
                          struct im_text *text)
{
    int err = tr_trainer_leads(t)
                  ? tr_checkpoint_store_open(&t->store, directory, (int)t->child->conf->checkpoint_keep, text)
                  : tr_checkpoint_store_view(&t->store, directory, text);

    return err < 0 ? err : tr_resume_find(t->child, &t->store, ret_from, text);
}

/* The first trainers of a start fail where a person sees it. Those that begin again wait for the workspace, with
 * what was trained in it, until that is back or somebody asks to stop. > 0: leave. */
static int await_state(struct tr_trainer *t, const char *directory, struct tr_resume *ret_from,
                       struct im_text *text)
{
    const struct timespec nap = {.tv_nsec = OUTAGE_NAP_NS};
    bool told = false;
    int err, leave = 0;

    while ((err = look_for_state(t, directory, ret_from, text)) < 0 && t->begins_again && is_outage(err)) {
        if (!told)
            im_log(IM_LOG_WARN, "the run's folder cannot be used; waiting until it can", "why=%s",
                   im_log_quote(&(struct im_quoted){0}, text->s));
        told = true;
        im_stats_enter(t->child->stats, IM_WAIT_IO);
        nanosleep(&nap, NULL);
        atomic_fetch_add_explicit(&t->child->entry->progress, 1, memory_order_relaxed);
        leave = im_child_should_leave(t->child);
        if (leave)
            return leave;
    }
    if (told)
        im_stats_enter(t->child->stats, IM_WORK);
    if (told && err == 0)
        im_log(IM_LOG_WARN, "the run's folder can be used again", "");
    return err;
}

/* Finds the position of the run. */
static int find_position(struct tr_trainer *t, struct tr_resume *ret_from, struct im_text *text)
{
    const struct im_conf *conf = t->child->conf;
    char directory[PATH_MAX];
    int err, n = snprintf(directory, sizeof directory, "%s/checkpoints", conf->run_dir);

    if (n < 0 || (size_t)n >= sizeof directory)
        return -ENAMETOOLONG;
    err = tr_ranks_await_leader(t->child);
    if (err)
        return err;
    /* Before the position is published, for then the data plane is set for this generation. */
    t->begins_again = atomic_load_explicit(&t->child->run->control->generation, memory_order_acquire) > 0;
    err = await_state(t, directory, ret_from, text);
    if (err)
        return err;
    text->s[0] = 0; /* that there is none yet is no error */
    t->at = ret_from->state ? ret_from->at : tr_position_start(conf);
    return 0;
}

/* A disk that does not take them keeps the old ones, which the next checkpoint replaces. */
static void repair_exports(struct tr_trainer *t, const struct tr_safetensors *state)
{
    struct im_text text = {""};

    if (tr_checkpoint_repair(&t->store, state, &text) < 0)
        im_log(IM_LOG_WARN, "the weights beside the checkpoint are older than it", "why=%s",
               im_log_quote(&(struct im_quoted){0}, text.s));
}

static int open_snapshot(struct tr_trainer *t, struct im_text *text)
{
    struct tr_position_text position;

    tr_trainer_position(t, &position);
    tr_position_write_times(&t->at, &position);
    tr_identity_write(&t->identity, &position);
    return tr_snapshot_open(&t->snapshot, t->child, &t->state, &position, t->at.next_batch, t->begins_again,
                            text);
}

/* The pass of `split` that needs most memory, from the position on; NULL: none. */
static const struct im_phase *largest_pass(const struct tr_trainer *t, uint32_t split)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_phase *found = NULL, *now = im_plan_phase_of_batch(plan, t->at.next_batch);
    uint64_t most = 0;

    for (const struct im_phase *p = now; p && p < plan->phase + plan->phases; p++) {
        uint64_t pixels = (uint64_t)p->batch_size * p->image_size * p->image_size;

        if (p->split == split && pixels > most) {
            most = pixels;
            found = p;
        }
    }
    return found;
}

static int prepare_batch(struct tr_trainer *t, const struct im_phase *p, uint64_t batch, struct im_text *text)
{
    int n = (int)im_plan_batch_count(t->child->plan, batch, t->child->index);

    return n > 0 ? tr_network_prepare(t->net, n, (int)p->image_size, p->split == IM_TRAIN, text) : 0;
}

/* For its full batches and the short one at its end. */
static int prepare_pass(struct tr_trainer *t, const struct im_phase *p, struct im_text *text)
{
    int err = p ? prepare_batch(t, p, p->first_batch, text) : 0;

    return p && err == 0 ? prepare_batch(t, p, p->first_batch + p->steps - 1, text) : err;
}

/* What is trained at the position. Where more will be trained later, that graph comes first: it is the largest. */
static int choose_groups(struct tr_trainer *t, struct im_text *text)
{
    const struct im_conf *conf = t->child->conf;
    const struct im_phase *now = im_plan_phase_of_batch(t->child->plan, t->at.next_batch);
    const uint32_t last = (uint32_t)conf->epochs - 1;
    struct tr_position end = t->at;
    bool changed;
    int err = 0;

    if (conf->unfreeze_epochs[0])
        err = tr_finetune_epoch(t->net, &end, conf, last, &changed, text);
    if (err == 0 && conf->unfreeze_epochs[0])
        err = prepare_pass(t, largest_pass(t, IM_TRAIN), text);
    return err < 0 ? err : tr_finetune_epoch(t->net, &t->at, conf, now ? now->epoch : last, &changed, text);
}

/* Prepares graphs: of the largest batch first, so that a run without the memory for its last epochs fails now,
 * then of the next two passes, so that none waits for plans. Later sizes are made on demand, in the memory that
 * is there. */
static int prepare_graphs(struct tr_trainer *t, struct im_text *text)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_phase *now = im_plan_phase_of_batch(plan, t->at.next_batch);
    int err = prepare_pass(t, largest_pass(t, IM_TRAIN), text);

    if (err == 0)
        err = prepare_pass(t, largest_pass(t, IM_VAL), text);
    for (const struct im_phase *p = now; p && p < now + 2 && p < plan->phase + plan->phases && err == 0; p++)
        err = prepare_pass(t, p, text);
    return err;
}

/* Whether the classifier stays as it was drawn: asked for, or of a fine-tuning with other classes. */
static int choose_head(struct tr_trainer *t, bool *ret_new, struct im_text *text)
{
    const struct im_conf *conf = t->child->conf;
    const struct tr_model *model = tr_network_model(t->net);
    struct im_text why = {""};
    bool fits = true;
    int err = 0;

    if (im_conf_finetunes(conf) && !conf->init_skip_head)
        err = tr_import_head_fits(conf->init_from, model, t->state.classes, &fits, &why, text);
    *ret_new = conf->init_skip_head || !fits;
    if (err == 0 && !fits && tr_trainer_leads(t))
        im_log(IM_LOG_INFO, "the classifier is new", "classes=%d why=%s", model->classes,
               im_log_quote(&(struct im_quoted){0}, why.s));
    return err;
}

/* Reads the names of the classes, which all that is written from now on holds. Where their file is gone, a state that
 * training continues from has them too. */
static void name_classes(struct tr_trainer *t, const struct tr_safetensors *from)
{
    struct im_text why = {""};
    char *names = tr_classes_read(t->child->conf->run_dir, t->child->run->geometry.classes, &why);
    const char *kept = from ? tr_safetensors_metadata(from, TR_CLASSES_KEY) : NULL;

    if (!names && kept)
        names = strdup(kept);
    tr_state_name_classes(&t->state, names);
    if (why.s[0] && !names)
        im_log(IM_LOG_WARN, "checkpoints will not name the classes", "why=%s",
               im_log_quote(&(struct im_quoted){0}, why.s));
}

/* Weights whose classes have another order. An evaluation's index has their order. */
static int order_classes(struct tr_trainer *t, struct im_text *text)
{
    const struct im_conf *conf = t->child->conf;
    struct im_text note = {""};
    int err = conf->evaluate ? 0 : tr_classes_map(conf->init_from, t->net, t->state.classes, &note, text);

    if (err > 0 && tr_trainer_leads(t))
        im_log(IM_LOG_WARN, "the classifier is ordered by class name", "why=%s",
               im_log_quote(&(struct im_quoted){0}, note.s));
    else if (err == 0 && note.s[0] && tr_trainer_leads(t))
        im_log(IM_LOG_WARN, "the classifier may have another order of classes", "why=%s",
               im_log_quote(&(struct im_quoted){0}, note.s));
    return err < 0 ? err : 0;
}

/* Loads the initial weights of a new run, with --init-from. */
static int import_weights(struct tr_trainer *t, struct im_text *text)
{
    const struct im_conf *conf = t->child->conf;
    bool new_head = false;
    struct im_text note = {""};
    size_t loaded = 0;
    int err;

    if (!conf->init_from[0])
        return 0;
    err = choose_head(t, &new_head, text);
    if (err == 0)
        err = tr_import(conf->init_from, t->net, new_head, &loaded, &note, text);
    if (err == 0 && !new_head)
        err = order_classes(t, text);
    if (err == 0 && conf->ema > 0 && tr_network_reset_averages(t->net) < 0)
        err = im_fail(text, -EIO, "cannot set the averaged weights");
    if (err == 0 && note.s[0] && tr_trainer_leads(t))
        im_log(IM_LOG_WARN, "the weights have other names", "how=%s",
               im_log_quote(&(struct im_quoted){0}, note.s));
    if (err == 0)
        im_log(IM_LOG_INFO, "weights loaded", "from=%s tensors=%zu",
               im_log_quote(&(struct im_quoted){0}, conf->init_from), loaded);
    return err;
}

/* Starts telemetry of this rank's GPU; its failure does not end the run. */
static int open_telemetry(struct tr_trainer *t, struct im_text *text)
{
    const struct im_conf *conf = t->child->conf;
    const int device = im_conf_gpu(conf, t->child->index);
    struct tr_gpu_properties properties = {0};
    int err;

    if (device < 0)
        return 0;
    err = tr_cuda_load(&t->cuda, text);
    if (err == 0)
        err = t->cuda->gpu_query(device, &properties, text);
    if (err < 0)
        return err;
    t->peak = tr_peak_flops(properties.name, (enum imk_dtype)im_conf_amp(conf), conf->tf32);
    return tr_telemetry_open(t->child->stats, properties.uuid, TR_TELEMETRY_INTERVAL_NS, &t->telemetry);
}

/* Pins the batch ring, so that a device copies batches from it directly. If the kernel or the driver refuses,
 * batches are copied to pinned memory first. */
static void pin_ring(struct tr_trainer *t)
{
    const struct im_segment *ring = &t->child->run->batch_segment[t->child->index];
    struct im_text text = {0};

    if (tr_network_pin_host(t->net, ring->map, ring->bytes, &text) == 0)
        t->pinned_ring = ring->map;
    else
        im_log(IM_LOG_WARN, "cannot pin the batch ring: each batch is copied once more", "why=%s",
               im_log_quote(&(struct im_quoted){0}, text.s));
}

static int open_places(struct tr_places *p, size_t n)
{
    p->labels = calloc(n, sizeof *p->labels);
    p->verdicts = calloc(n, sizeof *p->verdicts);
    p->samples = calloc(n, sizeof *p->samples);
    p->positions = calloc(n, sizeof *p->positions);
    return p->labels && p->verdicts && p->samples && p->positions ? 0 : -ENOMEM;
}

static void close_places(struct tr_places *p)
{
    free(p->labels);
    free(p->verdicts);
    free(p->samples);
    free(p->positions);
}

static int open_copies(struct tr_trainer *t)
{
    const size_t n = t->child->run->geometry.batch_size_max;

    t->valid = calloc(n, 1);
    return open_places(&t->places, n) < 0 || open_places(&t->next, n) < 0 || !t->valid ? -ENOMEM : 0;
}

/* What this machine has of the run beside the checkpoints of rank 0. */
static void find_here(struct tr_trainer *t, struct tr_resume *from)
{
    const struct im_conf *conf = t->child->conf;
    char run_dir[PATH_MAX], *slash;

    snprintf(run_dir, sizeof run_dir, "%s", conf->run_dir);
    for (int up = 0; up < 2 && !tr_trainer_leads(t); up++) { /* nodes/nodeN */
        slash = strrchr(run_dir, '/');
        if (slash)
            *slash = 0;
    }
    tr_resume_find_here(t->child, run_dir,
                        (uint32_t)((conf->node_index + conf->node_head) % conf->node_count),
                        tr_trainer_leads(t), from);
    if (tr_trainer_leads(t) && from->state)
        t->at = from->at;
}

void tr_trainer_note_order(const struct tr_trainer *t)
{
    struct im_control *c = t->child->run->control;

    if (tr_trainer_leads_node(t) && atomic_load_explicit(&c->first_position, memory_order_relaxed) == 0)
        atomic_store_explicit(&c->first_order, t->at.order, memory_order_relaxed);
}

/* Where the run continues, and the connections of the ranks. The position is published at once where it is known: the
 * readers start on it while the network is being built. */
static int open_ranks(struct tr_trainer *t, struct tr_resume *ret_from, struct im_text *text)
{
    const bool remote = tr_ranks_are_remote(t->child);
    int err = 0;

    if (!remote || tr_trainer_leads(t))
        err = find_position(t, ret_from, text);
    if (err == 0 && remote && tr_trainer_leads_node(t))
        find_here(t, ret_from);
    if (err == 0 && !remote)
        tr_trainer_note_order(t);
    if (err == 0 && !remote)
        atomic_store_explicit(&t->child->entry->position, t->at.next_batch + 1, memory_order_release);
    if (err == 0 && !remote && t->child->conf->node_count > 1 && tr_trainer_leads(t))
        tr_trainer_identify(t, ret_from);
    if (err == 0)
        err = tr_ranks_open(&t->ranks, t->child, text);
    return err == 0 && remote ? tr_trainer_share_state(t, ret_from, text) : err;
}

int tr_trainer_open(struct tr_trainer *t, struct im_text *text)
{
    struct tr_resume from = {0};
    int err = open_ranks(t, &from, text);

    if (err == 0)
        err = open_network(t, text);
    if (err == 0)
        err = open_schedule(t, text);
    if (err == 0)
        tr_training_step_init(&t->training_step, t->child->conf, t->net, &t->schedule);
    t->training_step.class_weights = t->class_weights;
    if (err == 0)
        err = tr_state_init(&t->state, t->net);
    if (err == 0)
        name_classes(t, from.state);
    if (err == 0 && from.state)
        err = tr_state_restore(&t->state, from.state, t->at.window_batches > 0, text);
    if (err == 0 && !from.state)
        err = import_weights(t, text);
    if (err == 0 && from.file && tr_trainer_leads(t))
        repair_exports(t, from.file);
    t->save.is_known = from.file && from.state == from.file;
    t->save.saved_batch = t->at.next_batch;
    t->save.saved_steps = t->at.steps;
    t->save.saved_epochs = t->at.epochs;
    tr_resume_close(&from);
    if (err == 0 && t->at.steps > 0)
        t->lr = tr_schedule_lr(&t->schedule, t->at.steps - 1);
    if (err == 0)
        err = choose_groups(t, text);
    if (err == 0)
        err = prepare_graphs(t, text);
    if (err == 0)
        err = open_snapshot(t, text);
    if (err == 0 && tr_trainer_leads(t))
        err = tr_report_open(&t->report, t->child, &t->at, text);
    if (err == 0)
        pin_ring(t);
    if (err == 0)
        err = open_telemetry(t, text);
    if (err == 0 && t->child->conf->evaluate)
        err = tr_outcomes_open(&t->outcomes, t->child, text);
    if (err == 0)
        err = tr_per_class_open(&t->per_class, t->child);
    if (tr_is_multi_label(&t->multi))
        t->outcomes.sets = &t->multi.sets;
    return err == 0 ? open_copies(t) : err;
}

void tr_trainer_close(struct tr_trainer *t, bool abandon)
{
    tr_report_close(&t->report);
    if (abandon)
        return;
    tr_outcomes_close(&t->outcomes);
    tr_multi_label_close(&t->multi);
    tr_per_class_close(&t->per_class);
    tr_telemetry_close(t->telemetry);
    tr_snapshot_close(&t->snapshot);
    tr_schedule_fini(&t->schedule);
    tr_saving_close(&t->saving, &t->state);
    tr_state_fini(&t->state);
    if (t->pinned_ring)
        tr_network_unpin_host(t->net, t->pinned_ring);
    tr_network_free(t->net);
    tr_ranks_close(&t->ranks);
    free(t->valid);
    free(t->class_weights);
    close_places(&t->places);
    close_places(&t->next);
}
