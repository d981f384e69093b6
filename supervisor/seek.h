/* The supervisor owns the file of seek indexes while no other run does: a thread takes what the augmenters have made out
 * of their rings and adds it. A disk that is full or does not answer costs the indexes, and stops nobody. */
#ifndef SUPERVISOR_SEEK_H
#define SUPERVISOR_SEEK_H

#include "ipc/base/writer.h"
#include "ipc/config/conf.h"
#include "ipc/run.h"
#include "ipc/seek_file.h"

struct sv_seek {
    struct im_writer *writer; /* NULL: there is no index */
    const char *path;
    struct im_run *run;
    _Atomic uint64_t next_try;  /* when to try to own the file again; 0: it is ours. W thread */
    struct im_seek_owner owner; /* the thread's, as what follows */
    int err;                    /* of its last try */
    struct im_text why;
    unsigned char bytes[IM_SEEK_BYTES_MAX];
};

/* Run and configuration are borrowed. Without memory there is no index. */
void sv_seek_open(struct sv_seek *s, struct im_run *run, const struct im_conf *conf);

/* Once a turn of the loop. */
void sv_seek_turn(struct sv_seek *s);

/* What failed, or works again: true, with the sentence that says why, or an empty one. */
bool sv_seek_news(struct sv_seek *s, struct im_text *ret);

/* Adds what is left, waiting at most `timeout`. false: the thread hangs in a call, and what was borrowed must stay. */
bool sv_seek_close(struct sv_seek *s, im_ns timeout);

#endif
