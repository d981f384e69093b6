/* Files of torch.save(): the same tensors whatever the form, and refusal of what is damaged or would run code.
 * tests/golden/torch/ was made by tests/golden/make_torch.py. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/checkpoint/torch_file.h"
#include "trainer/checkpoint/torch_open.h"

#define FOLDER GOLDEN_DIR "/torch/"

/* A safetensors file in memory. */
struct memory {
    char bytes[65536];
    size_t n;
};

static int keep(void *context, const void *bytes, size_t n, struct im_text *text)
{
    struct memory *m = context;

    if (n > sizeof m->bytes - m->n)
        return im_fail(text, -EFBIG, "too much for the test");
    memcpy(m->bytes + m->n, bytes, n);
    m->n += n;
    return 0;
}

/* Converts a golden file in this process. */
static int convert(const char *name, struct memory *m, struct im_text *text)
{
    const struct tr_sink sink = {m, keep};
    char path[4096], *bytes;
    size_t n;
    int err;

    snprintf(path, sizeof path, "%s%s", FOLDER, name);
    if (im_read_file(path, 1 << 20, &bytes, &n, text) < 0)
        fail_msg("%s", text->s);
    m->n = 0;
    assert_true(tr_torch_is(bytes, n));
    err = tr_torch_convert(bytes, n, &sink, text);
    free(bytes);
    return err;
}

static void assert_same(const char *name, const struct tr_safetensors *got, const struct tr_safetensors *want)
{
    if (tr_safetensors_count(got) != tr_safetensors_count(want))
        fail_msg("%s: %zu tensors", name, tr_safetensors_count(got));
    for (size_t i = 0; i < tr_safetensors_count(want); i++) {
        const struct tr_tensor *w = tr_safetensors_at(want, i), *g = tr_safetensors_find(got, w->name);
        size_t n;

        if (!g || g->dtype != w->dtype || g->rank != w->rank ||
            memcmp(g->shape, w->shape, (size_t)w->rank * sizeof *w->shape) != 0)
            fail_msg("%s: %s is missing or of another type or shape", name, w->name);
        assert_int_equal(tr_tensor_bytes(w, &n), 0);
        if (n > 0)
            assert_memory_equal(g->data, w->data, n);
    }
}

static bool has_libzip(void)
{
    struct im_text text = {""};
    struct memory m;

    return convert("plain.pt", &m, &text) != -ENOTSUP;
}

static void every_form_gives_the_same_tensors(void **state)
{
    static const struct {
        const char *name, *from;
        bool archive;
    } files[] = {
        {"legacy.pt", "", false},
        {"legacy_protocol4.pt", "", false},
        {"plain.pt", "", true},
        {"protocol4.pt", "", true},
        {"module.pt", "", true},
        {"nested.pt", "tensors of \"model\"", true},
        {"checkpoint.pt", "tensors of \"model_state_dict\"", true},
        {"averages.pt", "tensors of \"model_ema\", not of \"model\"", true},
    };
    struct tr_safetensors *want = NULL, *got = NULL;
    struct im_text text = {""};
    struct memory m;

    (void)state;
    assert_int_equal(tr_safetensors_open(FOLDER "tensors.safetensors", &want, &text), 0);
    assert_int_equal(tr_safetensors_count(want), 9);
    for (size_t i = 0; i < IM_COUNT(files); i++) {
        if (files[i].archive && !has_libzip())
            continue;
        if (convert(files[i].name, &m, &text) < 0 ||
            tr_safetensors_parse("it", m.bytes, m.n, &got, &text) < 0)
            fail_msg("%s: %s", files[i].name, text.s);
        assert_same(files[i].name, got, want);
        assert_string_equal(tr_safetensors_metadata(got, TR_TORCH_FROM_KEY), files[i].from);
        tr_safetensors_close(&got);
    }
    tr_safetensors_close(&want);
}

static void what_is_wrong_is_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *name, *sentence;
        int err;
    } files[] = {
        {"evil.pt", "it asks Python to call posix.system, which no file of weights needs", -EBADMSG},
        {"nothing.pt", "it holds no tensors under names", -EBADMSG},
        {"int8.pt", "tensor a is of type torch CharStorage", -ENOTSUP},
        {"big_endian.pt", "its numbers are in the byte order of other machines", -ENOTSUP},
        {"no_storage.pt", "plain/data/0 is missing in it", -EBADMSG},
        {"short_storage.pt", "plain/data/0 in it has 92 bytes", -EBADMSG},
        {"no_pickle.pt", "it is an archive, but none of torch.save()", -EBADMSG},
        {"cut_pickle.pt", "byte ", -EBADMSG},
        {"cut.pt", "it is a damaged archive", -EBADMSG},
        {"beyond.pt", "byte 140 of its pickle: a tensor reaches beyond its storage", -EBADMSG},
        {"stride.pt", "byte 140 of its pickle: a tensor reaches beyond its storage", -EBADMSG},
        {"offset.pt", "byte 140 of its pickle: a tensor reaches beyond its storage", -EBADMSG},
        {"negative.pt", "byte 140 of its pickle: a tensor has no storage", -EBADMSG},
        {"bomb.pt", "its tensors are many times larger than the file", -EBADMSG},
        {"overflow.pt", "its tensors are many times larger than the file", -EBADMSG},
        {"pickle.pt", "it is a pickle, but none of torch.save()", -EBADMSG},
    };
    struct im_text text = {""};
    struct memory m;

    (void)state;
    if (!has_libzip())
        skip();
    for (size_t i = 0; i < IM_COUNT(files); i++) {
        const int err = convert(files[i].name, &m, &text);

        if (err != files[i].err || m.n != 0)
            fail_msg("%s: %d, %s", files[i].name, err, text.s);
        assert_begins(text.s, files[i].sentence);
    }
}

/* Every length of a file, and each of its bytes replaced: the fuzz target does more of it. */
static void no_damage_is_too_much(void **state)
{
    static char whole[8192], damaged[8192];
    struct memory m;
    const struct tr_sink sink = {&m, keep};
    struct im_text text = {""};
    char *bytes;
    size_t n;

    (void)state;
    assert_int_equal(im_read_file(FOLDER "legacy.pt", sizeof whole, &bytes, &n, &text), 0);
    memcpy(whole, bytes, n);
    free(bytes);
    for (size_t i = 0; i < n; i++) {
        m.n = 0;
        assert_true(tr_torch_convert(whole, i, &sink, &text) < 0);
        memcpy(damaged, whole, n);
        for (int by = 1; by < 256; by += 54) {
            damaged[i] = (char)(whole[i] ^ by);
            m.n = 0;
            (void)tr_torch_convert(damaged, n, &sink, &text);
        }
    }
}

static void a_process_of_its_own_reads_them(void **state)
{
    struct tr_safetensors *want = NULL, *got = NULL;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(tr_weights_open(FOLDER "tensors.safetensors", &want, &text), 0);
    if (tr_weights_open(FOLDER "legacy.pt", &got, &text) < 0)
        fail_msg("%s", text.s);
    assert_same("legacy.pt", got, want);
    tr_safetensors_close(&got);
    if (has_libzip()) {
        if (tr_weights_open(FOLDER "checkpoint.pt", &got, &text) < 0)
            fail_msg("%s", text.s);
        assert_same("checkpoint.pt", got, want);
        tr_safetensors_close(&got);
        if (tr_weights_open(FOLDER "many.pt", &got, &text) < 0) /* the C library sorts these in another way */
            fail_msg("%s", text.s);
        assert_int_equal(tr_safetensors_count(got), 200);
        assert_true(((const float *)tr_safetensors_find(got, "layer7.bias")->data)[0] == 7);
        tr_safetensors_close(&got);
        assert_int_equal(tr_weights_open(FOLDER "evil.pt", &got, &text), -EBADMSG);
        assert_begins(text.s, FOLDER "evil.pt: it asks Python to call posix.system");
        assert_int_equal(tr_weights_open(FOLDER "int8.pt", &got, &text), -ENOTSUP);
    }
    assert_int_equal(tr_weights_open(FOLDER "pickle.pt", &got, &text), -EBADMSG);
    assert_null(got);
    assert_int_equal(tr_weights_open(FOLDER "none.pt", &got, &text), -ENOENT);
    tr_safetensors_close(&want);
}

enum { NO_SANDBOX = 77 };

static void writes_a_file(void)
{
    (void)open("/dev/null", O_WRONLY | O_CLOEXEC);
}

/* It is refused, and nobody dies of it: free() of some threads looks at a file of /proc. */
static void reads_a_file(void)
{
    _exit(open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES ? 0 : 1);
}

static void makes_a_socket(void)
{
    (void)socket(AF_UNIX, SOCK_STREAM, 0);
}

static void kills_another(void)
{
    (void)kill(getppid(), 0);
}

static void starts_a_program(void)
{
    char name[] = "/bin/true", *argv[] = {name, NULL}, *environment[] = {NULL};

    execve(name, argv, environment);
}

/* The wait status of a child that does it in the sandbox of such a reader. */
static int status_of(void (*what)(void))
{
    const struct rlimit no_core = {0, 0};
    struct im_sandbox_state sandbox;
    struct im_text text = {""};
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        if (tr_torch_sandbox_enter(&sandbox, &text) < 0)
            _exit(1);
        if (!sandbox.filters_calls)
            _exit(NO_SANDBOX);
        what();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SANDBOX)
        skip();
    return status;
}

static void what_reads_them_may_do_nothing_else(void **state)
{
    static void (*const cases[])(void) = {writes_a_file, makes_a_socket, kills_another, starts_a_program};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        const int status = status_of(cases[i]);

        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("case %zu: wait status %d", i, status);
    }
    assert_int_equal(status_of(reads_a_file), 0);
}

/* "Seccomp:\t2" of the only child of a process: 2 is a filter. -1: there is no child, or no such line. */
static int filter_of_child(pid_t parent)
{
    char path[64], line[256];
    int child = 0, mode = -1;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    f = fopen(path, "re");
    if (f && fgets(line, sizeof line, f))
        child = (int)strtol(line, NULL, 10);
    if (f)
        fclose(f);
    snprintf(path, sizeof path, "/proc/%d/status", child);
    f = child > 0 ? fopen(path, "re") : NULL;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "Seccomp:", 8) == 0)
            mode = (int)strtol(line + 8, NULL, 10);
    if (f)
        fclose(f);
    return mode;
}

/* The true reader, kept for a moment where it is about to look at the bytes. */
static void it_is_in_that_sandbox(void **state)
{
    const struct timespec nap = {.tv_nsec = 5 * 1000 * 1000};
    struct tr_safetensors *got = NULL;
    struct im_text text = {""};
    int status = 0;
    bool seen = false;
    pid_t asker;

    (void)state;
    if (im_fault_arm("", &text) == -ENOTSUP)
        skip();
    (void)status_of(opens_a_file); /* skips where the kernel has no filters */
    asker = fork();
    assert_true(asker >= 0);
    if (asker == 0) {
        setenv("IMSUPER_FAULT", "torch.reading=sleep:2000", 1);
        _exit(tr_weights_open(FOLDER "legacy.pt", &got, &text) < 0);
    }
    while (!seen && waitpid(asker, &status, WNOHANG) == 0) {
        seen = filter_of_child(asker) == 2;
        nanosleep(&nap, NULL);
    }
    if (seen)
        assert_int_equal(waitpid(asker, &status, 0), asker);
    assert_int_equal(status, 0);
    assert_true(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_gives_the_same_tensors),
        cmocka_unit_test(what_is_wrong_is_refused_with_a_sentence),
        cmocka_unit_test(no_damage_is_too_much),
        cmocka_unit_test(a_process_of_its_own_reads_them),
        cmocka_unit_test(what_reads_them_may_do_nothing_else),
        cmocka_unit_test(it_is_in_that_sandbox),
    };

    return cmocka_run_group_tests_name("torch", tests, NULL, NULL);
}
