#include "supervisor/cluster/admit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "supervisor/cluster/gather.h"

#define DECIDE_NS SV_LINK_SILENT_NS     /* after so long it is clear whether the node before still speaks */
#define LATE_NS (SV_LINK_SILENT_NS / 2) /* what comes sooner may have been under way */

/* ---- what nodes must agree on ---- */

struct line {
    const char *s;
    size_t n, name; /* name: bytes before the '='; n where there is none */
};

static struct line line_at(const char *s, size_t left)
{
    const char *end = memchr(s, '\n', left);
    struct line l = {s, end ? (size_t)(end - s) : left, 0};
    const char *equals = memchr(s, '=', l.n);

    l.name = equals ? (size_t)(equals - s) : l.n;
    return l;
}

static int width(size_t n)
{
    return n < 160 ? (int)n : 160;
}

static const char *value_of(struct line l)
{
    return l.name < l.n ? l.s + l.name + 1 : l.s + l.n;
}

static int value_width(struct line l)
{
    return l.name < l.n ? width(l.n - l.name - 1) : 0;
}

/* A value that agrees with every other. */
static bool is_unknown(struct line l)
{
    return l.name + 2 == l.n && l.s[l.name + 1] == '?';
}

bool sv_first_difference(const char *head, const char *other, size_t other_bytes, struct im_text *ret)
{
    size_t a = 0, b = 0, n = strlen(head);

    while (a < n || b < other_bytes) {
        const struct line x = line_at(head + a, n - a), y = line_at(other + b, other_bytes - b);

        if (a >= n || b >= other_bytes) {
            const struct line l = a >= n ? y : x;

            return im_fail(ret, true, "%.*s is known to %s only", width(l.name), l.s,
                           a >= n ? "it" : "the head");
        }
        if (x.name != y.name || memcmp(x.s, y.s, x.name) != 0)
            return im_fail(ret, true, "where the head has %.*s, it has %.*s", width(x.n), x.s, width(y.n),
                           y.s);
        if (!is_unknown(x) && !is_unknown(y) && (x.n != y.n || memcmp(x.s, y.s, x.n) != 0))
            return im_fail(ret, true, "%.*s is %.*s there and %.*s on the head", width(x.name), x.s,
                           value_width(y), value_of(y), value_width(x), value_of(x));
        a += x.n + 1;
        b += y.n + 1;
    }
    return false;
}

/* ---- refusals ---- */

static void refuse(struct sv_head *h, const struct sv_link_message *m, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(struct sv_head *h, const struct sv_link_message *m, const char *format, ...)
{
    struct sv_link_message answer = {.kind = SV_REFUSE};
    va_list args;

    va_start(args, format);
    vsnprintf(answer.refusal, sizeof answer.refusal, format, args);
    va_end(args);
    sv_head_send(h, m->from, &answer);
    if (h->refused_session != m->from) /* once, however often it asks */
        sv_head_tell(h, true, "node %u (%s) is refused: %s", m->hello.node, m->hello.name, answer.refusal);
    h->refused_session = m->from;
}

/* May it be this node at all? */
static bool is_fit(struct sv_head *h, uint32_t who, const struct sv_link_message *m)
{
    const struct sv_hello *hello = &m->hello;
    struct im_text text = {""};

    if (strcmp(hello->build, h->build) != 0)
        refuse(h, m,
               "it runs another build of imsuper, %s; the head runs %s: use the same program on all nodes",
               hello->build, h->build);
    else if (hello->nodes != h->nodes)
        refuse(h, m, "it was started as one of %u nodes, the head as one of %u", hello->nodes, h->nodes);
    else if (hello->node >= h->nodes)
        refuse(h, m, "its number is %u; nodes are numbered from 0 to %u", hello->node, h->nodes - 1);
    else if (who != UINT32_MAX && who != hello->node)
        refuse(h, m, "its key is that of node %u, but it says that it is node %u", who, hello->node);
    else if (sv_first_difference(h->agree, hello->agree ? hello->agree : "", hello->agree_bytes, &text))
        refuse(h, m, "it would train something else than the head: %s", text.s);
    else
        return true;
    return false;
}

/* ---- acceptance ---- */

static void accept_node(struct sv_head *h, const struct sv_link_message *m)
{
    const struct sv_hello *hello = &m->hello;
    struct sv_head_node *n = &h->node[hello->node];
    const bool goes_on =
        h->runs && h->generation.ranks[hello->node] == hello->ranks && hello->running == h->generation.number;
    const bool was_member = h->runs && h->generation.ranks[hello->node];
    const bool was_gone = n->state == SV_NODE_DEAD || n->state == SV_NODE_LEFT;

    if (was_gone)
        sv_head_tell(h, false, "node %u (%s) is back after %.0f s", hello->node, hello->name,
                     (double)(h->now - n->changed) / IM_SECOND);
    n->session = m->from;
    n->heard = h->now;
    n->closed = n->rival_since = n->ordered = 0;
    n->is_cut = false;
    n->rival = 0;
    n->ranks = hello->ranks;
    memcpy(n->name, hello->name, sizeof n->name);
    memcpy(n->address, hello->address, sizeof n->address);
    n->placed = 0;
    sv_head_place(h, hello->node, hello->address);
    memset(&n->report, 0, sizeof n->report);
    for (int i = 0; i < SV_LINK_POSITIONS; i++)
        n->report.snapshot[i] = SV_LINK_NOWHERE;
    n->report.saved = SV_LINK_NOWHERE;
    n->state = SV_NODE_MISSING; /* so that it is reported even if the node was there */
    sv_head_node_is(h, hello->node, SV_NODE_THERE);
    if (was_member && !goes_on)
        sv_head_gather(h, "node %u (%s) was started anew", hello->node, n->name);
    sv_head_outnumber(h, hello->seen);
}

/* Another process says to be a node that is there. If that one still speaks, there are two; else it was started
 * anew before its silence was noticed. True: the newcomer takes the place. */
static bool replaces(struct sv_head *h, const struct sv_link_message *m)
{
    struct sv_head_node *n = &h->node[m->hello.node];

    if ((n->state != SV_NODE_THERE && n->state != SV_NODE_SILENT) || n->closed)
        return true;
    if (n->rival != m->from) {
        n->rival = m->from;
        n->rival_since = h->now;
    }
    if (h->now - n->rival_since < DECIDE_NS)
        return false;
    if (n->heard < n->rival_since + LATE_NS)
        return true;
    refuse(h, m, "two machines say that they are node %u: %s (%s) and %s (%s)", m->hello.node, n->name,
           n->address, m->hello.name, m->hello.address);
    return false;
}

void sv_head_admit(struct sv_head *h, uint32_t who, const struct sv_link_message *m)
{
    if (!is_fit(h, who, m))
        return;
    if (h->node[m->hello.node].session != m->from) {
        if (!replaces(h, m))
            return;
        accept_node(h, m);
    }
    sv_head_send(h, m->from, &(struct sv_link_message){.kind = SV_WELCOME});
    h->node[m->hello.node].ordered = 0;
}
