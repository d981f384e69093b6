#include "supervisor/cli/nodes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/abi.h"
#include "ipc/base/count.h"
#include "ipc/base/printable.h"

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

static bool read_port(const char *text, uint32_t *ret)
{
    char *end;
    const unsigned long port = strtoul(text, &end, 10);

    *ret = (uint32_t)port;
    return end != text && *end == '\0' && port >= 1 && port <= 65535;
}

/* "host", "host:port", "address", "[IPv6]:port"; the first of a list; *ret_port 0: it names none. 0 or -EINVAL. */
static int split_head(const char *list, char host[SV_HOST_MAX], uint32_t *ret_port)
{
    const size_t n = strcspn(list, ",");
    char *port = NULL;

    *ret_port = 0;
    if (n == 0 || n >= SV_HOST_MAX)
        return -EINVAL;
    memcpy(host, list, n);
    host[n] = '\0';
    if (*host == '[') {
        port = strchr(host, ']');
        if (!port || (port[1] != '\0' && port[1] != ':'))
            return -EINVAL;
        *port++ = '\0';
        port = *port == ':' ? port + 1 : NULL;
        memmove(host, host + 1, strlen(host));
    } else if (strchr(host, ':') && strchr(host, ':') == strrchr(host, ':')) { /* more are an IPv6 address */
        port = strchr(host, ':');
        *port++ = '\0';
    }
    return *host && (!port || read_port(port, ret_port)) ? 0 : -EINVAL;
}

static int choose_by_hand(struct im_conf *conf, struct im_text *text)
{
    const uint32_t count = count_hosts(conf->nodes);
    char host[SV_HOST_MAX];
    uint32_t port;

    if (!is_list(conf->nodes) || split_head(conf->nodes, host, &port) < 0)
        return im_fail(text, -EINVAL,
                       "--nodes %.200s: expected names or addresses with commas between them, the "
                       "first perhaps with a port, such as node1:29500,node2",
                       conf->nodes);
    if (count < 2 || count > IM_RANKS_MAX)
        return im_fail(text, -EINVAL, "--nodes names %" PRIu32 " machine(s); expected 2 to %d", count,
                       IM_RANKS_MAX);
    if (conf->node < 0)
        return im_fail(text, -EINVAL,
                       "--nodes needs --node N on each machine, from 0 for the first (%.100s) to %" PRIu32,
                       host, count - 1);
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
    snprintf(conf->run_name, sizeof conf->run_name, "node%" PRId64, conf->node_index);
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

/* ---- meeting ---- */

static void say(void *context, const char *line)
{
    (void)context;
    im_say(stderr, "imsuper: %s", line);
}

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
        split_head(conf->nodes, head, &config.port);
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
