/* The mean of several weights of one network (Wortsman et al. 2022, "Model soups"). */
#ifndef TRAINER_EXPORT_AVERAGE_H
#define TRAINER_EXPORT_AVERAGE_H

#include "trainer/export/source.h"

enum { TR_AVERAGE_MAX = 64 };

/* Adds `other` times `share` to `sum`, in double precision, parameters and statistics. -EBADMSG with a sentence: it is
 * another network, or has other classes than `first`. */
struct tr_average {
    double *params, *stats; /* of the first one's sizes; zeroed by the caller's calloc() */
};
int tr_average_add(struct tr_average *sum, const struct tr_source *first, const struct tr_source *other,
                   double share, struct im_text *text);
void tr_average_store(const struct tr_average *sum, struct tr_source *ret);

/* Replaces the statistics of batch norm by the mean of those of batches of training images, as
 * torch.optim.swa_utils.update_bn() does. *ret_images: how many were seen. */
int tr_average_statistics(struct tr_source *s, int64_t images, int64_t *ret_images, struct im_text *text);

#endif
