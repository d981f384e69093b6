/* The matrices of the geometric operations, each as its library computes it, in double precision and in the
 * same order of operations: a last bit here can move a nearest neighbour. */
#include "kernels/ops.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

void imk_affine_shift_scale_rotate(struct imk_affine *a, uint32_t width, uint32_t height, double degrees,
                                   double scale, double dx, double dy)
{
    double cx = width / 2.0 - 0.5, cy = height / 2.0 - 0.5;

    /* cv2.getRotationMatrix2D, then the shift. */
    double angle = degrees * (pi / 180);
    double alpha = cos(angle) * scale, beta = sin(angle) * scale;
    double b0 = (1 - alpha) * cx - beta * cy + dx * width;
    double b1 = beta * cx + (1 - alpha) * cy + dy * height;

    /* warpAffine's inversion of (alpha beta b0; -beta alpha b1). */
    double d = 1.0 / (alpha * alpha + beta * beta);
    double m0 = alpha * d, m1 = beta * -d, m3 = -beta * -d, m4 = alpha * d;

    memcpy(a->m, (double[6]){m0, m1, -m0 * b0 - m1 * b1, m3, m4, -m3 * b0 - m4 * b1}, sizeof a->m);
}

/* Python's round(value, 15), which Pillow takes the sine and cosine through: the double nearest to the
 * decimal number. The product has a rounding error of its own, hence the second look. */
static double round_15(double value)
{
    double n = rint(value * 1e15), rest = fma(value, 1e15, -n);

    return (n + (rest > 0.5) - (rest < -0.5)) / 1e15;
}

void imk_affine_rotate(struct imk_affine *a, uint32_t width, uint32_t height, double degrees)
{
    double turn = fmod(degrees, 360.0);
    double angle = -((turn < 0 ? turn + 360.0 : turn) * (pi / 180.0));
    double c = round_15(cos(angle)), s = round_15(sin(angle)), cx = width / 2.0, cy = height / 2.0;

    memcpy(a->m, (double[6]){c, s, c * -cx + s * -cy + cx, -s, c, -s * -cx + c * -cy + cy}, sizeof a->m);
}

void imk_affine_shear(struct imk_affine *a, double magnitude_x, double magnitude_y)
{
    /* torchvision goes by the angle, in degrees, and back; so does this. */
    double x = tan(atan(magnitude_x) * (180.0 / pi) * (pi / 180.0));
    double y = atan(magnitude_y) * (180.0 / pi) * (pi / 180.0);

    memcpy(a->m, (double[6]){1, x, 0, sin(y) / cos(y), 1, 0}, sizeof a->m);
}

void imk_affine_translate(struct imk_affine *a, int32_t right, int32_t down)
{
    memcpy(a->m, (double[6]){1, 0, -(double)right, 0, 1, -(double)down}, sizeof a->m);
}
