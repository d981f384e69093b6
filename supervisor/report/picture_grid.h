/* Pictures that a run's files are made into: the first images that it trains on, and who is taken for whom in an epoch. */
#ifndef SUPERVISOR_REPORT_PICTURE_GRID_H
#define SUPERVISOR_REPORT_PICTURE_GRID_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"

/* Draws first_batch.png of what the trainer left, and removes that. 0 also where there is nothing to draw. `names`:
 * images have one label, whose name is written below. */
int sv_first_batch_draw(const char *run_dir, bool names, struct im_text *text);

#define SV_CONFUSION_PICTURE "confusion_%03u%s.png" /* in per_class/; epoch, im_per_class_of() */

/* Draws per_class/confusion_NNN.png (averaged: confusion_NNN.ema.png) where the epoch's counts are there, of 2,000 classes at most, and it is not drawn yet.
 * 0 also where there is nothing to draw. */
int sv_epoch_confusion_draw(const char *run_dir, uint32_t epoch, bool averaged, struct im_text *text);

#endif
