#include "supervisor/report/screen.h"

#include <langinfo.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/printable.h"

#define LIVE_INTERVAL_NS (200 * IM_MS)
#define BAR_CELLS 16
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
        .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 && !plain,
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

static void put(struct sv_screen *s, enum sv_text_kind kind, const char *text)
{
    sv_terminal_put(s->terminal, kind, text, strlen(text));
}

static int columns_now(void)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    long wanted = columns ? strtol(columns, NULL, 10) : 0;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return wanted >= 20 && wanted <= 1000 ? (int)wanted : 80;
}

static uint64_t steps_of(const struct sv_progress *p)
{
    return p->steps ? p->steps : p->phase->steps;
}

static double fraction_of(const struct sv_progress *p)
{
    const uint64_t steps = steps_of(p);

    return steps ? (double)p->step / (double)steps : 0;
}

static void format_bar(const struct sv_screen *s, double fraction, char *buffer, size_t n)
{
    int full = (int)(fraction * BAR_CELLS + 0.5);
    size_t at = 0;

    buffer[0] = 0;
    for (int i = 0; i < BAR_CELLS && at + 4 < n; i++)
        at += (size_t)snprintf(buffer + at, n - at, "%s",
                               s->utf8 ? (i < full ? "━" : "─") : (i < full ? "#" : "."));
}

/* Appends to the line; whole parts only, so that a narrow terminal loses the least important ones
 * from the right. */
static void append(char *buffer, int n, int columns, int *used, const char *part, int width)
{
    size_t have = strlen(buffer);

    if (*used + width > columns || have + strlen(part) + 1 > (size_t)n)
        return;
    memcpy(buffer + have, part, strlen(part) + 1);
    *used += width;
}

/* "  gpu 97% 641W 62C mfu 41% power-throttled": what is known of it. */
static const char *format_gpus(const struct sv_view *v, char *s, size_t n)
{
    const struct im_telemetry *g = &v->gpus;
    size_t used = 0;

    s[0] = 0;
    if (g->gpus == 0)
        return s;
    used += (size_t)snprintf(s, n, "  gpu");
    if (!isnan(g->busy))
        used += (size_t)snprintf(s + used, n - used, " %.0f%%", 100 * g->busy);
    if (!isnan(g->power_w))
        used += (size_t)snprintf(s + used, n - used, " %.0fW", g->power_w);
    if (!isnan(g->temperature_c))
        used += (size_t)snprintf(s + used, n - used, " %.0fC", g->temperature_c);
    if (v->mfu > 0)
        used += (size_t)snprintf(s + used, n - used, " mfu %.0f%%", 100 * v->mfu);
    for (unsigned i = 0; i < IM_THROTTLES; i++)
        if (g->throttled >> i & 1)
            used += (size_t)snprintf(s + used, n - used, " %s-throttled", im_throttle_word(i));
    return s;
}

/* "cuDNN: plan 12 of 61": what a trainer is busy with before it trains; empty: nothing. */
static const char *format_plans(const struct sv_view *v, char *s, size_t n)
{
    double at = v->gauge[IM_G_PLANS], of = v->gauge[IM_G_PLANS_OF];

    s[0] = 0;
    if (at > 0 && of < 0)
        snprintf(s, n, "  cuDNN: another process makes the plans");
    else if (at > 0 && of > 0)
        snprintf(s, n, "  cuDNN: plan %.0f of %.0f", at, of);
    else if (at > 0)
        snprintf(s, n, "  cuDNN: plan %.0f", at);
    return s;
}

void sv_format_line(const struct sv_screen *s, const struct sv_progress *p, int columns, char *buffer, int n)
{
    const struct sv_view *v = p->view;
    char part[160], bar[BAR_CELLS * 4 + 1], a[24], b[24];
    int used = 0;

    buffer[0] = 0;
    if (!p->phase) {
        append(buffer, n, columns, &used, p->state, (int)strlen(p->state));
        format_plans(v, part, sizeof part);
        append(buffer, n, columns, &used, part, (int)strlen(part));
        return;
    }
    if (p->steps == 0) {
        snprintf(part, sizeof part, "%3u/%-3u ", p->phase->epoch + 1, p->epochs);
        append(buffer, n, columns, &used, part, (int)strlen(part));
    }
    format_bar(s, fraction_of(p), bar, sizeof bar);
    append(buffer, n, columns, &used, bar, BAR_CELLS);
    snprintf(part, sizeof part, " %3.0f%% %s %llu/%llu", 100 * fraction_of(p),
             p->phase->split == IM_TRAIN ? "step" : "val", (unsigned long long)p->step,
             (unsigned long long)steps_of(p));
    append(buffer, n, columns, &used, part, (int)strlen(part));
    if (*format_plans(v, part, sizeof part))
        append(buffer, n, columns, &used, part, (int)strlen(part));
    snprintf(part, sizeof part, "  %ux%u px", p->phase->batch_size, p->phase->image_size);
    append(buffer, n, columns, &used, part, (int)strlen(part));
    snprintf(part, sizeof part, "  %s img/s", sv_format_rate(v->samples_per_second, a, sizeof a));
    append(buffer, n, columns, &used, part, (int)strlen(part));
    snprintf(part, sizeof part, "  loss %.3f  lr %.4g", v->gauge[IM_G_LOSS], v->gauge[IM_G_LR]);
    append(buffer, n, columns, &used, part, (int)strlen(part));
    if (v->gauge[IM_G_SKIPPED] > 0) {
        snprintf(part, sizeof part, "  skipped %.0f", v->gauge[IM_G_SKIPPED]);
        append(buffer, n, columns, &used, part, (int)strlen(part));
    }
    if (*format_gpus(v, part, sizeof part))
        append(buffer, n, columns, &used, part, (int)strlen(part));
    if (p->steps)
        snprintf(part, sizeof part, "  eta %s", sv_format_seconds(p->eta_run, a, sizeof a));
    else
        snprintf(part, sizeof part, "  eta %s run %s", sv_format_seconds(p->eta_epoch, a, sizeof a),
                 sv_format_seconds(p->eta_run, b, sizeof b));
    append(buffer, n, columns, &used, part, (int)strlen(part));
    snprintf(part, sizeof part, " | read %.0f%% aug %.0f%% train %.0f%%", 100 * v->stage[0].busy,
             100 * v->stage[1].busy, 100 * v->stage[2].busy);
    append(buffer, n, columns, &used, part, (int)strlen(part));
    if (v->limit >= 0) {
        snprintf(part, sizeof part, " %s limited by %s", s->utf8 ? "→" : "->", sv_stage_name(v->limit));
        append(buffer, n, columns, &used, part, (int)strlen(part) - (s->utf8 ? 2 : 0));
    }
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
    if (v->gauge[IM_G_LR] > 0) /* nothing is known before the first step */
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
        put(s, SV_TEXT_PROGRESS, text);
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
    sv_format_line(s, p, columns_now() - 1, line, sizeof line);
    snprintf(whole, sizeof whole, "\r%s%s%s\033[K", s->color ? "\033[36m" : "", line,
             s->color ? "\033[0m" : "");
    put(s, SV_TEXT_REDRAW, whole);
    s->line_is_drawn = true;
}

void sv_screen_end(struct sv_screen *s)
{
    if (s->line_is_drawn)
        put(s, SV_TEXT_REDRAW, "\r\033[K");
    s->line_is_drawn = false;
}

/* Erases the live line and prints a line above it: `before`, which may hold codes of ours, then the rest. */
__attribute__((format(printf, 3, 0))) static void print_line(struct sv_screen *s, const char *before,
                                                             const char *format, va_list args)
{
    char said[LINE_BYTES], shown[LINE_BYTES], whole[LINE_BYTES + 64];

    vsnprintf(said, sizeof said, format, args);
    snprintf(whole, sizeof whole, "%s%s%s\n", s->line_is_drawn ? "\r\033[K" : "", before,
             im_printable(said, shown, sizeof shown));
    put(s, SV_TEXT_LINE, whole);
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
    print_line(s, "", format, args);
    va_end(args);
}

void sv_screen_warn(struct sv_screen *s, enum sv_weight weight, const char *format, ...)
{
    static const char *const words[] = {"WARN", "ERROR"}, *const colors[] = {"\033[33m", "\033[31m"};
    time_t now = time(NULL);
    struct tm local;
    char clock[16], before[64];
    va_list args;

    localtime_r(&now, &local);
    strftime(clock, sizeof clock, "%H:%M:%S", &local);
    snprintf(before, sizeof before, "%s %s%s%s ", clock, s->color ? colors[weight] : "", words[weight],
             s->color ? "\033[0m" : "");
    va_start(args, format);
    print_line(s, before, format, args);
    va_end(args);
}
