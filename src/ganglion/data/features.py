"""What a network for speech reads: the energy of short frames in bands spaced as hearing is."""

import numpy as np

from ganglion.errors import DataError


def log_mel_spectrogram(sound: np.ndarray, rate: int, *, frame_seconds: float = 0.032,
                        hop_seconds: float = 0.016, bands: int = 40, low_hz: float = 20.0,
                        high_hz: float | None = None, floor: float = 1e-6) -> np.ndarray:
    """float32 [..., frames, bands] of a sound [..., samples] at `rate` samples a second.

    Frames of `frame_seconds`, one every `hop_seconds`, as many as fit; each times a Hann window,
    its power spectrum |FFT|² (length: the next power of two) weighted by `mel_bank` and summed,
    and log(energy + floor) taken. As in Davis and Mermelstein, "Comparison of Parametric
    Representations for Monosyllabic Word Recognition", 1980, without their cosine transform.
    Raises DataError for a sound shorter than a frame and for settings that leave a band empty.
    """
    frame, hop = round(frame_seconds * rate), round(hop_seconds * rate)
    if frame < 2 or hop < 1:
        raise DataError(f"frame_seconds={frame_seconds:g} and hop_seconds={hop_seconds:g} are "
                        f"{frame} and {hop} samples at {rate} Hz; expected at least 2 and 1")
    sound = np.asarray(sound, np.float32)
    if sound.ndim == 0 or sound.shape[-1] < frame:
        raise DataError(f"the sound has shape {list(sound.shape)}; expected at least one frame of "
                        f"{frame} samples along the last axis: pad it with zeros")
    size = 1 << (frame - 1).bit_length()
    bank = mel_bank(rate, size, bands, low_hz, rate / 2 if high_hz is None else high_hz)
    frames = np.lib.stride_tricks.sliding_window_view(sound, frame, axis=-1)[..., ::hop, :]
    energy = np.empty((*frames.shape[:-1], bands), np.float32)
    for place in np.ndindex(frames.shape[:-2]):
        spectrum = np.fft.rfft(frames[place] * hann(frame), size)
        energy[place] = (spectrum.real ** 2 + spectrum.imag ** 2) @ bank.T
    return np.asarray(np.log(energy + np.float32(floor)))


def hann(size: int) -> np.ndarray:
    """The periodic Hann window, 0.5 - 0.5 cos(2 pi k / size) (Harris 1978, eq. 27)."""
    turns = np.arange(size) / size
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * turns))


def mel(hz: np.ndarray | float) -> np.ndarray:
    """Hertz in mel: 2595 log10(1 + f / 700) (O'Shaughnessy, "Speech Communication", 1987)."""
    return np.asarray(2595 * np.log10(1 + np.asarray(hz, np.float64) / 700))


def mel_bank(rate: int, size: int, bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """float64 [bands, size / 2 + 1]: what each bin of an FFT adds to each band.

    Triangles of height 1 whose corners are evenly spaced in mel from `low_hz` to `high_hz`, each
    from the centre of the band before to that of the band behind, straight in mel. Raises
    DataError when a band holds no bin.
    """
    if not 0 <= low_hz < high_hz <= rate / 2 or bands < 1:
        raise DataError(f"{bands} bands from {low_hz:g} to {high_hz:g} Hz at {rate} samples a "
                        f"second; expected at least one, rising, up to {rate / 2:g} Hz")
    corners = np.linspace(mel(low_hz), mel(high_hz), bands + 2)[:, None]
    bins = mel(np.arange(size // 2 + 1) * rate / size)
    step = corners[1] - corners[0]
    bank = np.asarray(np.clip(1 - np.abs(bins - corners[1:-1]) / step, 0, None))
    if not bank.any(axis=1).all():
        raise DataError(f"{bands} bands from {low_hz:g} to {high_hz:g} Hz are too many for an FFT "
                        f"of {size} at {rate} Hz: a band holds no bin; take fewer bands or longer "
                        "frames")
    return bank
