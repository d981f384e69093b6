/* What a start that continues a run needs of it: what differs from before, and how many batches make a step
 * when the number of trainers is another. */
#ifndef SUPERVISOR_CLI_CONTINUE_H
#define SUPERVISOR_CLI_CONTINUE_H

#include "ipc/config/conf.h"

/* --resume FILE where the run has a state of its own, from which it would continue: -EINVAL with a sentence, unless
 * its last start had the same FILE (the command is repeated) or FILE is that state. */
int sv_continue_file(const struct im_conf *conf, struct im_text *text);

/* Sets conf->accumulate (and order_ranks) so that a step has the images that the run's steps had; `note` says
 * what changed. A run that begins is left as it is. -EINVAL with a sentence: it does not divide. */
int sv_continue_shape(struct im_conf *conf, struct im_text *note, struct im_text *text);

/* What is done about an option whose value is another than in the configuration of before. */
enum sv_change {
    SV_CHANGE_NONE,   /* it is the same, or only says where the run lies and how it talks */
    SV_CHANGE_SAID,   /* a line with both values */
    SV_CHANGE_REFUSED /* an error with both values */
};
enum sv_change sv_continue_change(const struct im_conf *old, const struct im_conf *now,
                                  enum im_conf_key_id key);

/* Says each option that differs from the run's configuration on stderr, unless `quiet`. -EINVAL with a sentence
 * that names both values: one that cannot differ does. */
int sv_continue_compare(const struct im_conf *conf, struct im_text *text);

/* Before the devices are chosen: the number type of a run that goes on is the one that it began with, where nobody says
 * otherwise. True: it has been taken over. */
bool sv_continue_precision(struct im_conf *conf);

#endif
