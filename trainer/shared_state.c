/* A run on several machines has one folder, on rank 0's, and a snapshot on each (checkpoint/identity.h). Whoever starts
 * gets the newest state that any of them has: as the bytes of a state file, through the ranks' communicator, with the
 * checks of every such file. So a machine that comes with nothing is as good as another, one that is lost takes nothing
 * with it, and all continue from the same bytes. */
#include <inttypes.h>

#include "ipc/base/count.h"
#include "ipc/base/log.h"
#include "trainer/impl.h"

static void make_offer(struct tr_trainer *t, const struct tr_resume *from, struct tr_offer *ret)
{
    struct im_text why = {""};
    uint64_t run = 0, starts = 0;
    int err;

    *ret = (struct tr_offer){.position = 0};
    ret->id = from->id;
    if (from->snapshot && (ret->id.run > 0 || tr_identity_read(from->snapshot, &ret->id)))
        ret->position = from->at_snapshot.next_batch + 1;
    if (!tr_trainer_leads(t))
        return;
    err = tr_identity_load(t->child->conf->run_dir, &run, &starts, &why);
    if (err < 0)
        im_log(IM_LOG_WARN, "the run gets another number; snapshots of other machines are not used", "why=%s",
               im_log_quote(&(struct im_quoted){0}, why.s));
    ret->new_run = tr_identity_draw();
    if (run == 0 && (from->file || err < 0)) /* a run of which no other machine can have anything */
        run = ret->new_run;
    if (run)
        ret->id.run = run;
    ret->file_position = from->file ? from->at_file.next_batch + 1 : 0;
    ret->starts = starts + !t->begins_again;
}

/* All ranks' offers: as numbers, each below 2^53. */
static int exchange_offers(struct tr_trainer *t, const struct tr_offer *mine, struct tr_offer *ret_all)
{
    const double x[] = {(double)mine->id.run,        (double)mine->id.generation, (double)mine->position,
                        (double)mine->file_position, (double)mine->new_run,       (double)mine->starts};
    double all[IM_RANKS_MAX][IM_PEER_VALUES];
    const int err = tr_ranks_tell_numbers(&t->ranks, x, IM_COUNT(x), all);

    for (uint32_t r = 0; r < tr_world(t->child) && err == 0; r++)
        ret_all[r] = (struct tr_offer){.id = {(uint64_t)all[r][0], (uint64_t)all[r][1]},
                                       .position = (uint64_t)all[r][2],
                                       .file_position = (uint64_t)all[r][3],
                                       .new_run = (uint64_t)all[r][4],
                                       .starts = (uint64_t)all[r][5]};
    return err;
}

static void keep_identity(struct tr_trainer *t, uint64_t start)
{
    const char *run_dir = t->child->conf->run_dir;
    struct im_text why = {""};
    uint64_t run, starts;

    if (tr_identity_load(run_dir, &run, &starts, &why) == 0 && run == t->identity.run && starts == start)
        return;
    if (tr_identity_store(run_dir, t->identity.run, start, &why) < 0)
        im_log(IM_LOG_WARN,
               "the number of the run is not kept: the next start will not use what other machines have",
               "why=%s", im_log_quote(&(struct im_quoted){0}, why.s));
}

static void enter_identity(struct tr_trainer *t, uint64_t run, uint64_t start)
{
    const struct im_control *c = t->child->run->control;

    t->identity = (struct tr_identity){
        run, start << 32 | atomic_load_explicit(&c->node_generation, memory_order_acquire)};
    if (tr_trainer_leads(t))
        keep_identity(t, start);
}

static int take(struct tr_trainer *t, uint32_t owner, struct tr_resume *from, char *bytes, size_t n,
                struct im_text *text)
{
    int err;

    if (!bytes) {
        from->state = NULL;
        t->at = tr_position_start(t->child->conf);
        return 0;
    }
    err = tr_resume_take(from, t->child, bytes, n, text);
    if (err < 0)
        return err;
    t->at = from->at;
    im_log(owner > 0 && tr_trainer_leads(t) ? IM_LOG_WARN : IM_LOG_INFO,
           owner > 0 ? "continuing from another machine's snapshot, the newest" : "continuing",
           "rank=%" PRIu32 " next_batch=%" PRIu64, owner, t->at.next_batch);
    return 0;
}

static uint64_t or_here(uint64_t first_position, const struct tr_trainer *t)
{
    return first_position ? first_position : t->at.next_batch + 1;
}

/* From where this start of the run delivers, and which passes it has ended: a machine that came later counts as one that
 * was there. And which start of the run this is. Each number is below 2^53. */
static int share_past(struct tr_trainer *t, uint64_t *start)
{
    const struct im_control *c = t->child->run->control;
    const uint64_t first = atomic_load_explicit(&c->first_position, memory_order_relaxed);
    const uint64_t order = first ? atomic_load_explicit(&c->first_order, memory_order_relaxed) : t->at.order;
    double x[3 + IM_SPLITS] = {(double)or_here(first, t)};
    int err;

    for (int split = 0; split < IM_SPLITS; split++)
        x[1 + split] = (double)atomic_load_explicit(&c->ledger[split].ended, memory_order_relaxed);
    x[1 + IM_SPLITS] = (double)*start;
    x[2 + IM_SPLITS] = (double)order;
    err = tr_ranks_share_numbers(&t->ranks, x, 3 + IM_SPLITS);
    *start = (uint64_t)x[1 + IM_SPLITS];
    t->leader.first_order = (uint64_t)x[2 + IM_SPLITS];
    t->leader.first_position = (uint64_t)x[0];
    for (int split = 0; split < IM_SPLITS; split++)
        t->leader.ended[split] = (uint64_t)x[1 + split];
    return err;
}

int tr_trainer_share_state(struct tr_trainer *t, struct tr_resume *from, struct im_text *text)
{
    struct im_child *child = t->child;
    const uint32_t world = tr_world(child), rank = tr_rank(child);
    struct tr_offer mine, all[IM_RANKS_MAX];
    const struct tr_safetensors *mine_to_all;
    const void *state = NULL;
    uint64_t run, start;
    uint32_t owner;
    char *bytes;
    size_t n = 0;
    int err;

    if (!tr_trainer_leads(t))
        t->begins_again = atomic_load_explicit(&child->run->control->generation, memory_order_acquire) > 0;
    make_offer(t, from, &mine);
    err = exchange_offers(t, &mine, all);
    if (err)
        return err;
    run = tr_offers_run(all, world);
    start = tr_offers_start(all, world, run, t->begins_again);
    owner = tr_offers_owner(all, world, run);
    mine_to_all = rank != owner ? NULL : rank == 0 ? from->state : from->snapshot;
    if (mine_to_all)
        state = tr_safetensors_bytes(mine_to_all, &n);
    err = tr_ranks_share_bytes(&t->ranks, owner, state, n, &bytes, &n, text);
    if (err)
        return err;
    if (rank != owner) {
        err = take(t, owner, from, bytes, n, text);
    } else if (owner > 0) {
        from->state = from->snapshot;
        t->at = from->at = from->at_snapshot;
    }
    if (err == 0)
        err = share_past(t, &start);
    if (err)
        return err;
    enter_identity(t, run, start);
    tr_trainer_note_order(t);
    atomic_store_explicit(&child->entry->position, t->at.next_batch + 1, memory_order_release);
    return 0;
}

void tr_trainer_identify(struct tr_trainer *t, const struct tr_resume *from)
{
    struct tr_offer mine;
    uint64_t run;

    make_offer(t, from, &mine);
    run = tr_offers_run(&mine, 1);
    enter_identity(t, run, tr_offers_start(&mine, 1, run, t->begins_again));
}
