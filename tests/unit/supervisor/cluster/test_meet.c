/* How supervisors meet: key files, PMI against a server in a child, names, ports. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "supervisor/cluster/address.h"
#include "supervisor/cluster/meet.h"
#include "supervisor/cluster/pmi.h"
#include "tests/unit/ipc/base/unit.h"

/* ---- key files ---- */

static void a_key_file_is_private_and_serves_both_sides(void **state)
{
    char path[200];
    struct sv_keys head, member;
    struct im_text text = {""};
    struct stat st;

    snprintf(path, sizeof path, "%s/key", (char *)*state);
    umask(0);
    assert_int_equal(sv_key_file_make(path, &text), 0);
    umask(022);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(sv_key_file_make(path, &text), -EEXIST);
    assert_int_equal(sv_key_file_read(path, true, &head, &text), 0);
    assert_int_equal(sv_key_file_read(path, false, &member, &text), 0);
    assert_string_equal(head.head, member.head);
    assert_string_equal(head.open, head.head);
    assert_int_equal(head.members, 1);
    assert_string_equal(head.member[0], member.open);
    assert_string_not_equal(head.secret, member.secret);
    assert_int_equal(strlen(sv_key_fingerprint(head.open).s), 19);
    sv_keys_fini(&head);
    sv_keys_fini(&member);
    chmod(path, 0640);
    assert_int_equal(sv_key_file_read(path, true, &head, &text), -EACCES);
    assert_non_null(strstr(text.s, "others may read the key file"));
    assert_non_null(strstr(text.s, "chmod 600"));
}

static void what_is_no_key_file_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "head\nmember\n",
        "head 0123456789012345678901234567890123456789\n",
        "head 0123456789012345678901234567890123456789\nmember 012345678901234567890123456789012345678\n",
        "head 0123456789012345678901234567890123456789\nmember 01234567890123456789012345678901234567~9\n",
        "head #########################################\nmember ########################################\n",
    };
    struct sv_keys keys;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(bad); i++)
        assert_int_equal(sv_key_parse(bad[i], true, &keys), -EINVAL);
}

/* ---- PMI ---- */

#define TASKS 3

/* A server for TASKS clients in one child: what Slurm's and Hydra's do with these commands. */
struct pair {
    char key[64], value[SV_PMI_VALUE_MAX];
};

static void reply(int fd, const char *line)
{
    assert_int_equal(write(fd, line, strlen(line)), (ssize_t)strlen(line));
}

static void serve_line(int fds[TASKS], int i, const char *line, struct pair *pairs, int *n, int *at_barrier)
{
    char kvs[64], key[64], value[SV_PMI_VALUE_MAX], answer[SV_PMI_LINE_MAX] = "cmd=get_result rc=-1 msg=no\n";

    if (strncmp(line, "cmd=init ", 9) == 0)
        reply(fds[i], "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n");
    else if (strcmp(line, "cmd=get_my_kvsname") == 0)
        reply(fds[i], "cmd=my_kvsname kvsname=1.0\n");
    else if (sscanf(line, "cmd=put kvsname=%63s key=%63s value=%1023s", kvs, key, value) == 3) {
        snprintf(pairs[*n].key, sizeof pairs->key, "%s", key);
        snprintf(pairs[(*n)++].value, sizeof pairs->value, "%s", value);
        reply(fds[i], "cmd=put_result rc=0 msg=success\n");
    } else if (sscanf(line, "cmd=get kvsname=%63s key=%63s", kvs, key) == 2) {
        for (int k = 0; k < *n; k++)
            if (strcmp(pairs[k].key, key) == 0)
                snprintf(answer, sizeof answer, "cmd=get_result rc=0 msg=success value=%s\n", pairs[k].value);
        reply(fds[i], answer);
    } else if (strcmp(line, "cmd=barrier_in") == 0) {
        if (++*at_barrier == TASKS)
            for (int k = 0; k < TASKS; k++)
                reply(fds[k], "cmd=barrier_out rc=0\n");
    } else if (strcmp(line, "cmd=finalize") == 0) {
        reply(fds[i], "cmd=finalize_ack rc=0\n");
    }
}

static int serve(void *arg)
{
    int *fds = arg, n = 0, at_barrier = 0, open = TASKS;
    static struct pair pairs[16];
    FILE *from[TASKS];

    for (int i = 0; i < TASKS; i++)
        from[i] = fdopen(dup(fds[i]), "r");
    while (open > 0)
        for (int i = 0; i < TASKS; i++) {
            char line[SV_PMI_LINE_MAX], byte;

            if (!from[i] || recv(fds[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
                continue;
            if (!fgets(line, sizeof line, from[i])) {
                fclose(from[i]);
                from[i] = NULL;
                open--;
                continue;
            }
            line[strcspn(line, "\n")] = '\0';
            serve_line(fds, i, line, pairs, &n, &at_barrier);
        }
    return 0;
}

struct task {
    int fd;
    uint32_t node;
    int others_end; /* a pipe that closes when the members have ended */
    char file[200];
};

static int run_task(void *arg)
{
    const struct task *t = arg;
    const struct sv_meet_config config = {
        .nodes = TASKS, .node = t->node, .pmi_fd = t->fd, .patience = 20 * IM_SECOND};
    struct sv_meeting m;
    struct im_text text = {""};
    FILE *f = fopen(t->file, "w");
    char byte;
    int err = sv_meet(&config, &m, &text);

    if (err < 0) {
        fprintf(f, "%s\n", text.s);
        return 1;
    }
    fprintf(f, "%s %s %s %s %u", m.keys.head, m.keys.open, m.here, m.head, m.port);
    for (uint32_t i = 0; i < m.keys.members; i++)
        fprintf(f, " %s", m.keys.member[i]);
    fclose(f);
    if (t->node == 0) /* members must find something that listens, until they end */
        assert_int_equal(read(t->others_end, &byte, 1), 0);
    sv_meeting_fini(&m);
    return 0;
}

static void pmi_carries_keys_and_addresses(void **state)
{
    char head[TASKS][64], open[TASKS][64], here[64], name[64], member[TASKS][TASKS][64];
    int fds[2][TASKS], pair[2], status, others[2];
    struct task task[TASKS];
    pid_t pid[TASKS + 1];
    uint32_t port;

    assert_int_equal(pipe(others), 0);
    for (int i = 0; i < TASKS; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        fds[0][i] = pair[0];
        fds[1][i] = pair[1];
        task[i] = (struct task){.fd = pair[1], .node = (uint32_t)i, .others_end = others[0]};
        snprintf(task[i].file, sizeof task[i].file, "%s/task%d", (char *)*state, i);
    }
    for (int i = 0; i <= TASKS; i++) {
        pid[i] = fork();
        if (pid[i] != 0)
            continue;
        if (i == 0 || i == TASKS)
            close(others[1]);
        for (int k = 0; k < TASKS; k++) {
            close(i == TASKS ? fds[1][k] : fds[0][k]);
            if (i != TASKS && k != i)
                close(fds[1][k]);
        }
        _exit(i == TASKS ? serve(fds[0]) : run_task(&task[i]));
    }
    close(others[0]);
    close(others[1]);
    for (int i = 0; i < TASKS; i++) {
        close(fds[0][i]);
        close(fds[1][i]);
    }
    for (int i = 0; i <= TASKS; i++) {
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    for (int i = 0; i < TASKS; i++) {
        FILE *f = fopen(task[i].file, "r");

        assert_int_equal(fscanf(f, "%63s %63s %63s %63s %u", head[i], open[i], here, name, &port), 5);
        for (int k = 0; k < TASKS; k++) /* all: each may be the head one day */
            assert_int_equal(fscanf(f, "%63s", member[i][k]), 1);
        fclose(f);
        assert_string_equal(head[i], open[0]);
    }
    for (int i = 0; i < TASKS; i++)
        for (int k = 0; k < TASKS; k++)
            assert_string_equal(member[i][k], open[k]);
}

/* A machine that has lost its head: with the keys that PMI gave, in the numbers of the new head. */
static void keys_of_pmi_serve_under_another_head(void **state)
{
    static struct sv_meeting before = {.way = SV_MEET_PMI, .nodes = TASKS, .node = 1, .listener = -1};
    struct sv_meet_config config = {
        .nodes = TASKS, .node = 2, .pmi_fd = -1, .before = &before, .head = "127.0.0.1", .port = 29500};
    struct sv_meeting m;
    struct im_text text = {""};
    int fd;

    (void)state;
    before.keys.members = TASKS;
    before.keys.member = calloc(TASKS, sizeof *before.keys.member);
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(sv_keys_pair(before.keys.member[i], before.keys.secret, &text), 0);
    memcpy(before.keys.open, before.keys.member[1], SV_KEY_CHARS);
    snprintf(before.place[2].address, SV_ADDRESS_MAX, "10.0.0.3");
    config.head_machine = 2; /* machine 1 is node 2 of it */
    assert_int_equal(sv_meet(&config, &m, &text), 0);
    assert_int_equal(m.way, SV_MEET_PMI);
    assert_string_equal(m.keys.head, before.keys.member[2]);
    assert_string_equal(m.keys.open, before.keys.open);
    assert_string_equal(m.keys.secret, before.keys.secret);
    assert_string_equal(m.here, "127.0.0.1");
    assert_string_equal(m.place[2].address, "10.0.0.3");
    for (uint32_t i = 0; i < TASKS; i++)
        assert_string_equal(m.keys.member[i], before.keys.member[(i + 2) % TASKS]);
    sv_meeting_fini(&before);
    before = m; /* and once more: it is the head itself */
    fd = sv_address_listen_everywhere(0);
    config.node = 0;
    config.head_machine = 1;
    config.port = sv_address_port(fd);
    close(fd);
    assert_int_equal(sv_meet(&config, &m, &text), 0);
    assert_true(m.listener >= 0);
    assert_string_equal(m.keys.head, m.keys.open);
    assert_string_equal(m.keys.member[2], before.keys.member[1]); /* machine 0 */
    sv_meeting_fini(&m);
    before.keys.members = 1;
    assert_int_equal(sv_meet(&config, &m, &text), -EINVAL);
    sv_meeting_fini(&before);
}

static int answer_with(const char *answers, struct sv_pmi *p, struct im_text *text)
{
    char value[SV_PMI_VALUE_MAX];
    int pair[2], err;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(write(pair[0], answers, strlen(answers)), (ssize_t)strlen(answers));
    shutdown(pair[0], SHUT_WR);
    *p = (struct sv_pmi){.patience = IM_SECOND};
    err = sv_pmi_init(p, pair[1], text);
    if (err == 0)
        err = sv_pmi_get(p, "k", value, text);
    close(pair[0]);
    close(pair[1]);
    return err;
}

static void a_server_that_answers_nonsense_is_an_error(void **state)
{
    static const struct {
        const char *answers;
        int err;
    } cases[] = {
        {"", -ECONNRESET},
        {"cmd=response_to_init rc=0", -ECONNRESET},
        {"cmd=response_to_init rc=1\n", -EPROTO},
        {"hello\n", -EPROTO},
        {"cmd=response_to_init rc=0\ncmd=my_kvsname\n", -EPROTO},
        {"cmd=response_to_init rc=0\ncmd=my_kvsname kvsname=x\ncmd=get_result rc=-1\n", -ENOENT},
        {"cmd=response_to_init rc=0\ncmd=my_kvsname kvsname=x\ncmd=get_result rc=0\n", -EPROTO},
        {"cmd=response_to_init rc=0\ncmd=my_kvsname kvsname=x\ncmd=get_result rc=0 value=v\n", 0},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct sv_pmi p;
        struct im_text text = {""};

        assert_int_equal(answer_with(cases[i].answers, &p, &text), cases[i].err);
        assert_true(cases[i].err == 0 || text.s[0]);
    }
}

/* ---- addresses ---- */

static int meet(struct sv_meet_config config, struct sv_meeting *m, struct im_text *text)
{
    config.nodes = 2;
    config.pmi_fd = -1;
    return sv_meet(&config, m, text);
}

static void another_machine_needs_a_key(void **state)
{
    struct sv_meeting m;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(meet((struct sv_meet_config){.node = 1, .head = "192.0.2.1"}, &m, &text), -EINVAL);
    assert_non_null(strstr(text.s, "imsuper cluster key FILE"));
    assert_int_equal(meet((struct sv_meet_config){.node = 1}, &m, &text), -EINVAL);
    assert_non_null(strstr(text.s, "no address of the head"));
}

static int lines;

static void say(void *context, const char *line)
{
    (void)context;
    lines += strstr(line, "nowhere.invalid") != NULL;
}

static void a_name_that_does_not_resolve_is_waited_for(void **state)
{
    const struct sv_meet_config config = {
        .node = 1, .head = "nowhere.invalid", .patience = IM_SECOND + IM_SECOND / 2, .say = say};
    struct sv_meeting m;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(meet(config, &m, &text), -ETIMEDOUT);
    assert_non_null(strstr(text.s, "the name nowhere.invalid does not resolve"));
}

static void ports_follow_from_the_job(void **state)
{
    (void)state;
    assert_int_equal(sv_meet_port(0), 26800);
    assert_int_equal(sv_meet_port(1234567), 26800 + 567);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_file_is_private_and_serves_both_sides, make_directory,
                                        remove_directory),
        cmocka_unit_test(what_is_no_key_file_is_refused),
        cmocka_unit_test_setup_teardown(pmi_carries_keys_and_addresses, make_directory, remove_directory),
        cmocka_unit_test(keys_of_pmi_serve_under_another_head),
        cmocka_unit_test(a_server_that_answers_nonsense_is_an_error),
        cmocka_unit_test(another_machine_needs_a_key),
        cmocka_unit_test(a_name_that_does_not_resolve_is_waited_for),
        cmocka_unit_test(ports_follow_from_the_job),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
