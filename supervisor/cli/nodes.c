#include "supervisor/cli/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/abi.h"
#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "ipc/base/fault.h"
#include "ipc/base/number.h"
#include "ipc/base/printable.h"
#include "supervisor/cluster/pass.h"
#include "supervisor/nodes.h"

#define NAMES_NS (10 * IM_SECOND)       /* for names to resolve, at the start */
#define KILLED_TASK_NS (20 * IM_SECOND) /* for a process that only a loop in its own task would start again */

/* ---- --nodes ---- */

static uint32_t count_hosts(const char *list)
{
    uint32_t count = 1;

    for (const char *p = list; *p; p++)
        count += *p == ',';
    return count;
}

/* Each entry is there, and has nothing that no host has. */
static bool is_list(const char *list)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";

    while (strspn(list, good) > 0) {
        list += strspn(list, good);
        if (*list == '\0')
            return true;
        if (*list++ != ',')
            return false;
    }
    return false;
}

static int choose_by_hand(struct im_conf *conf, struct im_text *text)
{
    const uint32_t count = count_hosts(conf->nodes);
    struct sv_machine_at place[IM_RANKS_MAX];

    if (count >= 2 && count <= IM_RANKS_MAX &&
        (!is_list(conf->nodes) || sv_hosts_of(conf->nodes, 1, place, IM_RANKS_MAX) < 0))
        return im_fail(text, -EINVAL,
                       "--nodes %.200s: expected names or addresses with commas between them, "
                       "each perhaps with a port, such as node1:29500,node2",
                       conf->nodes);
    if (count < 2 || count > IM_RANKS_MAX)
        return im_fail(text, -EINVAL, "--nodes names %" PRIu32 " machine(s); expected 2 to %d", count,
                       IM_RANKS_MAX);
    if (conf->node < 0)
        return im_fail(text, -EINVAL,
                       "--nodes needs --node N on each machine, from 0 for the first (%.100s) to %" PRIu32,
                       place[0].name, count - 1);
    if (conf->node >= (int64_t)count)
        return im_fail(text, -EINVAL,
                       "--node %" PRId64 ": --nodes names %" PRIu32 " machines, numbered from 0", conf->node,
                       count);
    conf->node_count = count;
    conf->node_index = conf->node;
    return 0;
}

int sv_nodes_choose(struct im_conf *conf, const struct sv_launch *launch, struct im_text *text)
{
    static const enum im_conf_key_id keys[] = {IM_KEY_node, IM_KEY_cluster_key, IM_KEY_cluster_timeout,
                                               IM_KEY_cluster_wait, IM_KEY_cluster_min_nodes};

    conf->node_count = 1;
    conf->node_index = 0;
    if (*conf->nodes)
        return choose_by_hand(conf, text);
    if (launch->nodes > 1) {
        if (launch->nodes > IM_RANKS_MAX)
            return im_fail(text, -EINVAL, "%s runs processes on %" PRIu32 " machines; a run uses at most %d",
                           launch->launcher, launch->nodes, IM_RANKS_MAX);
        conf->node_count = launch->nodes;
        conf->node_index = launch->node;
        return 0;
    }
    for (size_t i = 0; i < IM_COUNT(keys); i++)
        if (conf->origin[keys[i]].source == IM_CONF_FLAG)
            return im_fail(text, -EINVAL, "%s has no effect without nodes, or a launcher of several machines",
                           im_conf_name(keys[i]));
    return 0;
}

/* ---- the part of a machine ---- */

static const char *needs_one_machine(const struct im_conf *conf)
{
    return conf->lr_range_test ? "an LR range test"
           : conf->evaluate    ? "an evaluation"
           : conf->consume     ? "a measurement of the data"
                               : NULL;
}

int sv_nodes_part(struct im_conf *conf, struct im_text *text)
{
    const char *what = needs_one_machine(conf);
    char workspace[IM_CONF_TEXT_BYTES];

    if (conf->node_count == 1)
        return 0;
    if (conf->cluster_min_nodes > conf->node_count)
        return im_fail(text, -EINVAL, "--cluster-min-nodes %" PRId64 ": the run has %" PRId64 " machines",
                       conf->cluster_min_nodes, conf->node_count);
    if (what)
        return im_fail(text, -EINVAL, "%s uses one machine, and this is one of %" PRId64, what,
                       conf->node_count);
    if (!conf->run_name[0])
        return im_fail(text, -EINVAL,
                       "a run on several machines needs a name, the same on all: add --run-name NAME");
    if (conf->node_index == 0)
        return 0;
    if (snprintf(workspace, sizeof workspace, "%s/%s/nodes", conf->workspace, conf->run_name) >=
        (int)sizeof workspace)
        return im_fail(text, -EINVAL, "--workspace: the path is too long");
    snprintf(conf->workspace, sizeof conf->workspace, "%s", workspace);
    snprintf(conf->run_name, sizeof conf->run_name, "node%" PRIu32, /* a machine's folder stays its own */
             sv_takeover_machine((uint32_t)conf->node_index, (uint32_t)conf->node_head,
                                 (uint32_t)conf->node_count));
    conf->resume[0] = '\0'; /* node 0 reads it, and sends it */
    return 0;
}

void sv_nodes_enter_run(struct im_conf *conf, char ret_own[PATH_MAX])
{
    char *slash;

    snprintf(ret_own, PATH_MAX, "%s", conf->run_dir);
    for (int up = 0; up < 2 && conf->node_index > 0; up++) { /* nodes/nodeN */
        slash = strrchr(conf->run_dir, '/');
        if (slash)
            *slash = '\0';
    }
}

void sv_nodes_leave_run(struct im_conf *conf, const char own[PATH_MAX])
{
    snprintf(conf->run_dir, sizeof conf->run_dir, "%s", own);
}

/* ---- which machine is the head ---- */

static void say(void *context, const char *line)
{
    (void)context;
    im_say(stderr, "imsuper: %s", line);
}

/* What is left of it: it is counted from the first start of this command. */
static void shorten_time_limit(struct im_conf *conf, im_ns began)
{
    double limit;

    if (im_conf_duration(conf->time_limit, &limit) < 0 || limit <= 0)
        return;
    limit -= (double)(im_now() - began) / 1e9;
    snprintf(conf->time_limit, sizeof conf->time_limit, "%.0fs", limit > 1 ? limit : 1);
}

/* What a command that lost its head has handed on. */
static int take_before(struct sv_nodes_found *ret, struct im_text *text)
{
    const char *value = getenv(SV_NODES_LOST), *second;
    char first[32];
    int64_t began, fd;
    int err;

    if (!value)
        return 0;
    second = strchr(value, ' ');
    snprintf(first, sizeof first, "%.*s", second ? (int)(second - value) : 0, value);
    began = im_whole_number(first);
    fd = second ? im_whole_number(second + 1) : -1;
    if (began < 0 || fd < 0 || fd > INT_MAX)
        return im_fail(text, -EINVAL, "%s=%s: expected a time and a descriptor", SV_NODES_LOST, value);
    err = sv_meeting_take((int)fd, -1, &ret->before, text);
    if (err < 0)
        return err;
    close((int)fd);
    unsetenv(SV_NODES_LOST);
    ret->began = (im_ns)began;
    ret->has_before = true;
    return 0;
}

/* Which start this is, for a file that an earlier one of the same has left. */
static void name_start(const struct im_conf *conf, const struct sv_launch *launch, char *ret, size_t n)
{
    snprintf(ret, n, "machines=%" PRId64 " head=%s port=%" PRIu32 " job=%" PRIu64, conf->node_count,
             launch->root, launch->port, launch->job);
}

static void read_places(const struct im_conf *conf, const struct sv_launch *launch, struct sv_meeting *ret)
{
    char folder[PATH_MAX], start[sizeof ret->start];

    if (*conf->nodes || launch->pmi_fd >= 0)
        return;
    name_start(conf, launch, start, sizeof start);
    snprintf(folder, sizeof folder, "%.2000s/%.1000s/nodes", conf->workspace, conf->run_name);
    sv_nodes_places_read(folder, (uint32_t)conf->node_index, start, ret->place);
}

/* A killed task of srun is not started again: nobody else will come. */
static im_ns patience_of(const struct im_conf *conf, const struct sv_launch *launch, im_ns otherwise)
{
    return launch->starts_once && conf->origin[IM_KEY_cluster_timeout].source == IM_CONF_DEFAULT
               ? KILLED_TASK_NS
               : otherwise;
}

static int look(struct im_conf *conf, const struct sv_launch *launch, const struct sv_machine_at *place,
                bool lost, bool (*leave)(void *context), struct im_text *text)
{
    const im_ns patience = (im_ns)(conf->cluster_timeout * 1e9);
    const struct sv_look_config config = {.place = place,
                                          .count = (uint32_t)conf->node_count,
                                          .self = (uint32_t)conf->node_index,
                                          .min_nodes = (uint32_t)conf->cluster_min_nodes,
                                          .patience = patience_of(conf, launch, patience),
                                          .say = conf->quiet ? NULL : say,
                                          .leave = leave};
    uint32_t head = 0;
    struct sv_look *l;

    if (lost)
        return sv_look_for_head(&config, text);
    l = calloc(1, sizeof *l);
    if (!l)
        return im_fail(text, -ENOMEM, "no memory to look for node 0");
    sv_look_once(l, place, config.count, config.self, NAMES_NS, leave);
    while (head < config.count && (head == config.self || l->seen[head] != SV_SEEN_HEAD))
        head++;
    sv_look_end(l);
    free(l);
    return head < config.count ? (int)head : 0;
}

int sv_nodes_find_head(struct im_conf *conf, const struct sv_launch *launch, bool (*leave)(void *context),
                       struct sv_nodes_found *ret, struct im_text *text)
{
    struct sv_machine_at place[IM_RANKS_MAX];
    const uint32_t machine = (uint32_t)conf->node_index;
    int head, err;

    conf->node_port = sv_meet_port(launch->job);
    if (conf->node_count == 1 || conf->dry_run)
        return 0;
    err = take_before(ret, text);
    if (err < 0)
        return err;
    if (!ret->has_before && !ret->looks_again)
        read_places(conf, launch, &ret->before);
    if (sv_nodes_hosts(conf, ret->before.place, place) == 0)
        return 0;
    head = look(conf, launch, place, ret->has_before || ret->looks_again, leave, text);
    if (head < 0)
        return head;
    IM_FAULT("nodes.looked");
    if (ret->has_before)
        shorten_time_limit(conf, ret->began);
    ret->takes_over = ret->has_before && head == (int)machine;
    conf->node_head = head;
    conf->node_index = sv_takeover_node(machine, (uint32_t)head, (uint32_t)conf->node_count);
    if (head != 0 || ret->has_before || ret->looks_again)
        im_say(stderr, "imsuper: %s (machine %d%s) is node 0%s", place[head].name, head,
               *conf->nodes ? " of --nodes" : "", ret->takes_over ? ", and takes over the run" : "");
    return 0;
}

/* The words of this command's line, malloc'ed, ended by a NULL; NULL: they cannot be read. */
static char **own_words(void)
{
    FILE *file = fopen("/proc/self/cmdline", "re");
    char **words = NULL, **grown, *word = NULL;
    size_t count = 0, n = 0;

    while (file && getdelim(&word, &n, '\0', file) > 0) {
        grown = realloc(words, (count + 2) * sizeof *words);
        if (!grown)
            break;
        words = grown;
        words[count++] = word;
        words[count] = word = NULL;
        n = 0;
    }
    free(word);
    if (file)
        fclose(file);
    return words;
}

bool sv_nodes_has_lost_head(const struct im_conf *conf, const struct im_control *control, int status)
{
    return status == IM_EXIT_RESUMABLE && conf->node_count > 1 &&
           atomic_load_explicit(&control->node_lost, memory_order_relaxed) == IM_NODE_LOST;
}

/* Where not all took part, batches have other numbers. */
void sv_nodes_keep(const struct im_control *control, struct sv_meeting *ret)
{
    const uint64_t furthest = atomic_load_explicit(&control->furthest_position, memory_order_relaxed);
    const bool all = atomic_load_explicit(&control->node_share, memory_order_relaxed) == 0;

    memcpy(ret->place, control->nodes_place, sizeof control->nodes_place);
    ret->reached = all && furthest > 0 ? furthest - 1 : 0;
}

int sv_nodes_execute_again(im_ns began, const struct sv_meeting *meeting, int status)
{
    char **words = own_words(), since[64];
    struct im_text text = {""};
    int fd = -1;

    if (words && *words && sv_meeting_pass(meeting, &fd, &text) == 0 && fcntl(fd, F_SETFD, 0) == 0) {
        snprintf(since, sizeof since, "%" PRId64 " %d", (int64_t)began, fd);
        if (setenv(SV_NODES_LOST, since, 1) == 0)
            execv("/proc/self/exe", words);
    }
    im_say(stderr, "imsuper: cannot look for another node 0: %s; the same commands continue the run",
           text.s[0] ? text.s : strerror(errno));
    return status;
}

const char *sv_nodes_describe_succession(const struct im_conf *conf, struct im_text *ret)
{
    const uint32_t n = (uint32_t)conf->node_count, min = (uint32_t)conf->cluster_min_nodes;

    ret->s[0] = '\0';
    if (n == 2)
        im_fail(ret, 0,
                "where node 0 is lost, the other machine waits for it, saves and ends: of two none is more "
                "than half");
    else if (n > 2 && sv_nodes_may_take_over(conf))
        im_fail(ret, 0,
                "where node 0 is lost, another machine takes over, if %" PRIu32 " of the %" PRIu32
                " are there",
                sv_takeover_least(n, min, false), n);
    else if (n > 2)
        im_fail(ret, 0, "where node 0 is lost, the others wait for it, save and end: %s",
                2 * min <= n && min > 0
                    ? "with --cluster-min-nodes of half or less, two sides of a cut could go on"
                    : "--nodes names an address and port twice");
    return ret->s;
}

/* ---- meeting ---- */

/* Where machine `node_head` is. */
static int place_head(const struct im_conf *conf, const struct sv_launch *launch,
                      const struct sv_meeting *before, char ret[SV_HOST_MAX], uint32_t *ret_port,
                      struct im_text *text)
{
    const bool launched = conf->node_head == 0 && before->way != SV_MEET_PMI;
    struct sv_machine_at place[IM_RANKS_MAX];

    if (!*conf->nodes && (launched || sv_nodes_hosts(conf, before->place, place) == 0)) {
        snprintf(ret, SV_HOST_MAX, "%s", launch->root);
        *ret_port = launch->port;
        return 0;
    }
    if (*conf->nodes)
        sv_hosts_of(conf->nodes, (uint32_t)conf->node_port, place, IM_RANKS_MAX); /* sv_nodes_choose() */
    if (!place[conf->node_head].name[0])
        return im_fail(text, -EINVAL, "machine %" PRId64 " is to be node 0, and its address is not known",
                       conf->node_head);
    snprintf(ret, SV_HOST_MAX, "%s", place[conf->node_head].name);
    *ret_port = place[conf->node_head].port;
    return 0;
}

int sv_nodes_meet(struct im_conf *conf, const struct sv_launch *launch, const struct sv_nodes_found *found,
                  bool (*leave)(void *context), struct sv_meeting *ret, struct im_text *text)
{
    char head[SV_HOST_MAX] = "";
    struct sv_meet_config config = {.nodes = (uint32_t)conf->node_count,
                                    .node = (uint32_t)conf->node_index,
                                    .head = head,
                                    .head_machine = (uint32_t)conf->node_head,
                                    .job = launch->job,
                                    .pmi_fd = -1,
                                    .before = &found->before,
                                    .key_file = conf->cluster_key,
                                    .patience = (im_ns)(conf->cluster_timeout * 1e9),
                                    .say = conf->quiet ? NULL : say,
                                    .leave = leave};
    int err = place_head(conf, launch, &found->before, head, &config.port, text);

    /* A server of PMI counts processes; where several of a machine are one node, it cannot be used. */
    if (!*conf->nodes && launch->tasks == launch->nodes && !found->has_before)
        config.pmi_fd = launch->pmi_fd;
    if (err == 0)
        err = sv_meet(&config, ret, text);
    if (err < 0)
        return err;
    ret->takes_over = found->takes_over;
    ret->reached = found->before.reached;
    ret->patience_back = patience_of(conf, launch, 0);
    if (!*conf->nodes && ret->way != SV_MEET_PMI)
        name_start(conf, launch, ret->start, sizeof ret->start);
    snprintf(conf->node_address, sizeof conf->node_address, "%s", ret->here);
    return 0;
}
