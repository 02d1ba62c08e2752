"""Images from files, by pillow."""

from pathlib import Path

import numpy as np

from ganglion.data.folders import Label, labelled_files
from ganglion.data.tables import Samples, must_exist
from ganglion.errors import DataError

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
"""What is taken for an image, by its suffix."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's name for so many channels."""


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

    must_exist(path)
    if channels not in MODES:
        raise DataError(f"{path}: the network takes {channels} channels; images have 1, 3 or 4")
    try:
        with Image.open(path) as image:
            pixels = image.convert(MODES[channels]).resize((width, height))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image: {error}") from error
    return np.asarray(pixels).reshape(height, width, channels)
