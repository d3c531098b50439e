"""Images as training material: reading, sizes, sources, preprocessing, augmentation. Decoding needs Pillow.

reading.py        bytes -> RGB, whatever kind of image it is; bad ones refused in a line
resizing.py       any size -> one size
sources.py        a folder or a tar archive of class folders, read one image at a time
squares.py        all of a source at one size, decoded once and kept on disk, or read ahead where they are too many
gathering.py      files, folders and archives that a user names, in one stream
preprocessing.py  mean image, channel mean, normalise, PCA, whitening; fitted on the training part, stored
augmentation.py   flips, crops, colours, drawn from a passed generator
"""

from elman.data.images.augmentation import Augmentation, colour_spread
from elman.data.images.gathering import gather
from elman.data.images.preprocessing import Preprocessing, fit, normalisation
from elman.data.images.reading import BadImageError, Limits, decode
from elman.data.images.resizing import centre_crop, fit_square, resize_shorter, to_float
from elman.data.images.sources import ImageSource, Item, open_images
from elman.data.images.squares import SquareImages

__all__ = [
    "Augmentation",
    "BadImageError",
    "ImageSource",
    "Item",
    "Limits",
    "Preprocessing",
    "SquareImages",
    "centre_crop",
    "colour_spread",
    "decode",
    "fit",
    "fit_square",
    "gather",
    "normalisation",
    "open_images",
    "resize_shorter",
    "to_float",
]
