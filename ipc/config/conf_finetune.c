/* What of a network is trained: freeze, unfreeze-epochs, freeze-bn, layer-decay; and fine-tuning, which the
 * recipe of that name and the rule for the head belong to.
 *
 *     freeze          := N | ITEM { "," ITEM }
 *     ITEM            := "backbone" | "stem" | "layer" 1.. | "stages." 0..
 *     unfreeze-epochs := E { "," E }        ascending
 *
 * N is the stem and the first N stages of blocks. */
#include "ipc/config/conf_table.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ipc/base/count.h"

static const char *const off_words[] = {"", "false", "no", "off", "0"}, *const on_words[] = {"true", "yes",
                                                                                             "on", "1"};

static bool is_one_of(const char *s, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(s, words[i]) == 0)
            return true;
    return false;
}

bool im_conf_finetunes(const struct im_conf *c)
{
    return !is_one_of(c->finetune, off_words, IM_COUNT(off_words));
}

const char *im_conf_finetune_file(const struct im_conf *c)
{
    return im_conf_finetunes(c) && !is_one_of(c->finetune, on_words, IM_COUNT(on_words)) ? c->finetune : NULL;
}

/* ---- stages ---- */

/* A whole number of up to two digits that is all of s[0 .. n-1]; -1: another text. */
static int number_in(const char *s, size_t n)
{
    if (n < 1 || n > 2 || !isdigit((unsigned char)s[0]) || !isdigit((unsigned char)s[n - 1]))
        return -1;
    return n == 1 ? s[0] - '0' : (s[0] - '0') * 10 + s[1] - '0';
}

/* The bit of an item's stage, of all for "backbone"; 0: it names none. */
static uint32_t item_bits(const char *s, size_t n, int stages)
{
    static const struct {
        const char *before;
        int first;
    } forms[] = {{"layer", 1}, {"stages.", 0}};

    if (n == 8 && memcmp(s, "backbone", n) == 0)
        return (UINT32_C(2) << stages) - 1;
    if (n == 4 && memcmp(s, "stem", n) == 0)
        return 1;
    for (size_t i = 0; i < IM_COUNT(forms); i++) {
        size_t before = strlen(forms[i].before);
        int number =
            n > before && memcmp(s, forms[i].before, before) == 0 ? number_in(s + before, n - before) : -1;

        if (number >= forms[i].first && number < forms[i].first + stages)
            return UINT32_C(1) << (number - forms[i].first + 1);
    }
    return 0;
}

/* -EINVAL: the text names no stages. Empty: none. */
static int parse_stages(const char *s, int stages, uint32_t *ret)
{
    int number = number_in(s, strlen(s));

    *ret = 0;
    if (number >= 1 && number <= stages) {
        *ret = (UINT32_C(2) << number) - 1;
        return 0;
    }
    while (*s) {
        size_t n = strcspn(s, ",");
        uint32_t bits = item_bits(s, n, stages);

        if (!bits || (s[n] == ',' && !s[n + 1]))
            return -EINVAL;
        *ret |= bits;
        s += n + (s[n] == ',');
    }
    return 0;
}

static int count_bits(uint32_t bits)
{
    int count = 0;

    for (; bits; bits &= bits - 1)
        count++;
    return count;
}

uint32_t im_conf_frozen_stages(const struct im_conf *c, uint32_t epoch)
{
    uint32_t epochs[IM_CONF_MILESTONES_MAX], frozen;
    int steps = im_conf_milestones(c->unfreeze_epochs, epochs), passed = 0;

    if (parse_stages(c->freeze, im_conf_model_stages(c), &frozen) < 0 || steps <= 0)
        return frozen;
    while (passed < steps && epochs[passed] <= epoch)
        passed++;
    if (passed == steps)
        return 0;
    for (int stage = 31; stage >= 0 && passed > 0; stage--) {
        passed -= (int)(frozen >> stage & 1);
        frozen &= ~(UINT32_C(1) << stage);
    }
    return frozen;
}

/* ---- checks ---- */

static int check_unfreezing(const struct im_conf *c, uint32_t frozen, struct im_text *text)
{
    uint32_t epochs[IM_CONF_MILESTONES_MAX];
    int count = *c->unfreeze_epochs ? im_conf_milestones(c->unfreeze_epochs, epochs) : 0;

    if (count < 0)
        return im_fail(text, -EINVAL,
                       "unfreeze-epochs: \"%.100s\" is not a list of ascending whole numbers such as 2,4,6",
                       c->unfreeze_epochs);
    if (count > 0 && !frozen)
        return im_fail(text, -EINVAL,
                       "unfreeze-epochs has no effect without freeze, such as --freeze backbone");
    if (count > count_bits(frozen))
        return im_fail(
            text, -EINVAL,
            "unfreeze-epochs: %d epochs for the %d stages that freeze names: each epoch trains one "
            "more of them, the last one all that are left",
            count, count_bits(frozen));
    if (count > 0 && epochs[count - 1] >= c->epochs)
        return im_fail(text, -EINVAL, "unfreeze-epochs: a run of %lld epochs ends before epoch %u is over",
                       (long long)c->epochs, epochs[count - 1] + 1);
    return 0;
}

int im_conf_check_finetune(const struct im_conf *c, struct im_text *text)
{
    const int stages = im_conf_model_stages(c);
    uint32_t frozen;

    if (im_conf_finetunes(c) && !c->init_from[0])
        return im_fail(text, -EINVAL,
                       "finetune needs the weights to begin with: --init-from FILE, or --finetune FILE");
    if (parse_stages(c->freeze, stages, &frozen) < 0)
        return im_fail(
            text, -EINVAL,
            "freeze: \"%.100s\" names no part of %s: use backbone (all but the classifier), stem, "
            "layer1 to layer%d, with commas between them, or a number up to %d (the stem and that many "
            "layers)",
            c->freeze, im_conf_choice(IM_KEY_model, c->model), stages, stages);
    if ((frozen || c->freeze_bn) && !c->init_from[0] && !c->resume[0])
        return im_fail(text, -EINVAL,
                       "%s without init-from keeps random weights: give the weights to begin with",
                       frozen ? "freeze" : "freeze-bn");
    return check_unfreezing(c, frozen, text);
}
