/* Which shards a data set has, and of which split each is: tar files in a folder, in its folders train/ and val/, or those
 * of a list with braces ("train-{000000..000127}.tar"). */
#ifndef READER_DATASET_SHARD_LIST_H
#define READER_DATASET_SHARD_LIST_H

#include "reader/dataset/layout.h"
#include "reader/dataset/shard.h"

#define RD_SHARDS_MAX 1000000

/* Is this a list of shards, or the name of one, rather than that of a folder? */
bool rd_shards_is_list(const char *data_dir);

/* The folder of an address, and, of shards in it, the list with names below the folder; "": it is no list.
 * "https://host/a/train-{000..127}.tar" is https://host/a/ and train-{000..127}.tar. -EINVAL with a sentence. */
int rd_shards_split_url(const char *url, char *ret_folder, char *ret_list, size_t size, struct im_text *text);

/* Writes all words of a pattern with braces, as bash does ({a,b}, {000..127}, several and nested), "::" between patterns.
 * -EINVAL, -EFBIG with a sentence. */
int rd_braces_expand(const char *pattern, struct rd_names *ret_words, struct im_text *text);

/* Where the shards of data_dir are: fills root, train (what is left of a list, relative to the root; "" for all in the
 * folder) and kind. 1: there are some; 0: there are none; negative errno with a sentence. */
int rd_layout_find_shards(const char *data_dir, struct rd_layout *layout, struct im_text *text);

struct rd_shard_list {
    struct rd_names paths; /* relative to the root */
    struct rd_shard *shards;
    uint32_t count;
    struct rd_names missing; /* shards that _info.json names and that are not here */
    struct rd_names others;  /* tar files of no split */
    struct rd_names packed;  /* compressed ones */
    struct rd_names folders; /* whose times of change say whether there are others now */
    char info[NAME_MAX];     /* the file that was read, "" */
};

/* Lists the shards of a layout; theirs is only path, split and expected. */
int rd_shard_list_make(int root_fd, const struct rd_layout *layout, struct rd_shard_list *ret,
                       struct im_text *text);
void rd_shard_list_fini(struct rd_shard_list *list);

/* Reads a file of JSON in the root: 0, -ENOENT, or negative errno with a sentence. */
struct im_json;
int rd_shards_json(int root_fd, const char *root, const char *name, struct im_json **ret,
                   struct im_text *text);

#endif
