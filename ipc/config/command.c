#include "ipc/config/command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/leftover.h"
#include "ipc/base/printable.h"
#include "ipc/base/suggest.h"
#include "ipc/base/sysinfo.h"
#include "ipc/config/conf_table.h"

enum { COMMANDS_MAX = 64 };

int im_command_fail(int err, const struct im_text *text)
{
    fflush(stdout);
    if (text->s[0] || err != -EPIPE) /* the reader of the answer is gone: no error of this program */
        im_say(stderr, "imsuper: %s", text->s[0] ? text->s : strerror(-err));
    return im_exit_status(err);
}

static bool has_word(int argc, char **argv, const char *word)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], word) == 0)
            return true;
    return false;
}

static bool asks_help(int argc, char **argv)
{
    return has_word(argc, argv, "--help") || has_word(argc, argv, "-h");
}

/* `VERB --describe` and `VERB --help --json`, for `imsuper documents`: what help() shows, as JSON. */
static int describe(const struct im_command *c)
{
    struct im_json *verb = im_json_object();
    int err;

    im_json_set_str(verb, "schema", "imsuper.verb/1");
    im_json_set_str(verb, "typed", c->typed);
    im_json_set_str(verb, "usual", c->usual ? c->usual : "");
    im_json_set_str(verb, "what", c->what);
    if (c->operand)
        im_json_set_str(verb, "operand", c->operand);
    if (c->second)
        im_json_set_str(verb, "second", c->second);
    im_json_set(verb, "options", im_conf_describe(c->options));
    err = im_json_print(verb, stdout);
    im_json_free(&verb);
    return err < 0 ? im_exit_status(err) : IM_EXIT_OK;
}

static int help(const struct im_command *c)
{
    char usage[256];

    snprintf(usage, sizeof usage, "%s%s%s", c->typed, c->usual ? " " : "", c->usual ? c->usual : "");
    im_help_flow(stdout, usage, 8, 0);
    putchar('\n');
    im_help_flow(stdout, c->what, 0, 0);
    if (c->options) {
        putchar('\n');
        im_conf_help(stdout, c->options, 0);
    }
    return IM_EXIT_OK;
}

static int require(const struct im_command *c, const struct im_conf *conf, struct im_text *text)
{
    const char *fixed;
    int key = im_conf_find(c->required, &fixed);
    const struct im_conf_key *k = &im_conf_keys[key];

    im_assert(key >= 0 && k->kind == IM_CONF_TEXT);
    if (*((const char *)conf + k->offset))
        return 0;
    return im_fail(text, -EINVAL, "--%s is required: %s %s", k->name, c->typed, c->usual ? c->usual : "");
}

/* What only a run can find out. */
static int check_auto(const struct im_command *c, const struct im_conf *conf, struct im_text *text)
{
    const im_conf_commands others = IM_FOR_LR_FIND | IM_FOR_BENCH_DATA;

    if (conf->batch_size > 0 || ((c->options & IM_FOR_START) && !(c->options & others)))
        return 0;
    return im_fail(text, -EINVAL, "--batch-size auto is found out by `imsuper start` alone; give a number");
}

static int check_command(const struct im_command *c, const struct im_conf *conf, struct im_text *text)
{
    int err = c->required ? require(c, conf, text) : 0;

    if (err == 0)
        err = check_auto(c, conf, text);
    if (err == 0 && c->check != IM_CHECK_NOTHING)
        err = im_conf_check(conf, text);
    if (err == 0 && c->check == IM_CHECK_NETWORK)
        err = im_conf_check_network(conf, text);
    return err;
}

/* The words without dashes: one or two, or a list, joined. */
struct operands {
    char first[IM_CONF_TEXT_BYTES + 16], second[IM_CONF_TEXT_BYTES + 16];
    bool has_empty;
};

/* Where the next word goes; NULL: the verb takes no more. */
static char *room_for_operand(const struct im_command *c, struct operands *operands)
{
    if (c->operand && (c->operand_list || !*operands->first))
        return operands->first;
    return c->second && !*operands->second ? operands->second : NULL;
}

/* Takes the words without dashes at *argv, as many as the verb takes. */
static void take_operands(const struct im_command *c, int *argc, char ***argv, struct operands *operands)
{
    char *room;

    while (*argc > 0 && (*argv)[0][0] != '-' && (room = room_for_operand(c, operands)) != NULL) {
        size_t used = strlen(room);

        operands->has_empty |= !*(*argv)[0];
        snprintf(room + used, sizeof operands->first - used, "%s%s", used ? " " : "", (*argv)[0]);
        for (size_t n = strlen(room); n > used + 2 && room[n - 1] == '/';
             n--) /* a shell's completion puts it */
            room[n - 1] = 0;
        (*argv)++, (*argc)--;
    }
}

static const char *metavar_of(const char *option)
{
    const char *fixed;
    const int key = im_conf_find(option, &fixed);

    return key >= 0 && *im_conf_keys[key].metavar ? im_conf_keys[key].metavar : "something";
}

static int set_operands(const struct im_command *c, const struct operands *operands, struct im_conf *conf,
                        struct im_text *text)
{
    if (operands->has_empty)
        return im_fail(text, -EINVAL, "an argument is empty (a variable that is not set?): %s %s", c->typed,
                       c->usual ? c->usual : "");
    if (*operands->first && im_conf_set(conf, c->operand, operands->first, text) < 0)
        return -EINVAL;
    if (*operands->second && im_conf_set(conf, c->second, operands->second, text) < 0)
        return -EINVAL;
    if (c->operand_needed && !*operands->first)
        return im_fail(text, -EINVAL, "%s is missing: %s %s", metavar_of(c->operand), c->typed, c->usual);
    return 0;
}

static bool is_number(const char *word)
{
    char *end;

    strtod(word, &end);
    return end != word && *end == '\0';
}

/* argv[at] belongs to no flag. What other trainers take there is named: `train.py DIR`, `--mean 0.5 0.5 0.5`. */
static int fail_argument(const struct im_command *c, char **argv, int at, struct im_text *text)
{
    const char *fixed;
    const int key =
        at >= 3 && strncmp(argv[at - 2], "--", 2) == 0 ? im_conf_find(argv[at - 2] + 2, &fixed) : -1;
    struct stat st;

    if (key >= 0 && im_conf_keys[key].kind == IM_CONF_TEXT && is_number(argv[at - 1]) && is_number(argv[at]))
        return im_fail(
            text, -EINVAL,
            "unexpected argument '%.100s': several values of a flag go together, with commas: %.100s "
            "%.100s,%.100s,... (see `%s --help`)",
            argv[at], argv[at - 2], argv[at - 1], argv[at], c->typed);
    if ((im_conf_keys[IM_KEY_data_dir].commands & c->options) && stat(argv[at], &st) == 0 &&
        S_ISDIR(st.st_mode))
        return im_fail(
            text, -EINVAL,
            "unexpected argument '%.200s': the folder of the images is given with --data-dir %.200s",
            argv[at], argv[at]);
    return im_fail(text, -EINVAL, "unexpected argument '%.200s' (see `%s --help`)", argv[at], c->typed);
}

/* `VERB [OPERAND] [flags]`; the operand may also stand behind the flags, or between them. */
static int configure(const struct im_command *c, int argc, char **argv, struct im_conf *conf,
                     struct im_text *text)
{
    struct operands operands = {.first = ""};
    struct im_text warning = {""};
    char *name = argv[0];
    char **all;
    int next = 1;

    argv++, argc--;
    take_operands(c, &argc, &argv, &operands);
    argv--, argc++; /* the word before the flags: im_conf_load() begins behind it */
    argv[0] = name;
    all = argv;
    im_conf_defaults(conf);
    if (c->operand)
        im_conf_operands_last(c->options, argc, argv);
    if (c->options)
        next = im_conf_load(conf, c->options, argc, argv, &warning, text);
    if (next < 0)
        return next;
    if (warning.s[0] && !c->is_inner)
        im_say(stderr, "imsuper: %s", warning.s);
    argv += next, argc -= next;
    take_operands(c, &argc, &argv, &operands);
    if (argc > 0)
        return fail_argument(c, all, (int)(argv - all), text);
    if (set_operands(c, &operands, conf, text) < 0)
        return -EINVAL;
    conf->lr_range_test = (c->options & IM_FOR_LR_FIND) != 0; /* it sets the learning rate itself */
    return check_command(c, conf, text);
}

static int run_command(const struct im_command *c, int argc, char **argv)
{
    struct im_text text = {""};
    struct im_conf conf;
    int err;

    if (c->what && asks_help(argc, argv))
        return has_word(argc, argv, "--json") ? describe(c) : help(c);
    if (c->what && argc == 2 && strcmp(argv[1], "--describe") == 0)
        return describe(c);
    if (c->words)
        return c->words(argc, argv);
    err = configure(c, argc, argv, &conf, &text);
    if (err < 0) {
        im_command_fail(err, &text);
        return IM_EXIT_USAGE;
    }
    return c->run(&conf);
}

/* How many words of argv the name is; 0: they are others. */
static int match(const char *name, int argc, char **argv)
{
    int words = 0;

    while (*name) {
        size_t n = strcspn(name, " ");

        if (words == argc || strlen(argv[words]) != n || strncmp(argv[words], name, n) != 0)
            return 0;
        words++;
        name += n + (name[n] == ' ');
    }
    return words;
}

static void list(FILE *out, const struct im_command *commands, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].what ? commands[i].what : "");
}

/* What other programs call a command; NULL: none of those that are here. */
static const char *meant(const char *word, const char *const *names, size_t count)
{
    static const char *const rows[][2] = {
        {"train", "start"},      {"fit", "start"},         {"finetune", "start"},   {"fine-tune", "start"},
        {"val", "eval"},         {"validate", "eval"},     {"test", "eval"},        {"evaluate", "eval"},
        {"infer", "predict"},    {"inference", "predict"}, {"classify", "predict"}, {"convert", "export"},
        {"lr-finder", "lr-find"}};

    for (size_t i = 0; i < IM_COUNT(rows); i++)
        for (size_t k = 0; k < count; k++)
            if (strcasecmp(rows[i][0], word) == 0 && strcmp(rows[i][1], names[k]) == 0)
                return names[k];
    return NULL;
}

static int fail_unknown(const char *program, const struct im_command *commands, size_t count, int argc,
                        char **argv)
{
    const char *names[COMMANDS_MAX], *near, *written;
    char both[128];

    for (size_t i = 0; i < count; i++)
        names[i] = commands[i].name;
    snprintf(both, sizeof both, "%.60s%s%.60s", argv[1], argc > 2 ? " " : "", argc > 2 ? argv[2] : "");
    near = meant(argv[1], names, count) ? NULL : im_nearest(both, names, count);
    written = near ? both : argv[1];
    if (!near)
        near = meant(argv[1], names, count);
    if (!near)
        near = im_nearest(argv[1], names, count);
    im_say(stderr, "%s: unknown command '%.100s'%s%s%s (see `%s --help`)", program, written,
           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", program);
    return IM_EXIT_USAGE;
}

/* What was printed is the answer: one that did not get out is no success. Whoever was to read it may be gone, though. */
static int finish(int status)
{
    struct pollfd reader = {.fd = STDOUT_FILENO};
    int failed = fflush(stdout) != 0 ? errno : ferror(stdout) ? EIO : 0;

    if (failed == 0 || (poll(&reader, 1, 0) > 0 && (reader.revents & (POLLERR | POLLHUP))))
        return status;
    if (failed == EIO) /* an earlier one: its reason is there still */
        failed = write(STDOUT_FILENO, "\n", 1) < 0 ? errno : EIO;
    im_say(stderr, "imsuper: cannot write to standard output: %s", strerror(failed));
    return status == IM_EXIT_OK ? IM_EXIT_FAILED : status;
}

int im_command_main(const char *program, const struct im_command *commands, size_t count, int argc,
                    char **argv)
{
    im_assert(count <= COMMANDS_MAX);
    im_standard_files();
    im_leftover_watch();
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error of the write, with a sentence */
    for (size_t i = 0; i < count; i++) {
        int words = match(commands[i].name, argc - 1, argv + 1);

        if (words)
            return finish(run_command(&commands[i], argc - words, argv + words));
    }
    if (argc < 2) {
        fprintf(stderr, "%s: `imsuper start` starts this program for a run; by hand it takes a verb:\n",
                program);
        list(stderr, commands, count);
        return IM_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "-v") == 0) {
        printf("%s %s (%s)\n", program, IMSUPER_VERSION, im_build_id());
        return IM_EXIT_OK;
    }
    if (!asks_help(2, argv))
        return fail_unknown(program, commands, count, argc, argv);
    printf("%s VERB [flags]; `%s VERB --help` shows a verb's flags.\n\n", program, program);
    list(stdout, commands, count);
    return IM_EXIT_OK;
}
