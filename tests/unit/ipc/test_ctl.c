/* Control messages over a local socket: what strangers send, and peers that come and go. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zmq.h>

#include "ipc/base/clock.h"
#include "ipc/ctl.h"
#include "tests/unit/ipc/base/unit.h"

enum { SOON_MS = 5000 };

static char *socket_path(void **state)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/s.sock", (const char *)*state);
    return path;
}

static struct im_ctl *serve(const char *path)
{
    struct im_ctl *ctl = NULL;

    assert_int_equal(im_ctl_serve(path, &ctl, NULL), 0);
    return ctl;
}

static struct im_ctl *connect_to(const char *path)
{
    struct im_ctl *ctl = NULL;

    assert_int_equal(im_ctl_connect(path, &ctl, NULL), 0);
    return ctl;
}

static struct im_json *message(const char *what)
{
    struct im_json *j = im_json_object();

    im_json_set_str(j, "what", what);
    return j;
}

static void expect(struct im_ctl *ctl, struct im_ctl_peer *from, const char *what)
{
    struct im_json *j = NULL;

    assert_int_equal(im_ctl_receive(ctl, SOON_MS, from, &j), 1);
    assert_string_equal(im_json_str_or(j, "what", ""), what);
    im_json_free(&j);
}

static void test_a_request_and_its_reply(void **state)
{
    struct im_ctl *server = serve(socket_path(state)), *client = connect_to(socket_path(state));
    struct im_ctl_peer peer;

    assert_int_equal(im_ctl_send(client, NULL, message("status")), 0);
    expect(server, &peer, "status");
    assert_int_equal(im_ctl_send(server, &peer, message("fine")), 0);
    expect(client, NULL, "fine");
    im_ctl_close(&client, 0);
    im_ctl_close(&server, 0);
    assert_null(server);
    im_ctl_close(&server, 0);
}

static void test_replies_go_to_who_asked(void **state)
{
    struct im_ctl *server = serve(socket_path(state));
    struct im_ctl *one = connect_to(socket_path(state)), *two = connect_to(socket_path(state));
    struct im_ctl_peer first, second;

    assert_int_equal(im_ctl_send(one, NULL, message("one")), 0);
    expect(server, &first, "one");
    assert_int_equal(im_ctl_send(two, NULL, message("two")), 0);
    expect(server, &second, "two");
    assert_int_equal(im_ctl_send(server, &first, message("to one")), 0);
    assert_int_equal(im_ctl_send(server, &second, message("to two")), 0);
    expect(two, NULL, "to two");
    expect(one, NULL, "to one");
    im_ctl_close(&one, 0);
    im_ctl_close(&two, 0);
    im_ctl_close(&server, 0);
}

static void test_nothing_to_receive_ends_at_the_timeout(void **state)
{
    struct im_ctl *server = serve(socket_path(state));
    im_ns began = im_now();
    struct im_json *j = (struct im_json *)state;

    assert_int_equal(im_ctl_receive(server, 30, NULL, &j), 0);
    assert_null(j);
    assert_in_range(im_now() - began, 20 * IM_MS, 5 * IM_SECOND);
    im_ctl_close(&server, 0);
}

static void test_the_socket_is_its_owners_alone(void **state)
{
    struct im_ctl *server = serve(socket_path(state));
    struct stat st;

    assert_int_equal(stat(socket_path(state), &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    im_ctl_close(&server, 0);
}

/* A client that sends what it likes. */
struct stranger {
    void *context, *socket;
};

static struct stranger stranger(const char *path)
{
    struct stranger s = {.context = zmq_ctx_new()};
    char address[256];
    int linger = 0;

    s.socket = zmq_socket(s.context, ZMQ_DEALER);
    zmq_setsockopt(s.socket, ZMQ_LINGER, &linger, sizeof linger);
    snprintf(address, sizeof address, "ipc://%s", path);
    assert_int_equal(zmq_connect(s.socket, address), 0);
    return s;
}

static void leave(struct stranger *s)
{
    zmq_close(s->socket);
    zmq_ctx_term(s->context);
}

static void send_bytes(struct stranger *s, const void *bytes, size_t n, int flags)
{
    assert_int_equal(zmq_send(s->socket, bytes, n, flags), (int)n);
}

static void expect_bad(struct im_ctl *server)
{
    struct im_json *j = NULL;

    assert_int_equal(im_ctl_receive(server, SOON_MS, NULL, &j), -EBADMSG);
    assert_null(j);
}

static void test_garbage_is_dropped_and_the_next_message_heard(void **state)
{
    static const char *const garbage[] = {"",         "{",          "null",     "[1,2]",
                                          "\"text\"", "{\"a\":1}x", "\xff\xfe", "{\"a\":1,\"a\":2}"};
    struct im_ctl *server = serve(socket_path(state));
    struct stranger s = stranger(socket_path(state));

    for (size_t i = 0; i < IM_COUNT(garbage); i++) {
        send_bytes(&s, garbage[i], strlen(garbage[i]), 0);
        expect_bad(server);
    }
    send_bytes(&s, "{\"a\":1}", 8, 0); /* with its NUL */
    expect_bad(server);
    send_bytes(&s, "{\"what\":\"x\"}", 12, 0);
    expect(server, NULL, "x");
    leave(&s);
    im_ctl_close(&server, 0);
}

static void test_frames_after_the_first_are_dropped_with_their_message(void **state)
{
    struct im_ctl *server = serve(socket_path(state));
    struct stranger s = stranger(socket_path(state));
    struct im_json *j = NULL;

    send_bytes(&s, "{\"what\":\"first\"}", 16, ZMQ_SNDMORE);
    send_bytes(&s, "{\"what\":\"rest\"}", 15, ZMQ_SNDMORE);
    send_bytes(&s, "", 0, 0);
    send_bytes(&s, "{\"what\":\"next\"}", 15, 0);
    expect(server, NULL, "first");
    expect(server, NULL, "next");
    assert_int_equal(im_ctl_receive(server, 0, NULL, &j), 0);
    leave(&s);
    im_ctl_close(&server, 0);
}

static void test_a_name_longer_than_ours_is_refused(void **state)
{
    struct im_ctl *server = serve(socket_path(state));
    struct stranger s = {.context = zmq_ctx_new()};
    char address[256], name[255];
    int linger = 0;

    memset(name, 'n', sizeof name);
    s.socket = zmq_socket(s.context, ZMQ_DEALER);
    zmq_setsockopt(s.socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_setsockopt(s.socket, ZMQ_ROUTING_ID, name, sizeof name), 0);
    snprintf(address, sizeof address, "ipc://%s", socket_path(state));
    assert_int_equal(zmq_connect(s.socket, address), 0);
    send_bytes(&s, "{\"what\":\"x\"}", 12, 0);
    expect_bad(server);
    leave(&s);
    im_ctl_close(&server, 0);
}

static void test_a_message_of_a_megabyte_never_arrives_and_others_do(void **state)
{
    struct im_ctl *server = serve(socket_path(state)), *client = connect_to(socket_path(state));
    struct stranger s = stranger(socket_path(state));
    char *big = malloc(1 << 20);
    struct im_json *j = NULL;

    memset(big, ' ', 1 << 20);
    big[0] = '{';
    big[(1 << 20) - 1] = '}';
    send_bytes(&s, big, 1 << 20, 0);
    assert_int_equal(im_ctl_receive(server, 300, NULL, &j), 0);
    assert_int_equal(im_ctl_send(client, NULL, message("small")), 0);
    expect(server, NULL, "small");
    free(big);
    leave(&s);
    im_ctl_close(&client, 0);
    im_ctl_close(&server, 0);
}

static void test_a_message_too_large_to_be_heard_is_refused_by_its_sender(void **state)
{
    struct im_ctl *server = serve(socket_path(state)), *client = connect_to(socket_path(state));
    struct im_json *j = im_json_object();
    char *big = malloc(IM_CTL_MESSAGE_MAX + 1);

    memset(big, 'a', IM_CTL_MESSAGE_MAX);
    big[IM_CTL_MESSAGE_MAX] = 0;
    im_json_set_str(j, "text", big);
    assert_int_equal(im_ctl_send(client, NULL, j), -EMSGSIZE);
    assert_int_equal(im_ctl_send(client, NULL, message("small")), 0);
    expect(server, NULL, "small");
    free(big);
    im_ctl_close(&client, 0);
    im_ctl_close(&server, 0);
}

static void test_the_largest_message_arrives(void **state)
{
    enum { TEXT = IM_CTL_MESSAGE_MAX - 11 }; /* {"what":""} around it */
    struct im_ctl *server = serve(socket_path(state)), *client = connect_to(socket_path(state));
    char *big = malloc(TEXT + 1);

    memset(big, 'a', TEXT);
    big[TEXT] = 0;
    assert_int_equal(im_ctl_send(client, NULL, message(big)), 0);
    expect(server, NULL, big);
    free(big);
    im_ctl_close(&client, 0);
    im_ctl_close(&server, 0);
}

static void test_a_client_outlives_a_restart_of_the_server(void **state)
{
    struct im_ctl *server = serve(socket_path(state)), *client = connect_to(socket_path(state));
    struct im_ctl_peer peer;

    assert_int_equal(im_ctl_send(client, NULL, message("before")), 0);
    expect(server, &peer, "before");
    im_ctl_close(&server, 0);
    server = serve(socket_path(state));
    assert_int_equal(im_ctl_send(client, NULL, message("after")), 0);
    expect(server, &peer, "after");
    assert_int_equal(im_ctl_send(server, &peer, message("back")), 0);
    expect(client, NULL, "back");
    im_ctl_close(&client, 0);
    im_ctl_close(&server, 0);
}

static int serve_and_die(void *path)
{
    struct im_ctl *ctl = NULL;

    if (im_ctl_serve(path, &ctl, NULL) < 0)
        return 1;
    raise(SIGKILL);
    return 2;
}

static void test_a_killed_server_leaves_a_path_that_the_next_one_takes(void **state)
{
    struct im_ctl *server, *client;
    int status = in_child(serve_and_die, socket_path(state));
    struct stat st;

    assert_true(WIFSIGNALED(status));
    assert_int_equal(stat(socket_path(state), &st), 0);
    client = connect_to(socket_path(state));
    server = serve(socket_path(state));
    assert_int_equal(im_ctl_send(client, NULL, message("hello")), 0);
    expect(server, NULL, "hello");
    im_ctl_close(&client, 0);
    im_ctl_close(&server, 0);
}

static void test_a_client_may_come_before_the_server(void **state)
{
    struct im_ctl *client = connect_to(socket_path(state)), *server;

    assert_int_equal(im_ctl_send(client, NULL, message("early")), 0);
    server = serve(socket_path(state));
    expect(server, NULL, "early");
    im_ctl_close(&client, 0);
    im_ctl_close(&server, 0);
}

static void test_a_reply_to_a_peer_that_is_gone_is_an_error_and_no_hang(void **state)
{
    struct im_ctl *server = serve(socket_path(state)), *client = connect_to(socket_path(state));
    struct im_ctl_peer peer;
    im_ns until = im_now() + SOON_MS * IM_MS;
    struct im_json *j;
    int err = 0;

    assert_int_equal(im_ctl_send(client, NULL, message("bye")), 0);
    expect(server, &peer, "bye");
    im_ctl_close(&client, 0);
    while (err == 0 && im_now() < until) {
        im_ctl_receive(server, 5, NULL, &j); /* the library notices while it is called */
        err = im_ctl_send(server, &peer, message("late"));
    }
    assert_int_equal(err, -EHOSTUNREACH);
    im_ctl_close(&server, 0);
}

static void test_a_peer_that_never_was_is_unreachable(void **state)
{
    struct im_ctl *server = serve(socket_path(state));
    const struct im_ctl_peer nobody = {.id = "nobody", .bytes = 6};

    assert_int_equal(im_ctl_send(server, &nobody, message("x")), -EHOSTUNREACH);
    im_ctl_close(&server, 0);
}

static void test_a_full_queue_is_an_error_and_no_hang(void **state)
{
    struct im_ctl *client = connect_to(socket_path(state));
    int err = 0, sent = 0;

    for (; err == 0 && sent < 100000; sent++)
        err = im_ctl_send(client, NULL, message("nobody listens"));
    assert_int_equal(err, -EAGAIN);
    im_ctl_close(&client, 10);
}

static void test_the_descriptor_tells_when_to_receive(void **state)
{
    struct im_ctl *server = serve(socket_path(state)), *client = connect_to(socket_path(state));
    struct pollfd p = {.fd = im_ctl_fd(server), .events = POLLIN};
    struct im_json *j = NULL;
    im_ns until = im_now() + SOON_MS * IM_MS;

    assert_true(p.fd >= 0);
    assert_int_equal(im_ctl_send(client, NULL, message("x")), 0);
    while (!j && im_now() < until && poll(&p, 1, SOON_MS) == 1)
        im_ctl_receive(server, 0, NULL, &j);
    assert_non_null(j);
    im_json_free(&j);
    im_ctl_close(&client, 0);
    im_ctl_close(&server, 0);
}

static void test_a_path_too_long_is_refused(void **state)
{
    char path[400];
    struct im_ctl *ctl = NULL;
    struct im_text text = {""};

    (void)state;
    memset(path, 'p', sizeof path);
    memcpy(path, "/tmp/", 5);
    path[sizeof path - 1] = 0;
    assert_int_equal(im_ctl_serve(path, &ctl, &text), -ENAMETOOLONG);
    assert_int_equal(im_ctl_connect(path, &ctl, NULL), -ENAMETOOLONG);
    assert_null(ctl);
    assert_true(text.s[0] != 0);
}

/* A run directory and places for its socket below the test's directory. */
static char *run_directory(void **state)
{
    static char path[128];
    char other[128];

    snprintf(path, sizeof path, "%s/run", (const char *)*state);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(other, sizeof other, "%s/tmp", (const char *)*state);
    assert_int_equal(mkdir(other, 0700), 0);
    setenv("TMPDIR", other, 1);
    snprintf(other, sizeof other, "%s/rt", (const char *)*state);
    assert_int_equal(mkdir(other, 0700), 0);
    setenv("XDG_RUNTIME_DIR", other, 1);
    return path;
}

static struct im_ctl *serve_run(const char *run, char path[IM_CTL_PATH_BYTES])
{
    struct im_ctl *ctl = NULL;
    struct im_text text = {""};

    assert_int_equal(im_ctl_serve_run(run, &ctl, path, &text), 0);
    return ctl;
}

static void assert_starts_with(const char *path, const char *base, const char *rest)
{
    char start[256];

    snprintf(start, sizeof start, "%s%s", base, rest);
    assert_int_equal(strncmp(path, start, strlen(start)), 0);
}

static void test_the_path_is_short_private_and_the_runs_own(void **state)
{
    const char *run = run_directory(state);
    char path[IM_CTL_PATH_BYTES], other[IM_CTL_PATH_BYTES];
    struct im_ctl *ctl = serve_run(run, path), *second = serve_run(getenv("TMPDIR"), other);
    struct im_text text = {""};
    struct stat st;

    assert_starts_with(path, *state, "/rt/imsuper/");
    assert_string_not_equal(path, other);
    *strrchr(other, '/') = 0;
    assert_int_equal(stat(other, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    im_ctl_close(&ctl, 0);
    im_ctl_close(&second, 0);
    assert_int_equal(im_ctl_serve_run("/no/such/run", &ctl, path, &text), -ENOENT);
}

static void test_another_mode_is_taken_back(void **state)
{
    const char *run = run_directory(state);
    char path[IM_CTL_PATH_BYTES], directory[IM_CTL_PATH_BYTES];
    struct im_ctl *ctl = serve_run(run, path);
    struct stat st;

    im_ctl_close(&ctl, 0);
    memcpy(directory, path, sizeof directory);
    *strrchr(directory, '/') = 0;
    assert_int_equal(chmod(directory, 0755), 0);
    ctl = serve_run(run, path);
    assert_starts_with(path, directory, "/");
    assert_int_equal(stat(directory, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    im_ctl_close(&ctl, 0);
}

static void make_file(const char *base, const char *rest)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s%s", base, rest);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

/* A file in the directory's place: the next place is taken. */
static void test_what_lies_in_the_way_only_moves_the_socket(void **state)
{
    const char *run = run_directory(state);
    char path[IM_CTL_PATH_BYTES];
    struct im_ctl *ctl;

    make_file(*state, "/rt/imsuper");
    ctl = serve_run(run, path);
    assert_starts_with(path, getenv("TMPDIR"), "/imsuper-");
    im_ctl_close(&ctl, 0);
}

static void test_a_name_that_is_taken_gets_a_number(void **state)
{
    const char *run = run_directory(state);
    char path[IM_CTL_PATH_BYTES], again[IM_CTL_PATH_BYTES];
    struct im_ctl *ctl = serve_run(run, path);

    im_ctl_close(&ctl, 0);
    make_file(path, "");
    ctl = serve_run(run, again);
    assert_string_not_equal(path, again);
    assert_non_null(strstr(again, "-1.sock"));
    im_ctl_close(&ctl, 0);
    assert_int_equal(access(path, F_OK), 0); /* somebody's file is left alone */
}

static void test_the_record_leads_to_the_socket_wherever_the_asker_is(void **state)
{
    const char *run = run_directory(state);
    struct im_ctl_record record = {.pid = 42}, found;
    struct im_ctl *ctl = serve_run(run, record.path);
    char path[IM_CTL_PATH_BYTES];

    assert_int_equal(im_ctl_write_record(run, &record, NULL), 0);
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    assert_int_equal(im_ctl_find(run, &found), 0);
    assert_string_equal(found.path, record.path);
    assert_int_equal(found.pid, 42);
    im_ctl_close(&ctl, 0);
    ctl = serve_run(run, path); /* the next supervisor stays there */
    assert_string_equal(path, record.path);
    im_ctl_remove(run);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(im_ctl_find(run, &found), -ENOTCONN);
    im_ctl_close(&ctl, 0);
}

static void test_a_run_without_a_socket_is_told_apart(void **state)
{
    const char *run = run_directory(state);
    struct im_ctl_record record = {.pid = 42}, found;

    assert_int_equal(im_ctl_write_record(run, &record, NULL), 0);
    assert_int_equal(im_ctl_find(run, &found), -ENOTCONN);
    assert_int_equal(found.pid, 42);
}

/* Without a record the asker looks where it would be itself. */
static void test_without_a_record_the_usual_places_are_searched(void **state)
{
    const char *run = run_directory(state);
    struct im_ctl_record found;
    char path[IM_CTL_PATH_BYTES];
    struct im_ctl *ctl = serve_run(run, path);

    assert_int_equal(im_ctl_find(run, &found), 0);
    assert_string_equal(found.path, path);
    im_ctl_close(&ctl, 0);
}

/* XDG_RUNTIME_DIR of any length: sockaddr_un takes 107 bytes. */
static void test_a_place_too_long_is_passed_over(void **state)
{
    const char *run = run_directory(state);
    char path[IM_CTL_PATH_BYTES], base[256];
    struct im_ctl *ctl;

    snprintf(base, sizeof base, "%s/%0100d", (const char *)*state, 0);
    assert_int_equal(mkdir(base, 0700), 0);
    setenv("XDG_RUNTIME_DIR", base, 1);
    ctl = serve_run(run, path);
    assert_int_not_equal(strncmp(path, base, strlen(base)), 0);
    im_ctl_close(&ctl, 0);
}

/* Another user was first in /tmp: a directory of our own, which goes with the run. */
static void pass_over(void **state, void (*block)(const char *path))
{
    const char *run = run_directory(state);
    char theirs[192];
    struct im_ctl_record record = {.pid = 1};
    struct im_ctl *ctl;

    make_file(*state, "/rt/imsuper");
    snprintf(theirs, sizeof theirs, "%s/imsuper-%u", getenv("TMPDIR"), (unsigned)geteuid());
    block(theirs);
    ctl = serve_run(run, record.path);
    assert_starts_with(record.path, theirs, "-");
    assert_int_equal(im_ctl_write_record(run, &record, NULL), 0);
    im_ctl_close(&ctl, 0);
    im_ctl_remove(run);
    *strrchr(record.path, '/') = 0;
    assert_int_equal(access(record.path, F_OK), -1);
}

static void make_theirs(const char *path)
{
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chown(path, 12345, 12345), 0);
}

static void test_a_directory_of_another_user_is_passed_over(void **state)
{
    if (geteuid() != 0) {
        run_directory(state);
        skip();
    }
    pass_over(state, make_theirs);
}

static void make_link(const char *path)
{
    assert_int_equal(symlink("/tmp", path), 0);
}

static void test_a_link_is_passed_over(void **state)
{
    pass_over(state, make_link);
}

/* libzmq would abort the process. */
static void test_without_threads_it_is_an_error(void **state)
{
    const struct rlimit none = {1, 1};
    struct im_text text = {""};
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct im_ctl *ctl = NULL;

        /* the limit does not bind root */
        if ((geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) || setrlimit(RLIMIT_NPROC, &none) < 0)
            _exit(77);
        _exit(im_ctl_serve(socket_path(state), &ctl, &text) == -EAGAIN && strstr(text.s, "ulimit -u") ? 0
                                                                                                      : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* The record, as somebody else might write it. */
static void record_socket(const char *run, const char *directory, const char *name)
{
    struct im_ctl_record record = {.pid = 42};

    assert_true(snprintf(record.path, sizeof record.path, "%s/%s", directory, name) <
                (int)sizeof record.path);
    assert_int_equal(im_ctl_write_record(run, &record, NULL), 0);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_mode & 0777 : 0;
}

/* What the record says is no order: nothing is made, changed or removed where it leads. */
static void test_a_record_of_another_place_touches_nothing_there(void **state)
{
    const char *run = run_directory(state), *own;
    char path[IM_CTL_PATH_BYTES], first[IM_CTL_PATH_BYTES], victim[128], missing[128], precious[160];
    struct im_ctl *ctl = serve_run(run, first), *other;
    struct im_ctl_record found;

    im_ctl_close(&ctl, 0);
    own = strrchr(first, '/') + 1;
    snprintf(victim, sizeof victim, "%s/victim", (const char *)*state);
    snprintf(missing, sizeof missing, "%s/missing", (const char *)*state);
    assert_int_equal(mkdir(victim, 0755), 0);
    for (int i = 0; i < 3; i++) {
        record_socket(run, i < 2 ? victim : missing, i == 1 ? "precious" : own);
        ctl = serve_run(run, path);
        assert_string_equal(path, first);
        assert_int_equal(mode_of(victim), 0755);
        assert_int_equal(access(missing, F_OK), -1);
        assert_int_equal(im_ctl_find(run, &found), 0); /* the usual place, not the record's */
        assert_string_equal(found.path, first);
        assert_int_equal(found.pid, 0);
        im_ctl_close(&ctl, 0);
    }
    assert_int_equal(rmdir(victim), 0); /* it is empty */
    assert_int_equal(mkdir(victim, 0700), 0);
    record_socket(run, victim, "precious");
    snprintf(precious, sizeof precious, "%s/precious", victim);
    assert_int_equal(im_ctl_serve(precious, &other, NULL), 0);
    im_ctl_remove(run); /* not the socket of another program */
    assert_int_equal(access(precious, F_OK), 0);
    im_ctl_close(&other, 0);
}

/* Another user could have made a socket where others may write. */
static void test_a_socket_in_an_open_directory_is_not_asked(void **state)
{
    const char *run = run_directory(state);
    char directory[128], path[160];
    struct im_ctl_record found;
    struct im_ctl *ctl;

    snprintf(directory, sizeof directory, "%s/open", (const char *)*state);
    assert_int_equal(mkdir(directory, 0700), 0);
    snprintf(path, sizeof path, "%s/any.sock", directory);
    assert_int_equal(im_ctl_serve(path, &ctl, NULL), 0);
    record_socket(run, directory, "any.sock");
    assert_int_equal(im_ctl_find(run, &found), 0);
    assert_string_equal(found.path, path);
    assert_int_equal(chmod(directory, 0755), 0);
    assert_int_equal(im_ctl_find(run, &found), -ENOTCONN);
    im_ctl_close(&ctl, 0);
}

static void test_a_pipe_in_the_records_place_holds_nobody_up(void **state)
{
    const char *run = run_directory(state);
    struct im_ctl_record record = {.pid = 42}, found;
    char path[160];
    struct im_ctl *ctl;

    snprintf(path, sizeof path, "%s/.control", run);
    assert_int_equal(mkfifo(path, 0600), 0);
    ctl = serve_run(run, record.path);
    assert_int_equal(im_ctl_find(run, &found), 0);
    assert_string_equal(found.path, record.path);
    assert_int_equal(im_ctl_write_record(run, &record, NULL), 0);
    assert_int_equal(im_ctl_find(run, &found), 0);
    assert_int_equal(found.pid, 42);
    im_ctl_close(&ctl, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_request_and_its_reply),
        TEST(test_replies_go_to_who_asked),
        TEST(test_nothing_to_receive_ends_at_the_timeout),
        TEST(test_the_socket_is_its_owners_alone),
        TEST(test_garbage_is_dropped_and_the_next_message_heard),
        TEST(test_frames_after_the_first_are_dropped_with_their_message),
        TEST(test_a_name_longer_than_ours_is_refused),
        TEST(test_a_message_of_a_megabyte_never_arrives_and_others_do),
        TEST(test_a_message_too_large_to_be_heard_is_refused_by_its_sender),
        TEST(test_the_largest_message_arrives),
        TEST(test_a_client_outlives_a_restart_of_the_server),
        TEST(test_a_killed_server_leaves_a_path_that_the_next_one_takes),
        TEST(test_a_client_may_come_before_the_server),
        TEST(test_a_reply_to_a_peer_that_is_gone_is_an_error_and_no_hang),
        TEST(test_a_peer_that_never_was_is_unreachable),
        TEST(test_a_full_queue_is_an_error_and_no_hang),
        TEST(test_the_descriptor_tells_when_to_receive),
        TEST(test_a_path_too_long_is_refused),
        TEST(test_the_path_is_short_private_and_the_runs_own),
        TEST(test_another_mode_is_taken_back),
        TEST(test_what_lies_in_the_way_only_moves_the_socket),
        TEST(test_a_name_that_is_taken_gets_a_number),
        TEST(test_the_record_leads_to_the_socket_wherever_the_asker_is),
        TEST(test_a_run_without_a_socket_is_told_apart),
        TEST(test_without_a_record_the_usual_places_are_searched),
        TEST(test_a_place_too_long_is_passed_over),
        TEST(test_a_directory_of_another_user_is_passed_over),
        TEST(test_a_link_is_passed_over),
        TEST(test_without_threads_it_is_an_error),
        TEST(test_a_record_of_another_place_touches_nothing_there),
        TEST(test_a_socket_in_an_open_directory_is_not_asked),
        TEST(test_a_pipe_in_the_records_place_holds_nobody_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
