#include "ipc/ring.h"
