#include <sodium.h>
#include <zmq.h>
