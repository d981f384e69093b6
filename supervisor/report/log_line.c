#include "supervisor/report/log_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "ipc/base/log.h"

int sv_log_level(const char *line)
{
    static const char *const names[] = {"level=debug", "level=info", "level=warn", "level=error"};

    if (strncmp(line, "ts=", 3) != 0)
        return -1;
    for (int level = IM_LOG_DEBUG; level <= IM_LOG_ERROR; level++)
        if (strstr(line, names[level]))
            return level;
    return -1;
}

/* What follows a value, which may be quoted and then hold escaped quotes. */
static const char *end_of_value(const char *value)
{
    if (*value != '"')
        return value + strcspn(value, " ");
    for (value++; *value && *value != '"'; value++)
        value += *value == '\\' && value[1];
    return value + (*value == '"');
}

void sv_log_value(const char *line, const char *key, char *ret, size_t n)
{
    char wanted[32];
    const char *at;
    size_t used = 0;
    bool quoted;

    snprintf(wanted, sizeof wanted, " %s=", key);
    at = strstr(line, wanted);
    at = at ? at + strlen(wanted) : "";
    quoted = *at == '"';
    at += quoted;
    while (*at && *at != (quoted ? '"' : ' ') && used + 1 < n) {
        if (quoted && *at == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        ret[used++] = *at++;
    }
    ret[used] = 0;
}

const char *sv_log_rest(const char *line)
{
    const char *message = strstr(line, " msg=");

    return message ? end_of_value(message + 5) : "";
}

struct im_json *sv_log_json(const char *line)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    const int level = sv_log_level(line);
    const size_t n = strlen(line) + 1;
    char role[32], id[16], process[64], ts[40], *text = level >= 0 ? malloc(2 * n) : NULL;
    struct im_json *j = im_json_object();

    im_json_set_str(j, "schema", "imsuper.log/1");
    if (!text) {
        im_json_set_str(j, "text", line);
        return j;
    }
    snprintf(ts, sizeof ts, "%.*s", (int)strcspn(line + 3, " "), line + 3);
    sv_log_value(line, "role", role, sizeof role);
    sv_log_value(line, "id", id, sizeof id);
    snprintf(process, sizeof process, "%s#%s", role, id);
    sv_log_value(line, "msg", text, n);
    snprintf(text + strlen(text), n, "%s", sv_log_rest(line));
    im_json_set_str(j, "time", ts);
    im_json_set_str(j, "process", process);
    im_json_set_str(j, "level", levels[level]);
    im_json_set_str(j, "text", text);
    free(text);
    return j;
}
