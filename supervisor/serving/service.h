/* Images in, answers out, for `imsuper predict --serve`: a queue of bounded length, and a thread that takes what has
 * arrived as one batch, has it decoded by an augmenter's process and judged by a trainer's. An image that ends the
 * augmenter costs its own answer; another augmenter takes the next one. */
#ifndef SUPERVISOR_SERVING_SERVICE_H
#define SUPERVISOR_SERVING_SERVICE_H

#include <stdbool.h>

#include "ipc/base/clock.h"
#include "ipc/outcome.h"

enum { SV_SERVICE_PLACES = 64 }; /* requests at once, those whose image is on its way included */

struct sv_service;

struct sv_service_config {
    const struct im_conf *conf;       /* its batch_size: sv_service_batch() */
    const char *augmenter, *trainer;  /* paths of the programs */
    bool (*is_stopped)(void *unused); /* ends the start, which takes minutes on a GPU that is new */
};

/* The largest batch: as asked for, down to a power of two. */
int64_t sv_service_batch(const struct im_conf *conf);

/* Starts both and waits until they are ready. 0; the exit status of the one that ended, which has said why; or a
 * negative errno with a sentence (-EINTR: stopped). */
int sv_service_open(const struct sv_service_config *config, struct sv_service **ret, struct im_text *text);
void sv_service_close(struct sv_service **s); /* NULL is fine; nobody may wait in it */

/* A place for a request; false: there is none, or the service ends. */
bool sv_service_enter(struct sv_service *s);
void sv_service_leave(struct sv_service *s);

/* What became of an image. */
struct sv_service_answer {
    enum { SV_ANSWERED, SV_BAD_IMAGE, SV_TOO_LATE, SV_BROKEN } kind;
    unsigned verdict;           /* of a bad image: enum im_verdict */
    struct im_outcome *outcome; /* of an answered one; the caller's to free() */
};

/* Takes `bytes` (malloc'ed). Waits, but not past `until`. For any thread. */
struct sv_service_answer sv_service_ask(struct sv_service *s, void *bytes, size_t n, im_ns until);

struct sv_service_state {
    uint64_t answered, bad; /* images */
    uint64_t deaths;        /* of augmenters */
    unsigned places;        /* taken */
    bool failed;            /* it answers no more; `why` of sv_service_failed() */
};
struct sv_service_state sv_service_state(struct sv_service *s);

/* Why no more can be answered, in `text`. False: it works. */
bool sv_service_failed(struct sv_service *s, struct im_text *text);

/* No new places from now on; what waits is answered. Then gives up the rest: sv_service_ask() returns. */
void sv_service_drain(struct sv_service *s, im_ns until);

#endif
