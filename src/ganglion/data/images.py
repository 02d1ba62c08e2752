"""Images from files, by pillow."""

import struct
import zlib
from pathlib import Path

import numpy as np

from ganglion.data.folders import Label, labelled_files
from ganglion.data.tables import Samples
from ganglion.errors import DataError
from ganglion.files import open_regular

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
"""What is taken for an image, by its suffix."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's name for so many channels."""

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
"""What pillow may take a file for, whatever its suffix: its other readers stay closed."""

MAX_PIXELS = 1 << 26
"""Pixels of an image; a few hundred bytes can announce billions."""


def load_images(folder: str | Path, height: int, width: int, channels: int = 3, *,
                scale: float = 1 / 255, label: Label | None = None) -> Samples:
    """Every image of a folder that has a sub-folder for each class.

    x float32 [rows, height, width, channels], pixels times `scale` (so 0 to 1); y the number of
    the class. Images of other sizes are resized (bicubic). `label`: gives the class of a file
    instead of its sub-folder. Raises DataError for a folder or file that can't be read so.
    """
    if height < 1 or width < 1:
        raise DataError(f"load_images(height={height}, width={width}): expected sizes from 1 up")
    files, y, classes = labelled_files(Path(folder), IMAGES, label)
    x = np.empty((len(files), height, width, channels), np.float32)
    for row, path in zip(x, files):
        row[:] = read_image(path, height, width, channels)
    x *= np.float32(scale)
    return Samples(x, np.array(y), classes)


def read_image(path: Path, height: int, width: int, channels: int) -> np.ndarray:
    """An image as uint8 [height, width, channels]; DataError if it is none."""
    from PIL import Image, UnidentifiedImageError

    if channels not in MODES:
        raise DataError(f"{path}: the network takes {channels} channels; images have 1, 3 or 4")
    try:
        with open_regular(path, DataError) as file, Image.open(file, formats=FORMATS) as image:
            _check_size(image.size, path)
            pixels = image.convert(MODES[channels]).resize((width, height))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, ArithmeticError, LookupError,
            TypeError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image: {error}") from error
    return np.asarray(pixels).reshape(height, width, channels)


def _check_size(size: tuple[int, int], path: Path) -> None:
    """Before any pixel is unpacked."""
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{path}: is an image of {size[0]} by {size[1]} pixels, expected at most "
                        f"{MAX_PIXELS} together; make it smaller")
