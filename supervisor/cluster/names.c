#include "supervisor/cluster/names.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What a thread and whoever asked it share. */
struct question {
    _Atomic int owners, is_answered;
    struct sv_machine_at place;
    int err; /* of the answer */
    struct sv_address address;
};

struct name {
    struct question *asked; /* NULL: nobody is asked now */
    bool has_answer, is_known;
    struct sv_address address;
    im_ns at; /* of the last answer */
};

struct sv_names {
    struct sv_machine_at place[SV_NODES_MAX];
    struct name name[SV_NODES_MAX];
    uint32_t count;
};

static void leave_question(struct question *q)
{
    if (atomic_fetch_sub_explicit(&q->owners, 1, memory_order_acq_rel) == 1)
        free(q);
}

static void *resolve(void *argument)
{
    struct question *q = argument;
    struct im_text ignored;

    q->err = sv_address_of(q->place.name, q->place.port, &q->address, &ignored);
    atomic_store_explicit(&q->is_answered, 1, memory_order_release);
    leave_question(q);
    return NULL;
}

/* Where no thread can be had, it is tried again as after an answer. */
static void ask(struct sv_names *names, uint32_t index)
{
    struct name *n = &names->name[index];
    struct question *q = calloc(1, sizeof *q);
    pthread_attr_t detached;
    pthread_t thread;

    n->at = im_now();
    if (!q)
        return;
    q->place = names->place[index];
    atomic_init(&q->owners, 2);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &detached, resolve, q) == 0)
        n->asked = q;
    else
        free(q);
    pthread_attr_destroy(&detached);
}

static void take_answer(struct name *n)
{
    struct question *q = n->asked;

    if (!q || !atomic_load_explicit(&q->is_answered, memory_order_acquire))
        return;
    n->asked = NULL;
    n->at = im_now();
    n->has_answer = true;
    if (q->err == 0) { /* one that fails later keeps its address */
        n->is_known = true;
        n->address = q->address;
    }
    leave_question(q);
}

enum sv_name_state sv_names_get(struct sv_names *names, uint32_t index, struct sv_address *ret)
{
    struct name *n = &names->name[index];

    if (!names->place[index].name[0])
        return SV_NAME_UNKNOWN;
    take_answer(n);
    if (!n->asked && !sv_address_is_numeric(names->place[index].name) &&
        im_now() - n->at >= SV_NAMES_AGAIN_NS)
        ask(names, index);
    *ret = n->address;
    return n->is_known ? SV_NAME_KNOWN : n->has_answer ? SV_NAME_UNKNOWN : SV_NAME_ASKED;
}

int sv_names_open(const struct sv_machine_at *place, uint32_t count, uint32_t self, struct sv_names **ret)
{
    struct sv_names *names = calloc(1, sizeof *names);
    struct im_text ignored;

    if (!names)
        return -ENOMEM;
    names->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct name *n = &names->name[i];

        if (i == self || !place[i].name[0])
            continue;
        names->place[i] = place[i];
        if (sv_address_is_numeric(place[i].name))
            n->has_answer = n->is_known =
                sv_address_of(place[i].name, place[i].port, &n->address, &ignored) == 0;
        else
            ask(names, i);
    }
    *ret = names;
    return 0;
}

void sv_names_close(struct sv_names **names)
{
    for (uint32_t i = 0; *names && i < (*names)->count; i++)
        if ((*names)->name[i].asked)
            leave_question((*names)->name[i].asked);
    free(*names);
    *names = NULL;
}
