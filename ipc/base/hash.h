/* 64-bit hash of bytes, XXH3: for change detection and look-up, never against an adversary. The value of im_hash64() is part
 * of file formats. */
#ifndef IPC_BASE_HASH_H
#define IPC_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t im_hash64(const void *bytes, size_t n, uint64_t seed);

/* The same for the bytes of whole images, in less time on CPUs that have instructions for it, with other values than im_hash64() and
 * than on other CPUs: for what stays on this machine, and may be made again where it is not found. */
uint64_t im_hash_bulk(const void *bytes, size_t n, uint64_t seed);

/* The same over bytes that come in pieces: equal to im_hash64() of all of them. */
struct im_hash;
struct im_hash *im_hash_new(uint64_t seed); /* NULL: out of memory */
void im_hash_add(struct im_hash *h, const void *bytes, size_t n);
uint64_t im_hash_value(const struct im_hash *h); /* of what was added so far; more may follow */
void im_hash_free(struct im_hash **h);

#endif
