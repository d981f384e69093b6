/* Any bytes as messages between supervisors, for a head and a member that are in the middle of a run: what is taken
 * means the same when it is written again, and nothing that is sent in answer is malformed. Also as a key file. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "supervisor/cluster/head.h"
#include "supervisor/cluster/keys.h"
#include "supervisor/cluster/member.h"

static void check_sent(void *context, const struct sv_link_message *m)
{
    static unsigned char bytes[SV_MESSAGE_MAX];
    struct sv_link_message again;
    const long n = sv_message_encode(m, bytes, sizeof bytes);

    (void)context;
    im_assert(n > 0 && sv_message_decode(bytes, (size_t)n, &again) == 0 && again.kind == m->kind);
}

static void ignore_news(void *context, const struct sv_link_news *news)
{
    (void)context;
    im_assert(memchr(news->text, 0, sizeof news->text) != NULL);
}

/* The same bytes come out. */
static void check_encoding(const struct sv_link_message *m, const uint8_t *bytes, size_t n)
{
    static unsigned char again[SV_MESSAGE_MAX];
    static struct sv_node rows[SV_NODES_MAX];
    static struct im_node_place places[SV_NODES_MAX];
    struct sv_link_message table = *m;

    if (m->kind == SV_TABLE) {
        const int count = sv_table_decode(m, rows);

        if (count < 0)
            return;
        table.nodes = (uint32_t)count;
        table.table = rows;
    }
    if (m->kind == SV_PLACES) {
        const int count = sv_places_decode(m, places);

        if (count < 0)
            return;
        table.nodes = (uint32_t)count;
        table.place = places;
    }
    im_assert(sv_message_encode(&table, again, sizeof again) == (long)n);
    im_assert(m->kind == SV_TABLE || memcmp(again, bytes, n) == 0);
}

struct both {
    struct sv_head *head;
    struct sv_member member;
    im_ns now;
};

static void feed(struct both *b, const uint8_t *bytes, size_t n)
{
    struct sv_link_message m;
    const int err = sv_message_decode(bytes, n, &m);

    b->now += n % 7 * 400 * IM_MS;
    if (err == 0) {
        check_encoding(&m, bytes, n);
        sv_head_message(b->head, b->now, UINT32_MAX, &m);
        sv_member_message(&b->member, b->now, &m);
        m.to = b->member.session; /* as if the right one had sent it */
        m.from = b->member.head ? b->member.head : 2;
        sv_member_message(&b->member, b->now, &m);
        m.to = b->head->session;
        m.from = b->head->node[1].session ? b->head->node[1].session : 1;
        sv_head_message(b->head, b->now, 1, &m);
    }
    sv_head_tick(b->head, b->now);
    sv_member_tick(&b->member, b->now);
}

static void open_both(struct both *b, const struct sv_link_config *config)
{
    const struct sv_port port = {NULL, check_sent, ignore_news};

    *b = (struct both){.head = malloc(sizeof *b->head), .now = IM_SECOND};
    im_assert(b->head != NULL && sv_head_init(b->head, config, 2, "head", &port) == 0);
    im_assert(sv_member_init(&b->member, config, 1, "head", &port) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sv_meeting meeting = {.nodes = 3, .node = 1, .here = "10.0.0.2"};
    const struct sv_link_config config = {.meeting = &meeting,
                                          .ranks = 2,
                                          .name = "b",
                                          .build = "b1",
                                          .agree = "a=1\nb=2\n",
                                          .patience = 5 * IM_SECOND};
    struct both b;
    struct sv_keys keys;
    char *text = malloc(size + 1);

    im_assert(text != NULL);
    memcpy(text, data, size);
    text[size] = 0;
    if (sv_key_parse(text, true, &keys) == 0)
        im_assert(sv_key_is_good(keys.open));
    sv_keys_fini(&keys);
    free(text);
    open_both(&b, &config);
    while (size >= 2) { /* [bytes, 16 bits][message] ... */
        size_t n = (size_t)(data[0] | data[1] << 8);

        n = n < size - 2 ? n : size - 2;
        feed(&b, data + 2, n);
        data += 2 + n;
        size -= 2 + n;
    }
    sv_head_fini(b.head);
    sv_member_fini(&b.member);
    free(b.head);
    return 0;
}
