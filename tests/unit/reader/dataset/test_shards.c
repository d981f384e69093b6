/* Shards: what archives hold, which shards a data set has, what their labels mean.
 *
 *   test_shards GOLDEN        the folder tests/golden, whose shards/ were made by make_shards.py */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/file.h"
#include "reader/dataset/data.h"
#include "reader/dataset/shard_list.h"
#include "reader/dataset/shard_table.h"
#include "reader/dataset/tar.h"
#include "tests/unit/reader/tree.h"

static const char *golden;

/* An archive that is written member by member. */
struct archive {
    unsigned char bytes[65536];
    size_t n;
};

static void put_checksum(unsigned char *block)
{
    unsigned sum = 0;

    memset(block + 148, ' ', 8);
    for (int i = 0; i < RD_TAR_BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

static unsigned char *add_typed(struct archive *a, char type, const char *name, const char *content, size_t n)
{
    unsigned char *block = a->bytes + a->n;

    assert_true(a->n + 2048 + n < sizeof a->bytes);
    memset(block, 0, RD_TAR_BLOCK);
    snprintf((char *)block, 100, "%s", name);
    snprintf((char *)block + 124, 12, "%011o", (unsigned)n);
    block[156] = (unsigned char)type;
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    put_checksum(block);
    memcpy(block + RD_TAR_BLOCK, content, n);
    a->n += RD_TAR_BLOCK + (n + RD_TAR_BLOCK - 1) / RD_TAR_BLOCK * RD_TAR_BLOCK;
    return block;
}

static void add(struct archive *a, const char *name, const char *content)
{
    add_typed(a, '0', name, content, strlen(content));
}

static int64_t read_archive(void *context, uint64_t offset, void *buffer, size_t n)
{
    const struct archive *a = context;
    const size_t left = offset < a->n ? a->n - (size_t)offset : 0;

    n = n < left ? n : left;
    memcpy(buffer, a->bytes + offset, n);
    return (int64_t)n;
}

/* What a shard holds, a line for each sample: member, label, file and the bytes; then what is left out. */
static void describe(const struct archive *a, const struct rd_shard *shard, char *got, size_t size)
{
    size_t used = 0;

    *got = 0;
    for (uint32_t i = 0; i < shard->count; i++) {
        const struct rd_shard_image *image = &shard->images[i];

        /* The header before it is what tells later that the member is in its place. */
        assert_int_equal(image->mark,
                         rd_tar_mark((const unsigned char *)a->bytes + image->offset - RD_TAR_BLOCK));
        used += (size_t)snprintf(got + used, size - used, "%s=%s%s%s:%.*s\n",
                                 rd_shard_string(shard, image->member), rd_shard_string(shard, image->label),
                                 image->file ? "/" : "", rd_shard_string(shard, image->file),
                                 (int)image->bytes, a->bytes + image->offset);
    }
    for (uint32_t i = 0; i < shard->skipped_count; i++)
        used += (size_t)snprintf(got + used, size - used, "-%d %s\n", shard->skipped[i].kind,
                                 rd_shard_string(shard, shard->skipped[i].name));
    if (*shard->cut.s)
        snprintf(got + used, size - used, "!%s\n", shard->cut.s);
}

static int read_shard(struct archive *a, struct rd_shard *shard)
{
    struct rd_tar *tar = calloc(1, sizeof *tar);
    int err;

    tar->read = read_archive;
    tar->context = a;
    tar->bytes = a->n;
    *shard = (struct rd_shard){.path = "test.tar"};
    err = rd_shard_read(tar, shard);
    rd_tar_fini(tar);
    free(tar);
    return err;
}

/* Its table says the same of the shard; one that is cut short says nothing. */
static void check_table(const struct archive *a, const struct rd_shard *shard, const char *wanted)
{
    struct rd_shard_object object = {.bytes = a->n, .etag = "\"1\""}, now;
    struct rd_shard copy = {.path = "test.tar"};
    struct im_text text = {""};
    char got[8192], *bytes;
    void *table;
    size_t n;

    assert_int_equal(rd_shard_table_make(shard, &object, &table, &n), 0);
    bytes = table;
    if (rd_shard_table_take(bytes, n, &copy, &now, &text) < 0)
        fail_msg("%s", text.s);
    describe(a, &copy, got, sizeof got);
    assert_string_equal(got, wanted);
    assert_int_equal(now.bytes, a->n);
    assert_string_equal(now.etag, object.etag);
    assert_int_equal(copy.has_labels, shard->has_labels);
    rd_shard_fini(&copy);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(rd_shard_table_take(bytes, cut, &copy, &now, &text), -EBADMSG);
    bytes[n - 1] = 'x';
    assert_int_equal(rd_shard_table_take(bytes, n, &copy, &now, &text), -EBADMSG);
    free(table);
}

static void check(struct archive *a, const char *wanted)
{
    struct rd_shard shard;
    char got[8192];

    assert_int_equal(read_shard(a, &shard), 0);
    describe(a, &shard, got, sizeof got);
    assert_string_equal(got, wanted);
    check_table(a, &shard, wanted);
    rd_shard_fini(&shard);
}

static void end(struct archive *a)
{
    memset(a->bytes + a->n, 0, 1024);
    a->n += 1024;
}

static void load(struct archive *a, const char *name)
{
    char path[PATH_MAX], *bytes;
    size_t n;

    *a = (struct archive){.n = 0};
    snprintf(path, sizeof path, "%s/shards/%s", golden, name);
    assert_int_equal(im_read_file(path, sizeof a->bytes, &bytes, &n, NULL), 0);
    memcpy(a->bytes, bytes, n);
    a->n = n;
    free(bytes);
}

#define LONG40 "longlonglonglonglonglonglonglonglonglong"
#define DEEP                                                                                                 \
    "deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/"

static void archives_of_other_programs_are_read(void **state)
{
    struct archive *a = malloc(sizeof *a);
    const char *const gnu[] = {"gnu-gnu.tar", "gnu-posix.tar", "gnu-oldgnu.tar"};
    const char *const python[] = {"python-ustar.tar", "python-pax.tar"};
    const char *const sparse[] = {"sparse-gnu.tar", "sparse-posix.tar"};

    (void)state;
    load(a, "wds-cls.tar");
    check(a, "000000.jpg=3:image 0\n000001.jpg=2:image 1\n000002.jpg=1:image 2\n000003.jpg=0:image 3\n");
    load(a, "wds-json.tar");
    check(a, "000000.jpg=0/n00/x0.JPEG:image 0\n000001.jpg=1/n01/x1.JPEG:image 1\n"
             "000002.jpg=2/n02/x2.JPEG:image 2\n000003.jpg=3/n03/x3.JPEG:image 3\n");
    load(a, "wds-name.tar");
    check(a,
          "000000.jpg=cat:image 0\n000001.jpg=dog:image 1\n000002.jpg=cat:image 2\n000003.jpg=dog:image 3\n");
    for (size_t i = 0; i < 3; i++) {
        load(a, gnu[i]);
        check(a,
              "n01/a.JPEG=:image 0\nn01/b.2.png=:image 1\nn02/" LONG40 LONG40 LONG40 LONG40 ".jpg=:image 2\n"
              "n02/\xc3\xa9.webp=:image 3\n");
    }
    for (size_t i = 0; i < 2; i++) {
        load(a, python[i]);
        check(a, DEEP "0.jpg=0:image 0\n" DEEP "1.jpg=1:image 1\n" DEEP "2.jpg=2:image 2\n");
        load(a, sparse[i]);
        check(a, "1.jpg=:image 1\n-3 0.jpg\n");
    }
    free(a);
}

static void members_of_a_key_are_one_sample(void **state)
{
    struct archive *a = calloc(1, sizeof *a);

    (void)state;
    add(a, "b.cls", " 7\n");
    add(a, "a.jpg", "A");
    add(a, "b.JPG", "B"); /* apart, and in capitals */
    add(a, "a.cls", "cat");
    add(a, "a.seg.png", "mask");
    add(a, "x/c.webp", "C");
    add(a, "x/c.json", "{\"label\": \"dog\", \"filename\": \"dog/1.webp\"}");
    add(a, "c.cls", "1"); /* of another folder: no image */
    add(a, "d.png", "D"); /* no label */
    add(a, "d.txt", "a caption");
    add(a, "e.1.jpg", "E1"); /* names with dots: each has its own label */
    add(a, "e.1.cls", "4");
    add(a, "e.2.jpg", "E2");
    add(a, "e.2.json", "{\"cls\": 5}");
    add(a, "f.jpg", "F");
    add(a, "f.png", "F again");
    add(a, "f.cls", "1");
    add(a, "f.jpg", "F once more");
    add(a, "g.jxl", "G");
    add(a, "g.cls", "1");
    add(a, ".DS_Store", "x");
    add_typed(a, '2', "h.jpg", "", 0);
    add_typed(a, '5', "folder", "", 0);
    add(a, "i.json", "{\"label\": -1}");
    add(a, "i.jpg", "I");
    end(a);
    check(a, "a.jpg=cat:A\nb.JPG=7:B\nx/c.webp=dog/dog/"
             "1.webp:C\nd.png=:D\ne.1.jpg=4:E1\ne.2.jpg=5:E2\nf.jpg=1:F\ni.jpg=:I\n"
             "-2 .DS_Store\n-3 h.jpg\n-0 a.seg.png\n-9 c.cls\n-10 f.png\n-10 f.jpg\n-11 g.jxl\n-9 g.cls\n");
    free(a);
}

/* 000.input.png with 000.target.cls, as others name them; a label of one image is not that of another. */
static void the_only_label_is_that_of_the_image(void **state)
{
    struct archive *a = calloc(1, sizeof *a);

    (void)state;
    add(a, "a.input.png", "A");
    add(a, "a.target.cls", "3");
    add(a, "b.jpg", "B");
    add(a, "b.meta.json", "{\"label\": 4}");
    add(a, "c.1.jpg", "C1");
    add(a, "c.1.cls", "");
    add(a, "c.2.jpg", "C2");
    add(a, "c.2.json", "{\"label\": 5, \"filename\": \"x.jpg\"}");
    add(a, "d.jpg", "D");
    add(a, "d.x.cls", "1"); /* which of them? */
    add(a, "d.y.cls", "2");
    add(a, "e.jpg", "E");
    add(a, "e.cls",
        "\xef\xbb\xbf"
        "6\n"); /* as Windows saves it */
    end(a);
    check(a, "a.input.png=3:A\nb.jpg=4:B\nc.1.jpg=:C1\nc.2.jpg=5/x.jpg:C2\nd.jpg=:D\ne.jpg=6:E\n");
    free(a);
}

/* GNU's old format: four parts of the file in the header, the others in blocks behind it, which its size does not count. */
static void a_sparse_member_of_many_parts_is_passed_over(void **state)
{
    struct archive *a = calloc(1, sizeof *a);
    unsigned char *header;

    (void)state;
    header = add_typed(a, 'S', "sparse.jpg", "", 0);
    snprintf((char *)header + 124, 12, "%011o", 1024u);
    header[482] = 1;
    put_checksum(header);
    memset(a->bytes + a->n, '1', 1024); /* two blocks of its map: the first says that there is one more */
    a->bytes[a->n + RD_TAR_BLOCK + 504] = 0;
    memset(a->bytes + a->n + 1024, 'x', 1024);
    a->n += 2048;
    add(a, "a.jpg", "A");
    add(a, "a.cls", "1");
    end(a);
    check(a, "a.jpg=1:A\n-3 sparse.jpg\n");
    a->n = (size_t)(header - a->bytes) + 2 * RD_TAR_BLOCK + 100; /* cut in the map */
    check(a, "!it is cut short at byte 1124; no sample is whole\n");
    free(a);
}

/* cat a.tar b.tar: every program stops at the end of the first. */
static void an_archive_behind_the_end_is_said(void **state)
{
    struct archive *a = calloc(1, sizeof *a);

    (void)state;
    add(a, "a.jpg", "A");
    add(a, "a.cls", "1");
    end(a);
    a->n += 8192;
    check(a, "a.jpg=1:A\n");
    add(a, "b.jpg", "B");
    end(a);
    check(a, "a.jpg=1:A\n!it ends at byte 2048, and another archive begins at byte 11264: its members are "
             "not read (make "
             "a shard of its own of it); the last whole sample is a.jpg\n");
    memset(a->bytes + 11264, 'x', RD_TAR_BLOCK); /* no archive: as behind any tar */
    check(a, "a.jpg=1:A\n");
    free(a);
}

/* Sizes beyond 8 GiB are in base 256; the archive here is only as large as its size says. */
static int64_t read_large(void *context, uint64_t offset, void *buffer, size_t n)
{
    const struct archive *a = context;
    const uint64_t large = UINT64_C(9) << 30;

    memset(buffer, 0, n);
    for (size_t i = 0; i < n; i++) {
        const uint64_t at = offset + i;

        if (at < RD_TAR_BLOCK)
            ((unsigned char *)buffer)[i] = a->bytes[at];
        else if (at >= RD_TAR_BLOCK + large && at - RD_TAR_BLOCK - large < 1024)
            ((unsigned char *)buffer)[i] = a->bytes[at - large];
    }
    return (int64_t)n;
}

static void sizes_beyond_8_gib_are_read(void **state)
{
    const uint64_t large = UINT64_C(9) << 30;
    struct archive *a = calloc(1, sizeof *a);
    struct rd_tar *tar = calloc(1, sizeof *tar);
    struct rd_tar_member member;
    unsigned char *block = add_typed(a, '0', "large.bin", "", 0);

    (void)state;
    memset(block + 124, 0, 12);
    block[124] = 0x80;
    for (int i = 0; i < 8; i++)
        block[135 - i] = (unsigned char)(large >> 8 * i);
    put_checksum(block);
    add(a, "1.jpg", "x");
    tar->read = read_large;
    tar->context = a;
    tar->bytes = large + 4 * RD_TAR_BLOCK;
    assert_int_equal(rd_tar_next(tar, &member, NULL), 1);
    assert_true(member.bytes == large);
    assert_int_equal(rd_tar_next(tar, &member, NULL), 1);
    assert_string_equal(member.name, "1.jpg");
    assert_true(member.offset == large + 2 * RD_TAR_BLOCK);
    block[124] = 0xff; /* a negative one */
    put_checksum(block);
    rd_tar_fini(tar);
    *tar = (struct rd_tar){.read = read_large, .context = a, .bytes = large};
    assert_int_equal(rd_tar_next(tar, &member, NULL), -EBADMSG);
    rd_tar_fini(tar);
    free(tar);
    free(a);
}

static void a_cut_archive_keeps_its_whole_samples(void **state)
{
    struct archive *a = calloc(1, sizeof *a);
    struct rd_shard shard;
    struct im_text text = {""};

    (void)state;
    add(a, "0.jpg", "image 0");
    add(a, "0.cls", "0");
    add(a, "1.jpg", "image 1");
    add(a, "1.cls", "1");
    a->n -= 2 * RD_TAR_BLOCK;
    check(a,
          "0.jpg=0:image 0\n1.jpg=:image 1\n!it is cut short at byte 3072; the last whole sample is 1.jpg\n");
    a->n -= 600; /* in the midst of the image */
    check(a, "0.jpg=0:image 0\n!it is cut short at byte 2472; the last whole sample is 0.jpg\n");
    a->n = 3072;
    a->bytes[2048] = 'x'; /* the name in the header of 1.jpg */
    check(a, "0.jpg=0:image 0\n!it is damaged at byte 2048, where a header should begin; the last whole "
             "sample is 0.jpg\n");
    a->bytes[0] = 'x';
    assert_int_equal(read_shard(a, &shard), -EBADMSG);
    assert_string_equal(shard.why.s, "it is no tar archive");
    rd_shard_fini(&shard);
    memcpy(a->bytes, "\x1f\x8b\x08\x00", 4);
    assert_int_equal(read_shard(a, &shard), -EBADMSG);
    assert_non_null(strstr(shard.why.s, "gunzip"));
    rd_shard_fini(&shard);
    a->n = 0;
    assert_int_equal(read_shard(a, &shard), -EBADMSG);
    rd_shard_fini(&shard);
    (void)text;
    free(a);
}

static void check_braces(const char *pattern, const char *wanted)
{
    struct rd_names words = {0};
    struct im_text text = {""};
    char got[2048] = "";
    size_t used = 0;
    int err = rd_braces_expand(pattern, &words, &text);

    for (uint32_t i = 0; i < words.count && err == 0; i++)
        used += (size_t)snprintf(got + used, sizeof got - used, "%s%s", i ? " " : "", rd_names_at(&words, i));
    if (err < 0)
        snprintf(got, sizeof got, "!%s", text.s);
    assert_string_equal(got, wanted);
    rd_names_fini(&words);
}

static void braces_are_those_of_a_shell(void **state)
{
    (void)state;
    check_braces("a-{000..003}.tar", "a-000.tar a-001.tar a-002.tar a-003.tar");
    check_braces("a-{8..11}.tar", "a-8.tar a-9.tar a-10.tar a-11.tar");
    check_braces("a-{08..11}.tar", "a-08.tar a-09.tar a-10.tar a-11.tar");
    check_braces("a-{2..0}", "a-2 a-1 a-0");
    check_braces("{train,val}-{0..1}.tar", "train-0.tar train-1.tar val-0.tar val-1.tar");
    check_braces("x-{train-{0..1},val-0}.tar", "x-train-0.tar x-train-1.tar x-val-0.tar");
    check_braces("a.tar::b-{0..1}.tar", "a.tar b-0.tar b-1.tar");
    check_braces("a{,b}", "a ab");
    check_braces("a-{a..c}.tar", "a-a.tar a-b.tar a-c.tar");
    check_braces("a-{C..A}", "a-C a-B a-A");
    check_braces("a-{0..7..3}", "a-0 a-3 a-6");
    check_braces("a-{06..00..3}", "a-06 a-03 a-00");
    check_braces("a-{0..4..0}", "a-0 a-1 a-2 a-3 a-4");
    check_braces("a-{0..b}{1..}", "a-0..b1..");
    check_braces("a-{0..9999999}.tar", "!the list of shards names more than 1000000");
    check_braces("a-{0..3.tar", "!a brace of the list of shards is not closed: {0..3.tar");
}

/* ---- data sets ---- */

static void put(const struct tree *tree, const char *path, struct archive *a)
{
    end(a);
    tree_bytes(tree, path, a->bytes, a->n);
    *a = (struct archive){.n = 0};
}

/* The header that the index remembers is the one in the archive. */
static void check_mark(const struct rd_data *data, enum im_split split, uint64_t id)
{
    unsigned char header[RD_TAR_BLOCK];
    char relative[PATH_MAX / 2], path[PATH_MAX];
    struct rd_source_of source;
    int fd;

    assert_true(rd_index_source(&data->index, split, id, &source, relative, sizeof relative) > 0);
    snprintf(path, sizeof path, "%s/%s", rd_index_root(&data->index), relative);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, header, sizeof header, (off_t)source.offset - RD_TAR_BLOCK), sizeof header);
    close(fd);
    assert_int_equal(source.mark, rd_tar_mark(header));
}

/* All samples as "split labels path\n", or "!sentence". */
static void check_labels(const struct tree *tree, const char *folder, bool several, const char *wanted)
{
    const struct rd_source source = {.folder = tree_path(tree, folder), .multi_label = several};
    struct im_text text = {""};
    char got[4096] = "", path[PATH_MAX], label[256];
    struct rd_data data;
    size_t used = 0;
    int err = rd_data_open(&source, NULL, &data, &text);

    if (err < 0) {
        if (*wanted != '!' || !strstr(text.s, wanted + 1))
            fail_msg("%s", text.s);
        return;
    }
    for (int split = 0; split < IM_SPLITS; split++)
        for (uint64_t id = 0; id < rd_index_count(&data.index, (enum im_split)split); id++) {
            rd_index_relative(&data.index, (enum im_split)split, id, path, sizeof path);
            check_mark(&data, (enum im_split)split, id);
            used += (size_t)snprintf(
                got + used, sizeof got - used, "%c %s %s\n", split == IM_TRAIN ? 't' : 'v',
                rd_index_label_text(&data.index, rd_index_label(&data.index, (enum im_split)split, id), label,
                                    sizeof label),
                path);
        }
    assert_string_equal(got, wanted);
    rd_data_close(&data);
}

static void check_data(const struct tree *tree, const char *folder, const char *wanted)
{
    check_labels(tree, folder, false, wanted);
}

static void names_and_files_say_the_split(void **state)
{
    struct archive *a = calloc(1, sizeof *a);
    const struct tree *tree = *state;

    add(a, "0.jpg", "x"), add(a, "0.cls", "1"), put(tree, "d/set-train-0.tar", a);
    add(a, "0.jpg", "x"), add(a, "0.cls", "0"), put(tree, "d/set-validation-0.tar", a);
    add(a, "0.jpg", "x"), add(a, "0.cls", "0"), put(tree, "d/other.tar", a);
    check_data(tree, "d", "t 1 set-train-0.tar/0.jpg\nv 0 set-validation-0.tar/0.jpg\n");
    tree_file(tree, "d/classes.txt", "cat\ndog\n");
    check_data(tree, "d", "t dog set-train-0.tar/0.jpg\nv cat set-validation-0.tar/0.jpg\n");
    tree_file(tree, "d/classes.txt", "cat\n");
    check_data(tree, "d", "!set-train-0.tar/0.jpg has the label 1, but classes.txt names 1 classes");
    tree_remove(tree, "d/classes.txt");
    tree_file(
        tree, "d/_info.json",
        "{\"splits\": {\"train\": {\"filenames\": [\"other.tar\", \"gone.tar\"], \"shard_lengths\": [1, 5]},"
        " \"validation\": {\"filenames\": [\"set-train-0.tar\"]}}, \"classes\": [\"a\", \"b\"]}");
    check_data(tree, "d", "t a other.tar/0.jpg\nv b set-train-0.tar/0.jpg\n");
    check_data(tree, "d/{other,set-validation-0}.tar",
               "t a other.tar/0.jpg\nv a set-validation-0.tar/0.jpg\n");
    check_data(tree, "d/{other,none}.tar", "!none.tar' is not there");
    add(a, "0.jpg", "x"), add(a, "0.cls", "b"), put(tree, "e/train/1.tar", a);
    add(a, "0.jpg", "x"), add(a, "0.cls", "a"), put(tree, "e/train/0.tar", a);
    add(a, "0.jpg", "x"), add(a, "0.cls", "b"), add(a, "1.jpg", "x"), add(a, "1.cls", "c");
    put(tree, "e/val/0.tar", a);
    check_data(tree, "e", "t a train/0.tar/0.jpg\nt b train/1.tar/0.jpg\nv b val/0.tar/0.jpg\n");
    free(a);
}

static void archives_without_labels_have_class_folders(void **state)
{
    struct archive *a = calloc(1, sizeof *a);
    const struct tree *tree = *state;

    add(a, "./set/train/cat/0.jpg", "x"), add(a, "./set/train/dog/0.b.jpg", "x"),
        add(a, "./set/val/dog/1.jpg", "x");
    put(tree, "a/all.tar", a);
    check_data(tree, "a",
               "t cat all.tar/set/train/cat/0.jpg\nt dog all.tar/set/train/dog/0.b.jpg\n"
               "v dog all.tar/set/val/dog/1.jpg\n");
    add(a, "train/cat/0.jpg", "x"), add(a, "train/dog/0.jpg", "x"), put(tree, "e/train.tar", a);
    add(a, "./dog/1.jpg", "x"), put(tree, "e/val.tar", a); /* of another program, or from another folder */
    check_data(tree, "e",
               "t cat train.tar/train/cat/0.jpg\nt dog train.tar/train/dog/0.jpg\nv dog val.tar/dog/1.jpg\n");
    add(a, "train/0.jpg", "x"), put(tree, "g/0000.tar", a); /* a vehicle */
    add(a, "car/1.jpg", "x"), put(tree, "g/0001.tar", a);
    check_data(tree, "g", "t car 0001.tar/car/1.jpg\nt train 0000.tar/train/0.jpg\n");
    add(a, "n01_1.JPEG", "x"), put(tree, "b/train/n01.tar", a);
    add(a, "n02_1.JPEG", "x"), put(tree, "b/train/n02.tar", a);
    check_data(tree, "b", "t n01 train/n01.tar/n01_1.JPEG\nt n02 train/n02.tar/n02_1.JPEG\n");
    add(a, "1.jpg", "x"), put(tree, "c/train-000000.tar", a);
    check_data(tree, "c", "!'train-000000.tar' holds no labels");
    add(a, "n01440764.tar", "x"), put(tree, "h/ILSVRC2012_img_train.tar", a);
    add(a, "ILSVRC2012_val_00000001.JPEG", "x"), put(tree, "h/ILSVRC2012_img_val.tar", a);
    check_data(tree, "h", "!examples/imagenet.sh unpacks and sorts them");
    tree_file(tree, "d/train-0.tar.gz", "x");
    check_data(tree, "d", "!are compressed");
    tree_file(tree, "f/train-0.tar", "<html>404</html>");
    check_data(tree, "f", "!it is no tar archive");
    free(a);
}

static void a_changed_shard_is_indexed_again(void **state)
{
    struct archive *a = calloc(1, sizeof *a);
    const struct tree *tree = *state;

    add(a, "0.jpg", "x"), add(a, "0.cls", "1"), put(tree, "d/0.tar", a);
    tree_age_all(tree, 100);
    check_data(tree, "d", "t 1 0.tar/0.jpg\n");
    add(a, "1.jpg", "x"), add(a, "1.cls", "0"), add(a, "0.jpg", "x"), add(a, "0.cls", "1"),
        put(tree, "d/0.tar", a);
    tree_age(tree, "d/0.tar", 50);
    tree_age(tree, "d", 100);
    check_data(tree, "d", "t 0 0.tar/1.jpg\nt 1 0.tar/0.jpg\n");
    free(a);
}

/* A shard of images 0.jpg, 1.jpg, ... with these labels in files of the ending. */
static void put_labels(const struct tree *tree, const char *path, const char *ending,
                       const char *const *labels)
{
    struct archive *a = calloc(1, sizeof *a);
    char name[32];

    for (int i = 0; labels[i]; i++) {
        snprintf(name, sizeof name, "%d.%s", i, ending);
        add(a, name, labels[i]);
        snprintf(name, sizeof name, "%d.jpg", i);
        add(a, name, "x");
    }
    put(tree, path, a);
    free(a);
}

#define LABELS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void labels_are_lists(void **state)
{
    const struct tree *tree = *state;

    put_labels(tree, "a/t.tar", "json",
               LABELS("{\"label\": [\"dog\", \"cat\"]}", "{\"labels\": []}", "{\"label\": \"cat\"}",
                      "{\"label\": [{\"box\": 1}]}", "{\"label\": [\"cat\", \"dog\", \"cat\"]}"));
    check_labels(tree, "a", true,
                 "t cat|dog t.tar/0.jpg\nt  t.tar/1.jpg\nt cat t.tar/2.jpg\nt cat|dog t.tar/4.jpg\n");
    check_data(tree, "a", "!t.tar/0.jpg has several labels: --multi-label trains on such images");
    put_labels(tree, "b/t.tar", "json", LABELS("[2, 0]", "{\"cls\": [2.0]}"));
    check_labels(tree, "b", true, "t 0|2 t.tar/0.jpg\nt 2 t.tar/1.jpg\n");
    tree_file(tree, "b/classes.txt", "ant\nbee\ncow\n");
    check_labels(tree, "b", true, "t ant|cow t.tar/0.jpg\nt cow t.tar/1.jpg\n");
    tree_file(tree, "b/classes.txt", "ant\nbee\n");
    check_labels(tree, "b", true, "!t.tar/0.jpg has the label 2, but classes.txt names 2 classes, 0 to 1");
    put_labels(tree, "d/train.tar", "json", LABELS("{\"labels\": {\"dog\": true, \"cat\": 0, \"a\": 1}}"));
    put_labels(tree, "d/val.tar", "json",
               LABELS("{\"label\": [\"dog\", \"emu\"]}", "{\"label\": [\"dog\"]}"));
    check_labels(tree, "d", true, "t a|dog train.tar/0.jpg\nv dog val.tar/1.jpg\n");
    put_labels(tree, "e/t.tar", "cls", LABELS("[1, 0]", " 2\n", "0 2", "0,1", "1\n2\n"));
    check_labels(
        tree, "e", true,
        "t 0|1 t.tar/0.jpg\nt 2 t.tar/1.jpg\nt 0|2 t.tar/2.jpg\nt 0|1 t.tar/3.jpg\nt 1|2 t.tar/4.jpg\n");
    put_labels(tree, "f/t.tar", "cls", LABELS("golden retriever", "[\"cat\"]")); /* one label each */
    check_data(tree, "f", "t golden retriever t.tar/0.jpg\nt cat t.tar/1.jpg\n");
    check_labels(tree, "f", true, "t golden retriever t.tar/0.jpg\nt cat t.tar/1.jpg\n");
}

/* [0, 1, 1] is no list of classes: one of them stands there twice. */
static void labels_are_flags_of_all_classes(void **state)
{
    const struct tree *tree = *state;

    put_labels(tree, "a/t.tar", "json", LABELS("[0, 1, 1]", "[0, 0, 0]", "[1, 0, 0]"));
    check_labels(tree, "a", true, "t 1|2 t.tar/0.jpg\nt  t.tar/1.jpg\nt 0 t.tar/2.jpg\n");
    tree_file(tree, "a/classes.txt", "x\ny\nz\n");
    check_labels(tree, "a", true, "t y|z t.tar/0.jpg\nt  t.tar/1.jpg\nt x t.tar/2.jpg\n");
    tree_file(tree, "a/classes.txt", "x\ny\n");
    check_labels(tree, "a", true, "!t.tar/0.jpg has 3 labels of 0 and 1, but classes.txt names 2 classes");
    put_labels(tree, "b/t.tar", "json", LABELS("[0, 1]", "[1]", "[1, 0]")); /* classes */
    check_labels(tree, "b", true, "t 0|1 t.tar/0.jpg\nt 1 t.tar/1.jpg\nt 0|1 t.tar/2.jpg\n");
}

/* One name among numbers would make names of all, in the order of texts: 0, 1, 10, 2. */
static void numbers_and_names_are_not_mixed(void **state)
{
    const struct tree *tree = *state;

    put_labels(tree, "a/t.tar", "cls", LABELS("10", "2", "cat", "3"));
    check_data(tree, "a",
               "!the label of t.tar/2.jpg is a name, and that of t.tar/0.jpg a number: a file classes.txt");
    tree_file(tree, "a/classes.txt", "ant\nbee\ncat\n2\n3\n10\n");
    check_data(tree, "a", "t 10 t.tar/0.jpg\nt 2 t.tar/1.jpg\nt cat t.tar/2.jpg\nt 3 t.tar/3.jpg\n");
    put_labels(tree, "b/t.tar", "cls", LABELS("10", "-1", "2.0", "0.5", "3"));
    check_data(tree, "b", "t 10 t.tar/0.jpg\nt 2 t.tar/2.jpg\nt 3 t.tar/4.jpg\n");
    put_labels(tree, "c/t.tar", "cls", LABELS("1", "99999999999", "0"));
    check_data(tree, "c", "!t.tar/1.jpg has the label 99999999999, which is no number of a class");
    put_labels(tree, "d/t.tar", "cls", LABELS("v1.5", "-", "."));
    check_data(tree, "d", "t v1.5 t.tar/0.jpg\nt - t.tar/1.jpg\nt . t.tar/2.jpg\n");
}

/* What holds no label says where one would be; compressed shards beside others are not passed over. */
static void shards_that_give_nothing_are_said(void **state)
{
    const struct tree *tree = *state;
    struct archive *a = calloc(1, sizeof *a);
    struct rd_source source = {.folder = NULL};
    struct im_text text = {""};
    struct rd_skipped skipped;
    struct rd_data data;

    add(a, "0.jpg", "x"), add(a, "0.json", "{\"caption\": \"a cat\"}"), put(tree, "a/00000.tar", a);
    check_data(tree, "a",
               "!has a label, the first of them 00000.tar: it stands in 000123.cls, or in the field");
    put(tree, "b/0.tar", a);
    check_data(tree, "b", "!no image is in the shards of");
    memcpy(a->bytes, "\xfd\x37zXZ", 5);
    tree_bytes(tree, "c/0.tar", a->bytes, 1024);
    check_data(tree, "c", "!it is compressed with xz: unpack it to a plain tar (unxz)");
    memcpy(a->bytes, "\x1f\x8b", 2);
    tree_bytes(tree, "d/0.tar.gz", a->bytes, 1024);
    check_data(tree, "d/0.tar.gz", "!the shard '0.tar.gz' cannot be used: it is compressed with gzip");
    put_labels(tree, "packed/train-0.tar", "cls", LABELS("0"));
    tree_file(tree, "packed/train-1.tar.zst", "x");
    source.folder = tree_path(tree, "packed");
    assert_int_equal(rd_data_open(&source, NULL, &data, &text), 0);
    rd_index_skipped(&data.index, &skipped);
    assert_int_equal(skipped.count[RD_SKIP_CUT], 1);
    assert_string_equal(skipped.first[RD_SKIP_CUT], "train-1.tar.zst");
    rd_data_close(&data);
    free(a);
}

/* The Hugging Face hub keeps files under their hashes, and links with their names. */
static void shards_of_a_list_may_be_links(void **state)
{
    const struct tree *tree = *state;

    put_labels(tree, "blobs/3b1e", "cls", LABELS("1"));
    put_labels(tree, "blobs/77f0", "cls", LABELS("1"));
    tree_folder(tree, "snapshot");
    assert_int_equal(symlink("../blobs/3b1e", tree_path(tree, "snapshot/train-0.tar")), 0);
    assert_int_equal(symlink("../blobs/77f0", tree_path(tree, "snapshot/val-0.tar")), 0);
    check_data(tree, "snapshot", "t 1 train-0.tar/0.jpg\nv 1 val-0.tar/0.jpg\n");
    check_data(tree, "snapshot/{train,val}-0.tar", "t 1 train-0.tar/0.jpg\nv 1 val-0.tar/0.jpg\n");
    check_data(tree, "snapshot/{train,val}-1.tar", "!train-1.tar' is not there");
    check_data(tree, "snapshot/*.tar", "!a list has braces, {000..127}, and no * or ?");
}

/* Without labels each image has its folder's class. */
static void folders_are_one_label(void **state)
{
    struct archive *a = calloc(1, sizeof *a);

    add(a, "cat/0.jpg", "x"), add(a, "dog/0.jpg", "x"), put(*state, "a/t.tar", a);
    check_labels(*state, "a", true, "t cat t.tar/cat/0.jpg\nt dog t.tar/dog/0.jpg\n");
    free(a);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archives_of_other_programs_are_read),
        cmocka_unit_test(members_of_a_key_are_one_sample),
        cmocka_unit_test(the_only_label_is_that_of_the_image),
        cmocka_unit_test(a_sparse_member_of_many_parts_is_passed_over),
        cmocka_unit_test(an_archive_behind_the_end_is_said),
        cmocka_unit_test(sizes_beyond_8_gib_are_read),
        cmocka_unit_test(a_cut_archive_keeps_its_whole_samples),
        cmocka_unit_test(braces_are_those_of_a_shell),
        cmocka_unit_test_setup_teardown(names_and_files_say_the_split, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(archives_without_labels_have_class_folders, tree_setup,
                                        tree_teardown),
        cmocka_unit_test_setup_teardown(labels_are_lists, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(labels_are_flags_of_all_classes, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(folders_are_one_label, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(numbers_and_names_are_not_mixed, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(shards_that_give_nothing_are_said, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(shards_of_a_list_may_be_links, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(a_changed_shard_is_indexed_again, tree_setup, tree_teardown),
    };

    if (argc < 2)
        return 2;
    golden = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
