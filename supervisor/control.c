/* The commands of users: stop, pause, resume, restart, scale. Each is done at once or refused with a sentence;
 * what takes time goes on by words in shared memory. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/exit.h"
#include "ipc/base/sysinfo.h"
#include "supervisor/super.h"

static struct im_json *reply(const char *key, const char *value)
{
    struct im_json *j = im_json_object();

    im_json_set_str(j, "schema", "imsuper.reply/1");
    im_json_set_str(j, key, value);
    return j;
}

static struct im_json *refuse(const char *why)
{
    struct im_json *j = reply("error", why);

    im_json_set_int(j, "exit_status", IM_EXIT_USAGE);
    return j;
}

static bool is_ending(const struct sv_super *s)
{
    return s->finished || im_run_state(&s->run) == IM_RUN_STOPPING;
}

static struct im_json *stop(struct sv_super *s, const struct im_json *message)
{
    if (im_json_bool_or(message, "now", false))
        sv_stop_at_once(s, "imsuper stop --now");
    else
        sv_request_stop(s, "imsuper stop");
    return reply("ok", "stopping");
}

static struct im_json *pause_or_resume(struct sv_super *s, bool paused)
{
    bool was = sv_is_paused(s);

    if (is_ending(s))
        return refuse("the run is stopping");
    sv_pause(s, paused);
    if (was == paused)
        return reply("ok", paused ? "paused already" : "not paused");
    return reply("ok", paused ? "paused" : "resumed");
}

/* All processes of a stage, or the one of this number. */
static struct im_json *restart_workers(struct sv_super *s, enum im_role role, int64_t index)
{
    uint32_t count = sv_children_count(&s->children, role), restarted = 0;
    char sentence[128];

    if (index >= (int64_t)count) {
        snprintf(sentence, sizeof sentence, "there is no %s#%" PRId64 ": they are numbered 0 to %u",
                 im_role_name(role), index, count - 1);
        return refuse(sentence);
    }
    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];

        if (child->role != role || child->index >= count || (index >= 0 && child->index != index))
            continue;
        sv_scale_restart(s, child);
        restarted++;
    }
    snprintf(sentence, sizeof sentence, "restarting %u %s%s", restarted, im_role_name(role),
             restarted == 1 ? "" : "s");
    sv_screen_say(&s->screen, "imsuper restart: %s", sentence);
    return reply("ok", sentence);
}

static struct im_json *restart(struct sv_super *s, const struct im_json *message)
{
    const char *stage = im_json_str_or(message, "stage", "");
    int64_t index = im_json_int_or(message, "index", -1);
    char sentence[128];

    if (is_ending(s))
        return refuse("the run is stopping");
    if (strcmp(stage, im_role_name(IM_ROLE_READER)) == 0)
        return restart_workers(s, IM_ROLE_READER, index);
    if (strcmp(stage, im_role_name(IM_ROLE_AUGMENTER)) == 0)
        return restart_workers(s, IM_ROLE_AUGMENTER, index);
    if (strcmp(stage, im_role_name(IM_ROLE_TRAINER)) != 0)
        return refuse("a stage is reader, augmenter or trainer");
    if (index >= (int64_t)s->run.geometry.ranks) {
        snprintf(sentence, sizeof sentence, "there is no trainer#%" PRId64 ": they are numbered 0 to %u",
                 index, s->run.geometry.ranks - 1);
        return refuse(sentence);
    }
    if (!sv_restart_trainers(s))
        return refuse("the trainers are starting already");
    return reply("ok", s->run.geometry.ranks > 1
                           ? "restarting all trainers after a snapshot: one alone cannot go back"
                           : "restarting the trainer after a snapshot");
}

/* -1 where it is not mentioned; 0: automatic. */
static int64_t wanted_count(const struct sv_super *s, const struct im_json *message, enum im_role role,
                            struct im_json **ret_refusal)
{
    const char *key = role == IM_ROLE_READER ? "readers" : "augmenters";
    int64_t count = im_json_get(message, key) ? im_json_int_or(message, key, -2) : -1;
    char sentence[160];

    if (count >= -1 && count <= (int64_t)sv_scale_max(s, role))
        return count;
    snprintf(sentence, sizeof sentence,
             "%s=%" PRId64
             ": expected 1 to %u, for which this run has room, or auto; a new start makes more room",
             key, count, sv_scale_max(s, role));
    *ret_refusal = refuse(sentence);
    return -1;
}

static void scale_role(struct sv_super *s, enum im_role role, int64_t count)
{
    uint32_t from = sv_children_count(&s->children, role);

    if (count < 0)
        return;
    sv_scale_set_automatic(s, role, count == 0);
    if (count == 0 || count == from)
        return;
    sv_scale_tell(s, role, from, (uint32_t)count, "imsuper scale");
    sv_scale_to(s, role, (uint32_t)count);
}

/* Half of all memory is for decoding (cli/sizes.c); an image's part does not change while a run goes on. Says where
 * more augmenters than fit may run. */
static size_t warn_of_memory(struct sv_super *s, char *sentence, size_t n)
{
    const bool automatic =
        atomic_load_explicit(&s->run.control->automatic[IM_ROLE_AUGMENTER], memory_order_relaxed);
    const uint32_t now = sv_children_count(&s->children, IM_ROLE_AUGMENTER), cores = (uint32_t)im_cpu_count();
    const uint32_t most = automatic && cores > now ? cores : now;
    const uint64_t each = (uint64_t)im_conf_decode_memory_mib(&s->conf) << 20, total = im_memory_total();

    if (total == 0 || most * each <= total / 2)
        return 0;
    return (size_t)snprintf(
        sentence, n,
        "; warning: large images may take %.1f GiB in %u augmenters (--decode-memory-mib %" PRIu64
        " each), more than half of the %.1f GiB of this machine or container",
        (double)(most * each) / (1 << 30), most, each >> 20, (double)total / (1 << 30));
}

static struct im_json *scale(struct sv_super *s, const struct im_json *message)
{
    static const enum im_role roles[] = {IM_ROLE_READER, IM_ROLE_AUGMENTER};
    struct im_json *refusal = NULL;
    int64_t count[2];
    char sentence[400];
    size_t used = 0;

    if (is_ending(s))
        return refuse("the run is stopping");
    for (int i = 0; i < 2 && !refusal; i++)
        count[i] = wanted_count(s, message, roles[i], &refusal);
    if (refusal)
        return refusal;
    for (int i = 0; i < 2; i++) {
        scale_role(s, roles[i], count[i]);
        used += (size_t)snprintf(
            sentence + used, sizeof sentence - used, "%s%s %u%s", i ? ", " : "", i ? "augmenters" : "readers",
            sv_children_count(&s->children, roles[i]),
            atomic_load_explicit(&s->run.control->automatic[roles[i]], memory_order_relaxed) ? " (auto)"
                                                                                             : "");
    }
    if (warn_of_memory(s, sentence + used, sizeof sentence - used) > 0)
        sv_screen_warn(&s->screen, SV_WARN, "imsuper scale: %s", sentence);
    return reply("ok", sentence);
}

struct im_json *sv_control(struct sv_super *s, const char *cmd, const struct im_json *message)
{
    if (strcmp(cmd, "stop") == 0)
        return stop(s, message);
    if (strcmp(cmd, "pause") == 0 || strcmp(cmd, "resume") == 0)
        return pause_or_resume(s, strcmp(cmd, "pause") == 0);
    if (strcmp(cmd, "restart") == 0)
        return restart(s, message);
    if (strcmp(cmd, "scale") == 0)
        return scale(s, message);
    return NULL;
}
