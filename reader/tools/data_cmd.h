/* imsuper-reader data: the verbs for data sets. Each prints its answer to stdout and all else to stderr.
 *
 * In this folder: the data verbs (data_*), what they do (organise, pack, synth, seek index), and measurements of reading
 * (bench_read). They run without a supervisor; no role's loop is here, and no file of the data set is changed. */
#ifndef READER_TOOLS_DATA_CMD_H
#define READER_TOOLS_DATA_CMD_H

#include <stdint.h>

#include "ipc/config/command.h"
#include "reader/dataset/data.h"

/* They return an exit status. */
int rd_cmd_index(struct im_conf *conf);
int rd_cmd_measure(
    struct im_conf *conf); /* the same without the names of classes, of which there may be many */
int rd_cmd_evaluated(struct im_conf *conf); /* the index of an evaluation: reader/dataset/evaluated.h */
int rd_cmd_synth(struct im_conf *conf);
int rd_cmd_list(struct im_conf *conf);
int rd_cmd_organise(struct im_conf *conf);
int rd_cmd_members(struct im_conf *conf);
int rd_cmd_pack(struct im_conf *conf);
int rd_cmd_unpack(struct im_conf *conf);

/* What the configuration says of the data set. */
struct rd_source rd_cmd_source(const struct im_conf *conf);

/* Where the seek index of a data set is, or would be; "": there is none. Makes the folder of --seek-index. 0, or negative errno with a
 * sentence. */
int rd_cmd_seek_path(const struct im_conf *conf, const char *root, char *ret_path, size_t size,
                     struct im_text *text);

/* One line on a terminal that is written over, nothing elsewhere. */
struct rd_line {
    int is_shown; /* stderr is a terminal, and nobody asked for quiet */
    const char *what;
    uint64_t count;
};

void rd_line_show(const struct rd_line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rd_line_clear(const struct rd_line *line);

/* im_command_fail(), for what is wrong with a data set. */
int rd_cmd_fail(int err, const struct im_text *text);

#endif
