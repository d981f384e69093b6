/* A process of imsuper that answers what is written to its standard input (ipc/serving.h): the augmenter that decodes, and
 * the trainer that computes. No wait for it is without an end. */
#ifndef SUPERVISOR_SERVING_SERVANT_H
#define SUPERVISOR_SERVING_SERVANT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ipc/base/clock.h"
#include "ipc/serving.h"

struct sv_servant {
    char program[PATH_MAX]; /* its path: it is started again when it has died */
    const char *verb;       /* the word behind it; the caller's, for ever */
    int options;            /* descriptor of the frozen configuration */
    pid_t pid;              /* 0: none */
    int to, from;
    im_ns cpu_before; /* processor time at the last sv_servant_mark() */
    bool late;        /* the last failure: it took too long ... */
    bool worked;      /* ... and worked all that time */
    unsigned stopped; /* how often it was seen stopped (SIGSTOP), in a row */
};

/* The options of both, as a file in memory. */
int sv_servant_options(const struct im_conf *conf, struct im_text *text);

/* Starts it. 0 or a negative errno with a sentence. */
int sv_servant_start(struct sv_servant *s, struct im_text *text);

/* How long the exchanges that follow may take, in processor time of the servant and by the clock. */
struct sv_patience {
    im_ns cpu, until;                /* cpu 0: no limit; until: of im_now() */
    bool (*gives_up)(void *context); /* asked ten times a second */
    void *context;
};
void sv_servant_mark(struct sv_servant *s);

/* Write and read all n bytes. 0; -ETIMEDOUT: too late; -EINTR: given up; another negative errno: it has ended. */
int sv_servant_write(struct sv_servant *s, const void *bytes, size_t n, const struct sv_patience *p);
int sv_servant_read(struct sv_servant *s, void *bytes, size_t n, const struct sv_patience *p);

/* Kills it and waits for its end. Its exit status where it had ended by itself, else -1. Zeroed is fine. */
int sv_servant_end(struct sv_servant *s);

#endif
