"""Files and folders become arrays, or a DataError that names the file and place."""

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganglion.data import load_csv, load_images, load_npz, load_wavs, read_wav, resample
from ganglion.errors import DataError, TrustError

RATE = 8000


def _table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def _wav(path: Path, data: bytes, width: int = 2, channels: int = 1, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def _tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def test_an_npz_gives_the_arrays_that_are_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, inputs=np.eye(3), y=np.arange(3))
    found = load_npz(path, x="inputs")
    np.testing.assert_array_equal(found.x, np.eye(3))
    np.testing.assert_array_equal(found.y, np.arange(3))


def test_an_npz_without_the_arrays_or_with_others_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.eye(3), y=np.arange(2))
    with pytest.raises(DataError, match=r"no array 'z'.*\['x', 'y'\]"):
        load_npz(path, y="z")
    with pytest.raises(DataError, match=r"\[3, 3\].*\[2\]"):
        load_npz(path)
    np.savez(path, x=np.array([{}], object), y=np.arange(1))
    with pytest.raises(TrustError, match="pickled"):
        load_npz(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="cut short"):
        load_npz(path)


@pytest.mark.parametrize(("text", "target", "x", "y", "classes"), [
    ("1,2,0\n3,4,1\n", -1, [[1, 2], [3, 4]], [0, 1], ()),
    ("a,b,c\n1,2,0\n3,4,1\n", "b", [[1, 0], [3, 1]], [2, 4], ()),
    ("kind,b\nred,2\nblue,4\nred,5\n", 0, [[2], [4], [5]], [1, 0, 1], ("blue", "red")),
    ("5.1,setosa\r\n\r\n6,virginica\r\n", -1, [[5.1], [6]], [0, 1], ("setosa", "virginica")),
])
def test_a_table_splits_into_samples_and_targets(tmp_path, text, target, x, y, classes):
    found = load_csv(_table(tmp_path, text), target)
    np.testing.assert_array_equal(found.x, np.array(x, np.float32))
    np.testing.assert_array_equal(found.y, y)
    assert found.classes == classes


@pytest.mark.parametrize(("text", "target", "message"), [
    ("a,b,c\n1,2,0\n3,four,1\n", -1, r"line 3, column 2: 'four' is no number"),
    ("a,b,c\n1,2,0\n3,4,\n", 0, r"line 3, column 3: '' is no number"),
    ("1,2\n3,four\n", 1, r"line 1, column 2: '2' is a number"),
    ("1,2,0\n\n3,4\n", -1, r"line 3: 2 columns; expected 3"),
    ("a,b\n1,2\n", "c", r"no column 'c'.*\['a', 'b'\]"),
    ("1,2\n", "c", "holds no names"), ("1,2\n", 2, "2 columns"), ("1\n2\n", -1, "1 columns"),
    ("", -1, "no lines"), ("a,b\n", -1, "no lines"),
])
def test_a_wrong_table_is_refused_with_its_line(tmp_path, text, target, message):
    with pytest.raises(DataError, match=message):
        load_csv(_table(tmp_path, text), target)


def test_a_folder_of_images_gives_pixels_and_the_class_of_their_sub_folder(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    for name, each in zip(("b/0.png", "a/deep/1.png", "b/2.png"), pixels):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(each).save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    found = load_images(tmp_path, 4, 5)
    assert found.classes == ("a", "b")
    np.testing.assert_array_equal(found.y, [0, 1, 1])
    np.testing.assert_allclose(found.x, pixels[[1, 0, 2]] / 255, rtol=1e-6)
    assert load_images(tmp_path, 2, 2, channels=1).x.shape == (3, 2, 2, 1)


def test_a_folder_without_classes_or_with_broken_files_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        load_images(tmp_path / "nowhere", 4, 4)
    with pytest.raises(DataError, match=r"holds no files .*\.png"):
        load_images(tmp_path, 4, 4)
    (tmp_path / "loose.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"loose\.png.*sub-folder.*label="):
        load_images(tmp_path, 4, 4)
    with pytest.raises(DataError, match=r"loose\.png: not a readable image"):
        load_images(tmp_path, 4, 4, label=lambda path: path.stem)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_of_every_width_has_its_full_scale_at_one(tmp_path, width):
    top = 2 ** (8 * width - 1)
    whole = [-top, -1, 0, 1, top - 1]
    data = b"".join((n + (128 if width == 1 else 0)).to_bytes(width, "little", signed=width > 1)
                    for n in whole)
    sound, rate = read_wav(_wav(tmp_path / "a.wav", data, width))
    assert rate == RATE
    assert sound.dtype == np.float32
    np.testing.assert_array_equal(sound[:, 0], (np.array(whole) / top).astype(np.float32))


def test_wavs_are_mixed_resampled_padded_and_cut(tmp_path):
    left, right = np.array([100, 200, 300], "<i2"), np.array([300, 0, -300], "<i2")
    _wav(tmp_path / "seven_1.wav", np.stack([left, right], 1).tobytes(), channels=2)
    tone = (_tone(440, 16000) * 2 ** 14).astype("<i2")
    _wav(tmp_path / "nine_1.wav", tone.tobytes(), rate=16000)
    found = load_wavs(tmp_path, RATE, 2000, label=lambda path: path.name.split("_")[0])
    assert found.classes == ("nine", "seven")
    np.testing.assert_array_equal(found.y, [0, 1])
    np.testing.assert_allclose(found.x[1, :4], np.array([200, 100, 0, 0]) / 2 ** 15, rtol=1e-6)
    np.testing.assert_allclose(found.x[0, 100:1900], _tone(440, RATE)[100:1900] / 2, atol=1e-3)


def test_a_damaged_wav_is_read_or_refused_and_nothing_else(tmp_path):
    whole = _wav(tmp_path / "a.wav", bytes(400), channels=2).read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(2000):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(0, 60, rng.integers(1, 5))] = rng.integers(0, 256)
        try:
            read_wav(io.BytesIO(data[:rng.integers(1, 900)].tobytes()))
        except DataError:
            refused += 1
    assert 0 < refused < 2000


@pytest.mark.parametrize(("found", "wanted"), [(8000, 16000), (44100, 16000), (16000, 8000)])
def test_resampling_keeps_what_both_rates_can_hold_and_nothing_else(found, wanted):
    kept = resample(_tone(700, found), found, wanted)
    edge = wanted // 50
    np.testing.assert_allclose(kept[edge:-edge], _tone(700, wanted)[edge:-edge], atol=1e-3)
    if wanted < found:
        lost = resample(_tone(0.6 * wanted, found), found, wanted)
        assert np.abs(lost[edge:-edge]).max() < 1e-3


def test_a_wav_that_is_none_or_cut_short_is_refused(tmp_path):
    path = _wav(tmp_path / "a" / "b.wav", bytes(200))
    whole = path.read_bytes()
    for data, message in ((b"", "not a readable"), (whole[:30], "not a readable"),
                          (whole[:-50], "cut short"), (b"RIFF" + bytes(60), "not a readable"),
                          (whole[:20] + struct.pack("<H", 3) + whole[22:], "expected PCM")):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"b\.wav: .*{message}"):
            load_wavs(tmp_path, RATE, 100)
    with pytest.raises(DataError, match="no such file"):
        read_wav(tmp_path / "c.wav")
