/* Verbs that belong to a role: its program takes the place of this one, with the verb and all words after it. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "ipc/base/suggest.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/program.h"

static const struct verb {
    const char *name, *object; /* the words of the user; object NULL: there is none */
    const char *program, *words[2];
} verbs[] = {
    {"data", "index", "imsuper-reader", {"data", "index"}},
    {"data", "synth", "imsuper-reader", {"data", "synth"}},
    {"data", "organise", "imsuper-reader", {"data", "organise"}},
    {"data", "pack", "imsuper-reader", {"data", "pack"}},
    {"data", "unpack", "imsuper-reader", {"data", "unpack"}},
    {"data", "list", "imsuper-reader", {"data", "list"}},
    {"data", "preview", "imsuper-augmenter", {"preview"}},
    {"data", "verify", "imsuper-augmenter", {"verify"}},
    {"data", "stats", "imsuper-augmenter", {"stats"}},
    {"cluster", "key", NULL, {"cluster", "key"}}, /* verbs of imsuper itself */
    {"bench", "all", NULL, {"bench", "all"}},
    {"bench", "ring", NULL, {"bench", "ring"}},
    {"profile", "ring", NULL, {"profile", "ring"}},
    {"bench", "data", NULL, {"bench", "data"}},
    {"bench", "read", "imsuper-reader", {"bench"}},
    {"profile", "reader", "imsuper-reader", {"profile"}},
    {"bench", "decode", "imsuper-augmenter", {"bench-decode"}},
    {"bench", "augment", "imsuper-augmenter", {"bench"}},
    {"bench", "trainer", "imsuper-trainer", {"bench"}},
    {"profile", "augment", "imsuper-augmenter", {"profile"}},
    {"profile", "trainer", "imsuper-trainer", {"profile"}},
    {"model", NULL, "imsuper-trainer", {"model"}},
    {"memory", NULL, "imsuper-trainer", {"memory"}},
    {"export", NULL, "imsuper-trainer", {"export"}},
    {"import", NULL, "imsuper-trainer", {"import"}},
    {"average", NULL, "imsuper-trainer", {"average"}},
};

enum { VERBS = IM_COUNT(verbs), WORDS_BEFORE = 3 /* the program and its verb */ };

static int exec_role(const struct verb *v, int argc, char **argv)
{
    const int skip = v->object ? 2 : 1;
    char **words = calloc((size_t)argc + WORDS_BEFORE, sizeof *words), first[16], second[16],
         imsuper[] = "imsuper";
    int n = 1, status;

    if (!words)
        return IM_EXIT_FAILED;
    words[0] = imsuper;
    snprintf(first, sizeof first, "%s", v->words[0]);
    words[n++] = first;
    if (v->words[1]) {
        snprintf(second, sizeof second, "%s", v->words[1]);
        words[n++] = second;
    }
    memcpy(words + n, argv + skip, (size_t)(argc - skip) * sizeof *words);
    setenv("OMP_WAIT_POLICY", "passive", 0); /* as for the trainer of a run */
    status = v->program ? sv_program_exec(v->program, words) : sv_command_main(n + argc - skip, words);
    free(words);
    return status;
}

/* `imsuper data list` is for tests and examples: not listed. */
static bool is_listed(const struct verb *v)
{
    return !v->object || strcmp(v->object, "list") != 0;
}

/* `imsuper data` and `imsuper data --help`. */
static int list(FILE *out, const char *name, int status)
{
    fprintf(out, "imsuper: `imsuper %s` takes one more word; --help behind it shows its flags:\n", name);
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0 && is_listed(&verbs[i]))
            fprintf(out, "  imsuper %s %s\n", name, verbs[i].object ? verbs[i].object : "");
    return status;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int sv_cmd_role(int argc, char **argv)
{
    const char *near, *objects[VERBS];
    size_t n = 0;

    if (argc > 2 && is_help(argv[1])) { /* data --help synth */
        char *help = argv[1];

        argv[1] = argv[2];
        argv[2] = help;
    }
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(verbs[i].name, argv[0]) != 0)
            continue;
        if (!verbs[i].object || (argc > 1 && strcmp(verbs[i].object, argv[1]) == 0))
            return exec_role(&verbs[i], argc, argv);
        objects[n++] = verbs[i].object;
    }
    if (argc > 1 && is_help(argv[1]))
        return list(stdout, argv[0], IM_EXIT_OK);
    near = argc > 1 ? im_nearest(argv[1], objects, n) : NULL;
    if (!near)
        return list(stderr, argv[0], IM_EXIT_USAGE);
    im_say(stderr, "imsuper: unknown command '%s %.100s'; did you mean '%s %s'? (see `imsuper --help`)",
           argv[0], argv[1], argv[0], near);
    return IM_EXIT_USAGE;
}
