#include "supervisor/report/screen.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "supervisor/report/fold.h"

#define LIVE_INTERVAL_NS (200 * IM_MS)
#define LINE_BYTES 8192

const char *sv_format_seconds(double seconds, char *buffer, int n)
{
    long s = lround(seconds);

    if (seconds < 0 || !isfinite(seconds))
        snprintf(buffer, (size_t)n, "-");
    else if (s >= 3600)
        snprintf(buffer, (size_t)n, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(buffer, (size_t)n, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(buffer, (size_t)n, "%lds", s);
    return buffer;
}

const char *sv_format_rate(double r, char *buffer, int n)
{
    long whole = lround(r);

    if (r < 100)
        snprintf(buffer, (size_t)n, "%.1f", r);
    else if (whole >= 1000000)
        snprintf(buffer, (size_t)n, "%ld,%03ld,%03ld", whole / 1000000, whole / 1000 % 1000, whole % 1000);
    else if (whole >= 1000)
        snprintf(buffer, (size_t)n, "%ld,%03ld", whole / 1000, whole % 1000);
    else
        snprintf(buffer, (size_t)n, "%ld", whole);
    return buffer;
}

const char *sv_format_bytes(uint64_t bytes, char *buffer, int n)
{
    if (bytes >> 30)
        snprintf(buffer, (size_t)n, "%.2f GiB", (double)bytes / (1 << 30));
    else if (bytes >> 20)
        snprintf(buffer, (size_t)n, "%.1f MiB", (double)bytes / (1 << 20));
    else
        snprintf(buffer, (size_t)n, "%.1f KiB", (double)bytes / (1 << 10));
    return buffer;
}

const char *sv_format_count(uint64_t count, char *buffer, int n)
{
    if (count < 100)
        snprintf(buffer, (size_t)n, "%d", (int)count);
    else
        sv_format_rate((double)count, buffer, n);
    return buffer;
}

static bool stderr_is_capable(void)
{
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

void sv_screen_init(struct sv_screen *s, int color, bool plain, bool quiet, im_ns status_interval)
{
    const char *no_color = getenv("NO_COLOR");
    bool capable = stderr_is_capable();

    *s = (struct sv_screen){
        .live = capable && !plain,
        .color = color == 1 || (color == 0 && capable && !(no_color && *no_color)),
        .utf8 = sv_locale_is_utf8() && !plain,
        .folds = isatty(STDERR_FILENO) && !plain,
        .quiet = quiet,
        .status_interval = status_interval,
        .terminal = sv_terminal_open(STDERR_FILENO),
    };
}

void sv_screen_close(struct sv_screen *s, im_ns timeout)
{
    sv_screen_end(s);
    sv_terminal_close(&s->terminal, timeout);
}

static void screen_put(struct sv_screen *s, enum sv_text_kind kind, const char *text)
{
    sv_terminal_put(s->terminal, kind, text, strlen(text));
}

static uint64_t steps_of(const struct sv_progress *p)
{
    return p->steps ? p->steps : p->phase->steps;
}

static void print_plain_gpus(FILE *f, const struct sv_view *v)
{
    const struct im_telemetry *g = &v->gpus;
    const struct {
        const char *key;
        double value;
    } known[] = {{"gpu_busy", g->busy},
                 {"gpu_power_w", g->power_w},
                 {"gpu_temperature_c", g->temperature_c},
                 {"gpu_sm_mhz", g->sm_mhz},
                 {"images_per_second_per_gpu", v->per_gpu},
                 {"mfu", v->mfu > 0 ? v->mfu : (double)NAN}};

    for (size_t i = 0; g->gpus > 0 && i < IM_COUNT(known); i++)
        if (!isnan(known[i].value))
            fprintf(f, " %s=%.4g", known[i].key, known[i].value);
    for (unsigned i = 0; g->gpus > 0 && i < IM_THROTTLES; i++)
        if (g->throttled >> i & 1)
            fprintf(f, " gpu_throttled=%s", im_throttle_word(i));
}

static void print_plain_plans(FILE *f, const struct sv_view *v)
{
    double at = v->gauge[IM_G_PLANS], of = v->gauge[IM_G_PLANS_OF];

    if (at > 0 && of < 0)
        fputs(" cudnn_plans=awaited", f);
    else if (at > 0 && of > 0)
        fprintf(f, " cudnn_plans=%.0f/%.0f", at, of);
    else if (at > 0)
        fprintf(f, " cudnn_plans=%.0f", at);
}

static void print_plain(FILE *f, const struct sv_progress *p)
{
    const struct sv_view *v = p->view;

    if (!p->phase) {
        fprintf(f, "state=%s", p->state);
        print_plain_plans(f, v);
        fputc('\n', f);
        return;
    }
    if (p->steps == 0)
        fprintf(f, "epoch=%u/%u split=%s ", p->phase->epoch + 1, p->epochs,
                p->phase->split == IM_TRAIN ? "train" : "val");
    fprintf(f, "step=%llu/%llu batch=%u image_size=%u", (unsigned long long)p->step,
            (unsigned long long)steps_of(p), p->phase->batch_size, p->phase->image_size);
    if (sv_view_has_step(v))
        fprintf(f, " images_per_second=%.1f loss=%.4f lr=%.6g", v->samples_per_second, v->gauge[IM_G_LOSS],
                v->gauge[IM_G_LR]);
    if (v->gauge[IM_G_SKIPPED] > 0)
        fprintf(f, " skipped_steps=%.0f", v->gauge[IM_G_SKIPPED]);
    if (p->eta_run >= 0 && p->steps)
        fprintf(f, " eta_s=%.0f", p->eta_run);
    else if (p->eta_run >= 0)
        fprintf(f, " eta_epoch_s=%.0f eta_run_s=%.0f", p->eta_epoch, p->eta_run);
    print_plain_plans(f, v);
    print_plain_gpus(f, v);
    fprintf(f, " read_busy=%.2f augment_busy=%.2f train_busy=%.2f train_wait=%.2f limited_by=%s\n",
            v->stage[0].busy, v->stage[1].busy, v->stage[2].busy, v->stage[2].wait_input,
            v->limit >= 0 ? sv_stage_name(v->limit) : "unknown");
}

static void put_plain(struct sv_screen *s, const struct sv_progress *p)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    if (!f)
        return;
    print_plain(f, p);
    if (fclose(f) == 0)
        screen_put(s, SV_TEXT_PROGRESS, text);
    free(text);
}

void sv_screen_progress(struct sv_screen *s, const struct sv_progress *p, bool force)
{
    im_ns now = im_now();
    char line[1024], whole[1024 + 32];

    if (s->quiet || (!force && now - s->last < (s->live ? LIVE_INTERVAL_NS : s->status_interval)))
        return;
    s->last = now;
    if (!s->live) {
        put_plain(s, p);
        return;
    }
    sv_format_line(s, p, sv_terminal_columns(STDERR_FILENO) - 1, line, sizeof line);
    snprintf(whole, sizeof whole, "\r%s%s%s\033[K", s->color ? "\033[36m" : "", line,
             s->color ? "\033[0m" : "");
    screen_put(s, SV_TEXT_REDRAW, whole);
    s->line_is_drawn = true;
}

void sv_screen_end(struct sv_screen *s)
{
    if (s->line_is_drawn)
        screen_put(s, SV_TEXT_REDRAW, "\r\033[K");
    s->line_is_drawn = false;
}

int sv_screen_columns(const struct sv_screen *s)
{
    return s->folds ? sv_terminal_columns(STDERR_FILENO) : 0;
}

/* Erases the live line and prints a line above it: `clock`, `word` in its colour, then the rest, folded. */
__attribute__((format(printf, 4, 0))) static void
print_line(struct sv_screen *s, const char *clock, enum sv_weight weight, const char *format, va_list args)
{
    static const char *const words[] = {[SV_WARN] = "WARN", [SV_ERROR] = "ERROR"};
    static const char *const colors[] = {[SV_WARN] = "\033[33m", [SV_ERROR] = "\033[31m"};
    char said[LINE_BYTES], shown[LINE_BYTES], line[LINE_BYTES + 64], folded[2 * LINE_BYTES],
        whole[2 * LINE_BYTES + 64];
    const bool colored = clock && s->color;
    const char *rest = folded;

    vsnprintf(said, sizeof said, format, args);
    im_printable(said, shown, sizeof shown);
    snprintf(line, sizeof line, "%s%s%s%s%s", clock ? clock : "", clock ? " " : "",
             clock ? words[weight] : "", clock ? " " : "", shown);
    sv_fold(line, sv_screen_columns(s), folded, sizeof folded);
    if (colored)
        rest += strlen(clock) + 1 + strlen(words[weight]);
    snprintf(whole, sizeof whole, "%s%s%s%s%s%s%s\n", s->line_is_drawn ? "\r\033[K" : "",
             colored ? clock : "", colored ? " " : "", colored ? colors[weight] : "",
             colored ? words[weight] : "", colored ? "\033[0m" : "", rest);
    screen_put(s, SV_TEXT_LINE, whole);
    s->line_is_drawn = false;
    if (s->live)
        s->last = 0; /* draw the live line again at once */
}

void sv_screen_say(struct sv_screen *s, const char *format, ...)
{
    va_list args;

    if (s->quiet)
        return;
    va_start(args, format);
    print_line(s, NULL, SV_WARN, format, args);
    va_end(args);
}

void sv_screen_warn(struct sv_screen *s, enum sv_weight weight, const char *format, ...)
{
    time_t now = time(NULL);
    struct tm local;
    char clock[16];
    va_list args;

    localtime_r(&now, &local);
    strftime(clock, sizeof clock, "%H:%M:%S", &local);
    va_start(args, format);
    print_line(s, clock, weight, format, args);
    va_end(args);
}

void sv_say_header(bool plain, const char *format, ...)
{
    char said[LINE_BYTES], shown[LINE_BYTES], folded[2 * LINE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    im_printable(said, shown, sizeof shown);
    fprintf(stderr, "%s\n",
            sv_fold(shown, isatty(STDERR_FILENO) && !plain ? sv_terminal_columns(STDERR_FILENO) : 0, folded,
                    sizeof folded));
}
