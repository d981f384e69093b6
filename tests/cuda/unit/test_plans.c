/* The cache of choices: what comes back, what does not, and two ranks at once. */
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "ipc/base/file.h"
#include "trainer/backends/cuda/plan_cache.h"

static char folder[] = "/tmp/imsuper-plans-XXXXXX", path[PATH_MAX];

static int setup(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static struct tr_plan_cache *open_plans(const char *scope)
{
    struct tr_plan_cache *p = NULL;

    assert_int_equal(tr_plan_cache_open(path, scope, &p), 0);
    return p;
}

static int add(struct tr_plan_cache *p, const char *key, const char *engine)
{
    return tr_plan_cache_add(
        p, key, &(struct tr_plan_choice){.engine = engine, .ns = 1234, .tried = 3, .listed = 59});
}

/* Of what add() added; NULL: not known. */
static const char *engine_of(const struct tr_plan_cache *p, const char *key)
{
    struct tr_plan_choice found;

    if (!tr_plan_cache_find(p, key, &found))
        return NULL;
    assert_int_equal(found.ns, 1234);
    assert_int_equal(found.tried, 3);
    assert_int_equal(found.listed, 59);
    return found.engine;
}

static void add_and_save(const char *scope, const char *key, const char *engine)
{
    struct tr_plan_cache *p = open_plans(scope);

    assert_int_equal(add(p, key, engine), 0);
    assert_int_equal(tr_plan_cache_save(p, NULL), 0);
    tr_plan_cache_close(p);
}

static void expect(const char *scope, const char *key, const char *engine)
{
    struct tr_plan_cache *p = open_plans(scope);
    const char *found = engine_of(p, key);

    if (engine)
        assert_string_equal(found, engine);
    else
        assert_null(found);
    tr_plan_cache_close(p);
}

static void one_process_holds_the_lock_of_a_scope(void **state)
{
    struct tr_plan_cache *a = open_plans("gpu a"), *b = open_plans("gpu a"), *other = open_plans("gpu b");

    (void)state;
    assert_int_equal(tr_plan_cache_lock(a), 1);
    assert_int_equal(tr_plan_cache_lock(a), 1);
    assert_int_equal(tr_plan_cache_lock(b), 0);
    assert_int_equal(tr_plan_cache_lock(other), 1);
    assert_int_equal(add(a, "conv", "62"), 0);
    assert_int_equal(tr_plan_cache_save(a, NULL), 0);
    assert_null(engine_of(b, "conv"));
    tr_plan_cache_unlock(a);
    assert_int_equal(tr_plan_cache_lock(b), 1);
    assert_string_equal(engine_of(b, "conv"), "62"); /* seen with the lock */
    tr_plan_cache_close(b);
    assert_int_equal(tr_plan_cache_lock(a), 1);
    tr_plan_cache_close(a);
    tr_plan_cache_close(other);
}

static void without_a_file_there_is_no_lock(void **state)
{
    struct tr_plan_cache *p = NULL;

    (void)state;
    assert_int_equal(tr_plan_cache_open(NULL, "gpu", &p), 0);
    assert_int_equal(tr_plan_cache_lock(p), -ENOENT);
    tr_plan_cache_unlock(p);
    tr_plan_cache_close(p);
}

static void saved_choice_comes_back(void **state)
{
    (void)state;
    add_and_save("9.19 H200", "conv a", "62:2=1");
    expect("9.19 H200", "conv a", "62:2=1");
    expect("9.19 H200", "conv b", NULL);
}

static void other_gpu_or_version_does_not_see_it(void **state)
{
    (void)state;
    add_and_save("9.19 H200", "conv a", "62:2=1");
    expect("9.20 H200", "conv a", NULL);
    add_and_save("9.20 H200", "conv a", "7");
    expect("9.20 H200", "conv a", "7");
    expect("9.19 H200", "conv a", "62:2=1");
}

static void later_choice_replaces_the_earlier(void **state)
{
    (void)state;
    add_and_save("s", "k", "1");
    add_and_save("s", "k", "2");
    expect("s", "k", "2");
}

static void ranks_that_save_at_once_keep_both_choices(void **state)
{
    struct tr_plan_cache *a = open_plans("s"), *b = open_plans("s");

    (void)state;
    assert_int_equal(add(a, "k1", "1"), 0);
    assert_int_equal(add(b, "k2", "2"), 0);
    assert_int_equal(tr_plan_cache_save(a, NULL), 0);
    assert_int_equal(tr_plan_cache_save(b, NULL), 0);
    tr_plan_cache_close(a);
    tr_plan_cache_close(b);
    expect("s", "k1", "1");
    expect("s", "k2", "2");
}

/* Any single byte changed: the choice is itself or unknown, never another. */
static void damaged_file_never_lies(void **state)
{
    char *bytes = NULL;
    size_t n = 0;

    (void)state;
    add_and_save("s", "key", "62:2=1,5=3");
    assert_int_equal(im_read_file(path, 4096, &bytes, &n, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        struct tr_plan_cache *p;
        const char *found;

        bytes[i] = (char)(bytes[i] ^ 1);
        assert_int_equal(im_file_replace(path, bytes, n, NULL), 0);
        p = open_plans("s");
        found = engine_of(p, "key");
        if (found)
            assert_string_equal(found, "62:2=1,5=3");
        tr_plan_cache_close(p);
        bytes[i] = (char)(bytes[i] ^ 1);
    }
    free(bytes);
}

static void torn_last_line_costs_only_itself(void **state)
{
    char *bytes = NULL;
    size_t n = 0;

    (void)state;
    add_and_save("s", "k1", "1");
    add_and_save("s", "k2", "2");
    assert_int_equal(im_read_file(path, 4096, &bytes, &n, NULL), 0);
    assert_int_equal(im_file_replace(path, bytes, n - 3, NULL), 0);
    free(bytes);
    expect("s", "k1", "1");
    expect("s", "k2", NULL);
    add_and_save("s", "k2", "3");
    expect("s", "k2", "3");
}

static void names_that_would_break_the_format_are_refused(void **state)
{
    char long_key[2 * TR_PLANS_LINE_MAX];
    struct tr_plan_cache *p = open_plans("tab\there");

    (void)state;
    memset(long_key, 'x', sizeof long_key);
    long_key[sizeof long_key - 1] = '\0';
    assert_int_equal(add(p, "a\tb", "1"), -EINVAL);
    assert_int_equal(add(p, "a", "1\n"), -EINVAL);
    assert_int_equal(add(p, long_key, "1"), -EINVAL);
    assert_int_equal(add(p, "a", "1"), 0);
    assert_string_equal(engine_of(p, "a"), "1");
    tr_plan_cache_close(p);
}

static void without_a_path_choices_live_in_memory(void **state)
{
    struct tr_plan_cache *p = NULL;

    (void)state;
    assert_int_equal(tr_plan_cache_open(NULL, "s", &p), 0);
    assert_int_equal(add(p, "k", "1"), 0);
    assert_string_equal(engine_of(p, "k"), "1");
    assert_int_equal(tr_plan_cache_save(p, NULL), 0);
    tr_plan_cache_close(p);
}

static void unwritable_place_is_an_error_with_a_sentence(void **state)
{
    struct im_text text = {0};
    struct tr_plan_cache *p = NULL;

    (void)state;
    assert_int_equal(tr_plan_cache_open("/proc/imsuper/cuda.plans", "s", &p), 0);
    assert_int_equal(add(p, "k", "1"), 0);
    assert_true(tr_plan_cache_save(p, &text) < 0);
    assert_true(*text.s != '\0');
    tr_plan_cache_close(p);
}

/* -ENOENT, or what was stored. */
static int load(const char *scope, const char *key, char *ret, size_t size)
{
    struct tr_plan_cache *p = open_plans(scope);
    char *bytes = NULL;
    size_t n = 0;
    int err = tr_plan_cache_load(p, key, "62", &bytes, &n);

    if (err == 0)
        snprintf(ret, size, "%.*s", (int)n, bytes);
    free(bytes);
    tr_plan_cache_close(p);
    return err;
}

static void plan_that_goes_with_a_choice_comes_back_to_it_alone(void **state)
{
    struct tr_plan_cache *p = open_plans("s");
    char got[32];

    (void)state;
    assert_int_equal(tr_plan_cache_store(p, "k", "62", "{plan}", 6, NULL), 0);
    tr_plan_cache_close(p);
    assert_int_equal(load("s", "k", got, sizeof got), 0);
    assert_string_equal(got, "{plan}");
    assert_int_equal(load("s", "k2", got, sizeof got), -ENOENT);
    assert_int_equal(load("s2", "k", got, sizeof got), -ENOENT);
}

static int damage(const char *file, const struct stat *unused, int type, struct FTW *place)
{
    char *bytes = NULL, got[32];
    size_t n = 0;

    (void)unused, (void)place;
    if (type != FTW_F)
        return 0;
    assert_int_equal(im_read_file(file, 4096, &bytes, &n, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (char)(bytes[i] ^ 1);
        assert_int_equal(im_file_replace(file, bytes, n, NULL), 0);
        assert_int_equal(load("s", "k", got, sizeof got), -ENOENT);
        bytes[i] = (char)(bytes[i] ^ 1);
    }
    assert_int_equal(im_file_replace(file, bytes, n / 2, NULL), 0);
    assert_int_equal(load("s", "k", got, sizeof got), -ENOENT);
    free(bytes);
    return 1;
}

static void damaged_plan_is_not_seen(void **state)
{
    struct tr_plan_cache *p = open_plans("s");
    char plans[PATH_MAX + 8];

    (void)state;
    assert_int_equal(tr_plan_cache_store(p, "k", "62", "{plan}", 6, NULL), 0);
    tr_plan_cache_close(p);
    snprintf(plans, sizeof plans, "%s.d", path);
    assert_int_equal(nftw(plans, damage, 4, FTW_PHYS), 1);
}

static void path_follows_the_environment(void **state)
{
    char found[PATH_MAX];

    (void)state;
    setenv("XDG_CACHE_HOME", "/x", 1);
    assert_int_equal(tr_plan_cache_path(found, sizeof found), 0);
    assert_string_equal(found, "/x/imsuper/cuda.plans");
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", "/h", 1);
    assert_int_equal(tr_plan_cache_path(found, sizeof found), 0);
    assert_string_equal(found, "/h/.cache/imsuper/cuda.plans");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    assert_int_equal(tr_plan_cache_path(found, sizeof found), -ENOENT);
    setenv("HOME", "/h", 1);
    assert_int_equal(tr_plan_cache_path(found, 5), -ENAMETOOLONG);
}

static int wipe(const char *file, const struct stat *unused, int type, struct FTW *place)
{
    (void)unused, (void)type, (void)place;
    return remove(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_process_holds_the_lock_of_a_scope, setup),
        cmocka_unit_test_setup(without_a_file_there_is_no_lock, setup),
        cmocka_unit_test_setup(saved_choice_comes_back, setup),
        cmocka_unit_test_setup(other_gpu_or_version_does_not_see_it, setup),
        cmocka_unit_test_setup(later_choice_replaces_the_earlier, setup),
        cmocka_unit_test_setup(ranks_that_save_at_once_keep_both_choices, setup),
        cmocka_unit_test_setup(damaged_file_never_lies, setup),
        cmocka_unit_test_setup(torn_last_line_costs_only_itself, setup),
        cmocka_unit_test_setup(names_that_would_break_the_format_are_refused, setup),
        cmocka_unit_test_setup(without_a_path_choices_live_in_memory, setup),
        cmocka_unit_test_setup(unwritable_place_is_an_error_with_a_sentence, setup),
        cmocka_unit_test_setup(plan_that_goes_with_a_choice_comes_back_to_it_alone, setup),
        cmocka_unit_test_setup(damaged_plan_is_not_seen, setup),
        cmocka_unit_test(path_follows_the_environment),
    };
    int failed;

    if (!mkdtemp(folder))
        return 2;
    snprintf(path, sizeof path, "%s/below/cuda.plans", folder);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nftw(folder, wipe, 4, FTW_DEPTH | FTW_PHYS);
    return failed;
}
