/* The page of `imsuper data verify -o`: one file, pictures from where they lie, so that a browser shows what it can of
 * a damaged one. Names of files and classes are escaped: they come from strangers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "augment/tools/verify.h"
#include "ipc/base/output.h"

enum { CARDS_MAX = 200 };

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>imsuper data verify</title>\n<style>\n"
    ":root { color-scheme: light dark; --line: #8886; --muted: #777; }\n"
    "body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }\n"
    "h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }\n"
    "td, th { text-align: left; padding: .15rem 1rem .15rem 0; } td.n { text-align: right; }\n"
    ".cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .8rem; }\n"
    "figure { border: 1px solid var(--line); border-radius: .4rem; margin: 0; padding: .5rem; }\n"
    "img { background: #8883; display: block; height: 8rem; object-fit: contain; width: 100%; }\n"
    "figcaption { font-size: .8rem; overflow-wrap: anywhere; } small { color: var(--muted); }\n"
    "</style></head><body>\n";

static void put_escaped(FILE *out, const char *s)
{
    for (; *s; s++) {
        const char c = *s;

        if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'')
            fprintf(out, "&#%d;", c);
        else
            putc((unsigned char)c < ' ' ? '?' : c, out);
    }
}

/* A path as file: URL. */
static void put_url(FILE *out, const char *path)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";

    fputs("file://", out);
    for (; *path; path++)
        if (strchr(plain, *path))
            putc(*path, out);
        else
            fprintf(out, "%%%02X", (unsigned char)*path);
}

static void put_card(FILE *out, const struct au_names *names, const struct au_facts *facts,
                     const struct au_list *list, enum au_finding kind, size_t k)
{
    const struct au_name *name = &names->names[list->items[k]];
    const struct au_fact *f = &facts->facts[list->items[k]];
    const char *slash = strrchr(name->path, '/');

    fputs("<figure><img loading=\"lazy\" alt=\"\" src=\"", out);
    put_url(out, name->path);
    fputs("\"><figcaption title=\"", out);
    put_escaped(out, name->path);
    fputs("\">", out);
    put_escaped(out, slash ? slash + 1 : name->path);
    fprintf(out, "<br><small>%s, ", name->is_val ? "val" : "train");
    put_escaped(out, name->class_name);
    if (kind == AU_BAD)
        fprintf(out, "<br>%s", au_bad_sentence(f));
    if (kind == AU_MISNAMED)
        fprintf(out, "<br>is %s", im_image_type_name((enum im_image_type)f->type));
    if (kind == AU_ROTATED)
        fprintf(out, "<br>EXIF orientation %d", f->orientation);
    if (kind >= AU_DUPLICATE) {
        fputs(kind == AU_NEAR ? "<br>~ " : "<br>= ", out);
        put_escaped(out, names->names[list->like[k]].path);
    }
    fputs("</small></figcaption></figure>\n", out);
}

static void put_page(FILE *out, const struct im_conf *conf, const struct au_names *names,
                     const struct au_facts *facts, const struct au_findings *found)
{
    fputs(head, out);
    fputs("<h1>Images of ", out);
    put_escaped(out, conf->data_dir);
    fprintf(out, "</h1>\n<p>%zu training, %zu validation images in %zu classes.</p>\n<table>\n",
            found->images[0], found->images[1], found->class_count);
    for (int kind = 0; kind < AU_FINDINGS; kind++)
        fprintf(out, "<tr><td class=\"n\">%zu</td><th>%s</th><td>%s</td></tr>\n", found->list[kind].count,
                au_finding_name((enum au_finding)kind), au_finding_sentence((enum au_finding)kind));
    fputs("</table>\n", out);
    for (int kind = 0; kind < AU_FINDINGS; kind++) {
        const struct au_list *list = &found->list[kind];

        if (list->count == 0)
            continue;
        fprintf(out, "<h2>%s (%zu)</h2>\n<div class=\"cards\">\n", au_finding_name((enum au_finding)kind),
                list->count);
        for (size_t k = 0; k < list->count && k < CARDS_MAX; k++)
            put_card(out, names, facts, list, (enum au_finding)kind, k);
        fputs("</div>\n", out);
        if (list->count > CARDS_MAX)
            fprintf(out, "<p>The first %d of %zu; --json lists all.</p>\n", CARDS_MAX, list->count);
    }
    fputs("</body></html>\n", out);
}

int au_findings_write_html(const struct im_conf *conf, const struct au_names *names,
                           const struct au_facts *facts, const struct au_findings *findings, const char *path,
                           struct im_text *text)
{
    char *page = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&page, &n);
    int err;

    if (!out)
        return -ENOMEM;
    put_page(out, conf, names, facts, findings);
    err = fclose(out) == 0 ? im_output_write(path, page, n, text) : -ENOMEM;
    free(page);
    return err;
}
