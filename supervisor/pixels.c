/* The pixel cache in memory, when memory runs out: it is the part of a run that can be done without. It stops growing while there is
 * some memory left, and is emptied when the kernel has killed a process of the run for want of it, so that what is killed next is not
 * needed more. A cell that is gone is decoded again, with the same pixels. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "ipc/base/clock.h"
#include "ipc/base/sysinfo.h"
#include "ipc/pixel_cells.h"
#include "supervisor/super.h"

#define LOOK_EACH_NS (500 * IM_MS)
#define SPARED_SHARE 20 /* one part in so many of all memory is left */

static bool is_in_memory(const struct sv_super *s)
{
    return im_conf_has_pixel_cache(&s->conf) && im_conf_pixel_cache_is_memory(&s->conf);
}

static void tell(struct sv_super *s, const char *event, uint64_t bytes, const char *what)
{
    struct im_json *fields = im_json_object();
    char text[24];

    im_json_set_int(fields, "bytes", (int64_t)bytes);
    sv_journal_event(&s->journal, event, fields);
    sv_screen_warn(&s->screen, SV_WARN, "--pixel-cache ram: memory is short; %s (%s)", what,
                   sv_format_bytes(bytes, text, sizeof text));
}

void sv_pixels_turn(struct sv_super *s)
{
    _Atomic uint32_t *state = &s->run.control->pixels_state;
    const im_ns now = im_now();
    uint64_t left;

    if (!is_in_memory(s) || now < s->next_look_at_pixels ||
        atomic_load_explicit(state, memory_order_relaxed) != IM_PIXELS_GROW)
        return;
    s->next_look_at_pixels = now + LOOK_EACH_NS;
    left = im_memory_available();
    if (left == 0 || left >= im_memory_total() / SPARED_SHARE) /* 0: not known */
        return;
    atomic_store_explicit(state, IM_PIXELS_STAY, memory_order_release);
    tell(s, "pixels.full", left, "no more images are kept, others are decoded each time");
}

void sv_pixels_on_want_of_memory(struct sv_super *s)
{
    _Atomic uint32_t *state = &s->run.control->pixels_state;
    const struct im_pixel_shape shape = im_pixel_shape_of(&s->conf, s->run.geometry.samples);
    const struct im_pixel_cells cells = {.fd = IM_FD_PIXELS};
    uint64_t bytes;

    if (!is_in_memory(s) || atomic_load_explicit(state, memory_order_relaxed) == IM_PIXELS_GONE)
        return;
    atomic_store_explicit(state, IM_PIXELS_GONE, memory_order_release);
    bytes = im_pixel_cells_bytes(&cells);
    if (im_pixel_cells_empty(IM_FD_PIXELS, &shape) < 0)
        sv_screen_warn(&s->screen, SV_WARN, "--pixel-cache ram: its memory cannot be given back: %s",
                       strerror(errno));
    else
        tell(s, "pixels.gone", bytes, "its memory is given back, and images are decoded each time");
}
