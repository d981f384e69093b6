/* Reads Python's pickles, as far as files of weights need them, and calls nothing: a pickle is a program for a small
 * machine, and the machine here makes only numbers, texts, lists, dictionaries and the descriptions of tensors.
 * Every other class or function becomes an opaque value that is carried along, with what it was given; those of Python
 * that run commands or programs are refused by name.
 *
 * Protocols 0 to 5, without extension registries and out-of-band buffers. Bytes may be a stranger's: sizes, depths and
 * counts are bounded. */
#ifndef TRAINER_CHECKPOINT_PICKLE_H
#define TRAINER_CHECKPOINT_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/checkpoint/safetensors.h"

struct im_text;

enum tr_value_kind {
    TR_VALUE_NONE,
    TR_VALUE_BOOL,
    TR_VALUE_INT,
    TR_VALUE_FLOAT,
    TR_VALUE_TEXT, /* text or bytes */
    TR_VALUE_TUPLE,
    TR_VALUE_LIST,
    TR_VALUE_DICT,
    TR_VALUE_GLOBAL, /* the name of a class or function: "torch FloatStorage" */
    TR_VALUE_STORAGE,
    TR_VALUE_TENSOR,
    TR_VALUE_OPAQUE /* what some class or function would have made */
};

struct tr_value {
    enum tr_value_kind kind;
    union {
        int64_t number; /* BOOL, INT */
        struct {
            const char *s; /* not NUL-terminated; GLOBAL: the class */
            size_t n;
        } text; /* TEXT, GLOBAL */
        struct {
            struct tr_value **v; /* of DICT and OPAQUE: key, value, key, value, ... */
            size_t n, room;
            const struct tr_value *state; /* OPAQUE: its attributes; NULL: none */
        } items;                          /* TUPLE, LIST, DICT, OPAQUE */
        struct tr_torch_storage *storage; /* STORAGE */
        struct tr_torch_tensor *tensor;   /* TENSOR */
    } u;
};

/* A run of elements that tensors share. */
struct tr_torch_storage {
    const char *key; /* NUL-terminated */
    uint64_t count;  /* elements; of an untyped one, bytes */
    enum tr_dtype dtype;
    bool untyped, unsupported; /* of a type that safetensors.h has not */
    const char *type_name;     /* NUL-terminated */
    uint64_t element;          /* bytes of one; 0: not known */
    struct tr_torch_storage *next;
};

struct tr_torch_tensor {
    const struct tr_torch_storage *storage;
    enum tr_dtype dtype;
    bool unsupported;
    int rank;
    uint64_t offset, shape[TR_TENSOR_RANK_MAX],
        stride[TR_TENSOR_RANK_MAX]; /* in elements; all inside the storage */
};

/* Holds the values of one pickle or more. Zeroed: empty. */
struct tr_pickle {
    struct tr_pickle_chunk *chunks;
    size_t bytes;
    struct tr_torch_storage *storages; /* all that were named, the last one first; one may come again */
};

/* Runs the pickle at the beginning of `bytes`, which must outlive its values. *ret_used: how long it is. -EBADMSG with a
 * sentence; -ENOMEM. */
int tr_pickle_read(struct tr_pickle *p, const void *bytes, size_t n, const struct tr_value **ret_value,
                   size_t *ret_used, struct im_text *text);
void tr_pickle_fini(struct tr_pickle *p);

bool tr_value_is_text(const struct tr_value *v, const char *s);

/* The value of a key of a dictionary, or an attribute; NULL: it is not there. */
const struct tr_value *tr_value_get(const struct tr_value *v, const char *key);

#endif
