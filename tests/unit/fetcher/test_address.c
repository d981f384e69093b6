/* Where objects are, and by what right. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fetcher/address.h"
#include "ipc/base/count.h"
#include "ipc/config/conf.h"
#include "reader/dataset/mirror.h"
#include "tests/unit/reader/tree.h"

static void forget_environment(void)
{
    static const char *const names[] = {"AWS_ENDPOINT_URL",
                                        "AWS_ENDPOINT_URL_S3",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_PROFILE",
                                        "AWS_DEFAULT_PROFILE",
                                        "AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_CONFIG_FILE",
                                        "AWS_SHARED_CREDENTIALS_FILE"};

    for (size_t i = 0; i < IM_COUNT(names); i++)
        unsetenv(names[i]);
}

static const char *url_of(const char *data_dir, const char *path)
{
    static char url[FE_URL_BYTES];
    static struct im_text text;
    struct fe_address address;

    if (fe_address_read(data_dir, &address, &text) < 0)
        return text.s;
    assert_int_equal(fe_address_url(&address, path, url, sizeof url), 0);
    return url;
}

static void urls(void **state)
{
    const struct tree *tree = *state;

    forget_environment();
    setenv("HOME", tree->root, 1);
    assert_string_equal(url_of("https://host/images", "a/b.jpg"), "https://host/images/a/b.jpg");
    assert_string_equal(url_of("http://host:8000//", "a b+%.jpg"), "http://host:8000/a%20b%2B%25.jpg");
    assert_string_equal(url_of("https://host", "\xc3\xa9.jpg"), "https://host/%C3%A9.jpg");
    assert_string_equal(url_of("s3://pictures/a b/c/", "d.jpg"),
                        "https://pictures.s3.us-east-1.amazonaws.com/a%20b/c/d.jpg");
    setenv("AWS_REGION", "eu-west-1", 1);
    assert_string_equal(url_of("s3://my.pictures", "d.jpg"),
                        "https://s3.eu-west-1.amazonaws.com/my.pictures/d.jpg");
    setenv("AWS_ENDPOINT_URL", "http://minio:9000/", 1);
    assert_string_equal(url_of("s3://pictures/x", "d.jpg"), "http://minio:9000/pictures/x/d.jpg");
    setenv("AWS_ENDPOINT_URL_S3", "minio", 1);
    assert_non_null(strstr(url_of("s3://pictures/x", "d.jpg"), "must begin with http"));
    setenv("AWS_ENDPOINT_URL_S3", "", 1);
    setenv("AWS_REGION", "eu\r\nX: y", 1);
    assert_non_null(strstr(url_of("s3://pictures/x", "d.jpg"), "is no region"));
    unsetenv("AWS_REGION");
    /* A list of shards: their folder. */
    assert_string_equal(url_of("https://[::1]:8000/a/train-{000..127}.tar", "b.tar"),
                        "https://[::1]:8000/a/b.tar");
    assert_string_equal(url_of("https://host/a/x.tar::https://host/a/y.tar", "y.tar"),
                        "https://host/a/y.tar");
    assert_string_equal(url_of("s3://pictures/x/{train,val}-{0..3}.tar", "d.tar"),
                        "http://minio:9000/pictures/x/d.tar");
    assert_non_null(
        strstr(url_of("https://host/a/x.tar::https://other/a/y.tar", "y"), "must be in one folder"));
    assert_non_null(strstr(url_of("s3://pic%tures/x", "d.jpg"), "names no bucket"));
}

static void keys(void **state)
{
    const struct tree *tree = *state;
    struct fe_keys k;
    char region[64];

    forget_environment();
    setenv("HOME", tree->root, 1);
    assert_int_equal(fe_keys_read(&k, NULL), 0);
    assert_string_equal(k.id, "");
    tree_file(tree, ".aws/credentials",
              "# mine\n[default]\naws_access_key_id = A1\naws_secret_access_key=S1\n\n[work]\r\n"
              "aws_access_key_id=A2\r\naws_secret_access_key = S2=/+ "
              "\r\naws_session_token=T2\r\n[half]\naws_access_key_id=A3\n");
    tree_file(tree, ".aws/config",
              "[default]\nregion = us-west-2\n[profile work]\nregion=eu-north-1\nendpoint_url = http://e:1\n"
              "s3 =\n  region = no\n[profile only]\naws_access_key_id=A4\naws_secret_access_key=S4\n");
    assert_int_equal(fe_keys_read(&k, NULL), 0);
    assert_string_equal(k.id, "A1");
    assert_string_equal(k.secret, "S1");
    assert_string_equal(k.token, "");
    assert_string_equal(url_of("s3://b", "x"), "https://b.s3.us-west-2.amazonaws.com/x");
    setenv("AWS_PROFILE", "work", 1);
    assert_int_equal(fe_keys_read(&k, NULL), 0);
    assert_string_equal(k.id, "A2");
    assert_string_equal(k.secret, "S2=/+");
    assert_string_equal(k.token, "T2");
    assert_string_equal(url_of("s3://b", "x"), "http://e:1/b/x");
    setenv("AWS_PROFILE", "only", 1);
    assert_int_equal(fe_keys_read(&k, NULL), 0);
    assert_string_equal(k.secret, "S4");
    setenv("AWS_ACCESS_KEY_ID", "A5", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "S5", 1);
    assert_int_equal(fe_keys_read(&k, NULL), 0);
    assert_string_equal(k.id, "A5");
    assert_string_equal(k.token, "");
    /* A value that does not fit is none: a part of a key opens nothing. */
    assert_false(fe_profile_value("[a]\nregion=123456789\n", "a", false, "region", region, 5));
}

/* What somebody has set and cannot be used is said: requests without a signature would be refused for no visible reason. */
static void keys_that_cannot_be_used(void **state)
{
    static const struct {
        const char *profile, *says;
    } bad[] = {{"half", "aws_access_key_id without aws_secret_access_key"},
               {"typo", "there is no profile \"typo\""},
               {"role", "has no keys but role_arn"},
               {"sso", "has no keys but sso_session"}};
    const struct tree *tree = *state;
    struct im_text text = {""};
    struct fe_keys k;

    forget_environment();
    setenv("HOME", tree->root, 1);
    tree_file(tree, ".aws/credentials", "[half]\naws_access_key_id=A3\n");
    tree_file(tree, ".aws/config",
              "[profile role]\nrole_arn=arn:1\n[profile sso]\nsso_session = x\n[profile open]\nregion=a\n");
    for (size_t i = 0; i < IM_COUNT(bad); i++) {
        setenv("AWS_PROFILE", bad[i].profile, 1);
        assert_int_equal(fe_keys_read(&k, &text), -EINVAL);
        assert_non_null(strstr(text.s, bad[i].says));
        assert_string_equal(k.id, "");
    }
    setenv("AWS_PROFILE", "open", 1); /* a region of a public bucket */
    assert_int_equal(fe_keys_read(&k, &text), 0);
    setenv("AWS_ACCESS_KEY_ID", "A5", 1);
    assert_int_equal(fe_keys_read(&k, &text), -EINVAL);
    assert_non_null(strstr(text.s, "AWS_SECRET_ACCESS_KEY is not"));
    setenv("AWS_PROFILE", "typo", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "S5", 1);
    assert_int_equal(fe_keys_read(&k, &text), 0); /* the environment comes first */
    forget_environment();
}

static void options(void **state)
{
    static const char *const bad[] = {
        "ftp://host/x",           "http://",        "s3:///x", "https://me:secret@host/x",
        "https://host/x?token=1", "http://host/a b"};
    struct im_text text;
    struct im_conf conf;
    char path[PATH_MAX];
    uint64_t bytes;

    (void)state;
    im_conf_defaults(&conf);
    for (size_t i = 0; i < IM_COUNT(bad); i++) {
        text.s[0] = 0;
        snprintf(conf.data_dir, sizeof conf.data_dir, "%s", bad[i]);
        assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
        assert_non_null(strstr(text.s, "data-dir"));
        assert_null(strstr(text.s, "secret"));
        /* Verbs without a configuration, such as data index. */
        assert_int_equal(rd_mirror_path(bad[i], "/cache", path, sizeof path, &text), -EINVAL);
    }
    snprintf(conf.data_dir, sizeof conf.data_dir, "https://host/x/");
    assert_int_equal(im_conf_check(&conf, &text), 0);
    assert_int_equal(im_conf_cache_size("auto", &bytes), 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(im_conf_cache_size("200G", &bytes), 0);
    assert_int_equal(bytes, (uint64_t)200 << 30);
    assert_int_equal(im_conf_cache_size("3MiB", &bytes), 0);
    assert_int_equal(bytes, 3 << 20);
    assert_int_equal(im_conf_cache_size("70000", &bytes), 0);
    for (size_t i = 0; i < 7; i++)
        assert_true(
            im_conf_cache_size(((const char *[]){"", "G", "1", "1X", "5GG", "-1G", "999999999999999P"})[i],
                               &bytes) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(urls, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(keys, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(keys_that_cannot_be_used, tree_setup, tree_teardown),
        cmocka_unit_test(options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
