/* Lists of objects: as texts, as answers of S3, and as the file that is looked things up in. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fetcher/listing.h"
#include "ipc/base/count.h"
#include "tests/unit/reader/tree.h"

/* All lines in the order of paths. */
static const char *sorted(struct fe_objects *o)
{
    static char all[4096];
    size_t used = 0;

    fe_objects_sort(o);
    all[0] = 0;
    for (uint64_t i = 0; i < o->count; i++) {
        const char *line = o->bytes + o->line[i];

        used += (size_t)snprintf(all + used, sizeof all - used, "%.*s\n", (int)strcspn(line, "\n"), line);
    }
    return all;
}

static void paths(void **state)
{
    static const char *const good[] = {"a", "a/b.jpg", "...", "a/..b", "\xc3\xa9/x y"};
    static const char *const bad[] = {"",    "/a",  "a//b", "a/",   "..",  "a/../b",
                                      "./a", "a/.", "a\nb", "a\tb", "\x7f"};
    char longest[400];

    (void)state;
    for (size_t i = 0; i < IM_COUNT(good); i++)
        assert_true(fe_path_is_good(good[i]));
    for (size_t i = 0; i < IM_COUNT(bad); i++)
        assert_false(fe_path_is_good(bad[i]));
    memset(longest, 'x', sizeof longest);
    longest[255] = 0;
    assert_true(fe_path_is_good(longest));
    longest[255] = 'x';
    longest[256] = 0;
    assert_false(fe_path_is_good(longest));
}

static void texts(void **state)
{
    static const char text[] =
        "./b/2.jpg\r\nb/1.jpg\t17\nb/10.jpg\t5\t\"e\"\n\n../etc/passwd\nb/1.jpg\t17\nb-x\t-3\tx y";
    struct fe_objects o = {0};
    struct im_text why = {""};

    (void)state;
    assert_int_equal(fe_objects_parse(&o, text, strlen(text), &why), 0);
    assert_string_equal(sorted(&o), "b-x\t\t\nb/1.jpg\t17\t\nb/10.jpg\t5\t\"e\"\nb/2.jpg\t\t\n");
    assert_int_equal(o.refused, 1);
    assert_string_equal(o.first_refused, "../etc/passwd");
    fe_objects_fini(&o);
    assert_int_equal(fe_objects_parse(&o, "a\0b", 3, &why), -EBADMSG);
    fe_objects_fini(&o);
}

static void pages(void **state)
{
    static const char page[] =
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        "<Name>bucket</Name><Prefix>set/</Prefix><IsTruncated>true</IsTruncated>"
        "<Contents><Key>set/a&amp;b.jpg</Key><Size>12</Size><ETag>&quot;0123&quot;</ETag><Owner><ID>x</ID></"
        "Owner></Contents>"
        "<Contents><Key>set/</Key><Size>0</Size></Contents><Contents><Key>set/c/</Key><Size>0</Size></"
        "Contents>"
        "<Contents><Size>7</Size><Key>set/c/d.jpg</Key></Contents><Contents><Key>other/e.jpg</Key></Contents>"
        "<NextContinuationToken>1/+=</NextContinuationToken></ListBucketResult>";
    static const char error[] = "<Error><Code>NoSuchBucket</Code></Error>";
    struct fe_objects o = {0};
    struct im_text why = {""};
    char token[64] = "";

    (void)state;
    assert_int_equal(fe_objects_parse_s3(&o, page, strlen(page), "set/", token, sizeof token, &why), 0);
    assert_string_equal(sorted(&o), "a&b.jpg\t12\t\"0123\"\nc/d.jpg\t7\t\n");
    assert_string_equal(token, "1/+=");
    assert_int_equal(fe_objects_parse_s3(&o, page, strlen(page), "set/", token, 3, &why), -EBADMSG);
    assert_int_equal(fe_objects_parse_s3(&o, page, strlen(page) - 9, "set/", token, sizeof token, &why),
                     -EBADMSG);
    assert_int_equal(fe_objects_parse_s3(&o, error, strlen(error), "", token, sizeof token, &why), -EBADMSG);
    fe_objects_fini(&o);
}

static void look_up(void **state)
{
    const struct tree *tree = *state;
    struct fe_listing listing;
    struct im_text why = {""};
    struct fe_objects o = {0};
    char path[32], etag[32], text[8192] = "";
    size_t used = 0;
    int64_t size;

    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "d%d/%d.jpg", i % 7, i);
        snprintf(etag, sizeof etag, "\"%d\"", i);
        assert_int_equal(fe_objects_add(&o, path, i, i % 2 ? etag : ""), 0);
    }
    fe_objects_sort(&o);
    for (uint64_t i = 0; i < o.count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%.*s\n",
                                 (int)strcspn(o.bytes + o.line[i], "\n"), o.bytes + o.line[i]);
    tree_file(tree, "m/listing", text);
    assert_int_equal(fe_listing_open(tree_path(tree, "m"), &listing, &why), 0);
    for (int i = 0; i < 300; i++) {
        char wanted[32];

        snprintf(path, sizeof path, "d%d/%d.jpg", i % 7, i);
        snprintf(wanted, sizeof wanted, "\"%d\"", i);
        if (i % 2 == 0)
            wanted[0] = 0;
        assert_true(fe_listing_find(&listing, path, &size, etag, sizeof etag));
        assert_int_equal(size, i);
        assert_string_equal(etag, wanted);
    }
    assert_false(fe_listing_find(&listing, "d0/1.jpg", &size, etag, sizeof etag));
    assert_false(fe_listing_find(&listing, "", &size, etag, sizeof etag));
    assert_false(fe_listing_find(&listing, "zzz", &size, etag, sizeof etag));
    fe_listing_close(&listing);
    tree_file(tree, "m/listing", "");
    assert_int_equal(fe_listing_open(tree_path(tree, "m"), &listing, &why), 0);
    assert_false(fe_listing_find(&listing, "d0/0.jpg", &size, etag, sizeof etag));
    fe_listing_close(&listing);
    assert_int_equal(fe_listing_open(tree_path(tree, "none"), &listing, &why), -ENOENT);
    fe_objects_fini(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
        cmocka_unit_test(texts),
        cmocka_unit_test(pages),
        cmocka_unit_test_setup_teardown(look_up, tree_setup, tree_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
