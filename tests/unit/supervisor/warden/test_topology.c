/* Where trainers, readers and augmenters go: on descriptions of machines that are not this one.
 *
 * FIXTURE is a machine with two sockets, 16 cores of two threads each, four GPUs on each: hwloc's synthetic
 * "pack:2 [numa(memory=549755813888)] core:16 pu:2(indexes=2*32:32*1)" with PCI devices written in by hand.
 * The file has no comment: the XML reader inside hwloc refuses them, and the other one is a plugin (Debian's
 * libhwloc-plugins) that a machine may lack. */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <sys/stat.h>

#include "ipc/base/err.h"
#include "supervisor/warden/topology.h"
#include "tests/unit/ipc/base/unit.h"

static const char eight[8][16] = {"0000:1b:00.0", "0000:43:00.0", "0000:52:00.0", "0000:61:00.0",
                                  "0000:9d:00.0", "0000:c3:00.0", "0000:d1:00.0", "0000:df:00.0"};

static const char *cpus(const struct sv_place *place)
{
    static char s[256];

    return sv_format_cpus(&place->cpus, s, sizeof s);
}

static void place(const struct sv_topology_source *source, const char (*pci)[16], uint32_t ranks,
                  struct sv_placement *p)
{
    struct im_text text = {""};
    int err = sv_topology_place(source, pci, ranks, p, &text);

    if (err < 0)
        print_message("%s\n", text.s);
    assert_int_equal(err, 0);
}

static void each_trainer_gets_two_cores_near_its_gpu(void **state)
{
    const struct sv_topology_source machine = {.xml = FIXTURE, .sysfs = "/nowhere"};
    const char *const expected[8] = {"0-1,32-33",   "2-3,34-35",   "4-5,36-37",   "6-7,38-39",
                                     "16-17,48-49", "18-19,50-51", "20-21,52-53", "22-23,54-55"};
    struct sv_placement p;

    (void)state;
    place(&machine, eight, 8, &p);
    assert_false(p.applies);
    assert_int_equal(p.far, 0);
    for (int r = 0; r < 8; r++) {
        assert_string_equal(cpus(&p.trainer[r]), expected[r]);
        assert_int_equal(p.trainer[r].node, r / 4);
    }
    assert_int_equal(p.nodes, 2);
    assert_string_equal(cpus(&p.worker[0]), "8-15,40-47");
    assert_string_equal(cpus(&p.worker[1]), "24-31,56-63");
}

/* --gpus 4,1: rank 0 is on the second socket. */
static void places_follow_the_order_of_the_ranks(void **state)
{
    const struct sv_topology_source machine = {.xml = FIXTURE, .sysfs = "/nowhere"};
    struct sv_placement p;

    (void)state;
    place(&machine, (const char[2][16]){"0000:9d:00.0", "0000:43:00.0"}, 2, &p);
    assert_string_equal(cpus(&p.trainer[0]), "16-17,48-49");
    assert_string_equal(cpus(&p.trainer[1]), "0-1,32-33");
    assert_string_equal(cpus(&p.worker[0]), "2-15,34-47");
}

static void workers_are_spread_over_the_rest_by_cores(void **state)
{
    const struct sv_topology_source machine = {.xml = FIXTURE, .sysfs = "/nowhere"};
    struct sv_placement p;
    int on[2] = {0};

    (void)state;
    place(&machine, eight, 4, &p); /* all on the first socket: 8 cores are left there, 16 on the other */
    for (uint32_t i = 0; i < 24; i++)
        on[sv_placement_worker(&p, i) == &p.worker[1]]++;
    assert_in_range(on[0], 7, 9);
    assert_int_equal(on[0] + on[1], 24);
    assert_ptr_equal(sv_placement_worker(&p, 5), sv_placement_worker(&p, 5));
}

/* Writes the fixture with another set of allowed processors. */
static void restrict_to(const char *directory, const char *mask, char path[PATH_MAX])
{
    const char *const all = "allowed_cpuset=\"0xffffffff,0xffffffff\"";
    static char xml[65536];
    FILE *in = fopen(FIXTURE, "re"), *out;
    char *at;
    size_t n;

    assert_non_null(in);
    n = fread(xml, 1, sizeof xml - 1, in);
    fclose(in);
    xml[n] = 0;
    at = strstr(xml, all);
    assert_non_null(at);
    snprintf(path, PATH_MAX, "%s/restricted.xml", directory);
    out = fopen(path, "we");
    assert_non_null(out);
    fprintf(out, "%.*sallowed_cpuset=\"%s\"%s", (int)(at - xml), xml, mask, at + strlen(all));
    fclose(out);
}

/* A container that may use cores 4 to 7 of the first socket. */
static void a_cpuset_is_respected(void **state)
{
    struct sv_topology_source machine = {.sysfs = "/nowhere"};
    char path[PATH_MAX];
    struct sv_placement p;

    restrict_to(*state, "0x000000f0,0x000000f0", path);
    machine.xml = path;
    place(&machine, (const char[2][16]){"0000:1b:00.0", "0000:9d:00.0"}, 2, &p);
    assert_string_equal(cpus(&p.trainer[0]), "4-5,36-37");
    assert_string_equal(cpus(&p.trainer[1]), ""); /* nothing near it: anywhere */
    assert_int_equal(p.trainer[1].node, -1);
    assert_int_equal(p.far, 1);
    assert_int_equal(p.nodes, 1);
    assert_string_equal(cpus(&p.worker[0]), "6-7,38-39");
}

static void few_cores_are_shared_by_all(void **state)
{
    struct sv_topology_source machine = {.sysfs = "/nowhere"};
    char path[PATH_MAX];
    struct sv_placement p;

    restrict_to(*state, "0x00000007,0x00000007", path); /* three cores for two GPUs */
    machine.xml = path;
    place(&machine, eight, 2, &p);
    assert_string_equal(cpus(&p.trainer[0]), "0-2,32-34");
    assert_string_equal(cpus(&p.trainer[1]), "0-2,32-34");
    assert_string_equal(cpus(&p.worker[0]), "0-2,32-34");
    restrict_to(*state, "0x0000000f,0x0000000f", path); /* four: one each */
    place(&machine, eight, 2, &p);
    assert_string_equal(cpus(&p.trainer[1]), "1,33");
    assert_string_equal(cpus(&p.worker[0]), "2-3,34-35");
}

static void put(const char *root, const char *device, const char *list)
{
    char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/bus", root);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/bus/pci", root);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/bus/pci/devices", root);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/bus/pci/devices/%s", root, device);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/bus/pci/devices/%s/local_cpulist", root, device);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(list, f);
    fclose(f);
}

/* As on a machine whose hwloc lists no PCI devices. */
static void sysfs_says_where_a_gpu_is(void **state)
{
    const struct sv_topology_source machine = {.synthetic = "pack:2 [numa] core:8 pu:1", .sysfs = *state};
    struct sv_placement p;

    put(*state, "0000:1b:00.0", "8-15\n");
    put(*state, "0000:43:00.0", "0-7\n");
    place(&machine, eight, 3, &p); /* of the third nothing is known: it goes to the node with most cores */
    assert_string_equal(cpus(&p.trainer[0]), "8-9");
    assert_string_equal(cpus(&p.trainer[1]), "0-1");
    assert_string_equal(cpus(&p.trainer[2]), "2-3");
}

static void garbage_in_sysfs_binds_nowhere_wrong(void **state)
{
    const struct sv_topology_source machine = {.synthetic = "pack:1 [numa] core:4 pu:1", .sysfs = *state};
    struct sv_placement p;

    put(*state, "0000:1b:00.0", "who knows\n");
    place(&machine, eight, 1, &p);
    assert_string_equal(cpus(&p.trainer[0]), "0-1");
    assert_int_equal(p.trainer[0].node, -1); /* one node: nothing to prefer */
}

static void a_broken_description_is_refused_with_a_sentence(void **state)
{
    const struct sv_topology_source machine = {.xml = "/nowhere/topology.xml", .sysfs = "/nowhere"};
    struct im_text text = {""};
    struct sv_placement p;

    (void)state;
    assert_int_equal(sv_topology_place(&machine, eight, 1, &p, &text), -ENODATA);
    assert_non_null(strstr(text.s, "/nowhere/topology.xml"));
}

static int enter_and_look(void *arg)
{
    const struct sv_place *place = arg;
    cpu_set_t now;

    sv_place_enter(place);
    if (sched_getaffinity(0, sizeof now, &now) < 0)
        return 2;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (!CPU_ISSET(cpu, &now) != !(place->cpus.bits[cpu / 64] >> (cpu % 64) & 1))
            return 1;
    return 0;
}

/* This machine: whatever it is, what is chosen on it can be entered. */
static void a_place_of_this_machine_can_be_entered(void **state)
{
    const struct sv_topology_source machine = {.sysfs = "/sys"};
    struct sv_placement p;

    (void)state;
    place(&machine, (const char[1][16]){"ffff:ff:1f.7"}, 1, &p);
    assert_true(p.applies);
    assert_string_not_equal(cpus(&p.trainer[0]), "");
    assert_int_equal(in_child(enter_and_look, &p.trainer[0]), 0);
    assert_int_equal(in_child(enter_and_look, &p.worker[0]), 0);
}

static void long_lists_are_cut_where_they_do_not_fit(void **state)
{
    struct sv_cpus odd = {0};
    char s[16];

    (void)state;
    for (unsigned cpu = 1; cpu < SV_CPUS_MAX; cpu += 2)
        odd.bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
    assert_string_equal(sv_format_cpus(&odd, s, sizeof s), "1,3,5,7,9,...");
    assert_string_equal(sv_format_cpus(&(struct sv_cpus){.bits = {[63] = UINT64_C(3) << 62}}, s, sizeof s),
                        "4094-4095");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_trainer_gets_two_cores_near_its_gpu),
        cmocka_unit_test(places_follow_the_order_of_the_ranks),
        cmocka_unit_test(workers_are_spread_over_the_rest_by_cores),
        cmocka_unit_test_setup_teardown(a_cpuset_is_respected, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(few_cores_are_shared_by_all, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(sysfs_says_where_a_gpu_is, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(garbage_in_sysfs_binds_nowhere_wrong, make_directory,
                                        remove_directory),
        cmocka_unit_test(a_broken_description_is_refused_with_a_sentence),
        cmocka_unit_test(a_place_of_this_machine_can_be_entered),
        cmocka_unit_test(long_lists_are_cut_where_they_do_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
