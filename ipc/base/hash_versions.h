/* Hashes for one kind of CPU, for hash.c and its test. */
#ifndef IPC_BASE_HASH_VERSIONS_H
#define IPC_BASE_HASH_VERSIONS_H

#include <stddef.h>
#include <stdint.h>

uint64_t im_hash64_avx2(const void *bytes, size_t n, uint64_t seed); /* im_hash64(); x86-64 with AVX2 only */
uint64_t im_hash_bulk_aes(const void *bytes, size_t n, uint64_t seed); /* x86-64 with AES only */

#endif
