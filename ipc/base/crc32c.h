/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78): what TFRecord files and checkpoints carry. */
#ifndef IPC_BASE_CRC32C_H
#define IPC_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of n more bytes after those that gave `crc`; start with 0.
 * crc32c("123456789") = 0xe3069283. */
uint32_t im_crc32c(uint32_t crc, const void *bytes, size_t n);

/* The same without the CPU's instruction: the definition, for tests. */
uint32_t im_crc32c_table(uint32_t crc, const void *bytes, size_t n);

#endif
