/* Reads that hang, and storage that is away. Readers mark reads that take long and probe the storage
 * meanwhile (reader/reader.c). What follows:
 *
 * A read is overdue and a probe that began in its second half succeeded: the storage works, the file hangs. Its
 * reader is ended, for a thread in the kernel cannot be called off, and another reader takes its files. A file
 * that hung twice is quarantined by name and left out.
 *
 * In an outage, reads have half of the deadline to come back after the first probe that succeeded again.
 *
 * What comes back may come one file at a time, as by a copy: files that are missing after an outage, or are being
 * written, are waited for as long as the outage lasted, within SETTLE_MIN_NS and IM_SETTLE_MAX_NS (reader/retry.h).
 *
 * Without such a proof it is not the file: nobody is ended and nothing counts against a file. The run waits,
 * says so once, and goes on when a read succeeds. The same holds for reads that fail, which readers repeat. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "ipc/bad_samples.h"
#include "ipc/base/count.h"
#include "ipc/base/verdict.h"
#include "ipc/cell_word.h"
#include "ipc/encoded.h"
#include "supervisor/super.h"

#define HANGS_TO_QUARANTINE 2
#define TELL_AFTER_NS (2 * IM_SECOND) /* that reads fail: shorter interruptions are no news */
#define SETTLE_MIN_NS (30 * IM_SECOND)
#define RENEW_FIRST_NS                                                                                       \
    (5 * IM_SECOND) /* readers that are refused, after this and then twice that, up to ... */
#define RENEW_MAX_NS (300 * IM_SECOND)

enum sv_read_state sv_judge_read(im_ns now, im_ns began, im_ns probed, im_ns works, im_ns deadline)
{
    if (now < began || now - began < deadline)
        return SV_READ_LONG;
    if (works != 0 && now - works < deadline / 2)
        return SV_READ_UNPROVEN; /* they come back one by one */
    return probed >= began + deadline / 2 ? SV_READ_HANGS : SV_READ_UNPROVEN;
}

/* How the reads of all readers go. */
struct reads {
    im_ns read, probed; /* when one succeeded last; when the latest probe that succeeded had begun */
    im_ns since;        /* the storage is away; 0: it is not */
    uint32_t slow, failing;
    uint32_t unproven; /* overdue reads that may be the file's fault or the storage's */
    int error;         /* errno of those that fail */
};

static void raise_to(im_ns *at, uint64_t value)
{
    if (value > *at)
        *at = value;
}

static void lower_to(im_ns *at, im_ns value)
{
    if (*at == 0 || value < *at)
        *at = value;
}

static void gather(const struct sv_super *s, im_ns now, struct reads *ret)
{
    for (uint32_t i = 0; i < s->children.count; i++) {
        const struct sv_child *child = &s->children.child[i];
        const struct im_process *p = &s->run.process[child->slot];
        im_ns waiting = atomic_load_explicit(&p->waiting_ns, memory_order_relaxed);

        if (child->role != IM_ROLE_READER && child->role != IM_ROLE_FETCHER)
            continue;
        raise_to(&ret->read, atomic_load_explicit(&p->read_ns, memory_order_relaxed));
        raise_to(&ret->probed, atomic_load_explicit(&p->probed_ns, memory_order_relaxed));
        if (child->incarnation == 0 || child->killed_for != SV_KILL_NONE)
            continue;
        ret->slow += atomic_load_explicit(&p->slow_reads, memory_order_relaxed);
        if (waiting == 0)
            continue;
        ret->failing += atomic_load_explicit(&p->failing_reads, memory_order_relaxed);
        ret->error = (int)atomic_load_explicit(&p->read_error, memory_order_relaxed);
        if (now >= waiting && now - waiting >= TELL_AFTER_NS)
            lower_to(&ret->since, waiting);
    }
}

/* One that a reader marked as taking long. */
struct slow_read {
    uint32_t owner;
    im_ns began;
    uint64_t key;
    char name[IM_NAME_BYTES];
};

static bool is_slow_read(const struct sv_super *s, uint32_t cell, struct slow_read *ret)
{
    const struct im_encoded_meta *meta = &s->run.encoded_meta[cell];
    uint64_t word = atomic_load_explicit(&s->run.encoded_word[cell], memory_order_acquire);
    struct im_place at;

    if (im_word_state(word) != IM_FILLING || im_plan_place(&s->plan, im_word_number(word), &at) < 0)
        return false;
    /* Acquire: sees the name that was written before. */
    ret->began = atomic_load_explicit(&meta->slow_ns, memory_order_acquire);
    if (ret->began == 0)
        return false;
    ret->owner = im_word_owner(word);
    ret->key = im_bad_key((enum im_split)at.phase->split, meta->sample);
    memcpy(ret->name, meta->name, sizeof ret->name);
    ret->name[sizeof ret->name - 1] = 0;
    /* Still the same: what was copied is of this read. */
    return atomic_load_explicit(&s->run.encoded_word[cell], memory_order_acquire) == word;
}

static struct im_json *read_json(const struct slow_read *r, const struct sv_child *child, im_ns now)
{
    struct im_json *fields = im_json_object();

    im_json_set_str(fields, "file", r->name);
    im_json_set_str(fields, "split", r->key >> 63 ? "val" : "train");
    im_json_set_int(fields, "sample", (int64_t)((r->key & ~(UINT64_C(1) << 63)) - 1));
    im_json_set_int(fields, "reader", child->index);
    im_json_set_real(fields, "seconds", (double)(now - r->began) / 1e9);
    return fields;
}

/* Counts against the file. True: once too often. */
static bool count_hang(struct sv_super *s, uint64_t key)
{
    const uint32_t room = IM_COUNT(s->reads.hung);

    for (uint32_t i = 0; i < s->reads.hangs && i < room; i++)
        if (s->reads.hung[i].key == key)
            return ++s->reads.hung[i].count == HANGS_TO_QUARANTINE;
    s->reads.hung[s->reads.hangs % room].key = key;
    s->reads.hung[s->reads.hangs++ % room].count = 1;
    return false;
}

static void end_reader(struct sv_super *s, const struct slow_read *r, struct sv_child *child, im_ns now)
{
    bool first = child->killed_for == SV_KILL_NONE;
    struct im_json *fields = read_json(r, child, now);

    sv_journal_event(&s->journal, "read.hung", fields);
    atomic_store_explicit(&s->run.control->reads_careful, 1, memory_order_relaxed);
    if (first)
        sv_screen_warn(
            &s->screen, SV_WARN,
            "reading %s has taken %.1f s while other files are read; ending reader#%u, others read again",
            r->name, (double)(now - r->began) / 1e9, child->index);
    child->killed_for = SV_KILL_READ;
    if (first)
        sv_child_kill(child, SIGKILL);
    /* A read that was caught by an outage says nothing about its file. */
    if (s->reads.waiting || r->began <= s->reads.back_at || !count_hang(s, r->key))
        return;
    im_bad_quarantine(&s->run, r->key | IM_BAD_HANGS, IM_VERDICT_READ_HUNG);
    fields = read_json(r, child, now);
    im_json_set_str(fields, "why", "read");
    sv_journal_event(&s->journal, "sample.quarantined", fields);
    sv_screen_warn(&s->screen, SV_WARN, "%s is left out from now on: reading it hung twice", r->name);
}

static void check_slow(struct sv_super *s, im_ns now, struct reads *reads)
{
    im_ns deadline = (im_ns)s->conf.read_deadline_ms * IM_MS;
    uint32_t told[64], n = 0; /* incarnations that are being ended */
    struct slow_read r;

    for (uint32_t cell = 0; cell < s->run.geometry.encoded_cells; cell++) {
        struct sv_child *child =
            is_slow_read(s, cell, &r) ? sv_child_by_incarnation(&s->children, r.owner) : NULL;
        bool ours = false;

        for (uint32_t i = 0; child && i < n; i++)
            ours |= told[i] == r.owner;
        /* All that hang in one reader are counted when it is ended, and no more after that. */
        if (!child || (child->killed_for != SV_KILL_NONE && !ours))
            continue;
        switch (sv_judge_read(now, r.began, reads->probed, s->reads.works_at, deadline)) {
        case SV_READ_HANGS:
            if (!ours && n < IM_COUNT(told))
                told[n++] = r.owner;
            end_reader(s, &r, child, now);
            break;
        case SV_READ_UNPROVEN:
            reads->unproven++;
            lower_to(&reads->since, r.began);
            break;
        default:
            break;
        }
    }
}

/* A folder that came instead of another may be refused to processes that were restricted to the one before, and
 * to readers that were started while there was none. Others are started now and then. */
static void renew_refused(struct sv_super *s, im_ns now)
{
    if (now < s->reads.renew_at)
        return;
    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];
        const struct im_process *p = &s->run.process[child->slot];

        if (child->role != IM_ROLE_READER || child->incarnation == 0 || child->killed_for != SV_KILL_NONE ||
            atomic_load_explicit(&p->waiting_ns, memory_order_relaxed) == 0 ||
            atomic_load_explicit(&p->read_error, memory_order_relaxed) != EACCES)
            continue;
        child->killed_for = SV_KILL_READ;
        sv_child_kill(child, SIGKILL);
    }
    if (s->reads.renew_wait < RENEW_MAX_NS)
        s->reads.renew_wait *= 2;
    s->reads.renew_at = now + s->reads.renew_wait;
}

static void set_waiting(struct sv_super *s, const struct reads *reads, im_ns now)
{
    s->reads.waiting = true;
    s->reads.probed_before = reads->probed;
    s->reads.works_at = 0;
    s->reads.told_at = now;
    s->reads.renew_wait = RENEW_FIRST_NS;
    s->reads.renew_at = now + RENEW_FIRST_NS;
}

/* What has to come back: for objects of servers it may be the cache, by its errors (fetcher/fetcher.c). */
static const char *awaited(const struct sv_super *s, const struct reads *reads)
{
    if (!im_conf_is_remote(s->conf.data_dir) || reads->unproven)
        return s->conf.data_dir;
    switch (reads->error) {
    case ENOSPC:
    case EDQUOT:
        return "room in the cache (--cache-dir, --cache-size)";
    case EROFS:
        return "the disk of the cache (--cache-dir)";
    case EAGAIN:
        return "the lock of the cache, which another process holds (--cache-dir)";
    default:
        return s->conf.data_dir;
    }
}

static void begin_waiting(struct sv_super *s, const struct reads *reads, im_ns now)
{
    struct im_json *fields = im_json_object();
    uint32_t all = im_encoded_count(&s->run, IM_FILLING);
    uint32_t away = reads->unproven ? reads->slow : reads->failing;
    double seconds = (double)(now - reads->since) / 1e9;

    set_waiting(s, reads, now);
    atomic_store_explicit(&s->run.control->outage_ns, reads->since, memory_order_relaxed);
    im_json_set_str(fields, "data_dir", s->conf.data_dir);
    im_json_set_str(fields, "why", reads->unproven ? "hang" : strerror(reads->error));
    im_json_set_int(fields, "reads_away", away);
    im_json_set_int(fields, "reads", all);
    im_json_set_real(fields, "seconds", seconds);
    sv_journal_event(&s->journal, "outage.began", fields);
    if (reads->unproven)
        sv_screen_warn(&s->screen, SV_WARN,
                       "%u of %u reads hang since %.0f s: waiting for %s; training goes on when it is back",
                       away, all > away ? all : away, seconds, awaited(s, reads));
    else
        sv_screen_warn(
            &s->screen, SV_WARN,
            "%u of %u reads fail since %.0f s (%s): waiting for %s; training goes on when it is back", away,
            all > away ? all : away, seconds, strerror(reads->error), awaited(s, reads));
}

im_ns sv_settling_time(im_ns outage)
{
    return outage < SETTLE_MIN_NS ? SETTLE_MIN_NS : outage > IM_SETTLE_MAX_NS ? IM_SETTLE_MAX_NS : outage;
}

static void end_waiting(struct sv_super *s, im_ns now)
{
    struct im_json *fields = im_json_object();
    im_ns since = atomic_load_explicit(&s->run.control->outage_ns, memory_order_relaxed);
    im_ns settling = sv_settling_time(now - since);
    double seconds = (double)(now - since) / 1e9;

    s->reads.waiting = false;
    s->reads.works_at = 0;
    s->reads.back_at = now;
    /* Before the outage is over: readers see one or the other. */
    atomic_store_explicit(&s->run.control->settled_ns, now + settling, memory_order_relaxed);
    atomic_store_explicit(&s->run.control->outage_ns, 0, memory_order_release);
    im_json_set_real(fields, "seconds", seconds);
    im_json_set_real(fields, "missing_files_seconds", (double)settling / 1e9);
    sv_journal_event(&s->journal, "outage.ended", fields);
    sv_screen_say(&s->screen,
                  "%s is back after %.0f s; training goes on, no sample lost; files still missing are waited "
                  "for for %.0f s",
                  s->conf.data_dir, seconds, (double)settling / 1e9);
}

void sv_check_reads(struct sv_super *s)
{
    struct reads reads = {0};
    im_ns now = im_now();

    if (im_run_state(&s->run) != IM_RUN_RUNNING)
        return;
    gather(s, now, &reads);
    if (!s->reads.waiting && atomic_load_explicit(&s->run.control->outage_ns, memory_order_relaxed) != 0)
        set_waiting(s, &reads, now); /* that of the supervisor before us */
    if (s->reads.waiting && s->reads.works_at == 0 && reads.probed > s->reads.probed_before)
        s->reads.works_at = now;
    if (reads.slow > 0)
        check_slow(s, now, &reads);
    if (!s->reads.waiting && reads.since != 0)
        begin_waiting(s, &reads, now);
    else if (s->reads.waiting && reads.since == 0 && reads.read > s->reads.told_at)
        end_waiting(s, now);
    else if (s->reads.waiting)
        renew_refused(s, now);
}
