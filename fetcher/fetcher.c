#include "fetcher/fetcher.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fetcher/sandbox.h"
#include "fetcher/transfer.h"
#include "ipc/base/fault.h"
#include "ipc/base/hash.h"
#include "ipc/base/log.h"
#include "ipc/cell_word.h"
#include "reader/dataset/index.h"
#include "reader/dataset/mirror.h"
#include "reader/order.h"
#include "reader/retry.h"

#define TURN_MS 10
#define RESULTS_MAX 64
#define LOOKS_MAX 512 /* tickets looked at in a turn */
#define AHEAD_MAX 8192
#define AHEAD_SHARE 4            /* of the cache, at most, for what was not read yet */
#define BYTES_EXPECTED (1 << 17) /* of an object, until some are known */
#define CHECK_AGAIN_NS (500 * IM_MS)
#define PROBE_EVERY_NS IM_SECOND
#define KEYS_EVERY_NS (10 * IM_SECOND)
#define BUSY_WAIT_NS (50 * IM_MS)
#define FULL_WAIT_NS IM_SECOND
#define LOCKED_NS                                                                                            \
    (10 * IM_SECOND) /* the cache's lock is held for microseconds, or for a count of all files */
#define STORE_RETRY_NS IM_SECOND

/* An object that is wanted. */
struct wanted {
    struct fe_transfer transfer;
    uint64_t key; /* split << 63 | sample */
    struct rd_tries tries;
    im_ns began, due; /* the try under way; when the next one is */
    bool used;
};

struct fetcher {
    struct im_child *child;
    struct fe_store store;
    char below[PATH_MAX], root[PATH_MAX]; /* root: the mirror's data/ */
    struct rd_index index;
    struct rd_order order;
    struct wanted *wanted;
    uint32_t count, held, allowed; /* wanted objects: room, in use, at a time for the server */
    uint64_t next;                 /* the first ticket that was not looked at */
    uint64_t base;                 /* the first that no reader has read, as last seen */
    uint32_t generation;
    im_ns checked, hold; /* the window; no request before this */
    im_ns unproven_since, probed, keys_read;
    uint64_t probes, fetched, fetched_bytes;
    bool probing, told;
    bool full, told_full; /* the cache takes nothing; this process has reported it */
    im_ns locked_since;   /* somebody else has its lock; 0: not when it was last asked for */
    uint64_t damaged;     /* the ticket of the damaged object that was reported last, + 1 */
    bool removed;         /* the cache, by somebody: it is made again */
    struct im_sandbox_state sandbox;
    bool is_confined; /* to this cache: another one needs another process */
    im_ns probe_began;
    struct rd_storage storage;
};

static int sample_at(struct fetcher *f, uint64_t ticket, enum im_split *ret_split, uint64_t *ret_sample)
{
    struct im_place at;

    if (im_plan_place(f->child->plan, ticket, &at) < 0)
        return -ERANGE;
    *ret_split = (enum im_split)at.phase->split;
    *ret_sample = rd_order_sample(&f->order, &f->index, &at);
    return 0;
}

static int path_of(const struct fetcher *f, enum im_split split, uint64_t sample, char *ret, size_t size)
{
    size_t n = strlen(f->store.below);
    struct rd_source_of source;

    if (n >= size)
        return -ENAMETOOLONG;
    memcpy(ret, f->store.below, n + 1);
    return rd_index_source(&f->index, split, sample, &source, ret + n, size - n);
}

/* Of which shard the sample is a member, if it is one. */
static int part_of(const struct fetcher *f, enum im_split split, uint64_t sample, struct fe_part *ret)
{
    const size_t n = strlen(f->store.below);
    struct rd_source_of source;
    int length = rd_index_member(&f->index, split, sample, &source, ret->shard + n, sizeof ret->shard - n);

    if (length <= 0) {
        ret->shard[0] = 0;
        return length;
    }
    memcpy(ret->shard, f->store.below, n);
    ret->offset = source.offset;
    ret->bytes = source.bytes;
    ret->mark = source.mark;
    return source.offset >= RD_TAR_BLOCK && source.bytes <= INT64_MAX - RD_TAR_BLOCK ? 0 : -EBADMSG;
}

static uint64_t key_of(enum im_split split, uint64_t sample)
{
    return (uint64_t)(split == IM_VAL) << 63 | sample;
}

static struct wanted *fetcher_find(struct fetcher *f, uint64_t key)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (f->wanted[i].used && f->wanted[i].key == key)
            return &f->wanted[i];
    return NULL;
}

static void let_go(struct fetcher *f, struct wanted *w)
{
    w->used = false;
    f->held--;
}

static void give_up(struct fetcher *f, struct wanted *w, const struct fe_result *result)
{
    int err;

    im_log(IM_LOG_WARN, "an object cannot be fetched", "file=%s why=%s tries=%u",
           im_log_quote(&(struct im_quoted){0}, w->transfer.path),
           im_log_quote(&(struct im_quoted){0}, result->why), w->tries.failures);
    err = fe_cache_mark(&f->store.cache, f->store.root_fd, w->transfer.path);
    if (err < 0) { /* readers must get the error */
        w->due = im_now() + FULL_WAIT_NS;
        return;
    }
    im_stats_add(f->child->stats, IM_C_BAD, 1);
    let_go(f, w);
}

/* What goes wrong here, on this machine, counts against no object: it is tried again for as long as it takes. -EAGAIN: somebody else
 * has the cache's lock. */
static void cache_refuses(struct fetcher *f, struct wanted *w, int err, const char *why)
{
    const im_ns now = im_now();

    atomic_store_explicit(&f->child->entry->read_error, (uint32_t)-err, memory_order_relaxed);
    w->due = now + (err == -EAGAIN ? BUSY_WAIT_NS : FULL_WAIT_NS);
    if (err == -EAGAIN && f->locked_since == 0)
        f->locked_since = now;
    if (err == -EAGAIN && now - f->locked_since < LOCKED_NS)
        return;
    if (!f->full && !f->told_full)
        im_log(IM_LOG_WARN, "the cache takes no more objects", "cause=%s",
               im_log_quote(&(struct im_quoted){0},
                            err == -EAGAIN ? "another process holds its lock; is it stopped?" : why));
    f->full = f->told_full = true;
}

/* Begins a try, or says when. */
static void fetcher_begin(struct fetcher *f, struct wanted *w)
{
    im_ns now = im_now();
    int err;

    w->began = 0;
    if (now < f->hold || fe_client_under_way(f->store.client) >= f->allowed) {
        w->due = now < f->hold ? f->hold : now + TURN_MS * IM_MS;
        return;
    }
    if (fe_cache_look(&f->store.cache, f->store.root_fd, w->transfer.path)) { /* another run has fetched it */
        let_go(f, w);
        return;
    }
    rd_tries_begin(&w->tries, &f->storage);
    err = fe_transfer_start(&w->transfer);
    if (err != -EAGAIN)
        f->locked_since = 0;
    if (err == 0)
        w->began = now;
    else if (err == -ENAMETOOLONG)
        give_up(f, w, &(struct fe_result){.why = "its address is too long"});
    else if (err == -EBUSY)
        w->due = now + BUSY_WAIT_NS;
    else
        cache_refuses(f, w, err, strerror(-err));
}

/* Is there room for another? Then the object is wanted from now on. */
static bool needs_object(struct fetcher *f, enum im_split split, uint64_t sample, const char *path)
{
    struct fe_part part;

    if (part_of(f, split, sample, &part) < 0) { /* the index contradicts itself: readers get an error */
        fe_cache_mark(&f->store.cache, f->store.root_fd, path);
        return true;
    }
    for (uint32_t i = 0; i < f->count; i++) {
        struct wanted *w = &f->wanted[i];

        if (w->used)
            continue;
        *w = (struct wanted){.used = true,
                             .key = key_of(split, sample),
                             .transfer = {.store = &f->store, .part = part, .tag = w, .claim = {.fd = -1}}};
        memcpy(w->transfer.path, path, strlen(path) + 1);
        f->held++;
        fetcher_begin(f, w);
        return true;
    }
    return false;
}

/* The first ticket whose object no reader has read. */
static uint64_t first_unread(const struct fetcher *f)
{
    const struct im_run *run = f->child->run;
    uint64_t first = UINT64_MAX;

    for (uint32_t i = 0; i < run->geometry.encoded_cells; i++) {
        uint64_t word = atomic_load_explicit(&run->encoded_word[i], memory_order_acquire);

        if ((im_word_state(word) == IM_FREE || im_word_state(word) == IM_FILLING) &&
            im_word_number(word) < first)
            first = im_word_number(word);
    }
    return first;
}

static uint64_t ahead(const struct fetcher *f)
{
    uint64_t bytes = f->fetched ? f->fetched_bytes / f->fetched + 4096 : BYTES_EXPECTED;
    uint64_t objects = fe_cache_limit(&f->store.cache) / AHEAD_SHARE / bytes;

    return objects < 1 ? 1 : objects < AHEAD_MAX ? objects : AHEAD_MAX;
}

/* A reader found that the object of the ticket is not what was fetched. */
static bool is_damaged(const struct fetcher *f, uint64_t ticket)
{
    const struct im_run *run = f->child->run;

    return atomic_load_explicit(&run->encoded_meta[ticket % run->geometry.encoded_cells].damaged,
                                memory_order_acquire) == ticket + 1;
}

static void drop_damaged(struct fetcher *f, uint64_t ticket, const char *path)
{
    const int err = fe_cache_forget(&f->store.cache, f->store.root_fd, path);

    if (f->damaged != ticket + 1 && err != -EAGAIN)
        im_log(IM_LOG_WARN,
               err < 0 ? "an object of the cache is damaged and cannot be removed; trying again"
                       : "an object of the cache was damaged; it is fetched again",
               "file=%s cause=%s", im_log_quote(&(struct im_quoted){0}, path),
               im_log_quote(&(struct im_quoted){0}, err < 0 ? strerror(-err) : ""));
    f->damaged = err != -EAGAIN ? ticket + 1 : f->damaged;
}

/* One ticket of the window. False: there is no room for what it needs. */
static bool look(struct fetcher *f, uint64_t ticket, bool is_first)
{
    struct im_stats *stats = f->child->stats;
    char path[PATH_MAX];
    enum im_split split;
    uint64_t sample;
    uint32_t seal;
    bool is_here;

    if (sample_at(f, ticket, &split, &sample) < 0 || path_of(f, split, sample, path, sizeof path) < 0)
        return true;
    is_here = fe_cache_look(&f->store.cache, f->store.root_fd, path);
    if (is_here && is_damaged(f, ticket)) {
        drop_damaged(f, ticket, path);
        is_here = false;
    }
    if (!is_here && !fetcher_find(f, key_of(split, sample))) {
        if (!is_first &&
            rd_mirror_look(f->store.root_fd, "", path, rd_realtime(f->child->run->control->created_ns),
                           &seal) == RD_OBJECT_FAILED)
            return true;
        if (!needs_object(f, split, sample, path))
            return false;
    }
    if (is_first)
        im_stats_add(stats, is_here ? IM_C_HITS : IM_C_MISSES, 1);
    return true;
}

static void look_ahead(struct fetcher *f)
{
    const struct im_run *run = f->child->run;
    const uint64_t tickets = f->child->plan->tickets;
    uint32_t generation = atomic_load_explicit(&run->control->generation, memory_order_acquire);
    uint64_t base = first_unread(f), end;
    im_ns now = im_now();

    if (base == UINT64_MAX)
        return;
    if (generation != f->generation || base < f->base || f->next < base)
        f->next = base;
    f->generation = generation;
    f->base = base;
    end = base + ahead(f) < tickets ? base + ahead(f) : tickets;
    for (int i = 0; i < LOOKS_MAX && f->next < end; i++, f->next++)
        if (!look(f, f->next, true))
            break;
    if (now - f->checked < CHECK_AGAIN_NS)
        return;
    f->checked = now;
    /* What was here may have made room for another run's objects. */
    end = base + run->geometry.encoded_cells;
    for (uint64_t t = base; t < end && t < f->next; t++)
        if (!look(f, t, false))
            break;
}

/* The server works: as much as at the start is asked for again, little by little. */
static void succeeded(struct fetcher *f, struct wanted *w, const struct fe_result *result)
{
    struct im_stats *stats = f->child->stats;

    rd_storage_probed(&f->storage, w->began);
    rd_storage_file(&f->storage, 0);
    f->full = false;
    f->locked_since = 0;
    f->fetched++;
    f->fetched_bytes += (uint64_t)result->bytes;
    if (f->allowed < f->count && f->fetched % 4 == 0)
        f->allowed++;
    atomic_store_explicit(&f->child->entry->read_ns, im_now(), memory_order_relaxed);
    atomic_store_explicit(&f->child->entry->probed_ns, f->storage.probed, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->child->entry->progress, 1, memory_order_relaxed);
    im_stats_add(stats, IM_C_SAMPLES, 1);
    im_stats_since(stats, IM_H_ITEM, w->began);
    let_go(f, w);
}

static void failed(struct fetcher *f, struct wanted *w, int err, const struct fe_result *result)
{
    im_ns now = im_now();

    w->began = 0;
    if (err == -ENOSPC || err == -EDQUOT || err == -EAGAIN || err == -EIO || err == -EROFS) {
        cache_refuses(f, w, err, err == -EIO ? result->why : strerror(-err));
        return;
    }
    atomic_store_explicit(&f->child->entry->read_error, (uint32_t)-err, memory_order_relaxed);
    if (w->tries.failures == 0)
        rd_storage_file(&f->storage, err);
    if (err == -EACCES && now - f->keys_read > KEYS_EVERY_NS) {
        f->keys_read = now;
        fe_client_renew_keys(f->store.client);
    }
    if (result->wait > 0 && now + result->wait > f->hold)
        f->hold = now + result->wait;
    if (result->status == 429 || result->status == 503 ||
        err == -ETIMEDOUT) /* it may be too much for the server */
        f->allowed = f->allowed > 4 ? f->allowed - f->allowed / 4 : f->allowed > 1 ? f->allowed - 1 : 1;
    im_log(IM_LOG_DEBUG, "a request failed", "file=%s why=%s",
           im_log_quote(&(struct im_quoted){0}, w->transfer.path),
           im_log_quote(&(struct im_quoted){0}, result->why));
    if (!f->told && f->unproven_since != 0) {
        im_log(IM_LOG_WARN, "the server does not give objects; waiting", "why=%s",
               im_log_quote(&(struct im_quoted){0}, result->why));
        f->told = true;
    }
    if (rd_tries_failed(&w->tries, &f->storage, err, now)) {
        give_up(f, w, result);
        return;
    }
    w->due = rd_tries_due(&w->tries, &f->storage);
    if (w->due < f->hold)
        w->due = f->hold;
}

static void take_results(struct fetcher *f, int timeout_ms)
{
    struct fe_result results[RESULTS_MAX];
    unsigned n = fe_client_go_on(f->store.client, results, RESULTS_MAX, timeout_ms);

    for (unsigned i = 0; i < n; i++) {
        struct wanted *w = results[i].tag;
        int err;

        im_stats_add(f->child->stats, IM_C_BYTES, (uint64_t)results[i].bytes);
        if (!w) { /* a probe */
            f->probing = false;
            if (results[i].err == 0 || results[i].err == -ECANCELED)
                rd_storage_probed(&f->storage, f->probe_began);
            atomic_store_explicit(&f->child->entry->probed_ns, f->storage.probed, memory_order_relaxed);
            continue;
        }
        err = fe_transfer_end(&w->transfer, &results[i]);
        if (err == 0)
            succeeded(f, w, &results[i]);
        else
            failed(f, w, err, &results[i]);
    }
}

static int probe_begin(void *context, int64_t bytes)
{
    (void)context, (void)bytes;
    return -ECANCELED; /* it gives something: that is all */
}

/* Whether the server gives anything: asked by some other object, while requests fail. */
static void probe(struct fetcher *f, im_ns now)
{
    uint64_t n = rd_index_count(&f->index, IM_TRAIN), sample = 0;
    char path[PATH_MAX], url[FE_URL_BYTES];
    struct fe_part part = {.shard = ""};

    if (f->probing || now - f->probed < PROBE_EVERY_NS || now < f->hold || n == 0)
        return;
    for (int i = 0; i < 16; i++) {
        f->probes++;
        sample = im_hash64(&f->probes, sizeof f->probes, f->child->incarnation) % n;
        if (!fetcher_find(f, key_of(IM_TRAIN, sample)))
            break;
    }
    if (path_of(f, IM_TRAIN, sample, path, sizeof path) < 0 || part_of(f, IM_TRAIN, sample, &part) < 0 ||
        fe_address_url(&f->store.address, *part.shard ? part.shard : path, url, sizeof url) < 0)
        return;
    f->probed = f->probe_began = now;
    f->probing = fe_client_start(f->store.client, &(struct fe_request){.url = url,
                                                                       .first_byte = true,
                                                                       .sink = {.begin = probe_begin}}) == 0;
}

/* Tries again what is due, and tells the supervisor how it goes. */
static void go_on(struct fetcher *f)
{
    struct im_process *entry = f->child->entry;
    im_ns now = im_now();
    uint32_t failing = 0, unproven = 0;

    for (uint32_t i = 0; i < f->count && f->held > 0; i++) {
        struct wanted *w = &f->wanted[i];

        if (w->used && w->began == 0 && now >= w->due)
            fetcher_begin(f, w);
        if (!w->used)
            continue;
        failing += w->tries.failures > 0;
        unproven += w->tries.failures > 0 && rd_tries_unproven(&w->tries, &f->storage);
    }
    if (f->full && f->held > 0) {
        failing = f->held;
        unproven = f->held;
    }
    if (unproven == 0) {
        f->unproven_since = 0;
        f->told = false;
    } else if (f->unproven_since == 0) {
        f->unproven_since = now;
    }
    atomic_store_explicit(&entry->failing_reads, failing, memory_order_relaxed);
    atomic_store_explicit(&entry->waiting_ns, f->unproven_since, memory_order_relaxed);
    if (unproven > 0 && !f->full)
        probe(f, now);
}

/* Readers go by the name: a mirror that was moved away is of no use to them. */
static bool is_removed(const struct fetcher *f)
{
    struct stat ours, named;

    if (fe_cache_is_removed(&f->store.cache))
        return true;
    if (stat(f->root, &named) < 0)
        return errno == ENOENT || errno == ENOTDIR;
    return fstat(f->store.root_fd, &ours) == 0 &&
           (ours.st_ino != named.st_ino || ours.st_dev != named.st_dev);
}

/* An exit status to leave with; or f->removed. */
static int work(struct fetcher *f)
{
    for (;;) {
        int leave = im_child_should_leave(f->child);
        struct im_stats *stats = f->child->stats;

        if (leave)
            return leave;
        if (im_child_is_retired(f->child))
            return IM_EXIT_OK;
        IM_FAULT("fetcher.turn");
        f->removed = is_removed(f);
        if (f->removed)
            return 0;
        im_stats_enter(stats, IM_WORK);
        look_ahead(f);
        go_on(f);
        im_stats_add(stats, IM_C_EVICTED, f->store.cache.evicted);
        f->store.cache.evicted = 0;
        im_stats_gauge(stats, IM_G_CACHE_BYTES, (double)fe_cache_used(&f->store.cache));
        im_stats_enter(stats, f->held > 0 ? IM_WAIT_IO : IM_WAIT_OUTPUT);
        take_results(f, TURN_MS);
    }
}

static int open_index(struct fetcher *f, struct im_text *text)
{
    if (f->child->index_fd > 0 &&
        rd_index_map(f->child->index_fd, f->child->conf->index_file, &f->index, text) == 0)
        return 0;
    return rd_index_open(f->child->conf->index_file, &f->index, text);
}

/* The listing and the folder of the mirror at `path`, a data/; -ENOENT: it was removed. */
static int open_mirror(struct fetcher *f, const char *path, struct im_text *text)
{
    char mirror[PATH_MAX];
    int err;

    f->store.root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->store.root_fd < 0)
        return im_fail(text, -errno, "cannot open '%.700s': %s", path, strerror(errno));
    snprintf(mirror, sizeof mirror, "%.*s", (int)(strrchr(path, '/') - path), path);
    err = fe_listing_open(mirror, &f->store.listing, text);
    if (err < 0) {
        close(f->store.root_fd);
        f->store.root_fd = -1;
    }
    return err;
}

/* Listing takes as long as the server does; the loop must go on meanwhile. */
struct listing_job {
    const char *data_dir;
    char cache[PATH_MAX];
    struct im_text text;
    int err;
    _Atomic bool ended;
};

static void *list_in_thread(void *arg)
{
    struct listing_job *job = arg;

    job->err = fe_list(job->data_dir, job->cache, FE_LIST_QUIETLY, &job->text);
    atomic_store_explicit(&job->ended, true, memory_order_release);
    return NULL;
}

/* Makes the mirror again. 0, an exit status to leave with, or negative errno. */
static int list_again(struct fetcher *f, const char *cache, struct im_text *text)
{
    struct listing_job *job =
        calloc(1, sizeof *job); /* left to its thread where we leave before it has ended */
    pthread_t thread;
    int err, leave;

    if (!job)
        return -ENOMEM;
    job->data_dir = f->child->conf->data_dir;
    snprintf(job->cache, sizeof job->cache, "%s", cache);
    err = -pthread_create(&thread, NULL, list_in_thread, job);
    if (err < 0) {
        free(job);
        return im_fail(text, err, "cannot start a thread: %s", strerror(-err));
    }
    while (!atomic_load_explicit(&job->ended, memory_order_acquire)) {
        leave = im_child_should_leave(f->child);
        if (leave) {
            pthread_detach(thread);
            return leave;
        }
        nanosleep(&(struct timespec){.tv_nsec = (long)(TURN_MS * IM_MS)}, NULL);
    }
    pthread_join(thread, NULL);
    err = job->err < 0 ? im_fail(text, job->err, "%s", job->text.s) : 0;
    free(job);
    return err;
}

/* The mirror that the index is of, and the cache that it lies in. Where somebody has removed them they are made again,
 * which asks the server for the list of objects. 0, an exit status to leave with, or negative errno; ret_waits: what is
 * wrong may pass. */
static int open_store(struct fetcher *f, bool *ret_waits, struct im_text *text)
{
    const struct im_conf *conf = f->child->conf;
    const char *root = rd_index_root(&f->index);
    size_t n = 0;
    char cache[PATH_MAX];
    uint64_t limit;
    int err;

    *ret_waits = false;
    err = rd_mirror_below(conf->data_dir, conf->cache_dir, root, f->below, sizeof f->below, &n);
    if (err < 0 || n >= sizeof f->root)
        return im_fail(text, -EBADMSG, "'%.700s' is no folder of the cache", root);
    f->store.below = f->below;
    snprintf(f->root, sizeof f->root, "%.*s", (int)n, root);
    snprintf(cache, sizeof cache, "%s", f->root);
    for (int i = 0; i < 2; i++)
        *strrchr(cache, '/') = 0;
    err = open_mirror(f, f->root, text);
    if (err == -ENOENT || err == -ENOTDIR) {
        *ret_waits = true;
        err = list_again(f, cache, text);
        if (err == 0)
            err = open_mirror(f, f->root, text);
    }
    if (err == 0)
        err = im_conf_cache_size(conf->cache_size, &limit);
    if (err == 0)
        err = fe_cache_open(cache, limit, &f->store.cache, text);
    if (err == 0)
        err = fe_address_read(conf->data_dir, &f->store.address, text);
    if (err == 0) /* one more, for the probe */
        err = fe_client_open(&f->store.address, (unsigned)conf->connections + 1,
                             (unsigned)conf->read_deadline_ms, &f->store.client, text);
    *ret_waits |= err == -ENOENT || err == -ENOTDIR || err == -ESTALE || err == -ENOSPC || err == -EDQUOT ||
                  err == -EIO || err == -EROFS || err == -EAGAIN;
    return err;
}

static void close_store(struct fetcher *f)
{
    fe_client_close(&f->store.client);
    for (uint32_t i = 0; f->wanted && i < f->count; i++)
        if (f->wanted[i].used)
            fe_transfer_drop(&f->wanted[i].transfer);
    if (f->wanted)
        memset(f->wanted, 0, f->count * sizeof *f->wanted);
    f->held = 0;
    f->next = f->base = 0;
    f->probing = f->full = false;
    fe_cache_close(&f->store.cache);
    fe_listing_close(&f->store.listing);
    if (f->store.root_fd >= 0)
        close(f->store.root_fd);
    f->store.root_fd = -1;
}

/* For as long as it takes. 0, an exit status to leave with, or negative errno where waiting is of no use. */
static int wait_for_store(struct fetcher *f, struct im_text *text)
{
    struct im_process *entry = f->child->entry;
    const im_ns began = im_now();
    bool told = false, waits;
    int err, leave;

    while ((err = open_store(f, &waits, text)) < 0) {
        close_store(f);
        if (!waits)
            return err;
        atomic_store_explicit(&entry->read_error, (uint32_t)-err, memory_order_relaxed);
        atomic_store_explicit(&entry->failing_reads, 1, memory_order_relaxed);
        atomic_store_explicit(&entry->waiting_ns, began, memory_order_relaxed);
        if (!told)
            im_log(IM_LOG_WARN, "the cache cannot be opened; trying again", "why=%s",
                   im_log_quote(&(struct im_quoted){0}, text->s));
        told = true;
        for (im_ns until = im_now() + STORE_RETRY_NS; im_now() < until;) {
            leave = im_child_should_leave(f->child);
            if (leave)
                return leave;
            nanosleep(&(struct timespec){.tv_nsec = (long)(TURN_MS * IM_MS)}, NULL);
        }
    }
    if (err > 0)
        return err;
    atomic_store_explicit(&entry->failing_reads, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->waiting_ns, 0, memory_order_relaxed);
    return 0;
}

/* From now on bytes of strangers come. */
static int confine(struct fetcher *f, struct im_text *text)
{
    int err = fe_sandbox_enter(f->store.cache.path, im_child_is_first(f->child), &f->sandbox, text);

    f->is_confined = err == 0 && f->sandbox.landlock > 0;
    return err;
}

static int open_all(struct fetcher *f, struct im_text *text)
{
    const struct im_conf *conf = f->child->conf;
    int err = open_index(f, text);

    if (err == 0)
        err = rd_order_open(conf, &f->index, &f->order);
    if (err < 0)
        return err;
    f->count = f->allowed = (uint32_t)conf->connections;
    f->wanted = calloc(f->count, sizeof *f->wanted);
    return f->wanted ? 0 : -ENOMEM;
}

int fe_run(struct im_child *child, struct im_text *text)
{
    struct fetcher f = {.child = child,
                        .store = {.root_fd = -1, .cache = {.dir_fd = -1, .tmp_fd = -1, .lock_fd = -1}}};
    bool ready = false;
    int err = open_all(&f, text);

    while (err == 0) {
        err = wait_for_store(&f, text);
        if (err == 0 && !ready)
            err = confine(&f, text);
        if (err != 0)
            break;
        if (!ready)
            im_child_ready(child);
        ready = true;
        err = work(&f);
        if (!f.removed)
            break;
        f.removed = false;
        im_log(IM_LOG_WARN, "the cache was removed; it is made again", "");
        close_store(&f);
        if (f.is_confined)
            err = -ESTALE; /* the next one may write there */
    }
    im_stats_enter(child->stats, IM_IDLE);
    close_store(&f);
    free(f.wanted);
    rd_order_close(&f.order);
    rd_index_close(&f.index);
    return err;
}
