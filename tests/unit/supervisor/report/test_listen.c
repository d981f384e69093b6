/* The numbers for Prometheus: their text, and who serves it. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "ipc/base/json.h"
#include "supervisor/report/exposition.h"
#include "supervisor/report/listen.h"
#include "tests/unit/ipc/base/unit.h"

static void the_text_is_what_prometheus_reads(void **state)
{
    static const char status[] =
        "{\"run\":\"a\\\"b\\\\c\\nd\",\"state\":\"training\",\"paused\":false,\"epoch\":2,\"loss\":1.25,"
        "\"mfu\":null,"
        "\"deaths\":3,\"limited_by\":\"train\",\"val_top1\":0.5,"
        "\"stages\":[{\"stage\":\"read\",\"busy\":0.25,\"processes\":2},{\"stage\":\"train\",\"busy\":1.0,"
        "\"processes\":1}],\"processes\":[{\"role\":\"reader\",\"restarts\":1,\"samples\":5,\"bytes\":100},"
        "{\"role\":\"reader\",\"restarts\":2,\"samples\":6,\"bytes\":50}],\"gpus\":[{\"gpu\":3,\"power_w\":"
        "80.5,"
        "\"busy\":null}]}";
    static const char *const lines[] = {
        "\nimsuper_run_info{run=\"a\\\"b\\\\c\\nd\",state=\"training\"} 1\n",
        "# HELP imsuper_epoch Epoch in progress, from 1.\n# TYPE imsuper_epoch gauge\nimsuper_epoch 2\n",
        "\nimsuper_loss 1.25\n",
        "# TYPE imsuper_process_deaths_total counter\nimsuper_process_deaths_total 3\n",
        "\nimsuper_stage_busy_ratio{stage=\"read\"} 0.25\nimsuper_stage_busy_ratio{stage=\"train\"} 1\n",
        "\nimsuper_stage_limits{stage=\"read\"} 0\nimsuper_stage_limits{stage=\"train\"} 1\n",
        "\nimsuper_process_restarts_total{role=\"reader\"} 3\n",
        "\nimsuper_bytes_total{role=\"reader\"} 150\n",
        "\nimsuper_gpu_power_watts{gpu=\"3\"} 80.5\n",
        "\nimsuper_validation_accuracy_ratio{k=\"1\"} 0.5\n",
    };
    struct im_json *j = NULL;
    char *s;

    (void)state;
    assert_int_equal(im_json_parse(status, strlen(status), &j, NULL), 0);
    s = sv_exposition(j);
    assert_non_null(s);
    for (size_t i = 0; i < IM_COUNT(lines); i++)
        if (!strstr(s, lines[i]))
            fail_msg("lacks %s in:\n%s", lines[i], s);
    assert_null(strstr(s, "mfu"));
    assert_null(strstr(s, "flops"));
    assert_null(strstr(s, "gpu_busy"));
    assert_null(strstr(s, "nan"));
    free(s);
    im_json_free(&j);
}

static int dial(const struct im_conf_listen *where)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(where->port)};
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    int fd = socket(*where->path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    inet_pton(AF_INET, where->address, &four.sin_addr);
    memcpy(path.sun_path, where->path, strlen(where->path) + 1);
    if (*where->path)
        assert_int_equal(connect(fd, (struct sockaddr *)&path, sizeof path), 0);
    else
        assert_int_equal(connect(fd, (struct sockaddr *)&four, sizeof four), 0);
    return fd;
}

/* What is answered, to its end. */
static const char *ask(const struct im_conf_listen *where, const char *request)
{
    static char answer[65536];
    int fd = dial(where);
    size_t n = 0;
    ssize_t got;

    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    while (n + 1 < sizeof answer && (got = read(fd, answer + n, sizeof answer - 1 - n)) > 0)
        n += (size_t)got;
    answer[n] = 0;
    close(fd);
    return answer;
}

#define GET(path) "GET " path " HTTP/1.0\r\n\r\n"

/* A port that is free now. */
static struct im_conf_listen free_port(void)
{
    struct im_conf_listen where = {.address = "127.0.0.1"};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    close(fd);
    where.port = ntohs(at.sin_port);
    return where;
}

static void numbers_are_served_at_a_port(void **state)
{
    struct im_conf_listen where = free_port();
    struct sv_listener *l = NULL, *other = NULL;
    struct im_text text = {""};
    int idle[6];

    (void)state;
    assert_int_equal(sv_listen_open(&where, &l, &text), 0);
    assert_non_null(strstr(ask(&where, GET("/metrics")), " 503 "));
    sv_listen_set(l, strdup("imsuper_x 1\n"));
    assert_non_null(strstr(ask(&where, GET("/metrics")), "\r\n\r\nimsuper_x 1\n"));
    assert_non_null(strstr(ask(&where, GET("/metrics")), "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(ask(&where, GET("/")), " 404 "));
    assert_non_null(strstr(ask(&where, "PUT /metrics HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi"), " 405 "));
    assert_null(strstr(ask(&where, "nonsense\r\n\r\n"), " 200 "));
    for (size_t i = 0; i < IM_COUNT(idle); i++)
        idle[i] = dial(&where); /* who says nothing holds nobody up */
    sv_listen_set(l, strdup("imsuper_x 2\n"));
    assert_non_null(strstr(ask(&where, GET("/metrics")), "imsuper_x 2\n"));
    assert_int_equal(sv_listen_open(&where, &other, &text), -EADDRINUSE);
    assert_non_null(strstr(text.s, "Address already in use"));
    sv_listen_close(&l);
    for (size_t i = 0; i < IM_COUNT(idle); i++)
        close(idle[i]);
    assert_int_equal(sv_listen_open(&where, &l, &text), 0); /* at once again */
    sv_listen_close(&l);
    sv_listen_close(&l);
}

static void a_path_is_private_and_replaced_when_its_owner_is_dead(void **state)
{
    struct im_conf_listen where = {.port = 0};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct sv_listener *l = NULL, *other = NULL;
    struct im_text text = {""};
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    FILE *f;

    snprintf(where.path, sizeof where.path, "%s/m.sock", (const char *)*state);
    memcpy(at.sun_path, where.path, sizeof where.path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    close(fd); /* its owner is dead */
    assert_int_equal(sv_listen_open(&where, &l, &text), 0);
    sv_listen_set(l, strdup("imsuper_x 1\n"));
    assert_int_equal(stat(where.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_non_null(strstr(ask(&where, GET("/metrics")), "imsuper_x 1\n"));
    assert_int_equal(sv_listen_open(&where, &other, &text), -EADDRINUSE);
    sv_listen_close(&l);
    assert_int_equal(stat(where.path, &st), -1);
    f = fopen(where.path, "we"); /* a file of somebody's */
    assert_non_null(f);
    fclose(f);
    assert_int_equal(sv_listen_open(&where, &l, &text), -EADDRINUSE);
    assert_int_equal(stat(where.path, &st), 0);
}

static void places_to_listen_at_are_taken_apart(void **state)
{
    static const struct {
        const char *s, *address, *path;
        int err, port;
        bool is_ipv6;
    } cases[] = {
        {"9090", "127.0.0.1", "", 0, 9090, false},
        {"0.0.0.0:80", "0.0.0.0", "", 0, 80, false},
        {"localhost:65535", "127.0.0.1", "", 0, 65535, false},
        {"[::1]:9090", "::1", "", 0, 9090, true},
        {"unix:/run/m.sock", "", "/run/m.sock", 0, 0, false},
        {"0", NULL, NULL, -EINVAL, 0, false},
        {"65536", NULL, NULL, -EINVAL, 0, false},
        {"host:90", NULL, NULL, -EINVAL, 0, false},
        {"::1:90", NULL, NULL, -EINVAL, 0, false},
        {":90", NULL, NULL, -EINVAL, 0, false},
        {"127.0.0.1:", NULL, NULL, -EINVAL, 0, false},
        {"[]:90", NULL, NULL, -EINVAL, 0, false},
        {"unix:", NULL, NULL, -EINVAL, 0, false},
        {"", NULL, NULL, -EINVAL, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_conf_listen w;

        if (im_conf_listen(cases[i].s, &w) != cases[i].err)
            fail_msg("\"%s\"", cases[i].s);
        if (cases[i].err == 0) {
            assert_string_equal(w.address, cases[i].address);
            assert_string_equal(w.path, cases[i].path);
            assert_int_equal(w.port, cases[i].port);
            assert_int_equal(w.is_ipv6, cases[i].is_ipv6);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_what_prometheus_reads),
        cmocka_unit_test(numbers_are_served_at_a_port),
        cmocka_unit_test_setup_teardown(a_path_is_private_and_replaced_when_its_owner_is_dead, make_directory,
                                        remove_directory),
        cmocka_unit_test(places_to_listen_at_are_taken_apart),
    };

    return cmocka_run_group_tests_name("listen", tests, NULL, NULL);
}
