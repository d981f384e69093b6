#ifndef IPC_BASE_GOOD_H
#define IPC_BASE_GOOD_H
#endif
