/* Command lines that were written for other trainers: flags for which there is nothing to do here, flags that mean more
 * than one option, and the schedule that some flags imply.
 *
 * A flag of another trainer with one meaning here is an alias in conf_keys.h; one that means something else is a hint
 * there. What is ignored is reported: a flag without effect must not look as if it had one. */
#include "ipc/config/conf_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"

/* Nothing is to do for them; `value`: a value stands behind the flag. */
static const struct {
    const char *name;
    bool value;
    const char *why;
} ignored[] = {
    {"ddp", false, "--gpus or --ranks sets the number of trainers"},
    {"distributed", false, "--gpus or --ranks sets the number of trainers"},
    {"multiprocessing-distributed", false, "--gpus or --ranks sets the number of trainers"},
    {"plot", false, "plots are always drawn"},
    {"resume-drop-path-rate", true, "a run that goes on keeps its --drop-path-rate"},
    {"num-classes", true, "the number of classes comes from the data"},
    {"channels-last", false, "every backend uses its fastest layout"},
    {"pin-memory", false, "with GPUs, batches are in pinned memory"},
    {"pin-mem", false, "with GPUs, batches are in pinned memory"},
    {"persistent-workers", false, "the processes live as long as the run"},
    {"torchcompile", false, "graphs are built and fused automatically"},
    {"master-addr", true, "trainers find each other through the supervisor"},
    {"master-port", true, "trainers find each other through the supervisor and need no port"},
    {"dist-url", true, "trainers find each other through the supervisor"},
    {"dist-backend", true, "NCCL on GPUs, Gloo on the CPU"},
    {"rdzv-backend", true, "a run uses one machine"},
    {"rdzv-endpoint", true, "a run uses one machine"},
    {"rdzv-id", true, "a run uses one machine"},
    {"standalone", false, "a run uses one machine"},
    {"node-rank", true, "a run uses one machine"},
    {"rank", true, "the supervisor numbers the trainers"},
    {"local-rank", true, "the supervisor numbers the trainers"},
    {"use-env", false, "the supervisor numbers the trainers"},
};

/* Flags that set a second option. */
static const struct {
    const char *name, *key, *value;
} also[] = {
    {"no-mixup", "cutmix", "0"},
};

static void add_note(struct im_conf_said *said, const char *sentence, const char *more)
{
    const size_t used = strlen(said->notes.s);

    snprintf(said->notes.s + used, sizeof said->notes.s - used, "%s%s%s", used ? "; " : "", sentence, more);
}

const char *im_conf_why_ignored(const char *name)
{
    for (size_t i = 0; i < IM_COUNT(ignored); i++)
        if (strcmp(ignored[i].name, name) == 0)
            return ignored[i].why;
    return NULL;
}

int im_conf_ignored(struct im_conf_said *said, const char *name, const char *written, bool has_value,
                    const char *next)
{
    struct im_text note;

    for (size_t i = 0; i < IM_COUNT(ignored); i++) {
        if (strcmp(ignored[i].name, name) != 0)
            continue;
        im_fail(&note, 0, "%s was ignored: ", written);
        add_note(said, note.s, ignored[i].why);
        return ignored[i].value && !has_value && next && strncmp(next, "--", 2) != 0 ? 2 : 1;
    }
    return 0;
}

int im_conf_blank(struct im_conf_said *said, const char *argument, bool is_last, struct im_text *text)
{
    if (!*argument || argument[strspn(argument, " \t\r\n")])
        return 0;
    if (is_last)
        return im_fail(
            text, -EINVAL,
            "the last argument is a blank: a blank behind a \\ at the end of a line ends the command there, "
            "and the flags of the next lines are missing; remove that blank");
    add_note(said, "an argument of blanks was ignored", "");
    return 1;
}

void im_conf_said_flag(struct im_conf *conf, struct im_conf_said *said, const char *name, const char *value)
{
    const struct im_conf_place place = {.source = IM_CONF_FLAG, .written = name};
    const char *fixed;

    for (size_t i = 0; i < IM_COUNT(also); i++)
        if (strcmp(also[i].name, name) == 0)
            im_conf_put(conf, im_conf_find(also[i].key, &fixed), also[i].value, &place, NULL);
    if (strcmp(name, "max-lr") == 0)
        said->max_lr = value;
    else if (strcmp(name, "lr") == 0 || strcmp(name, "learning-rate") == 0)
        said->lr = value;
}

void im_conf_said_twice(struct im_conf_said *said, const char *first, const char *second, const char *before,
                        const char *now)
{
    char a[IM_CONF_NAME_BYTES], b[IM_CONF_NAME_BYTES];
    struct im_text note;

    if (im_conf_normal(first, a) && im_conf_normal(second, b) &&
        (strcmp(a, "--max-lr") == 0) != (strcmp(b, "--max-lr") == 0))
        return; /* im_conf_finish_flags() tells which counts */
    if (strcmp(first, second) == 0)
        im_fail(&note, 0, "%s given twice: %.200s, then %.200s; the last is used", first, before, now);
    else
        im_fail(&note, 0, "%s and %s set the same option: %.200s, then %.200s; the last is used", first,
                second, before, now);
    add_note(said, note.s, "");
}

/* Options of one schedule alone, which nobody gives for another one. */
static const struct {
    enum im_conf_key_id key;
    enum im_conf_schedule schedule;
} of_schedules[] = {
    {IM_KEY_pct_start, IM_SCHEDULE_ONECYCLE},        {IM_KEY_div_factor, IM_SCHEDULE_ONECYCLE},
    {IM_KEY_final_div_factor, IM_SCHEDULE_ONECYCLE}, {IM_KEY_three_phase, IM_SCHEDULE_ONECYCLE},
    {IM_KEY_base_momentum, IM_SCHEDULE_ONECYCLE},    {IM_KEY_max_momentum, IM_SCHEDULE_ONECYCLE},
    {IM_KEY_anneal, IM_SCHEDULE_ONECYCLE},           {IM_KEY_step_epochs, IM_SCHEDULE_STEP},
    {IM_KEY_milestones, IM_SCHEDULE_MULTISTEP},      {IM_KEY_poly_power, IM_SCHEDULE_POLYNOMIAL},
    {IM_KEY_lr_peak_epoch, IM_SCHEDULE_TRIANGULAR},
};

/* The name of a flag that implies a schedule, or NULL. */
static const char *schedule_flag(const struct im_conf *conf, const struct im_conf_said *said,
                                 enum im_conf_schedule *ret_schedule)
{
    *ret_schedule = IM_SCHEDULE_ONECYCLE;
    if (said->max_lr)
        return "max-lr";
    for (size_t i = 0; i < IM_COUNT(of_schedules); i++) {
        *ret_schedule = of_schedules[i].schedule;
        if (conf->origin[of_schedules[i].key].source == IM_CONF_FLAG)
            return im_conf_name(of_schedules[i].key);
    }
    return NULL;
}

void im_conf_finish_flags(struct im_conf *conf, im_conf_commands commands, struct im_conf_said *said)
{
    const struct im_conf_place place = {.source = IM_CONF_FLAG, .written = "--max-lr"};
    enum im_conf_schedule schedule;
    const char *flag = schedule_flag(conf, said, &schedule);
    struct im_text note;

    if (!(commands & IM_FOR_START) || commands & IM_FOR_LR_FIND)
        return; /* a range test has rates of its own */
    if (flag && conf->origin[IM_KEY_schedule].source == IM_CONF_DEFAULT) {
        conf->schedule = (int32_t)schedule;
        conf->origin[IM_KEY_schedule] = (struct im_conf_origin){.source = IM_CONF_FLAG};
        im_fail(&note, 0, "--%s chooses --schedule %s", flag,
                im_conf_choice(IM_KEY_schedule, (int32_t)schedule));
        add_note(said, note.s, "");
    }
    if (!said->max_lr || !said->lr)
        return;
    im_conf_put(conf, IM_KEY_lr, said->max_lr, &place, NULL);
    add_note(said, "--lr was ignored beside --max-lr",
             conf->schedule == IM_SCHEDULE_ONECYCLE ? ": onecycle begins at --max-lr / --div-factor" : "");
}
