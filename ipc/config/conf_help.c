/* --help from the option table: groups in the table's order, help wrapped beside the flags.
 *
 * Choices, default and range are written from the table, so they cannot differ from what is accepted. */
#include "ipc/config/conf_table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FLAG_COLUMNS = 30, COLUMNS_MIN = 50, COLUMNS_MAX = 120, COLUMNS_USUAL = 80 };

static int find_columns(FILE *out, int columns)
{
    const char *s = getenv("COLUMNS");
    struct winsize size;
    long found = columns > 0 ? columns : s ? strtol(s, NULL, 10) : 0;

    if (found <= 0 && ioctl(fileno(out), TIOCGWINSZ, &size) == 0)
        found = size.ws_col;
    if (found <= 0)
        found = COLUMNS_USUAL;
    return found < COLUMNS_MIN ? COLUMNS_MIN : found > COLUMNS_MAX ? COLUMNS_MAX : (int)found;
}

/* A line that ends here ends in the output, too. */
static bool is_break(const char *text, const char *newline)
{
    return newline == text || strchr(".:", newline[-1]) != NULL || newline[1] == '\n' || newline[1] == ' ';
}

void im_help_flow(FILE *out, const char *text, int hang, int columns)
{
    int at = 0;
    bool fresh = true;

    columns = find_columns(out, columns);
    for (const char *s = text; *s;) {
        const int n = (int)strcspn(s, " \n");

        if (!fresh && at + 1 + n > columns) {
            fprintf(out, "\n%*s", hang, "");
            at = hang;
        } else if (!fresh) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", n, s);
        at += n;
        s += n;
        fresh = *s == '\n' && is_break(text, s);
        if (fresh)
            fputc('\n', out);
        at = fresh ? 0 : at;
        s += *s != 0;
    }
    fputc('\n', out);
}

/* Whether the commands take the letter for this key: one letter may mean another key to another command. */
static bool means(im_conf_commands commands, const char *letter, const char *name)
{
    const char *fixed;
    int key = im_conf_find_for(commands, letter, &fixed);

    return key >= 0 && strcmp(im_conf_keys[key].name, name) == 0;
}

char im_conf_letter(im_conf_commands commands, const char *name)
{
#define LETTER(theirs, ours, value)                                                                          \
    if (theirs[1] == '\0' && strcmp(ours, name) == 0 && means(commands, theirs, name))                       \
        return theirs[0];
    IM_CONF_ALIASES(LETTER)
    return 0;
}

static void format_flag(const struct im_conf_key *k, im_conf_commands commands, char *s, size_t room)
{
    char letter = im_conf_letter(commands, k->name), name[IM_CONF_NAME_BYTES];
    char before[8] = "    ";

    snprintf(name, sizeof name, "%s", k->name);
    if (letter)
        snprintf(before, sizeof before, "-%c, ", letter);
    /* Both forms are taken; the dot shows that these are a section of the YAML file. */
    if (strncmp(name, "aug-", 4) == 0)
        name[3] = '.';
    if (k->kind == IM_CONF_BOOL)
        snprintf(s, room, "%s--[no-]%s", before, name);
    else
        snprintf(s, room, "%s--%s %s", before, name, k->metavar);
}

void im_conf_limits(const struct im_conf *defaults, int key, char *s, size_t room)
{
    const struct im_conf_key *k = &im_conf_keys[key];
    char value[IM_CONF_TEXT_BYTES], choices[512] = "", range[64] = "";
    size_t used = 0;

    im_conf_value(defaults, (enum im_conf_key_id)key, value);
    for (int i = 0; k->choices && k->choices[i] && used < sizeof choices; i++)
        used += (size_t)snprintf(choices + used, sizeof choices - used, "%s%s", k->choices[i],
                                 k->choices[i + 1] ? "|" : "; ");
    im_assert(used < sizeof choices);
    if (k->kind == IM_CONF_INT)
        snprintf(range, sizeof range, "; %lld to %lld", (long long)k->int_min, (long long)k->int_max);
    if (k->kind == IM_CONF_REAL) {
        snprintf(range, sizeof range, "; %g to %g", k->real_min, k->real_max);
        snprintf(value, sizeof value, "%.4g", strtod(value, NULL));
    }
    if (k->kind != IM_CONF_BOOL && *value)
        snprintf(s, room, " (%sdefault %s%s)", choices, value, range);
}

/* Words of s and choices behind a bar, broken before `columns`, each line from column FLAG_COLUMNS on. */
static void write_wrapped(FILE *out, const char *s, int columns)
{
    int at = FLAG_COLUMNS, gap = 0;

    while (*s) {
        int n = (int)strcspn(s, " |");

        n += s[n] == '|';
        if (at > FLAG_COLUMNS && at + gap + n > columns) {
            fprintf(out, "\n%*s", FLAG_COLUMNS, "");
            at = FLAG_COLUMNS;
            gap = 0;
        }
        fprintf(out, "%*s%.*s", gap, "", n, s);
        at += gap + n;
        s += n;
        gap = *s == ' ';
        s += strspn(s, " ");
    }
    fputc('\n', out);
}

static void write_key(FILE *out, const struct im_conf *defaults, im_conf_commands commands, int key,
                      int columns)
{
    char flag[2 * IM_CONF_NAME_BYTES], help[512];
    int used, written;

    format_flag(&im_conf_keys[key], commands, flag, sizeof flag);
    used = snprintf(help, sizeof help, "%s", im_conf_help_of(commands, key));
    im_assert(used < (int)sizeof help);
    im_conf_limits(defaults, key, help + used, sizeof help - (size_t)used);
    written = fprintf(out, "  %s", flag);
    if (written + 2 > FLAG_COLUMNS) {
        fputc('\n', out);
        written = 0;
    }
    fprintf(out, "%*s", FLAG_COLUMNS - written, "");
    write_wrapped(out, help, columns);
}

void im_conf_help(FILE *out, im_conf_commands commands, int columns)
{
    struct im_conf defaults;
    bool is_first = true;

    im_conf_defaults(&defaults);
    columns = find_columns(out, columns);
    for (int group = 0; group < IM_GROUP_COUNT; group++) {
        bool is_begun = false;

        for (int key = 0; key < IM_KEY_COUNT; key++) {
            if ((int)im_conf_keys[key].group != group || !(im_conf_keys[key].commands & commands))
                continue;
            if (!is_begun)
                fprintf(out, "%s%s:\n", is_first ? "" : "\n", im_conf_groups[group]);
            is_begun = true;
            is_first = false;
            write_key(out, &defaults, commands, key, columns);
        }
    }
}
