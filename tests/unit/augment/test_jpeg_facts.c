/* Headers of JPEG files, byte by byte. */
#include "augment/tools/jpeg_facts.h"

#include <string.h>

#include "tests/unit/ipc/base/unit.h"

#define SOI "\xff\xd8"
#define SOF(marker, components) "\xff" marker "\x00\x08\x08\x00\x10\x00\x10" components
#define SOS "\xff\xda\x00\x02"
/* APP1 with one entry of its first directory. */
#define EXIF_LE(tag, value)                                                                                  \
    "\xff\xe1\x00\x1e"                                                                                       \
    "Exif\0\0"                                                                                               \
    "II*\0"                                                                                                  \
    "\x08\0\0\0"                                                                                             \
    "\x01\0" tag "\x03\0"                                                                                    \
    "\x01\0\0\0" value "\0\0"
#define EXIF_BE(tag, value)                                                                                  \
    "\xff\xe1\x00\x1e"                                                                                       \
    "Exif\0\0"                                                                                               \
    "MM\0*"                                                                                                  \
    "\0\0\0\x08"                                                                                             \
    "\0\x01" tag "\0\x03"                                                                                    \
    "\0\0\0\x01" value "\0\0"

#define READ(bytes) au_jpeg_facts_read((const unsigned char *)(bytes), sizeof(bytes) - 1)

static void frames(void **state)
{
    (void)state;
    assert_int_equal(READ(SOI SOF("\xc0", "\x03") SOS).components, 3);
    assert_false(READ(SOI SOF("\xc0", "\x03") SOS).is_progressive);
    assert_int_equal(READ(SOI "\xff\xff" SOF("\xc2", "\x04") SOS).components, 4);
    assert_true(READ(SOI SOF("\xc2", "\x04") SOS).is_progressive);
    assert_int_equal(READ(SOI "\xff\xc4\x00\x08\x08\x00\x10\x00\x10\x09" SOF("\xc1", "\x01") SOS).components,
                     1);
    assert_int_equal(READ(SOI SOS SOF("\xc0", "\x03")).components, 0); /* behind the first scan */
}

static void orientations(void **state)
{
    (void)state;
    assert_int_equal(READ(SOI EXIF_LE("\x12\x01", "\x06\0") SOF("\xc0", "\x03")).orientation, 6);
    assert_int_equal(READ(SOI EXIF_BE("\x01\x12", "\0\x08") SOF("\xc0", "\x03")).orientation, 8);
    assert_int_equal(READ(SOI EXIF_LE("\x12\x01", "\x09\0") SOS).orientation, 0); /* there is no ninth */
    assert_int_equal(READ(SOI EXIF_LE("\x13\x01", "\x06\0") SOS).orientation, 0); /* another tag */
}

/* Cut anywhere, and with any byte changed: no fault (AddressSanitizer looks on), and sane answers. */
static void damaged(void **state)
{
    static const char file[] = SOI EXIF_LE("\x12\x01", "\x06\0") SOF("\xc0", "\x03") SOS;

    (void)state;
    for (size_t n = 0; n < sizeof file; n++) {
        unsigned char *copy = malloc(n ? n : 1);
        struct au_jpeg_facts facts;

        memcpy(copy, file, n);
        facts = au_jpeg_facts_read(copy, n);
        assert_in_range(facts.orientation, 0, 8);
        for (size_t i = 0; i < n; i++)
            for (int value = 0; value < 256; value += 51) {
                copy[i] = (unsigned char)value;
                facts = au_jpeg_facts_read(copy, n);
                assert_in_range(facts.orientation, 0, 8);
                copy[i] = (unsigned char)file[i];
            }
        free(copy);
    }
    assert_int_equal(READ("\x89PNG\r\n\x1a\n").components, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames),
        cmocka_unit_test(orientations),
        cmocka_unit_test(damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
