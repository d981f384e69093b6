#include "reader/dataset/shard_labels.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/number.h"
#include "reader/dataset/table_labels.h"

#define EXACT_MAX 1e15 /* of a number with a point */

const char *rd_shard_label_next(const char **at, char word[RD_LABEL_BYTES])
{
    const char *found;

    do
        found = rd_table_next_label(at, word);
    while (found && !*found);
    return found;
}

/* ---- of a .cls ---- */

static char *strip(char *text)
{
    char *end;

    while (isspace((unsigned char)*text))
        text++;
    end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = 0;
    return text;
}

/* The words as a list, malloc'ed: a separator or the end of the text makes room for each line feed. */
static char *list_words(char *text, const char *between)
{
    char *list = malloc(strlen(text) + 2), *rest = NULL;
    size_t used = 0;

    for (char *word = strtok_r(text, between, &rest); word && list; word = strtok_r(NULL, between, &rest)) {
        const char *bare = strip(word);
        const size_t n = strlen(bare);

        memcpy(list + used, bare, n);
        used += n;
        if (n > 0)
            list[used++] = '\n';
    }
    if (list)
        list[used] = 0;
    return list;
}

static int take_array(const char *text, char **ret)
{
    struct im_json *j;
    int err = im_json_parse(text, strlen(text), &j, NULL);

    if (err < 0)
        return err == -ENOMEM ? err : 0;
    err = rd_shard_label_of_json(j, ret);
    im_json_free(&j);
    return err;
}

int rd_shard_label_of_text(const char *text, size_t n, char **ret)
{
    char *copy = strndup(text, n), *bare;
    int err = 0;

    *ret = NULL;
    if (!copy)
        return -ENOMEM;
    bare = strip(strncmp(copy, "\xef\xbb\xbf", 3) == 0 ? copy + 3 : copy); /* a byte order mark */
    if (*bare == '[')
        err = take_array(bare, ret);
    else if (strpbrk(bare, "\r\n"))
        err = (*ret = list_words(bare, "\r\n")) ? 0 : -ENOMEM;
    else if (strpbrk(bare, " ,\t") && strspn(bare, "0123456789 ,\t") == strlen(bare))
        err = (*ret = list_words(bare, " ,\t")) ? 0 : -ENOMEM;
    else if (*bare)
        err = (*ret = strdup(bare)) ? 0 : -ENOMEM;
    free(copy);
    return err;
}

/* ---- of a .json ---- */

struct list {
    char *bytes;
    size_t used, room;
};

/* -EINVAL: it is no label. */
static int word_of(const struct im_json *value, const char **ret, char digits[32])
{
    int64_t number;
    double real;

    if (im_json_as_str(value, ret) == 0)
        return strchr(*ret, '\n') ? -EINVAL : 0;
    if (im_json_as_int(value, &number) < 0) {
        if (im_json_as_real(value, &real) < 0 || !(fabs(real) < EXACT_MAX) || real != trunc(real))
            return -EINVAL;
        number = (int64_t)real;
    }
    if (number < 0)
        return -EINVAL;
    snprintf(digits, 32, "%lld", (long long)number);
    *ret = digits;
    return 0;
}

static int add_word(struct list *l, const char *word)
{
    const size_t n = strlen(word);

    if (l->used + n + 2 > l->room) {
        const size_t room = 2 * (l->used + n + 2);
        char *grown = realloc(l->bytes, room);

        if (!grown)
            return -ENOMEM;
        l->bytes = grown;
        l->room = room;
    }
    memcpy(l->bytes + l->used, word, n);
    l->used += n;
    l->bytes[l->used++] = '\n';
    l->bytes[l->used] = 0;
    return 0;
}

static int take_items(const struct im_json *array, struct list *l)
{
    char digits[32];
    const char *word;
    int err = 0;

    for (size_t i = 0; i < im_json_count(array) && err == 0; i++) {
        err = word_of(im_json_at(array, i), &word, digits);
        if (err == 0)
            err = add_word(l, word);
    }
    return err;
}

/* 1, 0, or -EINVAL. */
static int flag_of(const struct im_json *value)
{
    double real;
    bool yes;

    if (im_json_as_bool(value, &yes) == 0)
        return yes;
    if (im_json_as_real(value, &real) < 0)
        return -EINVAL;
    return real == 1 ? 1 : real == 0 || real == -1 ? 0 : -EINVAL;
}

/* {"cat": 1, "dog": 0} */
static int take_keys(const struct im_json *object, struct list *l)
{
    const struct im_json *value;
    int err = 0;

    for (const char *key = NULL; err >= 0 && (value = im_json_next(object, &key));) {
        err = strchr(key, '\n') ? -EINVAL : flag_of(value);
        if (err == 1)
            err = add_word(l, key);
    }
    return err < 0 ? err : 0;
}

/* -EINVAL: no label stands there. */
static int take_value(const struct im_json *value, char **ret)
{
    struct list l = {.used = 0};
    char digits[32];
    const char *word;
    int err;

    if (!im_json_is_array(value) && !im_json_is_object(value)) {
        err = value ? word_of(value, &word, digits) : -EINVAL;
        if (err == 0 && !*word)
            return -EINVAL;
        *ret = err == 0 ? strdup(word) : NULL;
        return err == 0 && !*ret ? -ENOMEM : err;
    }
    err = im_json_is_array(value) ? take_items(value, &l) : take_keys(value, &l);
    if (err == 0 && l.used == 0)
        err = add_word(&l, "");
    if (err == 0)
        *ret = l.bytes;
    else
        free(l.bytes);
    return err;
}

int rd_shard_label_of_json(const struct im_json *j, char **ret)
{
    static const char *const fields[] = {"label", "labels",     "cls",    "class_id",
                                         "class", "class_name", "classes"};
    int err = -EINVAL;

    *ret = NULL;
    if (im_json_is_array(j))
        err = take_value(j, ret);
    for (size_t i = 0; i < IM_COUNT(fields) && err == -EINVAL; i++)
        err = take_value(im_json_get(j, fields[i]), ret);
    return err == -ENOMEM ? err : 0;
}

/* ---- of all ---- */

int64_t rd_shard_label_number(const char *word)
{
    const int64_t number = im_whole_number(word);
    char *end;
    double real;

    if (number >= 0)
        return number;
    if (!isdigit((unsigned char)word[word[0] == '-']) || strspn(word, "-0123456789.") != strlen(word))
        return RD_LABEL_NAME;
    real = strtod(word, &end);
    if (*end || !(fabs(real) < EXACT_MAX))
        return RD_LABEL_NAME;
    return real < 0 || real != trunc(real) ? RD_LABEL_OTHER : (int64_t)real;
}

void rd_shard_form_add(struct rd_shard_form *form, const char *label)
{
    const bool is_list = rd_shard_label_is_list(label);
    uint32_t length = 0, seen[2] = {0};
    char word[RD_LABEL_BYTES];

    while (rd_shard_label_next(&label, word)) {
        const int64_t number = rd_shard_label_number(word);

        form->has_names |= number == RD_LABEL_NAME;
        form->has_numbers |= number >= 0;
        form->has_others |= number < 0 || number > 1;
        form->most = number > form->most ? number : form->most;
        if (number == 0 || number == 1)
            form->repeat |= ++seen[number] > 1;
        length++;
    }
    form->has_single |= !is_list;
    form->differ |= form->labelled > 0 && length != form->length;
    form->length = length;
    form->labelled++;
}

bool rd_shard_form_is_flags(const struct rd_shard_form *form)
{
    return form->repeat && !form->has_others && !form->has_single && !form->differ;
}
