/* The channel between warden and supervisor when one side goes away. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/warden/channel.h"

/* Two messages from the supervisor, and one of the warden's that it never reads before it closes. */
static void last_words_arrive_although_the_peer_left_messages_unread(void **state)
{
    const struct sv_message spawn = {.type = SV_SPAWN}, finished = {.type = SV_FINISHED, .status = 7};
    const struct sv_message listed = {.type = SV_LISTED};
    struct sv_message got;
    int fds[2], pidfd;

    (void)state;
    assert_int_equal(sv_channel_pair(fds), 0);
    assert_int_equal(sv_channel_send(fds[0], &listed, -1), 0);
    assert_int_equal(sv_channel_send(fds[1], &spawn, -1), 0);
    assert_int_equal(sv_channel_send(fds[1], &finished, -1), 0);
    close(fds[1]);

    assert_int_equal(sv_channel_receive(fds[0], &got, &pidfd), 1);
    assert_int_equal(got.type, SV_SPAWN);
    assert_int_equal(sv_channel_receive(fds[0], &got, &pidfd), 1);
    assert_int_equal(got.type, SV_FINISHED);
    assert_int_equal(got.status, 7);
    assert_int_equal(sv_channel_receive(fds[0], &got, &pidfd), -EPIPE);
    close(fds[0]);
}

static void nothing_to_receive_is_no_end(void **state)
{
    struct sv_message got;
    int fds[2], pidfd;

    (void)state;
    assert_int_equal(sv_channel_pair(fds), 0);
    assert_int_equal(sv_channel_receive(fds[0], &got, &pidfd), 0);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_words_arrive_although_the_peer_left_messages_unread),
        cmocka_unit_test(nothing_to_receive_is_no_end),
    };

    return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
