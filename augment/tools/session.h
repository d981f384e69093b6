/* The augmenter's verbs: samples outside of a run, made by the augmenter's own code.
 *
 * In this folder: preview (a picture of what the network will see), bench and profile (what it costs, and where the time
 * goes), verify and stats (facts about each image), seek (the seek index), and pixels and images, which send samples to
 * another program of imsuper. Images are named by `imsuper-reader data list`, so that numbers and therefore draws are those
 * of a run, and read into memory first. */
#ifndef AUGMENT_TOOLS_SESSION_H
#define AUGMENT_TOOLS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "augment/options.h"
#include "ipc/config/command.h"

struct au_file {
    uint64_t id; /* in the index */
    const char *class_name, *path;
    char *bytes;
    size_t n;
};

struct au_files {
    struct au_file *files;
    size_t count;
    char *names; /* the reader's answer; the strings above lie in it */
};

/* Asks imsuper-reader for conf->images of conf->data_dir and reads them. 0; its exit status, when it has said
 * why; or a negative errno with a sentence. */
int au_files_load(const struct im_conf *conf, struct au_files *ret, struct im_text *text);
void au_files_free(struct au_files *files); /* accepts a zeroed one */

/* The images of all splits, or conf->sample of each. */
struct au_name {
    const char *class_name, *path;
    const char *reference; /* where its bytes are: ipc/base/reference.h */
    const char *classes;   /* that it belongs to, as numbers: "0", with several labels "0 2", or "" */
    uint32_t label;        /* equal for images of the same classes */
    bool is_val;
};

struct au_names {
    struct au_name *names;
    size_t count;
    const char **classes; /* names */
    size_t class_count;
    const char *root; /* below which all lie; "": links lead out of it */
    char *bytes;      /* the reader's answer; the strings above lie in it */
};

/* As au_files_load(); au_names_free() in every case. */
int au_names_load(const struct im_conf *conf, struct au_names *ret, struct im_text *text);
void au_names_free(struct au_names *names);

/* 8-bit RGB pixels without gaps, as a PNG file. 0, or a negative errno with a sentence,
 * which names `path`. */
int au_png_write(FILE *to, const char *path, const unsigned char *rgb, uint32_t width, uint32_t height,
                 struct im_text *text);

/* A picture in memory, and text on it in a fixed 5 x 7 face that takes 6 x 9 pixels a character. */
struct au_picture {
    unsigned char *rgb;
    uint32_t width, height;
};
enum { AU_LETTER_WIDTH = 6, AU_LETTER_HEIGHT = 9 };

/* Writes as much of s as fits into max_width pixels, dark grey, top left corner at (x, y). Bytes outside of
 * ASCII show as '?'. */
void au_text_draw(struct au_picture *picture, uint32_t x, uint32_t y, const char *s, uint32_t max_width);

/* Describes a draw: "rotate -12, color 1.3, 8 holes". Cut to n bytes. */
void au_draw_describe(const struct au_draw *draw, char *s, size_t n);

/* For main(): runs the verb that the words name; see im_command_main(). */
int au_command_main(int argc, char **argv);

/* They return an exit status. */
int au_cmd_preview(struct im_conf *conf);
int au_cmd_bench(struct im_conf *conf);
int au_cmd_profile(struct im_conf *conf);
int au_cmd_bench_decode(struct im_conf *conf);
int au_cmd_pixels(struct im_conf *conf);
int au_cmd_verify(struct im_conf *conf);
int au_cmd_stats(struct im_conf *conf);
int au_words_seek(int argc, char **argv);
int au_words_images(int argc, char **argv);

/* What all three begin with: files, options and a renderer. 0 or an exit status, having said why. */
struct au_session {
    struct im_conf conf;
    struct au_options options;
    struct au_files files;
    struct au_renderer *renderer;
};
int au_session_open(struct au_session *session, const struct im_conf *conf);
void au_session_close(struct au_session *session);

/* Before the first image is decoded, and when all is open that will be written: gives up what decoding does
 * not need (augment/sandbox.h). 0, or a negative errno with a sentence. */
int au_session_confine(struct im_text *text);

#endif
