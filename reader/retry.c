#include "reader/retry.h"

#include <errno.h>

#include "ipc/base/count.h"

bool rd_error_passes(int err)
{
    switch (-err) {
    case EIO:
    case ESTALE:
    case ETIMEDOUT:
    case EAGAIN:
    case EINTR:
    case ECANCELED:
    case EBUSY:
    /* of this machine */
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    /* of a network, a server, a daemon */
    case ENOTCONN:
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case ENETDOWN:
    case ENETUNREACH:
    case ENETRESET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ESHUTDOWN:
    case EPIPE:
    case EREMOTEIO:
    case ENOLINK:
    case ECOMM:
    case EPROTO:
    case EKEYEXPIRED:
    /* of a device that went away */
    case ENODEV:
    case ENXIO:
    case ENOMEDIUM:
        return true;
    default:
        return false;
    }
}

void rd_storage_read(struct rd_storage *s, im_ns began)
{
    if (began > s->read)
        s->read = began;
}

void rd_storage_probed(struct rd_storage *s, im_ns began)
{
    if (began > s->probed)
        s->probed = began;
    rd_storage_read(s, began);
}

void rd_storage_file(struct rd_storage *s, int err)
{
    s->failed = s->failed << 1 | (err < 0);
    s->passing = s->passing << 1 | (err < 0 && rd_error_passes(err));
    s->recent += s->recent < RD_RECENT;
}

bool rd_storage_fails_many(const struct rd_storage *s)
{
    unsigned failed = (unsigned)__builtin_popcountll(s->failed);
    unsigned passing = (unsigned)__builtin_popcountll(s->passing);

    return s->recent >= RD_RECENT_MIN &&
           (passing * 100 >= RD_SHARE_PASSING * s->recent || failed * 100 >= RD_SHARE_ANY * s->recent);
}

bool rd_tries_unproven(const struct rd_tries *t, const struct rd_storage *s)
{
    im_ns proof = rd_error_passes(t->err) ? s->probed : s->read;

    return t->failures > 0 && (proof <= t->failed_at || rd_storage_fails_many(s));
}

/* The file may still come. */
static bool is_awaited(const struct rd_tries *t, const struct rd_storage *s)
{
    return s->settling && !t->known && !rd_error_passes(t->err);
}

void rd_tries_begin(struct rd_tries *t, const struct rd_storage *s)
{
    t->counts = t->failures > 0 && !rd_tries_unproven(t, s);
}

bool rd_tries_failed(struct rd_tries *t, const struct rd_storage *s, int err, im_ns now)
{
    t->failures++;
    t->failed_at = now;
    t->err = err;
    t->counted += t->counts && !rd_storage_fails_many(s) && !is_awaited(t, s);
    t->counts = false;
    return t->counted >= (rd_error_passes(err) && !t->known ? RD_FAILURES_PASSING : RD_FAILURES_LASTING);
}

im_ns rd_tries_due(const struct rd_tries *t, const struct rd_storage *s)
{
    static const im_ns waits[] = {20 * IM_MS, 100 * IM_MS, 400 * IM_MS, IM_SECOND};
    /* While nothing is known: ever longer. Once something is, by what was counted: it is decided soon. */
    unsigned step = rd_tries_unproven(t, s) || is_awaited(t, s) ? t->failures - 1 : t->counted;

    return t->failed_at + (step < IM_COUNT(waits) ? waits[step] : RD_RETRY_MAX_NS);
}
