/* What the names in a pickle of torch.save() mean: types, storages, tensors, and what is refused. */
#include "trainer/checkpoint/pickle_machine.h"

#include <errno.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"

bool tr_value_is_global(const struct tr_value *v, const char *name)
{
    return v && v->kind == TR_VALUE_GLOBAL && v->u.text.n == strlen(name) &&
           memcmp(v->u.text.s, name, v->u.text.n) == 0;
}

/* Modules that run commands, programs or code. Nothing is called here; a file that asks for it is no file of weights. */
bool tr_pickle_is_dangerous(const char *name, size_t n)
{
    static const char *const modules[] = {"os",        "posix",      "nt",       "subprocess", "sys",
                                          "runpy",     "socket",     "shutil",   "pty",        "code",
                                          "importlib", "ctypes",     "commands", "asyncio",    "urllib",
                                          "pip",       "webbrowser", "pickle",   "requests"};
    static const char *const functions[] = {"eval", "exec", "execfile", "compile", "__import__", "open"};
    const size_t blank = (size_t)((const char *)memchr(name, ' ', n) - name);
    const size_t root = strcspn(name, ". ");

    for (size_t i = 0; i < IM_COUNT(modules); i++)
        if (strlen(modules[i]) == root && memcmp(name, modules[i], root) == 0)
            return true;
    if (!(blank == 8 && memcmp(name, "builtins", 8) == 0) &&
        !(blank == 11 && memcmp(name, "__builtin__", 11) == 0))
        return false;
    for (size_t i = 0; i < IM_COUNT(functions); i++)
        if (strlen(functions[i]) == n - blank - 1 &&
            memcmp(name + blank + 1, functions[i], n - blank - 1) == 0)
            return true;
    return false;
}

/* Tensors. */

static const struct {
    const char *storage, *scalar; /* "torch FloatStorage", "torch float32" */
    enum tr_dtype dtype;
    uint64_t element;
    bool unsupported;
} types[] = {
    {"torch FloatStorage", "torch float32", TR_F32, 4, false},
    {"torch HalfStorage", "torch float16", TR_F16, 2, false},
    {"torch BFloat16Storage", "torch bfloat16", TR_BF16, 2, false},
    {"torch DoubleStorage", "torch float64", TR_F64, 8, false},
    {"torch LongStorage", "torch int64", TR_I64, 8, false},
    {"torch IntStorage", "torch int32", TR_I32, 4, false},
    {"torch ByteStorage", "torch uint8", TR_U8, 1, false},
    {"torch BoolStorage", "torch bool", TR_BOOL, 1, false},
    {"torch ShortStorage", "torch int16", TR_U8, 2, true},
    {"torch CharStorage", "torch int8", TR_U8, 1, true},
    {"torch ComplexFloatStorage", "torch complex64", TR_U8, 8, true},
    {"torch ComplexDoubleStorage", "torch complex128", TR_U8, 16, true},
};

static int set_type(struct tr_pickle_machine *m, struct tr_torch_storage *s, const struct tr_value *type)
{
    s->untyped = tr_value_is_global(type, "torch.storage UntypedStorage") ||
                 tr_value_is_global(type, "torch UntypedStorage");
    s->unsupported = !s->untyped;
    for (size_t i = 0; i < IM_COUNT(types); i++) {
        if (!tr_value_is_global(type, types[i].storage))
            continue;
        s->dtype = types[i].dtype;
        s->element = types[i].element;
        s->unsupported = types[i].unsupported;
    }
    s->element = s->untyped ? 1 : s->element;
    s->type_name = tr_pickle_copy(m, type->u.text.s, type->u.text.n);
    return s->type_name ? 0 : tr_pickle_no_memory(m);
}

/* ("storage", torch.FloatStorage, "0", "cpu", 64): elements that lie elsewhere in the file. */
int tr_pickle_push_storage(struct tr_pickle_machine *m, const struct tr_value *id)
{
    struct tr_value *v = tr_pickle_new(m, TR_VALUE_STORAGE), **part;
    struct tr_torch_storage *s = tr_pickle_take(m, sizeof *s);

    if (!v || !s)
        return tr_pickle_no_memory(m);
    if (!id || id->kind != TR_VALUE_TUPLE || id->u.items.n < 5)
        return tr_pickle_bad(m, "the name of a storage is no tuple of five");
    part = id->u.items.v;
    if (!tr_value_is_text(part[0], "storage") || part[1]->kind != TR_VALUE_GLOBAL ||
        part[2]->kind != TR_VALUE_TEXT || part[2]->u.text.n > 128 || part[4]->kind != TR_VALUE_INT ||
        part[4]->u.number < 0)
        return tr_pickle_bad(m, "a storage has no type, key or size");
    if (id->u.items.n > 5 && part[5]->kind != TR_VALUE_NONE)
        return tr_pickle_bad(m, "a storage is a view of another, as files of before PyTorch 0.4 have them");
    s->key = tr_pickle_copy(m, part[2]->u.text.s, part[2]->u.text.n);
    s->count = (uint64_t)part[4]->u.number;
    if (!s->key)
        return tr_pickle_no_memory(m);
    v->u.storage = s;
    s->next = m->p->storages;
    m->p->storages = s;
    return set_type(m, s, part[1]) < 0 ? -ENOMEM : tr_pickle_push(m, v);
}

static bool take_numbers(const struct tr_value *v, uint64_t *ret, int *ret_count)
{
    if (!v || (v->kind != TR_VALUE_TUPLE && v->kind != TR_VALUE_LIST) || v->u.items.n > TR_TENSOR_RANK_MAX)
        return false;
    for (size_t i = 0; i < v->u.items.n; i++) {
        const struct tr_value *number = v->u.items.v[i];

        if (number->kind != TR_VALUE_INT || number->u.number < 0)
            return false;
        ret[i] = (uint64_t)number->u.number;
    }
    *ret_count = (int)v->u.items.n;
    return true;
}

/* Whether all elements are inside the storage. */
static bool fits(const struct tr_torch_tensor *t)
{
    uint64_t last = t->offset, step;

    for (int i = 0; i < t->rank; i++)
        if (t->shape[i] == 0)
            return true;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &step) ||
            __builtin_add_overflow(last, step, &last))
            return false;
    return last < (t->storage->untyped ? t->storage->count / tr_dtype_bytes(t->dtype) : t->storage->count);
}

/* (storage, offset, size, stride, ...), and with a type of its own in version 3. */
int tr_pickle_make_tensor(struct tr_pickle_machine *m, const struct tr_value *a, bool has_type,
                          struct tr_value **ret)
{
    struct tr_torch_tensor *t = tr_pickle_take(m, sizeof *t);
    int strides;

    *ret = tr_pickle_new(m, TR_VALUE_TENSOR);
    if (!t || !*ret)
        return tr_pickle_no_memory(m);
    (*ret)->u.tensor = t;
    if (a->u.items.n < (has_type ? 7 : 4) || a->u.items.v[0]->kind != TR_VALUE_STORAGE ||
        a->u.items.v[1]->kind != TR_VALUE_INT || a->u.items.v[1]->u.number < 0 ||
        !take_numbers(a->u.items.v[2], t->shape, &t->rank) ||
        !take_numbers(a->u.items.v[3], t->stride, &strides) || strides != t->rank)
        return tr_pickle_bad(m, "a tensor has no storage, or its shape or strides cannot be");
    t->storage = a->u.items.v[0]->u.storage;
    t->offset = (uint64_t)a->u.items.v[1]->u.number;
    t->dtype = t->storage->dtype;
    t->unsupported = t->storage->unsupported || t->storage->untyped;
    for (size_t i = 0; has_type && i < IM_COUNT(types); i++) {
        if (!tr_value_is_global(a->u.items.v[6], types[i].scalar))
            continue;
        t->dtype = types[i].dtype;
        t->unsupported = types[i].unsupported;
    }
    return t->unsupported || fits(t) ? 0 : tr_pickle_bad(m, "a tensor reaches beyond its storage");
}
