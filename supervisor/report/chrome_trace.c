#include "supervisor/report/chrome_trace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/json.h"
#include "ipc/batch.h"
#include "ipc/encoded.h"

#define SECOND_TRACK UINT64_C(100000000) /* beside the thread of this number's remainder: above all pids */

/* Whose spans are read. */
struct process {
    struct sv_chrome_slot *slot;
    enum im_role role;
    uint32_t index;
    uint64_t pid;
};

/* One event, before it is written: printf would take most of the time of a trace. The longest has some 250 bytes. */
struct event {
    size_t n;
    char text[512];
};

static void chrome_trace_put(struct event *e, const char *text)
{
    while (*text && e->n < sizeof e->text)
        e->text[e->n++] = *text++;
}

static void put_number(struct event *e, uint64_t v)
{
    char digit[20];
    size_t n = 0;

    do
        digit[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n > 0 && e->n < sizeof e->text)
        e->text[e->n++] = digit[--n];
}

/* ns as a number of a unit of 1000 ns or 1000,000 ns, with three digits behind the point. */
static void put_thousandths(struct event *e, uint64_t thousandths)
{
    put_number(e, thousandths / 1000);
    chrome_trace_put(e, ".");
    for (unsigned digit = 100; digit > 0; digit /= 10)
        put_number(e, thousandths / digit % 10);
}

static void put_key(struct event *e, const char *key, uint64_t v)
{
    chrome_trace_put(e, key);
    put_number(e, v);
}

static void put_time(struct event *e, const char *key, im_ns ns)
{
    chrome_trace_put(e, key);
    put_thousandths(e, ns); /* the format counts in microseconds */
}

static void begin_event(struct sv_chrome *c, struct event *e, const char *text)
{
    e->n = 0;
    chrome_trace_put(e, c->events++ ? ",\n{" : "\n{");
    chrome_trace_put(e, text);
}

static void end_event(struct event *e, const char *text, FILE *out)
{
    chrome_trace_put(e, text);
    fwrite(e->text, 1, e->n, out);
}

static void name_track(struct sv_chrome *c, FILE *out, const char *what, uint64_t pid, uint64_t tid,
                       const char *name, int64_t index)
{
    struct event e;

    begin_event(c, &e, "\"ph\":\"M\",\"name\":\"");
    chrome_trace_put(&e, what);
    put_key(&e, "\",\"pid\":", pid);
    put_key(&e, ",\"tid\":", tid);
    chrome_trace_put(&e, ",\"args\":{\"name\":\"");
    chrome_trace_put(&e, name);
    if (index >= 0)
        put_key(&e, "#", (uint64_t)index);
    end_event(&e, "\"}}", out);
}

/* Without its end. */
static void put_complete(struct sv_chrome *c, struct event *e, const struct process *p, const char *name,
                         uint64_t tid, im_ns begin, im_ns length)
{
    begin_event(c, e, "\"ph\":\"X\",\"name\":\"");
    chrome_trace_put(e, name);
    chrome_trace_put(e, "\",\"cat\":\"");
    chrome_trace_put(e, im_role_name(p->role));
    put_key(e, "\",\"pid\":", p->pid);
    put_key(e, ",\"tid\":", tid);
    put_time(e, ",\"ts\":", begin);
    put_time(e, ",\"dur\":", length);
}

/* Files are read side by side: no track has room for them. */
static void put_read(struct sv_chrome *c, FILE *out, const struct process *p, im_ns begin, im_ns length)
{
    const uint64_t id = c->reads++;
    struct event e;

    for (int end = 0; end < 2; end++) {
        begin_event(c, &e, end ? "\"ph\":\"e\"" : "\"ph\":\"b\"");
        put_key(&e, ",\"name\":\"read\",\"cat\":\"read\",\"id\":", id);
        put_key(&e, ",\"pid\":", p->pid);
        put_key(&e, ",\"tid\":", p->pid);
        put_time(&e, ",\"ts\":", begin + (end ? length : 0));
        end_event(&e, "}", out);
    }
}

static void put_render(struct sv_chrome *c, FILE *out, const struct process *p)
{
    const im_ns *part = p->slot->render.part;
    struct event e;

    if (p->slot->render.length == 0)
        return;
    put_complete(c, &e, p, "render", SECOND_TRACK + p->pid, p->slot->render.begin, p->slot->render.length);
    chrome_trace_put(&e, ",\"args\":{\"decode_ms\":");
    put_thousandths(&e, part[IM_H_DECODE] / 1000);
    chrome_trace_put(&e, ",\"resize_ms\":");
    put_thousandths(&e, part[IM_H_RESIZE] / 1000);
    chrome_trace_put(&e, ",\"transform_ms\":");
    put_thousandths(&e, part[IM_H_TRANSFORM] / 1000);
    end_event(&e, "}}", out);
    p->slot->render.length = 0;
}

static void put_item(struct sv_chrome *c, FILE *out, const struct process *p, enum im_histogram h,
                     im_ns begin, im_ns length)
{
    struct event e;

    switch (h) {
    case IM_H_RENDER:
        put_render(c, out, p);
        memset(&p->slot->render, 0, sizeof p->slot->render);
        p->slot->render.begin = begin;
        p->slot->render.length = length ? length : 1;
        return;
    case IM_H_DECODE:
    case IM_H_RESIZE:
    case IM_H_TRANSFORM:
        p->slot->render.part[h] = length;
        return;
    case IM_H_ITEM:
    case IM_HISTOGRAMS:
        break;
    }
    put_render(c, out, p);
    if (p->role == IM_ROLE_READER) {
        put_read(c, out, p, begin, length);
        return;
    }
    put_complete(c, &e, p, p->role == IM_ROLE_TRAINER ? "batch" : "image", SECOND_TRACK + p->pid, begin,
                 length);
    end_event(&e, "}", out);
}

static void put_span(struct sv_chrome *c, FILE *out, const struct process *p, const struct im_span_view *span)
{
    static const char *const activity[IM_ACTIVITIES] = {"idle", "wait for input", "work", "wait for output",
                                                        "wait for I/O"};
    struct event e;

    if (span->kind >= IM_SPAN_KINDS)
        return;
    if (span->kind >= IM_ACTIVITIES) {
        put_item(c, out, p, (enum im_histogram)(span->kind - IM_ACTIVITIES), span->begin, span->length);
        return;
    }
    put_complete(c, &e, p, activity[span->kind], p->pid, span->begin, span->length);
    end_event(&e, "}", out);
}

static void put_lost(struct sv_chrome *c, FILE *out, const struct process *p, uint64_t lost)
{
    struct event e;

    if (lost == 0)
        return;
    c->lost += lost;
    begin_event(c, &e, "\"ph\":\"i\",\"s\":\"p\",\"name\":\"");
    put_number(&e, lost);
    put_key(&e, " events lost before this\",\"pid\":", p->pid);
    put_key(&e, ",\"tid\":", p->pid);
    put_time(&e, ",\"ts\":", c->last_ns);
    end_event(&e, "}", out);
}

static void name_process(struct sv_chrome *c, FILE *out, const struct process *p)
{
    name_track(c, out, "process_name", p->pid, p->pid, im_role_name(p->role), p->index);
    name_track(c, out, "thread_name", p->pid, p->pid, "activity", -1);
    if (p->role != IM_ROLE_READER)
        name_track(c, out, "thread_name", p->pid, SECOND_TRACK + p->pid,
                   p->role == IM_ROLE_TRAINER ? "batches" : "images", -1);
    c->processes++;
}

static size_t look_at(struct sv_chrome *c, const struct im_run *run, enum im_role role, uint32_t index,
                      FILE *out)
{
    const uint32_t at = im_run_slot(run, role, index);
    const int32_t pid = atomic_load_explicit(&run->process[at].pid, memory_order_relaxed);
    struct sv_chrome_slot *slot = &c->slot[at];
    struct process p = {.slot = slot, .role = role, .index = index};
    struct im_span_view span[IM_SPANS];
    uint64_t lost = 0;
    size_t n;

    if (!slot->seen)
        slot->next = atomic_load_explicit(&run->stats[at].spans, memory_order_acquire);
    slot->seen = true;
    if (pid <= 0 && slot->pid == 0)
        return 0;
    p.pid = (uint64_t)(pid > 0 ? pid : slot->pid); /* what the dead one left */
    if (pid > 0 && pid != slot->pid) {
        put_render(c, out, &(struct process){.slot = slot, .role = role, .pid = (uint64_t)slot->pid});
        name_process(c, out, &p);
        slot->pid = pid;
    }
    n = im_spans_read(&run->stats[at], &slot->next, span, IM_SPANS, &lost);
    put_lost(c, out, &p, lost);
    for (size_t i = 0; i < n; i++)
        put_span(c, out, &p, &span[i]);
    return n + lost;
}

/* Only what changed. */
static void put_counter(struct sv_chrome *c, FILE *out, const char *name, uint32_t count, uint32_t *last)
{
    struct event e;

    if (c->first_ns != c->last_ns && count == *last)
        return;
    *last = count;
    begin_event(c, &e, "\"ph\":\"C\",\"name\":\"");
    chrome_trace_put(&e, name);
    put_key(&e, "\",\"pid\":0,\"args\":{\"count\":", count);
    put_time(&e, "},\"ts\":", c->last_ns);
    end_event(&e, "}", out);
}

void sv_chrome_begin(struct sv_chrome *c, const char *run_name, FILE *out)
{
    struct im_json *name = im_json_object();
    char *dumped;

    im_json_set_str(name, "run", run_name);
    dumped = im_json_dump(name);
    fprintf(out, "{\"displayTimeUnit\":\"ms\",\"otherData\":%s,\"traceEvents\":[", dumped ? dumped : "{}");
    free(dumped);
    im_json_free(&name);
    name_track(c, out, "process_name", 0, 0, "rings", -1);
}

size_t sv_chrome_look(struct sv_chrome *c, const struct im_run *run, FILE *out)
{
    static const enum im_role roles[] = {IM_ROLE_READER, IM_ROLE_AUGMENTER, IM_ROLE_TRAINER};
    const struct im_geometry *g = &run->geometry;
    const uint32_t counts[] = {g->readers_max, g->augmenters_max, g->ranks};
    size_t most = 0;

    c->last_ns = im_now();
    if (c->first_ns == 0)
        c->first_ns = c->last_ns;
    put_counter(c, out, "encoded cells ready", im_encoded_count(run, IM_READY), &c->ready_cells);
    put_counter(c, out, "images ready", im_batch_images(run), &c->ready_images);
    for (size_t r = 0; r < IM_COUNT(roles); r++)
        for (uint32_t i = 0; i < counts[r]; i++) {
            const size_t n = look_at(c, run, roles[r], i, out);

            most = n > most ? n : most;
        }
    return most;
}

void sv_chrome_end(struct sv_chrome *c, FILE *out)
{
    for (size_t i = 0; i < IM_SLOTS_MAX; i++)
        put_render(c, out,
                   &(struct process){
                       .slot = &c->slot[i], .role = IM_ROLE_AUGMENTER, .pid = (uint64_t)c->slot[i].pid});
    fputs("\n]}\n", out);
}
