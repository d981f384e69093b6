#include "reader/dataset/layout_names.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "reader/dataset/scan.h"

enum rd_role rd_role_of(const char *name)
{
    static const struct {
        const char *name;
        enum rd_role role;
    } known[] = {
        {"train", RD_ROLE_TRAIN},       {"training", RD_ROLE_TRAIN},     {"trainset", RD_ROLE_TRAIN},
        {"trainingset", RD_ROLE_TRAIN}, {"traindata", RD_ROLE_TRAIN},    {"trainingdata", RD_ROLE_TRAIN},
        {"val", RD_ROLE_VAL},           {"valid", RD_ROLE_VAL},          {"validation", RD_ROLE_VAL},
        {"valset", RD_ROLE_VAL},        {"validset", RD_ROLE_VAL},       {"validationset", RD_ROLE_VAL},
        {"valdata", RD_ROLE_VAL},       {"validationdata", RD_ROLE_VAL}, {"dev", RD_ROLE_VAL},
        {"test", RD_ROLE_TEST},         {"testing", RD_ROLE_TEST},       {"testset", RD_ROLE_TEST},
        {"testingset", RD_ROLE_TEST},   {"testdata", RD_ROLE_TEST},      {"testingdata", RD_ROLE_TEST},
    };
    char plain[32];
    size_t n = 0;

    for (; *name && n + 1 < sizeof plain; name++)
        if (isalnum((unsigned char)*name))
            plain[n++] = (char)tolower((unsigned char)*name);
    plain[n] = 0;
    for (size_t i = 0; i < IM_COUNT(known) && !*name; i++)
        if (strcmp(plain, known[i].name) == 0)
            return known[i].role;
    return RD_ROLE_NONE;
}

static bool holds_folders(int root_fd, const char *path)
{
    struct rd_listing listing = {.path = path};
    const bool holds = rd_scan(root_fd, &listing, 1, NULL, NULL) == 0 && listing.folders.count > 0;

    rd_listing_fini(&listing);
    return holds;
}

static int find(int root_fd, const char *root, const struct rd_listing *base, enum rd_role role,
                char ret_path[NAME_MAX], struct im_text *text)
{
    const char *found = NULL;
    char path[2 * NAME_MAX + 2];

    for (uint32_t i = 0; i < base->folders.count; i++) {
        const char *name = rd_names_at(&base->folders, i);

        if (rd_role_of(name) != role)
            continue;
        rd_join(path, sizeof path, base->path, name);
        if (strlen(path) >= NAME_MAX || !holds_folders(root_fd, path))
            continue;
        if (found)
            return im_fail(
                text, -EBADMSG,
                "'%.400s' holds both '%.100s' and '%.100s': which of them is meant cannot be told. "
                "Give it another name, or move it away",
                root, found, name);
        found = name;
        snprintf(ret_path, NAME_MAX, "%.254s", path);
    }
    return found != NULL;
}

int rd_role_find(int root_fd, const char *root, const char *base, enum rd_role role, char ret_path[NAME_MAX],
                 struct im_text *text)
{
    struct rd_listing listing = {.path = *base ? base : "."};
    int found = rd_scan(root_fd, &listing, 1, NULL, text);

    if (found == 0)
        found = find(root_fd, root, &listing, role, ret_path, text);
    rd_listing_fini(&listing);
    return found;
}
