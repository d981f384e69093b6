/* Flags and environment variables.
 *
 * Flags are parsed here and not by getopt_long(), which takes abbreviations (so that a new option could
 * change what an old script means), keeps global state and words its own errors. Forms: --name value,
 * --name=value, --flag, --no-flag, -b value; `--` ends them, and so does the first word that is no flag. A
 * later flag wins over an earlier one. */
#include "ipc/config/conf_table.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"

/* One flag taken apart. */
struct flag {
    char written[IM_CONF_NAME_BYTES + 8]; /* "--lr", for sentences */
    char name[IM_CONF_NAME_BYTES];        /* "lr" */
    const char *value;                    /* after '='; NULL: none */
};

/* False for a flag whose name is too long to be one. */
static bool split(const char *argument, struct flag *f)
{
    size_t dashes = strspn(argument, "-");
    size_t length = strcspn(argument, "=");

    f->value = argument[length] == '=' ? argument + length + 1 : NULL;
    snprintf(f->written, sizeof f->written, "%.*s", (int)length, argument);
    return length < sizeof f->written && im_conf_normal(f->written + dashes, f->name);
}

/* What --no-NAME sets; NULL: the option has no such value. */
static const char *off_value(int key)
{
#define ROW(name, value) {name, value},
    static const char *const rows[][2] = {IM_CONF_OFF(ROW)}, *const words[] = {"off", "none", "never"};
#undef ROW
    const struct im_conf_key *k = &im_conf_keys[key];

    if (k->kind == IM_CONF_BOOL)
        return "false";
    for (size_t i = 0; i < IM_COUNT(rows); i++)
        if (strcmp(rows[i][0], k->name) == 0)
            return rows[i][1];
    for (size_t i = 0; k->kind == IM_CONF_ENUM && i < IM_COUNT(words); i++)
        for (const char *const *choice = k->choices; *choice; choice++)
            if (strcmp(*choice, words[i]) == 0)
                return words[i];
    return NULL;
}

/* The key of a flag --no-NAME. -1: none. */
static int find_negated(const struct flag *f, im_conf_commands commands)
{
    const char *fixed;
    int key = -1;

    if (strncmp(f->name, "no-", 3) != 0)
        return -1;
    key = im_conf_find_for(commands, f->name + 3, &fixed);
    return key < 0 ? im_conf_find(f->name + 3, &fixed) : key;
}

/* The key, with the value that the flag's name itself gives (--no-nesterov, --no-color) in *ret_value. One
 * that the commands do not use is found too, for the sentence about it. -1: none. */
static int find_flag(const struct flag *f, im_conf_commands commands, const char **ret_value)
{
    bool is_short = f->written[1] != '-';
    int key;

    if (is_short != (f->name[0] != '\0' && f->name[1] == '\0'))
        return -1;
    key = im_conf_find_for(commands, f->name, ret_value);
    if (key < 0)
        key = im_conf_find(f->name, ret_value);
    if (key >= 0)
        return key;
    key = find_negated(f, commands);
    *ret_value = key >= 0 ? off_value(key) : NULL;
    return *ret_value ? key : -1;
}

/* What the flag means without a value; NULL: it needs one. */
static const char *bare_value(int key)
{
#define ROW(name, value) {name, value},
    static const char *const rows[][2] = {IM_CONF_BARE(ROW)};
#undef ROW

    for (size_t i = 0; i < IM_COUNT(rows); i++)
        if (strcmp(rows[i][0], im_conf_keys[key].name) == 0)
            return rows[i][1];
    return NULL;
}

/* Stores a flag's value; a flag that overrides an earlier one is warned of. */
static int take_flag(struct im_conf *conf, int key, const struct im_conf_place *place, const char *value,
                     struct im_conf_said *said, struct im_text *text)
{
    char before[IM_CONF_TEXT_BYTES], now[IM_CONF_TEXT_BYTES];
    int err;

    im_conf_value(conf, (enum im_conf_key_id)key, before);
    err = im_conf_put(conf, key, value, place, text);
    if (err < 0)
        return err;
    im_conf_value(conf, (enum im_conf_key_id)key, now);
    if (said->given[key][0] && strcmp(before, now) != 0)
        im_conf_said_twice(said, said->given[key], place->written, before, now);
    snprintf(said->given[key], sizeof said->given[key], "%s", place->written);
    return 0;
}

/* Takes the flag at *at. Returns how many words it has. */
static int parse_flag(struct im_conf *conf, im_conf_commands commands, char **at, struct im_conf_said *said,
                      struct im_text *text)
{
    struct flag f;
    struct im_conf_place place = {.source = IM_CONF_FLAG, .written = f.written};
    const char *fixed, *next, *value;
    int key, err, words = 1;

    if (!split(at[0], &f))
        return im_fail(text, -EINVAL, "unknown flag %.100s", at[0]);
    key = find_flag(&f, commands, &fixed);
    if (key < 0) {
        err = im_conf_ignored(said, f.name, f.written, f.value != NULL, at[1]);
        if (err == 0 && (key = find_negated(&f, commands)) >= 0)
            return im_fail(text, -EINVAL, "unknown flag %s: --%s %s cannot be switched off", f.written,
                           im_conf_keys[key].name, im_conf_keys[key].metavar);
        return err > 0 ? err : im_conf_unknown(f.name, commands, &place, text);
    }
    if (!(im_conf_keys[key].commands & commands)) { /* start --epoch 3: another command has it */
        const char *near = im_conf_near(f.name, commands);

        return im_fail(text, -EINVAL, "this command has no flag %s%s%s%s", f.written,
                       near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
    }
    if (fixed && f.value)
        return im_fail(text, -EINVAL, "%s takes no value", f.written);
    next = at[1] && strncmp(at[1], "--", 2) != 0 ? at[1] : NULL;
    if (fixed || f.value)
        value = fixed ? fixed : f.value;
    else if (im_conf_keys[key].kind == IM_CONF_BOOL)
        value = "true";
    else if (bare_value(key) && (!next || *next == '-'))
        value = bare_value(key);
    else if (!next)
        return im_fail(text, -EINVAL, "%s needs a value: %s %s", f.written, f.written,
                       im_conf_keys[key].metavar);
    else
        value = next, words = 2;
    /* Such as "$NAME" of a variable that is not set: the run would be another one than was meant. */
    if (im_conf_keys[key].kind == IM_CONF_TEXT && !*value && !fixed)
        return im_fail(text, -EINVAL,
                       "%s: the value is empty (a variable that is not set?); give %s a value, %s", f.written,
                       f.written, bare_value(key) ? "or the flag alone" : "or leave it away");
    err = take_flag(conf, key, &place, value, said, text);
    if (err == 0 && (value == f.value || value == next))
        im_conf_said_flag(conf, said, f.name, value);
    else if (err == 0 && fixed)
        im_conf_said_flag(conf, said, f.name, NULL);
    return err < 0 ? -EINVAL : words;
}

/* Whether the flag at *at takes the word behind it, too. */
static bool takes_next(im_conf_commands commands, char **at)
{
    struct flag f;
    const char *fixed;
    int key;

    if (!at[1] || strncmp(at[1], "--", 2) == 0 || !split(at[0], &f))
        return false;
    key = find_flag(&f, commands, &fixed);
    return key >= 0 && !fixed && !f.value && im_conf_keys[key].kind != IM_CONF_BOOL;
}

void im_conf_operands_last(im_conf_commands commands, int argc, char **argv)
{
    int operands = 0; /* they are argv[i - operands] to argv[i - 1] */

    for (int i = 1, words; i < argc && strcmp(argv[i], "--") != 0; i += words) {
        words = 1;
        if (argv[i][0] != '-' || !argv[i][1]) {
            operands++;
            continue;
        }
        words = takes_next(commands, argv + i) ? 2 : 1;
        for (int w = 0; w < words; w++) {
            char *word = argv[i + w], **first = argv + i + w - operands;

            memmove(first + 1, first, (size_t)operands * sizeof *first);
            *first = word;
        }
    }
}

static int parse_args(struct im_conf *conf, im_conf_commands commands, int argc, char **argv,
                      struct im_conf_said *said, struct im_text *text)
{
    int i = 1, taken = 1;

    while (i < argc && strcmp(argv[i], "--") != 0) {
        if (argv[i][0] == '-' && argv[i][1])
            taken = parse_flag(conf, commands, argv + i, said, text);
        else
            taken = im_conf_blank(said, argv[i], i + 1 == argc, text);
        if (taken < 0)
            return taken;
        if (taken == 0)
            break;
        i += taken;
    }
    im_conf_finish_flags(conf, commands, said);
    return i < argc && taken > 0 ? i + 1 : i; /* behind "--" */
}

int im_conf_parse_args(struct im_conf *conf, im_conf_commands commands, int argc, char **argv,
                       struct im_text *text)
{
    struct im_conf_said said = {0};

    return parse_args(conf, commands, argc, argv, &said, text);
}

/* IMSUPER_ variables that are not options. */
static bool is_other_variable(const char *name)
{
    return strcmp(name, "fault") == 0 || strcmp(name, "data") == 0 || strcmp(name, "lost-head") == 0;
}

static int take_variable(struct im_conf *conf, const char *entry, struct im_text *warning,
                         struct im_text *text)
{
    size_t length = strcspn(entry, "=");
    char written[IM_CONF_NAME_BYTES + 8], name[IM_CONF_NAME_BYTES];
    struct im_conf_place place = {.source = IM_CONF_ENVIRONMENT, .written = written};
    const char *value = entry + length + 1, *near;
    int key;

    if (entry[length] != '=' || !*value || length >= sizeof written)
        return 0;
    snprintf(written, sizeof written, "%.*s", (int)length, entry);
    if (!im_conf_normal(written + 8, name) || is_other_variable(name))
        return 0;
    for (key = IM_KEY_COUNT - 1; key >= 0; key--) {
        if (strcmp(im_conf_keys[key].name, name) == 0)
            return im_conf_put(conf, key, value, &place, text);
    }
    near = im_conf_near(name, IM_FOR_ANY);
    if (near) {
        char meant[IM_CONF_NAME_BYTES];

        for (size_t i = 0; i <= strlen(near); i++)
            meant[i] = near[i] == '-' ? '_' : (char)toupper((unsigned char)near[i]);
        im_fail(warning, 0,
                "environment variable %s is not an option and was ignored; did you mean IMSUPER_%s?", written,
                meant);
    }
    return 0;
}

int im_conf_load_env(struct im_conf *conf, char *const *environment, struct im_text *warning,
                     struct im_text *text)
{
    if (warning)
        warning->s[0] = '\0';
    for (; environment && *environment; environment++) {
        int err =
            strncmp(*environment, "IMSUPER_", 8) == 0 ? take_variable(conf, *environment, warning, text) : 0;

        if (err < 0)
            return err;
    }
    return 0;
}

/* Whether the flags, the environment or the file ask for fine-tuning, whose recipe is loaded before them. */
static bool finetunes(const struct im_conf *first)
{
    struct im_conf file;

    if (first->finetune[0] || !first->config[0])
        return im_conf_finetunes(first);
    im_conf_defaults(&file);
    return im_conf_load_yaml(&file, first->config, NULL) == 0 && im_conf_finetunes(&file);
}

/* --finetune FILE is --finetune --init-from FILE. */
static int take_finetune_file(struct im_conf *conf, struct im_text *text)
{
    const char *file = im_conf_finetune_file(conf);

    if (!file || strcmp(file, conf->init_from) == 0)
        return 0;
    if (conf->init_from[0])
        return im_fail(text, -EINVAL, "finetune names %.200s, init-from %.200s: name one file", file,
                       conf->init_from);
    snprintf(conf->init_from, sizeof conf->init_from, "%s", file);
    conf->origin[IM_KEY_init_from] = conf->origin[IM_KEY_finetune];
    return 0;
}

int im_conf_load(struct im_conf *conf, im_conf_commands commands, int argc, char **argv,
                 struct im_text *warning, struct im_text *text)
{
    struct im_conf_said said = {0};
    struct im_text again = {""};
    struct im_conf first;
    int n, err;

    /* The first pass only finds the names of the files, which have the lowest priority. */
    im_conf_defaults(&first);
    err = im_conf_load_env(&first, environ, warning, text);
    n = err < 0 ? err : im_conf_parse_args(&first, commands, argc, argv, text);
    if (n < 0)
        return n;
    im_conf_defaults(conf);
    if (!first.recipe[0] && finetunes(&first))
        snprintf(first.recipe, sizeof first.recipe, "finetune");
    if (first.recipe[0])
        err = im_conf_load_recipe(conf, first.recipe, text);
    if (err == 0 && first.config[0])
        err = im_conf_load_yaml(conf, first.config, text);
    if (err == 0)
        err = im_conf_load_again(conf, &first, commands, &again, text);
    if (err == 0)
        err = im_conf_load_env(conf, environ, warning, text);
    n = err < 0 ? err : parse_args(conf, commands, argc, argv, &said, text);
    if (n < 0)
        return n;
    if (take_finetune_file(conf, text) < 0)
        return -EINVAL;
    if (!conf->recipe[0])
        snprintf(conf->recipe, sizeof conf->recipe, "%s", first.recipe);
    im_conf_apply_set(conf);
    if (im_conf_apply_multi_label(conf) && warning)
        im_fail(warning, 0, "%s%slabel-smoothing of recipe %.100s is left out with multi-label", warning->s,
                warning->s[0] ? "; " : "", conf->recipe);
    if (warning && again.s[0])
        im_fail(warning, 0, "%s%s%.600s", warning->s, warning->s[0] ? "; " : "", again.s);
    if (warning && said.notes.s[0])
        im_fail(warning, 0, "%s%s%.900s", warning->s, warning->s[0] ? "; " : "", said.notes.s);
    return n;
}
