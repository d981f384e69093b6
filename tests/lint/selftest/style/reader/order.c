#include <stdio.h>

#include "reader/order.h"

#include <jpeglib.h>
#include <string.h>
#include "ipc/base/log.h"
