/* Events of a run as objects: what --on-event and --json give to programs ("imsuper.event/1"). */
#ifndef SUPERVISOR_REPORT_EVENT_H
#define SUPERVISOR_REPORT_EVENT_H

#include <stddef.h>

#include "ipc/base/json.h"
#include "supervisor/report/screen.h"

/* "2026-11-30T04:01:07.210Z", now. */
void sv_event_time(char *buffer, size_t n);

/* With schema, time, event and run; the caller's, who adds the fields. */
struct im_json *sv_event_json(const char *event, const char *run, const char *run_dir);

/* What the live line of the screen tells; the caller's. What is not known yet is left out. */
struct im_json *sv_progress_json(const struct sv_progress *p);

#endif
