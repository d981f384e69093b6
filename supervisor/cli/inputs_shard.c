#include "supervisor/cli/inputs.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "supervisor/cli/program.h"

#define ANSWER_BYTES ((size_t)1 << 30) /* of address space; pages are taken as they are written */

static int add_members(struct sv_inputs *inputs, const char *name, const struct im_json *members)
{
    const char *member, *reference;
    int err = 0;

    for (size_t i = 0; i + 1 < im_json_count(members) && err == 0; i += 2) {
        char shown[2 * PATH_MAX];

        if (im_json_as_str(im_json_at(members, i), &member) < 0 ||
            im_json_as_str(im_json_at(members, i + 1), &reference) < 0)
            return -EBADMSG;
        snprintf(shown, sizeof shown, "%s/%s", name, member);
        err = sv_inputs_append(inputs, shown, reference, 0);
    }
    return err;
}

int sv_inputs_add_shard(struct sv_inputs *inputs, const char *name, const char *path)
{
    char program[PATH_MAX], data[] = "data", verb[] = "members", file[PATH_MAX],
                            *answer = malloc(ANSWER_BYTES);
    char *argv[] = {program, data, verb, file, NULL};
    struct im_json *j = NULL;
    int status;

    if (!answer)
        return -ENOMEM;
    sv_program_find("imsuper-reader", program, sizeof program);
    snprintf(file, sizeof file, "%s", path);
    status = sv_program_read(argv, 0, answer, ANSWER_BYTES);
    if (status == 0 && im_json_parse(answer, strlen(answer), &j, NULL) == 0)
        status = add_members(inputs, name, im_json_get(j, "members"));
    else if (status != -EINTR) /* the program has said why */
        status = sv_inputs_append(inputs, name, NULL, -EBADMSG);
    im_json_free(&j);
    free(answer);
    return status;
}
