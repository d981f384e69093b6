/* The option table as data, names, and the way of one value in and out.
 *
 * Every source ends in im_conf_put(), so that a value is checked and an error worded in one place only.
 * Values keep their exact text form: doubles go out with as many digits as read back the same, which makes
 * the frozen form a true copy.
 *
 * Relations between keys are im_conf_check()'s, sources conf_yaml.c's and conf_args.c's, the
 * frozen form conf_freeze.c's. */
#include "ipc/config/conf_table.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ipc/base/count.h"
#include "ipc/base/suggest.h"
#include "ipc/base/utf8.h"

#define WORD(constant, word) word,
#define CHOICES(list)                                                                                        \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        list(WORD) NULL                                                                                      \
    }
const char *const im_conf_groups[IM_GROUP_COUNT] = {IM_CONF_GROUPS(WORD)};

#define ROW(f, n, g, c, m, h)                                                                                \
    .name = n, .offset = offsetof(struct im_conf, f), .group = g, .commands = c, .metavar = m, .help = h
#define BOOL_ROW(f, n, d, g, c, m, h) {.kind = IM_CONF_BOOL, ROW(f, n, g, c, m, h)},
#define INT_ROW(f, n, d, low, high, g, c, m, h)                                                              \
    {.kind = IM_CONF_INT, ROW(f, n, g, c, m, h), .int_min = low, .int_max = high},
#define SEED_ROW(f, n, d, g, c, m, h) {.kind = IM_CONF_SEED, ROW(f, n, g, c, m, h)},
#define REAL_ROW(f, n, d, low, high, g, c, m, h)                                                             \
    {.kind = IM_CONF_REAL, ROW(f, n, g, c, m, h), .real_min = low, .real_max = high},
#define TEXT_ROW(f, n, d, g, c, m, h) {.kind = IM_CONF_TEXT, ROW(f, n, g, c, m, h)},
#define ENUM_ROW(f, n, d, list, g, c, m, h)                                                                  \
    {.kind = IM_CONF_ENUM, ROW(f, n, g, c, m, h), .choices = CHOICES(list)},
const struct im_conf_key im_conf_keys[IM_KEY_COUNT] = {
    IM_CONF_KEYS(BOOL_ROW, INT_ROW, SEED_ROW, REAL_ROW, TEXT_ROW, ENUM_ROW)};

#define DEFAULT(field, name, value, ...) .field = value,
static const struct im_conf defaults = {IM_CONF_KEYS(DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT)};

static const struct {
    const char *theirs, *ours, *value;
} aliases[] = {
#define ALIAS(theirs, ours, value) {theirs, ours, value},
    IM_CONF_ALIASES(ALIAS)};

static const struct {
    const char *theirs, *advice;
} hints[] = {
#define HINT(theirs, advice) {theirs, advice},
    IM_CONF_HINTS(HINT)};

enum { ALIAS_COUNT = IM_COUNT(aliases), HINT_COUNT = IM_COUNT(hints) };

void im_conf_defaults(struct im_conf *conf)
{
    *conf = defaults;
}

const char *im_conf_name(enum im_conf_key_id key)
{
    return im_conf_keys[key].name;
}

const char *im_conf_flag(const char *name, const char *value, char ret[IM_CONF_TEXT_BYTES + 64])
{
    const char *fixed;
    const int key = im_conf_find(name, &fixed);
    const bool is_switch = key >= 0 && im_conf_keys[key].kind == IM_CONF_BOOL;

    snprintf(ret, IM_CONF_TEXT_BYTES + 64, "--%s%.40s%s%.*s",
             is_switch && strcmp(value, "true") != 0 ? "no-" : "", name, is_switch ? "" : " ",
             is_switch ? 0 : IM_CONF_TEXT_BYTES, *value ? value : "\"\"");
    return ret;
}

bool im_conf_is_for(enum im_conf_key_id key, im_conf_commands commands)
{
    return (im_conf_keys[key].commands & commands) != 0;
}

bool im_conf_normal(const char *written, char name[IM_CONF_NAME_BYTES])
{
    size_t n = strlen(written);

    if (n >= IM_CONF_NAME_BYTES)
        return false;
    for (size_t i = 0; i <= n; i++)
        name[i] = written[i] == '_' || written[i] == '.' ? '-' : (char)tolower((unsigned char)written[i]);
    return true;
}

static int find_key(const char *name)
{
    for (int i = 0; i < IM_KEY_COUNT; i++) {
        if (strcmp(im_conf_keys[i].name, name) == 0)
            return i;
    }
    return -1;
}

static bool is_for_fewer(int key, int other)
{
    return __builtin_popcountll(im_conf_keys[key].commands) <
           __builtin_popcountll(im_conf_keys[other].commands);
}

int im_conf_find_for(im_conf_commands commands, const char *name, const char **ret_value)
{
    int found = find_key(name);

    *ret_value = NULL;
    if (found >= 0 && im_conf_keys[found].commands & commands)
        return found;
    found = -1;
    for (int i = 0; i < ALIAS_COUNT; i++) {
        const int key = strcmp(aliases[i].theirs, name) == 0 ? find_key(aliases[i].ours) : -1;

        if (key < 0 || !(im_conf_keys[key].commands & commands) || (found >= 0 && !is_for_fewer(key, found)))
            continue;
        *ret_value = aliases[i].value;
        found = key;
        if (commands == IM_FOR_ANY)
            break;
    }
    return found;
}

int im_conf_find(const char *name, const char **ret_value)
{
    return im_conf_find_for(IM_FOR_ANY, name, ret_value);
}

const char *im_conf_near(const char *name, im_conf_commands commands)
{
    const char *names[IM_KEY_COUNT + ALIAS_COUNT], *fixed;
    size_t n = 0;

    for (int i = 0; i < IM_KEY_COUNT; i++) {
        if (im_conf_keys[i].commands & commands)
            names[n++] = im_conf_keys[i].name;
    }
    for (int i = 0; i < ALIAS_COUNT; i++) {
        if (aliases[i].theirs[1] && /* one letter is near to everything */
            im_conf_find_for(commands, aliases[i].theirs, &fixed) >= 0)
            names[n++] = aliases[i].theirs;
    }
    return im_nearest(name, names, n);
}

/* "--lr" for flags, "IMSUPER_LR" for variables, "conf.yaml:3: lr" for files. */
static int fail_at(const struct im_conf_place *place, struct im_text *text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int fail_at(const struct im_conf_place *place, struct im_text *text, const char *format, ...)
{
    struct im_text what;
    va_list args;

    va_start(args, format);
    vsnprintf(what.s, sizeof what.s, format, args);
    va_end(args);
    if (place->file)
        return im_fail(text, -EINVAL, "%s:%d: %s: %s", place->file, place->line, place->written, what.s);
    return im_fail(text, -EINVAL, "%s: %s", place->written, what.s);
}

int im_conf_unknown(const char *name, im_conf_commands commands, const struct im_conf_place *place,
                    struct im_text *text)
{
    const char *kind = place->source == IM_CONF_FLAG ? "flag" : "key";
    const char *dashes = place->source == IM_CONF_FLAG ? "--" : "";
    const char *near = im_conf_near(name, commands);
    struct im_text where = {""}, meant = {""};

    for (int i = 0; i < HINT_COUNT; i++) {
        if (strcmp(hints[i].theirs, name) == 0)
            return fail_at(place, text, "%s", hints[i].advice);
    }
    if (im_conf_why_ignored(name))
        return fail_at(place, text, "nothing is needed: %s", im_conf_why_ignored(name));
    if (place->file)
        snprintf(where.s, sizeof where.s, "%s:%d: ", place->file, place->line);
    if (near)
        snprintf(meant.s, sizeof meant.s, "; did you mean %s%s?", dashes, near);
    return im_fail(text, -EINVAL, "%sunknown %s %s%s", where.s, kind, place->written, meant.s);
}

static void *field_of(struct im_conf *conf, int key)
{
    return (char *)conf + im_conf_keys[key].offset;
}

static const void *const_field_of(const struct im_conf *conf, int key)
{
    return (const char *)conf + im_conf_keys[key].offset;
}

static int put_bool(bool *field, const char *s, const struct im_conf_place *place, struct im_text *text)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};

    for (size_t i = 0; i < IM_COUNT(words); i++) {
        if (strcasecmp(s, words[i]) == 0) {
            *field = i % 2 == 1;
            return 0;
        }
    }
    return fail_at(place, text, "\"%s\" is not true or false", s);
}

/* A number of the form `a` or `a/b`. */
static bool parse_real(const char *s, double *ret_value)
{
    char *end;
    double value = strtod(s, &end);

    if (end == s || isspace((unsigned char)*s))
        return false;
    if (*end == '/') {
        const char *divisor = end + 1;
        double by = strtod(divisor, &end);

        if (end == divisor || isspace((unsigned char)*divisor) || by == 0)
            return false;
        value /= by;
    }
    *ret_value = value;
    return *end == '\0' && isfinite(value);
}

/* Whole numbers, also written as 1e6. */
static bool parse_int(const char *s, int64_t *ret_value)
{
    char *end;
    double real;

    if (*s == '\0' || isspace((unsigned char)*s))
        return false;
    errno = 0;
    *ret_value = strtoll(s, &end, 10);
    if (*end == '\0')
        return errno == 0;
    if (!parse_real(s, &real) || strchr(s, '/') || real != floor(real) || fabs(real) > 0x1p53)
        return false;
    *ret_value = (int64_t)real;
    return true;
}

/* The value that a word stands for, or the word itself. */
static const char *value_of(const struct im_conf_key *key, const char *s)
{
#define ROW_OF(name, word, value) {name, word, value},
    static const char *const rows[][3] = {IM_CONF_WORDS(ROW_OF)};
#undef ROW_OF

    for (size_t i = 0; i < IM_COUNT(rows); i++)
        if (strcmp(rows[i][0], key->name) == 0 && strcasecmp(rows[i][1], s) == 0)
            return rows[i][2];
    return s;
}

static int put_int(const struct im_conf_key *key, int64_t *field, const char *s,
                   const struct im_conf_place *place, struct im_text *text)
{
    int64_t value;

    if (!parse_int(s, &value))
        return fail_at(place, text, "\"%s\" is not a whole number (expected %lld to %lld)", s,
                       (long long)key->int_min, (long long)key->int_max);
    if (value < key->int_min || value > key->int_max)
        return fail_at(place, text, "%s is out of range (expected %lld to %lld)", s, (long long)key->int_min,
                       (long long)key->int_max);
    *field = value;
    return 0;
}

static int put_seed(uint64_t *field, const char *s, const struct im_conf_place *place, struct im_text *text)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(s, &end, 10);
    if (!isdigit((unsigned char)*s) || *end || errno)
        return fail_at(place, text, "\"%s\" is not a whole number (expected 0 to 18446744073709551615)", s);
    *field = value;
    return 0;
}

static int put_real(const struct im_conf_key *key, double *field, const char *s,
                    const struct im_conf_place *place, struct im_text *text)
{
    double value;

    if (!parse_real(s, &value))
        return fail_at(place, text, "\"%s\" is not a number (expected %g to %g)", s, key->real_min,
                       key->real_max);
    if (value < key->real_min || value > key->real_max)
        return fail_at(place, text, "%s is out of range (expected %g to %g)", s, key->real_min,
                       key->real_max);
    *field = value;
    return 0;
}

/* Control characters would break the frozen form and the terminal, other encodings config.yaml. */
static int put_text(char *field, const char *s, const struct im_conf_place *place, struct im_text *text)
{
    size_t n = strlen(s);

    if (n > 0 && s[strspn(s, " ")] == '\0')
        return fail_at(place, text, "the value consists of blanks");
    if (n >= IM_CONF_TEXT_BYTES)
        return fail_at(place, text, "%zu bytes are too long (expected %d at most)", n,
                       IM_CONF_TEXT_BYTES - 1);
    for (size_t i = 0; i < n; i += im_utf8_length(s + i)) {
        if (iscntrl((unsigned char)s[i]) || im_utf8_length(s + i) == 0)
            return fail_at(place, text, "contains a control character or invalid UTF-8 (byte %zu is 0x%02x)",
                           i + 1, (unsigned)(unsigned char)s[i]);
    }
    memset(field, 0, IM_CONF_TEXT_BYTES);
    memcpy(field, s, n);
    return 0;
}

static int put_enum(const struct im_conf_key *key, int32_t *field, const char *s,
                    const struct im_conf_place *place, struct im_text *text)
{
    char all[256] = "";
    const char *near;
    size_t n = 0;

    for (; key->choices[n]; n++) {
        size_t used = strlen(all);

        if (strcasecmp(s, key->choices[n]) == 0) { /* others write SGD, ResNet50, True */
            *field = (int32_t)n;
            return 0;
        }
        snprintf(all + used, sizeof all - used, "%s%s",
                 n == 0                ? ""
                 : key->choices[n + 1] ? ", "
                                       : " or ",
                 key->choices[n]);
    }
    near = im_nearest(s, key->choices, n);
    return fail_at(place, text, "\"%s\" is not a choice (expected %s)%s%s%s", s, all,
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

int im_conf_put(struct im_conf *conf, int key, const char *value, const struct im_conf_place *place,
                struct im_text *text)
{
    const struct im_conf_key *k = &im_conf_keys[key];
    void *field = field_of(conf, key);
    int err = -EINVAL;

    switch (k->kind) {
    case IM_CONF_BOOL:
        err = put_bool(field, value, place, text);
        break;
    case IM_CONF_INT:
        err = put_int(k, field, value_of(k, value), place, text);
        break;
    case IM_CONF_SEED:
        err = put_seed(field, value, place, text);
        break;
    case IM_CONF_REAL:
        err = put_real(k, field, value, place, text);
        break;
    case IM_CONF_TEXT:
        err = put_text(field, value, place, text);
        break;
    case IM_CONF_ENUM:
        err = put_enum(k, field, value_of(k, value), place, text);
        break;
    }
    if (err == 0)
        conf->origin[key] = (struct im_conf_origin){(int32_t)place->source, place->line};
    return err;
}

int im_conf_set(struct im_conf *conf, const char *name, const char *value, struct im_text *text)
{
    struct im_conf_place place = {.source = IM_CONF_CODE, .written = name};
    char normal[IM_CONF_NAME_BYTES];
    const char *fixed;
    int key = im_conf_normal(name, normal) ? im_conf_find(normal, &fixed) : -1;

    if (key < 0)
        return im_conf_unknown(name, IM_FOR_ANY, &place, text);
    return im_conf_put(conf, key, fixed ? fixed : value, &place, text);
}

static void format_real(double value, char *s)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(s, IM_CONF_TEXT_BYTES, "%.*g", digits, value);
        if (strtod(s, NULL) == value)
            break;
    }
}

const char *im_conf_choice(enum im_conf_key_id key, int32_t value)
{
    const char *const *choices = im_conf_keys[key].choices;

    for (int32_t i = 0; choices && choices[i]; i++) {
        if (i == value)
            return choices[i];
    }
    return NULL;
}

void im_conf_value(const struct im_conf *conf, enum im_conf_key_id key, char *s)
{
    const void *field = const_field_of(conf, (int)key);
    const char *word;

    switch (im_conf_keys[key].kind) {
    case IM_CONF_BOOL:
        snprintf(s, IM_CONF_TEXT_BYTES, "%s", *(const bool *)field ? "true" : "false");
        break;
    case IM_CONF_INT:
        snprintf(s, IM_CONF_TEXT_BYTES, "%lld", (long long)*(const int64_t *)field);
        break;
    case IM_CONF_SEED:
        snprintf(s, IM_CONF_TEXT_BYTES, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case IM_CONF_REAL:
        format_real(*(const double *)field, s);
        break;
    case IM_CONF_TEXT:
        snprintf(s, IM_CONF_TEXT_BYTES, "%s", (const char *)field);
        break;
    case IM_CONF_ENUM:
        word = im_conf_choice(key, *(const int32_t *)field);
        im_assert(word != NULL);
        snprintf(s, IM_CONF_TEXT_BYTES, "%s", word);
        break;
    }
}

int64_t im_conf_world(const struct im_conf *conf)
{
    return conf->share.world > 0 ? conf->share.world : conf->ranks * conf->node_count;
}

int64_t im_conf_first_rank(const struct im_conf *conf)
{
    return conf->share.world > 0 ? conf->share.first_rank : conf->ranks * conf->node_index;
}

int64_t im_conf_order_ranks(const struct im_conf *conf)
{
    return conf->order_ranks > 0 ? conf->order_ranks : im_conf_world(conf);
}

int64_t im_conf_order_accumulate(const struct im_conf *conf)
{
    return conf->order_accumulate > 0 ? conf->order_accumulate
                                      : conf->accumulate * im_conf_world(conf) / im_conf_order_ranks(conf);
}

int64_t im_conf_step_batches(const struct im_conf *conf)
{
    const int64_t ranks = conf->elastic == IM_ELASTIC_DROP ? im_conf_world(conf) : im_conf_order_ranks(conf);

    return ranks * im_conf_order_accumulate(conf);
}

int64_t im_conf_step_images(const struct im_conf *conf)
{
    return conf->batch_size * im_conf_step_batches(conf);
}

void im_conf_say_step(const struct im_conf *conf, int64_t ranks_before, struct im_text *ret)
{
    const bool sizes_differ = *conf->resize_schedule; /* of the epochs */
    const int64_t each = im_conf_order_accumulate(conf) * (sizes_differ ? 1 : conf->batch_size);

    im_fail(ret, 0,
            "%" PRId64 " %s a step, before %" PRId64
            " (elastic drop); the learning rate %s that of the same place in the data%s",
            each * im_conf_world(conf), sizes_differ ? "batches" : "images", each * ranks_before,
            conf->lr_scale == IM_LR_SCALE_NONE ? "stays" : "is",
            conf->lr_scale == IM_LR_SCALE_NONE ? "" : ", scaled to the images a step (lr-scale)");
}

void im_conf_take_part(struct im_conf *conf, int64_t world, int64_t first_rank)
{
    const int64_t order_ranks = im_conf_order_ranks(conf), order_accumulate = im_conf_order_accumulate(conf);

    conf->order_ranks = order_ranks;
    conf->order_accumulate = order_accumulate;
    conf->share = (struct im_conf_share){.world = world, .first_rank = first_rank};
    conf->accumulate = conf->elastic == IM_ELASTIC_DROP
                           ? order_accumulate
                           : (order_ranks * order_accumulate + world - 1) / world;
}

void im_conf_use_virtual_ranks(struct im_conf *conf)
{
    const int64_t world = im_conf_world(conf);

    im_assert(conf->virtual_ranks > 0 && conf->order_ranks == 0);
    conf->order_ranks = conf->virtual_ranks;
    conf->order_accumulate = conf->accumulate;
    conf->accumulate = (conf->order_ranks * conf->order_accumulate + world - 1) / world;
}

bool im_conf_is_probe(const struct im_conf *conf)
{
    return conf->lr_range_test || conf->evaluate;
}
