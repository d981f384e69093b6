#include "kernels/k.h"
#include "reader/missing.h"
#include "reader/y.h"
#include "trainer/x.h"
#include "y.h"
#include <ipc/ring.h>
/* #include "trainer/x.h" */
