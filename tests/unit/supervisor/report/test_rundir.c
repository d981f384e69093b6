/* The lock of a run, and the folder that a user means. */
#include "supervisor/report/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "ipc/base/err.h"
#include "tests/unit/ipc/base/unit.h"

static struct im_conf conf_of(const char *workspace, const char *run_name)
{
    struct im_conf conf;

    im_conf_defaults(&conf);
    snprintf(conf.workspace, sizeof conf.workspace, "%s", workspace);
    snprintf(conf.run_name, sizeof conf.run_name, "%s", run_name);
    return conf;
}

static void open_run(struct im_conf *conf, struct sv_rundir_lock *ret)
{
    struct im_text text = {""};

    if (sv_rundir_open(conf, ret, &text) < 0)
        fail_msg("%s", text.s);
}

/* Of the run, by a file name in its folder. */
static const char *in_run(const struct im_conf *conf, const char *name)
{
    static char path[IM_CONF_TEXT_BYTES + 64];

    snprintf(path, sizeof path, "%s/%s", conf->run_dir, name);
    return path;
}

/* Anybody who may read the folder can do that: a backup, a shell with flock(1), another user. */
static void a_stranger_who_locks_the_folder_stops_no_start(void **state)
{
    static const int kinds[] = {LOCK_SH, LOCK_EX};
    struct im_conf conf = conf_of(*state, "run");
    struct sv_rundir_lock lock;

    open_run(&conf, &lock);
    sv_rundir_unlock(&lock);
    for (size_t i = 0; i < IM_COUNT(kinds); i++) {
        const int fd = open(conf.run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(flock(fd, kinds[i] | LOCK_NB), 0);
        assert_int_equal(sv_rundir_look(conf.run_dir), 0);
        open_run(&conf, &lock);
        assert_int_equal(sv_rundir_look(conf.run_dir), 1);
        sv_rundir_unlock(&lock);
        assert_true(sv_rundir_try_lock(conf.run_dir, &lock));
        sv_rundir_unlock(&lock);
        close(fd);
    }
}

static void one_lock_is_left_when_the_other_is_removed(void **state)
{
    static const char *const names[] = {".lock", "checkpoints/.lock"};
    struct im_conf conf = conf_of(*state, "run");
    struct sv_rundir_lock lock, second;
    struct im_text text;

    for (size_t i = 0; i < IM_COUNT(names); i++) {
        open_run(&conf, &lock);
        assert_int_equal(unlink(in_run(&conf, names[i])), 0);
        assert_int_equal(sv_rundir_look(conf.run_dir), 1);
        assert_false(sv_rundir_try_lock(conf.run_dir, &second));
        assert_int_equal(sv_rundir_open(&conf, &second, &text), -EBUSY);
        assert_non_null(strstr(text.s, "is going on"));
        sv_rundir_unlock(&lock);
        assert_int_equal(sv_rundir_look(conf.run_dir), 0);
    }
}

static void a_start_that_failed_leaves_nothing(void **state)
{
    struct im_conf conf = conf_of(*state, "run");
    struct sv_rundir_lock lock;
    int fd;

    open_run(&conf, &lock);
    fd = open(in_run(&conf, ".data.index.tmp-12-3"), O_WRONLY | O_CREAT | O_CLOEXEC,
              0600); /* of who was killed */
    assert_true(fd >= 0);
    close(fd);
    sv_rundir_discard(conf.run_dir, &lock);
    assert_int_equal(access(conf.run_dir, F_OK), -1);
}

static void a_run_is_found_by_name_and_by_path(void **state)
{
    static const char *const paths[] = {"%s/run", "%s/run/", "%s/./run", "%s/other/../run"};
    struct im_conf conf = conf_of(*state, "run"), other = conf_of(*state, "other"), asked;
    char path[IM_CONF_TEXT_BYTES], want[IM_CONF_TEXT_BYTES], workspace[4096];
    struct sv_rundir_lock lock;
    struct im_text text = {""};

    assert_non_null(realpath(*state, workspace));
    open_run(&other, &lock);
    sv_rundir_unlock(&lock);
    open_run(&conf, &lock);
    sv_rundir_unlock(&lock);
    snprintf(want, sizeof want, "%.1000s/run", workspace);
    for (size_t i = 0; i < IM_COUNT(paths); i++) {
        snprintf(path, sizeof path, paths[i], (const char *)*state);
        asked = conf_of("elsewhere", path);
        if (sv_rundir_find(&asked, &text) < 0)
            fail_msg("%s: %s", path, text.s);
        assert_string_equal(asked.run_dir, want);
        assert_string_equal(asked.run_name, "run");
    }
    asked = conf_of(*state, "run");
    assert_int_equal(sv_rundir_find(&asked, &text), 0);
    asked = conf_of(*state, "/no/such/run");
    assert_int_equal(sv_rundir_find(&asked, &text), -ENOENT);
    assert_string_equal(text.s, "no run in /no/such/run: No such file or directory");
    asked = conf_of("elsewhere", *state); /* a folder, but of no run */
    assert_int_equal(sv_rundir_find(&asked, &text), -ENOENT);
    assert_begins(text.s, "no run in ");
}

static void a_run_of_several_machines_is_found_as_this_ones_node(void **state)
{
    static const char *const folders[] = {"run", "run/nodes", "run/nodes/node1"};
    struct im_conf conf = conf_of(*state, "run");
    struct im_text text = {""};
    char path[4096];

    for (size_t i = 0; i < IM_COUNT(folders); i++) {
        snprintf(path, sizeof path, "%s/%s", (const char *)*state, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    assert_int_equal(sv_rundir_find(&conf, &text), -ENOENT);
    snprintf(path, sizeof path, "%s/run/nodes/latest", (const char *)*state);
    assert_int_equal(symlink("node1", path), 0);
    conf = conf_of(*state, "run");
    assert_int_equal(sv_rundir_find(&conf, &text), 0);
    snprintf(path, sizeof path, "%s/run/nodes/node1", (const char *)*state);
    assert_string_equal(conf.run_dir, path);
    assert_string_equal(conf.run_name, "node1");
    /* Where node 0 has the same folder, it is the run. */
    snprintf(path, sizeof path, "%s/run/checkpoints", (const char *)*state);
    assert_int_equal(mkdir(path, 0700), 0);
    conf = conf_of(*state, "run");
    assert_int_equal(sv_rundir_find(&conf, &text), 0);
    assert_string_equal(conf.run_name, "run");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_stranger_who_locks_the_folder_stops_no_start, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(one_lock_is_left_when_the_other_is_removed, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_start_that_failed_leaves_nothing, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_run_is_found_by_name_and_by_path, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_run_of_several_machines_is_found_as_this_ones_node, make_directory,
                                        remove_directory),
    };

    return cmocka_run_group_tests_name("rundir", tests, NULL, NULL);
}
