/* A run's shared memory as one process sees it: the private handle over the segments of abi.h. */
#ifndef IPC_RUN_H
#define IPC_RUN_H

#include <stdbool.h>

#include "ipc/abi.h"
#include "ipc/plan.h"
#include "ipc/shm.h"

/* Descriptors that processes inherit. Roles get CONTROL, ENCODED, LEASE (its read end) and BATCH + rank,
 * trainers LOCK, SNAPSHOT and MODULE too, readers INDEX; the supervisor gets CONTROL, LEASE (its write end), CHANNEL (to the
 * warden), LOG (what the roles write to their stderr), LOCK, and perhaps MEETING and LISTENER. */
enum {
    IM_FD_CONTROL = 3,
    IM_FD_ENCODED = 4,
    IM_FD_LEASE = 5,
    IM_FD_CHANNEL = 6,
    IM_FD_LOG = 7,
    IM_FD_LOCK = 8,
    IM_FD_SNAPSHOT = 9,
    IM_FD_INDEX = 10,    /* of the images; closed where the warden could not open it */
    IM_FD_MODULE = 11,   /* of CUDA; closed where there is none */
    IM_FD_MEETING = 12,  /* a supervisor's, where the run has several nodes (supervisor/cluster/pass.h) */
    IM_FD_LISTENER = 13, /* of node 0's supervisor: for those of other nodes */
    IM_FD_PIXELS =
        14, /* readers', augmenters' and the supervisor's: the pixel cache; closed where there is none */
    IM_FD_BATCH = 15,
};

/* Offsets of the tables in the control segment, and of the arrays in one batch of a batch segment; bytes. */
struct im_offsets {
    uint64_t conf, processes, stats, encoded_words, encoded_meta, batch_words, bad_samples, peers, seek_rings,
        stamps[IM_SPLITS];
    uint64_t control_bytes;
    uint64_t encoded_bytes;
    uint64_t batch_labels, batch_verdicts, batch_samples, batch_checks; /* within a batch; pixels are at 0 */
    uint64_t batch_stride;
    uint64_t batch_bytes; /* of a rank's whole segment */
};

struct im_run {
    struct im_segment control_segment, encoded_segment, batch_segment[IM_RANKS_MAX];
    struct im_control *control;
    struct im_offsets layout;
    struct im_geometry geometry; /* private copy: checked once, then trusted */
    uint32_t world,
        first_rank; /* trainers of the nodes that take part, and the first of this one's among them */

    struct im_process *process;
    struct im_stats *stats;
    _Atomic uint64_t *encoded_word;
    struct im_encoded_meta *encoded_meta;
    _Atomic uint64_t *batch_word; /* [ranks][batches][batch_size_max] */
    struct im_bad_entry *bad_sample;
    struct im_peer *peer;           /* [ranks + remote_ranks], by rank among those that take part */
    struct im_seek_ring *seek_ring; /* [augmenters_max] */
    _Atomic uint32_t
        *stamp[IM_SPLITS]; /* the ledger's: [sample] = 1 + phase that last delivered it. W trainers */
    char *conf;            /* frozen configuration; not 0-terminated beyond conf_bytes */
};

/* One batch of one rank, as arrays over its places. */
struct im_batch_view {
    unsigned char *pixels;    /* uint8 [count][size][size][3], NHWC RGB */
    int32_t *labels;          /* [count] class indices */
    uint32_t *verdicts;       /* [count] enum im_verdict; 0 = usable */
    uint64_t *samples;        /* [count] ids within the split */
    _Atomic uint64_t *checks; /* [count] im_batch_describe() */
};

/* Computes the layout of a geometry. -EINVAL when a size is out of range or the sum overflows. */
int im_offsets_compute(const struct im_geometry *g, struct im_offsets *ret);

/* Makes all segments of a run, zeroed, and writes header and configuration. `conf` is copied. */
int im_run_create(const struct im_geometry *g, const char *conf, uint32_t conf_bytes, struct im_run *ret,
                  struct im_text *text);

/* Which segments a process maps, and how. */
struct im_attach {
    bool encoded_write;  /* readers */
    bool encoded_read;   /* augmenters */
    bool batch_write;    /* augmenters: all ranks */
    int batch_read_rank; /* trainers: this rank alone; -1 = none */
    int first_fd;        /* IM_FD_CONTROL; the others follow as in the enum above */
};

/* Maps the segments behind inherited descriptors. Checks every byte it will rely on: -EBADMSG for anything
 * that is no run of this build. The control segment is always mapped writable. */
int im_run_attach(const struct im_attach *how, struct im_run *ret, struct im_text *text);

/* Maps the control segment alone, read-only: for whoever watches a run from outside (`imsuper trace`). Takes ownership of the
 * descriptor, also when it fails. The same checks; nothing may be written through *ret. */
int im_run_watch(int fd, struct im_run *ret, struct im_text *text);
/* The supervisor's: `world` trainers take part from now on, of which this node's are those from first_rank on. No other
 * process of this node lives. */
void im_run_take_part(struct im_run *run, uint32_t world, uint32_t first_rank);

/* The fixed part of the control segment, header and configuration, as this process found it. */
struct im_header_copy {
    char bytes[offsetof(struct im_control, run_state)];
    char conf[IM_CONF_BYTES];
    uint64_t check;
};
void im_run_copy_header(const struct im_run *run, struct im_header_copy *ret);

/* Supervisor: puts back what has changed, so that the next child can attach. True: something had. */
bool im_run_repair_header(struct im_run *run, const struct im_header_copy *copy);

/* What header_check must be. */
uint64_t im_run_header_check(const struct im_control *c, const char *conf);

void im_run_close(struct im_run *run);

/* Does each batch of the plan fit the batch rings of this run? -EBADMSG with a sentence where the two
 * contradict each other: the cells' addresses are computed from both. */
int im_run_check_plan(const struct im_run *run, const struct im_plan *plan, struct im_text *text);

/* Marks each cell with the first number it will carry, for a run that starts at `batch`: the state of a data
 * plane in which nothing has happened. Supervisor only, with no reader, augmenter or trainer alive. */
void im_run_reset(struct im_run *run, const struct im_plan *plan, uint64_t batch);

/* Encoded cell and batch cell addresses. */
unsigned char *im_run_cell_bytes(const struct im_run *run, uint32_t cell);
_Atomic uint64_t *im_run_batch_word(const struct im_run *run, uint32_t rank, uint64_t batch, uint32_t place);
void im_run_batch_view(const struct im_run *run, uint32_t rank, uint64_t batch, struct im_batch_view *ret);

/* Slots of the process table. */
uint32_t im_run_slot(const struct im_run *run, enum im_role role, uint32_t index);

const char *im_role_name(enum im_role role);

static inline enum im_run_state im_run_state(const struct im_run *run)
{
    return (enum im_run_state)atomic_load_explicit(&run->control->run_state, memory_order_acquire);
}

#define IM_SETTLE_MAX_NS (UINT64_C(1800) * 1000000000)

/* Is the storage of the data away, or was it so lately that files that are missing may still come? */
static inline bool im_run_data_settles(const struct im_run *run, uint64_t now)
{
    /* Acquire: the supervisor sets the other word first. */
    const uint64_t away = atomic_load_explicit(&run->control->outage_ns, memory_order_acquire);
    const uint64_t until = atomic_load_explicit(&run->control->settled_ns, memory_order_relaxed);

    return away != 0 || (now < until && until - now <= IM_SETTLE_MAX_NS);
}

#endif
