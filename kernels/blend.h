/* Pillow's blend of two 8-bit values, shared by the tables and the reference. */
#ifndef KERNELS_BLEND_H
#define KERNELS_BLEND_H

/* Blend.c: from + factor * (to - from) in single precision, truncated, clipped to 0..255. Pillow does not
 * clip for factors in [0, 1]; there the value cannot leave the range. */
static inline unsigned char imk_blend(int from, int to, float factor)
{
    float value = (float)from + factor * (float)(to - from);

    if (value <= 0.0F)
        return 0;
    if (value >= 255.0F)
        return 255;
    return (unsigned char)value;
}

#endif
