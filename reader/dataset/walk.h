/* All folders below some folders, listed: the recursion of torchvision's ImageFolder, several folders at a time.
 *
 * Symbolic links to folders are followed. A folder that lies inside itself by way of a link (the same device and inode
 * as one that it was reached through) is listed once and not entered again. A folder below that may not be listed is
 * left out; whoever began the walk sees it by its err. */
#ifndef READER_DATASET_WALK_H
#define READER_DATASET_WALK_H

#include "reader/dataset/scan.h"

#define RD_WALK_TOP UINT32_MAX
#define RD_WALK_FOLDERS_MAX (UINT32_C(1) << 26)

struct rd_place {
    uint32_t parent; /* the folder it lies in, a place in the walk; RD_WALK_TOP: the walk began with it */
    uint32_t top;    /* the folder with which the walk began, a place in the walk */
    bool is_loop;    /* not entered, holds nothing */
};

/* Zero-initialise; add the folders to begin with; run; fini. */
struct rd_walk {
    struct rd_listing *listings; /* those that were added, then what lies below them, level by level */
    struct rd_place *places;
    uint32_t count, capacity;
    uint32_t *order;              /* all, by top, then by path as strcmp() sorts: os.walk() sorted */
    const struct rd_stamp *above; /* folders that all of these lie in: links to them are loops */
    uint32_t above_count;
};

/* -ENOMEM, or -EFBIG for too many. */
int rd_walk_add(struct rd_walk *walk, const char *path);

/* Lists what was added and everything below. 0; the error of a folder that was added, or one that says nothing about a
 * folder (I/O, memory), with a sentence. Of an err that stays in a listing below: the folder may not be read, has gone
 * meanwhile, or its path is too long. */
int rd_walk_run(struct rd_walk *walk, int root_fd, const struct rd_progress *progress, struct im_text *text);
void rd_walk_fini(struct rd_walk *walk);

#endif
