/* Records of a TFRecord file: u64 length | masked CRC-32C of it | bytes | masked CRC-32C of them, little-endian. */
#ifndef SUPERVISOR_REPORT_TFRECORD_H
#define SUPERVISOR_REPORT_TFRECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SV_RECORD_BYTES_MAX ((size_t)16 << 20)
#define SV_RECORD_AROUND 16 /* bytes of a record beside its own */

/* Records one after another. Zero-initialise. */
struct sv_records {
    unsigned char *bytes; /* owned */
    size_t n, room;
    bool failed; /* no memory: something is missing */
};

/* Makes room for a record of n bytes, closed by sv_record_end(); NULL: there is none. */
unsigned char *sv_record_begin(struct sv_records *r, size_t n);
void sv_record_end(struct sv_records *r, size_t n);
void sv_records_free(struct sv_records *r);

/* The record at the front of `bytes`: its place and length, and how many bytes it takes with what is around it. 0: no
 * whole record is there, or it is damaged. */
size_t sv_record_next(const unsigned char *bytes, size_t n, const unsigned char **ret_record, size_t *ret_n);

#endif
