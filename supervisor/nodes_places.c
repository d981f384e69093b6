/* Where the machines of a run are, where no --nodes says it: the head tells all what it hears from each (cluster/link.h). It is kept
 * in shared memory for this command, and in a file of the run's folder for the same command started again, which may have to find
 * another node 0 than the one that its launcher names. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/file.h"
#include "ipc/base/number.h"
#include "supervisor/cluster/address.h"
#include "supervisor/cluster/link.h"
#include "supervisor/super.h"

#define FILE_MAX 16384

static void name_file(const char *folder, uint32_t machine, char ret[PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%.4000s/places-%" PRIu32 ".txt", folder, machine);
}

static bool is_good(const struct im_node_place *place)
{
    return memchr(place->address, 0, sizeof place->address) && sv_address_is_numeric(place->address) &&
           place->port >= 1 && place->port <= 65535;
}

/* What is in memory that others write is looked at before it is used. */
static uint32_t hosts_of_places(const struct im_node_place *place, uint32_t count, struct sv_machine_at *ret)
{
    uint32_t known = 0;

    for (uint32_t i = 0; i < count; i++) {
        ret[i] = (struct sv_machine_at){.port = 0};
        if (!is_good(&place[i]))
            continue;
        snprintf(ret[i].name, sizeof ret[i].name, "%s", place[i].address);
        ret[i].port = place[i].port;
        known++;
    }
    return known;
}

static uint32_t hosts_of_list(const struct im_conf *conf, struct sv_machine_at ret[IM_RANKS_MAX])
{
    const int count = sv_hosts_of(conf->nodes, (uint32_t)conf->node_port, ret, IM_RANKS_MAX);

    return count == conf->node_count && sv_hosts_differ(ret, (uint32_t)count) ? (uint32_t)count : 0;
}

bool sv_nodes_may_take_over(const struct im_conf *conf)
{
    struct sv_machine_at place[IM_RANKS_MAX];

    return sv_takeover_is_possible((uint32_t)conf->node_count, (uint32_t)conf->cluster_min_nodes) &&
           (!*conf->nodes || hosts_of_list(conf, place) > 0);
}

uint32_t sv_nodes_hosts(const struct im_conf *conf, const struct im_node_place *place,
                        struct sv_machine_at ret[IM_RANKS_MAX])
{
    const uint32_t count = (uint32_t)conf->node_count;
    uint32_t known = 0;

    memset(ret, 0, IM_RANKS_MAX * sizeof *ret);
    if (count > IM_RANKS_MAX || !sv_nodes_may_take_over(conf))
        return 0;
    if (*conf->nodes)
        known = hosts_of_list(conf, ret);
    else if (place)
        known = hosts_of_places(place, count, ret);
    return known >= sv_takeover_least(count, (uint32_t)conf->cluster_min_nodes, false) &&
                   sv_hosts_differ(ret, count)
               ? count
               : 0;
}

/* ---- the file ---- */

/* The folder that all machines of a run share, or each has of its own: RUN/nodes. */
static void folder_of(const struct sv_super *s, char ret[PATH_MAX])
{
    char *slash;

    snprintf(ret, PATH_MAX, "%s", s->conf.run_dir);
    slash = strrchr(ret, '/');
    if (sv_nodes_is_member(s) && slash)
        *slash = '\0';
    else
        snprintf(ret, PATH_MAX, "%.4000s/nodes", s->conf.run_dir);
}

static void write_file(struct sv_super *s, const struct im_node_place *place)
{
    const uint32_t nodes = (uint32_t)s->conf.node_count;
    const uint32_t machine =
        sv_takeover_machine((uint32_t)s->conf.node_index, (uint32_t)s->conf.node_head, nodes);
    char folder[PATH_MAX], path[PATH_MAX], bytes[FILE_MAX];
    size_t used = (size_t)snprintf(bytes, sizeof bytes, "%s\n", s->nodes.meeting.start);
    struct im_text text = {""};
    int err;

    if (!s->nodes.meeting.start[0])
        return;
    for (uint32_t i = 0; i < nodes && used + 128 < sizeof bytes; i++)
        if (is_good(&place[i]))
            used += (size_t)snprintf(bytes + used, sizeof bytes - used, "%" PRIu32 " %s %" PRIu32 "\n", i,
                                     place[i].address, place[i].port);
    folder_of(s, folder);
    name_file(folder, machine, path);
    err = im_mkdirs(folder, 0777, &text);
    if (err == 0)
        err = im_file_replace(path, bytes, used, &text);
    if (err < 0)
        sv_screen_warn(&s->screen, SV_WARN,
                       "%s; this command, started again after node 0 was lost, would not find another",
                       text.s);
}

/* "NODE ADDRESS PORT"; takes the line apart. */
static bool read_place(char *line, int64_t *ret_node, struct im_node_place *ret)
{
    const char *node = strsep(&line, " "), *address = strsep(&line, " "), *port = line;
    int64_t number;

    if (!port || strlen(address) >= sizeof ret->address)
        return false;
    number = im_whole_number(port);
    *ret_node = im_whole_number(node);
    *ret = (struct im_node_place){.port = number > 0 && number <= 65535 ? (uint32_t)number : 0};
    snprintf(ret->address, sizeof ret->address, "%s", address);
    return *ret_node >= 0 && *ret_node < IM_RANKS_MAX && is_good(ret);
}

uint32_t sv_nodes_places_read(const char *folder, uint32_t machine, const char *start,
                              struct im_node_place ret[IM_RANKS_MAX])
{
    char path[PATH_MAX], *bytes = NULL, *line, *rest;
    struct im_text ignored;
    uint32_t count = 0;
    size_t n;

    memset(ret, 0, IM_RANKS_MAX * sizeof *ret);
    name_file(folder, machine, path);
    if (im_read_file(path, FILE_MAX, &bytes, &n, &ignored) < 0)
        return 0;
    rest = bytes;
    line = strsep(&rest, "\n");
    if (strcmp(line, start) != 0)
        rest = NULL;
    while ((line = strsep(&rest, "\n"))) {
        struct im_node_place p;
        int64_t of;

        if (read_place(line, &of, &p)) {
            ret[of] = p;
            count++;
        }
    }
    free(bytes);
    return count;
}

/* ---- what the channel says ---- */

void sv_nodes_on_places(struct sv_super *s, const struct im_node_place *place, uint32_t count)
{
    const uint32_t nodes = (uint32_t)s->conf.node_count;
    struct im_node_place of[IM_RANKS_MAX] = {{.port = 0}};

    if (count != nodes || count > IM_RANKS_MAX)
        return;
    for (uint32_t i = 0; i < count; i++)
        of[sv_takeover_machine(i, (uint32_t)s->conf.node_head, nodes)] = place[i];
    if (memcmp(of, s->run.control->nodes_place, sizeof of) == 0)
        return;
    memcpy(s->run.control->nodes_place, of, sizeof of);
    write_file(s, of);
}
