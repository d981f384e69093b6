/* One turn: the link receives and decides; its news are carried out here; then what this node has for the others is
 * given to it: that no process is left (ready), the cards of its trainers, its numbers. */
#include "supervisor/nodes.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "ipc/base/fault.h"
#include "ipc/base/sysinfo.h"
#include "ipc/peers.h"
#include "supervisor/cluster/link.h"
#include "supervisor/cluster/pass.h"
#include "supervisor/nodes_ask.h"
#include "supervisor/super.h"

#define REPORT_NS (IM_SECOND / 2)
#define END_WAIT_NS (10 * IM_SECOND)  /* for trainers here, once the head has ended with success */
#define LEAVE_WAIT_NS (5 * IM_SECOND) /* for the others to hear that this node has ended */
#define DONE_WAIT_NS (60 * IM_SECOND) /* of a member that is done, for the head to be */
#define LINGER_NS IM_SECOND
#define LOOK_MS 20

/* What a report's numbers are. */
enum {
    PASSES_TRAIN,
    EXACT_TRAIN,
    IMAGES_TRAIN,
    PASSES_VAL,
    EXACT_VAL,
    IMAGES_VAL,
    DEATHS,
    COUNTS,
    MILLI_RATE = COUNTS,
    LIFE
};

static_assert(sizeof(struct sv_generation) <= sizeof((struct im_control *)0)->nodes_note,
              "it fits its place");
static_assert(IM_CARD_BYTES <= SV_LINK_VALUE_MAX, "a card is a value");

bool sv_nodes_are_used(const struct sv_super *s)
{
    return s->nodes.link != NULL;
}

bool sv_nodes_is_member(const struct sv_super *s)
{
    return s->nodes.link && s->conf.node_index > 0;
}

bool sv_nodes_allow(const struct sv_super *s)
{
    return !s->nodes.link || s->nodes.runs;
}

int sv_nodes_fd(const struct sv_super *s)
{
    return s->nodes.link ? sv_link_fd(s->nodes.link) : -1;
}

static int open_link(struct sv_super *s, const char *agree, struct im_text *text)
{
    struct sv_nodes *n = &s->nodes;
    struct sv_link_config config = {
        .meeting = &n->meeting,
        .ranks = s->run.geometry.ranks,
        .build = im_build_id(),
        .agree = agree,
        .nodes_min = (uint32_t)s->conf.cluster_min_nodes,
        .survivors_min = s->conf.cluster_min_nodes > 0 ? (uint32_t)s->conf.cluster_min_nodes : 1,
        .wait = (im_ns)(s->conf.cluster_wait * 1e9),
        .patience = (im_ns)(s->conf.cluster_timeout * 1e9),
        .patience_back = n->meeting.patience_back};
    const uint32_t machines = (uint32_t)s->conf.node_count, least = (uint32_t)s->conf.cluster_min_nodes;
    int err;

    if (sv_nodes_may_take_over(&s->conf)) {
        config.survivors_min = sv_takeover_least(machines, least, true);
        config.takeover_min = n->meeting.takes_over ? sv_takeover_least(machines, least, false) : 0;
    }
    memcpy(&config.running, s->run.control->nodes_note, sizeof config.running);
    err = sv_link_open(&config, &n->link, text);
    if (err < 0)
        return err;
    n->number = config.running.number;
    n->runs = n->number > 0;
    return 0;
}

int sv_nodes_open(struct sv_super *s, struct im_text *text)
{
    char *agree;
    int err;

    if (s->conf.node_count == 1)
        return 0;
    err = sv_meeting_take(IM_FD_MEETING, s->conf.node_index == 0 ? IM_FD_LISTENER : -1, &s->nodes.meeting,
                          text);
    if (err < 0)
        return err;
    if (atomic_load_explicit(&s->run.control->first_position, memory_order_relaxed) == 0)
        s->reached = s->nodes.meeting.reached; /* under the head before */
    agree =
        sv_nodes_agree(&s->conf, s->run.geometry.samples, s->run.geometry.classes, s->nodes.meeting.copies);
    err = agree ? open_link(s, agree, text) : -ENOMEM;
    free(agree);
    return err;
}

/* ---- generations ---- */

static uint32_t alive(const struct sv_super *s)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < s->children.count; i++)
        count += s->children.child[i].incarnation != 0;
    return count;
}

void sv_nodes_on_reset(struct sv_super *s, const char *why)
{
    struct sv_nodes *n = &s->nodes;

    if (!n->link || !n->runs)
        return;
    n->runs = false;
    sv_link_ask_generation(n->link, n->number, why);
}

static void on_over(struct sv_super *s, const struct sv_link_news *news)
{
    struct sv_nodes *n = &s->nodes;

    n->over = news->number;
    n->runs = false;
    IM_FAULT("nodes.over");
    if (s->finished || s->resetting || s->ending.stage != SV_GOING_ON)
        return;
    if (alive(s) > 0 || im_run_state(&s->run) != IM_RUN_STARTING)
        sv_reset(s, news->text);
}

/* Once nothing of the last generation runs here. */
static void say_ready(struct sv_super *s)
{
    struct sv_nodes *n = &s->nodes;

    if (n->over == 0 || s->resetting || s->finished || s->ending.stage != SV_GOING_ON || alive(s) > 0)
        return;
    sv_link_ready(n->link, n->over, NULL, 0, SV_LINK_NOWHERE);
    n->over = 0;
    IM_FAULT("nodes.ready");
}

static void on_begin(struct sv_super *s, const struct sv_generation *g)
{
    struct sv_nodes *n = &s->nodes;

    memset(n->shown, 0, sizeof n->shown);
    memset(n->asked, 0, sizeof n->asked);
    IM_FAULT("nodes.begin.before");
    if (sv_nodes_share(s, g) < 0) {
        sv_finish(s, IM_EXIT_FAILED);
        return;
    }
    n->began_at = im_now();
    n->number = g->number;
    n->runs = true;
    memcpy(s->run.control->nodes_note, g, sizeof *g);
    atomic_store_explicit(&s->run.control->node_generation, g->number, memory_order_release);
    IM_FAULT("nodes.begin.after");
    if (!s->finished && s->ending.stage == SV_GOING_ON)
        sv_children_want(&s->children, IM_ROLE_TRAINER, true);
}

/* ---- cards of ranks ---- */

static void name_card(uint32_t rank, char ret[SV_LINK_KEY_MAX])
{
    snprintf(ret, SV_LINK_KEY_MAX, "card.%" PRIu32, rank);
}

static void show_card(struct sv_super *s, uint32_t index)
{
    struct sv_nodes *n = &s->nodes;
    char name[SV_LINK_KEY_MAX];
    const void *card;
    size_t bytes;

    if (n->shown[index] || !im_peers_card(&s->run, index, &card, &bytes))
        return;
    name_card(s->run.first_rank + index, name);
    n->shown[index] = sv_link_publish(n->link, n->number, name, card, bytes) == 0;
}

static void ask_card(struct sv_super *s, uint32_t rank)
{
    char name[SV_LINK_KEY_MAX];

    if (s->nodes.asked[rank])
        return;
    name_card(rank, name);
    s->nodes.asked[rank] = sv_link_fetch(s->nodes.link, s->nodes.number, name) == 0;
}

static void carry_cards(struct sv_super *s)
{
    const struct im_geometry *g = &s->run.geometry;

    if (!s->nodes.runs || s->resetting)
        return;
    for (uint32_t rank = 0; rank < s->run.world; rank++)
        if (rank - s->run.first_rank < g->ranks)
            show_card(s, rank - s->run.first_rank);
        else
            ask_card(s, rank);
}

static void on_value(struct sv_super *s, const struct sv_link_news *news)
{
    char name[SV_LINK_KEY_MAX];

    for (uint32_t rank = 0; s->nodes.runs && rank < s->run.world; rank++) {
        name_card(rank, name);
        if (strcmp(news->key, name) == 0)
            im_peers_show(&s->run, rank, news->bytes, news->n);
    }
}

/* ---- the end ---- */

bool sv_nodes_ask_stop(struct sv_super *s, int status, const char *why)
{
    struct sv_nodes *n = &s->nodes;

    if (!n->link || n->stopping || n->finish_told)
        return false;
    if (n->lost_at != 0) { /* nobody is there to be asked */
        n->head_lost = n->number > 0;
        n->stopping = true;
        return false;
    }
    if (!n->joined && n->number == 0 &&
        sv_nodes_is_member(s)) { /* there is nobody to ask, and nothing to save */
        n->never_met = true;
        return false;
    }
    if (status != IM_EXIT_RESUMABLE && n->own_status == 0)
        n->own_status = status;
    if (!n->stop_asked)
        sv_link_ask_stop(n->link, false, why);
    n->stop_asked = true;
    return true;
}

/* The head holds the run: its failure is that of all. */
bool sv_nodes_fail(struct sv_super *s, int status, const char *why)
{
    struct sv_nodes *n = &s->nodes;

    if (!sv_nodes_is_member(s) || n->finish_told || n->stopping || !n->joined)
        return false;
    snprintf(n->failure, sizeof n->failure, "%s", why);
    sv_screen_warn(
        &s->screen, SV_ERROR,
        "this machine cannot go on; the others go on without it, and let it in again when the same command "
        "is started again");
    sv_finish(s, status);
    return true;
}

void sv_nodes_stop_at_once(struct sv_super *s, const char *why)
{
    if (s->nodes.link && !s->nodes.finish_told)
        sv_link_ask_stop(s->nodes.link, true, why);
}

static void on_stop(struct sv_super *s, const struct sv_link_news *news)
{
    struct sv_nodes *n = &s->nodes;
    const bool ours = n->stop_asked;

    n->stopping = true;
    if (s->finished || s->ending.stage != SV_GOING_ON) {
        if (news->now)
            sv_finish(s, IM_EXIT_FORCED);
        return;
    }
    if (news->now)
        sv_screen_say(&s->screen, "node %" PRIu32 ": %s: stopping at once", news->node, news->text);
    else if (!ours || news->gave_up)
        sv_screen_say(&s->screen, "%s%s: %s", news->gave_up ? "" : "another node asks to stop: ", news->text,
                      sv_nodes_is_member(s) ? "node 0 saves the run" : "saving");
    if (news->now)
        sv_finish(s, IM_EXIT_FORCED);
    else
        sv_end(s, n->own_status ? n->own_status : IM_EXIT_RESUMABLE, news->text);
}

/* The trainers of a run that is done leave by themselves. */
static void on_end(struct sv_super *s, const struct sv_link_news *news)
{
    s->nodes.ended_at = im_now();
    s->nodes.end_status = news->status;
    if (s->finished)
        return;
    if (news->status != IM_EXIT_OK || !s->nodes.runs) /* it has nothing more to do where it takes no part */
        sv_finish(s, s->nodes.own_status ? s->nodes.own_status : news->status);
}

static void finish_after_head(struct sv_super *s)
{
    if (s->nodes.ended_at != 0 && !s->nodes.head_lost && !s->finished &&
        im_now() - s->nodes.ended_at > END_WAIT_NS)
        sv_finish(s, s->nodes.end_status);
}

static im_ns patience_of_member(const struct sv_super *s)
{
    const struct sv_nodes *n = &s->nodes;

    return n->meeting.patience_back ? n->meeting.patience_back : (im_ns)(s->conf.cluster_timeout * 1e9);
}

/* What this node has is saved here. */
static void end_without_head(struct sv_super *s, const char *why)
{
    struct sv_nodes *n = &s->nodes;

    n->stopping = true;
    n->lost_at = 0;
    n->head_lost = n->number > 0;
    sv_screen_warn(
        &s->screen, SV_ERROR,
        "%s; this node ends%s, and the same commands on all nodes continue from the newest state that any "
        "of them has",
        why, n->head_lost ? " and saves what it has" : "");
    if (n->head_lost)
        sv_end_with_snapshot(s, IM_EXIT_RESUMABLE, why);
    else
        sv_finish(s, IM_EXIT_RESUMABLE);
}

/* Its network is cut, or node 0 is gone. Nothing is trained until there is a node 0, this one or another. */
static void wait_for_head(struct sv_super *s, const char *why)
{
    sv_screen_warn(
        &s->screen, SV_ERROR,
        "%s; waiting for it for %.0f s: its command, started again on any machine at that address, goes on "
        "from the newest snapshot",
        why, (double)patience_of_member(s) / IM_SECOND);
    s->nodes.lost_at = im_now();
    if (alive(s) > 0 || im_run_state(&s->run) != IM_RUN_STARTING)
        sv_reset(s, why);
}

static void watch_wait(struct sv_super *s)
{
    struct sv_nodes *n = &s->nodes;

    if (n->lost_at != 0 && im_now() - n->lost_at > patience_of_member(s))
        end_without_head(s, "node 0 has not come back");
}

static void on_lost(struct sv_super *s, const struct sv_link_news *news)
{
    struct sv_machine_at place[IM_RANKS_MAX];
    struct sv_nodes *n = &s->nodes;

    if (s->finished) {
        if (n->ended_at == 0)
            n->ended_at = im_now(); /* nothing more will be heard */
    } else if (news->never && n->number == 0) {
        sv_screen_warn(&s->screen, SV_ERROR, "%s; the same command tries again", news->text);
        n->never_met = n->stopping = true;
        sv_finish(s, IM_EXIT_RESUMABLE);
    } else if (news->never || n->stopping || s->ending.stage != SV_GOING_ON) {
        end_without_head(s, news->text);
    } else if (sv_nodes_hosts(&s->conf, s->run.control->nodes_place, place) > 0) {
        sv_nodes_look_elsewhere(s, news->text);
    } else {
        wait_for_head(s, news->text);
    }
}

/* The head has named its error. */
static void tell_failed(struct sv_super *s, uint32_t node, const struct sv_node *state)
{
    struct im_json *fields = im_json_object();

    im_json_set_int(fields, "node", node);
    im_json_set_str(fields, "name", state->name);
    im_json_set_int(fields, "status", state->status);
    sv_journal_event(&s->journal, "nodes.failed", fields);
    sv_screen_say(&s->screen,
                  "node %" PRIu32
                  " (%s) is let in again when its command is started again, once its error is repaired",
                  node, state->name);
}

/* The head. A node that has left with an error does not come back by itself. */
static void on_node(struct sv_super *s, uint32_t node)
{
    const struct sv_generation *g;
    struct sv_node state;
    char why[128];

    if (!sv_link_node(s->nodes.link, node, &state) || node == 0 || s->finished)
        return;
    g = sv_link_generation(s->nodes.link);
    if (g && g->ranks[node] == 0) /* the others do not need it */
        return;
    if (s->ending.stage == SV_SAVING && (state.state == SV_NODE_DEAD)) {
        snprintf(why, sizeof why, "node %" PRIu32 " is gone before the run was saved", node);
        sv_ending_without_trainers(s, why);
    }
    if (state.state == SV_NODE_DEAD && s->nodes.meeting.patience_back && s->ending.stage == SV_GOING_ON)
        sv_screen_say(&s->screen,
                      "srun does not start a killed task again: node %" PRIu32
                      " is waited for %.0f s at most; --cluster-timeout S says otherwise",
                      node, (double)s->nodes.meeting.patience_back / 1e9);
    if (state.state != SV_NODE_LEFT || state.status == IM_EXIT_OK || s->ending.stage != SV_GOING_ON)
        return;
    if (sv_progress_made(&s->run)) { /* a lost machine, as one that died */
        tell_failed(s, node, &state);
        return;
    }
    snprintf(why, sizeof why, "node %" PRIu32 " (%.60s) has ended with exit status %d", node, state.name,
             state.status);
    sv_screen_warn(&s->screen, SV_ERROR, "%s", why);
    s->nodes.own_status = state.status;
    sv_end(s, IM_EXIT_RESUMABLE, why);
}

void sv_nodes_say_end(struct sv_super *s)
{
    if (s->exit_status == IM_EXIT_OK)
        sv_screen_say(&s->screen, "done      node %" PRId64 "; the run is in its folder on node 0",
                      s->conf.node_index);
    else if (s->nodes.elsewhere)
        return; /* it goes on */
    else if (s->nodes.never_met)
        sv_screen_say(&s->screen, "stopped   node %" PRId64 "; nothing was trained here", s->conf.node_index);
    else if (s->nodes.head_lost && s->ending.saved == SV_SAVED)
        sv_screen_say(&s->screen,
                      "saved     node %" PRId64
                      "'s snapshot, in %s; the same commands on all nodes continue from the newest",
                      s->conf.node_index, s->conf.run_dir);
    else if (s->exit_status == IM_EXIT_RESUMABLE)
        sv_screen_say(
            &s->screen,
            "stopped   node %" PRId64
            "; what was trained is in the run's folder on node 0; the same commands on all nodes continue it",
            s->conf.node_index);
}

/* ---- turns ---- */

static void on_news(struct sv_super *s, const struct sv_link_news *news)
{
    switch (news->kind) {
    case SV_LINK_TELL:
        if (news->warning)
            sv_screen_warn(&s->screen, SV_WARN, "%s", news->text);
        else
            sv_screen_say(&s->screen, "%s", news->text);
        break;
    case SV_LINK_REFUSED:
        sv_screen_warn(&s->screen, SV_ERROR, "node 0 refuses this node: %s", news->text);
        s->nodes.stopping = true;
        sv_finish(s, IM_EXIT_USAGE);
        break;
    case SV_LINK_OVER:
        on_over(s, news);
        break;
    case SV_LINK_BEGIN:
        on_begin(s, &news->generation);
        break;
    case SV_LINK_VALUE:
        on_value(s, news);
        break;
    case SV_LINK_STOP:
        on_stop(s, news);
        break;
    case SV_LINK_END:
        on_end(s, news);
        break;
    case SV_LINK_NODE:
        on_node(s, news->node);
        break;
    case SV_LINK_PLACES:
        sv_nodes_on_places(s, news->bytes, (uint32_t)(news->n / sizeof(struct im_node_place)));
        break;
    case SV_LINK_LOST:
        on_lost(s, news);
        break;
    case SV_LINK_ASKED:
        sv_nodes_on_asked(s, news);
        break;
    case SV_LINK_ANSWERED:
        sv_nodes_on_answered(s, news);
        break;
    case SV_LINK_JOINED:
        s->nodes.joined = true;
        s->nodes.lost_at = 0;
        break;
    }
}

static uint64_t sum_of(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* A machine that was started again counts from 0. */
static void count_lives(struct sv_super *s)
{
    static_assert(COUNTS <= IM_COUNT(s->nodes.counted[0].now), "they fit");

    for (uint32_t i = 0; i < (uint32_t)s->conf.node_count && !sv_nodes_is_member(s); i++) {
        const bool known = s->nodes.counted[i].life != 0;
        struct sv_node node;

        if (!sv_link_node(s->nodes.link, i, &node) || node.number[LIFE] == 0)
            continue;
        for (int k = 0; k < COUNTS; k++) {
            if (known && s->nodes.counted[i].life != node.number[LIFE])
                s->nodes.counted[i].past[k] += s->nodes.counted[i].now[k];
            s->nodes.counted[i].now[k] = node.number[k];
        }
        s->nodes.counted[i].life = node.number[LIFE];
    }
}

static void report(struct sv_super *s)
{
    const struct im_ledger *l = s->run.control->ledger;
    const uint64_t number[SV_LINK_NUMBERS] = {
        [PASSES_TRAIN] = sum_of(&l[IM_TRAIN].phases),
        [EXACT_TRAIN] = sum_of(&l[IM_TRAIN].phases_exact),
        [IMAGES_TRAIN] = sum_of(&l[IM_TRAIN].total_delivered),
        [PASSES_VAL] = sum_of(&l[IM_VAL].phases),
        [EXACT_VAL] = sum_of(&l[IM_VAL].phases_exact),
        [IMAGES_VAL] = sum_of(&l[IM_VAL].total_delivered),
        [MILLI_RATE] = (uint64_t)(s->view.samples_per_second * 1e3),
        [DEATHS] = atomic_load_explicit(&s->run.control->deaths, memory_order_relaxed),
        [LIFE] = s->run.control->run_id};

    if (im_now() - s->nodes.reported_at < REPORT_NS)
        return;
    count_lives(s);
    s->nodes.reported_at = im_now();
    sv_link_report(s->nodes.link, s->view.next_batch, NULL, 0, SV_LINK_NOWHERE, number);
}

/* A member whose trainers are done is not one that left: the head's are about to be done, and then it says so. */
static bool waits_for_head(struct sv_super *s)
{
    struct sv_nodes *n = &s->nodes;

    if (!sv_nodes_is_member(s) || s->exit_status != IM_EXIT_OK || n->ended_at != 0)
        return false;
    if (n->done_at == 0)
        n->done_at = im_now();
    return im_now() - n->done_at < DONE_WAIT_NS;
}

static void tell_finish(struct sv_super *s)
{
    /* The end of one that looks for another head is not that of the run: the others notice that it is gone. */
    if (!s->finished || s->nodes.finish_told || s->nodes.elsewhere || waits_for_head(s))
        return;
    s->nodes.finish_told = true;
    sv_link_finish(s->nodes.link, s->exit_status, s->nodes.failure);
}

void sv_nodes_turn(struct sv_super *s)
{
    struct sv_nodes *n = &s->nodes;
    struct sv_link_news news;

    if (!n->link)
        return;
    sv_link_turn(n->link);
    while (sv_link_news(n->link, &news))
        on_news(s, &news);
    sv_nodes_ask_turn(s);
    if (!s->finished) {
        say_ready(s);
        carry_cards(s);
        sv_nodes_let_in(s);
        report(s);
        watch_wait(s);
        sv_nodes_watch_others(s);
        finish_after_head(s);
    }
    tell_finish(s);
}

void sv_nodes_close(struct sv_super *s)
{
    struct sv_nodes *n = &s->nodes;
    im_ns until;

    if (!n->link)
        return;
    sv_nodes_ask_close(s);
    sv_nodes_turn(s);
    until = im_now() + (s->exit_status == IM_EXIT_FORCED ? LINGER_NS : LEAVE_WAIT_NS);
    while (!n->elsewhere && !sv_link_is_over(n->link) && im_now() < until) {
        if (!n->finish_told) /* bounded, too */
            until = im_now() + LEAVE_WAIT_NS;
        poll(&(struct pollfd){.fd = sv_link_fd(n->link), .events = POLLIN}, 1, LOOK_MS);
        atomic_fetch_add_explicit(&s->run.control->turns, 1, memory_order_relaxed);
        sv_nodes_turn(s);
    }
    sv_nodes_ask_close(s);
    sv_link_close(&n->link, LINGER_NS);
    if (n->look)
        sv_look_end(n->look);
    free(n->look);
    n->look = NULL;
    sv_meeting_fini(&n->meeting);
}

/* ---- status ---- */

static struct im_json *node_json(const struct sv_generation *g, uint32_t index, const struct sv_node *node)
{
    struct im_json *j = im_json_object();

    im_json_set_int(j, "node", index);
    im_json_set_str(j, "name", node->name);
    im_json_set_str(j, "address", node->address);
    im_json_set_str(j, "state", sv_node_state_name(node->state));
    im_json_set_bool(j, "takes_part", g && g->ranks[index] > 0);
    im_json_set_int(j, "ranks", node->ranks);
    im_json_set_real(j, "silent_seconds", node->silent_s);
    im_json_set_real(j, "images_per_second", (double)node->number[MILLI_RATE] / 1e3);
    im_json_set_int(j, "train_images", (int64_t)node->number[IMAGES_TRAIN]);
    im_json_set_int(j, "train_passes", (int64_t)node->number[PASSES_TRAIN]);
    im_json_set_int(j, "train_passes_exactly_once", (int64_t)node->number[EXACT_TRAIN]);
    im_json_set_int(j, "val_images", (int64_t)node->number[IMAGES_VAL]);
    im_json_set_int(j, "val_passes", (int64_t)node->number[PASSES_VAL]);
    im_json_set_int(j, "val_passes_exactly_once", (int64_t)node->number[EXACT_VAL]);
    im_json_set_int(j, "deaths", (int64_t)node->number[DEATHS]);
    return j;
}

void sv_nodes_status(struct sv_super *s, struct im_json *ret)
{
    struct im_json *list;

    if (!s->nodes.link)
        return;
    sv_link_want_table(s->nodes.link, true);
    list = im_json_array();
    for (uint32_t i = 0; i < (uint32_t)s->conf.node_count; i++) {
        struct sv_node node;

        if (!sv_link_node(s->nodes.link, i, &node))
            continue;
        for (int k = 0; k < COUNTS && s->nodes.counted[i].life; k++)
            node.number[k] = s->nodes.counted[i].now[k] + s->nodes.counted[i].past[k];
        im_json_append(list, node_json(sv_link_generation(s->nodes.link), i, &node));
    }
    im_json_set(ret, "nodes", list);
    im_json_set_int(ret, "node", s->conf.node_index);
    im_json_set_int(ret, "node_generation", s->nodes.number);
    im_json_set_int(ret, "node_trainers", s->run.world);
}
