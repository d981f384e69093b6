/* The machine has a stack, marks on it, and a memo of values that come again.
 *
 * Opcodes are grouped by what they do; each group's function says whether the opcode is one of its own. */
#include "trainer/checkpoint/pickle_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"

#define ARENA_BYTES_MAX ((size_t)1 << 29)
#define CHUNK_BYTES ((size_t)1 << 16)
#define STACK_MAX ((size_t)1 << 22)
#define MEMO_MAX ((size_t)1 << 22)

struct tr_pickle_chunk {
    struct tr_pickle_chunk *next;
    size_t used, room;
    _Alignas(16) char bytes[];
};

void tr_pickle_fini(struct tr_pickle *p)
{
    while (p->chunks) {
        struct tr_pickle_chunk *next = p->chunks->next;

        free(p->chunks);
        p->chunks = next;
    }
    p->bytes = 0;
    p->storages = NULL;
}

/* Zeroed memory that lives as long as the values; NULL: there is none. */
void *tr_pickle_take(struct tr_pickle_machine *m, size_t n)
{
    struct tr_pickle_chunk *c = m->p->chunks;
    void *taken;

    n = (n + 15) & ~(size_t)15;
    if (n > ARENA_BYTES_MAX)
        return NULL;
    if (!c || c->room - c->used < n) {
        const size_t room = n > CHUNK_BYTES ? n : CHUNK_BYTES;

        if (m->p->bytes + room > ARENA_BYTES_MAX)
            return NULL;
        c = calloc(1, sizeof *c + room);
        if (!c)
            return NULL;
        m->p->bytes += room;
        c->room = room;
        c->next = m->p->chunks;
        m->p->chunks = c;
    }
    taken = c->bytes + c->used;
    c->used += n;
    return taken;
}

int tr_pickle_bad(const struct tr_pickle_machine *m, const char *what)
{
    return im_fail(m->text, -EBADMSG, "byte %zu of its pickle: %s", (size_t)(m->at - m->begin), what);
}

int tr_pickle_no_memory(const struct tr_pickle_machine *m)
{
    return im_fail(m->text, -ENOMEM, "out of memory for its values");
}

int tr_pickle_push(struct tr_pickle_machine *m, struct tr_value *v)
{
    if (m->depth == m->stack_room) {
        const size_t room = m->stack_room ? 2 * m->stack_room : 256;
        struct tr_value **stack = room > STACK_MAX ? NULL : realloc(m->stack, room * sizeof *stack);

        if (!stack)
            return tr_pickle_no_memory(m);
        m->stack = stack;
        m->stack_room = room;
    }
    m->stack[m->depth++] = v;
    return 0;
}

static size_t floor_of(const struct tr_pickle_machine *m)
{
    return m->mark_count ? m->marks[m->mark_count - 1] : 0;
}

/* The value on top, which stays; NULL: there is none above the last mark. */
static struct tr_value *top(const struct tr_pickle_machine *m)
{
    return m->depth > floor_of(m) ? m->stack[m->depth - 1] : NULL;
}

static struct tr_value *pop(struct tr_pickle_machine *m)
{
    struct tr_value *v = top(m);

    m->depth -= v != NULL;
    return v;
}

struct tr_value *tr_pickle_new(struct tr_pickle_machine *m, enum tr_value_kind kind)
{
    struct tr_value *v = tr_pickle_take(m, sizeof *v);

    if (v)
        v->kind = kind;
    return v;
}

static int push_new(struct tr_pickle_machine *m, enum tr_value_kind kind, int64_t number)
{
    struct tr_value *v = tr_pickle_new(m, kind);

    if (!v)
        return tr_pickle_no_memory(m);
    if (kind <= TR_VALUE_INT)
        v->u.number = number;
    return tr_pickle_push(m, v);
}

static int push_text(struct tr_pickle_machine *m, enum tr_value_kind kind, const void *s, size_t n)
{
    struct tr_value *v = tr_pickle_new(m, kind);

    if (!v)
        return tr_pickle_no_memory(m);
    v->u.text.s = s;
    v->u.text.n = n;
    return tr_pickle_push(m, v);
}

static int append(struct tr_pickle_machine *m, struct tr_value *to, struct tr_value *v)
{
    if (to->u.items.n == to->u.items.room) {
        const size_t room = to->u.items.room ? 2 * to->u.items.room : 4;
        struct tr_value **list = tr_pickle_take(m, room * sizeof *list);

        if (!list)
            return tr_pickle_no_memory(m);
        if (to->u.items.n)
            memcpy(list, to->u.items.v, to->u.items.n * sizeof *list);
        to->u.items.v = list;
        to->u.items.room = room;
    }
    to->u.items.v[to->u.items.n++] = v;
    return 0;
}

/* n bytes of the pickle; NULL: it is shorter. */
static const unsigned char *bytes_of(struct tr_pickle_machine *m, uint64_t n)
{
    const unsigned char *at = m->at;

    if ((uint64_t)(m->end - m->at) < n)
        return NULL;
    m->at += n;
    return at;
}

/* A little-endian number of n bytes. */
static bool number_of(struct tr_pickle_machine *m, size_t n, uint64_t *ret)
{
    const unsigned char *at = bytes_of(m, n);

    *ret = 0;
    for (size_t i = 0; at && i < n; i++)
        *ret |= (uint64_t)at[i] << 8 * i;
    return at != NULL;
}

/* The text up to the next line's end, which is skipped. */
static bool line_of(struct tr_pickle_machine *m, const char **ret, size_t *ret_n)
{
    const unsigned char *end = memchr(m->at, '\n', (size_t)(m->end - m->at));

    if (!end)
        return false;
    *ret = (const char *)m->at;
    *ret_n = (size_t)(end - m->at);
    m->at = end + 1;
    return true;
}

char *tr_pickle_copy(struct tr_pickle_machine *m, const char *s, size_t n)
{
    char *copy = tr_pickle_take(m, n + 1);

    if (copy)
        memcpy(copy, s, n);
    return copy;
}

bool tr_value_is_text(const struct tr_value *v, const char *s)
{
    return v && v->kind == TR_VALUE_TEXT && v->u.text.n == strlen(s) &&
           memcmp(v->u.text.s, s, v->u.text.n) == 0;
}

const struct tr_value *tr_value_get(const struct tr_value *v, const char *key)
{
    if (v && v->kind == TR_VALUE_OPAQUE && v->u.items.n == 0)
        v = v->u.items.state;
    if (!v || (v->kind != TR_VALUE_DICT && v->kind != TR_VALUE_OPAQUE))
        return NULL;
    for (size_t i = v->u.items.n; i > 1; i -= 2) /* the last one counts */
        if (tr_value_is_text(v->u.items.v[i - 2], key))
            return v->u.items.v[i - 1];
    return NULL;
}

/* Names of classes and functions. */

static int push_global(struct tr_pickle_machine *m, const char *module, size_t module_n, const char *name,
                       size_t name_n)
{
    char *both;

    if (module_n > 256 || name_n > 256 || memchr(module, ' ', module_n))
        return tr_pickle_bad(m, "the name of a class is too long or has blanks");
    both = tr_pickle_take(m, module_n + name_n + 2);
    if (!both)
        return tr_pickle_no_memory(m);
    memcpy(both, module, module_n);
    both[module_n] = ' ';
    memcpy(both + module_n + 1, name, name_n);
    if (tr_pickle_is_dangerous(both, module_n + 1 + name_n)) {
        both[module_n] = '.';
        return im_fail(m->text, -EBADMSG,
                       "it asks Python to call %.300s, which no file of weights needs; it was not called",
                       both);
    }
    return push_text(m, TR_VALUE_GLOBAL, both, module_n + 1 + name_n);
}

/* Calls, none of which is one. */

static int make_opaque(struct tr_pickle_machine *m, struct tr_value **ret)
{
    *ret = tr_pickle_new(m, TR_VALUE_OPAQUE);
    return *ret ? 0 : tr_pickle_no_memory(m);
}

/* OrderedDict([(key, value), ...]), as protocol 1 writes it. */
static int make_dict(struct tr_pickle_machine *m, const struct tr_value *args, struct tr_value **ret)
{
    const struct tr_value *pairs = args->u.items.n == 1 ? args->u.items.v[0] : NULL;
    int err = 0;

    *ret = tr_pickle_new(m, TR_VALUE_DICT);
    if (!*ret)
        return tr_pickle_no_memory(m);
    if (!pairs || pairs->kind != TR_VALUE_LIST)
        return 0;
    for (size_t i = 0; i < pairs->u.items.n && err == 0; i++) {
        const struct tr_value *pair = pairs->u.items.v[i];

        if ((pair->kind != TR_VALUE_TUPLE && pair->kind != TR_VALUE_LIST) || pair->u.items.n != 2)
            return tr_pickle_bad(m, "a dictionary has something other than pairs");
        err = append(m, *ret, pair->u.items.v[0]);
        if (err == 0)
            err = append(m, *ret, pair->u.items.v[1]);
    }
    return err;
}

static int reduce(struct tr_pickle_machine *m)
{
    struct tr_value *args = pop(m), *callee = pop(m), *made = NULL;
    int err;

    if (!args || !callee || args->kind != TR_VALUE_TUPLE)
        return tr_pickle_bad(m, "a call without arguments");
    if (tr_value_is_global(callee, "torch._utils _rebuild_tensor_v2") ||
        tr_value_is_global(callee, "torch._utils _rebuild_tensor"))
        err = tr_pickle_make_tensor(m, args, false, &made);
    else if (tr_value_is_global(callee, "torch._utils _rebuild_tensor_v3"))
        err = tr_pickle_make_tensor(m, args, true, &made);
    else if ((tr_value_is_global(callee, "torch._utils _rebuild_parameter") ||
              tr_value_is_global(callee, "torch._utils _rebuild_parameter_with_state")) &&
             args->u.items.n > 0)
        return tr_pickle_push(m, args->u.items.v[0]);
    else if (tr_value_is_global(callee, "torch Size") && args->u.items.n == 1)
        return tr_pickle_push(m, args->u.items.v[0]);
    else if (tr_value_is_global(callee, "collections OrderedDict"))
        err = make_dict(m, args, &made);
    else
        err = make_opaque(m, &made);
    return err < 0 ? err : tr_pickle_push(m, made);
}

static int build(struct tr_pickle_machine *m)
{
    struct tr_value *state = pop(m), *object = top(m);

    if (!state || !object)
        return tr_pickle_bad(m, "a state without its object");
    if (state->kind == TR_VALUE_TUPLE && state->u.items.n == 2)
        state = state->u.items.v[0]; /* (attributes, slots) */
    if (object->kind == TR_VALUE_OPAQUE)
        object->u.items.state = state;
    return 0; /* an OrderedDict's attributes say nothing about its tensors */
}

/* Everything above the last mark, as the items of a list or tuple. */
static int collect(struct tr_pickle_machine *m, enum tr_value_kind kind, size_t from)
{
    struct tr_value *v = tr_pickle_new(m, kind);
    const size_t n = m->depth - from;

    if (!v)
        return tr_pickle_no_memory(m);
    v->u.items.v = tr_pickle_take(m, (n ? n : 1) * sizeof *v->u.items.v);
    if (!v->u.items.v)
        return tr_pickle_no_memory(m);
    if (n)
        memcpy(v->u.items.v, m->stack + from, n * sizeof *v->u.items.v);
    v->u.items.n = v->u.items.room = n;
    m->depth = from;
    return tr_pickle_push(m, v);
}

/* Takes the last mark away. False: there is none. */
static bool unmark(struct tr_pickle_machine *m, size_t *ret_from)
{
    if (m->mark_count == 0)
        return false;
    *ret_from = m->marks[--m->mark_count];
    return true;
}

static int add_items(struct tr_pickle_machine *m, size_t from, bool pairs)
{
    struct tr_value *to = from > floor_of(m) ? m->stack[from - 1] : NULL;
    int err = 0;

    if (!to || (pairs && (m->depth - from) % 2 != 0))
        return tr_pickle_bad(m, "items without their list or dictionary");
    if (pairs ? to->kind != TR_VALUE_DICT && to->kind != TR_VALUE_OPAQUE : to->kind != TR_VALUE_LIST) {
        if (to->kind != TR_VALUE_OPAQUE)
            return tr_pickle_bad(m, "items for something that has none");
        m->depth = from; /* of an opaque list */
        return 0;
    }
    for (size_t i = from; i < m->depth && err == 0; i++)
        err = append(m, to, m->stack[i]);
    m->depth = from;
    return err;
}

/* The opcodes. Each function returns 1 for one that is not in its group. */

enum { OTHER = 1 };

static int64_t signed_of(uint64_t bits, size_t n)
{
    const unsigned shift = (unsigned)(64 - 8 * n);

    return n == 0 ? 0 : (int64_t)(bits << shift) >> shift;
}

static int decimal(struct tr_pickle_machine *m)
{
    const char *s;
    char copy[32], *end;
    long long value;
    size_t n;

    if (!line_of(m, &s, &n) || n >= sizeof copy)
        return tr_pickle_bad(m, "a number is cut off or too long");
    memcpy(copy, s, n);
    copy[n] = '\0';
    if (strcmp(copy, "00") == 0 || strcmp(copy, "01") == 0)
        return push_new(m, TR_VALUE_BOOL, copy[1] == '1');
    value = strtoll(copy, &end, 10);
    return end == copy ? tr_pickle_bad(m, "a number is none") : push_new(m, TR_VALUE_INT, value);
}

/* A whole number of any length; of those that are too long only that there is one matters. */
static int long_number(struct tr_pickle_machine *m, uint64_t n)
{
    const unsigned char *at = bytes_of(m, n);
    uint64_t bits = 0;

    if (!at)
        return tr_pickle_bad(m, "a number is cut off");
    for (size_t i = 0; i < n && i < 8; i++)
        bits |= (uint64_t)at[i] << 8 * i;
    return n > 8 ? push_new(m, TR_VALUE_OPAQUE, 0) : push_new(m, TR_VALUE_INT, signed_of(bits, (size_t)n));
}

static int do_number(struct tr_pickle_machine *m, int opcode)
{
    uint64_t bits = 0;
    const char *s;
    size_t n;

    switch (opcode) {
    case 'N':
        return push_new(m, TR_VALUE_NONE, 0);
    case 0x88:
        return push_new(m, TR_VALUE_BOOL, 1);
    case 0x89:
        return push_new(m, TR_VALUE_BOOL, 0);
    case 'I':
    case 'L':
        return decimal(m);
    case 'J':
        return number_of(m, 4, &bits) ? push_new(m, TR_VALUE_INT, signed_of(bits, 4))
                                      : tr_pickle_bad(m, "cut off");
    case 'K':
        return number_of(m, 1, &bits) ? push_new(m, TR_VALUE_INT, (int64_t)bits)
                                      : tr_pickle_bad(m, "cut off");
    case 'M':
        return number_of(m, 2, &bits) ? push_new(m, TR_VALUE_INT, (int64_t)bits)
                                      : tr_pickle_bad(m, "cut off");
    case 0x8a:
        return number_of(m, 1, &bits) ? long_number(m, bits) : tr_pickle_bad(m, "cut off");
    case 0x8b:
        return number_of(m, 4, &bits) ? long_number(m, bits) : tr_pickle_bad(m, "cut off");
    case 'F':
        return line_of(m, &s, &n) ? push_new(m, TR_VALUE_FLOAT, 0) : tr_pickle_bad(m, "cut off");
    case 'G': /* nothing here depends on one */
        return bytes_of(m, 8) ? push_new(m, TR_VALUE_FLOAT, 0) : tr_pickle_bad(m, "cut off");
    default:
        return OTHER;
    }
}

/* Text and bytes, with the length in so many bytes before them. */
static int do_text(struct tr_pickle_machine *m, int opcode)
{
    static const struct {
        unsigned char opcode, length;
    } known[] = {{'X', 4}, {0x8c, 1}, {0x8d, 8}, {'T', 4}, {'U', 1},
                 {'B', 4}, {'C', 1},  {0x8e, 8}, {0x96, 8}};
    const unsigned char *at = NULL;
    const char *s;
    uint64_t length = 0;
    size_t n;

    if (opcode == 'S' ||
        opcode == 'V') { /* in quotes, in the file's own notation: of these only names matter */
        if (!line_of(m, &s, &n))
            return tr_pickle_bad(m, "a text is cut off");
        if (opcode == 'S' && n > 1 && (s[0] == '\'' || s[0] == '"'))
            s++, n -= 2;
        return push_text(m, TR_VALUE_TEXT, s, n);
    }
    for (size_t i = 0; i < IM_COUNT(known); i++) {
        if (known[i].opcode != opcode)
            continue;
        if (number_of(m, known[i].length, &length))
            at = bytes_of(m, length);
        return at ? push_text(m, TR_VALUE_TEXT, at, (size_t)length) : tr_pickle_bad(m, "a text is cut off");
    }
    return OTHER;
}

static int set_memo(struct tr_pickle_machine *m, uint64_t index)
{
    struct tr_value *v = top(m);

    if (!v || index >= MEMO_MAX)
        return tr_pickle_bad(m, "the memo has no such place");
    if (index >= m->memo_room) {
        size_t room = m->memo_room ? m->memo_room : 256;
        struct tr_value **memo;

        while (room <= index)
            room *= 2;
        memo = realloc(m->memo, room * sizeof *memo);
        if (!memo)
            return tr_pickle_no_memory(m);
        memset(memo + m->memo_room, 0, (room - m->memo_room) * sizeof *memo);
        m->memo = memo;
        m->memo_room = room;
    }
    m->memo[index] = v;
    return 0;
}

static int get_memo(struct tr_pickle_machine *m, uint64_t index)
{
    if (index >= m->memo_room || !m->memo[index])
        return tr_pickle_bad(m, "the memo is empty there");
    return tr_pickle_push(m, m->memo[index]);
}

static bool line_number(struct tr_pickle_machine *m, uint64_t *ret)
{
    const char *s;
    size_t n;

    *ret = 0;
    if (!line_of(m, &s, &n) || n == 0 || n > 9)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        *ret = *ret * 10 + (uint64_t)(s[i] - '0');
    }
    return true;
}

static int do_memo(struct tr_pickle_machine *m, int opcode)
{
    uint64_t index = 0;

    switch (opcode) {
    case 'q':
        return number_of(m, 1, &index) ? set_memo(m, index) : tr_pickle_bad(m, "cut off");
    case 'r':
        return number_of(m, 4, &index) ? set_memo(m, index) : tr_pickle_bad(m, "cut off");
    case 'p':
        return line_number(m, &index) ? set_memo(m, index) : tr_pickle_bad(m, "the memo has no such place");
    case 0x94:
        return set_memo(m, m->memo_next++);
    case 'h':
        return number_of(m, 1, &index) ? get_memo(m, index) : tr_pickle_bad(m, "cut off");
    case 'j':
        return number_of(m, 4, &index) ? get_memo(m, index) : tr_pickle_bad(m, "cut off");
    case 'g':
        return line_number(m, &index) ? get_memo(m, index) : tr_pickle_bad(m, "the memo has no such place");
    default:
        return OTHER;
    }
}

static int do_list(struct tr_pickle_machine *m, int opcode)
{
    size_t from = 0;
    int err;

    switch (opcode) {
    case ')':
        return collect(m, TR_VALUE_TUPLE, m->depth);
    case ']':
    case 0x8f: /* a set */
        return collect(m, TR_VALUE_LIST, m->depth);
    case '}':
        return collect(m, TR_VALUE_DICT, m->depth);
    case 0x85:
    case 0x86:
    case 0x87:
        if (m->depth - floor_of(m) < (size_t)opcode - 0x84)
            return tr_pickle_bad(m, "a tuple without items");
        return collect(m, TR_VALUE_TUPLE, m->depth - ((size_t)opcode - 0x84));
    case 't':
    case 'l':
    case 0x91: /* frozenset */
        return unmark(m, &from) ? collect(m, opcode == 't' ? TR_VALUE_TUPLE : TR_VALUE_LIST, from)
                                : tr_pickle_bad(m, "there is no mark");
    case 'd':
        if (!unmark(m, &from) || (m->depth - from) % 2 != 0)
            return tr_pickle_bad(m, "a dictionary of halves");
        return collect(m, TR_VALUE_DICT, from);
    case 'a':
        return m->depth > floor_of(m) + 1 ? add_items(m, m->depth - 1, false)
                                          : tr_pickle_bad(m, "there is no list");
    case 's':
        return m->depth > floor_of(m) + 2 ? add_items(m, m->depth - 2, true)
                                          : tr_pickle_bad(m, "there is no dictionary");
    case 'e':
    case 0x90: /* of a set */
    case 'u':
        err = unmark(m, &from) ? 0 : tr_pickle_bad(m, "there is no mark");
        return err < 0 ? err : add_items(m, from, opcode == 'u');
    default:
        return OTHER;
    }
}

static int do_stack(struct tr_pickle_machine *m, int opcode)
{
    uint64_t ignored;
    size_t from;

    switch (opcode) {
    case '(':
        if (m->mark_count == MARKS_MAX)
            return tr_pickle_bad(m, "too many marks");
        m->marks[m->mark_count++] = m->depth;
        return 0;
    case '0':
        if (m->mark_count && m->depth == floor_of(m)) /* the mark itself */
            m->mark_count--;
        else if (!pop(m))
            return tr_pickle_bad(m, "the stack is empty");
        return 0;
    case '1':
        if (!unmark(m, &from))
            return tr_pickle_bad(m, "there is no mark");
        m->depth = from;
        return 0;
    case '2':
        return top(m) ? tr_pickle_push(m, top(m)) : tr_pickle_bad(m, "the stack is empty");
    case 0x80:
        return number_of(m, 1, &ignored) && ignored <= 5 ? 0
                                                         : tr_pickle_bad(m, "a protocol that is not known");
    case 0x95: /* a frame: how many bytes follow */
        return number_of(m, 8, &ignored) ? 0 : tr_pickle_bad(m, "cut off");
    default:
        return OTHER;
    }
}

static int stack_global(struct tr_pickle_machine *m)
{
    const struct tr_value *name = pop(m), *module = pop(m);

    if (!name || !module || name->kind != TR_VALUE_TEXT || module->kind != TR_VALUE_TEXT)
        return tr_pickle_bad(m, "a class without its name");
    return push_global(m, module->u.text.s, module->u.text.n, name->u.text.s, name->u.text.n);
}

/* NEWOBJ and the like: an object of a class that nobody makes. */
static int push_object(struct tr_pickle_machine *m, int pops)
{
    struct tr_value *callee = NULL, *made = NULL;
    int err;

    for (int i = 0; i < pops; i++) {
        callee = pop(m);
        if (!callee)
            return tr_pickle_bad(m, "an object without its class");
    }
    if (tr_value_is_global(callee, "collections OrderedDict") ||
        tr_value_is_global(callee, "collections defaultdict"))
        return push_new(m, TR_VALUE_DICT, 0);
    err = make_opaque(m, &made);
    return err < 0 ? err : tr_pickle_push(m, made);
}

static int do_object(struct tr_pickle_machine *m, int opcode)
{
    const char *module, *name;
    size_t module_n, name_n, from;

    switch (opcode) {
    case 'c':
        if (!line_of(m, &module, &module_n) || !line_of(m, &name, &name_n))
            return tr_pickle_bad(m, "a class without its name");
        return push_global(m, module, module_n, name, name_n);
    case 0x93:
        return stack_global(m);
    case 'R':
        return reduce(m);
    case 'b':
        return build(m);
    case 0x81:
        return push_object(m, 2);
    case 0x92:
        return push_object(m, 3);
    case 'i': /* INST and OBJ of protocol 0 */
    case 'o':
        if (opcode == 'i' && (!line_of(m, &module, &module_n) || !line_of(m, &name, &name_n)))
            return tr_pickle_bad(m, "a class without its name");
        if (!unmark(m, &from))
            return tr_pickle_bad(m, "there is no mark");
        m->depth = from;
        return push_object(m, 0);
    case 'Q':
        return tr_pickle_push_storage(m, pop(m));
    default:
        return OTHER;
    }
}

static int run_opcode(struct tr_pickle_machine *m, int opcode)
{
    static int (*const groups[])(struct tr_pickle_machine * m, int opcode) = {do_memo,  do_text,   do_number,
                                                                              do_stack, do_object, do_list};
    int result = OTHER;

    for (size_t i = 0; i < IM_COUNT(groups) && result == OTHER; i++)
        result = groups[i](m, opcode);
    return result == OTHER ? tr_pickle_bad(m, "an instruction that files of weights do not have") : result;
}

int tr_pickle_read(struct tr_pickle *p, const void *bytes, size_t n, const struct tr_value **ret_value,
                   size_t *ret_used, struct im_text *text)
{
    struct tr_pickle_machine m = {.p = p, .begin = bytes, .at = bytes, .text = text};
    int err = 0, opcode = 0;

    m.end = m.begin + n;
    while (err == 0 && m.at < m.end) {
        opcode = *m.at++;
        if (opcode == '.')
            break;
        err = run_opcode(&m, opcode);
    }
    if (err == 0 && (opcode != '.' || !top(&m)))
        err = tr_pickle_bad(&m, "it ends without a value");
    if (err == 0) {
        *ret_value = top(&m);
        *ret_used = (size_t)(m.at - m.begin);
    }
    free(m.stack);
    free(m.memo);
    return err;
}
