/* `imsuper bench cluster`: how a run would scale over machines, by the model of cluster_model.h. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/exit.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "ipc/config/command_line.h"
#include "supervisor/cli/cluster_model.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/program.h"

#define NODES_MAX 4096
#define ANSWER_BYTES (256 * 1024)
#define TIMEOUT_MS 60000

/* "8" or "1..256". 0, or -EINVAL. */
static int parse_range(const char *text, uint32_t *ret_low, uint32_t *ret_high)
{
    char *end;
    unsigned long low = strtoul(text, &end, 10), high = low;

    if (*text < '0' || *text > '9')
        return -EINVAL;
    if (strncmp(end, "..", 2) == 0 && end[2] >= '0' && end[2] <= '9')
        high = strtoul(end + 2, &end, 10);
    if (*end || low < 1 || low > high || high > NODES_MAX)
        return -EINVAL;
    *ret_low = (uint32_t)low;
    *ret_high = (uint32_t)high;
    return 0;
}

/* Four bytes for each parameter. 0, or an exit status. */
static int ask_bytes(const struct im_conf *conf, double *ret)
{
    char path[PATH_MAX], *answer = calloc(1, ANSWER_BYTES);
    struct im_command_line line;
    struct im_json *j = NULL;
    int status = -ENOMEM;

    sv_program_find("imsuper-trainer", path, sizeof path);
    im_command_line_begin(&line, path);
    im_command_line_word(&line, "model");
    im_command_line_word(&line, "--json");
    im_command_line_flag(&line, conf, IM_KEY_model);
    if (line.words && answer)
        status = sv_program_read(line.words, TIMEOUT_MS, answer, ANSWER_BYTES);
    im_command_line_free(&line);
    if (status == 0 && im_json_parse(answer, strlen(answer), &j, NULL) < 0)
        status = -EBADMSG;
    *ret = (double)im_json_int_or(j, "parameter_bytes", 0);
    im_json_free(&j);
    free(answer);
    if (status < 0)
        im_say(stderr, "imsuper: cannot ask imsuper-trainer for the size of the model: %s",
               strerror(-status));
    return status < 0 ? IM_EXIT_FAILED : status;
}

/* All numbers up to 4, then powers of two, and the last. */
static bool is_shown(uint32_t nodes, uint32_t low, uint32_t high)
{
    return nodes == low || nodes == high || nodes <= 4 || (nodes & (nodes - 1)) == 0;
}

static void bench_cluster_print_text(const struct sv_cluster_model *m, uint32_t low, uint32_t high)
{
    const uint32_t end = sv_cluster_end(m, low, high);
    struct sv_cluster_point p;

    printf("model     %u trainers of %.0f images a machine, %.3g ms a step, %.1f MB of gradients\n", m->ranks,
           m->batch, m->step * 1e3, m->bytes / 1e6);
    printf("network   %.3g Gbit/s, %.3g us; sums by %s\n", m->bandwidth * 8e-9, m->latency * 1e6,
           m->ring ? "rings" : "the faster of ring and tree");
    printf("MACHINES   RING ms   TREE ms   STEP ms       IMG/S  EFFICIENCY  LAST ADDS  LIMITED BY\n");
    for (uint32_t nodes = low; nodes <= high; nodes++) {
        if (!is_shown(nodes, low, high))
            continue;
        sv_cluster_at(m, nodes, &p);
        printf("%8u %9.2f %9.2f %9.2f %11.0f %10.1f%% %9.1f%%  %s\n", nodes, p.ring * 1e3, p.tree * 1e3,
               p.step * 1e3, p.rate, 100 * p.efficiency, 100 * p.gain, sv_cluster_limit_name(p.limit));
    }
    if (end)
        printf("scaling   stops at %u machines: the last one adds less than half of what one alone gives\n",
               end);
    else
        printf("scaling   goes on to %u machines\n", high);
}

static struct im_json *point_json(const struct sv_cluster_point *p)
{
    struct im_json *j = im_json_object();

    im_json_set_int(j, "nodes", p->nodes);
    im_json_set_real(j, "ring_ms", p->ring * 1e3);
    im_json_set_real(j, "tree_ms", p->tree * 1e3);
    im_json_set_real(j, "exposed_ms", p->exposed * 1e3);
    im_json_set_real(j, "step_ms", p->step * 1e3);
    im_json_set_real(j, "images_per_second", p->rate);
    im_json_set_real(j, "efficiency", p->efficiency);
    im_json_set_real(j, "gain", p->gain);
    im_json_set_str(j, "limited_by", sv_cluster_limit_name(p->limit));
    return j;
}

static int bench_cluster_print_json(const struct sv_cluster_model *m, uint32_t low, uint32_t high)
{
    const uint32_t end = sv_cluster_end(m, low, high);
    struct im_json *j = im_json_object(), *list = im_json_array();
    struct sv_cluster_point p;
    int err;

    im_json_set_str(j, "schema", "imsuper.bench-cluster/1");
    im_json_set_int(j, "ranks", m->ranks);
    im_json_set_int(j, "batch_size", (int64_t)m->batch);
    im_json_set_real(j, "step_ms", m->step * 1e3);
    im_json_set_real(j, "gradient_bytes", m->bytes);
    im_json_set_real(j, "bandwidth_gbit", m->bandwidth * 8e-9);
    im_json_set_real(j, "latency_us", m->latency * 1e6);
    im_json_set_real(j, "overlap", m->overlap);
    im_json_set_bool(j, "ring", m->ring);
    for (uint32_t nodes = low; nodes <= high; nodes++) {
        sv_cluster_at(m, nodes, &p);
        im_json_append(list, point_json(&p));
    }
    im_json_set(j, "points", list);
    if (end)
        im_json_set_int(j, "stops_at", end);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err < 0 ? IM_EXIT_FAILED : IM_EXIT_OK;
}

int sv_cmd_bench_cluster(struct im_conf *conf)
{
    struct sv_cluster_model m = {.ranks = (uint32_t)conf->ranks,
                                 .batch = (double)conf->batch_size,
                                 .step = conf->step_ms / 1e3,
                                 .bytes = conf->gradient_mb * 1e6,
                                 .bandwidth = conf->bandwidth * 1e9 / 8,
                                 .latency = conf->latency / 1e6,
                                 .overlap = conf->overlap,
                                 .ring = conf->ring,
                                 .node_rate = conf->node_rate,
                                 .storage_rate = conf->storage_rate};
    uint32_t low = 1, high = 256;
    int status;

    if (*conf->nodes && parse_range(conf->nodes, &low, &high) < 0) {
        im_say(stderr,
               "imsuper: --nodes %.100s: expected a number of machines or a range such as 1..256, at most %d",
               conf->nodes, NODES_MAX);
        return IM_EXIT_USAGE;
    }
    if (!(m.step > 0) || !(m.batch > 0)) {
        im_say(stderr,
               "imsuper: --step-ms is required: what a step of --batch-size images takes a trainer, as "
               "`imsuper bench trainer` measures it");
        return IM_EXIT_USAGE;
    }
    status = m.bytes > 0 ? 0 : ask_bytes(conf, &m.bytes);
    if (status)
        return status;
    if (conf->json)
        return bench_cluster_print_json(&m, low, high);
    bench_cluster_print_text(&m, low, high);
    return IM_EXIT_OK;
}
