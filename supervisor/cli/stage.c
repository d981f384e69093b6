#include "supervisor/cli/stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "ipc/base/printable.h"
#include "ipc/base/suggest.h"

#define COUNT_DIGITS_MAX 6

static const char *const stages[] = {"reader", "augmenter", "trainer"};

int64_t sv_stage_count(const char *s)
{
    size_t digits = strspn(s, "0123456789");

    return digits == 0 || digits > COUNT_DIGITS_MAX || s[digits] ? -1 : strtoll(s, NULL, 10);
}

int sv_stage_parse(const char *written, struct sv_stage_name *ret)
{
    const char *hash = strchr(written, '#');
    size_t length = strcspn(written, "#");

    *ret = (struct sv_stage_name){.index = hash ? sv_stage_count(hash + 1) : -1};
    if (hash && ret->index < 0)
        return -EINVAL;
    if (length > 1 && written[length - 1] == 's')
        length--;
    for (size_t i = 0; i < IM_COUNT(stages); i++)
        if (strlen(stages[i]) == length && strncmp(written, stages[i], length) == 0)
            ret->name = stages[i];
    return ret->name ? 0 : -EINVAL;
}

int sv_stage_refuse(const char *written)
{
    char stage[32];
    const char *near;

    snprintf(stage, sizeof stage, "%.*s", (int)strcspn(written, "#"), written);
    near = im_nearest(stage, stages, IM_COUNT(stages));
    im_say(stderr,
           "imsuper: \"%.100s\": expected reader, augmenter or trainer, or one of them such as "
           "augmenter#1%s%s%s",
           written, near && strcmp(near, stage) != 0 ? "; did you mean " : "",
           near && strcmp(near, stage) != 0 ? near : "", near && strcmp(near, stage) != 0 ? "?" : "");
    return IM_EXIT_USAGE;
}
