/* Private to pickle*.c: the machine that runs a pickle, and what the names of classes mean to it. */
#ifndef TRAINER_CHECKPOINT_PICKLE_MACHINE_H
#define TRAINER_CHECKPOINT_PICKLE_MACHINE_H

#include "trainer/checkpoint/pickle.h"

#define MARKS_MAX 4096

struct tr_pickle_machine {
    struct tr_pickle *p;
    const unsigned char *begin, *at, *end;
    struct tr_value **stack, **memo;
    size_t depth, stack_room, memo_room, marks[MARKS_MAX], mark_count;
    size_t memo_next; /* of MEMOIZE */
    struct im_text *text;
};

/* Zeroed memory that lives as long as the values; NULL: there is none. */
void *tr_pickle_take(struct tr_pickle_machine *m, size_t n);
char *tr_pickle_copy(struct tr_pickle_machine *m, const char *s, size_t n); /* with a NUL */
struct tr_value *tr_pickle_new(struct tr_pickle_machine *m, enum tr_value_kind kind);
int tr_pickle_push(struct tr_pickle_machine *m, struct tr_value *v);

/* -EBADMSG and -ENOMEM, with sentences. */
int tr_pickle_bad(const struct tr_pickle_machine *m, const char *what);
int tr_pickle_no_memory(const struct tr_pickle_machine *m);

bool tr_value_is_global(const struct tr_value *v, const char *name);

/* Whether "MODULE NAME" runs commands, programs or code. */
bool tr_pickle_is_dangerous(const char *name, size_t n);

/* Pushes the storage that a tuple names. */
int tr_pickle_push_storage(struct tr_pickle_machine *m, const struct tr_value *id);

/* The tensor that torch's function would make of these arguments; of version 3 they have a type. */
int tr_pickle_make_tensor(struct tr_pickle_machine *m, const struct tr_value *a, bool has_type,
                          struct tr_value **ret);

#endif
