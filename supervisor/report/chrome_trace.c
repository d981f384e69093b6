#include "supervisor/report/chrome_trace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/spans.h"

#define SECOND_TRACK 100000000 /* beside the thread of this number's remainder: above all pids */

/* Whose answer it is. */
struct process {
    struct sv_chrome_slot *slot;
    const char *role;
    int64_t pid;
    bool is_reader;
};

static void put_time(FILE *out, const char *key, im_ns ns)
{
    fprintf(out, ",\"%s\":%" PRIu64 ".%03u", key, ns / 1000, (unsigned)(ns % 1000));
}

static void begin_event(struct sv_chrome *c, FILE *out)
{
    fputs(c->events++ ? ",\n{" : "\n{", out);
}

static void name_track(struct sv_chrome *c, FILE *out, const char *what, int64_t pid, int64_t tid,
                       const char *name, int64_t index)
{
    begin_event(c, out);
    fprintf(out,
            "\"ph\":\"M\",\"name\":\"%s\",\"pid\":%" PRId64 ",\"tid\":%" PRId64 ",\"args\":{\"name\":\"%s",
            what, pid, tid, name);
    if (index >= 0)
        fprintf(out, "#%" PRId64, index);
    fputs("\"}}", out);
}

static void put_complete(struct sv_chrome *c, FILE *out, const struct process *p, const char *name,
                         int64_t tid, im_ns begin, im_ns length)
{
    begin_event(c, out);
    fprintf(out, "\"ph\":\"X\",\"name\":\"%s\",\"cat\":\"%s\",\"pid\":%" PRId64 ",\"tid\":%" PRId64, name,
            p->role, p->pid, tid);
    put_time(out, "ts", begin);
    put_time(out, "dur", length);
}

/* Files are read side by side: no track has room for them. */
static void put_read(struct sv_chrome *c, FILE *out, const struct process *p, im_ns begin, im_ns length)
{
    const uint64_t id = c->reads++;

    for (int end = 0; end < 2; end++) {
        begin_event(c, out);
        fprintf(out,
                "\"ph\":\"%s\",\"name\":\"read\",\"cat\":\"read\",\"id\":%" PRIu64 ",\"pid\":%" PRId64
                ",\"tid\":%" PRId64,
                end ? "e" : "b", id, p->pid, p->pid);
        put_time(out, "ts", begin + (end ? length : 0));
        fputc('}', out);
    }
}

static void put_render(struct sv_chrome *c, FILE *out, const struct process *p)
{
    if (p->slot->render.length == 0)
        return;
    put_complete(c, out, p, "render", SECOND_TRACK + p->pid, p->slot->render.begin, p->slot->render.length);
    fprintf(out, ",\"args\":{\"decode_ms\":%.3f,\"resize_ms\":%.3f,\"transform_ms\":%.3f}}",
            p->slot->render.part[IM_H_DECODE], p->slot->render.part[IM_H_RESIZE],
            p->slot->render.part[IM_H_TRANSFORM]);
    p->slot->render.length = 0;
}

static void put_item(struct sv_chrome *c, FILE *out, const struct process *p, enum im_histogram h,
                     im_ns begin, im_ns length)
{
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
        p->slot->render.part[h] = (double)length / 1e6;
        return;
    case IM_H_ITEM:
    case IM_HISTOGRAMS:
        break;
    }
    put_render(c, out, p);
    if (p->is_reader) {
        put_read(c, out, p, begin, length);
        return;
    }
    put_complete(c, out, p, strcmp(p->role, "trainer") == 0 ? "batch" : "image", SECOND_TRACK + p->pid, begin,
                 length);
    fputc('}', out);
}

static void put_span(struct sv_chrome *c, FILE *out, const struct process *p, int64_t kind, im_ns begin,
                     im_ns length)
{
    static const char *const activity[IM_ACTIVITIES] = {"idle", "wait for input", "work", "wait for output",
                                                        "wait for I/O"};

    if (kind < 0 || (uint64_t)kind >= IM_SPAN_KINDS)
        return;
    if (kind >= IM_ACTIVITIES) {
        put_item(c, out, p, (enum im_histogram)(kind - IM_ACTIVITIES), begin, length);
        return;
    }
    put_complete(c, out, p, activity[kind], p->pid, begin, length);
    fputc('}', out);
}

static void put_lost(struct sv_chrome *c, FILE *out, const struct process *p, int64_t lost)
{
    if (lost <= 0)
        return;
    c->lost += (uint64_t)lost;
    begin_event(c, out);
    fprintf(out,
            "\"ph\":\"i\",\"s\":\"p\",\"name\":\"%" PRId64 " events lost before this\",\"pid\":%" PRId64
            ",\"tid\":%" PRId64,
            lost, p->pid, p->pid);
    put_time(out, "ts", c->last_ns);
    fputc('}', out);
}

/* Roles are words of ours; an answer that holds others is of no supervisor. */
static bool is_role(const char *role)
{
    return strcmp(role, "reader") == 0 || strcmp(role, "augmenter") == 0 || strcmp(role, "trainer") == 0;
}

static void add_process(struct sv_chrome *c, const struct im_json *answer, FILE *out)
{
    const struct im_json *spans = im_json_get(answer, "spans");
    const int64_t slot = im_json_int_or(answer, "slot", -1), index = im_json_int_or(answer, "index", 0);
    struct process p = {.role = im_json_str_or(answer, "role", ""), .pid = im_json_int_or(answer, "pid", 0)};

    if (slot < 0 || slot >= IM_SLOTS_MAX || !is_role(p.role))
        return;
    p.is_reader = strcmp(p.role, "reader") == 0;
    p.slot = &c->slot[slot];
    p.slot->answered = true;
    p.slot->next = im_json_int_or(answer, "next", 0);
    if ((size_t)slot >= c->slots)
        c->slots = (size_t)slot + 1;
    if (p.pid > 0 && p.pid != p.slot->pid) {
        name_track(c, out, "process_name", p.pid, p.pid, p.role, index);
        name_track(c, out, "thread_name", p.pid, p.pid, "activity", -1);
        if (!p.is_reader)
            name_track(c, out, "thread_name", p.pid, SECOND_TRACK + p.pid,
                       strcmp(p.role, "trainer") == 0 ? "batches" : "images", -1);
        c->processes++;
        p.slot->pid = p.pid;
    }
    p.pid = p.pid > 0 ? p.pid : p.slot->pid; /* what the dead one left */
    put_lost(c, out, &p, im_json_int_or(answer, "lost", 0));
    for (size_t i = 0; p.pid > 0 && i + 2 < im_json_count(spans); i += 3) {
        int64_t number[3] = {0, 0, -1};

        for (size_t k = 0; k < 3; k++)
            im_json_as_int(im_json_at(spans, i + k), &number[k]);
        if (number[0] >= 0 && number[1] >= 0)
            put_span(c, out, &p, number[2], (im_ns)number[0], (im_ns)number[1]);
    }
}

static void put_counter(struct sv_chrome *c, const struct im_json *answer, FILE *out, const char *key,
                        const char *name)
{
    begin_event(c, out);
    fprintf(out, "\"ph\":\"C\",\"name\":\"%s\",\"pid\":0,\"args\":{\"count\":%" PRId64 "}", name,
            im_json_int_or(answer, key, 0));
    put_time(out, "ts", c->last_ns);
    fputc('}', out);
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

void sv_chrome_add(struct sv_chrome *c, const struct im_json *answer, FILE *out)
{
    const struct im_json *processes = im_json_get(answer, "processes");

    if (strcmp(im_json_str_or(answer, "schema", ""), "imsuper.spans/1") != 0)
        return;
    c->last_ns = (im_ns)im_json_int_or(answer, "now_ns", 0);
    if (c->first_ns == 0)
        c->first_ns = c->last_ns;
    put_counter(c, answer, out, "ready_cells", "encoded cells ready");
    put_counter(c, answer, out, "ready_batches", "batches ready");
    for (size_t i = 0; i < im_json_count(processes); i++)
        add_process(c, im_json_at(processes, i), out);
}

void sv_chrome_end(struct sv_chrome *c, FILE *out)
{
    for (size_t i = 0; i < c->slots; i++)
        if (c->slot[i].render.length > 0)
            put_render(c, out,
                       &(struct process){.slot = &c->slot[i], .role = "augmenter", .pid = c->slot[i].pid});
    fputs("\n]}\n", out);
}
