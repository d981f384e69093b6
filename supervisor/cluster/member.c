#include "supervisor/cluster/member.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_NS IM_SECOND       /* what was not answered is sent again */
#define TELL_NS (10 * IM_SECOND) /* between two lines about the same waiting */
#define FIRST_TELL_NS (3 * IM_SECOND)
#define FETCHES_AT_ONCE 32
#define HURRY_NS (200 * IM_MS) /* between two hellos that were asked for */

struct sv_member_value {
    char key[SV_LINK_KEY_MAX];
    void *bytes;
    size_t n;
    im_ns sent_at; /* 0: not yet */
    bool is_kept;
};

struct sv_member_fetch {
    char key[SV_LINK_KEY_MAX];
    im_ns sent_at;
};

/* ---- what it says ---- */

static void send(struct sv_member *m, struct sv_link_message *message)
{
    message->from = m->session;
    message->to = m->head;
    m->port.send(m->port.context, message);
}

static void tell_news(struct sv_member *m, struct sv_link_news *news, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void tell_news(struct sv_member *m, struct sv_link_news *news, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(news->text, sizeof news->text, format, args);
    va_end(args);
    m->port.news(m->port.context, news);
}

static void say_hello(struct sv_member *m, im_ns now)
{
    struct sv_link_message message = {.kind = SV_HELLO, .hello = m->hello};

    message.hello.running = m->report.running;
    message.hello.seen = m->told_over;
    m->hello_at = now;
    send(m, &message);
}

static void send_report(struct sv_member *m, im_ns now)
{
    struct sv_link_message message = {.kind = SV_REPORT};

    m->report.serial++;
    m->report.order = m->order.serial;
    m->report.seen = m->told_over;
    message.report = m->report;
    m->report_at = now;
    m->is_due = false;
    send(m, &message);
}

static void send_values(struct sv_member *m, im_ns now)
{
    for (uint32_t i = 0; i < m->values; i++) {
        struct sv_member_value *v = &m->value[i];
        struct sv_link_message message = {
            .kind = SV_PUBLISH, .value = {.generation = m->report.running, .bytes = v->bytes, .n = v->n}};

        if (v->is_kept || (v->sent_at && now - v->sent_at < AGAIN_NS))
            continue;
        memcpy(message.value.key, v->key, sizeof v->key);
        v->sent_at = now;
        send(m, &message);
    }
}

/* Few at a time: answers to all nodes at once would fill the head's memory. */
static void send_fetches(struct sv_member *m, im_ns now)
{
    uint32_t under_way = 0;

    for (uint32_t i = 0; i < m->fetches; i++)
        under_way += m->fetch[i].sent_at != 0;
    for (uint32_t i = 0; i < m->fetches; i++) {
        struct sv_link_message message = {.kind = SV_FETCH, .value = {.generation = m->report.running}};
        struct sv_member_fetch *f = &m->fetch[i];

        if (f->sent_at ? now - f->sent_at < AGAIN_NS : under_way >= FETCHES_AT_ONCE)
            continue;
        under_way += f->sent_at == 0;
        f->sent_at = now;
        memcpy(message.value.key, f->key, sizeof f->key);
        send(m, &message);
    }
}

static void tell_waiting(struct sv_member *m, im_ns now)
{
    const double seconds = (double)(now - m->began) / IM_SECOND;

    if (!m->has_begun || now - m->told_at < TELL_NS)
        return;
    tell_news(m, &(struct sv_link_news){.kind = SV_LINK_TELL, .warning = true},
              "waiting for the head at %s since %.0f s%s%s", m->where, seconds, m->trouble[0] ? ": " : "",
              m->trouble);
    m->told_at = now;
}

/* A head that has never answered. */
static void watch_first_answer(struct sv_member *m, im_ns now)
{
    const im_ns waited = now - m->began;

    if (m->patience == 0 || waited <= m->patience || m->is_lost)
        return;
    m->is_lost = true;
    tell_news(m, &(struct sv_link_news){.kind = SV_LINK_LOST, .warning = true, .never = true},
              "the head at %s has not answered for %.0f s (--cluster-timeout)%s%s", m->where,
              (double)m->patience / IM_SECOND, m->trouble[0] ? ": " : "", m->trouble);
}

/* The first line about waiting comes sooner than the next ones. */
static void member_begin(struct sv_member *m, im_ns now)
{
    m->began = m->heard = now;
    m->told_at = now + FIRST_TELL_NS - TELL_NS;
}

/* A head that is not heard of. */
static void watch_head(struct sv_member *m, im_ns now)
{
    const im_ns silence = now - m->heard;

    if (silence > SV_LINK_SILENT_NS && !m->is_silent) {
        m->is_silent = true;
        tell_news(m, &(struct sv_link_news){.kind = SV_LINK_TELL, .warning = true},
                  "no message from the head at %s for %.0f s%s%s", m->where, (double)silence / IM_SECOND,
                  m->trouble[0] ? ": " : "", m->trouble);
    }
    if (m->refusals >= SV_LINK_REFUSALS && !m->is_lost) {
        m->is_lost = true;
        tell_news(m, &(struct sv_link_news){.kind = SV_LINK_LOST, .warning = true},
                  "the head at %s is gone: its machine refuses connections there", m->where);
    }
    if (m->is_cut && !m->is_lost) {
        m->is_lost = true;
        tell_news(m, &(struct sv_link_news){.kind = SV_LINK_LOST, .warning = true},
                  "the head at %s is cut off: its machine has acknowledged nothing for %d s", m->where,
                  (int)(SV_LINK_CUT_NS / IM_SECOND));
    }
    if (silence > SV_LINK_DEAD_NS && !m->is_lost) {
        m->is_lost = true;
        tell_news(m, &(struct sv_link_news){.kind = SV_LINK_LOST, .warning = true},
                  "the head at %s has not been heard of for %.0f s%s%s", m->where,
                  (double)silence / IM_SECOND, m->trouble[0] ? ": " : "", m->trouble);
    }
}

void sv_member_tick(struct sv_member *m, im_ns now)
{
    if (!m->has_begun)
        member_begin(m, now);
    if (m->has_begun && now - m->ticked > SV_LINK_BEAT_NS)
        m->heard = m->heard + (now - m->ticked) < now
                       ? m->heard + (now - m->ticked)
                       : now; /* this process was stopped: that is not the head's silence */
    m->ticked = now;
    if (m->is_refused)
        return;
    if (!m->head) {
        watch_first_answer(m, now);
        tell_waiting(m, now);
        if (!m->has_begun || now - m->hello_at >= AGAIN_NS)
            say_hello(m, now);
        m->has_begun = true;
        return;
    }
    m->has_begun = true;
    watch_head(m, now);
    if (m->is_due || now - m->report_at >= SV_LINK_BEAT_NS)
        send_report(m, now);
    send_values(m, now);
    send_fetches(m, now);
}

void sv_member_connected(struct sv_member *m)
{
    m->hello_at = 0;
    m->is_due = true;
    for (uint32_t i = 0; i < m->values; i++)
        m->value[i].sent_at = 0;
    for (uint32_t i = 0; i < m->fetches; i++)
        m->fetch[i].sent_at = 0;
}

/* ---- what it hears ---- */

static void forget_values(struct sv_member *m)
{
    for (uint32_t i = 0; i < m->values; i++)
        free(m->value[i].bytes);
    m->values = m->fetches = 0;
}

static void welcome(struct sv_member *m, im_ns now, const struct sv_link_message *message)
{
    const bool again = m->head == message->from;

    m->heard = now;
    if (again)
        return;
    m->head = message->from;
    m->is_lost = m->is_silent = false;
    m->order.serial = 0;
    m->is_due = true;
    for (uint32_t i = 0; i < m->values; i++) { /* another head has not kept them */
        m->value[i].is_kept = false;
        m->value[i].sent_at = 0;
    }
    for (uint32_t i = 0; i < m->fetches; i++)
        m->fetch[i].sent_at = 0;
    tell_news(m, &(struct sv_link_news){.kind = SV_LINK_JOINED},
              "the head at %s has accepted this machine as node %u of %u", m->where, m->hello.node,
              m->hello.nodes);
}

static bool is_member(const struct sv_member *m, const struct sv_generation *g)
{
    return m->hello.node < g->nodes && g->ranks[m->hello.node] > 0;
}

static void follow_generation(struct sv_member *m, const struct sv_order *o)
{
    const uint32_t number = o->generation.number;

    if (number > m->told_over) {
        m->told_over = number;
        m->report.running = 0;
        m->report.ready = 0;
        forget_values(m);
        m->is_due = true;
        tell_news(m, &(struct sv_link_news){.kind = SV_LINK_OVER, .number = number}, "%s", o->over);
    }
    if (!o->runs || number != m->told_over || m->report.running == number || m->report.ready != number ||
        !is_member(m, &o->generation))
        return;
    m->report.running = number;
    m->report.ready = 0;
    m->is_due = true;
    tell_news(m, &(struct sv_link_news){.kind = SV_LINK_BEGIN, .number = number, .generation = o->generation},
              "generation %u begins", number);
}

static void follow_end(struct sv_member *m, const struct sv_order *o)
{
    if (o->stop != SV_STOP_NONE &&
        (!m->told_stop || (o->stop == SV_STOP_NOW && m->order.stop == SV_STOP_SAVE))) {
        m->told_stop = true;
        tell_news(m,
                  &(struct sv_link_news){.kind = SV_LINK_STOP,
                                         .now = o->stop == SV_STOP_NOW,
                                         .gave_up = o->gave_up,
                                         .node = o->stop_node},
                  "%s", o->stop_reason);
    }
    if (o->ended && !m->told_end) {
        m->told_end = true;
        tell_news(m, &(struct sv_link_news){.kind = SV_LINK_END, .status = o->status}, "%s", o->end_reason);
    }
    m->is_over |= o->left_seen && m->report.left;
}

static void follow(struct sv_member *m, im_ns now, const struct sv_order *o)
{
    if (o->serial <= m->order.serial) {
        m->dropped++;
        return;
    }
    if (m->is_silent)
        tell_news(m, &(struct sv_link_news){.kind = SV_LINK_TELL}, "the head at %s is heard again", m->where);
    if (m->is_lost)
        tell_news(m, &(struct sv_link_news){.kind = SV_LINK_JOINED}, "the head at %s is back", m->where);
    m->heard = now;
    m->is_silent = m->is_lost = false;
    follow_generation(m, o);
    follow_end(m, o);
    m->order = *o;
}

static void keep(struct sv_member *m, const struct sv_value *value)
{
    for (uint32_t i = 0; i < m->values && value->generation == m->report.running; i++)
        if (strcmp(m->value[i].key, value->key) == 0)
            m->value[i].is_kept = true;
}

static void take_value(struct sv_member *m, const struct sv_value *value)
{
    struct sv_link_news news = {
        .kind = SV_LINK_VALUE, .number = value->generation, .bytes = value->bytes, .n = value->n};
    uint32_t i = 0;

    while (i < m->fetches && strcmp(m->fetch[i].key, value->key) != 0)
        i++;
    if (i == m->fetches || value->generation != m->report.running) {
        m->dropped++;
        return;
    }
    m->fetch[i] = m->fetch[--m->fetches];
    memcpy(news.key, value->key, sizeof news.key);
    m->port.news(m->port.context, &news);
}

static void take_table(struct sv_member *m, const struct sv_link_message *message)
{
    struct sv_node *rows = m->table ? calloc(SV_NODES_MAX, sizeof *rows) : NULL;
    const int n = rows ? sv_table_decode(message, rows) : -1;

    if (n >= 0) {
        memcpy(m->table, rows, SV_NODES_MAX * sizeof *rows);
        m->table_rows = (uint32_t)n;
    }
    free(rows);
}

static void take_places(struct sv_member *m, const struct sv_link_message *message)
{
    struct im_node_place place[SV_NODES_MAX];
    const int n = sv_places_decode(message, place);

    if (n != (int)m->hello.nodes) {
        m->dropped++;
        return;
    }
    m->port.news(
        m->port.context,
        &(struct sv_link_news){.kind = SV_LINK_PLACES, .bytes = place, .n = (size_t)n * sizeof *place});
}

static void refuse(struct sv_member *m, const char *why)
{
    m->is_refused = true;
    tell_news(m, &(struct sv_link_news){.kind = SV_LINK_REFUSED, .warning = true}, "%s", why);
}

static void take_talk(struct sv_member *m, enum sv_message_kind kind, const struct sv_talk *talk)
{
    const struct sv_link_news news = {.kind = kind == SV_ASK ? SV_LINK_ASKED : SV_LINK_ANSWERED,
                                      .node = talk->from,
                                      .gone = talk->is_gone,
                                      .id = talk->id,
                                      .bytes = talk->bytes,
                                      .n = talk->n};

    m->port.news(m->port.context, &news);
}

/* Of the head that it has joined. */
static void hear_other(struct sv_member *m, im_ns now, const struct sv_link_message *message)
{
    m->heard = now;
    if (message->kind == SV_KEPT)
        keep(m, &message->value);
    else if (message->kind == SV_VALUE)
        take_value(m, &message->value);
    else if (message->kind == SV_TABLE)
        take_table(m, message);
    else if (message->kind == SV_PLACES)
        take_places(m, message);
    else if (message->kind == SV_ASK || message->kind == SV_ANSWER)
        take_talk(m, message->kind, &message->talk);
    else
        m->dropped++;
}

void sv_member_message(struct sv_member *m, im_ns now, const struct sv_link_message *message)
{
    const bool known = m->head && message->from == m->head;

    if (message->to != m->session || m->is_refused) {
        m->dropped++;
        return;
    }
    if (message->kind == SV_WELCOME) {
        welcome(m, now, message);
    } else if (message->kind == SV_REFUSE) {
        refuse(m, message->refusal);
    } else if (message->kind == SV_WHO || (message->kind == SV_ORDER && !known)) {
        if (!m->has_begun || now - m->hello_at >= HURRY_NS)
            say_hello(m, now);
    } else if (!known) {
        m->dropped++;
    } else if (message->kind == SV_ORDER) {
        follow(m, now, &message->order);
    } else {
        hear_other(m, now, message);
    }
}

/* ---- what its node asks for ---- */

static void set_positions(uint64_t to[SV_LINK_POSITIONS], const uint64_t *positions, uint32_t count)
{
    for (uint32_t i = 0; i < SV_LINK_POSITIONS; i++)
        to[i] = i < count ? positions[i] : SV_LINK_NOWHERE;
}

void sv_member_ready(struct sv_member *m, uint32_t number, const uint64_t *positions, uint32_t count,
                     uint64_t saved)
{
    if (number == 0 || number != m->told_over || m->report.running == number)
        return;
    set_positions(m->report.ready_position, positions, count);
    m->report.ready_saved = saved;
    m->report.ready = number;
    m->is_due = true;
}

static int check_key(const struct sv_member *m, uint32_t number, const char *key)
{
    if (number == 0 || number != m->report.running)
        return -EAGAIN;
    return strlen(key) >= SV_LINK_KEY_MAX || !*key ? -E2BIG : 0;
}

int sv_member_publish(struct sv_member *m, uint32_t number, const char *key, const void *bytes, size_t n)
{
    int err = n > SV_LINK_VALUE_MAX ? -E2BIG : check_key(m, number, key);
    struct sv_member_value *grown;

    if (err < 0)
        return err;
    for (uint32_t i = 0; i < m->values; i++)
        if (strcmp(m->value[i].key, key) == 0)
            return 0;
    if (m->values == SV_LINK_VALUES_MAX)
        return -ENOSPC;
    grown = realloc(m->value, (m->values + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    m->value = grown;
    grown += m->values;
    memset(grown, 0, sizeof *grown);
    grown->bytes = malloc(n ? n : 1);
    if (!grown->bytes)
        return -ENOMEM;
    memcpy(grown->key, key, strlen(key));
    if (n)
        memcpy(grown->bytes, bytes, n);
    grown->n = n;
    m->values++;
    return 0;
}

int sv_member_fetch(struct sv_member *m, uint32_t number, const char *key)
{
    int err = check_key(m, number, key);
    struct sv_member_fetch *grown;

    if (err < 0)
        return err;
    for (uint32_t i = 0; i < m->fetches; i++)
        if (strcmp(m->fetch[i].key, key) == 0)
            return 0;
    if (m->fetches == SV_LINK_VALUES_MAX)
        return -ENOSPC;
    grown = realloc(m->fetch, (m->fetches + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    m->fetch = grown;
    memset(&grown[m->fetches], 0, sizeof *grown);
    memcpy(grown[m->fetches++].key, key, strlen(key));
    return 0;
}

int sv_member_talk(struct sv_member *m, enum sv_message_kind kind, uint32_t node, uint64_t id,
                   const void *bytes, size_t n)
{
    struct sv_link_message message = {
        .kind = kind, .talk = {.from = m->hello.node, .to = node, .id = id, .bytes = bytes, .n = n}};

    if (n > SV_LINK_TALK_MAX || node >= SV_NODES_MAX)
        return -E2BIG;
    if (!m->head || m->is_refused || m->is_lost)
        return -EAGAIN;
    send(m, &message);
    return 0;
}

/* A later reason does not replace that of stopping, and nothing that of leaving. */
static void give_reason(struct sv_member *m, const char *reason)
{
    snprintf(m->report.reason, sizeof m->report.reason, "%s", reason ? reason : "");
    m->is_due = true;
}

void sv_member_ask_generation(struct sv_member *m, uint32_t number, const char *reason)
{
    if (number == 0 || number != m->report.running || m->report.want == number)
        return;
    m->report.want = number;
    if (m->report.stop == SV_STOP_NONE && !m->report.left)
        give_reason(m, reason);
    m->is_due = true;
}

void sv_member_ask_stop(struct sv_member *m, enum sv_stop stop, const char *reason)
{
    if (stop <= m->report.stop)
        return;
    if (m->report.stop == SV_STOP_NONE && !m->report.left)
        give_reason(m, reason);
    m->report.stop = stop;
    m->is_due = true;
}

void sv_member_report(struct sv_member *m, uint64_t position, const uint64_t *positions, uint32_t count,
                      uint64_t saved, const uint64_t number[SV_LINK_NUMBERS])
{
    m->report.position = position;
    set_positions(m->report.snapshot, positions, count);
    m->report.saved = saved;
    memcpy(m->report.number, number, sizeof m->report.number);
}

void sv_member_finish(struct sv_member *m, int status, const char *reason)
{
    if (m->report.left)
        return;
    m->report.left = true;
    m->report.status = status;
    give_reason(m, reason);
}

/* Nobody who has not accepted this node, or refused it, or is dead, waits to hear that it leaves. */
bool sv_member_is_over(const struct sv_member *m)
{
    return m->is_over || (m->report.left && (m->is_refused || m->is_lost || m->head == 0));
}

void sv_member_want_table(struct sv_member *m, bool wanted)
{
    m->report.wants_table = wanted;
    if (wanted && !m->table)
        m->table = calloc(SV_NODES_MAX, sizeof *m->table);
}

const struct sv_generation *sv_member_generation(const struct sv_member *m)
{
    return m->report.running && m->report.running == m->order.generation.number ? &m->order.generation : NULL;
}

/* ---- begin and end ---- */

int sv_member_init(struct sv_member *m, const struct sv_link_config *config, uint64_t session,
                   const char *where, const struct sv_port *port)
{
    const char *agree = config->agree ? config->agree : "";
    const uint64_t none[1] = {SV_LINK_NOWHERE};

    memset(m, 0, sizeof *m);
    m->port = *port;
    m->session = session;
    m->patience = config->patience;
    snprintf(m->where, sizeof m->where, "%s", where);
    m->hello = (struct sv_hello){
        .node = config->meeting->node, .nodes = config->meeting->nodes, .ranks = config->ranks};
    snprintf(m->hello.address, sizeof m->hello.address, "%s", config->meeting->here);
    snprintf(m->hello.build, sizeof m->hello.build, "%s", config->build ? config->build : "");
    if (config->name)
        snprintf(m->hello.name, sizeof m->hello.name, "%s", config->name);
    else
        gethostname(m->hello.name, sizeof m->hello.name - 1);
    m->agree = strdup(agree);
    m->hello.agree = m->agree;
    m->hello.agree_bytes = strlen(agree);
    m->report.ready_saved = m->report.saved = SV_LINK_NOWHERE;
    set_positions(m->report.ready_position, none, 0);
    set_positions(m->report.snapshot, none, 0);
    m->report.running = m->told_over = config->running.number;
    m->order.generation = config->running;
    return m->agree ? 0 : -ENOMEM;
}

void sv_member_fini(struct sv_member *m)
{
    forget_values(m);
    free(m->value);
    free(m->fetch);
    free(m->agree);
    free(m->table);
    memset(m, 0, sizeof *m);
}
