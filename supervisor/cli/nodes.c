#include "supervisor/cli/nodes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/abi.h"
#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "supervisor/nodes.h"

#define LOOK_NS IM_SECOND               /* for a head, at the start */
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

static int look(struct im_conf *conf, const struct sv_machine_at *place, bool lost,
                bool (*leave)(void *context), struct im_text *text)
{
    const struct sv_look_config config = {.place = place,
                                          .count = (uint32_t)conf->node_count,
                                          .self = (uint32_t)conf->node,
                                          .min_nodes = (uint32_t)conf->cluster_min_nodes,
                                          .patience = (im_ns)(conf->cluster_timeout * 1e9),
                                          .say = conf->quiet ? NULL : say,
                                          .leave = leave};
    enum sv_seen seen[IM_RANKS_MAX];
    uint32_t head = 0;

    if (lost)
        return sv_look_for_head(&config, text);
    sv_look(place, config.count, config.self, -1, LOOK_NS, seen);
    while (head < config.count && (head == config.self || seen[head] != SV_SEEN_HEAD))
        head++;
    return head < config.count ? (int)head : 0;
}

int sv_nodes_find_head(struct im_conf *conf, const struct sv_launch *launch, bool (*leave)(void *context),
                       bool *ret_takes_over, im_ns *ret_began, struct im_text *text)
{
    const char *began = getenv(SV_NODES_LOST);
    struct sv_machine_at place[IM_RANKS_MAX];
    int head;

    *ret_takes_over = false;
    *ret_began = began ? (im_ns)strtoll(began, NULL, 10) : 0;
    conf->node_port = sv_meet_port(launch->job);
    if (conf->node_count == 1 || conf->dry_run || sv_nodes_hosts(conf, place) == 0)
        return 0;
    head = look(conf, place, began != NULL, leave, text);
    if (head < 0)
        return head;
    if (began) {
        shorten_time_limit(conf, *ret_began);
        *ret_takes_over = head == (int)conf->node;
        unsetenv(SV_NODES_LOST);
    }
    conf->node_head = head;
    conf->node_index = sv_takeover_node((uint32_t)conf->node, (uint32_t)head, (uint32_t)conf->node_count);
    if (head != 0 || *ret_began > 0)
        im_say(stderr, "imsuper: %s (machine %d of --nodes) is node 0%s", place[head].name, head,
               head == (int)conf->node ? ", and takes over the run" : "");
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

int sv_nodes_execute_again(im_ns began, int status)
{
    char **words = own_words(), since[32];

    snprintf(since, sizeof since, "%" PRId64, (int64_t)began);
    if (words && *words && setenv(SV_NODES_LOST, since, 1) == 0)
        execv("/proc/self/exe", words);
    im_say(stderr, "imsuper: cannot look for another node 0: %s; the same commands continue the run",
           strerror(errno));
    return status;
}

/* ---- meeting ---- */

int sv_nodes_meet(struct im_conf *conf, const struct sv_launch *launch, bool (*leave)(void *context),
                  struct sv_meeting *ret, struct im_text *text)
{
    char head[SV_HOST_MAX] = "";
    struct sv_meet_config config = {.nodes = (uint32_t)conf->node_count,
                                    .node = (uint32_t)conf->node_index,
                                    .head = head,
                                    .job = launch->job,
                                    .pmi_fd = -1,
                                    .key_file = conf->cluster_key,
                                    .patience = (im_ns)(conf->cluster_timeout * 1e9),
                                    .say = conf->quiet ? NULL : say,
                                    .leave = leave};
    int err;

    if (*conf->nodes) {
        struct sv_machine_at place[IM_RANKS_MAX];

        sv_hosts_of(conf->nodes, (uint32_t)conf->node_port, place, IM_RANKS_MAX); /* sv_nodes_choose() */
        snprintf(head, sizeof head, "%s", place[conf->node_head].name);
        config.port = place[conf->node_head].port;
    } else {
        snprintf(head, sizeof head, "%s", launch->root);
        config.port = launch->port;
        /* A server of PMI counts processes; where several of a machine are one node, it cannot be used. */
        config.pmi_fd = launch->tasks == launch->nodes ? launch->pmi_fd : -1;
    }
    err = sv_meet(&config, ret, text);
    if (err < 0)
        return err;
    if (launch->starts_once && conf->origin[IM_KEY_cluster_timeout].source == IM_CONF_DEFAULT)
        ret->patience_back = KILLED_TASK_NS;
    snprintf(conf->node_address, sizeof conf->node_address, "%s", ret->here);
    return 0;
}
