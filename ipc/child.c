#include "ipc/child.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "ipc/base/log.h"
#include "ipc/process.h"
#include "ipc/sent_signals.h"

#define LEASE_EVERY_NS (200 * IM_MS)

static int parse_number(const char *s, uint32_t max, uint32_t *ret)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(s, &end, 10);
    if (errno || end == s || *end || value > max)
        return -EINVAL;
    *ret = (uint32_t)value;
    return 0;
}

bool im_child_is_started(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "--index") == 0;
}

static int parse_arguments(int argc, char **argv, struct im_child *c, struct im_text *text)
{
    if (argc != 5 || !im_child_is_started(argc, argv) || strcmp(argv[3], "--incarnation") != 0 ||
        parse_number(argv[2], IM_SLOTS_MAX, &c->index) < 0 ||
        parse_number(argv[4], UINT32_MAX, &c->incarnation) < 0)
        return im_fail(text, -EINVAL,
                       "this program is started by `imsuper start`, not by hand; see `imsuper help`");
    return 0;
}

static struct im_attach attach_for(enum im_role role, uint32_t index)
{
    return (struct im_attach){
        .encoded_write = role == IM_ROLE_READER,
        .encoded_read = role == IM_ROLE_AUGMENTER,
        .batch_write = role == IM_ROLE_AUGMENTER,
        .batch_read_rank = role == IM_ROLE_TRAINER ? (int)index : -1,
        .first_fd = IM_FD_CONTROL,
    };
}

int im_plan_from_conf(const struct im_conf *conf, const uint64_t samples[IM_SPLITS], struct im_plan *ret,
                      struct im_text *text)
{
    const struct im_conf_sizes last = im_conf_last_sizes(conf);
    struct im_conf_resize resize;
    struct im_conf_sizes *train = NULL;
    int err = im_conf_resize(conf, &resize, text);

    if (err < 0)
        return err;
    if (*conf->resize_schedule) {
        train = calloc((size_t)conf->epochs, sizeof *train);
        if (!train)
            return -ENOMEM;
        for (uint32_t epoch = 0; epoch < (uint32_t)conf->epochs; epoch++)
            train[epoch] = im_conf_resize_at(&resize, epoch);
    }
    err =
        im_plan_init(ret,
                     &(struct im_plan_params){
                         .samples = {samples[IM_TRAIN], samples[IM_VAL]},
                         .epochs = (uint32_t)conf->epochs,
                         .ranks = (uint32_t)conf->ranks,
                         .world = (uint32_t)im_conf_world(conf),
                         .first_rank = (uint32_t)im_conf_first_rank(conf),
                         .order_ranks = (uint32_t)im_conf_order_ranks(conf),
                         .val_order_ranks = (uint32_t)conf->virtual_ranks,
                         .window = (uint32_t)im_conf_step_batches(conf),
                         .batch_size = {(uint32_t)conf->batch_size, last.batch_size},
                         .image_size = {(uint32_t)conf->image_size, (uint32_t)im_conf_eval_image_size(conf)},
                         .train = train,
                         .validate_every = conf->lr_range_test ? 0 : (uint32_t)conf->validate_every,
                         .drop_last = conf->drop_last,
                         .evaluates = conf->evaluate,
                     },
                     text);
    free(train);
    return err;
}

int im_conf_of_run(const struct im_run *run, struct im_conf *ret, struct im_text *text)
{
    int err;

    if (!memchr(run->conf, 0, IM_CONF_BYTES))
        return im_fail(text, -EBADMSG, "the run's frozen configuration has no end");
    err = im_conf_thaw(ret, run->conf, text);
    if (err == 0 && run->world != im_conf_world(ret))
        im_conf_take_part(ret, run->world, run->first_rank);
    return err;
}

static uint32_t role_count(const struct im_geometry *g, enum im_role role)
{
    switch (role) {
    case IM_ROLE_READER:
        return g->readers_max;
    case IM_ROLE_AUGMENTER:
        return g->augmenters_max;
    case IM_ROLE_FETCHER:
        return g->fetchers;
    default:
        return g->ranks;
    }
}

void im_child_name(const char *role)
{
    char name[32];

    snprintf(name, sizeof name, "imsuper%s%s", *role ? "-" : "", role);
    prctl(PR_SET_NAME, name, 0, 0, 0); /* 15 bytes of it */
}

static struct im_stats *own_stats; /* of this process, for its signal handler */

static void note_sent_signal(int signo)
{
    atomic_store_explicit(&own_stats->sent_signal, (uint32_t)signo, memory_order_relaxed);
}

int im_child_open(int argc, char **argv, enum im_role role, struct im_child_storage *storage,
                  struct im_child *ret, struct im_text *text)
{
    struct im_child c = {.role = role,
                         .lease_fd = IM_FD_LEASE,
                         .snapshot_fd = role == IM_ROLE_TRAINER ? IM_FD_SNAPSHOT : -1,
                         .index_fd = role == IM_ROLE_READER || role == IM_ROLE_FETCHER ? IM_FD_INDEX : 0,
                         .pixels_fd = role == IM_ROLE_AUGMENTER || role == IM_ROLE_READER ? IM_FD_PIXELS : -1,
                         .run = &storage->run,
                         .plan = &storage->plan,
                         .conf = &storage->conf};
    int err = parse_arguments(argc, argv, &c, text);

    if (err < 0)
        return err;
    im_log_identity(im_role_name(role), (int)c.index);
    im_child_name(im_role_name(role));

    struct im_attach how = attach_for(role, c.index);

    err = im_run_attach(&how, c.run, text);
    if (err == 0 && c.index >= role_count(&c.run->geometry, role))
        err = im_fail(text, -EINVAL, "%s %u is not part of this run", im_role_name(role), c.index);
    if (err == 0)
        err = im_conf_of_run(c.run, &storage->conf, text);
    if (err == 0)
        err = im_plan_from_conf(c.conf, c.run->geometry.samples, c.plan, text);
    if (err == 0)
        err = im_run_check_plan(c.run, c.plan, text);
    if (err == 0) {
        c.slot = im_run_slot(c.run, role, c.index);
        c.entry = &c.run->process[c.slot];
        c.stats = &c.run->stats[c.slot];
        err = im_process_enter(c.run, c.slot, c.incarnation);
    }
    if (err < 0) {
        im_child_close(&c);
        return err;
    }
    own_stats = c.stats;
    im_sent_signals_note(note_sent_signal);
    im_log_level((enum im_log_level)c.conf->log_level);
    *ret = c;
    return 0;
}

void im_child_close(struct im_child *c)
{
    im_plan_fini(c->plan);
    im_run_close(c->run);
}

static int lease_is_gone(struct im_child *c, im_ns now)
{
    struct pollfd p = {.fd = c->lease_fd, .events = 0};

    if (c->lease_fd < 0 || now - c->lease_checked < LEASE_EVERY_NS)
        return 0;
    c->lease_checked = now;
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

int im_child_should_leave(struct im_child *c)
{
    im_ns now = im_now();

    if (im_run_state(c->run) == IM_RUN_ENDED)
        return IM_EXIT_RESUMABLE;
    if (!im_process_is_current(c->run, c->slot, c->incarnation))
        return IM_EXIT_FENCED;
    atomic_store_explicit(&c->entry->turned_ns, now, memory_order_relaxed);
    return lease_is_gone(c, now) ? IM_EXIT_ORPHANED : 0;
}

bool im_child_is_retired(const struct im_child *c)
{
    return atomic_load_explicit(&c->entry->retire, memory_order_relaxed) == c->incarnation;
}

bool im_child_is_first(const struct im_child *c)
{
    return c->index == 0 && atomic_load_explicit(&c->entry->restarts, memory_order_relaxed) == 0;
}

void im_child_ready(struct im_child *c)
{
    atomic_store_explicit(&c->entry->ready_ns, im_now(), memory_order_release);
}
