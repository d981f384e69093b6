/* A client of PMI version 1, the line protocol that Slurm (--mpi=pmi2), MPICH's Hydra and Flux speak on the descriptor in
 * PMI_FD: each process puts a few words under names, all meet at a barrier, then each reads the names that it needs.
 *
 *     cmd=init pmi_version=1 pmi_subversion=1            cmd=response_to_init ... rc=0
 *     cmd=get_my_kvsname                                 cmd=my_kvsname kvsname=NAME
 *     cmd=put kvsname=NAME key=K value=V                 cmd=put_result rc=0 ...
 *     cmd=barrier_in                                     cmd=barrier_out
 *     cmd=get kvsname=NAME key=K                         cmd=get_result rc=0 value=V
 *     cmd=finalize                                       cmd=finalize_ack
 *
 * Words have no blanks and no '='. Lines of the server are bounded; all waiting has an end. */
#ifndef SUPERVISOR_CLUSTER_PMI_H
#define SUPERVISOR_CLUSTER_PMI_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"

#define SV_PMI_LINE_MAX 4096
#define SV_PMI_VALUE_MAX 1024 /* with the 0; what all known servers take */

struct sv_pmi {
    int fd;
    char kvs[256];
    char have[SV_PMI_LINE_MAX]; /* read, not yet used */
    size_t n;
    im_ns patience;                               /* for the barrier; an answer has 10 s */
    void (*say)(void *context, const char *line); /* may be NULL */
    bool (*leave)(void *context);                 /* may be NULL */
    void *context;
};

/* Each returns 0 or a negative errno with a sentence: -EPROTO (an answer that is none), -ECONNRESET (the server is gone),
 * -ETIMEDOUT, -EINTR (`leave`), -EMSGSIZE, -ENOENT (nothing was put under the name). The fields below `n` are set by the caller. */
int sv_pmi_init(struct sv_pmi *p, int fd, struct im_text *text);
int sv_pmi_put(struct sv_pmi *p, const char *key, const char *value, struct im_text *text);
int sv_pmi_barrier(struct sv_pmi *p, struct im_text *text);
int sv_pmi_get(struct sv_pmi *p, const char *key, char ret[SV_PMI_VALUE_MAX], struct im_text *text);
int sv_pmi_finalize(struct sv_pmi *p, struct im_text *text);

#endif
