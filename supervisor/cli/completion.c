/* Completion for bash, zsh and fish: verbs, their flags, and the flags' values. */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "supervisor/cli/documents.h"

/* What may stand behind a flag, or as a word without dashes. */
struct values {
    char words[1024]; /* with blanks between */
    bool files, folders, runs, recipes;
    bool weights; /* files of weights, and folders, where they may lie */
    bool images;  /* as the second word and those behind it: any file */
};

static void add_word(struct values *v, const char *word, size_t n)
{
    const size_t used = strlen(v->words);

    snprintf(v->words + used, sizeof v->words - used, "%s%.*s", used ? " " : "", (int)n, word);
}

/* "auto|off|DIR": words that are typed as they are in small letters, what they stand for in capitals. */
static void add_metavar(struct values *v, const char *s)
{
    while (*s) {
        const size_t n = strcspn(s, "|");

        if (n >= 3 && strncmp(s, "DIR", 3) == 0)
            v->folders = true;
        else if (n >= 4 &&
                 (strncmp(s, "FILE", 4) == 0 || strncmp(s, "[FILE", 5) == 0 || strncmp(s, "PATH", 4) == 0))
            v->files = true;
        else if (islower((unsigned char)*s) && strspn(s, "abcdefghijklmnopqrstuvwxyz-") >= n)
            add_word(v, s, n);
        s += n + (s[n] == '|');
    }
}

static void find_values(const struct im_json *option, struct values *v)
{
    const char *name = im_json_str_or(option, "name", ""), *word;
    const struct im_json *choices = im_json_get(option, "choices");

    *v = (struct values){
        .words = "", .runs = strcmp(name, "run-name") == 0, .recipes = strcmp(name, "recipe") == 0};
    for (size_t i = 0; i < im_json_count(choices); i++)
        if (im_json_as_str(im_json_at(choices, i), &word) == 0)
            add_word(v, word, strlen(word));
    if (!choices)
        add_metavar(v, im_json_str_or(option, "metavar", ""));
}

/* The words without dashes of a verb. */
static void find_operands(const struct sv_verb *verb, struct values *v)
{
    const char *operands[2] = {im_json_str_or(verb->facts, "operand", ""),
                               im_json_str_or(verb->facts, "second", "")};
    const char *usual = im_json_str_or(verb->facts, "usual", "");

    *v = (struct values){.words = ""};
    for (size_t i = 0; i < 2; i++) {
        if (strncmp(operands[i], "run", 3) == 0 || strncmp(operands[i], "weights", 7) == 0)
            v->runs = true;
        if (strncmp(operands[i], "weights", 7) == 0)
            v->weights = true;
        if (strcmp(operands[i], "stage") == 0)
            add_word(v, "reader augmenter trainer", 24);
        if (strcmp(operands[i], "counts") == 0)
            add_word(v, "augmenters= readers=", 20);
    }
    if (strcmp(verb->line->name, "recipes") == 0)
        v->recipes = true;
    if (strncmp(usual, "WEIGHTS|RUN ", 12) == 0) /* predict, which takes its words itself */
        v->runs = v->weights = v->images = true;
    if (strncmp(usual, "SRC", 3) == 0)
        v->folders = true;
}

static bool has_values(const struct values *v)
{
    return *v->words || v->files || v->folders || v->runs || v->recipes || v->weights;
}

/* For each option of each verb, the first time its name comes. */
typedef void option_fn(FILE *out, const struct im_json *option);

static const struct im_json *options_of(const struct sv_verb *verb)
{
    return im_json_get(verb->facts, "options");
}

static bool has_option(const struct sv_verb *verb, const char *name)
{
    const struct im_json *options = options_of(verb);

    for (size_t i = 0; i < im_json_count(options); i++)
        if (strcmp(im_json_str_or(im_json_at(options, i), "name", ""), name) == 0)
            return true;
    return false;
}

static void each_option_once(FILE *out, const struct sv_verb *verbs, size_t count, option_fn *put)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < im_json_count(options_of(&verbs[i])); k++) {
            const struct im_json *option = im_json_at(options_of(&verbs[i]), k);
            bool seen = false;

            for (size_t before = 0; before < i && !seen; before++)
                seen = has_option(&verbs[before], im_json_str_or(option, "name", ""));
            if (!seen)
                put(out, option);
        }
}

/* The verbs of one word, and the first words of the others; or the second words behind `first`. */
static void put_verb_words(FILE *out, const struct sv_verb *verbs, size_t count, const char *first)
{
    const size_t n = strlen(first);
    size_t length = 0;
    const char *last = "";

    for (size_t i = 0; i < count; i++) {
        const char *name = verbs[i].line->name;

        if (n && strncmp(name, first, n) == 0 && name[n] == ' ')
            fprintf(out, " %s", name + n + 1);
        if (n)
            continue;
        if (strncmp(name, last, length) != 0 || name[length] != ' ' || !length) {
            bool seen = false;

            length = strcspn(name, " ");
            last = name;
            for (size_t k = 0; k < i; k++)
                seen |= strncmp(verbs[k].line->name, name, length) == 0 && verbs[k].line->name[length] == ' ';
            if (!seen)
                fprintf(out, " %.*s", (int)length, name);
        }
    }
    if (!n)
        fputs(" version help", out);
}

/* --- bash --------------------------------------------------------------------------------------------------- */

static void bash_values(FILE *out, const struct values *v)
{
    if (v->recipes)
        fputs(" _imsuper_words \"$(imsuper recipes 2>/dev/null | cut -d ' ' -f 1)\";", out);
    if (*v->words)
        fprintf(out, " _imsuper_words \"%s\";", v->words);
    if (v->images)
        fputs(" if [ \"$COMP_CWORD\" -gt 2 ]; then _imsuper_paths -f; return; fi;", out);
    if (v->runs)
        fputs(" _imsuper_runs;", out);
    if (v->weights)
        fputs(" _imsuper_weights;", out);
    if (v->files)
        fputs(" _imsuper_paths -f;", out);
    if (v->folders)
        fputs(" _imsuper_paths -d;", out);
    fputs(has_values(v) ? " ;;\n" : " : ;;\n", out);
}

static void bash_option(FILE *out, const struct im_json *option)
{
    struct values v;

    if (im_json_bool_or(option, "is_bool", false))
        return;
    find_values(option, &v);
    fprintf(out, "  --%s)", im_json_str_or(option, "name", ""));
    bash_values(out, &v);
}

static void bash_letters(FILE *out, const struct sv_verb *verb)
{
    for (size_t i = 0; i < im_json_count(options_of(verb)); i++) {
        const struct im_json *option = im_json_at(options_of(verb), i);
        const char *letter = im_json_str_or(option, "letter", "");

        if (*letter && !im_json_bool_or(option, "is_bool", false))
            fprintf(out, "  \"%s -%s\") echo --%s ;;\n", verb->line->name, letter,
                    im_json_str_or(option, "name", ""));
    }
}

static void bash_flags(FILE *out, const struct sv_verb *verb)
{
    fprintf(out, "  \"%s\") echo \"--help", verb->line->name);
    for (size_t i = 0; i < im_json_count(options_of(verb)); i++) {
        const struct im_json *option = im_json_at(options_of(verb), i);
        const char *letter = im_json_str_or(option, "letter", ""), *name = im_json_str_or(option, "name", "");

        if (*letter)
            fprintf(out, " -%s", letter);
        fprintf(out, " --%s", name);
        if (im_json_bool_or(option, "is_bool", false))
            fprintf(out, " --no-%s", name);
    }
    fputs("\" ;;\n", out);
}

static const char bash_begin[] =
    "# bash completion for imsuper -*- shell-script -*-\n"
    "# Made by `imsuper documents` from the program's tables.\n\n"
    "_imsuper_words() { COMPREPLY+=($(compgen -W \"$1\" -- \"$cur\")); }\n"
    "_imsuper_paths() {\n"
    "  local path\n"
    "  compopt -o filenames 2>/dev/null || :\n"
    "  while IFS= read -r path; do COMPREPLY+=(\"$path\"); done < <(compgen \"$1\" -- \"$cur\")\n"
    "}\n"
    "_imsuper_weights() {\n"
    "  local path type\n"
    "  compopt -o filenames 2>/dev/null || :\n"
    "  _imsuper_paths -d\n"
    "  for type in safetensors pt pth onnx; do\n"
    "    while IFS= read -r path; do COMPREPLY+=(\"$path\"); done < <(compgen -f -X \"!*.$type\" -- "
    "\"$cur\")\n"
    "  done\n"
    "}\n"
    "# The runs of the workspace that the line or the environment names.\n"
    "_imsuper_runs() {\n"
    "  local i workspace=${IMSUPER_WORKSPACE:-runs} run\n"
    "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "    if [ \"${COMP_WORDS[i]}\" = --workspace ]; then\n"
    "      workspace=${COMP_WORDS[i + 1]}\n"
    "      if [ \"$workspace\" = = ]; then workspace=${COMP_WORDS[i + 2]}; fi\n"
    "    fi\n"
    "  done\n"
    "  for run in \"$workspace\"/*/; do\n"
    "    run=${run%/} && run=${run##*/}\n"
    "    case $run in \"$cur\"*) if [ \"$run\" != '*' ]; then COMPREPLY+=(\"$run\"); fi ;; esac\n"
    "  done\n"
    "}\n";

static const char bash_end[] =
    "_imsuper() {\n"
    "  local cur=${COMP_WORDS[COMP_CWORD]} flag=\"\" verb=${COMP_WORDS[1]:-} first=2\n"
    "  COMPREPLY=()\n"
    "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
    "    case $cur in -*) _imsuper_words \"--help --version -V\" ;; *) _imsuper_words \"$(_imsuper_verbs)\" "
    ";; esac\n"
    "    return\n"
    "  fi\n"
    "  if [ \"$verb\" = help ]; then\n"
    "    if [ \"$COMP_CWORD\" -eq 2 ]; then _imsuper_words \"$(_imsuper_verbs)\"; fi\n"
    "    if [ \"$COMP_CWORD\" -eq 3 ]; then _imsuper_words \"$(_imsuper_verbs \"${COMP_WORDS[2]}\")\"; fi\n"
    "    return\n"
    "  fi\n"
    "  if [ -n \"$(_imsuper_verbs \"$verb\")\" ]; then\n"
    "    if [ \"$COMP_CWORD\" -eq 2 ]; then _imsuper_words \"$(_imsuper_verbs \"$verb\")\" && return; fi\n"
    "    verb=\"$verb ${COMP_WORDS[2]}\" first=3\n"
    "  fi\n"
    "  if [ \"$COMP_CWORD\" -gt \"$first\" ]; then flag=${COMP_WORDS[COMP_CWORD - 1]}; fi\n"
    "  if [ \"$cur\" = = ]; then cur=\"\"; elif [ \"$flag\" = = ]; then flag=${COMP_WORDS[COMP_CWORD - 2]}; "
    "fi\n"
    "  case $flag in -[a-z]) flag=$(_imsuper_letter \"$verb $flag\") ;; esac\n"
    "  case \" $(_imsuper_flags \"$verb\") \" in\n"
    "  *\" ${flag:- } \"*) if _imsuper_values \"$flag\"; then return; fi ;;\n"
    "  esac\n"
    "  case $cur in -*) _imsuper_words \"$(_imsuper_flags \"$verb\")\" ;; *) _imsuper_operands \"$verb\" ;; "
    "esac\n"
    "}\n"
    "complete -F _imsuper imsuper\n";

/* Second words of the verbs `data index`, ...: a case for each first word. */
static void bash_second_words(FILE *out, const struct sv_verb *verbs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *name = verbs[i].line->name;
        const size_t n = strcspn(name, " ");
        bool seen = name[n] != ' ';
        char first[32];

        for (size_t k = 0; k < i && !seen; k++)
            seen = strncmp(verbs[k].line->name, name, n + 1) == 0;
        if (seen)
            continue;
        snprintf(first, sizeof first, "%.*s", (int)n, name);
        fprintf(out, "  %s) echo \"", first);
        put_verb_words(out, verbs, count, first);
        fputs("\" ;;\n", out);
    }
}

void sv_complete_bash(FILE *out, const struct sv_verb *verbs, size_t count)
{
    fputs(bash_begin, out);
    fputs("# The verbs, or their second words.\n_imsuper_verbs() {\n  case ${1:-} in\n  \"\") echo \"", out);
    put_verb_words(out, verbs, count, "");
    fputs("\" ;;\n", out);
    bash_second_words(out, verbs, count);
    fputs("  esac\n}\n_imsuper_flags() {\n  case $1 in\n", out);
    for (size_t i = 0; i < count; i++)
        bash_flags(out, &verbs[i]);
    fputs("  esac\n}\n# VERB -x: the flag that the letter stands for.\n_imsuper_letter() {\n  case $1 in\n",
          out);
    for (size_t i = 0; i < count; i++)
        bash_letters(out, &verbs[i]);
    fputs("  esac\n}\n# False: the flag takes no value.\n_imsuper_values() {\n  case $1 in\n", out);
    each_option_once(out, verbs, count, bash_option);
    fputs("  *) return 1 ;;\n  esac\n}\n_imsuper_operands() {\n  case $1 in\n", out);
    for (size_t i = 0; i < count; i++) {
        struct values v;

        find_operands(&verbs[i], &v);
        if (!has_values(&v))
            continue;
        fprintf(out, "  \"%s\")", verbs[i].line->name);
        bash_values(out, &v);
    }
    fputs("  esac\n}\n", out);
    fputs(bash_end, out);
}

/* --- zsh ---------------------------------------------------------------------------------------------------- */

/* Inside '...' of zsh, where [ ] : mean something to _arguments and _describe. */
static void zsh_text(FILE *out, const char *s)
{
    for (; *s; s++)
        if (*s == '\'')
            fputs("'\\''", out);
        else if (strchr("[]:\\", *s))
            fprintf(out, "\\%c", *s);
        else
            fputc(*s == '\n' ? ' ' : *s, out);
}

static void zsh_values(FILE *out, const struct values *v)
{
    if (!has_values(v)) {
        fputc(' ', out);
        return;
    }
    fputs("{", out);
    if (*v->words)
        fprintf(out, "compadd -- %s; ", v->words);
    if (v->recipes)
        fputs("_imsuper_recipes; ", out);
    if (v->runs)
        fputs("_imsuper_runs; ", out);
    if (v->weights)
        fputs("_files -g \"*.(safetensors|pt|pth|onnx)\"; ", out);
    if (v->files)
        fputs("_files; ", out);
    if (v->folders)
        fputs("_files -/; ", out);
    fputs("}", out);
}

static void zsh_option(FILE *out, const struct im_json *option)
{
    const char *letter = im_json_str_or(option, "letter", ""), *name = im_json_str_or(option, "name", "");
    const bool is_bool = im_json_bool_or(option, "is_bool", false);
    struct values v;

    find_values(option, &v);
    for (int form = 0; form < 3; form++) {
        if ((form == 1 && !*letter) || (form == 2 && !is_bool))
            continue;
        if (form == 1)
            fprintf(out, "      '-%s", letter);
        else
            fprintf(out, "      '--%s%s%s", form == 2 ? "no-" : "", name, is_bool ? "" : "=");
        fputc('[', out);
        zsh_text(out, im_json_str_or(option, "help", ""));
        fputc(']', out);
        if (!is_bool) {
            fputc(':', out);
            zsh_text(out, im_json_str_or(option, "metavar", "VALUE"));
            fputc(':', out);
            zsh_values(out, &v);
        }
        fputs("' \\\n", out);
    }
}

static void zsh_verb(FILE *out, const struct sv_verb *verb)
{
    struct values v;

    find_operands(verb, &v);
    fprintf(out, "  '%s')\n    _arguments \\\n", verb->line->name);
    for (size_t i = 0; i < im_json_count(options_of(verb)); i++)
        zsh_option(out, im_json_at(options_of(verb), i));
    if (has_values(&v)) {
        fprintf(out, "      '%s:word:", v.images ? "1" : "*");
        zsh_values(out, &v);
        fputs("' \\\n", out);
        if (v.images)
            fputs("      '*:image:_files' \\\n", out);
    }
    fputs("      '--help[show the flags]'\n    ;;\n", out);
}

void sv_complete_zsh(FILE *out, const struct sv_verb *verbs, size_t count)
{
    fputs("#compdef imsuper\n# Made by `imsuper documents` from the program's tables.\n\n"
          "_imsuper_runs() { local -a runs; runs=(${IMSUPER_WORKSPACE:-runs}/*(/N:t)); compadd -a runs }\n"
          "_imsuper_recipes() { local -a names; names=(${${(f)\"$(imsuper recipes 2>/dev/null)\"}%% *}); "
          "compadd -a names }\n\n"
          "_imsuper() {\n  local verb=$words[2]\n  local -a verbs\n  if (( CURRENT == 2 )); then\n    "
          "verbs=(\n",
          out);
    for (size_t i = 0; i < count; i++) {
        const char *name = verbs[i].line->name;

        if (strchr(name, ' '))
            continue;
        fprintf(out, "      '%s:", name);
        zsh_text(out, verbs[i].line->what);
        fputs("'\n", out);
    }
    fputs("      'data:data sets' 'bench:measure stages' 'profile:where time goes' 'version:version and "
          "build' 'help:a verb')\n"
          "    _describe verb verbs\n    return\n  fi\n  case $verb in\n  data|bench|profile)\n"
          "    if (( CURRENT == 3 )); then\n      case $verb in\n",
          out);
    for (size_t i = 0; i < count; i++) {
        const char *space = strchr(verbs[i].line->name, ' ');

        if (!space)
            continue;
        fprintf(out, "      %.*s) verbs+=('%s:", (int)(space - verbs[i].line->name), verbs[i].line->name,
                space + 1);
        zsh_text(out, verbs[i].line->what);
        fputs("') ;|\n", out);
    }
    fputs("      esac\n      _describe verb verbs\n      return\n    fi\n"
          "    verb=\"$verb $words[3]\"\n    shift words\n    (( CURRENT-- ))\n    ;;\n  esac\n"
          "  shift words\n  (( CURRENT-- ))\n  case $verb in\n",
          out);
    for (size_t i = 0; i < count; i++)
        zsh_verb(out, &verbs[i]);
    fputs("  esac\n}\n\n_imsuper \"$@\"\n", out);
}

/* --- fish --------------------------------------------------------------------------------------------------- */

static void fish_text(FILE *out, const char *s)
{
    fputc('\'', out);
    for (; *s; s++)
        if (*s == '\'' || *s == '\\')
            fprintf(out, "\\%c", *s);
        else
            fputc(*s == '\n' ? ' ' : *s, out);
    fputc('\'', out);
}

static void fish_values(FILE *out, const struct values *v)
{
    if (*v->words || v->runs || v->recipes || v->folders)
        fprintf(out, " -a '%s%s%s%s'", v->words, v->runs ? " (__imsuper_runs)" : "",
                v->recipes ? " (__imsuper_recipes)" : "", v->folders ? " (__fish_complete_directories)" : "");
    fputs(v->files || v->weights ? " -F" : " -f", out);
}

static void fish_option(FILE *out, const char *verb, const struct im_json *option)
{
    const char *letter = im_json_str_or(option, "letter", ""), *name = im_json_str_or(option, "name", "");
    const bool is_bool = im_json_bool_or(option, "is_bool", false);
    struct values v;

    find_values(option, &v);
    for (int form = 0; form < (is_bool ? 2 : 1); form++) {
        fprintf(out, "complete -c imsuper -n '__imsuper_is %s' -l %s%s", verb, form ? "no-" : "", name);
        if (*letter && !form)
            fprintf(out, " -s %s", letter);
        if (!is_bool) {
            fputs(" -r", out);
            fish_values(out, &v);
        }
        fputs(" -d ", out);
        fish_text(out, im_json_str_or(option, "help", ""));
        fputc('\n', out);
    }
}

void sv_complete_fish(FILE *out, const struct sv_verb *verbs, size_t count)
{
    fputs(
        "# Made by `imsuper documents` from the program's tables.\n"
        "function __imsuper_is\n    set -l words (commandline -opc)\n    set -l n (math (count $argv) + 1)\n"
        "    test (count $words) -ge $n; and test \"$words[2..$n]\" = \"$argv\"\nend\n"
        "function __imsuper_at\n    test (count (commandline -opc)) -eq $argv[1]\nend\n"
        "function __imsuper_runs\n    set -l workspace runs\n"
        "    set -q IMSUPER_WORKSPACE; and set workspace $IMSUPER_WORKSPACE\n"
        "    for run in $workspace/*/; string replace -r '.*/([^/]+)/$' '$1' $run; end\nend\n"
        "function __imsuper_recipes\n    imsuper recipes 2>/dev/null | string replace -r ' .*' ''\nend\n"
        "complete -c imsuper -f\n",
        out);
    for (size_t i = 0; i < count; i++) {
        const char *name = verbs[i].line->name, *space = strchr(name, ' ');
        struct values v;

        if (space)
            fprintf(out, "complete -c imsuper -n '__imsuper_at 2; and __imsuper_is %.*s' -a %s -d ",
                    (int)(space - name), name, space + 1);
        else
            fprintf(out, "complete -c imsuper -n '__imsuper_at 1' -a %s -d ", name);
        fish_text(out, verbs[i].line->what);
        fputc('\n', out);
        find_operands(&verbs[i], &v);
        if (has_values(&v)) {
            fprintf(out, "complete -c imsuper -n '__imsuper_is %s'", name);
            fish_values(out, &v);
            fputc('\n', out);
        }
        for (size_t k = 0; k < im_json_count(options_of(&verbs[i])); k++)
            fish_option(out, name, im_json_at(options_of(&verbs[i]), k));
    }
    fputs("complete -c imsuper -n '__imsuper_at 1' -a 'data bench profile version help'\n"
          "complete -c imsuper -l help -d 'show the flags'\n",
          out);
}
