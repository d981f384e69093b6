/* A paused trainer: it waits between two steps and keeps its weights, its device and its place in the run. */
#include "ipc/wait.h"
#include "trainer/impl.h"

bool tr_trainer_is_paused(const struct tr_trainer *t)
{
    return atomic_load_explicit(&t->child->run->control->paused, memory_order_acquire) != 0;
}

int tr_trainer_wait_paused(struct tr_trainer *t, bool training, struct im_text *text)
{
    struct im_child *child = t->child;
    struct im_event *changed = &child->run->control->event_run;

    im_stats_enter(child->stats, IM_IDLE);
    for (;;) {
        uint32_t seen = im_event_look(changed);
        int leave = im_child_should_leave(child), err;

        if (leave)
            return leave == IM_EXIT_RESUMABLE ? IM_EXIT_FORCED : leave;
        if (!tr_trainer_is_paused(t) || im_run_state(child->run) == IM_RUN_STOPPING ||
            tr_trainer_save_requests(t) != t->saves_seen)
            break;
        err = tr_trainer_snapshot_paused(t, training, text);
        if (err)
            return err;
        /* Waiting as it is asked to: nobody is to take it for stuck. */
        atomic_fetch_add_explicit(&child->entry->progress, 1, memory_order_relaxed);
        im_event_wait(changed, seen, IM_WAIT_MAX_NS);
    }
    t->epoch_mark = im_now();
    return 0;
}
