#include "supervisor/cli/launcher.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool is_one_of(const char *word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, list[i]) == 0)
            return true;
    return false;
}

/* "python", "/usr/bin/python3.11" */
static bool is_python(const char *word)
{
    const char *name = last_part(word);

    return strncmp(name, "python", 6) == 0 && name[6 + strspn(name + 6, "0123456789.")] == '\0';
}

static bool is_script(const char *word)
{
    const size_t n = strlen(word);

    return n > 3 && strcmp(word + n - 3, ".py") == 0;
}

static bool is_launcher(const char *word)
{
    static const char *const names[] = {"torchrun", "torch.distributed.run", "torch.distributed.launch",
                                        "accelerate", "launch"};

    return is_one_of(last_part(word), names, IM_COUNT(names));
}

static bool finds_rates(const char *script)
{
    const char *name = last_part(script);

    return strstr(name, "lr_find") || strstr(name, "lr-find") || strstr(name, "find_lr") ||
           strstr(name, "lrfind");
}

/* The script's place in argv; 0: there is none. */
static int find_script(int argc, char **argv)
{
    int i = 1;

    if (argc < 3 || (!is_python(argv[1]) && !is_launcher(argv[1])))
        return 0;
    while (i < argc && !is_script(argv[i]))
        i++;
    return i < argc ? i : 0;
}

/* "gpu" and "auto" of torchrun are what happens anyway. */
static bool is_automatic(const char *flag, const char *value)
{
    const char *name = flag + strspn(flag, "-");

    if (strncmp(name, "nproc", 5) != 0)
        return false;
    if (strchr(name, '='))
        value = strchr(name, '=') + 1;
    return value && (strcmp(value, "gpu") == 0 || strcmp(value, "auto") == 0 || strcmp(value, "cpu") == 0);
}

/* The launcher's own flags, which stand before the script, are options too. */
static int take_launcher_flags(int script, char **argv, char **to)
{
    int n = 0;

    for (int i = 1; i < script; i++) {
        if (is_python(argv[i]) || is_launcher(argv[i]) || strcmp(argv[i], "-m") == 0 ||
            strcmp(argv[i], "-u") == 0)
            continue;
        if (is_automatic(argv[i], i + 1 < script ? argv[i + 1] : NULL)) {
            i += strchr(argv[i], '=') == NULL;
            continue;
        }
        to[n++] = argv[i];
    }
    return n;
}

char **sv_launcher_rewrite(int argc, char **argv, int *ret_argc, struct im_text *note)
{
    const int script = find_script(argc, argv);
    char **words = script ? calloc((size_t)argc + 2, sizeof *words) : NULL;
    int n = 0;

    if (!words)
        return NULL;
    words[n++] = argv[0];
    words[n++] = (char *)(uintptr_t)(finds_rates(argv[script]) ? "lr-find" : "start");
    n += take_launcher_flags(script, argv, words + n);
    for (int i = script + 1; i < argc; i++)
        words[n++] = argv[i];
    *ret_argc = n;
    im_fail(note, 0, "%s %s is run as imsuper %s, with imsuper's defaults (recipes: imsuper recipes)",
            last_part(argv[1]), last_part(argv[script]), words[1]);
    return words;
}

/* The first process of a machine starts its trainers. */
static int say_nothing_to_do(const struct sv_launch *at, struct im_text *note)
{
    if (at->nodes > 1)
        return im_fail(note, 0,
                       "process %" PRIu32
                       " of %s has nothing to do: another of this machine starts all its trainers",
                       at->task, at->launcher);
    return im_fail(note, 0, "process %" PRIu32 " of %s has nothing to do: process 0 starts all trainers",
                   at->task, at->launcher);
}

int sv_launcher_ranks(struct im_conf *conf, const struct sv_launch *at, bool *ret_other, struct im_text *note)
{
    *ret_other = at->launcher && at->task_here > 0;
    note->s[0] = '\0';
    if (!at->launcher)
        return 0;
    if (*ret_other)
        return say_nothing_to_do(at, note);
    if (conf->origin[IM_KEY_ranks].source != IM_CONF_DEFAULT || at->tasks_here == 1)
        return 0;
    conf->ranks = at->tasks_here;
    conf->origin[IM_KEY_ranks].source = IM_CONF_ENVIRONMENT;
    return im_fail(note, 0, "%s runs %" PRIu32 " processes%s: %" PRIu32 " trainers", at->launcher,
                   at->tasks_here, at->nodes > 1 ? " on this machine" : "", at->tasks_here);
}
