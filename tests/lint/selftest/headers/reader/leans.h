#ifndef READER_LEANS_H
#define READER_LEANS_H
uint32_t leans(void);
#endif
