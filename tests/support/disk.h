/* A disk whose power may fail at any instant.
 *
 * disk_record() makes a list of what this program does to files below a folder: the linker puts the functions
 * of disk.c in front of libc's (DISK_WRAPPED in CMakeLists.txt). disk_fail_everywhere() then makes, for each
 * prefix of that list, the folders that a machine may find after its power failed there, and has each of them
 * checked.
 *
 * What may be found, from what POSIX promises and no more:
 *   bytes of a file      those of its last fsync; or all that were written since; or half of them
 *   names in a folder    those of its last fsync, and of the changes since any number in their order, all but
 *                        one, or one alone
 * A rename changes both names at once. A new file's name is on disk once its folder was synced, not the file. */
#ifndef TESTS_SUPPORT_DISK_H
#define TESTS_SUPPORT_DISK_H

#include <stdbool.h>
#include <stddef.h>

/* Begins a list, with an empty folder that exists. */
void disk_record(const char *folder);

/* Enters in the list that a caller was told so: what `mark` stands for has to be found from here on. */
void disk_mark(int mark);

void disk_stop(void);

/* `folder` holds what was found; `mark` is the last one entered before the power failed, 0: none. False: no more need be
 * checked. */
typedef bool disk_check(const char *folder, int mark, void *context);

/* Makes all that may be found, each different one once, in `folder`, and checks it. Returns how many. */
size_t disk_fail_everywhere(const char *folder, disk_check *check, void *context);

#endif
