/* Man pages in roff's man macros, plain enough for groff and mandoc. */
#include <stdbool.h>
#include <string.h>

#include "ipc/base/count.h"
#include "supervisor/cli/documents.h"
#include "supervisor/cli/examples.h"

/* Text as it is: no control line, no escape, hyphens that can be copied. */
static void put_text(FILE *out, const char *s)
{
    bool begins = true;

    for (; *s; s++) {
        if (begins && (*s == '.' || *s == '\''))
            fputs("\\&", out);
        begins = *s == '\n';
        switch (*s) {
        case '\\':
            fputs("\\e", out);
            break;
        case '-':
            fputs("\\-", out);
            break;
        case '~':
            fputs("\\(ti", out);
            break;
        case '^':
            fputs("\\(ha", out);
            break;
        case '`':
            fputs("\\(ga", out);
            break;
        case '\'':
            fputs("\\(aq", out);
            break;
        case '|':
            fputs("|\\:", out); /* a line may be broken here */
            break;
        default:
            fputc(*s, out);
        }
    }
}

static void put_line(FILE *out, const char *macro, const char *text)
{
    fputs(macro, out);
    put_text(out, text);
    fputc('\n', out);
}

/* "imsuper data index" -> "imsuper-data-index" */
static void put_page_name(FILE *out, const char *verb)
{
    fputs("imsuper\\-", out);
    for (; *verb; verb++)
        if (*verb == ' ' || *verb == '-')
            fputs("\\-", out);
        else
            fputc(*verb, out);
}

static void put_title(FILE *out, const char *name)
{
    fputs(".\\\" Made by `imsuper documents` from the program's tables.\n.TH IMSUPER", out);
    if (*name)
        fputc('-', out);
    for (; *name; name++)
        fputc(*name == ' ' ? '-' : *name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name, out);
    fputs(" 1 \"\" \"imsuper " IMSUPER_VERSION "\" \"User Commands\"\n.nh\n.ad l\n", out);
}

static void put_exits(FILE *out)
{
    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; i < sv_exit_count; i++) {
        fprintf(out, ".TP\n.B %d\n", sv_exits[i].status);
        put_line(out, "", sv_exits[i].what);
    }
}

static void put_option(FILE *out, const struct im_json *option)
{
    const char *letter = im_json_str_or(option, "letter", ""),
               *metavar = im_json_str_or(option, "metavar", "");

    fputs(".TP\n", out);
    if (*letter)
        fprintf(out, "\\fB\\-%s\\fR, ", letter);
    fputs(im_json_bool_or(option, "is_bool", false) ? "\\fB\\-\\-\\fR[\\fBno\\-\\fR]\\fB" : "\\fB\\-\\-",
          out);
    put_text(out, im_json_str_or(option, "name", ""));
    fputs("\\fR", out);
    if (*metavar) {
        fputs(" \\fI", out);
        put_text(out, metavar);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    put_line(out, "", im_json_str_or(option, "help", ""));
}

static void put_options(FILE *out, const struct im_json *options)
{
    const char *group = "";

    fputs(".SH OPTIONS\n", out);
    for (size_t i = 0; i < im_json_count(options); i++) {
        const struct im_json *option = im_json_at(options, i);
        const char *its = im_json_str_or(option, "group", "");

        if (strcmp(its, group) != 0)
            put_line(out, ".SS ", its);
        group = its;
        put_option(out, option);
    }
}

static void put_examples(FILE *out, const char *verb)
{
    bool first = true;

    for (size_t i = 0; i < sv_example_count; i++) {
        if (strcmp(sv_examples[i].verb, verb) != 0)
            continue;
        if (first)
            fputs(".SH EXAMPLES\n", out);
        first = false;
        put_line(out, ".TP\n.B ", sv_examples[i].line);
        put_line(out, "", sv_examples[i].what);
    }
}

/* What lies in a run's folder, for the verbs that write or read it. */
static const char *const run_files[][2] = {
    {"config.yaml", "the options; imsuper start --config takes it"},
    {"checkpoints/best.safetensors",
     "weights of the best epoch; last.safetensors: of the last. Names as torchvision's"},
    {"checkpoints/last.state.safetensors", "optimizer and position, from which the run continues"},
    {"summary.csv", "a line for each epoch"},
    {"metrics.jsonl", "a line of JSON for each report: loss, rate, images/s"},
    {"events.jsonl", "what happened: starts, deaths, checkpoints, images left out"},
    {"log.txt", "what the processes logged"},
    {"classes.txt", "the names of the classes, in the order of the network's outputs"},
    {"stages.jsonl", "now and then, what readers, augmenters and trainers did in the last seconds"},
    {"training_log.md", "the table of epochs; training_log.json: the same as a list"},
    {"DONE", "all epochs are done; best results"},
    {"config.1.yaml", "options before a start that changed them; config.2.yaml: before the next such start"},
    {"checkpoints/last.prev.state.safetensors",
     "the state before the last one, for when that cannot be read"},
    {"report.html", "the run on one page; loss.png, accuracy.png and others beside it"},
    {"tensorboard/", "for tensorboard --logdir"},
};

static void put_run_files(FILE *out)
{
    put_line(out, ".SH FILES\n", "In the run's folder, runs/NAME unless --workspace says otherwise:");
    for (size_t i = 0; i < IM_COUNT(run_files); i++) {
        put_line(out, ".TP\n.I ", run_files[i][0]);
        put_line(out, "", run_files[i][1]);
    }
}

void sv_man_verb(FILE *out, const struct sv_verb *verb)
{
    const struct im_json *options = im_json_get(verb->facts, "options");

    put_title(out, verb->line->name);
    fputs(".SH NAME\n", out);
    put_page_name(out, verb->line->name);
    put_line(out, " \\- ", verb->line->what);
    fputs(".SH SYNOPSIS\n\\fB", out);
    put_text(out, im_json_str_or(verb->facts, "typed", ""));
    put_line(out, "\\fR ", im_json_str_or(verb->facts, "usual", ""));
    put_line(out, ".SH DESCRIPTION\n", im_json_str_or(verb->facts, "what", ""));
    if (im_json_count(options) > 0) {
        put_options(out, options);
        put_line(
            out, ".SH ENVIRONMENT\n",
            "Each option may also stand in a YAML file (--config) or in a variable: IMSUPER_ and its name in "
            "capitals, with _ for -. Flags override the environment, the environment the file.");
    }
    put_examples(out, verb->line->name);
    if (strcmp(verb->line->name, "start") == 0)
        put_run_files(out);
    put_exits(out);
    fputs(".SH SEE ALSO\n.BR imsuper (1)\n", out);
    put_line(out, ".PP\n",
             "The documents: README.md and docs/ in /usr/share/doc/imsuper, where a package installed it.");
}

void sv_man_overview(FILE *out, const struct sv_verb *verbs, size_t count)
{
    const char *group = "";

    put_title(out, "");
    put_line(out, ".SH NAME\nimsuper \\- ", "train image classifiers from folders of images");
    fputs(".SH SYNOPSIS\n\\fBimsuper\\fR \\fIVERB\\fR [\\fIflags\\fR]\n.br\n\\fBimsuper help\\fR "
          "[\\fIVERB\\fR]\n.br\n"
          "\\fBimsuper \\-V\\fR\n.SH DESCRIPTION\nimsuper ",
          out);
    put_text(out, sv_overview_what);
    fputs(".\n.SH VERBS\n", out);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(group, verbs[i].line->group) != 0)
            put_line(out, ".SS ", verbs[i].line->group);
        group = verbs[i].line->group;
        fputs(".TP\n.BR ", out);
        put_page_name(out, verbs[i].line->name);
        put_line(out, " (1)\n", verbs[i].line->what);
    }
    put_line(out, ".SH OPTIONS\n.TP\n.B \\-V\\fR, \\fB\\-\\-version\n", "print the version and the build");
    put_line(out, ".TP\n.B \\-h\\fR, \\fB\\-\\-help\n", "list the verbs; behind a verb, show its flags");
    put_line(out, ".SH ENVIRONMENT\n",
             "Each option of a verb may also stand in a variable: IMSUPER_ and its name in capitals, with _ "
             "for -, "
             "such as IMSUPER_BATCH_SIZE. NO_COLOR switches colours off.");
    fputs(".SH FILES\n", out);
    put_line(out, ".TP\n.I ",
             "runs/NAME\na run: config.yaml, summary.csv, metrics.jsonl, log.txt, checkpoints/, report.html");
    put_line(out, ".TP\n.I ", "~/.cache/imsuper\nindexes of data sets");
    put_exits(out);
}
