/* `imsuper data verify`: the report, as text or JSON. */
#include "augment/tools/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "ipc/base/verdict.h"
#include "ipc/child.h"

enum { SHOWN = 10, CLASSES_SHOWN = 3 };

struct report {
    const struct im_conf *conf;
    const struct au_names *names;
    const struct au_facts *facts;
    const struct au_findings *found;
};

static const char *type_name(const struct au_fact *f)
{
    return f->type < IM_IMAGE_TYPE_COUNT ? im_image_type_name((enum im_image_type)f->type) : "unknown";
}

static int by_count(const void *a, const void *b)
{
    const struct au_class_counts *x = a, *y = b;

    return (x->usable[0] > y->usable[0]) - (x->usable[0] < y->usable[0]);
}

/* The classes by their usable training images, fewest first: a copy, the caller's. */
static struct au_class_counts *sorted_classes(const struct au_findings *found)
{
    struct au_class_counts *sorted = calloc(found->class_count + 1, sizeof *sorted);

    if (sorted) {
        memcpy(sorted, found->classes, found->class_count * sizeof *sorted);
        qsort(sorted, found->class_count, sizeof *sorted, by_count);
    }
    return sorted;
}

static struct im_json *item_json(const struct report *r, enum au_finding kind, size_t k)
{
    const struct au_list *list = &r->found->list[kind];
    const struct au_name *name = &r->names->names[list->items[k]];
    const struct au_fact *f = &r->facts->facts[list->items[k]];
    struct im_json *j = im_json_object();

    im_json_set_str(j, "path", name->path);
    im_json_set_str(j, "split", name->is_val ? "val" : "train");
    im_json_set_str(j, "class", name->class_name);
    if (kind == AU_BAD) {
        im_json_set_str(j, "verdict", im_verdict_name(f->verdict));
        im_json_set_str(j, "why", au_bad_sentence(f));
    }
    if (kind == AU_ROTATED)
        im_json_set_int(j, "orientation", f->orientation);
    if (kind == AU_MISNAMED)
        im_json_set_str(j, "format", type_name(f));
    if (kind >= AU_DUPLICATE)
        im_json_set_str(j, kind == AU_NEAR ? "like" : "same_as", r->names->names[list->like[k]].path);
    if (kind == AU_NEAR)
        im_json_set_int(j, "bits",
                        __builtin_popcountll(f->likeness ^ r->facts->facts[list->like[k]].likeness));
    return j;
}

static void add_classes(const struct report *r, struct im_json *j)
{
    struct im_json *classes = im_json_array();
    uint64_t least = UINT64_MAX, most = 0;

    for (size_t i = 0; i < r->found->class_count; i++) {
        const struct au_class_counts *c = &r->found->classes[i];
        struct im_json *item = im_json_object();

        if (c->count[0] + c->count[1] == 0) { /* --sample has none of it */
            im_json_free(&item);
            continue;
        }
        im_json_set_str(item, "name", c->name);
        im_json_set_int(item, "train", (int64_t)c->count[0]);
        im_json_set_int(item, "val", (int64_t)c->count[1]);
        im_json_set_int(item, "train_usable", (int64_t)c->usable[0]);
        im_json_set_int(item, "val_usable", (int64_t)c->usable[1]);
        im_json_append(classes, item);
        least = c->usable[0] < least ? c->usable[0] : least;
        most = c->usable[0] > most ? c->usable[0] : most;
    }
    im_json_set_real(j, "imbalance", least > 0 ? (double)most / (double)least : (double)most);
    im_json_set(j, "classes", classes);
}

static int verify_print_json(const struct report *r)
{
    struct im_json *j = im_json_object(), *types = im_json_object();
    int err;

    im_json_set_str(j, "schema", "imsuper.verify/1");
    im_json_set_str(j, "data_dir", r->conf->data_dir);
    im_json_set_int(j, "images", (int64_t)r->names->count);
    im_json_set_int(j, "train", (int64_t)r->found->images[0]);
    im_json_set_int(j, "val", (int64_t)r->found->images[1]);
    im_json_set_int(j, "grey", (int64_t)r->found->grey);
    im_json_set_int(j, "progressive", (int64_t)r->found->progressive);
    im_json_set_real(j, "seconds", r->facts->seconds);
    im_json_set_int(j, "jobs", r->facts->jobs);
    for (int type = 0; type <= IM_IMAGE_TYPE_COUNT; type++)
        if (r->found->types[type])
            im_json_set_int(types, type_name(&(struct au_fact){.type = (uint8_t)type}),
                            (int64_t)r->found->types[type]);
    im_json_set(j, "formats", types);
    for (int kind = 0; kind < AU_FINDINGS; kind++) {
        struct im_json *list = im_json_array();
        char files[32];

        for (size_t k = 0; k < r->found->list[kind].count; k++)
            im_json_append(list, item_json(r, (enum au_finding)kind, k));
        snprintf(files, sizeof files, "%s_files", au_finding_name((enum au_finding)kind));
        im_json_set_int(j, au_finding_name((enum au_finding)kind), (int64_t)r->found->list[kind].count);
        im_json_set(j, files, list);
    }
    add_classes(r, j);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static void say_items(const struct report *r, enum au_finding kind)
{
    const struct au_list *list = &r->found->list[kind];

    for (size_t k = 0; k < list->count && k < SHOWN; k++) {
        const size_t i = list->items[k];
        const struct au_fact *f = &r->facts->facts[i];

        if (kind == AU_BAD)
            im_say(stdout, "    %s: %s", r->names->names[i].path, au_bad_sentence(f));
        else if (kind >= AU_DUPLICATE)
            im_say(stdout, "    %s %s %s", r->names->names[i].path, kind == AU_NEAR ? "~" : "=",
                   r->names->names[list->like[k]].path);
        else if (kind == AU_MISNAMED)
            im_say(stdout, "    %s: %s", r->names->names[i].path, type_name(f));
        else
            im_say(stdout, "    %s", r->names->names[i].path);
    }
    if (list->count > SHOWN)
        printf("    ... and %zu more (--json lists all)\n", list->count - SHOWN);
}

static void say_balance(const struct report *r)
{
    struct au_class_counts *c = sorted_classes(r->found);
    const size_t n = r->found->class_count;

    if (!c || n == 0) {
        free(c);
        return;
    }
    printf("classes   %zu; training images of a class%s: %" PRIu64 " to %" PRIu64 ", median %" PRIu64 "\n", n,
           r->conf->sample ? " in the sample" : "", c[0].usable[0], c[n - 1].usable[0], c[n / 2].usable[0]);
    if (c[n - 1].usable[0] > 2 * c[0].usable[0])
        for (size_t i = 0; i < CLASSES_SHOWN && i < n; i++)
            im_say(stdout, "    few: %s (%" PRIu64 ")", c[i].name, c[i].usable[0]);
    free(c);
}

static void verify_print_text(const struct report *r)
{
    const char *separator = "formats   ";

    printf("images    %zu training, %zu validation, decoded in %.1f s (%.0f images/s, %" PRId64
           " processes)\n",
           r->found->images[0], r->found->images[1], r->facts->seconds,
           (double)r->names->count / r->facts->seconds, r->facts->jobs);
    for (int type = 0; type <= IM_IMAGE_TYPE_COUNT; type++)
        if (r->found->types[type]) {
            printf("%s%s %zu", separator, type_name(&(struct au_fact){.type = (uint8_t)type}),
                   r->found->types[type]);
            separator = ", ";
        }
    printf("; grey JPEG %zu, progressive JPEG %zu\n", r->found->grey, r->found->progressive);
    say_balance(r);
    for (int kind = 0; kind < AU_FINDINGS; kind++) {
        if (r->found->list[kind].count == 0)
            continue;
        printf("%-15s %zu: %s\n", au_finding_name((enum au_finding)kind), r->found->list[kind].count,
               au_finding_sentence((enum au_finding)kind));
        say_items(r, (enum au_finding)kind);
    }
    if (r->found->list[AU_BAD].count == 0)
        printf("every image can be used\n");
}

int au_cmd_verify(struct im_conf *conf)
{
    struct au_findings found = {0};
    struct im_text text = {""};
    struct au_names names;
    struct au_facts facts;
    struct report r = {conf, &names, &facts, &found};
    int status, err = *conf->output ? im_output_check(conf->output, &text) : 0;

    if (err < 0) {
        im_command_fail(err, &text);
        return IM_EXIT_FAILED; /* of this command's, not of the images */
    }
    status = au_facts_open(conf, &names, &facts);
    if (status == 0) {
        err = au_findings_make(&names, &facts, (int)conf->near_duplicates, &found);
        if (err == 0 && conf->json)
            err = verify_print_json(&r);
        else if (err == 0)
            verify_print_text(&r);
        if (err == 0 && *conf->output)
            err = au_findings_write_html(conf, &names, &facts, &found, conf->output, &text);
        if (err == 0 && *conf->output)
            im_say(stderr, "imsuper: wrote %s", conf->output);
        status = err < 0                    ? im_command_fail(err, &text)
                 : found.list[AU_BAD].count ? IM_EXIT_BAD_DATA
                                            : IM_EXIT_OK;
    }
    au_findings_free(&found);
    au_facts_free(&facts);
    au_names_free(&names);
    return status;
}
