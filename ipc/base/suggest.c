/* Optimal string alignment distance (Damerau-Levenshtein without edits inside a swap), by the usual table
 * with three rows.
 *
 * Case counts. The first letter must be the same. Keyboards play no part: all edits cost one. */
#include "ipc/base/suggest.h"

#include <stdbool.h>
#include <string.h>

enum {
    WORD_MAX = 63,
    PREFIX_MIN = 3 /* shorter beginnings say too little */
};

static int min(int a, int b)
{
    return a < b ? a : b;
}

int im_edit_distance(const char *a, const char *b)
{
    int rows[3][WORD_MAX + 1];
    size_t na = strlen(a), nb = strlen(b);

    if (na > WORD_MAX || nb > WORD_MAX)
        return strcmp(a, b) == 0 ? 0 : WORD_MAX + 1;
    for (size_t k = 0; k <= nb; k++)
        rows[0][k] = (int)k;
    for (size_t i = 1; i <= na; i++) {
        int *now = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];

        now[0] = (int)i;
        for (size_t k = 1; k <= nb; k++) {
            now[k] = min(min(above[k], now[k - 1]) + 1, above[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                now[k] = min(now[k], two_above[k - 2] + 1);
        }
    }
    return rows[na % 3][nb];
}

/* Few typing errors are in the first letter, and a word with another beginning is another word: "top" is no "stop", nor
 * "restart" "start". Two letters that were swapped are an error like any other. */
static bool begins_alike(const char *a, const char *b)
{
    return a[0] == b[0] || (a[0] && b[0] && a[0] == b[1] && a[1] == b[0]);
}

const char *im_nearest(const char *word, const char *const *words, size_t n)
{
    int length = (int)strlen(word);
    int limit = min(3, (length + 1) / 3);
    const char *best = NULL;

    for (size_t i = 0; i < n && length <= WORD_MAX; i++) {
        int distance = im_edit_distance(word, words[i]);

        if (length >= PREFIX_MIN && distance > 1 && strncmp(word, words[i], (size_t)length) == 0)
            distance = 1; /* an abbreviation is as good as one typing error */
        if (distance <= limit && begins_alike(word, words[i])) {
            best = words[i];
            limit = distance - 1;
        }
    }
    return best;
}
