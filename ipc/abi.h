/* Every struct that lives in shared memory. Nothing else may.
 *
 * Rules: fixed-width integers only; no pointer, enum, bool or size_t; references are offsets or indices.
 * Beside each word stands who writes it (W) and who reads it (R). Fields without W are written by the
 * supervisor before any child runs and never change. A change here changes IM_ABI_VERSION and the asserts
 * below.
 *
 * Four kinds of segment: control (this header, the tables and all cell words), encoded (the bytes of files),
 * one batch segment per rank (pixels, labels, verdicts), which run.h maps and checks; and the trainers'
 * snapshot (snapshot.h).
 *
 * In this folder: what two processes of a run must agree on (PROTOCOL.md): rings, tickets, snapshots,
 * statistics, control messages, and the start of a child. Every process may be killed at any instruction:
 * each word has one writer, and every state that a killed process leaves is recovered by reclaim. No role's
 * logic here; base/ and config/ below do not use shared memory. */
#ifndef IPC_ABI_H
#define IPC_ABI_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define IM_ABI_VERSION 13u
#define IM_MAGIC UINT64_C(0x3172657075736d69) /* "imsuper1" */
#define IM_LINE 128                           /* two cache lines: the adjacent-line prefetcher pairs them */
#define IM_PAGE 4096

#define IM_RANKS_MAX 64
#define IM_NODE_LOST 0x1057bead /* no flipped bit of a 0 makes it */
#define IM_SLOTS_MAX 1024
#define IM_CELLS_MAX 65536
#define IM_BATCHES_MAX 64
#define IM_CONF_BYTES 65536
#define IM_BAD_MAX 1024
#define IM_QUARANTINE_MAX 1024
#define IM_NAME_BYTES 232
#define IM_BLAMES 64        /* samples under suspicion; more forget the oldest */
#define IM_PEER_VALUES 8    /* numbers of one exchange between the trainers (peers.h) */
#define IM_CARD_BYTES 12288 /* by which a trainer shows how to reach it */
#define IM_SEEK_RING_BYTES 65536

enum im_role {
    IM_ROLE_NONE,
    IM_ROLE_SUPERVISOR,
    IM_ROLE_READER,
    IM_ROLE_AUGMENTER,
    IM_ROLE_TRAINER,
    IM_ROLE_FETCHER,
    IM_ROLES
};
enum im_split { IM_TRAIN, IM_VAL, IM_SPLITS };

/* What a process waits on (wait.h). On its own lines: every publisher reads `waiters`. */
struct im_event {
    alignas(IM_LINE) _Atomic uint32_t sequence; /* W anyone: +1 a signal. The futex word. */
    _Atomic uint32_t waiters; /* W waiters: +1 before, -1 after a wait. A killed waiter stays counted,
                                 which costs its wakers a system call and nothing else. */
};

/* What the run asks of everyone. */
enum im_run_state {
    IM_RUN_STARTING, /* trainers load the checkpoint; the rings are not yet set */
    IM_RUN_RUNNING,
    IM_RUN_STOPPING, /* trainers finish the step, save and leave; readers and augmenters wait for
                        IM_RUN_ENDED */
    IM_RUN_ENDED,    /* leave now; nothing more will be asked */
};

/* Sizes of a run; fixed when it is created. */
struct im_geometry {
    uint64_t samples[IM_SPLITS];
    uint64_t cell_bytes;       /* of one encoded cell; multiple of IM_PAGE */
    uint64_t batch_pixels_max; /* bytes of the largest image times batch_size_max */
    uint32_t encoded_cells;
    uint32_t ranks;
    uint32_t batches; /* M: depth of each batch ring */
    uint32_t batch_size_max;
    uint32_t
        slots; /* process table entries: supervisor, readers, augmenters, trainers, fetchers, in this order */
    uint32_t readers_max;
    uint32_t augmenters_max;
    uint32_t classes;
    uint32_t fetchers;     /* 1: images are remote; 0 */
    uint32_t remote_ranks; /* of other nodes; the table of peers has them too */
    uint32_t first_rank;   /* of this node's, in the world: 0 .. ranks + remote_ranks - 1 */
};

/* Process table entry. NONE -> SPAWN -> RUN -> DEAD -> NONE. */
enum im_process_state { IM_PROCESS_NONE, IM_PROCESS_SPAWN, IM_PROCESS_RUN, IM_PROCESS_DEAD };

struct im_process {
    alignas(IM_LINE) _Atomic uint64_t
        state;                 /* state << 32 | incarnation. W supervisor; child: SPAWN -> RUN only, by CAS */
    uint32_t role;             /* enum im_role */
    uint32_t index;            /* within the role */
    _Atomic int32_t pid;       /* W warden's reply through the supervisor, and the child itself */
    _Atomic uint32_t restarts; /* W supervisor */
    _Atomic uint64_t start_time; /* W child: /proc/self/stat field 22; tells a reused pid */
    _Atomic uint64_t progress;   /* W child: +1 an item finished */
    _Atomic uint64_t
        active_ticket; /* W child: ticket being decoded + 1; 0 = none. Who is to blame for a crash. */
    _Atomic uint64_t active_since_ns; /* W child: CLOCK_MONOTONIC when it began; 0 = none */
    _Atomic uint64_t position;        /* W trainer: next batch it will consume + 1; 0 = not known yet */
    _Atomic uint64_t ready_ns;        /* W child: when it was ready for work; 0 = not yet */
    _Atomic uint64_t
        turned_ns; /* W child: when its loop last went round (im_child_should_leave); 0 = not yet */
    _Atomic uint64_t read_ns;    /* W reader, fetcher: when a read or probe succeeded last; 0 = none did */
    _Atomic uint64_t probed_ns;  /* W reader: when the latest probe that succeeded had begun; 0 = none */
    _Atomic uint64_t waiting_ns; /* W reader: since when reads fail and nothing shows that the storage works;
                                       0 = they do not */
    _Atomic uint32_t failing_reads; /* W reader: files that failed and are tried again */
    _Atomic uint32_t slow_reads;    /* W reader: reads that take longer than half of --read-deadline-ms */
    _Atomic uint32_t read_error;    /* W reader: errno of the last failure */
    _Atomic uint32_t retire; /* W supervisor: the incarnation that is to leave once it holds no cell; 0: none.
                                R reader, augmenter */
    _Atomic uint32_t
        failed; /* W trainer: exit status + 1 that it leaves with, when it has logged why; 0: it does
                                not leave with a failure */
};

/* Statistics of one process: written by it alone with plain load+store, read by anyone at any time. */
enum im_activity { IM_IDLE, IM_WAIT_INPUT, IM_WORK, IM_WAIT_OUTPUT, IM_WAIT_IO, IM_ACTIVITIES };
enum im_counter {
    IM_C_SAMPLES,
    IM_C_BYTES,
    IM_C_BATCHES,
    IM_C_BAD,
    IM_C_FAULTS,
    IM_C_SNAPSHOTS,
    IM_C_SEEK_USED,   /* images decoded with a seek index */
    IM_C_SEEK_MADE,   /* indexes made and passed on */
    IM_C_SEEK_WRONG,  /* indexes that were not their image's */
    IM_C_HITS,        /* of a fetcher: tickets whose object was in the cache when it was looked for first */
    IM_C_MISSES,      /* and was not */
    IM_C_EVICTED,     /* objects that made room for others */
    IM_C_PIXELS_USED, /* images whose pixels came from the pixel cache; of a reader: that were not read */
    IM_C_PIXELS_MADE, /* and those that were put there */
    IM_C_PARTS,       /* of a reader: images of which it read what the crop needs */
    IM_C_PARTS_WRONG, /* of which that did not do: their whole file was read next */
    IM_COUNTERS = 16
};
enum im_histogram { IM_H_ITEM, IM_H_DECODE, IM_H_RENDER, IM_H_RESIZE, IM_H_TRANSFORM, IM_HISTOGRAMS };
enum im_gauge {
    IM_G_LOSS,
    IM_G_LR,
    IM_G_VAL_LOSS,
    IM_G_VAL_TOP1,
    IM_G_VAL_TOP5,
    IM_G_SNAPSHOT_BYTES,   /* of the snapshot segment */
    IM_G_SNAPSHOT_SECONDS, /* that the last snapshot took */
    IM_G_SKIPPED,
    IM_G_GPU_SAMPLES, /* how often the GPU was asked; 0: there is none, or it says nothing. The next ones are
                         NAN where the driver does not say it */
    IM_G_GPU_BUSY,    /* share of the last moments in which a kernel ran, 0 .. 1 */
    IM_G_GPU_MEMORY,  /* bytes in use on the GPU, by anyone */
    IM_G_GPU_POWER,   /* W */
    IM_G_GPU_TEMPERATURE, /* degrees Celsius */
    IM_G_GPU_CLOCK,       /* MHz, of the multiprocessors */
    IM_G_GPU_MEMORY_CLOCK,
    IM_G_GPU_THROTTLED, /* bits of enum im_throttle (telemetry.h) */
    IM_G_GPU_ENERGY,    /* J since the trainer began to count */
    IM_G_GPU_IDEAL,    /* s that an image of the current size would take at the GPU's peak rate; 0: unknown */
    IM_G_PLANS,        /* which of the GPU's plans is being made, from 1 on; 0: none */
    IM_G_PLANS_OF,     /* how many there are; 0: not known yet; -1: another process makes them */
    IM_G_SAVE_SECONDS, /* that the last checkpoint took; 0: none yet */
    IM_G_CACHE_BYTES,  /* of a fetcher: what objects take in the cache */
    IM_G_VAL_MAP,      /* of images with several labels: mean average precision, F1 over all labels */
    IM_G_VAL_F1,
    IM_GAUGES = 24
};
#define IM_HISTOGRAM_BUCKETS 480 /* of durations up to 18 minutes: stats.h */

/* What a process did, and how long, for `imsuper trace` (spans.h). */
#define IM_SPANS 1024
struct im_span {
    _Atomic uint64_t begin_ns;
    _Atomic uint64_t length_and_kind; /* ns * 256 + kind */
};

struct im_stats {
    alignas(IM_PAGE) _Atomic uint64_t activity; /* enum im_activity the process is in */
    _Atomic uint64_t since_ns;                  /* ... since */
    _Atomic uint64_t time_ns[8];                /* finished time by activity */
    _Atomic uint64_t counter[IM_COUNTERS];
    _Atomic uint64_t gauge[IM_GAUGES]; /* doubles, by bits */
    _Atomic uint64_t histogram[IM_HISTOGRAMS][IM_HISTOGRAM_BUCKETS];

    /* No statistics, but as these W augmenter alone; what its end has to do with its ticket. */
    _Atomic uint64_t active_need; /* bytes of memory that its ticket takes; 0 = not known yet */
    _Atomic uint32_t sent_signal; /* as it dies: a fatal signal that another process sent; 0 = none */

    _Atomic uint32_t spans_wanted; /* W supervisor: 1: somebody reads them */
    _Atomic uint64_t spans; /* that were kept so far; span n lies at n mod IM_SPANS, before the count */
    struct im_span span[IM_SPANS];
};

/* A pixel cache in memory: takes images; takes no more; was emptied, for memory ran out. */
enum im_pixels_state { IM_PIXELS_GROW, IM_PIXELS_STAY, IM_PIXELS_GONE };
enum im_by_reference { IM_BY_FILE = 1, IM_BY_PIXELS }; /* of im_encoded_meta */

/* What a reader says of the bytes it put into a cell. W reader while FILLING; R augmenter while TAKEN, and the
 * supervisor for the name of a slow read. */
struct im_encoded_meta {
    uint64_t sample;  /* id in its split */
    uint64_t key;     /* im_seek_key() of the cell's bytes, as they were read */
    uint64_t hash;    /* im_encoded_hash(): of what stands here, but for the name and what follows it */
    uint32_t bytes;   /* in the cell */
    uint32_t label;   /* class index */
    uint32_t verdict; /* enum im_verdict: IM_VERDICT_OK, or why there are no bytes */
    uint32_t
        by_reference; /* 1: the cell holds where the file is (ipc/base/reference.h, with its 0), for it is larger
                              than a cell; 2: the same, for the pixel cache has the image (IM_BY_PIXELS) */
    uint64_t stamp; /* of the file, by which the pixel cache finds it without its bytes; 0: none */
    uint64_t link;  /* by which its link is found (ipc/seek_link.h); 0: none is wanted */
    uint64_t
        image; /* of parts: im_seek_key() of the whole image; of an object of the cache by reference: its seal */
    uint32_t head, from,
        to; /* of parts: bytes [0, head) and [from, to) are there, zeros elsewhere; to == 0: all are */
    uint32_t phase; /* of the link */
    uint32_t
        image_bytes; /* of parts: of the whole image. Where that is larger than a cell, one part follows the other there; or, by
                             reference 1, they are in the file, and no other bytes of it are to be read */
    char name[IM_NAME_BYTES]; /* path below the data directory, for messages; its end if longer */
    _Atomic uint64_t slow_ns; /* W reader while FILLING: when the read began, once it takes long, after all
                                 above, release; 0 = it does not. W supervisor: 0, before R2 */
    _Atomic uint64_t
        ended; /* W supervisor: 1, before R3: an augmenter ended with these bytes in its hands; who takes
                                 them next compares them before it decodes them. W reader: 0 */
    _Atomic uint64_t
        whole; /* W augmenter before E5: the ticket of which parts of a file, or an object of the cache, did
                               not do, + 1 */
    _Atomic uint64_t
        damaged; /* W reader while FILLING: the ticket whose object in the cache is damaged, + 1; its fetcher
                                 fetches it again */
};

/* Seek indexes that an augmenter has made (seek_ring.h): records one after another, over and over. */
struct im_seek_ring {
    alignas(IM_LINE) _Atomic uint64_t written; /* W augmenter: bytes so far, after a record, release */
    alignas(IM_LINE) _Atomic uint64_t taken;   /* W supervisor: of them, those that it has copied, release */
    alignas(IM_LINE) unsigned char bytes[IM_SEEK_RING_BYTES];
};

/* A sample that could not be used; told once, counted for ever. Claimed by CAS on key. */
struct im_bad_entry {
    _Atomic uint64_t key; /* W augmenter: split << 63 | sample + 1; 0 = unused */
    _Atomic uint32_t count;
    _Atomic uint32_t verdict; /* W augmenter, after name, release; 0 = not yet complete */
    char name[IM_NAME_BYTES];
};

/* A sample on which augmenters ended (supervisor/blame.h). */
struct im_blame {
    _Atomic uint64_t key;    /* W supervisor: as in im_bad_entry; 0 = unused */
    _Atomic uint64_t ticket; /* W supervisor: that they held; another one was delivered in between */
    _Atomic uint32_t points; /* W supervisor: of deaths in a row */
    _Atomic uint32_t stray;  /* W supervisor: of `points`, those that the next death elsewhere takes back */
};

/* The ledger of one split and epoch: what proves exactly once. */
struct im_ledger {
    _Atomic uint64_t
        delivered; /* W trainers: samples handed to a training step or a validation in the current phase */
    _Atomic uint64_t duplicates;      /* W trainers: of them, seen before in this phase */
    _Atomic uint64_t bad;             /* W trainers: of them, without a usable image */
    _Atomic uint64_t phases;          /* W trainer 0: finished phases */
    _Atomic uint64_t phases_exact;    /* W trainer 0: of them, each sample exactly once */
    _Atomic uint64_t total_delivered; /* W trainer 0: over finished phases, in this start of the run */
    _Atomic uint64_t ended;           /* W trainer 0: number of the last finished phase + 1; 0: none */
    uint64_t pad;
};

/* What one trainer tells the others (peers.h). */
struct im_peer {
    alignas(IM_LINE) _Atomic uint64_t round;   /* W trainer: exchanges it has posted, after their numbers,
                                                  release; supervisor: 0 in a reset */
    _Atomic uint64_t value[2][IM_PEER_VALUES]; /* W trainer: of round r at [r % 2], doubles by bits */
    /* W trainer: incarnation << 32 | bytes, after the card, release; of a rank of another node W supervisor, with
     * node_generation in place of the incarnation */
    alignas(IM_LINE) _Atomic uint64_t card;
    unsigned char card_bytes[IM_CARD_BYTES];
    alignas(IM_LINE) _Atomic uint64_t check[2]; /* W trainer, with value[]: a hash of round and numbers */
};

/* First page of the snapshot segment (snapshot.h); two slots of bytes follow, each half of the rest. The one
 * that is not current may hold anything. */
struct im_snapshot_header {
    uint64_t magic; /* W trainer 0, when it has given the segment its size */
    uint32_t abi_version;
    uint32_t header_bytes;     /* sizeof(struct im_snapshot_header) */
    _Atomic uint64_t sequence; /* W trainer 0: +1 a snapshot, once it is complete in slot sequence % 2,
                                  release; 0 = none yet */
    uint64_t bytes[2];         /* W trainer 0, before `sequence`: of the snapshot in each slot */
};

/* Where a machine of a run is to be found by the others, should it have to look for node 0, or be it. */
struct im_node_place {
    char address[64]; /* numeric; "": not known */
    uint32_t port;
};

/* First page of the control segment; the tables follow at offsets that run.c computes from the geometry. */
struct im_control {
    uint64_t magic;
    uint32_t abi_version;
    uint32_t control_bytes_of_header; /* sizeof(struct im_control) */
    uint64_t build_hash;              /* of im_build_id() */
    uint64_t segment_bytes;
    uint64_t run_id;
    uint64_t created_ns;
    struct im_geometry geometry;
    uint32_t conf_bytes; /* frozen configuration, im_conf_freeze() */
    uint32_t warden_pid;

    alignas(IM_LINE) _Atomic uint32_t run_state; /* W supervisor */
    _Atomic uint32_t next_incarnation;           /* W supervisor */
    _Atomic uint32_t generation;                 /* W supervisor: +1 a reset of the data plane */
    _Atomic uint32_t quarantine_count;           /* W supervisor, after the entry, release */
    _Atomic uint64_t encoded_free_hint;          /* W anyone: no FREE cell's ticket is below it, probably */
    _Atomic uint64_t encoded_ready_hint;         /* W anyone: no READY cell's ticket is below it, probably */
    _Atomic uint32_t bad_overflow;               /* W augmenter: bad samples beyond IM_BAD_MAX */
    _Atomic uint32_t bad_told;                   /* W supervisor: entries of the bad table that were told */
    _Atomic uint32_t deaths;                     /* W supervisor: processes that died, in this run */
    _Atomic uint32_t save_requests; /* W supervisor: +1 a checkpoint that is asked for between two steps */
    _Atomic uint32_t exit_status;   /* W supervisor, before STOPPING or ENDED: what the run ends with;
                                       im_exit_word() */
    _Atomic uint64_t quarantine[IM_QUARANTINE_MAX]; /* W supervisor: im_bad_quarantine_word() */

    struct im_event event_free;               /* readers wait: a cell became FREE */
    struct im_event event_ready;              /* augmenters wait: a cell became READY or a batch EMPTY */
    struct im_event event_run;                /* everyone: run_state changed */
    struct im_event event_done[IM_RANKS_MAX]; /* trainer r waits: a sample is DONE, a peer said something */
    struct im_ledger ledger[IM_SPLITS];

    /* How far this start of the run has come, and whether its supervisor lives. */
    alignas(IM_LINE) _Atomic uint64_t
        first_position;           /* W supervisor: `position` with which the trainers first
                                                         began; 0: they have not */
    _Atomic uint64_t first_order; /* W trainer 0, before it tells first_position: batches of that pass that
                                           were done before, in its order; 0 but for --elastic drop */
    _Atomic uint64_t furthest_position; /* W supervisor: the largest that a trainer has told */
    _Atomic uint64_t turns;             /* W supervisor: +1 a turn of its loop. R warden */
    /* What users ask for while the run goes on. A new supervisor finds it here. */
    alignas(IM_LINE) _Atomic uint32_t paused; /* W supervisor: 1: trainers wait between two steps */
    _Atomic uint32_t wanted[IM_ROLES]; /* W start, then supervisor: readers and augmenters; 0: all slots */
    _Atomic uint32_t
        automatic[IM_ROLES];            /* W start, then supervisor: 1: the supervisor may change `wanted` */
    _Atomic uint32_t snapshot_requests; /* W supervisor: +1 a snapshot that is asked for between two steps */
    _Atomic uint32_t snapshot_answers;  /* W trainer 0: the last request that it has served, after the
                                             snapshot is complete */
    _Atomic uint32_t save_answers;      /* W trainer 0: the last of save_requests that it has served */
    _Atomic uint32_t trainer_restart;   /* W supervisor: the request after whose answer all trainers start
                                             again; 0: none */

    struct im_blame blame[IM_BLAMES];
    _Atomic uint32_t blames; /* W supervisor: entries that were begun */
    _Atomic uint32_t
        quarantine_verdict[IM_QUARANTINE_MAX]; /* W supervisor, before the count: enum im_verdict */
    _Atomic uint64_t oom_kills; /* W supervisor: im_oom_kills() + 1 when it last looked; 0 = never */
    _Atomic uint32_t
        reads_careful;          /* W supervisor: 1: a read hung once; readers make no call in their loop that
                                       may */
    _Atomic uint64_t outage_ns; /* W supervisor: since when the run waits for its storage; 0 = it does not */
    _Atomic uint32_t accepted;  /* W supervisor: 1: the run's configuration has been given its name */
    _Atomic uint64_t supervisor_lost_ns; /* W warden: when the last supervisor died, while there is none; its
                                              successor: 0, when it has told. 0 = none has died */
    _Atomic uint32_t seek_wanted; /* W supervisor: 1: it owns the file of seek indexes and takes new ones */
    _Atomic uint32_t saver_seen;  /* W warden: 0, before it starts a saver; W that saver: 1, once it is
                                              attached. R supervisor, warden */
    _Atomic uint64_t settled_ns;  /* W supervisor: until when files missing after an outage may come; 0 = none
                                     was. R readers */
    _Atomic uint32_t
        pixels_state; /* W supervisor: enum im_pixels_state, of a pixel cache in memory; R augmenters */
    _Atomic uint32_t
        must_compare; /* W supervisor: 1: a process of the run has died; bytes of all cells are compared from
                                      then on (ipc/encoded.h) */
    _Atomic uint32_t has_avif; /* W augmenters: 1: one has met an AVIF image without the library for it */
    _Atomic uint32_t
        node_generation; /* W supervisor, before its trainers start: the number under which the nodes of
                                         a run began this time; 0: one node */
    _Atomic uint64_t
        node_share; /* W supervisor, before node_generation: trainers of the nodes that take part << 32 |
                                        the first of this node's among them; 0: all do */
    _Atomic uint32_t
        node_lost; /* W supervisor, at its end: IM_NODE_LOST: the run is to go on under another head. R warden's process,
                                   once it has ended */
    uint64_t nodes_note[128]; /* W supervisor, before node_generation: of the generation, for its successor */
    struct im_node_place
        nodes_place[IM_RANKS_MAX]; /* W supervisor. R supervisor, and the warden's process once it has ended:
                                      of each machine; none of one: nothing is known. May be torn: a hint */
    uint64_t header_check;         /* a hash of all before run_state, and of the configuration */
};

static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "shared words must be lock-free");
static_assert(sizeof(struct im_event) == IM_LINE, "abi 13");
static_assert(sizeof(struct im_process) == IM_LINE, "abi 13");
static_assert(sizeof(struct im_encoded_meta) == 352 && offsetof(struct im_encoded_meta, name) == 84,
              "abi 13");
static_assert(sizeof(struct im_bad_entry) == 248, "abi 13");
static_assert(sizeof(struct im_peer) == 12800 && offsetof(struct im_peer, card) == 256, "abi 13");
static_assert(sizeof(struct im_snapshot_header) == 40, "abi 13");
static_assert(sizeof(struct im_seek_ring) == 2 * IM_LINE + IM_SEEK_RING_BYTES, "abi 13");
static_assert(sizeof(struct im_stats) == 9 * IM_PAGE, "abi 13");
static_assert(offsetof(struct im_control, run_state) % IM_LINE == 0, "abi 13");

#endif
