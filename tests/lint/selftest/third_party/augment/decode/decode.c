#include <jpeglib.h>
#include <stdio.h>
#include <sys/mman.h>
