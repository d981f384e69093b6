#include "supervisor/nodes_ask.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "supervisor/cluster/link.h"
#include "supervisor/super.h"

#define ASKS 8                    /* at a time; more are refused */
#define AGAIN_NS (400 * IM_MS)    /* what was not answered is asked again */
#define STATUS_NS (1200 * IM_MS)  /* then a status shows what has come */
#define COMMAND_NS (2500 * IM_MS) /* then a command has failed: `imsuper` waits 3 s */
#define REPLY_MAX 1024            /* of a command's answer that is kept */

static_assert(IM_RANKS_MAX <= 64, "a bit for each machine");

struct ask {
    uint64_t id; /* 0: free */
    struct im_ctl_peer from;
    bool is_status;
    im_ns until, again;
    uint64_t asked, waiting, gone; /* a bit for each machine */
    char *text;                    /* the question, for node 0 and for the others */
    struct im_json *answer[IM_RANKS_MAX];
};

struct sv_nodes_asks {
    uint64_t next;
    struct ask ask[ASKS];
    struct {
        uint64_t id;
        char reply[REPLY_MAX];
    } done[IM_RANKS_MAX]; /* the last command of each asking machine: asked again, it is not done again */
};

static struct sv_nodes_asks *asks_of(struct sv_super *s)
{
    struct sv_nodes_asks *a = s->nodes.asks;

    if (a)
        return a;
    a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    /* A supervisor that takes over does not use the numbers of the one before. */
    if (getrandom(&a->next, sizeof a->next, 0) != (ssize_t)sizeof a->next)
        a->next = (uint64_t)im_now();
    s->nodes.asks = a;
    return a;
}

static struct im_json *refusal(const char *why)
{
    struct im_json *j = im_json_object();

    im_json_set_str(j, "schema", "imsuper.reply/1");
    im_json_set_str(j, "error", why);
    im_json_set_int(j, "exit_status", IM_EXIT_FAILED);
    return j;
}

static void forget(struct ask *a)
{
    for (int i = 0; i < IM_RANKS_MAX; i++)
        im_json_free(&a->answer[i]);
    free(a->text);
    *a = (struct ask){.id = 0};
}

/* ---- whom a command is about ---- */

static uint64_t bit_of(uint32_t node)
{
    return (uint64_t)1 << node;
}

static uint64_t all_nodes(const struct sv_super *s)
{
    const uint64_t count = (uint64_t)s->conf.node_count;

    return count >= 64 ? UINT64_MAX : bit_of((uint32_t)count) - 1;
}

/* The machines that must do it; 0: there is no such machine. */
static uint64_t targets_of(const struct sv_super *s, const char *cmd, const struct im_json *message)
{
    const uint64_t here = bit_of((uint32_t)s->conf.node_index);
    const int64_t node = im_json_int_or(message, "node", -1);
    const char *stage = im_json_str_or(message, "stage", "");

    if (node >= s->conf.node_count)
        return 0;
    if (strcmp(cmd, "status") == 0)
        return all_nodes(s);
    if (strcmp(cmd, "pause") == 0 || strcmp(cmd, "resume") == 0)
        return bit_of(0); /* where it waits, all wait; and there it is known to all */
    if (strcmp(cmd, "restart") == 0 && strcmp(stage, im_role_name(IM_ROLE_TRAINER)) == 0)
        return bit_of(0);
    if (strcmp(cmd, "scale") == 0 && node < 0)
        return all_nodes(s);
    if (strcmp(cmd, "scale") == 0 || strcmp(cmd, "restart") == 0 || strcmp(cmd, "logs") == 0)
        return node < 0 ? here : bit_of((uint32_t)node);
    return here;
}

/* ---- asking ---- */

static void finish(struct sv_super *s, struct ask *a)
{
    struct im_json *answer = a->is_status ? sv_nodes_join_status(s, a->answer)
                                          : sv_nodes_join_replies(a->answer, a->asked, a->gone);

    if (s->ctl)
        im_ctl_send(s->ctl, &a->from, answer);
    else
        im_json_free(&answer);
    forget(a);
}

static void send_questions(struct sv_super *s, struct ask *a)
{
    a->again = im_now() + AGAIN_NS;
    for (uint32_t i = 0; i < (uint32_t)s->conf.node_count; i++)
        if (a->waiting & bit_of(i) &&
            sv_link_ask(s->nodes.link, i, a->id, a->text, strlen(a->text)) == -EAGAIN) {
            a->gone |= bit_of(i);
            a->waiting &= ~bit_of(i);
        }
}

static struct ask *free_place(struct sv_nodes_asks *all)
{
    for (int i = 0; all && i < ASKS; i++)
        if (all->ask[i].id == 0)
            return &all->ask[i];
    return NULL;
}

static struct im_json *done_here(struct sv_super *s, const char *cmd, const struct im_json *message)
{
    if (strcmp(cmd, "status") == 0)
        return s->conf.node_index == 0 ? sv_status_json(s) : sv_nodes_status_here(s);
    if (strcmp(cmd, "logs") == 0)
        return sv_nodes_logs(s->conf.run_dir, message);
    return sv_control(s, cmd, message);
}

/* On one machine, where there is no other to name. */
static bool refuse_node(struct sv_super *s, const struct im_ctl_peer *from, const char *cmd,
                        const struct im_json *message)
{
    const bool logs = strcmp(cmd, "logs") == 0;

    if (!logs && im_json_int_or(message, "node", 0) <= 0)
        return false;
    im_ctl_send(s->ctl, from,
                logs && im_json_int_or(message, "node", 0) == 0 ? sv_nodes_logs(s->conf.run_dir, message)
                                                                : refusal("the run uses one machine"));
    return true;
}

bool sv_nodes_take_command(struct sv_super *s, const struct im_ctl_peer *from, const char *cmd,
                           const struct im_json *message)
{
    const uint32_t here = (uint32_t)s->conf.node_index;
    uint64_t targets;
    struct ask *a;

    if (!s->nodes.link)
        return refuse_node(s, from, cmd, message);
    targets = targets_of(s, cmd, message);
    if (targets == bit_of(here) && strcmp(cmd, "logs") != 0)
        return false;
    a = free_place(asks_of(s));
    if (targets == 0 || !a) {
        im_ctl_send(s->ctl, from,
                    refusal(targets ? "too many questions to other machines are under way; try again"
                                    : "the run has no machine of that number"));
        return true;
    }
    if (++s->nodes.asks->next == 0)
        s->nodes.asks->next++;
    *a = (struct ask){.id = s->nodes.asks->next,
                      .from = *from,
                      .is_status = strcmp(cmd, "status") == 0,
                      .asked = targets,
                      .waiting = targets & ~bit_of(here),
                      .text = im_json_dump(message)};
    a->until = im_now() + (a->is_status ? STATUS_NS : COMMAND_NS);
    if (targets & bit_of(here))
        a->answer[here] = done_here(s, cmd, message);
    if (!a->text)
        a->waiting = 0;
    send_questions(s, a);
    if (a->waiting == 0)
        finish(s, a);
    return true;
}

void sv_nodes_on_answered(struct sv_super *s, const struct sv_link_news *news)
{
    struct sv_nodes_asks *all = s->nodes.asks;

    for (int i = 0; all && i < ASKS; i++) {
        struct ask *a = &all->ask[i];

        if (a->id == 0 || a->id != news->id || news->node >= IM_RANKS_MAX ||
            !(a->waiting & bit_of(news->node)))
            continue;
        if (news->gone || im_json_parse(news->bytes, news->n, &a->answer[news->node], NULL) < 0)
            a->gone |= bit_of(news->node);
        a->waiting &= ~bit_of(news->node);
        if (a->waiting == 0)
            finish(s, a);
    }
}

void sv_nodes_ask_turn(struct sv_super *s)
{
    struct sv_nodes_asks *all = s->nodes.asks;
    const im_ns now = im_now();

    for (int i = 0; all && i < ASKS; i++) {
        struct ask *a = &all->ask[i];

        if (a->id && now >= a->again)
            send_questions(s, a);
        if (a->id && (now >= a->until || a->waiting == 0))
            finish(s, a);
    }
}

void sv_nodes_ask_close(struct sv_super *s)
{
    for (int i = 0; s->nodes.asks && i < ASKS; i++)
        if (s->nodes.asks->ask[i].id)
            finish(s, &s->nodes.asks->ask[i]);
    free(s->nodes.asks);
    s->nodes.asks = NULL;
}

/* ---- being asked ---- */

/* What may be asked of a machine: no more than its own user's commands. */
static bool may_be_asked(const char *cmd)
{
    static const char *const cmds[] = {"status", "pause", "resume", "restart", "scale", "logs"};

    for (size_t i = 0; i < IM_COUNT(cmds); i++)
        if (strcmp(cmds[i], cmd) == 0)
            return true;
    return false;
}

/* Text that fits a message, malloc'ed; of a status with very many processes they are left out. */
static char *dump_to_fit(struct im_json *answer)
{
    char *text = im_json_dump(answer);

    if (!text || strlen(text) <= SV_LINK_TALK_MAX)
        return text;
    free(text);
    im_json_set(answer, "processes", im_json_array());
    im_json_set_bool(answer, "processes_left_out", true);
    text = im_json_dump(answer);
    if (text && strlen(text) > SV_LINK_TALK_MAX) {
        free(text);
        text = NULL;
    }
    return text;
}

void sv_nodes_on_asked(struct sv_super *s, const struct sv_link_news *news)
{
    struct sv_nodes_asks *all = asks_of(s);
    struct im_json *message = NULL, *answer = NULL;
    const char *cmd;
    char *text;

    if (!all || news->node >= IM_RANKS_MAX || im_json_parse(news->bytes, news->n, &message, NULL) < 0)
        return;
    cmd = im_json_str_or(message, "cmd", "");
    if (all->done[news->node].id == news->id) {
        text = strdup(all->done[news->node].reply);
    } else {
        answer =
            may_be_asked(cmd) ? done_here(s, cmd, message) : refusal("no machine may ask that of another");
        text = answer ? dump_to_fit(answer) : NULL;
        if (text && strcmp(cmd, "status") != 0 && strlen(text) < REPLY_MAX) {
            all->done[news->node].id = news->id;
            memcpy(all->done[news->node].reply, text, strlen(text) + 1);
        }
    }
    if (text)
        sv_link_answer(s->nodes.link, news->node, news->id, text, strlen(text));
    free(text);
    im_json_free(&answer);
    im_json_free(&message);
}
