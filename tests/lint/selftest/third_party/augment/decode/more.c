#include <jpeglib.h>
