#include "kernels/k.h"
#include "trainer/x.h"
#include <ipc/ring.h>
#include "y.h"
#include "reader/missing.h"
#include "reader/y.h"
/* #include "trainer/x.h" */
