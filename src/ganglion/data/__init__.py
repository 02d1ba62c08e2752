"""Data for training: files and folders into arrays, features, augmentation. NumPy and the
standard library (images: pillow); nothing here knows of networks."""

from ganglion.data.augment import (
    Augmentation,
    GaussianNoise,
    InputAugmentation,
    MixUp,
    RandomCrop,
    RandomFlip,
    RandomSpeed,
    RandomTimeShift,
    RandomTranslation,
    augmented,
)
from ganglion.data.draws import Draws
from ganglion.data.features import log_mel_spectrogram
from ganglion.data.images import load_images
from ganglion.data.sound import load_wavs, read_wav, resample
from ganglion.data.tables import Samples, load_csv, load_npz

__all__ = ["Augmentation", "Draws", "GaussianNoise", "InputAugmentation", "MixUp", "RandomCrop",
           "RandomFlip", "RandomSpeed", "RandomTimeShift", "RandomTranslation", "Samples",
           "augmented", "load_csv", "load_images", "load_npz", "load_wavs", "log_mel_spectrogram",
           "read_wav", "resample"]
