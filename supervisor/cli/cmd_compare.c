/* `imsuper compare`: what differs between runs, and what came of it: options, results, and a picture of their
 * curves. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/run_list.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/options.h"
#include "supervisor/report/results.h"

#define CURVES "loss,accuracy,lr,throughput"
#define CELL_COLUMNS 28 /* of a value in the table; the rest of it is cut */
#define NAME_COLUMNS 40

struct comparison {
    struct sv_run_list list;
    struct sv_options options[SV_RUNS_MAX];
    int width; /* of a run's column */
};

/* The option's value in a run; "": the run has no such option. */
static const char *value_of(const struct comparison *c, size_t run, const char *name)
{
    const char *value = sv_options_value(&c->options[run], name);

    return value ? value : "";
}

static bool differs(const struct comparison *c, const char *name)
{
    if (!sv_option_matters(name))
        return false;
    for (size_t r = 1; r < c->list.count; r++)
        if (strcmp(value_of(c, r, name), value_of(c, 0, name)) != 0)
            return true;
    return false;
}

/* Calls `tell` for each option that differs, in the order of the first run that has it. */
static size_t each_difference(const struct comparison *c,
                              void (*tell)(const struct comparison *c, const char *name, void *context),
                              void *context)
{
    size_t count = 0;

    for (size_t r = 0; r < c->list.count; r++)
        for (size_t i = 0; i < c->options[r].count; i++) {
            const char *name = c->options[r].option[i].name;
            bool earlier = false;

            for (size_t q = 0; q < r; q++)
                earlier |= sv_options_value(&c->options[q], name) != NULL;
            if (earlier || !differs(c, name))
                continue;
            tell(c, name, context);
            count++;
        }
    return count;
}

static void print_cells(const struct comparison *c, const char *label,
                        const char *cell(const struct comparison *c, size_t run, const void *what,
                                         char *room),
                        const void *what)
{
    char line[64 + SV_RUNS_MAX * (4 * NAME_COLUMNS + 4)], room[128];
    size_t n = (size_t)snprintf(line, sizeof line, "%-30.30s", label);

    for (size_t r = 0; r < c->list.count && n < sizeof line; r++)
        n += (size_t)snprintf(line + n, sizeof line - n, "  %s",
                              sv_cell(&(struct sv_cell_text){0}, cell(c, r, what, room), c->width, true));
    im_say(stdout, "%s", line);
}

static const char *name_cell(const struct comparison *c, size_t run, const void *what, char *room)
{
    (void)what, (void)room;
    return c->list.run[run].name;
}

static const char *option_cell(const struct comparison *c, size_t run, const void *what, char *room)
{
    const char *value = value_of(c, run, what);

    (void)room;
    return *value ? value : "-";
}

static const char *result_cell(const struct comparison *c, size_t run, const void *what, char *room)
{
    const struct sv_result *r = what;
    int64_t epoch;
    double value = sv_result_pick(&c->list.run[run].history, r, &epoch);
    int n;

    if (isnan(value))
        return "-";
    n = snprintf(room, 64, r->format, r->scale * value);
    if (sv_result_is_best(r))
        snprintf(room + n, 64, " @%" PRId64, epoch);
    return room;
}

static void print_option(const struct comparison *c, const char *name, void *context)
{
    bool is_cut = false;

    (void)context;
    for (size_t r = 0; r < c->list.count; r++)
        is_cut |= sv_text_width(value_of(c, r, name)) > c->width;
    print_cells(c, name, option_cell, name);
    for (size_t r = 0; is_cut && r < c->list.count; r++) /* what differs may be in the rest */
        im_say(stdout, "  %s: %s", c->list.run[r].name, option_cell(c, r, name, NULL));
}

static void set_width(struct comparison *c)
{
    c->width = 12;
    for (size_t r = 0; r < c->list.count; r++) {
        int n = sv_text_width(c->list.run[r].name);

        c->width = n > c->width ? n : c->width;
    }
    c->width = c->width > CELL_COLUMNS ? CELL_COLUMNS : c->width;
}

static void print_table(struct comparison *c, const char *picture)
{
    set_width(c);
    print_cells(c, "", name_cell, NULL);
    for (size_t i = 0; i < sv_result_count(); i++) {
        int64_t epoch;
        bool any = false;

        for (size_t r = 0; r < c->list.count; r++)
            any |= !isnan(sv_result_pick(&c->list.run[r].history, sv_result_at(i), &epoch));
        if (any)
            print_cells(c, sv_result_at(i)->label, result_cell, sv_result_at(i));
    }
    printf("\n");
    if (each_difference(c, print_option, NULL) == 0)
        printf("no option differs\n");
    printf("\n");
    im_say(stdout, "curves  %s", picture);
}

static void add_option(const struct comparison *c, const char *name, void *context)
{
    struct im_json *one = im_json_object(), *values = im_json_array();

    im_json_set_str(one, "option", name);
    for (size_t r = 0; r < c->list.count; r++)
        im_json_append_str(values, value_of(c, r, name));
    im_json_set(one, "values", values);
    im_json_append(context, one);
}

static int compare_print_json(const struct comparison *c, const char *picture)
{
    struct im_json *j = im_json_object(), *runs = im_json_array(), *options = im_json_array();
    int err;

    im_json_set_str(j, "schema", "imsuper.compare/1");
    for (size_t r = 0; r < c->list.count; r++) {
        struct im_json *one = im_json_object();

        im_json_set_str(one, "run", c->list.run[r].name);
        im_json_set_str(one, "folder", c->list.directory[r]);
        for (size_t i = 0; i < sv_result_count(); i++) {
            char key[64];
            int64_t epoch;
            double value = sv_result_pick(&c->list.run[r].history, sv_result_at(i), &epoch);

            if (sv_result_at(i)->pick == SV_COUNT)
                im_json_set_int(one, sv_result_at(i)->key, (int64_t)value);
            else
                im_json_set_real(one, sv_result_at(i)->key, value);
            snprintf(key, sizeof key, "%s_epoch", sv_result_at(i)->key);
            if (epoch > 0 && sv_result_at(i)->pick != SV_LAST)
                im_json_set_int(one, key, epoch);
        }
        im_json_append(runs, one);
    }
    im_json_set(j, "runs", runs);
    each_difference(c, add_option, options);
    im_json_set(j, "options", options);
    im_json_set_str(j, "picture", picture);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static int compare(struct comparison *c, const struct im_conf *conf, const char *picture,
                   struct im_text *text)
{
    int err = sv_run_list_load(&c->list, conf, text);

    if (err < 0)
        return err;
    if (c->list.count < 2)
        return im_fail(text, -EINVAL, "one run has nothing to be compared with: imsuper compare RUN RUN");
    for (size_t r = 0; r < c->list.count && err == 0; r++)
        err = sv_options_load(&c->options[r], c->list.directory[r], text);
    if (err == 0)
        err =
            sv_run_list_draw(&c->list, *conf->metric ? conf->metric : CURVES,
                             &(struct sv_chart_style){conf->smooth, conf->log_x, conf->log_y}, picture, text);
    if (err == 0 && conf->json)
        err = compare_print_json(c, picture);
    else if (err == 0)
        print_table(c, picture);
    return err;
}

int sv_cmd_compare(struct im_conf *conf)
{
    const char *picture = *conf->output ? conf->output : "compare.png";
    struct comparison *c = calloc(1, sizeof *c);
    struct im_text text = {""};
    int err = c ? compare(c, conf, picture, &text) : -ENOMEM;

    for (size_t r = 0; c && r < SV_RUNS_MAX; r++)
        sv_options_free(&c->options[r]);
    if (c)
        sv_run_list_free(&c->list);
    free(c);
    return err < 0 ? sv_fail_of_runs(err, &text) : IM_EXIT_OK;
}
