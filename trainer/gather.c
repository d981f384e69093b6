#include "trainer/gather.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/file.h"

/* What is there of the file; the rest are no records. *ret_n: its bytes; NULL: no memory. */
static char *read_records(const struct tr_gathering *g, size_t *ret_n)
{
    const size_t bytes = g->file < 0 ? 0 : g->records * g->record_bytes;
    char *all = malloc(bytes + 1);
    size_t done = 0;

    while (all && done < bytes) {
        const ssize_t n = pread(g->file, all + done, bytes - done, (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    *ret_n = done / g->record_bytes * g->record_bytes;
    return all;
}

/* Each machine's trainers have other images, so no record of this pass is in the way. */
static int take_records(const struct tr_gathering *g, const char *bytes, size_t n, struct im_text *text)
{
    int err = 0;

    for (size_t at = 0; at + g->record_bytes <= n && err == 0; at += g->record_bytes) {
        uint32_t pass_plus_1;

        memcpy(&pass_plus_1, bytes + at, sizeof pass_plus_1);
        if (pass_plus_1 == g->pass + 1 && g->file >= 0)
            err = im_write_all_at(g->file, bytes + at, g->record_bytes, at);
    }
    return err < 0 ? im_fail(text, err, "cannot write what other machines have validated: %s", strerror(-err))
                   : 0;
}

/* The first rank of each machine has its file; each has as many ranks. */
static int share(struct tr_ranks *ranks, const struct tr_gathering *g, uint32_t root, struct im_text *text)
{
    const bool gives = tr_rank(ranks->child) == root;
    size_t n = 0;
    char *mine = gives ? read_records(g, &n) : NULL, *theirs = NULL;
    int err = gives && !mine ? im_fail(text, -ENOMEM, "no memory for the records of a validation")
                             : tr_ranks_share_bytes(ranks, root, mine, n, &theirs, &n, text);

    free(mine);
    if (err == 0 && theirs && ranks->child->index == 0)
        err = take_records(g, theirs, n, text);
    free(theirs);
    return err;
}

int tr_gather_records(struct tr_ranks *ranks, const struct tr_gathering *g, struct im_text *text)
{
    int err = 0;

    for (uint32_t root = 0; tr_ranks_are_remote(ranks->child) && root < tr_world(ranks->child) && err == 0;
         root += ranks->child->plan->ranks)
        err = share(ranks, g, root, text);
    return err;
}
