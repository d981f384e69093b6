#include "trainer/network/net.h"
