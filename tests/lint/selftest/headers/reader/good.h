#ifndef READER_GOOD_H
#define READER_GOOD_H
#include <stdint.h>
uint32_t good(void);
#endif
