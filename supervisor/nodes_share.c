/* Who takes part in a run on several machines: where one is gone, the others share its work, and where one comes (back), it
 * is let in. Each optimiser step keeps its batches, and their order (ipc/plan.h): a trainer takes more of them, or less.
 *
 * What counts batches of this start of the run in shared memory is translated into the new numbers before the part
 * is applied; a supervisor that dies in between leaves numbers of how far the run has come that are wrong, and samples that
 * are right. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/fault.h"
#include "ipc/child.h"
#include "ipc/wait.h"
#include "supervisor/cluster/link.h"
#include "supervisor/super.h"

#define LET_IN_AFTER_NS (10 * IM_SECOND) /* of a generation: one that came, left and came again ends few */
#define LET_IN_WAIT_NS (60 * IM_SECOND)  /* for a step to end, and its snapshot */

static uint64_t translate(const struct im_plan *from, uint64_t position, const struct im_plan *to, bool ahead)
{
    return position ? im_plan_translate(from, position - 1, to, ahead) + 1 : 0;
}

static void translate_position(_Atomic uint64_t *word, const struct im_plan *from, const struct im_plan *to,
                               bool ahead)
{
    const uint64_t position = atomic_load_explicit(word, memory_order_relaxed);

    atomic_store_explicit(word, translate(from, position, to, ahead), memory_order_relaxed);
}

static uint32_t members_of(const struct sv_generation *g)
{
    uint32_t members = 0;

    for (uint32_t i = 0; i < g->nodes; i++)
        members += g->ranks[i] > 0;
    return members;
}

/* What a step is from now on. */
static void say_step(const struct im_conf *now, uint32_t before, struct im_text *ret)
{
    const int64_t images = im_conf_step_images(now);
    char each[64] = "";

    if (now->accumulate > 1)
        snprintf(each, sizeof each, ", up to %" PRId64 " batches a trainer", now->accumulate);
    if (now->elastic == IM_ELASTIC_DROP)
        im_conf_say_step(now, before, ret);
    else
        im_fail(ret, 0, "the same %" PRId64 " images a step in the same order%s", images, each);
}

static void tell(struct sv_super *s, const struct sv_generation *g, const struct im_conf *now,
                 uint32_t before)
{
    struct im_json *fields = im_json_object();
    struct im_text step;

    say_step(now, before, &step);
    sv_screen_say(&s->screen,
                  "nodes     %" PRIu32 " of %" PRIu32 " machines share the work: %" PRIu32
                  " trainer%s, before %" PRIu32 "; %s",
                  members_of(g), g->nodes, s->run.world, s->run.world == 1 ? "" : "s", before, step.s);
    im_json_set_int(fields, "node_generation", g->number);
    im_json_set_int(fields, "nodes", members_of(g));
    im_json_set_int(fields, "trainers", s->run.world);
    im_json_set_int(fields, "trainers_before", before);
    im_json_set_int(fields, "step_images", im_conf_step_images(now));
    sv_journal_event(&s->journal, "nodes.shared", fields);
}

int sv_nodes_share(struct sv_super *s, const struct sv_generation *g)
{
    uint32_t world = 0, first = 0, before = s->run.world;
    struct im_control *c = s->run.control;
    struct im_text text = {""};
    struct im_conf now;
    struct im_plan plan;
    int err;

    for (uint32_t i = 0; i < g->nodes; i++) {
        first += i < (uint32_t)s->conf.node_index ? g->ranks[i] : 0;
        world += g->ranks[i];
    }
    if (world == s->run.world && first == s->run.first_rank)
        return 0;
    now = s->conf;
    if (world != im_conf_world(&s->conf))
        im_conf_take_part(&now, world, first);
    err = im_plan_from_conf(&now, s->run.geometry.samples, &plan, &text);
    if (err < 0) {
        sv_screen_warn(&s->screen, SV_ERROR, "%" PRIu32 " trainers cannot share the run: %s", world,
                       text.s[0] ? text.s : strerror(-err));
        return err;
    }
    translate_position(&c->first_position, &s->plan, &plan, false);
    translate_position(&c->furthest_position, &s->plan, &plan, true);
    s->reached = s->reached ? im_plan_translate(&s->plan, s->reached, &plan, true) : 0;
    for (uint32_t i = 0; i < s->children.count; i++) { /* none lives */
        s->children.child[i].last.position = 0;
        atomic_store_explicit(&s->run.process[s->children.child[i].slot].position, 0, memory_order_relaxed);
    }
    IM_FAULT("nodes.share.before");
    im_run_take_part(&s->run, world, first);
    IM_FAULT("nodes.share.after");
    im_plan_fini(&s->plan);
    s->plan = plan;
    tell(s, g, &now, before);
    return 0;
}

/* ---- machines that come ---- */

/* The first that is ready, and takes no part. */
static bool find_waiting(struct sv_super *s, const struct sv_generation *g, uint32_t *ret_node,
                         struct sv_node *ret)
{
    for (uint32_t i = 1; i < g->nodes; i++)
        if (g->ranks[i] == 0 && sv_link_node(s->nodes.link, i, ret) && ret->state == SV_NODE_THERE &&
            ret->is_ready) {
            *ret_node = i;
            return true;
        }
    return false;
}

/* Where no snapshots are taken, a checkpoint serves. */
static bool has_snapshots(const struct sv_super *s)
{
    return s->conf.snapshot_interval > 0 || s->conf.snapshot_steps > 0;
}

static void ask_for_state(struct sv_super *s, uint32_t node, const struct sv_node *state)
{
    struct im_control *c = s->run.control;
    _Atomic uint32_t *requests = has_snapshots(s) ? &c->snapshot_requests : &c->save_requests;

    s->nodes.let_in = atomic_fetch_add_explicit(requests, 1, memory_order_release) + 2;
    s->nodes.let_in_by = im_now() + LET_IN_WAIT_NS;
    im_event_broadcast(&c->event_run);
    sv_screen_say(&s->screen, "node %" PRIu32 " (%s) is there: it takes part after the next %s", node,
                  state->name,
                  has_snapshots(s) ? "snapshot, which is taken after this step"
                                   : "checkpoint, which is saved after this step");
}

static bool state_is_there(const struct sv_super *s)
{
    const struct im_control *c = s->run.control;
    const uint32_t answers = atomic_load_explicit(has_snapshots(s) ? &c->snapshot_answers : &c->save_answers,
                                                  memory_order_acquire);

    return (int32_t)(answers - (s->nodes.let_in - 1)) >= 0;
}

void sv_nodes_let_in(struct sv_super *s)
{
    const struct sv_generation *g = sv_link_generation(s->nodes.link);
    struct sv_nodes *n = &s->nodes;
    struct sv_node state;
    char why[160];
    uint32_t node;

    if (sv_nodes_is_member(s) || !g || !n->runs || s->resetting || s->finished || n->stop_asked ||
        s->ending.stage != SV_GOING_ON || im_run_state(&s->run) != IM_RUN_RUNNING ||
        im_now() - n->began_at < LET_IN_AFTER_NS) {
        n->let_in = 0;
        return;
    }
    if (!find_waiting(s, g, &node, &state)) {
        n->let_in = 0;
        return;
    }
    if (n->let_in == 0)
        ask_for_state(s, node, &state);
    else if (state_is_there(s) || im_now() > n->let_in_by) {
        snprintf(why, sizeof why, "node %" PRIu32 " (%s) takes part from here on", node, state.name);
        n->let_in = 0;
        sv_reset(s, why);
    }
}
