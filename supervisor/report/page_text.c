#include "supervisor/report/page_text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/printable.h"

static const char style[] =
    ":root{color-scheme:light dark;--page:#fff;--text:#1c2024;--dim:#5c6670;--line:#dde2e6;--panel:#f6f8f9;"
    "--c0:#1f77b4;--c1:#e06c00;--c2:#238b23;--c3:#d03030;--c4:#8456b8;--c8:#737373}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#14171a;--text:#e4e8eb;--dim:#98a2ab;--line:#343b42;"
    "--panel:#1d2226;--c0:#5fb0ea;--c1:#ff9a3d;--c2:#5ecb5e;--c3:#ff7272;--c4:#bd96ea;--c8:#a0a0a0}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:1120px;padding:20px 16px 48px;background:var(--page);color:var(--text);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:24px;margin:0;overflow-wrap:anywhere}h2{font-size:17px;margin:32px 0 8px}"
    "h3{font-size:14px;margin:0 0 4px}p{margin:4px 0}.dim{color:var(--dim)}\n"
    ".facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:16px 0}\n"
    ".fact{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:8px 12px}"
    ".fact b{display:block;font-size:20px}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:12px}\n"
    ".chart{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:10px}"
    "svg{display:block;width:100%;height:auto}\n"
    ".key{font-size:12px;color:var(--dim);margin:0}.key span{white-space:nowrap;margin-right:12px}"
    ".key i{display:inline-block;width:16px;height:3px;margin-right:5px;vertical-align:middle}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}\n"
    "th,td{text-align:right;padding:3px 10px;border-bottom:1px solid var(--line);white-space:nowrap}\n"
    "th{color:var(--dim);font-weight:600}.pairs th,.pairs td{text-align:left;white-space:normal;"
    "overflow-wrap:anywhere;vertical-align:top}tr.best td{font-weight:700}\n"
    "pre{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:10px 12px;"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}pre span{white-space:nowrap}\n"
    ".grid{stroke:var(--line);fill:none}.tick{fill:var(--dim);font-size:12px}.line{fill:none;stroke-width:2;"
    "stroke-linejoin:round}.faint{opacity:.35;stroke-width:1}.dashed{stroke-dasharray:5 4}\n"
    ".line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}.line.c3{stroke:var(--c3)}"
    ".line.c4{stroke:var(--c4)}.dot.c0{fill:var(--c0)}.dot.c1{fill:var(--c1)}.dot.c2{fill:var(--c2)}"
    ".dot.c3{fill:var(--c3)}.dot.c4{fill:var(--c4)}\n"
    ".pairs th{overflow-wrap:normal}pre+h3,table+h3{margin-top:14px}"
    ".events th,.events td:nth-child(2){white-space:nowrap;overflow-wrap:normal}\n"
    "@media(max-width:560px){.tick{font-size:19px}.events tr,.events th,.events td{display:block;border:0;"
    "padding:1px 0}.events tr{border-bottom:1px solid var(--line);padding:4px 0}}\n"
    ".b0{background:var(--c0)}.b1{background:var(--c1)}.b2{background:var(--c2)}.b3{background:var(--c3)}"
    ".b4{background:var(--c4)}\n";

void sv_page_begin(FILE *f, const char *title)
{
    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
          "'unsafe-inline'\">\n<title>",
          f);
    sv_page_put(f, title);
    fprintf(f, "</title>\n<style>\n%s</style></head>\n<body>\n", style);
}

void sv_page_put(FILE *f, const char *s)
{
    while (*s) {
        char escape[IM_ESCAPE_BYTES];
        const size_t n = im_printable_length(s);

        switch (*s) {
        case '&':
            fputs("&amp;", f);
            break;
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        case '\'':
            fputs("&#39;", f);
            break;
        default:
            if (n > 0) {
                fwrite(s, 1, n, f);
            } else {
                const size_t taken = im_printable_escape(s, escape);

                fputs(escape, f);
                s += taken - 1;
            }
        }
        s += n > 0 ? n : 1;
    }
}

void sv_page_row(FILE *f, const char *name, const char *format, ...)
{
    char value[4096];
    va_list args;

    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    fputs("<tr><th>", f);
    sv_page_put(f, name);
    fputs("</th><td>", f);
    sv_page_put(f, value);
    fputs("</td></tr>\n", f);
}

/* In quotes where a shell would see more than a word. */
static void put_word(FILE *f, const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+=";
    const bool quoted = !*s || s[strspn(s, plain)];

    if (!quoted) {
        sv_page_put(f, s);
        return;
    }
    sv_page_put(f, "'");
    for (; *s; s++) {
        char one[2] = {*s, 0};

        if (*s == '\'')
            sv_page_put(f, "'\\''");
        else if ((*s & 0x80) != 0)
            fputc(*s, f); /* of a letter of several bytes: sv_options_load() has left whole ones only */
        else
            sv_page_put(f, one);
    }
    sv_page_put(f, "'");
}

/* What a person chose, not what follows from it or from the machine. */
static bool was_chosen(const struct sv_option *o)
{
    static const char *const sources[] = {"default", "set", "chosen", "frozen"};

    for (size_t i = 0; i < IM_COUNT(sources); i++)
        if (strncmp(o->source, sources[i], strlen(sources[i])) == 0)
            return false;
    return sv_option_matters(o->name);
}

void sv_page_command(FILE *f, const struct sv_options *options)
{
    fputs("<pre>imsuper start", f);
    for (size_t i = 0; i < options->count; i++) {
        const struct sv_option *o = &options->option[i];

        if (!was_chosen(o))
            continue;
        fputs(" <span>--", f); /* a narrow page would break a line between the two hyphens */
        if (strcmp(o->value, "false") == 0)
            fputs("no-", f);
        sv_page_put(f, o->name);
        fputs("</span>", f);
        if (strcmp(o->value, "true") == 0 || strcmp(o->value, "false") == 0)
            continue;
        fputc(' ', f);
        put_word(f, o->value);
    }
    fputs("</pre>\n", f);
}
