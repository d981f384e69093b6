/* Samples of a data set, one after the other, made by a process of the augmenter's program (ipc/pixels.h): images are
 * parsed there, in its sandbox, and pixels are those of training and validation. */
#ifndef TRAINER_EXPORT_PIXELS_H
#define TRAINER_EXPORT_PIXELS_H

#include <stdbool.h>
#include <stdio.h>

#include "ipc/base/err.h"
#include "ipc/base/piped.h"
#include "ipc/config/conf.h"
#include "ipc/pixels.h"

struct tr_pixels {
    FILE *from;
    struct im_piped program;
    struct im_pixels_record record;
    unsigned char *sample, *whole; /* of the record; whole: NULL where it was not asked for */
    size_t sample_room, whole_room;
};

/* Starts it for `images` of a split, spread evenly, with the data set and the transforms of `conf`. */
int tr_pixels_open(struct tr_pixels *p, const struct im_conf *conf, enum im_conf_split split, int64_t images,
                   bool whole, struct im_text *text);

/* 1: the next sample; 0: there are no more; negative errno with a sentence. Files that could not be decoded are counted
 * in *skipped. */
int tr_pixels_next(struct tr_pixels *p, size_t *skipped, struct im_text *text);

/* Ends the process, too. 0, or a negative errno with a sentence when it failed by itself: it has said why. */
int tr_pixels_close(struct tr_pixels *p, struct im_text *text);

#endif
