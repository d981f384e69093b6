/* The number of elements of an array. */
#ifndef IPC_BASE_COUNT_H
#define IPC_BASE_COUNT_H

/* Of an array only: GCC warns (-Wsizeof-pointer-div) where `array` is a pointer. */
#define IM_COUNT(array) (sizeof(array) / sizeof *(array))

#endif
