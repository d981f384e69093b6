/* What became of each image of an evaluation: the trainers write records of one size into outcomes.bin in the run
 * directory, the supervisor's verbs read them when the run is over. An image's record lies at its place in the pass, so
 * that a batch that is evaluated again after a death writes the same bytes to the same place. The first word of a record
 * is written last: whoever reads the file during the pass finds whole records (supervisor/cli/predict_lines.c). */
#ifndef IPC_OUTCOME_H
#define IPC_OUTCOME_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/config/conf.h"

#define IM_OUTCOMES_FILE "outcomes.bin"
#define IM_EVALUATED_FILE "evaluated.txt" /* names of the images in this order, each ended by a NUL */
#define IM_EVALUATED_PART_FILE                                                                               \
    "evaluated_part.json" /* of a part: "hash" of the index of all, its "first" image, "images" in all */

struct im_outcome_class {
    uint32_t class;
    float probability;
};

/* Zeros: it was not written. Otherwise outputs are set where the verdict is 0. */
struct im_outcome {
    uint64_t sample_plus_1;
    double loss;       /* cross-entropy; with multi-label, binary, the mean of the classes */
    int32_t label;     /* place in the list of classes; with multi-label, among the sets of labels */
    uint32_t verdict;  /* enum im_verdict */
    uint32_t rank;     /* of the label among the classes, from 0; ties count as in training's validation; with
                          multi-label, classes that are taken wrongly at a probability of 0.5 */
    float probability; /* of the label */
    struct im_outcome_class top[]; /* the likeliest classes, the likeliest first; im_outcome_tops() of them */
};

static inline uint32_t im_outcome_tops(const struct im_conf *conf, uint32_t classes)
{
    return conf->top_k < (int64_t)classes ? (uint32_t)conf->top_k : classes;
}

/* How many of the likeliest classes have this probability. */
static inline uint32_t im_outcome_above(const struct im_outcome *outcome, uint32_t tops, double threshold)
{
    uint32_t n = 0;

    while (n < tops && (double)outcome->top[n].probability >= threshold)
        n++;
    return n;
}

static inline size_t im_outcome_bytes(uint32_t tops)
{
    return sizeof(struct im_outcome) + tops * sizeof(struct im_outcome_class);
}

#endif
