/* The inner verb `imsuper documents DIR`: man1/, bash/, zsh/ and fish/ below DIR. */
#include "supervisor/cli/documents.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "ipc/config/command.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/program.h"

enum { ANSWER_BYTES = 1 << 20, ANSWER_MS = 60000 };

/* What `imsuper VERB --describe` says. */
static int ask(const char *verb, char *answer, struct im_json **ret, struct im_text *text)
{
    char path[PATH_MAX], first[32], second[32] = "", flag[] = "--describe";
    char *argv[5] = {path, first, second, flag};
    int words = sscanf(verb, "%31s %31s", first, second), status;

    sv_program_find("imsuper", path, sizeof path);
    if (words < 2) {
        argv[2] = flag;
        argv[3] = NULL;
    }
    status = sv_program_read(argv, ANSWER_MS, answer, ANSWER_BYTES);
    if (status != 0)
        return im_fail(text, status < 0 ? status : -EIO, "imsuper %s --describe failed (%d)", verb, status);
    return im_json_parse(answer, strlen(answer), ret, text);
}

static int describe_all(struct sv_verb *verbs, struct im_text *text)
{
    char *answer = malloc(ANSWER_BYTES);
    int err = answer ? 0 : -ENOMEM;

    for (size_t i = 0; err == 0 && i < sv_overview_count; i++) {
        verbs[i].line = &sv_overview[i];
        err = ask(sv_overview[i].name, answer, &verbs[i].facts, text);
    }
    free(answer);
    return err;
}

/* Creates DIR/FOLDER/NAME; blanks in the name become hyphens. */
static FILE *create(const char *dir, const char *folder, const char *name, struct im_text *text)
{
    char path[PATH_MAX];
    int used = snprintf(path, sizeof path, "%s/%s", dir, folder);
    FILE *out;

    if (used >= (int)sizeof path || (mkdir(path, 0755) < 0 && errno != EEXIST)) {
        im_fail(text, -EIO, "cannot make the folder %.800s: %s", path, strerror(errno));
        return NULL;
    }
    snprintf(path + used, sizeof path - (size_t)used, "/%s", name);
    for (char *c = path + used; *c; c++)
        if (*c == ' ')
            *c = '-';
    out = fopen(path, "w");
    if (!out)
        im_fail(text, -errno, "cannot write %.800s: %s", path, strerror(errno));
    return out;
}

static int finish(FILE *out, struct im_text *text)
{
    const int failed = ferror(out);

    return fclose(out) != 0 || failed ? im_fail(text, -EIO, "cannot write a document: %s", strerror(errno))
                                      : 0;
}

static int write_man(const char *dir, const struct sv_verb *verbs, size_t count, struct im_text *text)
{
    FILE *out = create(dir, "man1", "imsuper.1", text);
    int err;

    if (!out)
        return -EIO;
    sv_man_overview(out, verbs, count);
    err = finish(out, text);
    for (size_t i = 0; err == 0 && i < count; i++) {
        char name[64];

        snprintf(name, sizeof name, "imsuper-%.40s.1", verbs[i].line->name);
        out = create(dir, "man1", name, text);
        if (!out)
            return -EIO;
        sv_man_verb(out, &verbs[i]);
        err = finish(out, text);
    }
    return err;
}

/* The programs beside imsuper, which it starts: their page is imsuper(1). */
static int write_roles(const char *dir, struct im_text *text)
{
    static const char *const roles[] = {"imsuper-reader.1", "imsuper-fetcher.1", "imsuper-augmenter.1",
                                        "imsuper-trainer.1"};
    int err = 0;

    for (size_t i = 0; err == 0 && i < IM_COUNT(roles); i++) {
        FILE *out = create(dir, "man1", roles[i], text);

        if (!out)
            return -EIO;
        fputs(".so man1/imsuper.1\n", out);
        err = finish(out, text);
    }
    return err;
}

static int write_completion(const char *dir, const struct sv_verb *verbs, size_t count, struct im_text *text)
{
    static const struct {
        const char *folder, *name;
        void (*write)(FILE *out, const struct sv_verb *verbs, size_t count);
    } shells[] = {
        {"bash", "imsuper", sv_complete_bash},
        {"zsh", "_imsuper", sv_complete_zsh},
        {"fish", "imsuper.fish", sv_complete_fish},
    };
    int err = 0;

    for (size_t i = 0; err == 0 && i < IM_COUNT(shells); i++) {
        FILE *out = create(dir, shells[i].folder, shells[i].name, text);

        if (!out)
            return -EIO;
        shells[i].write(out, verbs, count);
        err = finish(out, text);
    }
    return err;
}

int sv_cmd_documents(int argc, char **argv)
{
    struct sv_verb *verbs;
    struct im_text text = {""};
    int err;

    if (argc != 2) {
        im_say(stderr, "imsuper: documents takes one word: the folder to write to");
        return IM_EXIT_USAGE;
    }
    verbs = calloc(sv_overview_count, sizeof *verbs);
    err = verbs ? describe_all(verbs, &text) : -ENOMEM;
    if (err == 0 && mkdir(argv[1], 0755) < 0 && errno != EEXIST)
        err = im_fail(&text, -errno, "cannot make the folder %.800s: %s", argv[1], strerror(errno));
    if (err == 0)
        err = write_man(argv[1], verbs, sv_overview_count, &text);
    if (err == 0)
        err = write_roles(argv[1], &text);
    if (err == 0)
        err = write_completion(argv[1], verbs, sv_overview_count, &text);
    for (size_t i = 0; verbs && i < sv_overview_count; i++)
        im_json_free(&verbs[i].facts);
    free(verbs);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
