/* What the sandbox lets through and what it kills for. Each case runs in a child of its own, for there is no
 * way out of a sandbox. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <seccomp.h>

#include <cmocka.h>

#include "augment/render.h"
#include "augment/sandbox.h"
#include "ipc/base/file.h"
#include "ipc/base/hash.h"
#include "tests/unit/augment/golden_images.h"
#include "tests/unit/ipc/sandboxed.h"

#define SIZE 32
#define IMAGES (35 + 211)

/* The file that cases open; its bytes are a whole golden file of formats. */
#define FILE_TO_READ GOLDEN_DIR "/formats.bin"

/* Runs in the sandbox; true: as it should be. */
typedef bool act(void);

static const char *read_root = GOLDEN_DIR; /* of the next sandbox */
static struct im_sandbox_state state;      /* in the sandbox */

/* The wait status of a child that entered the sandbox and ran `what`: exit status 0 for true, 1 for false. */
static int run_inside(act *what)
{
    struct im_text text = {""};
    pid_t pid = begin_case();

    if (pid == 0) {
        signal(SIGABRT, SIG_DFL); /* cmocka's handler, and a sanitizer's, would turn a signal into an exit */
        must_be_in_sandbox(au_sandbox_enter(read_root, NULL, true, false, &state, &text), &state, &text);
        _exit(what() ? GOOD : BAD);
    }
    return status_of_case(pid);
}

static void assert_works(act *what)
{
    int status = run_inside(what);

    if (WIFSIGNALED(status))
        fail_msg("killed by signal %d", WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void assert_dies_of(int signo, act *what)
{
    int status = run_inside(what);

    if (!WIFSIGNALED(status))
        fail_msg("went on and left with %d", WEXITSTATUS(status));
    assert_int_equal(WTERMSIG(status), signo);
}

static bool open_with(int flags)
{
    return open(FILE_TO_READ, flags | O_CLOEXEC, 0600) >= 0;
}

static bool open_for_writing(void)
{
    return open_with(O_WRONLY);
}

static bool open_for_both(void)
{
    return open_with(O_RDWR);
}

static bool create(void)
{
    return open("/tmp/imsuper-sandbox-must-not-exist", O_RDONLY | O_CREAT | O_CLOEXEC, 0600) >= 0;
}

static bool truncate_by_open(void)
{
    return open_with(O_RDONLY | O_TRUNC);
}

static bool make_unnamed_file(void)
{
    return open("/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600) >= 0;
}

static bool make_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static bool execute(void)
{
    char name[] = "/bin/true";
    char *argv[] = {name, NULL}, *environment[] = {NULL};

    execve(name, argv, environment);
    return true;
}

static bool remove_file(void)
{
    unlink("/tmp/imsuper-sandbox-not-there");
    return true;
}

static bool signal_parent(void)
{
    kill(getppid(), 0);
    return true;
}

static bool map_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED;
}

static bool make_code_of_data(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0;
}

static void opening_for_writing_kills(void **unused)
{
    (void)unused;
    assert_dies_of(SIGSYS, open_for_writing);
    assert_dies_of(SIGSYS, open_for_both);
}

static void making_or_emptying_a_file_kills(void **unused)
{
    (void)unused;
    assert_dies_of(SIGSYS, create);
    assert_dies_of(SIGSYS, truncate_by_open);
    assert_dies_of(SIGSYS, make_unnamed_file);
    assert_int_not_equal(access("/tmp/imsuper-sandbox-must-not-exist", F_OK), 0);
}

static void removing_a_file_kills(void **unused)
{
    (void)unused;
    assert_dies_of(SIGSYS, remove_file);
}

static void a_socket_kills(void **unused)
{
    (void)unused;
    assert_dies_of(SIGSYS, make_socket);
}

static void starting_a_program_kills(void **unused)
{
    (void)unused;
    assert_dies_of(SIGSYS, execute);
}

static void signalling_others_kills(void **unused)
{
    (void)unused;
    assert_dies_of(SIGSYS, signal_parent);
}

static void executable_memory_kills(void **unused)
{
    (void)unused;
    assert_dies_of(SIGSYS, map_code);
    assert_dies_of(SIGSYS, make_code_of_data);
}

/* A hash over the pixels of all formats; 0 when one cannot be rendered. */
static uint64_t render_all(void)
{
    static struct golden_images golden;
    static unsigned char out[SIZE * SIZE * 3];
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_renderer *renderer = NULL;
    uint64_t hash =
        golden_images_add(&golden, "formats.bin") + golden_images_add(&golden, "images.bin") == IMAGES;

    if (au_renderer_new(&renderer, &limits, imk_cpu_flags()) < 0)
        return 0;
    for (size_t i = 0; i < golden.count && hash; i++) {
        const struct golden_image *g = &golden.images[i];
        struct au_job job = {
            .split = IM_TRAIN, .seed = 7, .sample = i, .size = SIZE, .crop = AU_CROP_DEFAULT};

        if (golden_image_is_left_out(g))
            continue;
        if (au_render(renderer, &job, g->bytes, g->n, out, NULL) != 0)
            hash = 0;
        else
            hash = im_hash64(out, sizeof out, hash);
    }
    golden_images_free(&golden);
    au_renderer_free(&renderer);
    return hash;
}

static uint64_t expected_hash; /* of what the parent rendered; the child inherits it */

static bool render_the_same(void)
{
    return render_all() == expected_hash;
}

static void every_format_renders_as_outside(void **unused)
{
    (void)unused;
    expected_hash = render_all();
    assert_int_not_equal(expected_hash, 0);
    assert_works(render_the_same);
}

static bool read_large_file(void)
{
    char *bytes = NULL;
    size_t n = 0;
    bool good = im_read_file(FILE_TO_READ, 1 << 24, &bytes, &n, NULL) == 0 && n > 1000;

    free(bytes);
    return good && im_read_file(GOLDEN_DIR "/nowhere", 1 << 24, &bytes, &n, NULL) == -ENOENT;
}

static void a_file_can_be_read(void **unused)
{
    (void)unused;
    assert_works(read_large_file);
}

static bool refuses(const char *path, int flags)
{
    return open(path, flags | O_CLOEXEC) < 0 && errno == EACCES;
}

/* Files below the root, and nothing else. */
static bool read_below_the_root(void)
{
    return state.landlock == 0 || (open_with(O_RDONLY) && refuses("/etc/passwd", O_RDONLY) &&
                                   (IM_SANITIZED || refuses("/proc/self/environ", O_RDONLY)) &&
                                   refuses(GOLDEN_DIR "/..", O_RDONLY | O_DIRECTORY) &&
                                   refuses(GOLDEN_DIR "/../CMakeLists.txt", O_RDONLY));
}

static bool read_anywhere(void)
{
    return open_with(O_RDONLY) && open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool read_nothing(void)
{
    return state.landlock == 0 || refuses(FILE_TO_READ, O_RDONLY);
}

/* Where another file system is mounted meanwhile; what can be opened is what was there. */
static bool tells_that_it_is_stale(void)
{
    struct im_sandbox_state other = state;

    other.inode++;
    return state.landlock == 0 ||
           (state.below && !im_sandbox_is_stale(&state) && im_sandbox_is_stale(&other));
}

static void paths_are_restricted_to_the_root(void **unused)
{
    (void)unused;
    assert_works(read_below_the_root);
    read_root = ""; /* links lead out of the data folder */
    assert_works(read_anywhere);
    read_root = "/nowhere/at/all"; /* it may come back */
    assert_works(read_anywhere);
    read_root = NULL;
    assert_works(read_nothing);
    read_root = GOLDEN_DIR;
    assert_works(tells_that_it_is_stale);
}

/* This kernel restricts paths, or the test above says nothing. */
static bool landlock_is_as_the_kernel_says(void)
{
    return state.landlock > 0;
}

static void landlock_is_used_where_the_kernel_has_it(void **unused)
{
    (void)unused;
    if (syscall(444, NULL, 0, 1) <= 0) {
        print_message("skipped: this kernel has no Landlock\n");
        skip();
    }
    assert_works(landlock_is_as_the_kernel_says);
}

static bool use_memory(void)
{
    for (size_t n = 1; n <= (size_t)64 << 20; n *= 4) {
        unsigned char *bytes = malloc(n), *more;

        if (!bytes)
            return false;
        memset(bytes, 1, n);
        more = realloc(bytes, 3 * n);
        if (!more || more[n - 1] != 1)
            return false;
        free(more);
    }
    return true;
}

static void the_allocator_works(void **unused)
{
    (void)unused;
    assert_works(use_memory);
}

static bool call_abort(void)
{
    abort();
}

static void abort_still_dies_of_its_own_signal(void **unused)
{
    (void)unused;
    assert_dies_of(SIGABRT, call_abort);
}

/* Makes this process's kernel look like one that was built without seccomp, then asks for the sandbox. */
static int enter_without_seccomp(struct im_text *text)
{
    const struct scmp_arg_cmp asks = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = PR_GET_SECCOMP, .datum_b = 0};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int err = filter ? 0 : -ENOMEM;

    if (err == 0)
        err = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1, &asks);
    if (err == 0)
        err = seccomp_load(filter);
    seccomp_release(filter);
    return err < 0 ? err : au_sandbox_enter(GOLDEN_DIR, NULL, true, false, &state, text);
}

static void a_kernel_without_seccomp_is_a_warning(void **unused)
{
    int status;
    pid_t pid = fork();

    (void)unused;
    assert_true(pid >= 0);
    if (pid == 0) {
        struct im_text text = {""};
        bool warned = enter_without_seccomp(&text) == 0 && !state.filters_calls &&
                      strstr(text.s, "system calls are not filtered");

        _exit(warned && make_socket() ? 0 : 1); /* nothing is refused */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_for_writing_kills),
        cmocka_unit_test(making_or_emptying_a_file_kills),
        cmocka_unit_test(removing_a_file_kills),
        cmocka_unit_test(a_socket_kills),
        cmocka_unit_test(starting_a_program_kills),
        cmocka_unit_test(signalling_others_kills),
        cmocka_unit_test(executable_memory_kills),
        cmocka_unit_test(every_format_renders_as_outside),
        cmocka_unit_test(a_file_can_be_read),
        cmocka_unit_test(paths_are_restricted_to_the_root),
        cmocka_unit_test(landlock_is_used_where_the_kernel_has_it),
        cmocka_unit_test(the_allocator_works),
        cmocka_unit_test(abort_still_dies_of_its_own_signal),
        cmocka_unit_test(a_kernel_without_seccomp_is_a_warning),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
