#include "reader/dataset/layout_names.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

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

/* The role of a name of several words by its last or its first one, and the others: "seg_*", "*_images". */
static enum rd_role role_in(const char *name, char others[NAME_MAX + 2])
{
    static const char *const separators = "_- .";
    const size_t first = strcspn(name, separators), length = strlen(name);
    size_t last = length;
    char word[NAME_MAX + 1];
    enum rd_role role;

    others[0] = 0;
    if (first == length || length > NAME_MAX)
        return RD_ROLE_NONE;
    while (!strchr(separators, name[last - 1]))
        last--;
    role = rd_role_of(name + last);
    if (role != RD_ROLE_NONE) {
        snprintf(others, NAME_MAX + 2, "%.*s*", (int)last, name);
        return role;
    }
    snprintf(word, sizeof word, "%.*s", (int)first, name);
    role = rd_role_of(word);
    if (role != RD_ROLE_NONE)
        snprintf(others, NAME_MAX + 2, "*%s", name + first);
    return role;
}

enum rd_role rd_role_beside(const char *train, const char *name)
{
    char others[NAME_MAX + 2], of_train[NAME_MAX + 2];
    const enum rd_role role = role_in(name, others);

    if (rd_role_of(train) != RD_ROLE_NONE || role_in(train, of_train) == RD_ROLE_NONE)
        return rd_role_of(name);
    return strcasecmp(others, of_train) == 0 ? role : RD_ROLE_NONE;
}

bool rd_role_is_train(const char *name)
{
    char others[NAME_MAX + 2];

    return rd_role_of(name) == RD_ROLE_TRAIN || role_in(name, others) == RD_ROLE_TRAIN;
}

static bool holds(int root_fd, const char *path, bool is_flat)
{
    struct rd_listing listing = {.path = path};
    const bool is_read = rd_scan(root_fd, &listing, 1, NULL, NULL) == 0;
    const uint32_t folders = listing.folders.count, images = listing.images.count;

    rd_listing_fini(&listing);
    return is_read && (is_flat ? folders == 0 && images > 0 : folders > 0);
}

static int fail_two(const char *root, const char *one, const char *two, struct im_text *text)
{
    return im_fail(text, -EBADMSG,
                   "'%.400s' holds both '%.100s' and '%.100s': the right one is unclear. "
                   "Give it another name, or move it away",
                   root, one, two);
}

static int layout_names_find(int root_fd, const char *root, const struct rd_listing *base,
                             const struct rd_role_wanted *wanted, char ret_path[NAME_MAX],
                             struct im_text *text)
{
    const char *found = NULL;
    char path[2 * NAME_MAX + 2];

    for (uint32_t i = 0; i < base->folders.count; i++) {
        const char *name = rd_names_at(&base->folders, i);

        if ((wanted->train ? rd_role_beside(wanted->train, name) : rd_role_of(name)) != wanted->role)
            continue;
        rd_join(path, sizeof path, base->path, name);
        if (strlen(path) >= NAME_MAX || !holds(root_fd, path, wanted->is_flat))
            continue;
        if (found)
            return fail_two(root, found, name, text);
        found = name;
        snprintf(ret_path, NAME_MAX, "%.254s", path);
    }
    return found != NULL;
}

int rd_role_find(int root_fd, const char *root, const char *base, const struct rd_role_wanted *wanted,
                 char ret_path[NAME_MAX], struct im_text *text)
{
    struct rd_listing listing = {.path = *base ? base : "."};
    int found = rd_scan(root_fd, &listing, 1, NULL, text);

    if (found == 0)
        found = layout_names_find(root_fd, root, &listing, wanted, ret_path, text);
    rd_listing_fini(&listing);
    return found;
}

static bool has_others(const struct rd_names *folders, const char *train)
{
    for (uint32_t i = 0; i < folders->count; i++)
        if (rd_role_beside(train, rd_names_at(folders, i)) > RD_ROLE_TRAIN)
            return true;
    return false;
}

int rd_role_find_train(int root_fd, const char *root, char ret_path[NAME_MAX], struct im_text *text)
{
    struct rd_listing listing = {.path = "."};
    char others[NAME_MAX + 2];
    const char *found = NULL;
    int err = rd_scan(root_fd, &listing, 1, NULL, text);

    for (uint32_t i = 0; i < listing.folders.count && err == 0; i++) {
        const char *name = rd_names_at(&listing.folders, i);

        if (role_in(name, others) != RD_ROLE_TRAIN || !has_others(&listing.folders, name) ||
            !holds(root_fd, name, false))
            continue;
        if (found)
            err = fail_two(root, found, name, text);
        found = name;
    }
    if (found)
        snprintf(ret_path, NAME_MAX, "%.254s", found);
    rd_listing_fini(&listing);
    return err < 0 ? err : found != NULL;
}

int rd_descend(int root_fd, const char *name, char path[NAME_MAX], struct im_text *text)
{
    struct rd_listing listing = {.path = path};
    char inner[2 * NAME_MAX + 2];
    int err = rd_scan(root_fd, &listing, 1, NULL, text);
    bool is_doubled = err == 0 && listing.images.count == 0 && listing.folders.count == 1 &&
                      strcasecmp(rd_names_at(&listing.folders, 0), name) == 0;

    if (is_doubled) {
        rd_join(inner, sizeof inner, path, rd_names_at(&listing.folders, 0));
        is_doubled =
            strlen(inner) < NAME_MAX && (holds(root_fd, inner, false) || holds(root_fd, inner, true));
    }
    rd_listing_fini(&listing);
    if (is_doubled)
        snprintf(path, NAME_MAX, "%.254s", inner);
    return err < 0 ? err : is_doubled;
}
