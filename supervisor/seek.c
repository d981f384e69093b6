#include "supervisor/seek.h"

#include <errno.h>
#include <string.h>

#include "ipc/seek_ring.h"

#define OWN_AGAIN_NS (10 * IM_SECOND) /* another run owns the file */
#define FAILED_AGAIN_NS (30 * IM_SECOND)

static void set_wanted(struct sv_seek *s, bool wanted)
{
    atomic_store_explicit(&s->run->control->seek_wanted, wanted, memory_order_relaxed);
}

/* Nothing is taken for a while. */
static void stop_taking(struct sv_seek *s, im_ns pause)
{
    set_wanted(s, false);
    im_seek_disown(&s->owner);
    atomic_store_explicit(&s->next_try, im_now() + pause, memory_order_relaxed);
}

static int become_owner(struct sv_seek *s, struct im_text *text)
{
    const struct im_geometry *g = &s->run->geometry;
    int err = im_seek_own(s->path, g->samples[IM_TRAIN] + g->samples[IM_VAL], &s->owner, text);

    if (err < 0) {
        stop_taking(s, err == -EWOULDBLOCK ? OWN_AGAIN_NS : FAILED_AGAIN_NS);
        return err == -EWOULDBLOCK ? 0 : err;
    }
    atomic_store_explicit(&s->next_try, 0, memory_order_relaxed);
    set_wanted(s, true);
    return 0;
}

static int take_all(struct sv_seek *s, struct im_seek_ring *ring)
{
    uint64_t key;
    int n;

    while ((n = im_seek_ring_take(ring, &key, s->bytes, sizeof s->bytes)) >= 0) {
        int err = 0;

        if (n == 0)
            im_seek_drop(&s->owner, key);
        else
            err = im_seek_add(&s->owner, key, s->bytes, (size_t)n);
        if (err < 0 && err != -EEXIST && err != -EINVAL)
            return err;
    }
    return 0;
}

static int seek_take(struct sv_seek *s, struct im_text *text)
{
    int err = s->owner.file.fd < 0 ? become_owner(s, text) : 0;

    for (uint32_t i = 0; err == 0 && s->owner.file.fd >= 0 && i < s->run->geometry.augmenters_max; i++) {
        err = take_all(s, &s->run->seek_ring[i]);
        if (err < 0) {
            im_fail(text, err, "'%.700s': %s", s->path,
                    err == -ENOSPC ? "the disk is full, or nearly so" : strerror(-err));
            stop_taking(s, FAILED_AGAIN_NS);
        }
    }
    return err;
}

/* Work of the thread. It may have been asked for again while it failed: the pause holds all the same, and so does the error,
 * which nobody may have heard of yet. */
static int work(void *context, struct im_text *text)
{
    struct sv_seek *s = context;

    if (s->owner.file.fd >= 0 || im_now() >= atomic_load_explicit(&s->next_try, memory_order_relaxed)) {
        s->why = (struct im_text){""};
        s->err = seek_take(s, &s->why);
    }
    *text = s->why;
    return s->err;
}

void sv_seek_open(struct sv_seek *s, struct im_run *run, const struct im_conf *conf)
{
    *s = (struct sv_seek){.path = conf->seek_file, .run = run, .owner.file.fd = -1};
    set_wanted(s, false); /* a predecessor may have wanted some */
    atomic_store_explicit(&s->next_try, 1, memory_order_relaxed);
    if (*s->path)
        im_writer_open(&s->writer);
}

static bool has_work(const struct sv_seek *s)
{
    im_ns next_try = atomic_load_explicit(&s->next_try, memory_order_relaxed);

    if (next_try != 0)
        return im_now() >= next_try;
    for (uint32_t i = 0; i < s->run->geometry.augmenters_max; i++)
        if (!im_seek_ring_is_empty(&s->run->seek_ring[i]))
            return true;
    return false;
}

void sv_seek_turn(struct sv_seek *s)
{
    if (s->writer && has_work(s))
        im_writer_do(s->writer, work, s, "seek index");
}

bool sv_seek_news(struct sv_seek *s, struct im_text *ret)
{
    struct im_writer_news news;

    if (!s->writer || !im_writer_news(s->writer, &news))
        return false;
    *ret = news.text;
    return true;
}

bool sv_seek_close(struct sv_seek *s, im_ns timeout)
{
    bool ended;

    if (!s->writer)
        return true;
    set_wanted(s, false);
    sv_seek_turn(s);
    ended = im_writer_wait(s->writer, false, timeout) != -ETIMEDOUT;
    if (ended)
        im_writer_close(&s->writer, timeout);
    return ended;
}
