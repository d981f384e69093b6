#include "supervisor/report/tfrecord.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/crc32c.h"

static uint32_t masked(const void *bytes, size_t n)
{
    const uint32_t crc = im_crc32c(0, bytes, n);

    return htole32(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
}

unsigned char *sv_record_begin(struct sv_records *r, size_t n)
{
    const size_t needed = r->n + n + SV_RECORD_AROUND;

    if (needed > r->room) {
        const size_t room = needed > 2 * r->room ? needed + 4096 : 2 * r->room;
        unsigned char *larger = realloc(r->bytes, room);

        r->failed |= !larger;
        if (!larger)
            return NULL;
        r->bytes = larger;
        r->room = room;
    }
    return r->bytes + r->n + 12;
}

void sv_record_end(struct sv_records *r, size_t n)
{
    unsigned char *at = r->bytes + r->n;
    const uint64_t length = htole64(n);
    uint32_t crc = masked(&length, sizeof length);

    memcpy(at, &length, sizeof length);
    memcpy(at + 8, &crc, sizeof crc);
    crc = masked(at + 12, n);
    memcpy(at + 12 + n, &crc, sizeof crc);
    r->n += n + SV_RECORD_AROUND;
}

void sv_records_free(struct sv_records *r)
{
    free(r->bytes);
    *r = (struct sv_records){.n = 0};
}

static bool has_crc(const unsigned char *at, const void *bytes, size_t n)
{
    const uint32_t crc = masked(bytes, n);

    return memcmp(at, &crc, sizeof crc) == 0;
}

size_t sv_record_next(const unsigned char *bytes, size_t n, const unsigned char **ret_record, size_t *ret_n)
{
    uint64_t length;

    if (n < SV_RECORD_AROUND || !has_crc(bytes + 8, bytes, 8))
        return 0;
    memcpy(&length, bytes, sizeof length);
    length = le64toh(length);
    if (length > SV_RECORD_BYTES_MAX || length > n - SV_RECORD_AROUND ||
        !has_crc(bytes + 12 + length, bytes + 12, length))
        return 0;
    *ret_record = bytes + 12;
    *ret_n = length;
    return length + SV_RECORD_AROUND;
}
