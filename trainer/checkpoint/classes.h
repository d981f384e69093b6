/* The names of a run's classes: read from its directory, kept as metadata of its states and weights (key "classes", a
 * JSON array), and compared with those of weights that a new run begins with. */
#ifndef TRAINER_CHECKPOINT_CLASSES_H
#define TRAINER_CHECKPOINT_CLASSES_H

#include "ipc/base/err.h"
#include "trainer/network/network.h"

#define TR_CLASSES_KEY "classes"

/* The JSON array of run_dir/classes.txt, malloc'ed, the caller's. NULL: there is no such file, or, with a sentence, one
 * that cannot be read or does not hold `count` names. */
char *tr_classes_read(const char *run_dir, uint32_t count, struct im_text *text);

/* After the weights of `path` were loaded with the classifier: puts the classifier's rows into the order of `classes`
 * (a JSON array; NULL: not known). 0: they are, or the file does not name its classes, and `note` is set where that
 * makes their order doubtful. 1: they were moved, and `note` says so. -EBADMSG with a sentence that names them: the file's classes are others. */
int tr_classes_map(const char *path, struct tr_network *net, const char *classes, struct im_text *note,
                   struct im_text *text);

/* Whether the file at `path` names classes which are others than `classes`; `why` says which. False where one of them
 * is not known. */
bool tr_classes_are_others(const char *path, const char *classes, struct im_text *why);

#endif
