#include "trainer/export/runtime.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/sysinfo.h"

#define SCRIPT "prove_onnx.py"

enum { ARGUMENTS_MAX = 8, ANSWER_BYTES = 16384 };

static int find_script(char *path, size_t n, struct im_text *text)
{
    static const char *const places[] = {SCRIPT, "../share/imsuper/" SCRIPT};
    for (size_t i = 0; i < IM_COUNT(places); i++) {
        im_beside(places[i], path, n);
        if (access(path, R_OK) == 0)
            return 0;
    }
    return im_fail(text, -ENOENT, "%s is not beside the program", SCRIPT);
}

int tr_runtime_start(struct tr_runtime *r, const char *const *arguments, struct im_text *text)
{
    char python[] = "python3", path[PATH_MAX], *argv[ARGUMENTS_MAX + 3] = {python, path};
    /* Its errors and warnings are for nobody: what matters is in the answer. */
    const struct im_piped_how how = {.with_input = true, .without_errors = true};
    int err = find_script(path, sizeof path, text);

    *r = (struct tr_runtime){.program = IM_PIPED_NONE};
    if (err < 0)
        return err;
    for (size_t i = 0; arguments[i]; i++) {
        im_assert(i < ARGUMENTS_MAX);
        memcpy(&argv[i + 2], &arguments[i], sizeof *argv); /* posix_spawn() only reads them */
    }
    err = im_piped_start(&r->program, argv, &how, NULL);
    if (err < 0)
        return im_fail(text, -ENOENT, "there is no python3 (%s)", strerror(-err));
    r->to = fdopen(r->program.to, "w");
    r->from = fdopen(r->program.from, "r");
    if (r->to)
        r->program.to = -1; /* is the stream's */
    if (r->from)
        r->program.from = -1;
    return 0;
}

int tr_runtime_end(struct tr_runtime *r, struct im_json **ret, struct im_text *text)
{
    char answer[ANSWER_BYTES];
    size_t n = 0;
    int err;

    if (r->to)
        fclose(r->to);
    if (r->from) {
        n = fread(answer, 1, sizeof answer, r->from);
        fclose(r->from);
    }
    im_piped_end(&r->program);
    *r = (struct tr_runtime){.program = IM_PIPED_NONE};
    while (n > 0 && answer[n - 1] == '\n')
        n--;
    err = n > 0 ? im_json_parse(answer, n, ret, NULL) : -EIO;
    return err < 0 ? im_fail(text, -EIO, "%s gave no answer", SCRIPT) : 0;
}
