/* See foreign.h. */
#include "trainer/checkpoint/foreign.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"

#define TENSORS_MAX 100000 /* of a file whose names are compared with each of the model's */
#define NAME_MAX_BYTES 512

/* What programs put around modules. */
static const char *const wrappers[] = {"module", "_orig_mod", "_fsdp_wrapped_module",
                                       "_checkpoint_wrapped_module"};

/* "linear." at the beginning of a name is "fc." here; the last word is replaced by the model's own classifier. */
#define HEAD "*"
static const struct {
    const char *theirs, *ours;
} parts[] = {
    {"fc.", HEAD},          {"linear.", HEAD},      {"classifier.", HEAD}, {"head.fc.", HEAD},
    {"head.", HEAD},        {"last_linear.", HEAD}, {"fc.0.", HEAD},       {"fc.1.", HEAD},
    {"conv1.0.", "conv1."}, {"conv1.1.", "bn1."},
};

struct names {
    struct tr_safetensors *file;
    const struct tr_model *model;
    struct im_text *note;
};

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);

    return n > m && name[n - m - 1] == '.' && strcmp(name + n - m, end) == 0;
}

static const struct tr_param_tensor *find_ours(const struct tr_model *m, const char *name)
{
    for (int i = 0; i < m->tensor_count; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    return NULL;
}

__attribute__((format(printf, 2, 3))) static void add_note(struct im_text *note, const char *format, ...)
{
    size_t used = strlen(note->s);
    va_list args;

    if (used)
        used += (size_t)snprintf(note->s + used, sizeof note->s - used, "; ");
    if (used >= sizeof note->s)
        return;
    va_start(args, format);
    vsnprintf(note->s + used, sizeof note->s - used, format, args);
    va_end(args);
}

static bool is_wrapper(const char *word, size_t n)
{
    for (size_t i = 0; i < IM_COUNT(wrappers); i++)
        if (strlen(wrappers[i]) == n && strncmp(word, wrappers[i], n) == 0)
            return true;
    return false;
}

/* Copies a name without wrappers. True: there was one. */
static bool unwrap(const char *name, char *to)
{
    bool found = false;
    char *out = to;

    while (*name) {
        const size_t n = strcspn(name, ".");

        if (name[n] == '.' && is_wrapper(name, n)) {
            found = true;
        } else {
            memcpy(out, name, n + (name[n] == '.'));
            out += n + (name[n] == '.');
        }
        name += n + (name[n] == '.');
    }
    *out = '\0';
    return found;
}

static int rename_tensor(const struct names *s, size_t i, const char *name)
{
    return tr_safetensors_rename(s->file, i, name);
}

static int drop_wrappers(const struct names *s)
{
    const char *first = NULL;
    char name[NAME_MAX_BYTES], example[NAME_MAX_BYTES] = "";
    size_t count = 0;
    int err = 0;

    for (size_t i = 0; i < tr_safetensors_count(s->file) && err == 0; i++) {
        first = tr_safetensors_at(s->file, i)->name;
        if (strlen(first) >= sizeof name || find_ours(s->model, first) || !unwrap(first, name))
            continue;
        if (count++ == 0)
            snprintf(example, sizeof example, "%s", first);
        err = rename_tensor(s, i, name);
    }
    if (err == 0 && count > 0) {
        unwrap(example, name);
        add_note(s->note, "%zu names without the words of a wrapper (%.100s is %.100s)", count, example,
                 name);
    }
    return err;
}

/* A prefix, and how many of the model's names stand behind it. */
struct prefix {
    char s[NAME_MAX_BYTES];
    int count;
};

enum { PREFIXES_MAX = 64 };

struct prefixes {
    struct prefix list[PREFIXES_MAX];
    int count;
};

static void count_prefix(struct prefixes *p, const char *name, size_t n)
{
    for (int i = 0; i < p->count; i++) {
        if (strlen(p->list[i].s) == n && strncmp(p->list[i].s, name, n) == 0) {
            p->list[i].count++;
            return;
        }
    }
    if (p->count == PREFIXES_MAX || n >= sizeof p->list[0].s)
        return;
    memcpy(p->list[p->count].s, name, n);
    p->list[p->count].s[n] = '\0';
    p->list[p->count++].count = 1;
}

/* Of what stands before the model's names in the file's. Returns how many of them stand there as they are. */
static int count_prefixes(const struct names *s, struct prefixes *ret)
{
    int plain = 0;

    for (int i = 0; i < s->model->tensor_count; i++) {
        const char *ours = s->model->tensors[i].name;

        for (size_t k = 0; k < tr_safetensors_count(s->file); k++) {
            const char *theirs = tr_safetensors_at(s->file, k)->name;

            if (strcmp(theirs, ours) == 0)
                plain++;
            else if (ends_with(theirs, ours))
                count_prefix(ret, theirs, strlen(theirs) - strlen(ours));
        }
    }
    return plain;
}

static int drop_prefix(const struct names *s, struct im_text *text)
{
    struct prefixes *p = calloc(1, sizeof *p);
    const struct prefix *best, *second;
    const int plain = p ? count_prefixes(s, p) : 0;
    int err = p ? 0 : -ENOMEM;

    best = second = NULL;
    for (int i = 0; p && i < p->count; i++) {
        if (!best || p->list[i].count > best->count) {
            second = best;
            best = &p->list[i];
        } else if (!second || p->list[i].count > second->count) {
            second = &p->list[i];
        }
    }
    if (!best || best->count <= plain || 2 * best->count < s->model->tensor_count)
        goto out;
    if (second && second->count == best->count) {
        err = im_fail(text, -EBADMSG,
                      "the file holds the model twice, under \"%.100s\" and under \"%.100s\"; keep one",
                      best->s, second->s);
        goto out;
    }
    for (size_t i = 0; i < tr_safetensors_count(s->file) && err == 0; i++) {
        const char *name = tr_safetensors_at(s->file, i)->name;

        if (strncmp(name, best->s, strlen(best->s)) == 0)
            err = rename_tensor(s, i, name + strlen(best->s));
    }
    if (err == 0)
        add_note(s->note, "names without \"%.100s\"", best->s);
out:
    free(p);
    return err;
}

/* "fc." or "head.fc." */
static void name_head(const struct tr_model *m, char ret[TR_TENSOR_NAME_MAX])
{
    ret[0] = '\0';
    for (int i = 0; i < m->tensor_count; i++)
        if (m->tensors[i].kind == TR_TENSOR_FC_WEIGHT)
            snprintf(ret, TR_TENSOR_NAME_MAX, "%.*s",
                     (int)(strrchr(m->tensors[i].name, '.') - m->tensors[i].name + 1), m->tensors[i].name);
}

/* Renames what begins with `theirs` where the model has the name with `ours` and the file has not. */
static int rename_part(const struct names *s, const char *theirs, const char *ours)
{
    char name[NAME_MAX_BYTES];
    size_t count = 0;
    int err = 0;

    for (size_t i = 0; i < tr_safetensors_count(s->file) && err == 0; i++) {
        const struct tr_tensor *t = tr_safetensors_at(s->file, i);

        if (strncmp(t->name, theirs, strlen(theirs)) != 0 || find_ours(s->model, t->name) ||
            snprintf(name, sizeof name, "%s%s", ours, t->name + strlen(theirs)) >= (int)sizeof name ||
            !find_ours(s->model, name) || tr_safetensors_find(s->file, name))
            continue;
        err = rename_tensor(s, i, name);
        count++;
    }
    if (err == 0 && count > 0)
        add_note(s->note, "%s is read as %s", theirs, ours);
    return err;
}

/* The projections of blocks: layer2.0.shortcut.0.weight. */
static int rename_shortcuts(const struct names *s)
{
    static const char theirs[] = ".shortcut.", ours[] = ".downsample.";
    char name[NAME_MAX_BYTES];
    size_t count = 0;
    int err = 0;

    for (size_t i = 0; i < tr_safetensors_count(s->file) && err == 0; i++) {
        const struct tr_tensor *t = tr_safetensors_at(s->file, i);
        const char *at = strstr(t->name, theirs);

        if (!at ||
            snprintf(name, sizeof name, "%.*s%s%s", (int)(at - t->name), t->name, ours,
                     at + strlen(theirs)) >= (int)sizeof name ||
            !find_ours(s->model, name) || tr_safetensors_find(s->file, name))
            continue;
        err = rename_tensor(s, i, name);
        count++;
    }
    if (err == 0 && count > 0)
        add_note(s->note, "shortcut is read as downsample");
    return err;
}

/* A 1x1 convolution is the same classifier as a matrix. */
static void fit_head(const struct names *s)
{
    for (size_t i = 0; i < tr_safetensors_count(s->file); i++) {
        const struct tr_tensor *t = tr_safetensors_at(s->file, i);
        const struct tr_param_tensor *ours = find_ours(s->model, t->name);
        uint64_t shape[4] = {1, 1, 1, 1};

        if (!ours || ours->kind != TR_TENSOR_FC_WEIGHT || t->rank < 2 || t->rank > 4 || t->rank == ours->rank)
            continue;
        memcpy(shape, t->shape, (size_t)t->rank * sizeof *shape);
        if (shape[2] == 1 && shape[3] == 1)
            tr_safetensors_reshape(s->file, i, ours->rank, shape);
    }
}

static int check_unique(const struct names *s, struct im_text *text)
{
    for (size_t i = 0; i < tr_safetensors_count(s->file); i++) {
        const struct tr_tensor *t = tr_safetensors_at(s->file, i);

        if (find_ours(s->model, t->name) && tr_safetensors_find(s->file, t->name) != t)
            return im_fail(text, -EBADMSG, "two tensors of the file are both %.200s without their prefixes",
                           t->name);
    }
    return 0;
}

int tr_foreign_names(struct tr_safetensors *file, const struct tr_model *model, struct im_text *note,
                     struct im_text *text)
{
    const struct names s = {file, model, note};
    char head[TR_TENSOR_NAME_MAX];
    int err;

    note->s[0] = '\0';
    if (tr_safetensors_count(file) > TENSORS_MAX)
        return 0;
    err = drop_wrappers(&s);
    if (err == 0)
        err = drop_prefix(&s, text);
    name_head(model, head);
    for (size_t i = 0; i < IM_COUNT(parts) && err == 0; i++)
        err = rename_part(&s, parts[i].theirs, strcmp(parts[i].ours, HEAD) == 0 ? head : parts[i].ours);
    if (err == 0)
        err = rename_shortcuts(&s);
    if (err == 0)
        err = check_unique(&s, text);
    if (err == 0)
        fit_head(&s);
    if (err == -ENOMEM)
        im_fail(text, err, "out of memory");
    return err;
}

bool tr_foreign_is_bookkeeping(const struct tr_tensor *t)
{
    return strcmp(t->name, "n_averaged") == 0 && t->rank == 0;
}

/* Bytes of the common end of two names, in whole words. */
static size_t common_end(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b), same = 0, n = 0;

    while (n < na && n < nb && a[na - 1 - n] == b[nb - 1 - n]) {
        n++;
        if (n == na || n == nb || a[na - n] == '.')
            same = n;
    }
    return same;
}

const struct tr_tensor *tr_foreign_nearest(const struct tr_safetensors *file, const struct tr_model *model,
                                           const struct tr_param_tensor *missing)
{
    const struct tr_tensor *best = NULL;
    size_t best_score = 0;

    if (tr_safetensors_count(file) > TENSORS_MAX)
        return NULL;
    for (size_t i = 0; i < tr_safetensors_count(file); i++) {
        const struct tr_tensor *t = tr_safetensors_at(file, i);
        bool same = t->rank == missing->rank;
        size_t score;

        if (find_ours(model, t->name))
            continue;
        for (int d = 0; same && d < t->rank; d++)
            same = t->shape[d] == (uint64_t)missing->shape[d];
        score = 2 * common_end(t->name, missing->name) + same;
        if (score > best_score && (same || strchr(t->name + strlen(t->name) - score / 2, '.'))) {
            best = t;
            best_score = score;
        }
    }
    return best_score > 1 ? best : NULL;
}
