/* The answers of several machines as one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "supervisor/nodes_ask.h"
#include "supervisor/super.h"

#define STATUS_ROOM (IM_CTL_MESSAGE_MAX - 65536) /* for what machines say, beside the rest */

static size_t length_of(const struct im_json *j)
{
    char *text = j ? im_json_dump(j) : NULL;
    const size_t n = text ? strlen(text) : 0;

    free(text);
    return n;
}

/* ---- status ---- */

static void nodes_answer_take(struct im_json *to, const struct im_json *from, const char *key)
{
    struct im_json *copy = im_json_copy(im_json_get(from, key));

    if (copy)
        im_json_set(to, key, copy);
}

struct im_json *sv_nodes_status_here(struct sv_super *s)
{
    static const char *const keys[] = {"stages", "gpus", "cache", "processes"};
    struct im_json *all = sv_status_json(s), *j = im_json_object();

    im_json_set_str(j, "state", im_json_str_or(all, "state", "?"));
    im_json_set_str(j, "limited_by", im_json_str_or(all, "limited_by", "unknown"));
    im_json_set_int(j, "bad_samples", im_json_int_or(all, "bad_samples", 0));
    for (size_t i = 0; i < IM_COUNT(keys); i++)
        nodes_answer_take(j, all, keys[i]);
    im_json_free(&all);
    return j;
}

static struct im_json *join_row(const struct im_json *row, const struct im_json *answer, bool has_room)
{
    struct im_json *j = im_json_copy(row);

    im_json_set_bool(j, "answered", answer != NULL);
    if (!answer)
        return j;
    im_json_set_str(j, "limited_by", im_json_str_or(answer, "limited_by", "unknown"));
    nodes_answer_take(j, answer, "stages");
    nodes_answer_take(j, answer, "cache");
    if (has_room) {
        nodes_answer_take(j, answer, "gpus");
        nodes_answer_take(j, answer, "processes");
    }
    return j;
}

struct im_json *sv_nodes_join_status(struct sv_super *s, struct im_json *const *answers)
{
    const uint32_t here = (uint32_t)s->conf.node_index;
    /* Node 0 has the run; without its answer this machine's own numbers. */
    struct im_json *all = answers[0] ? im_json_copy(answers[0]) : sv_status_json(s), *list = im_json_array();
    const struct im_json *rows = im_json_get(all, "nodes");
    size_t used = 0;

    for (size_t i = 0; i < im_json_count(rows); i++) {
        const struct im_json *row = im_json_at(rows, i);
        const int64_t node = im_json_int_or(row, "node", -1);
        const struct im_json *answer = node >= 0 && node < IM_RANKS_MAX ? answers[node] : NULL;

        if (node > 0)
            used += length_of(answer);
        im_json_append(list, join_row(row, answer, node > 0 && used < STATUS_ROOM / 2));
    }
    im_json_set(all, "nodes", list);
    im_json_set_int(all, "node", here);
    im_json_set_bool(all, "node_0_answered", answers[0] != NULL);
    return all;
}

/* ---- replies to commands ---- */

static const char *what_of(const struct im_json *answer, bool gone)
{
    return answer ? im_json_str_or(answer, "error", im_json_str_or(answer, "ok", "?"))
           : gone ? "is not there"
                  : "has not answered";
}

static bool has_failed(const struct im_json *answer)
{
    return !answer || im_json_get(answer, "error") != NULL;
}

/* "node 0: ...; node 1: ...", cut where it is too long. */
static void name_all(struct im_json *const *answers, uint64_t asked, uint64_t gone, bool failed, char *ret,
                     size_t n)
{
    size_t used = 0;

    ret[0] = 0;
    for (uint32_t i = 0; i < IM_RANKS_MAX; i++) {
        if (!(asked >> i & 1) || has_failed(answers[i]) != failed || used + 1 >= n)
            continue;
        used += (size_t)snprintf(ret + used, n - used, "%snode %" PRIu32 ": %s", used ? "; " : "", i,
                                 what_of(answers[i], gone >> i & 1));
    }
}

struct im_json *sv_nodes_join_replies(struct im_json *const *answers, uint64_t asked, uint64_t gone)
{
    char failed[2048], done[2048], sentence[4200];
    struct im_json *j;

    for (uint32_t i = 0; i < IM_RANKS_MAX; i++)
        if (asked == (uint64_t)1 << i && answers[i])
            return im_json_copy(answers[i]);
    name_all(answers, asked, gone, true, failed, sizeof failed);
    name_all(answers, asked, gone, false, done, sizeof done);
    j = im_json_object();
    im_json_set_str(j, "schema", "imsuper.reply/1");
    snprintf(sentence, sizeof sentence, "%s%s%s", failed, *failed && *done ? "; done: " : "", done);
    im_json_set_str(j, *failed ? "error" : "ok", sentence);
    if (*failed)
        im_json_set_int(j, "exit_status", IM_EXIT_FAILED);
    return j;
}
