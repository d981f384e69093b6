#include <zmq.h>
#include <sodium.h>
