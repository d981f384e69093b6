/* Draws in words, for labels under pictures. */
#include "augment/tools/session.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEGREES (180.0 / 3.14159265358979323846)

static void append(char *s, size_t n, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *s, size_t n, const char *format, ...)
{
    size_t used = strlen(s);
    va_list args;

    if (used > 0 && used + 2 < n)
        used += (size_t)snprintf(s + used, n - used, ", ");
    va_start(args, format);
    vsnprintf(s + used, n - used, format, args);
    va_end(args);
}

/* m goes from the output to the source, so its scale and angle are those of the way back. */
static void describe_affine(const struct au_step *step, char *s, size_t n)
{
    const double *m = step->affine.m;

    if (step->kind == AU_STEP_AFFINE_OPENCV)
        append(s, n, "turn %.0f x%.2f", -atan2(m[3], m[0]) * DEGREES, 1 / hypot(m[0], m[3]));
    else if (m[0] == 1 && m[4] == 1 && m[1] == 0 && m[3] == 0)
        append(s, n, "move %.0f,%.0f", -m[2], -m[5]);
    else if (m[0] == 1 && m[4] == 1)
        append(s, n, "shear %.2f,%.2f", m[1], m[3]);
    else
        append(s, n, "rotate %.0f", -atan2(m[3], m[0]) * DEGREES);
}

static void describe_jitter(const struct imk_jitter *j, char *s, size_t n)
{
    for (unsigned i = 0; i < j->count; i++) {
        switch (j->order[i]) {
        case IMK_JITTER_BRIGHTNESS:
            append(s, n, "b%.2f", j->brightness);
            break;
        case IMK_JITTER_CONTRAST:
            append(s, n, "c%.2f", j->contrast);
            break;
        case IMK_JITTER_SATURATION:
            append(s, n, "s%.2f", j->saturation);
            break;
        case IMK_JITTER_HUE:
            append(s, n, "h%+d", (signed char)j->hue_shift);
            break;
        }
    }
}

static void describe_step(const struct au_step *step, char *s, size_t n)
{
    switch (step->kind) {
    case AU_STEP_AFFINE_OPENCV:
    case AU_STEP_AFFINE_PILLOW:
        describe_affine(step, s, n);
        break;
    case AU_STEP_BRIGHTNESS:
    case AU_STEP_CONTRAST:
    case AU_STEP_COLOR:
    case AU_STEP_SHARPNESS:
        append(s, n, "%s %.2f", au_step_name(step->kind), step->factor);
        break;
    case AU_STEP_POSTERIZE:
        append(s, n, "posterize %u", step->bits);
        break;
    case AU_STEP_SOLARIZE:
        append(s, n, "solarize %.0f", step->threshold);
        break;
    case AU_STEP_JITTER:
        describe_jitter(&step->jitter, s, n);
        break;
    default:
        append(s, n, "%s", au_step_name(step->kind));
        break;
    }
}

void au_draw_describe(const struct au_draw *draw, char *s, size_t n)
{
    uint32_t rectangles = 0;

    s[0] = '\0';
    for (uint32_t i = 0; i < draw->count; i++) {
        if (draw->steps[i].kind == AU_STEP_RECTANGLE)
            rectangles++;
        else
            describe_step(&draw->steps[i], s, n);
    }
    if (rectangles > 0)
        append(s, n, "%u box%s", (unsigned)rectangles, rectangles > 1 ? "es" : "");
    if (!s[0])
        snprintf(s, n, "-");
}
