#include <jpegint.h>
