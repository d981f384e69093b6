/* `imsuper doctor`: what of this machine would hold up a run, each with the command that fixes it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "ipc/base/sysinfo.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/doctor.h"
#include "supervisor/cli/program.h"

enum { TIMEOUT_MS = 10000, WIDTH = 80, INDENT = 24 };

static const char *const grades[] = {"OK", "SKIP", "WARN", "FAIL"};

static int count_of(const struct sv_checks *checks, enum sv_grade grade)
{
    int count = 0;

    for (int i = 0; i < checks->count; i++)
        count += checks->check[i].grade == grade;
    return count;
}

static int doctor_print_json(const struct sv_checks *checks)
{
    struct im_json *j = im_json_object(), *list = im_json_array();
    int err;

    im_json_set_str(j, "schema", "imsuper.doctor/1");
    im_json_set_str(j, "version", IMSUPER_VERSION);
    im_json_set_str(j, "build", im_build_id());
    im_json_set_int(j, "warnings", count_of(checks, SV_CHECK_WARN));
    im_json_set_int(j, "failures", count_of(checks, SV_CHECK_FAIL));
    for (int i = 0; i < checks->count; i++) {
        const struct sv_check *c = &checks->check[i];
        struct im_json *item = im_json_object();

        im_json_set_str(item, "name", c->name);
        im_json_set_str(item, "grade", grades[c->grade]);
        im_json_set_str(item, "found", c->found.s);
        if (c->fix)
            im_json_set_str(item, "fix", c->fix);
        im_json_append(list, item);
    }
    im_json_set(j, "checks", list);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

/* Prints in lines of WIDTH columns, all but the first indented. */
static void print_wrapped(const char *head, const char *text)
{
    char line[2048];
    const size_t room = WIDTH - INDENT;

    while (*text) {
        size_t n = strlen(text);

        if (n > room) {
            for (n = room; n > 0 && text[n] != ' '; n--)
                ;
            n = n > 0 ? n : strcspn(text, " "); /* a word that is longer */
        }
        snprintf(line, sizeof line, "%-*s%.*s", INDENT, head, (int)n, text);
        im_say(stdout, "%s", line);
        text += n + strspn(text + n, " ");
        head = "";
    }
}

static void doctor_print_text(const struct sv_checks *checks)
{
    for (int i = 0; i < checks->count; i++) {
        const struct sv_check *c = &checks->check[i];
        char head[64];

        snprintf(head, sizeof head, "%-5s %-18s", grades[c->grade], c->name);
        print_wrapped(head, c->found.s);
        if (c->fix)
            print_wrapped("                   fix:", c->fix);
    }
    printf("\n%d OK, %d warnings, %d failures\n", count_of(checks, SV_CHECK_OK),
           count_of(checks, SV_CHECK_WARN), count_of(checks, SV_CHECK_FAIL));
}

int sv_cmd_doctor(struct im_conf *conf)
{
    struct sv_checks *checks = calloc(1, sizeof *checks);
    char path[PATH_MAX], verb[] = "io", answer[4096] = "";
    struct sv_host host;
    int status;

    if (!checks)
        return IM_EXIT_FAILED;
    sv_hold_stop_signals();
    sv_host_look(&host);
    sv_doctor_host(&host, checks);
    sv_program_find("imsuper-reader", path, sizeof path);
    status = sv_program_read((char *[]){path, verb, NULL}, TIMEOUT_MS, answer, sizeof answer);
    sv_doctor_io(&host, status, answer, checks);
    sv_doctor_programs(checks);
    sv_doctor_gpus(checks);
    sv_doctor_room(conf, checks);
    sv_doctor_data(conf, checks);
    if (sv_stop_signal()) {
        free(checks);
        return IM_EXIT_FORCED; /* what was not asked is no failure */
    }
    sv_release_stop_signals();
    if (!conf->json)
        doctor_print_text(checks);
    else if (doctor_print_json(checks) < 0)
        im_say(stderr, "imsuper: cannot write the answer");
    status = count_of(checks, SV_CHECK_FAIL) > 0 ? IM_EXIT_UNAVAILABLE : IM_EXIT_OK;
    free(checks);
    return status;
}
