/* What a data set lacks and what is left out of it, in words: for the screen, for JSON, and as files of a folder. */
#ifndef READER_TOOLS_DATA_REPORT_H
#define READER_TOOLS_DATA_REPORT_H

#include "ipc/base/json.h"
#include "reader/dataset/empty.h"
#include "reader/dataset/index.h"

#define RD_LEFT_OUT_FILE "left_out.txt"
#define RD_CLASSES_FILE "classes.txt"

struct rd_report {
    const struct rd_index *index;
    const struct rd_empty *empty;
    const char *table_why; /* of the layout (rd_data); "" */
};

/* What is left out as keys of an object: "skipped" {kind: count}, "skipped_first" {kind: path}, "left_out" as a sentence. */
void rd_report_add_json(const struct rd_report *report, struct im_json *object);

/* Sentences about classes and validation images that matter before training; an array, the caller's. is_whole: it is no part of the
 * images, whose lack of a class says nothing. */
struct im_json *rd_report_warnings(const struct rd_index *index, bool is_whole);

/* Both on stderr. */
void rd_report_say(const struct rd_report *report);

/* Writes folder/classes.txt: the name of each class on a line, in the order of labels, with the escapes of
 * ipc/base/printable.h. */
int rd_report_classes(const struct rd_index *index, const char *folder, struct im_text *text);

/* Writes folder/left_out.txt, a line for each: why, path, note, with tabs between; removes it where nothing is left
 * out. */
int rd_report_write(const struct rd_report *report, const char *folder, struct im_text *text);

#endif
