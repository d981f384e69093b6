/* The images that `imsuper predict` is given: files, folders, names from standard input. */
#ifndef SUPERVISOR_CLI_INPUTS_H
#define SUPERVISOR_CLI_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "ipc/base/err.h"
#include "supervisor/cli/shard.h"

struct sv_input {
    char *name; /* as given, or found below a folder that was; owned */
    char *path; /* absolute, or a part of a shard (ipc/base/reference.h); NULL: it cannot be read */
    int err;    /* negative errno where it cannot */
};

struct sv_inputs {
    struct sv_input *item; /* in the order that they were given; below a folder by name */
    size_t count, room, readable;
    bool takes_shards; /* instead of images: while a folder without images is searched again */
};

/* For inputs.c and inputs_shard.c: adds one; the images in a shard, which imsuper-reader looks for. */
int sv_inputs_append(struct sv_inputs *inputs, const char *name, const char *path, int err);
int sv_inputs_add_shard(struct sv_inputs *inputs, const char *name, const char *path);

/* A file; a shard (.tar): its images; a folder: the files below it whose names end like those of images, or without any its shards; "-": names from `in`, each ended by a NUL, or
 * where there is none by a newline. What cannot be read is taken as well, with its error. -ENOMEM, or -EIO with a
 * sentence: the names could not be read. */
int sv_inputs_add(struct sv_inputs *inputs, const char *word, FILE *in, struct im_text *text);

/* Keeps the images of a part, which the others' answers continue. The parts end where steps of `images` end, so that each
 * image is computed beside the same others as without parts. */
void sv_inputs_keep(struct sv_inputs *inputs, const struct sv_shard *shard, size_t images);

/* Writes the paths of those that can be read, each ended by a NUL. */
int sv_inputs_write(const struct sv_inputs *inputs, const char *path, struct im_text *text);
void sv_inputs_fini(struct sv_inputs *inputs); /* zeroed is fine */

#endif
