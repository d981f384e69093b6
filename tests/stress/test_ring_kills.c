/* The rings with real processes and real SIGKILLs.
 *
 *   stress_ring_kills            every fault point of the rings, one by one; then random kills for 6 s
 *   stress_ring_kills --mutant   the points alone, in a program with one rule of the protocol removed: succeeds when
 *                         that is noticed
 *
 * IMSUPER_STRESS_SECONDS says how long instead of 6 s. IMSUPER_STRESS_SEED repeats a run's choices (not the
 * machine's timing).
 *
 * The table of points must be the one that the sources hold: a point without a test fails the test. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "tests/stress/crew.h"

static const char *const sources[] = {"encoded.c", "batch.c", "process.c", "reclaim.c"};

static const struct point {
    const char *name;
    enum im_role role;
} points[] = {
    {"reader.claimed", IM_ROLE_READER},
    {"reader.publish.before", IM_ROLE_READER},
    {"reader.publish.after", IM_ROLE_READER},
    {"augmenter.taken", IM_ROLE_AUGMENTER},
    {"augmenter.claim.before", IM_ROLE_AUGMENTER},
    {"augmenter.claim.after", IM_ROLE_AUGMENTER},
    {"augmenter.commit.before", IM_ROLE_AUGMENTER},
    {"augmenter.commit.after", IM_ROLE_AUGMENTER},
    {"augmenter.abandon.before", IM_ROLE_AUGMENTER},
    {"augmenter.abandon.after", IM_ROLE_AUGMENTER},
    {"augmenter.release.before", IM_ROLE_AUGMENTER},
    {"augmenter.release.after", IM_ROLE_AUGMENTER},
    {"trainer.freeing", IM_ROLE_TRAINER},
    {"trainer.freed", IM_ROLE_TRAINER},
    {"process.enter.before", IM_ROLE_READER},
    {"process.enter.after", IM_ROLE_READER},
    {"process.enter.before", IM_ROLE_AUGMENTER},
    {"process.enter.after", IM_ROLE_AUGMENTER},
    {"process.enter.before", IM_ROLE_TRAINER},
    {"process.enter.after", IM_ROLE_TRAINER},
    {"sim.reader.halfway", IM_ROLE_READER},
    {"sim.augmenter.halfway", IM_ROLE_AUGMENTER},
    {"sim.trainer.stepped", IM_ROLE_TRAINER},
};

/* The supervisor dies while it returns the cells of a victim that died here. */
static const struct interrupted {
    const char *supervisor_point;
    const char *victim_point;
    enum im_role role;
} interrupted[] = {
    {"reclaim.sample", "sim.augmenter.halfway", IM_ROLE_AUGMENTER},
    {"reclaim.encoded", "sim.augmenter.halfway", IM_ROLE_AUGMENTER},
    {"reclaim.encoded", "augmenter.taken", IM_ROLE_AUGMENTER},
    {"reclaim.encoded", "augmenter.commit.after", IM_ROLE_AUGMENTER},
    {"reclaim.encoded", "sim.reader.halfway", IM_ROLE_READER},
};

struct totals {
    uint64_t points, kills, resets;
    int faults;
};

static struct sim_shape small_shape(uint64_t seed)
{
    return (struct sim_shape){.seed = seed,
                              .samples = {61, 9},
                              .epochs = 3,
                              .readers = 2,
                              .augmenters = 2,
                              .ranks = 2,
                              .cells = 7,
                              .batches = 2,
                              .batch_size = 3};
}

static bool is_listed(const char *name, size_t length)
{
    for (size_t i = 0; i < IM_COUNT(points); i++)
        if (strlen(points[i].name) == length && memcmp(points[i].name, name, length) == 0)
            return true;
    for (size_t i = 0; i < IM_COUNT(interrupted); i++)
        if (strlen(interrupted[i].supervisor_point) == length &&
            memcmp(interrupted[i].supervisor_point, name, length) == 0)
            return true;
    return false;
}

/* Points of one source file that no table names. */
static int check_source(const char *file)
{
    static const char mark[] = "IM_FAULT(\"";
    char path[4096], line[1024];
    int faults = 0, found = 0;
    FILE *source;

    snprintf(path, sizeof path, "%s/ipc/%s", SOURCE_DIR, file);
    source = fopen(path, "r");
    if (!source) {
        fprintf(stderr, "fault: cannot read %s\n", path);
        return 1;
    }
    while (fgets(line, sizeof line, source)) {
        const char *at = strstr(line, mark);

        if (!at)
            continue;
        at += sizeof mark - 1;
        found++;
        if (!is_listed(at, strcspn(at, "\""))) {
            fprintf(stderr, "fault: no test kills at %.*s (%s)\n", (int)strcspn(at, "\""), at, file);
            faults++;
        }
    }
    fclose(source);
    if (found == 0) {
        fprintf(stderr, "fault: %s has no fault point\n", file);
        faults++;
    }
    return faults;
}

static void run(struct totals *totals, const struct sim_shape *shape, const struct crew_plan *plan)
{
    struct crew_result result = crew_run(shape, plan);
    char what[300];

    snprintf(what, sizeof what, "%s of %s%s%s%s", plan->victim_rule, im_role_name(plan->victim_role),
             plan->bury_late ? ", buried late" : "", plan->bury_rule ? ", supervisor " : "",
             plan->bury_rule ? plan->bury_rule : "");
    if (result.faults == 0 && !result.victim_died) {
        fprintf(stderr, "fault: it did not die\n");
        result.faults++;
    }
    if (result.faults == 0 && plan->bury_rule && !result.bury_interrupted) {
        fprintf(stderr, "fault: the supervisor did not die\n");
        result.faults++;
    }
    if (result.faults)
        fprintf(stderr, "%d faults: %s\n", result.faults, what);
    totals->points++;
    totals->kills += (uint64_t)result.victim_died + (uint64_t)result.bury_interrupted;
    totals->resets += result.resets;
    totals->faults += result.faults;
}

static void run_points(struct totals *totals, uint64_t seed, im_ns stuck_after, bool stop_early)
{
    static const int passings[] = {1, 2, 9};
    struct sim_shape shape = small_shape(seed);
    char rule[128], bury_rule[128];

    for (size_t i = 0; i < IM_COUNT(points) && !(stop_early && totals->faults); i++)
        for (size_t k = 0; k < IM_COUNT(passings); k++) {
            if (strncmp(points[i].name, "process.", 8) == 0 && k > 0)
                continue; /* passed once in a life */
            snprintf(rule, sizeof rule, "%s=kill@%d", points[i].name, passings[k]);
            run(totals, &shape,
                &(struct crew_plan){.victim_rule = rule,
                                    .victim_role = points[i].role,
                                    .linger = passings[k] == 9,
                                    .stuck_after = stuck_after});
            if (stop_early && totals->faults)
                return;
            if (points[i].role == IM_ROLE_AUGMENTER && k > 0)
                run(totals, &shape,
                    &(struct crew_plan){.victim_rule = rule,
                                        .victim_role = points[i].role,
                                        .bury_late = true,
                                        .stuck_after = stuck_after});
        }
    for (size_t i = 0; i < IM_COUNT(interrupted) && !(stop_early && totals->faults); i++) {
        snprintf(rule, sizeof rule, "%s=kill@3", interrupted[i].victim_point);
        snprintf(bury_rule, sizeof bury_rule, "%s=kill", interrupted[i].supervisor_point);
        run(totals, &shape,
            &(struct crew_plan){.victim_rule = rule,
                                .victim_role = interrupted[i].role,
                                .bury_rule = bury_rule,
                                .stuck_after = stuck_after});
    }
}

static int storm(struct totals *totals, uint64_t seed, im_ns seconds)
{
    static const struct sim_shape shapes[] = {
        {.samples = {403, 57},
         .epochs = 4,
         .readers = 3,
         .augmenters = 4,
         .ranks = 2,
         .cells = 12,
         .batches = 3,
         .batch_size = 5},
        {.samples = {151, 20},
         .epochs = 4,
         .readers = 1,
         .augmenters = 2,
         .ranks = 1,
         .cells = 3,
         .batches = 1,
         .batch_size = 4},
        {.samples = {300, 31},
         .epochs = 4,
         .readers = 4,
         .augmenters = 5,
         .ranks = 3,
         .cells = 32,
         .batches = 4,
         .batch_size = 3},
    };
    im_ns until = im_now() + seconds * IM_SECOND;
    uint64_t samples = 0, runs = 0;

    for (; im_now() < until && totals->faults == 0; runs++) {
        struct sim_shape shape = shapes[runs % IM_COUNT(shapes)];
        struct crew_result result;

        shape.seed = seed + runs;
        result = crew_run(
            &shape, &(struct crew_plan){.kill_every_us = 2000, .linger = 8, .stuck_after = 10 * IM_SECOND});
        totals->kills += result.kills_hit;
        totals->resets += result.resets;
        totals->faults += result.faults;
        samples += (shape.samples[IM_TRAIN] + shape.samples[IM_VAL]) * shape.epochs;
        if (result.faults)
            fprintf(stderr, "%d faults with seed %" PRIu64 "\n", result.faults, shape.seed);
    }
    printf("storm: %" PRIu64 " runs, %" PRIu64 " samples\n", runs, samples);
    return totals->faults;
}

int main(int argc, char **argv)
{
    const char *seed_text = getenv("IMSUPER_STRESS_SEED"), *seconds_text = getenv("IMSUPER_STRESS_SECONDS");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : im_now();
    bool mutant = argc > 1 && strcmp(argv[1], "--mutant") == 0;
    struct totals totals = {0};

#ifndef IMSUPER_FAULTS
    fprintf(stderr, "this build has no fault points\n");
    return 77;
#endif
    if (mutant) {
        run_points(&totals, 1, 1 * IM_SECOND, true);
        printf(totals.faults ? "caught after %" PRIu64 " runs\n" : "NOT caught in %" PRIu64 " runs\n",
               totals.points);
        return totals.faults == 0;
    }
    printf("seed %" PRIu64 " (IMSUPER_STRESS_SEED)\n", seed);
    fflush(stdout);
    for (size_t i = 0; i < IM_COUNT(sources); i++)
        totals.faults += check_source(sources[i]);
    run_points(&totals, seed, 10 * IM_SECOND, false);
    printf("points: %" PRIu64 " runs, %" PRIu64 " kills\n", totals.points, totals.kills);
    if (totals.faults == 0)
        storm(&totals, seed, seconds_text ? strtoull(seconds_text, NULL, 10) : 6);
    printf("%" PRIu64 " kills survived, %" PRIu64 " resets of the data plane, %d faults\n", totals.kills,
           totals.resets, totals.faults);
    return totals.faults != 0;
}
