/* What `imsuper bench data` measures: runs of readers, augmenters and stand-ins for trainers, each in a process of its own. */
#ifndef SUPERVISOR_CLI_BENCH_DATA_H
#define SUPERVISOR_CLI_BENCH_DATA_H

#include "ipc/base/series.h"
#include "ipc/config/conf.h"

enum { SV_BENCH_PASSES_MAX = 10000 };

struct sv_bench_stage {
    int64_t processes, replaced; /* that died meanwhile */
    double samples, cpu_seconds, busy, wait_input, wait_output;
};

struct sv_bench {
    int64_t readers, augmenters, trainers, cores;
    double rates[SV_BENCH_PASSES_MAX]; /* images/s of all trainers, one a pass; sorted */
    size_t passes;
    struct im_summary rate;
    double p50_ms, p99_ms;          /* between two batches of trainer 0 */
    double seconds, idle_seconds;   /* that `stage` is about; of all cores meanwhile */
    struct sv_bench_stage stage[3]; /* reader, augmenter, trainer */
    double still_cached;            /* --cold: share of pages that stayed in memory */
    int limit;                      /* 0 reading, 1 decoding, 2 trainers, -1: not known */
};

/* Measures once with these numbers of processes. 0, or an exit status, having said why. */
int sv_bench_data_run(const struct im_conf *conf, struct sv_bench *ret);

/* CPU milliseconds of an image: of one stage (0, 1), and of both. */
double sv_bench_cpu_ms(const struct sv_bench *b, int stage);
double sv_bench_cpu_ms_all(const struct sv_bench *b);
/* Cores that readers and augmenters kept busy, and that nobody used. */
double sv_bench_cores_used(const struct sv_bench *b);
double sv_bench_cores_free(const struct sv_bench *b);

/* "read", "augment", "train", "network", or "unknown". */
const char *sv_bench_limit_name(const struct sv_bench *b);

/* Which stage limits and what one more of it would give, in sentences; the number of images/s that it would come to, 0: none. */
double sv_bench_verdict(const struct sv_bench *b, double images_per_second, struct im_text *ret);

/* "augmenters=1..8". -EINVAL with a sentence. */
struct sv_scan {
    bool readers; /* not augmenters */
    int64_t low, high;
};
int sv_bench_scan_parse(const char *s, struct sv_scan *ret, struct im_text *text);

#endif
