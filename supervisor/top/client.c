#include "supervisor/top/client.h"

#include <stdio.h>
#include <string.h>

#define LOOK_NS IM_SECOND
#define ASK_NS IM_SECOND
#define LOST_NS (2 * IM_SECOND) /* an answer that has not come by then is asked for again */

void sv_top_client_close(struct sv_top_client *c)
{
    im_ctl_close(&c->ctl, 0);
    *c = (struct sv_top_client){.run_dir = ""};
}

void sv_top_client_point(struct sv_top_client *c, const char *run_dir)
{
    if (strcmp(c->run_dir, run_dir) == 0)
        return;
    sv_top_client_close(c);
    snprintf(c->run_dir, sizeof c->run_dir, "%s", run_dir);
}

static void read_answers(struct sv_top_client *c, im_ns now)
{
    struct im_ctl_record found;

    c->looked = now;
    if (im_ctl_find(c->run_dir, &found) < 0 || (c->ctl && strcmp(found.path, c->at.path) == 0))
        return;
    im_ctl_close(&c->ctl, 0);
    if (im_ctl_connect(found.path, &c->ctl, NULL) == 0)
        c->at = found;
    c->waits = false;
    c->asked = 0;
}

void sv_top_client_turn(struct sv_top_client *c, im_ns now)
{
    struct im_json *request;

    if (!c->run_dir[0])
        return;
    if (c->looked == 0 || now - c->looked >= LOOK_NS)
        read_answers(c, now);
    if (!c->ctl || (c->asked && now - c->asked < (c->waits ? LOST_NS : ASK_NS)))
        return;
    request = im_json_object();
    im_json_set_str(request, "cmd", "status");
    c->waits = im_ctl_send(c->ctl, NULL, request) == 0;
    c->asked = now;
}

struct im_json *sv_top_client_receive(struct sv_top_client *c)
{
    struct im_json *j = NULL;

    if (!c->ctl || im_ctl_receive(c->ctl, 0, NULL, &j) <= 0)
        return NULL;
    if (strncmp(im_json_str_or(j, "schema", ""), "imsuper.status/", 15) == 0)
        c->waits = false;
    return j;
}

bool sv_top_client_send(struct sv_top_client *c, struct im_json *command)
{
    c->asked = 0; /* what follows from it is asked for at once */
    if (c->ctl)
        return im_ctl_send(c->ctl, NULL, command) == 0;
    im_json_free(&command);
    return false;
}
