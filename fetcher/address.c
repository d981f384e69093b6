#include "fetcher/address.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "reader/dataset/shard_list.h"

#define PROFILES_MAX ((size_t)1 << 20)

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

/* Copies a value without spaces around it; "" where it does not fit: a part of a key is none. */
static void copy_value(const char *begin, const char *end, char *ret, size_t size)
{
    while (begin < end && isspace((unsigned char)*begin))
        begin++;
    while (end > begin && isspace((unsigned char)end[-1]))
        end--;
    if ((size_t)(end - begin) >= size)
        end = begin;
    memcpy(ret, begin, (size_t)(end - begin));
    ret[end - begin] = 0;
}

static bool is_section(const char *line, const char *end, const char *profile, bool is_config)
{
    const char *close = memchr(line, ']', (size_t)(end - line));
    char name[256];

    if (!close)
        return false;
    copy_value(line + 1, close, name, sizeof name);
    if (is_config && strcmp(profile, "default") != 0)
        return strncmp(name, "profile", 7) == 0 && strcmp(name + 7 + strspn(name + 7, " \t"), profile) == 0;
    return strcmp(name, profile) == 0;
}

bool fe_profile_value(const char *bytes, const char *profile, bool is_config, const char *key, char *ret,
                      size_t size)
{
    bool is_inside = false;

    for (const char *line = bytes; *line;) {
        const char *end = line + strcspn(line, "\n"), *equals = memchr(line, '=', (size_t)(end - line));
        char name[64];

        if (*line == '[')
            is_inside = is_section(line, end, profile, is_config);
        /* An indented line belongs to the key above it. */
        else if (is_inside && equals && !isspace((unsigned char)*line) && *line != '#' && *line != ';') {
            copy_value(line, equals, name, sizeof name);
            if (strcasecmp(name, key) == 0) {
                copy_value(equals + 1, end, ret, size);
                return *ret != 0;
            }
        }
        line = *end ? end + 1 : end;
    }
    return false;
}

static char *read_profiles(const char *name, const char *file)
{
    const char *path = variable(name), *home = variable("HOME");
    char usual[PATH_MAX], *bytes = NULL;
    size_t n;

    snprintf(usual, sizeof usual, "%s/.aws/%s", home ? home : "", file);
    if (!path && !home)
        return NULL;
    if (im_read_file(path ? path : usual, PROFILES_MAX, &bytes, &n, NULL) < 0)
        return NULL;
    return bytes;
}

static const char *profile_name(void)
{
    const char *name = variable("AWS_PROFILE");

    name = name ? name : variable("AWS_DEFAULT_PROFILE");
    return name ? name : "default";
}

static void forget(char *bytes)
{
    if (bytes)
        explicit_bzero(bytes, strlen(bytes));
    free(bytes);
}

/* What a profile's keys come from where they are not in it. */
static const char *const elsewhere[] = {"role_arn", "sso_session", "sso_start_url", "credential_process",
                                        "web_identity_token_file"};

/* One of the two files, as far as keys go. */
struct profile {
    bool is_there, has_keys;
    const char *elsewhere; /* NULL: nothing names such a source */
};

static bool has_profile(const char *bytes, const char *profile, bool is_config)
{
    for (const char *line = bytes; *line;) {
        const char *end = line + strcspn(line, "\n");

        if (*line == '[' && is_section(line, end, profile, is_config))
            return true;
        line = *end ? end + 1 : end;
    }
    return false;
}

static int read_profile(const char *name, const char *file, bool is_config, struct fe_keys *ret_keys,
                        struct profile *ret, struct im_text *text)
{
    const char *profile = profile_name();
    char *bytes = read_profiles(name, file), value[1024];
    bool has_id, has_secret;

    *ret = (struct profile){.is_there = bytes && has_profile(bytes, profile, is_config)};
    if (!bytes)
        return 0;
    has_id =
        fe_profile_value(bytes, profile, is_config, "aws_access_key_id", ret_keys->id, sizeof ret_keys->id);
    has_secret = fe_profile_value(bytes, profile, is_config, "aws_secret_access_key", ret_keys->secret,
                                  sizeof ret_keys->secret);
    ret->has_keys = has_id && has_secret;
    if (ret->has_keys && !fe_profile_value(bytes, profile, is_config, "aws_session_token", ret_keys->token,
                                           sizeof ret_keys->token))
        ret_keys->token[0] = 0;
    for (size_t i = 0; i < IM_COUNT(elsewhere) && !ret->elsewhere; i++)
        if (fe_profile_value(bytes, profile, is_config, elsewhere[i], value, sizeof value))
            ret->elsewhere = elsewhere[i];
    forget(bytes);
    if (has_id == has_secret)
        return 0;
    *ret_keys = (struct fe_keys){.id = ""};
    return im_fail(text, -EINVAL, "the profile \"%.100s\" of AWS has %s without %s (~/.aws/%s)", profile,
                   has_id ? "aws_access_key_id" : "aws_secret_access_key",
                   has_id ? "aws_secret_access_key" : "aws_access_key_id", file);
}

static int keys_of_profile(struct fe_keys *ret, struct im_text *text)
{
    const char *name = profile_name(), *source;
    const bool is_chosen = strcmp(name, "default") != 0;
    struct profile credentials, config = {.is_there = false};
    int err = read_profile("AWS_SHARED_CREDENTIALS_FILE", "credentials", false, ret, &credentials, text);

    if (err == 0 && !credentials.has_keys)
        err = read_profile("AWS_CONFIG_FILE", "config", true, ret, &config, text);
    if (err < 0 || credentials.has_keys || config.has_keys)
        return err;
    *ret = (struct fe_keys){.id = ""};
    source = config.elsewhere ? config.elsewhere : credentials.elsewhere;
    if (is_chosen && source)
        return im_fail(
            text, -EINVAL,
            "the profile \"%.100s\" (AWS_PROFILE) has no keys but %s, which is not asked: put what `aws "
            "configure export-credentials --profile %.100s --format env` prints in the environment",
            name, source, name);
    if (is_chosen && !credentials.is_there && !config.is_there)
        return im_fail(text, -EINVAL,
                       "there is no profile \"%.100s\" (AWS_PROFILE) in ~/.aws/credentials or ~/.aws/config "
                       "(AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE)",
                       name);
    return 0;
}

int fe_keys_read(struct fe_keys *ret, struct im_text *text)
{
    const char *id = variable("AWS_ACCESS_KEY_ID"), *secret = variable("AWS_SECRET_ACCESS_KEY"),
               *token = variable("AWS_SESSION_TOKEN");

    *ret = (struct fe_keys){.id = ""};
    if (!id && !secret)
        return keys_of_profile(ret, text);
    if (!id || !secret)
        return im_fail(text, -EINVAL, "%s is set, and %s is not: requests need both, or neither",
                       id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                       id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
    copy_value(id, id + strlen(id), ret->id, sizeof ret->id);
    copy_value(secret, secret + strlen(secret), ret->secret, sizeof ret->secret);
    if (token)
        copy_value(token, token + strlen(token), ret->token, sizeof ret->token);
    return 0;
}

/* Of the environment, else of the profile in ~/.aws/config. */
static bool setting(const char *first, const char *second, const char *key, char *ret, size_t size)
{
    const char *value = variable(first);
    char *bytes;
    bool found;

    value = value ? value : variable(second);
    if (value) {
        copy_value(value, value + strlen(value), ret, size);
        return *ret != 0;
    }
    bytes = read_profiles("AWS_CONFIG_FILE", "config");
    found = bytes && fe_profile_value(bytes, profile_name(), true, key, ret, size);
    forget(bytes);
    return found;
}

int fe_escape(const char *s, bool keeps_slashes, char *ret, size_t size)
{
    size_t n = 0;

    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (n + 4 > size)
            return -ENAMETOOLONG;
        if (c < 0x80 && (isalnum(c) || strchr("-_.~", c) || (keeps_slashes && c == '/')))
            ret[n++] = (char)c;
        else
            n += (size_t)snprintf(ret + n, size - n, "%%%02X", c);
    }
    ret[n] = 0;
    return 0;
}

/* Where requests for the bucket go, without a slash at the end. */
static int bucket_address(const char *bucket, struct fe_address *ret, struct im_text *text)
{
    char endpoint[1024] = "";
    bool has_endpoint =
        setting("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "endpoint_url", endpoint, sizeof endpoint);
    size_t n = strlen(endpoint);
    int length;

    while (n > 0 && endpoint[n - 1] == '/')
        endpoint[--n] = 0;
    if (has_endpoint && strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0)
        return im_fail(
            text, -EINVAL,
            "the endpoint of S3 is \"%.200s\" (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or endpoint_url "
            "of the profile): it must begin with http:// or https://",
            endpoint);
    if (has_endpoint)
        length = snprintf(ret->bucket, sizeof ret->bucket, "%s/%s", endpoint, bucket);
    else if (strchr(bucket, '.')) /* a name with dots has no certificate */
        length =
            snprintf(ret->bucket, sizeof ret->bucket, "https://s3.%s.amazonaws.com/%s", ret->region, bucket);
    else
        length =
            snprintf(ret->bucket, sizeof ret->bucket, "https://%s.s3.%s.amazonaws.com", bucket, ret->region);
    return length < 0 || (size_t)length >= sizeof ret->bucket
               ? im_fail(text, -EINVAL, "the address of the bucket is too long")
               : 0;
}

static int read_s3(const char *s, struct fe_address *ret, struct im_text *text)
{
    const char *key = s + strcspn(s, "/");
    char bucket[256], escaped[3 * sizeof ret->prefix];
    size_t n;
    int err;

    copy_value(s, key, bucket, sizeof bucket);
    if (!*bucket ||
        strspn(bucket, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != strlen(bucket))
        return im_fail(text, -EINVAL, "\"s3://%.200s\" names no bucket", s);
    if (!setting("AWS_REGION", "AWS_DEFAULT_REGION", "region", ret->region, sizeof ret->region))
        snprintf(ret->region, sizeof ret->region, "us-east-1");
    if (strspn(ret->region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(ret->region))
        return im_fail(text, -EINVAL, "\"%.60s\" is no region (AWS_REGION)", ret->region);
    key += strspn(key, "/");
    n = strlen(key);
    while (n > 0 && key[n - 1] == '/')
        n--;
    if (n + 2 > sizeof ret->prefix)
        return im_fail(text, -EINVAL, "the prefix of \"s3://%.200s\" is too long", s);
    snprintf(ret->prefix, sizeof ret->prefix, "%.*s%s", (int)n, key, n ? "/" : "");
    err = bucket_address(bucket, ret, text);
    if (err == 0)
        err = fe_escape(ret->prefix, true, escaped, sizeof escaped);
    if (err == 0 &&
        (size_t)snprintf(ret->base, sizeof ret->base, "%s/%s", ret->bucket, escaped) >= sizeof ret->base)
        err = im_fail(text, -EINVAL, "the address of \"s3://%.200s\" is too long", s);
    return err;
}

static int read_folder(const char *data_dir, struct fe_address *ret, struct im_text *text)
{
    size_t n = strlen(data_dir);

    *ret = (struct fe_address){.is_s3 = strncmp(data_dir, "s3://", 5) == 0};
    if (ret->is_s3)
        return read_s3(data_dir + 5, ret, text);
    while (n > 0 && data_dir[n - 1] == '/')
        n--;
    if (n + 2 > sizeof ret->base)
        return im_fail(text, -EINVAL, "the address \"%.200s\" is too long", data_dir);
    snprintf(ret->base, sizeof ret->base, "%.*s/", (int)n, data_dir);
    return 0;
}

int fe_address_read(const char *data_dir, struct fe_address *ret, struct im_text *text)
{
    char *buffer = malloc((size_t)2 * PATH_MAX);
    int err = buffer ? rd_shards_split_url(data_dir, buffer, buffer + PATH_MAX, PATH_MAX, text) : -ENOMEM;

    if (err == 0)
        err = read_folder(buffer, ret, text);
    free(buffer);
    return err;
}

int fe_address_url(const struct fe_address *address, const char *path, char *ret, size_t size)
{
    size_t n = strlen(address->base);

    if (n >= size)
        return -ENAMETOOLONG;
    memcpy(ret, address->base, n + 1);
    return fe_escape(path, true, ret + n, size - n);
}
