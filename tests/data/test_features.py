"""Laws of the log-mel spectrogram."""

import numpy as np
import pytest

from ganglion.data import log_mel_spectrogram
from ganglion.data.features import hann, mel, mel_bank
from ganglion.errors import DataError

RATE, BANDS = 8000, 24


def _tone(hertz):
    return np.sin(2 * np.pi * hertz * np.arange(RATE // 2) / RATE)


def test_mel_is_a_thousand_at_a_kilohertz():
    assert mel(1000.0) == pytest.approx(1000, abs=0.1)
    assert mel(0.0) == 0


@pytest.mark.parametrize("hertz", [300, 1000, 2500])
def test_a_tone_is_loudest_in_the_band_whose_centre_is_nearest(hertz):
    centres = np.linspace(mel(20), mel(RATE / 2), BANDS + 2)[1:-1]
    found = log_mel_spectrogram(_tone(hertz), RATE, bands=BANDS)
    assert (found.argmax(axis=1) == np.abs(centres - mel(hertz)).argmin()).all()


def test_neighbouring_bands_share_every_bin_out_completely():
    bank = mel_bank(RATE, 512, BANDS, 20.0, RATE / 2)
    edges = np.linspace(mel(20), mel(RATE / 2), BANDS + 2)[[1, -2]]
    bins = mel(np.arange(257) * RATE / 512)
    between = (bins >= edges[0]) & (bins <= edges[1])
    np.testing.assert_allclose(bank.sum(axis=0)[between], 1, rtol=1e-12)
    assert bank.min() >= 0


def test_ten_times_the_amplitude_is_a_hundred_times_the_energy():
    sound = np.random.default_rng(0).normal(size=RATE)
    quiet, loud = (log_mel_spectrogram(s, RATE, floor=0.0) for s in (sound, 10 * sound))
    np.testing.assert_allclose(loud - quiet, np.log(100), rtol=1e-4)


def test_a_sound_moved_by_a_hop_has_its_frames_moved_by_one():
    sound = np.random.default_rng(0).normal(size=(2, RATE))
    hop = round(0.016 * RATE)
    whole, later = log_mel_spectrogram(sound, RATE), log_mel_spectrogram(sound[:, hop:], RATE)
    np.testing.assert_allclose(whole[:, 1:], later, rtol=1e-6)
    assert whole.shape == (2, 1 + (RATE - round(0.032 * RATE)) // hop, 40)


def test_silence_is_the_logarithm_of_the_floor():
    found = log_mel_spectrogram(np.zeros(RATE), RATE, floor=1e-3)
    np.testing.assert_allclose(found, np.log(1e-3), rtol=1e-6)


def test_hann_windows_half_overlapped_sum_to_one():
    np.testing.assert_allclose(hann(64)[:32] + hann(64)[32:], 1, rtol=1e-12)


@pytest.mark.parametrize(("samples", "settings", "message"), [
    (100, {}, "at least one frame of 256"), (RATE, {"bands": 400}, "holds no bin"),
    (RATE, {"high_hz": 5000.0}, "up to 4000 Hz"), (RATE, {"bands": 0}, "at least one"),
    (RATE, {"hop_seconds": 0.0}, "expected at least 2 and 1"),
])
def test_settings_without_a_meaning_are_refused(samples, settings, message):
    with pytest.raises(DataError, match=message):
        log_mel_spectrogram(np.zeros(samples), RATE, **settings)
