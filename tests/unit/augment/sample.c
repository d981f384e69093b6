/* Reads just as much of the tar format as an archive of short-named plain files needs. */
#include "tests/unit/augment/sample.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 512
#define SIZE_FIELD 124
#define TYPE_FIELD 156

static int map_file(const char *path, struct sample *sample)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    if (fstat(fd, &status) < 0 || status.st_size < BLOCK) {
        close(fd);
        return -1;
    }
    sample->map_bytes = (size_t)status.st_size;
    sample->map = mmap(NULL, sample->map_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    return sample->map == MAP_FAILED ? -1 : 0;
}

int sample_open(struct sample *sample)
{
    const char *folder = getenv("IMSUPER_DATA");
    char path[4096];
    size_t at = 0;

    *sample = (struct sample){0};
    snprintf(path, sizeof path, "%s/imagenet-sample-200.tar", folder ? folder : SOURCE_DIR "/../shared/data");
    if (map_file(path, sample) < 0) {
        printf("skipped: %s is not there (IMSUPER_DATA names its folder)\n", path);
        return -1;
    }
    while (at + BLOCK <= sample->map_bytes && sample->count < SAMPLE_MAX) {
        const char *header = (const char *)sample->map + at;
        size_t n = strtoul(header + SIZE_FIELD, NULL, 8);

        if (header[0] == '\0')
            break;
        at += BLOCK;
        if (header[TYPE_FIELD] == '0' && n <= sample->map_bytes - at)
            sample->files[sample->count++] =
                (struct sample_file){header, (const unsigned char *)sample->map + at, n};
        at += (n + BLOCK - 1) / BLOCK * BLOCK;
    }
    return 0;
}

void sample_close(struct sample *sample)
{
    if (sample->map_bytes > 0)
        munmap(sample->map, sample->map_bytes);
    *sample = (struct sample){0};
}
