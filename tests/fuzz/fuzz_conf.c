/* Arbitrary bytes as configuration: the first byte chooses YAML, the frozen form, or single "key=value"
 * lines. What is accepted must freeze, thaw and dump to the same values again; anything else must come back
 * as an error with a sentence. */
#include <stdlib.h>
#include <string.h>

#include "ipc/config/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void freeze(const struct im_conf *conf, char *frozen)
{
    if (im_conf_freeze(conf, frozen, IM_CONF_FROZEN_BYTES) < 0)
        abort();
}

static void check_round_trips(const struct im_conf *conf)
{
    static char frozen[IM_CONF_FROZEN_BYTES], again[IM_CONF_FROZEN_BYTES];
    struct im_conf other;
    char *yaml;

    freeze(conf, frozen);
    if (im_conf_thaw(&other, frozen, NULL) < 0)
        abort();
    freeze(&other, again);
    if (strcmp(frozen, again) != 0)
        abort();

    im_conf_defaults(&other);
    yaml = im_conf_dump_yaml(conf, IM_FOR_ALL);
    if (!yaml || im_conf_parse_yaml(&other, "dump", yaml, strlen(yaml), NULL) < 0)
        abort();
    free(yaml);
    memcpy(other.config, conf->config, sizeof other.config); /* never in the dump */
    freeze(&other, again);
    if (strcmp(frozen, again) != 0)
        abort();
}

/* Lines that are refused leave their key as it is; the last refusal is the result. */
static int set_lines(struct im_conf *conf, char *s, struct im_text *text)
{
    char *rest = NULL;
    int err = 0;

    for (char *line = strtok_r(s, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *equals = strchr(line, '=');
        int refused;

        if (!equals)
            continue;
        *equals = '\0';
        refused = im_conf_set(conf, line, equals + 1, text);
        err = refused < 0 ? refused : err;
    }
    check_round_trips(conf);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct im_text text = {""};
    struct im_conf conf;
    char *s;
    int err;

    if (n == 0)
        return 0;
    s = malloc(n); /* exactly as long as the input, so that a read past it is seen */
    if (!s)
        return 0;
    memcpy(s, bytes + 1, n - 1);
    s[n - 1] = '\0';
    im_conf_defaults(&conf);
    if (bytes[0] % 3 == 1)
        err = im_conf_parse_yaml(&conf, "fuzz", s, n - 1, &text);
    else if (bytes[0] % 3 == 2)
        err = set_lines(&conf, s, &text);
    else
        err = im_conf_thaw(&conf, s, &text);
    if (err == 0)
        check_round_trips(&conf);
    else if (!text.s[0])
        abort();
    if (err == 0)
        im_conf_check(&conf, &text);
    free(s);
    return 0;
}
