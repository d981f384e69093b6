/* The commands of imsuper-data. Each prints its answer to stdout and all else to stderr. */
#ifndef READER_TOOLS_DATA_CMD_H
#define READER_TOOLS_DATA_CMD_H

#include <stdint.h>

#include "ipc/base/err.h"

enum rd_exit { RD_EXIT_DONE = 0, RD_EXIT_FAILED = 1, RD_EXIT_USAGE = 2, RD_EXIT_BAD_DATA = 65 };

/* argv[0] is the command's name, flags follow. All return an enum rd_exit. */
int rd_cmd_index(int argc, char **argv);
int rd_cmd_synth(int argc, char **argv);
int rd_cmd_list(int argc, char **argv);

/* One line on a terminal that is written over, nothing elsewhere. */
struct rd_line {
    int is_shown; /* stderr is a terminal, and nobody asked for quiet */
    const char *what;
    uint64_t count;
};

void rd_line_show(const struct rd_line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rd_line_clear(const struct rd_line *line);

/* "imsuper: " and the sentence, to stderr; returns the exit status for `err`. */
int rd_cmd_fail(int err, const struct im_text *text);

#endif
