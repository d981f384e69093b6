#include "kernels/k.h"
#include "ipc/ring.h"
