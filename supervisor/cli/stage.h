/* A stage of a run, or one of its processes, as users write it: augmenter, augmenters, augmenter#1. */
#ifndef SUPERVISOR_CLI_STAGE_H
#define SUPERVISOR_CLI_STAGE_H

#include <stdint.h>

struct sv_stage_name {
    const char *name; /* "reader", "augmenter", "trainer" */
    int64_t index;    /* -1: all of them */
};

/* 0, or -EINVAL. */
int sv_stage_parse(const char *written, struct sv_stage_name *ret);

/* Says what was expected; returns the exit status. */
int sv_stage_refuse(const char *written);

/* A number of few digits, to its end. -1: it is none. */
int64_t sv_stage_count(const char *s);

#endif
