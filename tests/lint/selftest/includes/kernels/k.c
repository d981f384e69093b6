#include "ipc/ring.h"
#include "kernels/k.h"
