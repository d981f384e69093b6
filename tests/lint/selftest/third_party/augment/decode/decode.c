#include <jpegint.h>
#include <stdio.h>
#include <sys/mman.h>
