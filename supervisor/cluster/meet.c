#include "supervisor/cluster/meet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/ctl.h"
#include "supervisor/cluster/address.h"
#include "supervisor/cluster/pmi.h"
#include "supervisor/cluster/takeover.h"

#define SAY_NS (10 * IM_SECOND)
#define LOOK_NS (100 * IM_MS)
#define AGAIN_NS IM_SECOND
#define PROBE_NS (2 * IM_SECOND)

uint32_t sv_meet_port(uint64_t job)
{
    return 26800 + (uint32_t)(job % 1000);
}

/* ---- waiting ---- */

struct wait {
    const struct sv_meet_config *config;
    im_ns since, said;
};

static struct wait wait_of(const struct sv_meet_config *config)
{
    return (struct wait){config, im_now(), im_now()};
}

/* One second of it, with `what` as the reason. 0: look again; -ETIMEDOUT; -EINTR. */
static int wait_on(struct wait *w, const struct im_text *what, struct im_text *text)
{
    const im_ns until = im_now() + AGAIN_NS;
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    struct im_text line;

    if (im_now() - w->since >= w->config->patience)
        return im_fail(text, -ETIMEDOUT, "%s; waited for %.0f s", what->s,
                       (double)w->config->patience / IM_SECOND);
    while (im_now() < until) {
        if (w->config->leave && w->config->leave(w->config->context))
            return im_fail(text, -EINTR, "asked to end while waiting for other machines");
        nanosleep(&pause, NULL);
    }
    if (w->config->say && im_now() - w->said >= SAY_NS) {
        w->said = im_now();
        im_fail(&line, 0, "waiting since %.0f s: %s", (double)(im_now() - w->since) / IM_SECOND, what->s);
        w->config->say(w->config->context, line.s);
    }
    return 0;
}

/* ---- with PMI ---- */

static void hex_of(const char *key, char ret[65])
{
    uint8_t bytes[32];

    sv_key_bytes(key, bytes);
    for (int i = 0; i < 32; i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

static int key_of_hex(const char *hex, char ret[SV_KEY_CHARS])
{
    uint8_t bytes[32];

    if (strlen(hex) != 64 || strspn(hex, "0123456789abcdef") != 64)
        return -EINVAL;
    for (int i = 0; i < 32; i++) {
        const char two[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

        bytes[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    sv_key_of_bytes(bytes, ret);
    return 0;
}

static int get_key(struct sv_pmi *p, uint32_t node, char ret[SV_KEY_CHARS], struct im_text *text)
{
    char name[32], value[SV_PMI_VALUE_MAX];
    int err;

    snprintf(name, sizeof name, "imsuper-key-%u", node);
    err = sv_pmi_get(p, name, value, text);
    if (err == 0 && key_of_hex(value, ret) < 0)
        err = im_fail(text, -EPROTO, "what node %u has put as its key is none", node);
    return err;
}

static int put_mine(struct sv_pmi *p, struct sv_meeting *m, struct im_text *text)
{
    char name[32], value[SV_PMI_VALUE_MAX];
    size_t n;
    int err;

    snprintf(name, sizeof name, "imsuper-key-%u", m->node);
    hex_of(m->keys.open, value);
    err = sv_pmi_put(p, name, value, text);
    if (err < 0 || m->node > 0)
        return err;
    n = (size_t)snprintf(value, sizeof value, "%u;", m->port);
    sv_address_candidates(value + n, sizeof value - n);
    return sv_pmi_put(p, "imsuper-head", value, text);
}

/* The keys that the head lets in, this one or one after it: of each node its own. */
static int get_members(struct sv_pmi *p, struct sv_meeting *m, struct im_text *text)
{
    int err = 0;

    m->keys.member = calloc(m->nodes, sizeof *m->keys.member);
    if (!m->keys.member)
        return -ENOMEM;
    m->keys.members = m->nodes;
    for (uint32_t i = 0; i < m->nodes && err == 0; i++)
        err = get_key(p, i, m->keys.member[i], text);
    return err;
}

static bool is_reached(struct sv_meeting *m, const char *host, bool loopback)
{
    struct im_text ignored;
    struct sv_address a;

    return *host && strlen(host) < sizeof m->head && sv_address_of(host, m->port, &a, &ignored) == 0 &&
           sv_address_is_loopback(&a) == loopback && sv_address_probe(&a, PROBE_NS) == 0 &&
           sv_address_towards(&a, m->here) == 0;
}

/* Tries the head's names and addresses in their order, those of this machine itself last: the first at which something
 * listens. */
static int try_candidates(struct sv_meeting *m, const char *list, struct im_text *why)
{
    for (int loopback = 0; loopback < 2; loopback++) {
        char copy[SV_PMI_VALUE_MAX], *rest = copy;

        snprintf(copy, sizeof copy, "%s", list);
        for (char *host = strsep(&rest, ";"); host; host = strsep(&rest, ";"))
            if (is_reached(m, host, loopback)) {
                snprintf(m->head, sizeof m->head, "%s", host);
                return 0;
            }
    }
    return im_fail(why, -ETIMEDOUT,
                   "no address of the head answers on port %u (%s): does a firewall stand between?", m->port,
                   list);
}

static int find_head(const struct sv_meet_config *config, struct sv_meeting *m, const char *value,
                     struct im_text *text)
{
    struct wait wait = wait_of(config);
    struct im_text why;
    char *end;
    int err = 0;

    m->port = (uint32_t)strtoul(value, &end, 10);
    if (m->port == 0 || m->port > 65535 || *end != ';')
        return im_fail(text, -EPROTO, "what the head has put as its address is none: \"%.200s\"", value);
    while (err == 0 && try_candidates(m, end + 1, &why) < 0)
        err = wait_on(&wait, &why, text);
    return err;
}

/* Of the head that listens everywhere: its first address that is not of the loopback interface, or else that. */
static void take_own_address(struct sv_meeting *m)
{
    char list[SV_PMI_VALUE_MAX], *rest = list;
    struct sv_address a;

    sv_address_candidates(list, sizeof list);
    if (!m->head[0])
        snprintf(m->head, sizeof m->head, "%.*s", (int)strcspn(list, ";"), list);
    strsep(&rest, ";"); /* the name */
    if (rest)
        snprintf(m->here, sizeof m->here, "%.*s", (int)strcspn(rest, ";"), rest);
    if (!m->here[0] || sv_address_of(m->here, m->port, &a, NULL) < 0)
        snprintf(m->here, sizeof m->here, "127.0.0.1");
}

static int exchange(const struct sv_meet_config *config, struct sv_pmi *p, struct sv_meeting *m,
                    struct im_text *text)
{
    char value[SV_PMI_VALUE_MAX];
    int err = sv_pmi_init(p, config->pmi_fd, text);

    if (err == 0)
        err = put_mine(p, m, text);
    if (err == 0)
        err = sv_pmi_barrier(p, text);
    if (err == 0)
        err = get_key(p, 0, m->keys.head, text);
    if (err == 0)
        err = get_members(p, m, text);
    if (err == 0 && m->node > 0)
        err = sv_pmi_get(p, "imsuper-head", value, text);
    if (err == 0)
        err = sv_pmi_finalize(p, text);
    if (err == 0 && m->node > 0)
        err = find_head(config, m, value, text);
    return err;
}

static int meet_by_pmi(const struct sv_meet_config *config, struct sv_meeting *m, struct im_text *text)
{
    struct sv_pmi p = {
        .patience = config->patience, .say = config->say, .leave = config->leave, .context = config->context};
    int err = sv_keys_pair(m->keys.open, m->keys.secret, text);

    m->way = SV_MEET_PMI;
    if (err < 0)
        return err;
    fcntl(config->pmi_fd, F_SETFD, FD_CLOEXEC);
    if (m->node == 0) {
        m->listener = sv_address_listen_everywhere(config->port ? config->port : sv_meet_port(config->job));
        if (m->listener == -EADDRINUSE && !config->port)
            m->listener = sv_address_listen_everywhere(0);
        if (m->listener < 0)
            return im_fail(text, m->listener, "cannot listen on port %u: %s", config->port,
                           strerror(-m->listener));
        m->port = sv_address_port(m->listener);
        take_own_address(m);
    }
    return exchange(config, &p, m, text);
}

/* ---- without PMI ---- */

/* The head listens at its own address; on all where that is none of this machine (a service's, or translated), or only
 * this machine's. */
static int listen_at(struct sv_meeting *m, const struct sv_address *a, bool known, struct im_text *text)
{
    const bool everywhere = m->way == SV_MEET_KEY_FILE && (!known || sv_address_hides(a, m->head));

    m->listener = everywhere ? -EADDRNOTAVAIL : sv_address_listen(a);
    if (m->listener >= 0)
        sv_address_show(a, m->here);
    if (m->listener == -EADDRNOTAVAIL && m->way == SV_MEET_KEY_FILE)
        m->listener = sv_address_listen_everywhere(m->port);
    if (m->listener >= 0 && !m->here[0])
        take_own_address(m);
    if (m->listener >= 0)
        return 0;
    if (m->listener == -EADDRINUSE)
        return im_fail(text, -EADDRINUSE,
                       "port %u of this machine is taken: another run listens there, or another program; "
                       "choose another on all "
                       "machines, with --nodes HOST:PORT,... or where a launcher names it (MASTER_PORT)",
                       m->port);
    return im_fail(text, m->listener, "cannot listen at %s port %u: %s", m->head, m->port,
                   strerror(-m->listener));
}

/* The head's address; waits for a name that does not resolve yet. */
static int resolve(const struct sv_meet_config *config, struct sv_meeting *m, struct sv_address *ret,
                   struct im_text *text)
{
    struct wait wait = wait_of(config);
    struct im_text why = {""};
    int err;

    while ((err = sv_address_of(m->head, m->port, ret, &why)) == -EAGAIN) {
        if (m->node == 0 && m->way == SV_MEET_KEY_FILE)
            return -EAGAIN; /* the head needs no name of its own */
        err = wait_on(&wait, &why, text);
        if (err < 0)
            return err;
    }
    if (err < 0)
        im_fail(text, err, "%s", why.s);
    return err;
}

/* Between processes of one user on one machine: whoever comes first makes the key. */
static int loopback_key(struct sv_meeting *m, struct im_text *text)
{
    char folder[PATH_MAX], path[PATH_MAX + 64], own[PATH_MAX + 96];
    int err = im_ctl_directory(folder, text);

    if (err < 0)
        return err;
    snprintf(path, sizeof path, "%s/cluster-%u.key", folder, m->port);
    if (access(path, F_OK) < 0) {
        snprintf(own, sizeof own, "%s.%ld", path, (long)getpid());
        unlink(own);
        err = sv_key_file_make(own, text);
        if (err < 0)
            return err;
        if (link(own, path) < 0 && errno != EEXIST)
            err = im_fail(text, -errno, "cannot make the key %s: %s", path, strerror(errno));
        unlink(own);
    }
    return err < 0 ? err : sv_key_file_read(path, m->node == 0, &m->keys, text);
}

static int take_keys(const struct sv_meet_config *config, struct sv_meeting *m, const struct sv_address *head,
                     bool known, struct im_text *text)
{
    char address[SV_ADDRESS_MAX] = "";

    if (m->way == SV_MEET_KEY_FILE)
        return sv_key_file_read(config->key_file, m->node == 0, &m->keys, text);
    if (known && sv_address_is_loopback(head))
        return loopback_key(m, text);
    if (known)
        sv_address_show(head, address);
    return im_fail(text, -EINVAL,
                   "the head %s (%s) has not an address of one machine alone (127.0.0.1): that needs a key. "
                   "Make one with imsuper "
                   "cluster key FILE, "
                   "copy it to all machines and name it with --cluster-key FILE; under Slurm, srun "
                   "--mpi=pmi2 needs none",
                   m->head, address);
}

static int meet_by_address(const struct sv_meet_config *config, struct sv_meeting *m, struct im_text *text)
{
    struct sv_address head;
    bool known;
    int err;

    m->way = config->key_file && *config->key_file ? SV_MEET_KEY_FILE : SV_MEET_LOOPBACK;
    m->port = config->port ? config->port : sv_meet_port(config->job);
    if (!config->head || !*config->head)
        return im_fail(text, -EINVAL,
                       "node %u of %u has no address of the head: name it with MASTER_ADDR, or all of them "
                       "with --nodes",
                       m->node, m->nodes);
    if (strlen(config->head) >= sizeof m->head)
        return im_fail(text, -EINVAL, "the head's name is too long: %.64s...", config->head);
    memcpy(m->head, config->head, strlen(config->head));
    err = sv_keys_available(text);
    if (err == 0 && m->way == SV_MEET_KEY_FILE) /* before any waiting */
        err = take_keys(config, m, NULL, false, text);
    if (err < 0)
        return err;
    err = resolve(config, m, &head, text);
    known = err == 0;
    if (err < 0 && err != -EAGAIN)
        return err;
    if (m->way == SV_MEET_LOOPBACK) {
        err = take_keys(config, m, &head, known, text);
        if (err < 0)
            return err;
    }
    if (m->node == 0)
        return listen_at(m, &head, known, text);
    if (sv_address_towards(&head, m->here) < 0)
        snprintf(m->here, sizeof m->here, "127.0.0.1");
    return 0;
}

/* ---- again, with keys that PMI gave ---- */

/* Keys are kept by node, and nodes are numbered from the head. */
static int take_keys_again(const struct sv_meeting *before, uint32_t head, struct sv_meeting *m)
{
    const uint32_t n = m->nodes;

    if (!before->keys.member || before->keys.members != n || before->nodes != n)
        return -EINVAL;
    memcpy(m->keys.open, before->keys.open, SV_KEY_CHARS);
    memcpy(m->keys.secret, before->keys.secret, SV_KEY_CHARS);
    m->keys.member = calloc(n, sizeof *m->keys.member);
    if (!m->keys.member)
        return -ENOMEM;
    m->keys.members = n;
    for (uint32_t machine = 0; machine < n; machine++)
        memcpy(m->keys.member[sv_takeover_node(machine, head, n)],
               before->keys.member[sv_takeover_node(machine, before->head_machine, n)], SV_KEY_CHARS);
    memcpy(m->keys.head, m->keys.member[0], SV_KEY_CHARS);
    return 0;
}

static int meet_again(const struct sv_meet_config *config, struct sv_meeting *m, struct im_text *text)
{
    struct sv_address head;
    int err = take_keys_again(config->before, config->head_machine, m);

    m->way = SV_MEET_PMI;
    m->port = config->port;
    if (err < 0)
        return im_fail(text, err, "the keys of this machine's first meeting are not whole");
    snprintf(m->head, sizeof m->head, "%s", config->head);
    err = sv_address_of(m->head, m->port, &head, text); /* a numeric one */
    if (err < 0)
        return err;
    if (m->node > 0)
        return sv_address_towards(&head, m->here) < 0
                   ? im_fail(text, -ENETUNREACH, "there is no way to node 0 at %s", m->head)
                   : 0;
    sv_address_show(&head, m->here);
    m->listener = sv_address_listen(&head);
    return m->listener < 0 ? im_fail(text, m->listener, "cannot listen at %s port %u: %s", m->head, m->port,
                                     strerror(-m->listener))
                           : 0;
}

/* ---- the whole ---- */

int sv_meet(const struct sv_meet_config *config, struct sv_meeting *ret, struct im_text *text)
{
    int err;

    *ret = (struct sv_meeting){.nodes = config->nodes, .node = config->node, .listener = -1};
    if (config->nodes == 0 || config->nodes > SV_NODES_MAX || config->node >= config->nodes)
        return im_fail(text, -EINVAL, "node %u of %u: there may be %d nodes, counted from 0", config->node,
                       config->nodes, SV_NODES_MAX);
    if (config->port > 65535)
        return im_fail(text, -EINVAL, "port %u: ports end at 65535", config->port);
    ret->head_machine = config->head_machine;
    if (config->before)
        memcpy(ret->place, config->before->place, sizeof ret->place);
    if (config->before && config->before->way == SV_MEET_PMI)
        err = meet_again(config, ret, text);
    else
        err = config->pmi_fd >= 0 ? meet_by_pmi(config, ret, text) : meet_by_address(config, ret, text);
    if (err < 0)
        sv_meeting_fini(ret);
    return err;
}

void sv_meeting_fini(struct sv_meeting *m)
{
    if (m->nodes > 0 && m->listener >= 0)
        close(m->listener);
    sv_keys_fini(&m->keys);
    free(m->copies);
    *m = (struct sv_meeting){.listener = -1};
}

const char *sv_meeting_describe(const struct sv_meeting *m, struct im_text *ret)
{
    static const char *const way[] = {"not met", "PMI", "key file", "one machine"};

    im_fail(ret, 0, "%s, head %s port %u (key %s), here %s (key %s)", way[m->way], m->head, m->port,
            sv_key_fingerprint(m->keys.head).s, m->here, sv_key_fingerprint(m->keys.open).s);
    return ret->s;
}
