/* What makes a first start bearable, and says what it came to: progress, one process at a time where several
 * would time the same, and the engines that `deterministic` ruled out. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/clock.h"
#include "trainer/cuda_dnn_plan.h"

#define TURN (15 * 60 * IM_SECOND) /* how long another process may take before this one goes its own way */
#define LOOK_MS 50

int tr_dnn_tell(struct tr_dnn *dnn, const char *what, int at, int of)
{
    if (!dnn->cancelled && dnn->config.progress)
        dnn->cancelled = dnn->config.progress(dnn->config.context, what, at, of) != 0;
    return dnn->cancelled ? -ECANCELED : 0;
}

int tr_dnn_own(struct tr_dnn *dnn)
{
    im_ns until = im_now() + TURN;
    int held;

    if (dnn->owns || dnn->alone)
        return 0;
    while ((held = tr_plans_lock(dnn->known)) == 0 && im_now() < until) {
        if (tr_dnn_tell(dnn, "", 1, -1) < 0)
            return -ECANCELED;
        poll(NULL, 0, LOOK_MS);
    }
    dnn->owns = held == 1;
    dnn->alone = !dnn->owns;
    return dnn->owns;
}

void tr_dnn_disown(struct tr_dnn *dnn)
{
    if (dnn->owns)
        tr_plans_unlock(dnn->known);
    dnn->owns = dnn->alone = false;
}

/* ---- what was ruled out ---- */

const char *tr_dnn_group(int group)
{
    static const char *const names[] = {"convolution forward",        "convolution backward data",
                                        "convolution backward added", "convolution backward weights",
                                        "batch norm forward",         "batch norm backward"};

    return names[group];
}

/* Of "58:2=5,24=17" the 58, if it is not yet there; what finds no room is in the names all the same. */
static void add_number(struct tr_dnn_names *n, const char *name)
{
    size_t length = strlen(n->numbers), digits = strcspn(name, ":");
    char number[32];

    snprintf(number, sizeof number, "%.*s", (int)digits, name);
    for (const char *at = n->numbers; (at = strstr(at, number)); at += digits)
        if ((at == n->numbers || at[-1] == ' ') && (at[digits] == ',' || at[digits] == '\0'))
            return;
    if (length + digits + 3 <= sizeof n->numbers)
        snprintf(n->numbers + length, sizeof n->numbers - length, "%s%s", length ? ", " : "", number);
}

void tr_dnn_exclude(struct tr_dnn *dnn, int group, const char *engine)
{
    struct tr_dnn_names *n = &dnn->excluded[group];
    int room = n->room ? 2 * n->room : 16;
    char **grown, *copy;

    for (int i = 0; i < n->count; i++)
        if (strcmp(n->names[i], engine) == 0)
            return;
    grown = n->count == n->room ? realloc(n->names, (size_t)room * sizeof *grown) : n->names;
    if (!grown)
        return; /* a list for people: nothing depends on it */
    if (n->count == n->room)
        n->room = room;
    n->names = grown;
    copy = strdup(engine);
    if (!copy)
        return;
    n->names[n->count++] = copy;
    dnn->facts.excluded++;
    add_number(n, engine);
}

void tr_dnn_names_fini(struct tr_dnn *dnn)
{
    for (int group = 0; group < TR_DNN_GROUPS; group++) {
        for (int i = 0; i < dnn->excluded[group].count; i++)
            free(dnn->excluded[group].names[i]);
        free(dnn->excluded[group].names);
    }
}

const char *tr_dnn_excluded_short(const struct tr_dnn *dnn, int group)
{
    return dnn->excluded[group].count > 0 ? dnn->excluded[group].numbers : NULL;
}

const char *tr_dnn_excluded_engine(const struct tr_dnn *dnn, int group, int i)
{
    return i < dnn->excluded[group].count ? dnn->excluded[group].names[i] : NULL;
}
