/* CPUs and memory seen through made-up /proc and /sys trees, the edit distance, and the build id. */
#include <limits.h>

#include "ipc/base/file.h"
#include "ipc/base/suggest.h"
#include "ipc/base/sysinfo.h"
#include "tests/unit/ipc/base/unit.h"

static void put(const char *root, const char *directory, const char *name, const char *content)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s%s", root, directory);
    assert_int_equal(im_mkdirs(path, 0700, NULL), 0);
    snprintf(path, sizeof path, "%s%s/%s", root, directory, name);
    assert_int_equal(im_file_replace(path, content, strlen(content), NULL), 0);
}

static void without_cgroups_the_affinity_mask_counts(void **state)
{
    assert_int_equal(im_cpu_count_at(*state, 6), 6);
    put(*state, "/proc/self", "cgroup", "4:cpu:/x\n");
    assert_int_equal(im_cpu_count_at(*state, 6), 6);
    assert_int_equal(im_cpu_count_at(*state, 0), 1);
}

static void the_tightest_cpu_limit_on_the_way_up_counts(void **state)
{
    put(*state, "/proc/self", "cgroup", "0::/a/b\n");
    put(*state, "/sys/fs/cgroup/a/b", "cpu.max", "max 100000\n");
    assert_int_equal(im_cpu_count_at(*state, 6), 6);
    put(*state, "/sys/fs/cgroup/a", "cpu.max", "150000 100000\n");
    assert_int_equal(im_cpu_count_at(*state, 6), 2);
    assert_int_equal(im_cpu_count_at(*state, 1), 1);
    put(*state, "/sys/fs/cgroup/a/b", "cpu.max", "50000 100000\n");
    assert_int_equal(im_cpu_count_at(*state, 6), 1);
}

static void a_containers_root_limits_count(void **state)
{
    put(*state, "/proc/self", "cgroup", "0::/\n");
    put(*state, "/sys/fs/cgroup", "cpu.max", "300000 100000\n");
    assert_int_equal(im_cpu_count_at(*state, 8), 3);
}

static void memory_is_what_the_tightest_limit_leaves(void **state)
{
    assert_true(im_memory_available_at(*state) == 0);
    put(*state, "/proc", "meminfo", "MemTotal:  2000 kB\nMemAvailable:    1000 kB\n");
    assert_true(im_memory_available_at(*state) == 1000 * 1024);
    put(*state, "/proc/self", "cgroup", "0::/a\n");
    put(*state, "/sys/fs/cgroup/a", "memory.max", "500000\n");
    put(*state, "/sys/fs/cgroup/a", "memory.current", "300000\n");
    assert_true(im_memory_available_at(*state) == 200000);
    put(*state, "/sys/fs/cgroup/a", "memory.stat", "anon 7\ninactive_file 50000\n");
    assert_true(im_memory_available_at(*state) == 250000);
    put(*state, "/sys/fs/cgroup/a", "memory.max", "max\n");
    assert_true(im_memory_available_at(*state) == 1000 * 1024);
    put(*state, "/sys/fs/cgroup/a", "memory.max", "1000\n");
    assert_true(im_memory_available_at(*state) == 0);
}

static void limits_of_cgroup_version_1_count(void **state)
{
    put(*state, "/proc", "meminfo", "MemTotal:  2000 kB\nMemAvailable:    1000 kB\n");
    put(*state, "/proc/self", "cgroup", "9:name=systemd:/\n4:cpuset,memory:/job/a\n0::/\n");
    put(*state, "/sys/fs/cgroup/memory/job/a", "memory.limit_in_bytes", "9223372036854771712\n");
    put(*state, "/sys/fs/cgroup/memory/job/a", "memory.usage_in_bytes", "300000\n");
    assert_true(im_memory_available_at(*state) == 1000 * 1024);
    assert_true(im_memory_total_at(*state) == 2000 * 1024);
    put(*state, "/sys/fs/cgroup/memory/job", "memory.limit_in_bytes", "500000\n");
    put(*state, "/sys/fs/cgroup/memory/job", "memory.usage_in_bytes", "400000\n");
    put(*state, "/sys/fs/cgroup/memory/job", "memory.stat", "inactive_file 7\ntotal_inactive_file 50000\n");
    assert_true(im_memory_available_at(*state) == 150000);
    assert_true(im_memory_total_at(*state) == 500000);
    /* Another controller's cgroup of nearly the same name. */
    put(*state, "/proc/self", "cgroup", "4:memoryx:/job/a\n3:hugememory:/job\n");
    assert_true(im_memory_total_at(*state) == 2000 * 1024);
}

static void all_memory_does_not_depend_on_what_is_used(void **state)
{
    assert_true(im_memory_total_at(*state) == 0);
    put(*state, "/proc", "meminfo", "MemTotal:  2000 kB\nMemAvailable:    1000 kB\n");
    assert_true(im_memory_total_at(*state) == 2000 * 1024);
    put(*state, "/proc/self", "cgroup", "0::/a/b\n");
    put(*state, "/sys/fs/cgroup/a", "memory.max", "500000\n");
    put(*state, "/sys/fs/cgroup/a", "memory.current", "300000\n");
    put(*state, "/sys/fs/cgroup/a/b", "memory.max", "max\n");
    assert_true(im_memory_total_at(*state) == 500000);
    put(*state, "/sys/fs/cgroup/a/b", "memory.high", "400000\n");
    assert_true(im_memory_total_at(*state) == 400000);
}

static void kills_for_memory_are_counted_wherever_they_are_told(void **state)
{
    assert_true(im_oom_kills_at(*state) == UINT64_MAX);
    put(*state, "/proc", "vmstat", "nr_free_pages 7\nnot_oom_kill 3\noom_killer 9\n");
    assert_true(im_oom_kills_at(*state) == UINT64_MAX);
    put(*state, "/proc", "vmstat", "oom_kill none\n");
    assert_true(im_oom_kills_at(*state) == UINT64_MAX);
    put(*state, "/proc", "vmstat", "oom_kill 12\nswap_ra 1\n");
    assert_true(im_oom_kills_at(*state) == 12);
    put(*state, "/proc", "vmstat", "nr_free_pages 7\noom_killer 9\noom_kill 0\n");
    assert_true(im_oom_kills_at(*state) == 0);
    put(*state, "/proc", "vmstat", "nr_free_pages 7\noom_killer 9\noom_kill 3\n");
    assert_true(im_oom_kills_at(*state) == 3);
    put(*state, "/proc/self", "cgroup", "4:memory:/x\n0::/a\n");
    put(*state, "/sys/fs/cgroup/a", "memory.events", "oom 8\noom_kill 2\noom_group_kill 0\n");
    assert_true(im_oom_kills_at(*state) == 5);
    put(*state, "/sys/fs/cgroup/memory/x", "memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
    assert_true(im_oom_kills_at(*state) == 9);
    put(*state, "/proc", "vmstat", ""); /* of a container that is not told about the machine */
    assert_true(im_oom_kills_at(*state) == 6);
}

static void the_cgroup_with_fewest_processes_left_counts(void **state)
{
    struct im_pids pids = im_pids_at(*state);

    assert_true(pids.limit == UINT64_MAX);
    put(*state, "/proc/self", "cgroup", "0::/a/b\n");
    put(*state, "/sys/fs/cgroup/a/b", "pids.max", "max\n");
    put(*state, "/sys/fs/cgroup/a/b", "pids.current", "5\n");
    assert_true(im_pids_at(*state).limit == UINT64_MAX);
    put(*state, "/sys/fs/cgroup/a", "pids.max", "100\n");
    put(*state, "/sys/fs/cgroup/a", "pids.current", "40\n");
    pids = im_pids_at(*state);
    assert_true(pids.limit == 100 && pids.used == 40);
    put(*state, "/sys/fs/cgroup/a/b", "pids.max", "50\n"); /* lower, and more are left */
    put(*state, "/sys/fs/cgroup/a", "pids.current", "70\n");
    pids = im_pids_at(*state);
    assert_true(pids.limit == 100 && pids.used == 70);
    put(*state, "/sys/fs/cgroup/a/b", "pids.max", "3\n"); /* lowered below what is there */
    pids = im_pids_at(*state);
    assert_true(pids.limit == 3 && pids.used == 3);
    put(*state, "/proc/self", "cgroup", "4:pids:/x\n0::/\n");
    put(*state, "/sys/fs/cgroup/pids/x", "pids.max", "20\n");
    put(*state, "/sys/fs/cgroup/pids/x", "pids.current", "1\n");
    pids = im_pids_at(*state);
    assert_true(pids.limit == 20 && pids.used == 1);
}

static void the_real_machine_has_both(void **state)
{
    (void)state;
    assert_in_range(im_cpu_count(), 1, sysconf(_SC_NPROCESSORS_CONF));
    assert_true(im_memory_available() > 1 << 20);
}

static void the_build_id_begins_with_the_version(void **state)
{
    (void)state;
    assert_memory_equal(im_build_id(), IMSUPER_VERSION, strlen(IMSUPER_VERSION));
    assert_non_null(strstr(im_build_id(), " abi-"));
}

static void edits_are_counted(void **state)
{
    (void)state;
    assert_int_equal(im_edit_distance("", ""), 0);
    assert_int_equal(im_edit_distance("abc", "abc"), 0);
    assert_int_equal(im_edit_distance("abc", ""), 3);
    assert_int_equal(im_edit_distance("", "ab"), 2);
    assert_int_equal(im_edit_distance("abc", "acb"), 1);
    assert_int_equal(im_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(im_edit_distance("ca", "abc"), 3);
}

static void nearest_wants_a_near_word(void **state)
{
    static const char *const words[] = {"start", "status", "stop", "data"};

    (void)state;
    assert_string_equal(im_nearest("strat", words, IM_COUNT(words)), "start");
    assert_string_equal(im_nearest("stat", words, IM_COUNT(words)), "start");
    assert_string_equal(im_nearest("sttop", words, IM_COUNT(words)), "stop");
    assert_string_equal(im_nearest("sta", words, IM_COUNT(words)), "start");
    assert_string_equal(im_nearest("tsart", words, IM_COUNT(words)), "start"); /* two letters swapped */
    assert_null(im_nearest("top", words, IM_COUNT(words)));                    /* words of their own */
    assert_null(im_nearest("restart", words, IM_COUNT(words)));
    assert_null(im_nearest("bench", words, IM_COUNT(words)));
    assert_null(im_nearest("", words, IM_COUNT(words)));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_cgroups_the_affinity_mask_counts),
        TEST(the_tightest_cpu_limit_on_the_way_up_counts),
        TEST(a_containers_root_limits_count),
        TEST(memory_is_what_the_tightest_limit_leaves),
        TEST(the_cgroup_with_fewest_processes_left_counts),
        TEST(limits_of_cgroup_version_1_count),
        TEST(all_memory_does_not_depend_on_what_is_used),
        TEST(kills_for_memory_are_counted_wherever_they_are_told),
        cmocka_unit_test(the_real_machine_has_both),
        cmocka_unit_test(the_build_id_begins_with_the_version),
        cmocka_unit_test(edits_are_counted),
        cmocka_unit_test(nearest_wants_a_near_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
