#!/usr/bin/env python3
"""Makes padding.txt: what torchvision's pads put where, as RandomCrop(size, padding, pad_if_needed=True, padding_mode) has them.

    python3 make_padding.py > padding.txt
torchvision 0.29.2, Pillow 13.0.0. Lines: MODE SIDE PADDING SIZE, then the places in the image, in order, of the padded axis."""
import torchvision.transforms.functional as F
from PIL import Image

for mode in ("edge", "reflect", "symmetric"):
    for side, padding, size in ((32, 4, 32), (20, 4, 32), (5, 2, 5), (3, 4, 9), (2, 3, 8), (1, 2, 5), (100, 8, 64), (7, 3, 40), (9, 1, 12)):
        image = Image.new("L", (side, 1))
        image.putdata(range(side))
        image = F.pad(image, [padding, 0], padding_mode=mode)
        if image.width < size:
            image = F.pad(image, [size - image.width, 0], padding_mode=mode)
        print(mode, side, padding, size, *image.tobytes())
