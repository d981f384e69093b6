/* augment/transform/crop.c in whole numbers: the short side becomes `resize`, the long one resize * long / short cut to a whole
 * number; the crop begins at the half of what is left over, rounded to even. Sides below the crop get zeros on both
 * sides first. The resize works on bytes, so that it rounds as validation's does. */
#include "trainer/export/onnx_preprocess.h"

#define IN(...)                                                                                              \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        __VA_ARGS__, NULL                                                                                    \
    }

enum { SIDES = 2 };

static const char *number(struct tr_onnx *o, const char *name, int64_t value)
{
    return tr_onnx_ints(o, name, &value, 1);
}

/* [height, width] of a value [batch, 3, height, width]. */
static const char *sides(struct tr_onnx *o, const char *value, const char *output)
{
    struct tr_onnx_node *node = tr_onnx_add(o, "Shape", output, IN(value));

    tr_onnx_set_int(o, node, "start", 2);
    tr_onnx_set_int(o, node, "end", 4);
    return output;
}

static const char *resize(struct tr_onnx *o, const struct tr_source *s, const char *pixels)
{
    struct tr_onnx_node *node;
    const char *both = sides(o, pixels, "pre.sides");

    tr_onnx_set_int(o, tr_onnx_add(o, "ReduceMin", "pre.short", IN(both)), "keepdims", 1);
    tr_onnx_add(o, "Mul", "pre.scaled", IN(both, number(o, "pre.resize", s->resize)));
    tr_onnx_add(o, "Div", "pre.sizes", IN("pre.scaled", "pre.short"));
    node = tr_onnx_add(o, "Shape", "pre.others", IN(pixels));
    tr_onnx_set_int(o, node, "end", 2);
    node = tr_onnx_add(o, "Concat", "pre.all.sizes", IN("pre.others", "pre.sizes"));
    tr_onnx_set_int(o, node, "axis", 0);
    /* All four extents: onnxruntime moves transpositions past a Resize and gets one with axes wrong. */
    node = tr_onnx_add(o, "Resize", "pre.resized", IN(pixels, "", "", "pre.all.sizes"));
    tr_onnx_set_int(o, node, "antialias", 1);
    tr_onnx_set_int(o, node, "exclude_outside", 1); /* at the edges, as Pillow does */
    tr_onnx_set_text(o, node, "coordinate_transformation_mode", "half_pixel");
    tr_onnx_set_text(o, node, "keep_aspect_ratio_policy", "stretch");
    tr_onnx_set_text(o, node, "mode", "linear");
    return "pre.resized";
}

/* Zeros around what is smaller than the crop, the odd one behind. */
static const char *pad(struct tr_onnx *o, const char *pixels)
{
    struct tr_onnx_node *node;

    tr_onnx_add(o, "Sub", "pre.lack.raw", IN("pre.size", sides(o, pixels, "pre.lack.sides")));
    tr_onnx_add(o, "Max", "pre.lack", IN("pre.lack.raw", number(o, "pre.zero", 0)));
    tr_onnx_add(o, "Div", "pre.lack.before", IN("pre.lack", "pre.two"));
    tr_onnx_add(o, "Sub", "pre.lack.after", IN("pre.lack", "pre.lack.before"));
    node = tr_onnx_add(o, "Concat", "pre.pads", IN("pre.lack.before", "pre.lack.after"));
    tr_onnx_set_int(o, node, "axis", 0);
    node = tr_onnx_add(
        o, "Pad", "pre.padded",
        IN(pixels, "pre.pads", "", tr_onnx_ints(o, "pre.pad.axes", (const int64_t[]){2, 3}, SIDES)));
    tr_onnx_set_text(o, node, "mode", "constant");
    return "pre.padded";
}

/* With k the half of what is left over, cut: k, and one more where both the rest and k are odd. */
static const char *crop(struct tr_onnx *o, const struct tr_source *s, const char *pixels)
{
    number(o, "pre.size", s->size);
    number(o, "pre.two", 2);
    if (s->resize < s->size)
        pixels = pad(o, pixels);
    tr_onnx_add(o, "Sub", "pre.rest", IN(sides(o, pixels, "pre.rest.sides"), "pre.size"));
    tr_onnx_add(o, "Div", "pre.half", IN("pre.rest", "pre.two"));
    tr_onnx_add(o, "Mod", "pre.rest.odd", IN("pre.rest", "pre.two"));
    tr_onnx_add(o, "Mod", "pre.half.odd", IN("pre.half", "pre.two"));
    tr_onnx_add(o, "Mul", "pre.half.up", IN("pre.rest.odd", "pre.half.odd"));
    tr_onnx_add(o, "Add", "pre.begin", IN("pre.half", "pre.half.up"));
    tr_onnx_add(o, "Add", "pre.end", IN("pre.begin", "pre.size"));
    tr_onnx_add(
        o, "Slice", "pre.cropped",
        IN(pixels, "pre.begin", "pre.end", tr_onnx_ints(o, "pre.crop.axes", (const int64_t[]){2, 3}, SIDES)));
    return "pre.cropped";
}

/* (pixel / 255 - mean) / std as one multiplication and one addition. */
static const char *normalise(struct tr_onnx *o, const struct tr_source *s, const char *pixels)
{
    static const int64_t shape[] = {1, 3, 1, 1};
    float *scale = tr_onnx_alloc(o, 3 * sizeof *scale), *shift = tr_onnx_alloc(o, 3 * sizeof *shift);

    if (!scale || !shift)
        return "";
    for (int c = 0; c < 3; c++) {
        scale[c] = (float)(1 / (255 * s->std[c]));
        shift[c] = (float)(-s->mean[c] / s->std[c]);
    }
    tr_onnx_set_int(o, tr_onnx_add(o, "Cast", "pre.float", IN(pixels)), "to", TR_ONNX_FLOAT);
    tr_onnx_add(o, "Mul", "pre.times", IN("pre.float", tr_onnx_floats(o, "pre.scale", shape, 4, scale)));
    tr_onnx_add(o, "Add", "pre.normalised", IN("pre.times", tr_onnx_floats(o, "pre.shift", shape, 4, shift)));
    return "pre.normalised";
}

const char *tr_onnx_preprocess(struct tr_onnx *o, const struct tr_source *s, const char *input)
{
    struct tr_onnx_node *node = tr_onnx_add(o, "Transpose", "pre.planes", IN(input));

    tr_onnx_set_ints(o, node, "perm", (const int64_t[]){0, 3, 1, 2}, 4);
    return normalise(o, s, crop(o, s, resize(o, s, "pre.planes")));
}
