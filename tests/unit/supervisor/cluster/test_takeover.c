/* Who may be node 0 where it is lost: every case of who sees whom, and two machines that look for a head at once. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/cluster/address.h"
#include "supervisor/cluster/look.h"
#include "tests/unit/ipc/base/unit.h"

static uint32_t bits(uint32_t set)
{
    return (uint32_t)__builtin_popcount(set);
}

/* May these machines go on? `head`: the one in office. */
static bool goes_on(uint32_t set, uint32_t head, uint32_t nodes, uint32_t min_nodes)
{
    return bits(set) >= sv_takeover_least(nodes, min_nodes, set >> head & 1);
}

static void two_sides_never_go_on(void **state)
{
    uint32_t cases = 0;

    (void)state;
    for (uint32_t n = 1; n <= 8; n++)
        for (uint32_t min = 0; min <= n; min++)
            for (uint32_t head = 0; head < n && sv_takeover_is_possible(n, min); head++)
                for (uint32_t a = 1; a < 1u << n; a++)
                    for (uint32_t b = 1; b < 1u << n; b++) {
                        if (a & b)
                            continue;
                        cases++;
                        assert_false(goes_on(a, head, n, min) && goes_on(b, head, n, min));
                    }
    assert_true(cases > 10000);
}

/* Machines with the head, machines without it: which side goes on by itself. */
static void the_table_up_to_four(void **state)
{
    static const struct {
        uint32_t nodes, with;
        bool head_goes_on, others_go_on, possible;
    } rows[] = {
        {2, 2, true, false, false}, {2, 1, true, false, false}, /* a lone member waits */
        {3, 3, true, false, true},  {3, 2, true, false, true},  {3, 1, false, true, true},
        {4, 4, true, false, true},  {4, 3, true, false, true},  {4, 2, true, false, true},
        {4, 1, false, true, true}, /* half with the head is enough, half without it is not */
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        const uint32_t n = rows[i].nodes, others = n - rows[i].with;

        assert_int_equal(rows[i].with >= sv_takeover_least(n, 0, true), rows[i].head_goes_on);
        assert_int_equal(others >= sv_takeover_least(n, 0, false), rows[i].others_go_on);
        assert_int_equal(sv_takeover_is_possible(n, 0), rows[i].possible);
        /* The head is gone for good: the others are `others`. */
        assert_int_equal(others == 1 && n > 1 && others >= sv_takeover_least(n, 0, false), false);
    }
    assert_false(sv_takeover_is_possible(1, 0));
    assert_false(sv_takeover_is_possible(3, 1)); /* both sides would have one */
    assert_true(sv_takeover_is_possible(3, 2));
    assert_false(sv_takeover_is_possible(4, 2));
    assert_true(sv_takeover_is_possible(4, 3));
}

static void numbers_begin_at_the_head(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 9; n++)
        for (uint32_t head = 0; head < n; head++) {
            assert_int_equal(sv_takeover_node(head, head, n), 0);
            for (uint32_t i = 0; i < n; i++) {
                assert_true(sv_takeover_node(i, head, n) < n);
                assert_int_equal(sv_takeover_machine(sv_takeover_node(i, head, n), head, n), i);
                assert_int_equal(sv_takeover_node(i, 0, n), i);
            }
        }
}

/* "HL.Q": what each machine looks like to `self`. */
static int chosen(const char *sees, uint32_t self)
{
    enum sv_seen seen[8] = {SV_SEEN_NOTHING};
    const uint32_t n = (uint32_t)strlen(sees);

    for (uint32_t i = 0; i < n; i++)
        seen[i] = sees[i] == 'H'   ? SV_SEEN_HEAD
                  : sees[i] == 'L' ? SV_SEEN_LOOKING
                  : sees[i] == 'Q' ? SV_SEEN_QUIET
                                   : SV_SEEN_NOTHING;
    return sv_takeover_choose(seen, n, 0, self);
}

static void the_first_of_enough_is_chosen(void **state)
{
    (void)state;
    assert_int_equal(chosen("...", 1), -1);
    assert_int_equal(chosen("..L", 1), 1);
    assert_int_equal(chosen(".L.", 2), -1); /* 1 is to be it */
    assert_int_equal(chosen(".H.", 2), 1);
    assert_int_equal(chosen(".Q.", 2), -1);
    assert_int_equal(chosen("H.L", 1), 0); /* a head goes before */
    assert_int_equal(chosen("..H", 1), 2);
    assert_int_equal(chosen("H.H", 1), 0);
    assert_int_equal(chosen("..LL", 1), 1);
    assert_int_equal(chosen("..L.", 1), -1); /* two of four */
    assert_int_equal(chosen("..QL", 1), -1);
    assert_int_equal(chosen("HHH", 1), 0);
    assert_int_equal(chosen(".HL", 1), 1); /* what it is itself says nothing */
}

/* The machines of each group see each other, and no others; all look. */
static void one_head_for_all_partitions(void **state)
{
    (void)state;
    for (uint32_t n = 3; n <= 6; n++)
        for (uint32_t group = 1; group < 1u << n; group++) {
            uint32_t heads = 0;

            for (uint32_t self = 0; self < n; self++) {
                enum sv_seen seen[8];
                const bool inside = group >> self & 1;

                for (uint32_t i = 0; i < n; i++)
                    seen[i] = (group >> i & 1) == inside ? SV_SEEN_LOOKING : SV_SEEN_NOTHING;
                heads += sv_takeover_choose(seen, n, 0, self) >= 0;
            }
            assert_int_equal(heads, bits(group) != n - bits(group)); /* none where both are halves */
        }
}

static void lists_of_places(void **state)
{
    struct sv_machine_at p[4];

    (void)state;
    assert_int_equal(sv_hosts_of("a,b", 7, p, 4), 2);
    assert_int_equal(p[0].port, 7);
    assert_int_equal(p[1].port, 7);
    assert_int_equal(sv_hosts_of("a:29500,[fd00::1],c:3", 7, p, 4), 3);
    assert_int_equal(p[1].port, 29500);
    assert_string_equal(p[1].name, "fd00::1");
    assert_int_equal(p[2].port, 3);
    assert_true(sv_hosts_differ(p, 3));
    assert_int_equal(sv_hosts_of("a,b,a", 7, p, 4), 3);
    assert_false(sv_hosts_differ(p, 3));
    assert_int_equal(sv_hosts_of("a:1,b,a:2", 7, p, 4), 3);
    assert_true(sv_hosts_differ(p, 3));
    assert_int_equal(sv_hosts_of("a,b,c,d,e", 7, p, 4), -EINVAL);
    assert_int_equal(sv_hosts_of("a,,c", 7, p, 4), -EINVAL);
    assert_int_equal(sv_hosts_of("a:0", 7, p, 4), -EINVAL);
}

/* ---- on sockets ---- */

static void make_places(struct sv_machine_at p[3])
{
    for (int i = 0; i < 3; i++) {
        const int fd = sv_address_listen_everywhere(0);

        assert_true(fd >= 0);
        snprintf(p[i].name, sizeof p[i].name, "127.0.0.%d", i + 1);
        p[i].port = sv_address_port(fd);
        close(fd);
    }
}

struct looker {
    struct sv_look_config config;
    struct im_text text;
    int head;
};

static void *look(void *argument)
{
    struct looker *l = argument;

    l->head = sv_look_for_head(&l->config, &l->text);
    return NULL;
}

/* Says what a socket of ZeroMQ says first, once to each who asks. */
static void greet(int listener, int times)
{
    static const unsigned char greeting[] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f};

    while (times-- > 0) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        int fd;

        assert_int_equal(poll(&p, 1, 20000), 1);
        fd = accept(listener, NULL, NULL);
        assert_true(fd >= 0);
        assert_int_equal(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL), sizeof greeting);
        close(fd);
    }
}

static void two_machines_find_one_head(void **state)
{
    struct sv_machine_at p[3];
    struct looker one = {.head = -1}, two = {.head = -1};
    pthread_t a, b;
    struct sv_address at;
    int listener;

    (void)state;
    make_places(p); /* nobody is at 0 */
    one.config = (struct sv_look_config){.place = p, .count = 3, .self = 1, .patience = 30 * IM_SECOND};
    two.config = one.config;
    two.config.self = 2;
    assert_int_equal(pthread_create(&b, NULL, look, &two), 0);
    assert_int_equal(pthread_create(&a, NULL, look, &one), 0);
    pthread_join(a, NULL);
    assert_int_equal(one.head, 1);
    assert_int_equal(two.head, -1); /* it waits until 1 is the head */
    assert_int_equal(sv_address_of(p[1].name, p[1].port, &at, NULL), 0);
    listener = sv_address_listen(&at);
    assert_true(listener >= 0);
    greet(listener, 1);
    pthread_join(b, NULL);
    assert_int_equal(two.head, 1);
    close(listener);
}

static void one_alone_waits_and_ends(void **state)
{
    struct sv_machine_at p[3];
    struct looker one = {.head = -1};

    (void)state;
    make_places(p);
    one.config = (struct sv_look_config){.place = p, .count = 3, .self = 1, .patience = IM_SECOND};
    look(&one);
    assert_int_equal(one.head, -ETIMEDOUT);
    assert_non_null(strstr(one.text.s, "--cluster-timeout"));
}

/* Machine 1 looks at the others. */
static void look_at(struct sv_look *l, const struct sv_machine_at p[3])
{
    sv_look_begin(l, p, 3, 1, 300 * IM_MS);
    while (!sv_look_turn(l, -1, 50))
        ;
}

/* A server of names that does not answer: "slow.invalid" takes three seconds. */
static _Atomic uint32_t asked;
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;

    if (strcmp(name, "slow.invalid") == 0) {
        asked++;
        poll(NULL, 0, 3000);
        return EAI_AGAIN;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(strcmp(name, "quick.invalid") == 0 ? "127.0.0.3" : name, service, hints, ret);
}

static void a_slow_server_of_names_holds_up_no_look(void **state)
{
    static struct sv_look l;
    struct sv_machine_at p[3];
    struct sv_address at;
    im_ns since, longest = 0;
    int listener;

    (void)state;
    make_places(p);
    assert_int_equal(sv_address_of(p[2].name, p[2].port, &at, NULL), 0);
    listener = sv_address_listen(&at);
    assert_true(listener >= 0);
    snprintf(p[0].name, sizeof p[0].name, "slow.invalid");
    snprintf(p[2].name, sizeof p[2].name, "quick.invalid");
    since = im_now();
    for (int i = 0; i < 3; i++) {
        bool is_over = false;

        sv_look_begin(&l, p, 3, 1, 300 * IM_MS);
        while (!is_over) { /* as the supervisor's loop does it: no turn waits */
            const im_ns before = im_now();

            is_over = sv_look_turn(&l, -1, 0);
            longest = im_now() - before > longest ? im_now() - before : longest;
            poll(NULL, 0, 1);
        }
        assert_int_equal(l.seen[0], SV_SEEN_NOTHING);
        assert_int_equal(l.seen[2], SV_SEEN_QUIET); /* resolved while it looked */
    }
    assert_true(im_now() - since < 2500 * IM_MS);
    assert_true(longest < IM_SECOND);
    assert_int_equal(asked, 1); /* and not again before it has answered */
    sv_look_end(&l);
    close(listener);
    poll(NULL, 0, 3000); /* its thread frees what it was asked, for the sanitizers */
}

/* A process that is stopped: its kernel accepts, and nothing is said. */
static void a_quiet_machine_is_no_head(void **state)
{
    static struct sv_look l;
    struct sv_machine_at p[3];
    struct sv_address at;
    int listener;

    (void)state;
    make_places(p);
    assert_int_equal(sv_address_of(p[0].name, p[0].port, &at, NULL), 0);
    listener = sv_address_listen(&at);
    assert_true(listener >= 0);
    look_at(&l, p);
    assert_int_equal(l.seen[0], SV_SEEN_QUIET);
    assert_int_equal(l.seen[2], SV_SEEN_NOTHING);
    close(listener);
    look_at(&l, p);
    assert_int_equal(l.seen[0], SV_SEEN_NOTHING);
    sv_look_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_sides_never_go_on),
        cmocka_unit_test(the_table_up_to_four),
        cmocka_unit_test(numbers_begin_at_the_head),
        cmocka_unit_test(the_first_of_enough_is_chosen),
        cmocka_unit_test(one_head_for_all_partitions),
        cmocka_unit_test(lists_of_places),
        cmocka_unit_test(two_machines_find_one_head),
        cmocka_unit_test(one_alone_waits_and_ends),
        cmocka_unit_test(a_quiet_machine_is_no_head),
        cmocka_unit_test(a_slow_server_of_names_holds_up_no_look),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
