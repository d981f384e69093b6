#include "ipc/base/image_type.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "ipc/base/err.h"

static const struct {
    const char *name, *missing, *endings;
    bool decoded;
} types[] = {
#define ROW(type, name, decoded, missing, endings) {name, missing, endings, decoded},
    IM_IMAGE_TYPES(ROW)
#undef ROW
};

/* Is it one of these, each of which has a space before it? */
static bool has_ending(const char *endings, const char *ending)
{
    size_t n = strlen(ending);

    for (const char *at = endings; *at; at += 1 + strcspn(at + 1, " "))
        if (strncasecmp(at + 1, ending, n) == 0 && (at[1 + n] == ' ' || at[1 + n] == '\0'))
            return true;
    return false;
}

enum im_image_type im_image_type_of_name(const char *file_name)
{
    const char *dot = strrchr(file_name, '.');
    unsigned type = 0;

    while (type < IM_IMAGE_TYPE_COUNT && !(dot && !strchr(dot, ' ') && has_ending(types[type].endings, dot)))
        type++;
    return (enum im_image_type)type;
}

const char *im_image_type_name(enum im_image_type type)
{
    im_assert(type < IM_IMAGE_TYPE_COUNT);
    return types[type].name;
}

bool im_image_type_is_decoded(enum im_image_type type)
{
    return type < IM_IMAGE_TYPE_COUNT && types[type].decoded;
}

const char *im_image_type_missing(enum im_image_type type)
{
    im_assert(type < IM_IMAGE_TYPE_COUNT);
    return types[type].missing;
}

const char *im_image_types_list(struct im_image_type_list *list, bool decoded)
{
    size_t used = 0;

    list->s[0] = '\0';
    for (unsigned i = 0; i < IM_IMAGE_TYPE_COUNT; i++)
        if (types[i].decoded == decoded)
            used += (size_t)snprintf(list->s + used, sizeof list->s - used, "%s%s", used ? ", " : "",
                                     types[i].name);
    im_assert(used < sizeof list->s);
    return list->s;
}
