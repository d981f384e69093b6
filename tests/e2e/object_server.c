/* object_server FOLDER CONTROL [PORT]: serves a folder by HTTP on this machine, and as the bucket "bucket" of S3 (signatures
 * are asked for, but not checked), with faults. Says its port; ends with its parent.
 *
 * The file CONTROL is read for each request: words with a share in percent, or with a pattern (fnmatch) of paths:
 *
 *     stall 3     the answer stops in its middle, and the connection stays
 *     truncate 3  the connection is closed there; `reset` resets it
 *     length 3    a shorter length is announced, and as much sent
 *     flip 3      a byte is another one
 *     etag 3      another ETag is sent
 *     error 3     500; `busy`: 503 with Retry-After; `html`: a page of a proxy, with 200
 *     slow 3      a few bytes at a time
 *     expired 3   403 of S3, for the keys have expired
 *     trickle 3   two bytes a second
 *     packed 3    other bytes of the same length, said to be gzip
 *     partial 3   a half of the object as 206, where all was asked for
 *     missing PATTERN, forbidden PATTERN: 404, 403
 *     redirect    to the same path below /real/
 *     away        every connection is closed at once
 *
 * CONTROL.log gets a line a request: method, path, status. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <nettle/md5.h>

#include "ipc/base/count.h"

#define PAGE 7 /* keys a page of S3's list: few, so that there are many pages */
#define HEAD_BYTES 16384

static struct {
    const char *folder, *control;
    _Atomic unsigned requests;
    char keys[100000][256];
    size_t count;
} m;

static void nap(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* The value of a word in CONTROL; false: it is not there. */
static bool control(const char *word, char *ret, size_t size)
{
    char line[512];
    FILE *f = fopen(m.control, "r");
    bool found = false;
    const size_t n = strlen(word);

    while (f && !found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        found = strncmp(line, word, n) == 0 && (line[n] == ' ' || !line[n]);
        if (found)
            snprintf(ret, size, "%s", line[n] ? line + n + 1 : "");
    }
    if (f)
        fclose(f);
    return found;
}

/* Whether this request gets a fault; the same of each run of requests. */
static bool is_struck(const char *word, unsigned request)
{
    unsigned x = request * 2654435761u;
    char share[512];

    for (const char *c = word; *c; c++)
        x = (x ^ (unsigned char)*c) * 16777619u;
    return control(word, share, sizeof share) && (x >> 8) % 100 < strtoul(share, NULL, 10);
}

static bool matches(const char *word, const char *path)
{
    char pattern[512];

    return control(word, pattern, sizeof pattern) && fnmatch(pattern, path, 0) == 0;
}

static void note(const char *method, const char *path, int status)
{
    char name[PATH_MAX], line[2048];
    int fd, n;

    snprintf(name, sizeof name, "%s.log", m.control);
    fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    n = snprintf(line, sizeof line, "%.10s %.1500s %d\n", method, path, status);
    if (fd >= 0 && write(fd, line, (size_t)n) != n)
        perror("object_server");
    if (fd >= 0)
        close(fd);
}

static bool send_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool answer(int fd, const char *status, const char *more, const char *body)
{
    char head[4096];
    const int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n", status, more,
                           strlen(body));

    return send_all(fd, head, (size_t)n) && send_all(fd, body, strlen(body));
}

static void sum_of(const char *bytes, size_t n, char ret[MD5_DIGEST_SIZE * 2 + 3])
{
    unsigned char sum[MD5_DIGEST_SIZE];
    struct md5_ctx md5;
    char *at = ret;

    md5_init(&md5);
    md5_update(&md5, n, (const unsigned char *)bytes);
    md5_digest(&md5, sizeof sum, sum);
    *at++ = '"';
    for (size_t i = 0; i < sizeof sum; i++)
        at += snprintf(at, 3, "%02x", sum[i]);
    memcpy(at, "\"", 2);
}

/* Bytes [from, from + n) of a file, fewer at its end, and how long it is. */
static char *read_part(const char *path, size_t from, size_t *n, struct stat *ret_st)
{
    char name[2 * PATH_MAX], *bytes;
    size_t left;
    FILE *f;

    snprintf(name, sizeof name, "%s/%s", m.folder, path);
    f = strstr(path, "..") ? NULL : fopen(name, "rb");
    if (!f)
        return NULL;
    if (fstat(fileno(f), ret_st) < 0 || !S_ISREG(ret_st->st_mode)) {
        fclose(f);
        return NULL;
    }
    left = from < (size_t)ret_st->st_size ? (size_t)ret_st->st_size - from : 0;
    left = left < *n ? left : *n;
    bytes = malloc(left + 1);
    *n = bytes && fseek(f, (long)from, SEEK_SET) == 0 ? fread(bytes, 1, left, f) : 0;
    fclose(f);
    return bytes;
}

static char *read_file(const char *path, size_t *ret_n)
{
    struct stat st;

    *ret_n = SIZE_MAX;
    return read_part(path, 0, ret_n, &st);
}

/* The sum of a whole file, of which those of the last ones that were asked for are kept. */
static bool sum_of_file(const char *path, const struct stat *st, char ret[MD5_DIGEST_SIZE * 2 + 3])
{
    static struct {
        char path[256], sum[MD5_DIGEST_SIZE * 2 + 3];
        struct timespec time;
        off_t size;
    } kept[256];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    unsigned place = 0;
    bool found;
    size_t n;
    char *bytes;

    for (const char *c = path; *c; c++)
        place = place * 31 + (unsigned char)*c;
    place %= 256;
    pthread_mutex_lock(&lock);
    found = strcmp(kept[place].path, path) == 0 && kept[place].size == st->st_size &&
            memcmp(&kept[place].time, &st->st_mtim, sizeof st->st_mtim) == 0;
    if (found)
        memcpy(ret, kept[place].sum, sizeof kept[place].sum);
    pthread_mutex_unlock(&lock);
    if (found)
        return true;
    bytes = read_file(path, &n);
    if (!bytes)
        return false;
    sum_of(bytes, n, ret);
    free(bytes);
    pthread_mutex_lock(&lock);
    snprintf(kept[place].path, sizeof kept[place].path, "%.255s", path);
    memcpy(kept[place].sum, ret, sizeof kept[place].sum);
    kept[place].time = st->st_mtim;
    kept[place].size = st->st_size;
    pthread_mutex_unlock(&lock);
    return true;
}

/* False: the connection is over. */
static bool send_body(int fd, const char *bytes, size_t n, unsigned request)
{
    const struct linger reset = {1, 0};

    if (is_struck("stall", request)) {
        send_all(fd, bytes, n / 2);
        nap(3600000);
        return false;
    }
    if (is_struck("truncate", request)) {
        send_all(fd, bytes, n / 2);
        return false;
    }
    if (is_struck("reset", request)) {
        send_all(fd, bytes, n / 2);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        return false;
    }
    if (is_struck("trickle", request)) {
        for (size_t i = 0; i < n; i++, nap(500))
            if (!send_all(fd, bytes + i, 1))
                return false;
        return true;
    }
    if (is_struck("slow", request)) {
        for (size_t i = 0; i < 10; i++, nap(30))
            if (!send_all(fd, bytes + n * i / 10, n * (i + 1) / 10 - n * i / 10))
                return false;
        return true;
    }
    return send_all(fd, bytes, n);
}

static bool give(int fd, const char *path, const char *head, unsigned request)
{
    char more[512], etag[64], said[64], part[128] = "";
    const char *range = strcasestr(head, "\r\nRange: bytes="), *match = strcasestr(head, "\r\nIf-Match: ");
    size_t n, from = 0, to = SIZE_MAX - 1;
    struct stat st;
    char *bytes;
    bool goes_on, is_part, is_packed;

    if (range && sscanf(range + 15, "%zu-%zu", &from, &to) != 2)
        from = 0;
    n = to - from + 1;
    bytes = read_part(path, from, &n, &st);
    if (!bytes || matches("missing", path) || !sum_of_file(path, &st, etag)) {
        free(bytes);
        note("GET", path, 404);
        return answer(fd, "404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>");
    }
    if (match && strncmp(match + 12, etag, strlen(etag)) != 0) {
        free(bytes);
        note("GET", path, 412);
        return answer(fd, "412 Precondition Failed", "", "");
    }
    to = from + n;
    snprintf(said, sizeof said, "%s",
             is_struck("etag", request) ? "\"00000000000000000000000000000000\"" : etag);
    if (is_struck("length", request) && to - from > 100)
        to -= 100;
    if (is_struck("flip", request) && to > from)
        bytes[(to - from) / 2] ^= 1;
    is_packed = is_struck("packed", request);
    for (size_t i = 0; is_packed && i < n; i++)
        bytes[i] ^= 0x55;
    is_part = range;
    if (!range && is_struck("partial", request) && to > 1) {
        to /= 2;
        is_part = true;
    }
    if (is_part)
        snprintf(part, sizeof part, "Content-Range: bytes %zu-%zu/%lld\r\n", from, to - 1,
                 (long long)st.st_size);
    snprintf(more, sizeof more, "HTTP/1.1 %s\r\nETag: %s\r\n%s%sContent-Length: %zu\r\n\r\n",
             is_part ? "206 Partial Content" : "200 OK", said, part,
             is_packed ? "Content-Encoding: gzip\r\n" : "", to - from);
    note("GET", path, is_part ? 206 : 200);
    goes_on = send_all(fd, more, strlen(more)) && send_body(fd, bytes, to - from, request);
    free(bytes);
    return goes_on;
}

static void add_keys(const char *below)
{
    char path[2 * PATH_MAX];
    const struct dirent *e;
    DIR *dir;

    snprintf(path, sizeof path, "%s/%s", m.folder, below);
    dir = opendir(path);
    while (dir && (e = readdir(dir)) && m.count < IM_COUNT(m.keys)) {
        char name[PATH_MAX];

        if (e->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s%s%s", below, *below ? "/" : "", e->d_name);
        if (e->d_type == DT_DIR)
            add_keys(name);
        else
            snprintf(m.keys[m.count++], sizeof m.keys[0], "%.250s", name);
    }
    if (dir)
        closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* A page of ListObjectsV2. The token is the place of the next key. */
static bool list(int fd, const char *query)
{
    static pthread_mutex_t only = PTHREAD_MUTEX_INITIALIZER;
    const char *token = strstr(query, "continuation-token="), *prefix = strstr(query, "prefix=");
    size_t from = token ? strtoul(token + 19, NULL, 10) : 0, used = 0, size = 65536,
           n = prefix ? strlen(prefix + 7) : 0;
    char *body = calloc(1, size);
    bool goes_on;

    pthread_mutex_lock(&only);
    if (m.count == 0) {
        add_keys("");
        qsort(m.keys, m.count, sizeof m.keys[0], by_name);
    }
    pthread_mutex_unlock(&only);
    used = (size_t)snprintf(body, size,
                            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>bucket</Name>");
    for (size_t i = from; i < m.count && i < from + PAGE; i++) {
        char etag[64];
        size_t bytes_n = 0;
        char *bytes = read_file(m.keys[i], &bytes_n);

        if (bytes && (n == 0 || strncmp(m.keys[i], prefix + 7, n) == 0)) {
            sum_of(bytes, bytes_n, etag);
            etag[strlen(etag) - 1] = 0;
            used += (size_t)snprintf(
                body + used, size - used,
                "<Contents><Key>%s</Key><Size>%zu</Size><ETag>&quot;%s&quot;</ETag></Contents>", m.keys[i],
                bytes_n, etag + 1);
        }
        free(bytes);
    }
    if (from + PAGE < m.count)
        used += (size_t)snprintf(body + used, size - used,
                                 "<NextContinuationToken>%zu</NextContinuationToken>", from + PAGE);
    snprintf(body + used, size - used, "</ListBucketResult>");
    note("LIST", query, 200);
    goes_on = answer(fd, "200 OK", "", body);
    free(body);
    return goes_on;
}

static void unescape(char *s)
{
    char *to = s;
    unsigned c;

    for (; *s; s++)
        if (*s == '%' && sscanf(s + 1, "%2x", &c) == 1) {
            *to++ = (char)c;
            s += 2;
        } else {
            *to++ = *s;
        }
    *to = 0;
}

/* One request. False: the connection is over. */
static bool serve(int fd, char *head)
{
    unsigned request = atomic_fetch_add_explicit(&m.requests, 1, memory_order_relaxed);
    char path[4096], value[512], where[4200];
    bool is_s3, is_signed = strcasestr(head, "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=") != NULL;
    const char *of;

    if (sscanf(head, "GET /%4095s HTTP", path) != 1)
        return false;
    unescape(path);
    is_s3 = strncmp(path, "bucket/", 7) == 0;
    of = is_s3 ? path + 7 : strncmp(path, "real/", 5) == 0 ? path + 5 : path;
    if (is_s3 && !is_signed) {
        note("GET", of, 403);
        return answer(fd, "403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>");
    }
    if (is_s3 && is_struck("expired", request)) {
        note("GET", of, 403);
        return answer(fd, "403 Forbidden", "", "<Error><Code>ExpiredToken</Code></Error>");
    }
    if (is_struck("error", request)) {
        note("GET", of, 500);
        return answer(fd, "500 Internal Server Error", "", "");
    }
    if (is_struck("busy", request)) {
        note("GET", of, 503);
        return answer(fd, "503 Slow Down", "Retry-After: 1\r\n", "");
    }
    if (is_struck("html", request)) {
        note("GET", of, 200);
        return answer(fd, "200 OK", "Content-Type: text/html; charset=utf-8\r\n",
                      "<html>Please log in.</html>");
    }
    if (matches("forbidden", of)) {
        note("GET", of, 403);
        return answer(fd, "403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>");
    }
    if (!is_s3 && of == path && control("redirect", value, sizeof value)) {
        snprintf(where, sizeof where, "Location: /real/%s\r\n", of);
        note("GET", of, 302);
        return answer(fd, "302 Found", where, "");
    }
    return is_s3 && *of == '?' ? list(fd, of) : give(fd, of, head, request);
}

static void *connection(void *context)
{
    int fd = (int)(intptr_t)context;
    char head[HEAD_BYTES], value[64];
    size_t n = 0;

    for (;;) {
        ssize_t got;
        char *end;

        head[n] = 0;
        end = strstr(head, "\r\n\r\n");
        if (end) {
            end[2] = 0;
            if (control("away", value, sizeof value) || !serve(fd, head))
                break;
            n -= (size_t)(end + 4 - head);
            memmove(head, end + 4, n);
            continue;
        }
        got = n + 1 < sizeof head ? recv(fd, head + n, sizeof head - 1 - n, 0) : 0;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_attr_t attr;

    if (argc < 3)
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    m.folder = argv[1];
    m.control = argv[2];
    address.sin_port = htons(argc > 3 ? (uint16_t)strtoul(argv[3], NULL, 10) : 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 128) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        perror("object_server");
        return 1;
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 1 << 18);
    for (;;) {
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        char value[64];
        pthread_t thread;

        if (client < 0)
            continue;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (control("away", value, sizeof value) ||
            pthread_create(&thread, &attr, connection, (void *)(intptr_t)client) != 0)
            close(client);
    }
}
