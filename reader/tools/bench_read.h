/* What reading costs: a pass over images of a data set through a reader's own engine, as often as asked. */
#ifndef READER_TOOLS_BENCH_READ_H
#define READER_TOOLS_BENCH_READ_H

#include "ipc/base/series.h"
#include "ipc/config/command.h"
#include "reader/dataset/index.h"
#include "reader/io.h"

struct rd_bench_files {
    char **paths;
    struct rd_source_of *sources; /* of each */
    uint64_t *samples;            /* its number in the index */
    size_t count;
};

/* What passes at one depth came to. */
struct rd_bench {
    enum rd_io_kind kind;
    struct im_text note; /* why not io_uring; "" */
    size_t passes;
    double *seconds;    /* of each pass */
    double *latency_ms; /* of each file of each pass, from its submission; sorted */
    size_t latencies;
    double bytes;           /* of a pass */
    double cpu_seconds;     /* of all passes, the kernel's part included */
    double still_cached;    /* share of pages that dropping the files left in memory; cold passes only */
    uint64_t failed, cut;   /* files that could not be read, and that are larger than a cell, in one pass */
    uint64_t parts;         /* files of which the range of a crop was read, in one pass */
    uint64_t changed;       /* of them, those that are others than when they were indexed */
    char failed_path[4096]; /* one of them */
};

/* At most `most` images of the training split, spread over it; conf->sample of them where it is not 0. Sets conf->seek_file to the data
 * set's. 0, an exit status having said why, or -ENOMEM. */
int rd_bench_list(struct im_conf *conf, uint64_t most, struct rd_bench_files *ret);
void rd_bench_files_free(struct rd_bench_files *files);

/* Measures conf->passes passes. Before each: the page cache forgets the files (cold), or once holds them (warm). As readers of a
 * run do with conf->read_ranges, only what the crop of an image needs is read, another one in each pass. 0, or a negative errno with a
 * sentence. */
int rd_bench_run(const struct im_conf *conf, const struct rd_bench_files *files, unsigned depth, bool cold,
                 struct rd_bench *ret, struct im_text *text);
void rd_bench_free(struct rd_bench *bench);

/* The verbs; they return an exit status. */
int rd_cmd_bench(struct im_conf *conf);
int rd_cmd_profile(struct im_conf *conf);
int rd_cmd_drop(
    struct im_conf *conf); /* drops the training images from the page cache, for bench data --cold */
int rd_cmd_io(struct im_conf *conf); /* which engine works here, for `imsuper doctor` */

#endif
