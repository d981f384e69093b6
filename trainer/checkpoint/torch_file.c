#include "trainer/checkpoint/torch_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/checkpoint/pickle.h"
#include "trainer/checkpoint/torch_storage.h"

#define TENSORS_MAX 100000
#define NAME_BYTES 512
#define DEPTH_MAX 16
#define TOTAL_FLOOR ((uint64_t)64 << 20) /* bytes of all tensors: at most this, or several times the file's */
#define TOTAL_TIMES 4

/* Where trainers keep weights, in the order in which they are taken: averages first, as timm's loader does. */
static const char *const parts[] = {
    "state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model_state",
    "model",          "net",       "network",        "weights",
};
/* And what is no weights although it has tensors. */
static const char *const others[] = {"optim", "sched", "scaler",    "lr_sched",
                                     "rng",   "amp_",  "callbacks", "loops"};

struct found {
    char *name;
    const struct tr_torch_tensor *tensor;
    void *data;
};

struct search {
    struct found *list;
    size_t count, room;
    bool too_many;
    int err;
};

static void torch_file_add(struct search *s, const char *name, const struct tr_torch_tensor *t)
{
    if (s->count == TENSORS_MAX) {
        s->too_many = true;
        return;
    }
    if (s->count == s->room) {
        const size_t room = s->room ? 2 * s->room : 256;
        struct found *list = realloc(s->list, room * sizeof *list);

        if (!list) {
            s->err = -ENOMEM;
            return;
        }
        s->list = list;
        s->room = room;
    }
    s->list[s->count] = (struct found){strdup(name), t, NULL};
    if (!s->list[s->count].name)
        s->err = -ENOMEM;
    else
        s->count++;
}

static void clear(struct search *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->list[i].name);
        free(s->list[i].data);
    }
    free(s->list);
    *s = (struct search){0};
}

static bool is_passed_over(const struct tr_value *key)
{
    for (size_t i = 0; i < IM_COUNT(others); i++)
        if (key->u.text.n >= strlen(others[i]) && memcmp(key->u.text.s, others[i], strlen(others[i])) == 0)
            return true;
    return false;
}

static void look(struct search *s, const struct tr_value *v, const char *prefix, int depth);

static void look_at_items(struct search *s, const struct tr_value *v, const char *prefix, int depth)
{
    char name[NAME_BYTES];

    for (size_t i = 0; i + 1 < v->u.items.n && s->err == 0; i += 2) {
        const struct tr_value *key = v->u.items.v[i], *value = v->u.items.v[i + 1];

        if (key->kind != TR_VALUE_TEXT || (depth == 0 && is_passed_over(key)) ||
            snprintf(name, sizeof name, "%s%s%.*s", prefix, *prefix ? "." : "",
                     (int)(key->u.text.n % NAME_BYTES), key->u.text.s) >= (int)sizeof name ||
            key->u.text.n >= NAME_BYTES || memchr(key->u.text.s, '\0', key->u.text.n))
            continue;
        if (value->kind == TR_VALUE_TENSOR)
            torch_file_add(s, name, value->u.tensor);
        else
            look(s, value, name, depth + 1);
    }
}

/* All tensors of a dictionary or module, and of those in it. */
static void look(struct search *s, const struct tr_value *v, const char *prefix, int depth)
{
    static const char *const of_module[] = {"_parameters", "_buffers", "_modules"};
    bool module = false;

    if (depth > DEPTH_MAX || s->too_many || !v)
        return;
    for (size_t i = 0; v->kind == TR_VALUE_OPAQUE && i < IM_COUNT(of_module); i++) {
        const struct tr_value *dict = tr_value_get(v, of_module[i]);

        if (!dict || (dict->kind != TR_VALUE_DICT && dict->kind != TR_VALUE_OPAQUE))
            continue;
        module = true;
        look_at_items(s, dict, prefix, depth + 1);
    }
    if (!module && v->kind == TR_VALUE_OPAQUE && v->u.items.n == 0)
        v = v->u.items.state; /* of TorchScript, whose modules have plain attributes */
    if (!module && v && (v->kind == TR_VALUE_DICT || v->kind == TR_VALUE_OPAQUE))
        look_at_items(s, v, prefix, depth);
}

/* Finds the weights; `from` says where. */
static int search(struct search *s, const struct tr_value *root, struct im_text *from, struct im_text *text)
{
    const char *taken = NULL, *besides = NULL;

    for (size_t i = 0; i < IM_COUNT(parts) && s->err == 0; i++) {
        const struct tr_value *part = tr_value_get(root, parts[i]);
        struct search here = {0};

        if (!part || part->kind == TR_VALUE_TENSOR)
            continue;
        look(&here, part, "", 0);
        if (here.count > 0 && !taken) {
            taken = parts[i];
            *s = here;
            continue;
        }
        if (here.count > 0 && !besides)
            besides = parts[i];
        s->err = here.err;
        clear(&here);
    }
    if (!taken && s->err == 0)
        look(s, root, "", 0);
    if (s->err < 0)
        return im_fail(text, s->err, "out of memory for its tensors");
    if (s->too_many)
        return im_fail(text, -EBADMSG, "it has more than %d tensors", TENSORS_MAX);
    if (s->count == 0)
        return im_fail(text, -EBADMSG,
                       "it holds no tensors under names: neither a state dictionary nor a module");
    from->s[0] = '\0';
    if (taken)
        im_fail(from, 0, "tensors of \"%s\"%s%s%s", taken, besides ? ", not of \"" : "",
                besides ? besides : "", besides ? "\"" : "");
    return 0;
}

/* Copies the elements in the order of the shape. */
static void gather(const struct tr_torch_tensor *t, const char *storage, char *to)
{
    const size_t size = tr_dtype_bytes(t->dtype);
    uint64_t index[TR_TENSOR_RANK_MAX] = {0}, at = t->offset;

    for (int d = 0; d < t->rank; d++)
        if (t->shape[d] == 0)
            return;
    for (;;) {
        int d = t->rank - 1;

        memcpy(to, storage + at * size, size);
        to += size;
        while (d >= 0 && index[d] + 1 == t->shape[d]) {
            at -= index[d] * t->stride[d];
            index[d--] = 0;
        }
        if (d < 0)
            return;
        index[d]++;
        at += t->stride[d];
    }
}

static int fetch(struct tr_torch_storages *storages, struct found *f, uint64_t *left, struct im_text *text)
{
    const struct tr_torch_tensor *t = f->tensor;
    const uint64_t size = tr_dtype_bytes(t->dtype);
    const void *bytes;
    uint64_t total = size, need;
    int err;

    if (t->unsupported)
        return im_fail(text, -ENOTSUP, "tensor %.200s is of type %.100s, which no weights here have", f->name,
                       t->storage->type_name);
    for (int d = 0; d < t->rank; d++)
        if (__builtin_mul_overflow(total, t->shape[d], &total))
            total = UINT64_MAX;
    if (total > *left)
        return im_fail(text, -EBADMSG, "its tensors are many times larger than the file");
    *left -= total;
    f->data = malloc(total ? total : 1);
    if (!f->data)
        return im_fail(text, -ENOMEM, "out of memory for tensor %.200s", f->name);
    if (total == 0)
        return 0;
    if (__builtin_mul_overflow(t->storage->count, t->storage->untyped ? 1 : tr_dtype_bytes(t->storage->dtype),
                               &need))
        return im_fail(text, -EBADMSG, "the storage of tensor %.200s is too large", f->name);
    err = tr_torch_storage_get(storages, t->storage->key, need, &bytes, text);
    if (err == 0)
        gather(t, bytes, f->data);
    return err;
}

/* Tensors of one storage one after the other, so that each is read once. */
static int by_storage(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    const int order = strcmp(x->tensor->storage->key, y->tensor->storage->key);

    return order ? order : strcmp(x->name, y->name);
}

static int write_out(const struct search *s, const struct im_text *from, const struct tr_sink *sink,
                     struct im_text *text)
{
    struct tr_tensor *list = calloc(s->count, sizeof *list);
    const struct tr_pair pair = {TR_TORCH_FROM_KEY, from->s};
    int err;

    if (!list)
        return im_fail(text, -ENOMEM, "out of memory for its tensors");
    for (size_t i = 0; i < s->count; i++) {
        const struct tr_torch_tensor *t = s->list[i].tensor;

        list[i] = (struct tr_tensor){
            .name = s->list[i].name, .dtype = t->dtype, .rank = t->rank, .data = s->list[i].data};
        memcpy(list[i].shape, t->shape, sizeof t->shape);
    }
    err = tr_safetensors_put("its tensors", sink, list, s->count, &pair, 1, text);
    free(list);
    return err;
}

static int convert(struct tr_torch_storages *storages, size_t n, const struct tr_value *root,
                   const struct tr_sink *sink, struct im_text *text)
{
    uint64_t left = TOTAL_TIMES * (uint64_t)n > TOTAL_FLOOR ? TOTAL_TIMES * (uint64_t)n : TOTAL_FLOOR;
    struct search s = {0};
    struct im_text from = {""};
    int err = search(&s, root, &from, text);

    if (err == 0)
        qsort(s.list, s.count, sizeof *s.list, by_storage);
    for (size_t i = 0; i < s.count && err == 0; i++)
        err = fetch(storages, &s.list[i], &left, text);
    if (err == 0)
        err = write_out(&s, &from, sink, text);
    clear(&s);
    return err;
}

bool tr_torch_is(const void *bytes, size_t n)
{
    const unsigned char *b = bytes;

    if (n < 4)
        return false;
    if (memcmp(b, "PK\3\4", 4) == 0)
        return true;
    return n > 8 && b[0] == 0x80 && b[1] >= 2 && b[1] <= 5 &&
           b[8] != '{'; /* where a safetensors file has its brace */
}

int tr_torch_convert(const void *bytes, size_t n, const struct tr_sink *sink, struct im_text *text)
{
    const struct tr_value *root = NULL;
    struct tr_torch_storages *storages = NULL;
    struct tr_pickle pickle = {0};
    int err = tr_torch_storages_open(bytes, n, &pickle, &storages, &root, text);

    if (err == 0)
        err = convert(storages, n, root, sink, text);
    tr_torch_storages_close(&storages);
    tr_pickle_fini(&pickle);
    return err;
}
