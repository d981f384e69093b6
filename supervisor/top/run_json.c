/* A run of `imsuper top --json`. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/report/run_state.h"
#include "supervisor/top/run.h"

enum { EVENTS_BYTES = 16384 };

static struct im_json *processes(const struct sv_top_run *r)
{
    struct im_json *list = im_json_array();

    for (int i = 0; i < r->processes; i++) {
        const struct sv_top_process *p = &r->process[i];
        struct im_json *j = im_json_object();

        im_json_set_str(j, "name", p->name);
        if (!isnan(p->cpu))
            im_json_set_real(j, "cores", p->cpu);
        if (!isnan(p->rate))
            im_json_set_real(j, "items_per_second", p->rate);
        im_json_append(list, j);
    }
    return list;
}

static struct im_json *events(const struct sv_top_run *r)
{
    struct im_json *list = im_json_array();
    char tail[EVENTS_BYTES];

    sv_run_tail(r->run_dir, "events.jsonl", tail, sizeof tail);
    for (const char *line = tail, *end; *line && (end = strchr(line, '\n')); line = end + 1) {
        struct im_json *j = NULL;

        if (im_json_parse(line, (size_t)(end - line), &j, NULL) == 0)
            im_json_append(list, j);
    }
    return list;
}

struct im_json *sv_top_run_json(const struct sv_top_run *r)
{
    struct im_json *j = im_json_object(), *status = r->state[0] ? NULL : im_json_copy(r->status),
                   *epochs = im_json_copy(r->epochs);

    im_json_set_str(j, "run", r->name);
    im_json_set_str(j, "run_dir", r->run_dir);
    im_json_set_str(j, "state", r->state[0] ? r->state : im_json_str_or(status, "state", "running"));
    if (status) {
        im_json_set(j, "status", status);
        im_json_set(j, "processes", processes(r));
    }
    if (epochs)
        im_json_set(j, "epochs", epochs);
    im_json_set(j, "events", events(r));
    return j;
}
