/* What became of one sample: fit to train on, or the reason why not. One byte of it travels
 * in shared memory. */
#ifndef IPC_BASE_VERDICT_H
#define IPC_BASE_VERDICT_H

/* Append only: the numbers are part of the shared-memory layout and of events.jsonl. */
enum im_verdict {
    IM_VERDICT_OK = 0,
    IM_VERDICT_EMPTY = 1,          /* the file has no bytes */
    IM_VERDICT_READ_ERROR = 2,     /* the file could not be opened or read */
    IM_VERDICT_NOT_IMAGE = 3,      /* no supported format begins like this */
    IM_VERDICT_CORRUPT = 4,        /* the decoder gave up on it */
    IM_VERDICT_TRUNCATED = 5,      /* it ends before the pixels that were needed */
    IM_VERDICT_UNSUPPORTED = 6,    /* a known format, or a variant of one, that is not decoded */
    IM_VERDICT_TOO_LARGE = 7,      /* more pixels, or a longer side, than allowed */
    IM_VERDICT_TOO_MANY_SCANS = 8, /* more progressive scans than allowed */
    IM_VERDICT_MEMORY_LIMIT = 9,   /* decoding needs more memory than allowed, or than there is */
    IM_VERDICT_KILLED = 10,        /* it killed its augmenter, repeatedly */
    IM_VERDICT_DEADLINE = 11,      /* decoding took longer than allowed */
    IM_VERDICT_READ_HUNG = 12,     /* reading it did not come to an end, repeatedly */
    IM_VERDICT_COUNT
};

/* A short word for logs and files ("truncated"), and a sentence for users ("the file ends too early").
 * Both are constant strings; a number that is no verdict gives "unknown" and a sentence that says so. */
const char *im_verdict_name(unsigned verdict);
const char *im_verdict_sentence(unsigned verdict);

#endif
