"""Laws of Stream, over both bindings."""

import threading

import numpy as np
import pytest
from tests.support.hand_made import COUNTER, HandMade, artefact

from ganglion.errors import DataError
from ganglion.runtime import Session

X = np.array([[2, 3]], np.float32)


def test_state_lives_between_calls_and_reset_brings_back_the_start(session):
    stream = session("COUNTER").stream()
    assert stream.names == ("total", "steps")
    assert np.array_equal(stream.get("total"), [1, 0])
    answers = [stream.run(X).item() for _ in range(3)]
    assert answers == [6, 22, 48]  # (1 + 5 n) * n
    assert stream.get("steps") == 3
    stream.reset()
    assert stream.run(X).item() == 6


def test_run_into_steps_like_run(session):
    network = session("COUNTER")
    stream, y = network.stream(), np.empty((1, 1), np.float32)
    for n in range(1, 4):
        stream.run_into(X, y)
        assert y.item() == (1 + 5 * n) * n


def test_streams_of_one_session_are_independent(session):
    network = session("COUNTER")
    one, two = network.stream(), network.stream()
    one.run(X)
    assert two.run(X).item() == 6
    assert one.run(X).item() == 22


def test_session_of_a_network_with_state_points_to_stream(session):
    network = session("COUNTER")
    assert network.state_bytes == 128
    for call in (lambda: network.run(X), lambda: network.run_into(X, np.empty((1, 1), "f4"))):
        with pytest.raises(DataError, match=r"session\.stream\(\)"):
            call()


def test_a_refused_call_leaves_the_state(session):
    stream = session("COUNTER").stream()
    with pytest.raises(DataError):
        stream.run(np.zeros((2, 2), np.float32))
    with pytest.raises(DataError):
        stream.run(np.zeros((1, 2), complex))
    assert stream.get("steps") == 0


def test_set_then_get_gives_the_same_and_checks_shape_dtype_and_name(session):
    stream = session("COUNTER").stream()
    stream.set("total", np.array([5.0, 6.0]))
    stream.set("steps", 4)
    assert np.array_equal(stream.get("total"), [5, 6])
    assert stream.get("total").dtype == np.float32
    assert stream.run(X).item() == (11 + 5) * 5
    with pytest.raises(DataError, match=r"'total'.*\[3\], expected \[2\]"):
        stream.set("total", np.zeros(3))
    with pytest.raises(DataError, match=r"'steps'.*float64"):
        stream.set("steps", 1.5)
    with pytest.raises(DataError, match=r"no tensor 'weights'.*'total', 'steps'"):
        stream.get("weights")


def test_state_has_its_axes_in_the_order_of_its_shape_however_it_is_stored(session):
    stream = session("WOVEN").stream()
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    stream.run(x)
    assert np.array_equal(stream.get("kept"), x)
    stream.set("kept", x * 10)
    stream.run(x)
    assert np.array_equal(stream.get("kept"), x * 11)


def test_get_gives_a_copy(session):
    stream = session("COUNTER").stream()
    stream.get("total")[...] = 77
    assert np.array_equal(stream.get("total"), [1, 0])


def test_restore_continues_where_save_was(session):
    network = session("COUNTER")
    stream = network.stream()
    stream.run(X)
    saved = stream.save()
    expected = [stream.run(X).item() for _ in range(3)]
    other = network.stream()
    other.restore(saved)
    assert [other.run(X).item() for _ in range(3)] == expected
    stream.restore(saved)
    assert stream.save() == saved


def test_foreign_or_damaged_state_is_refused_and_changes_nothing(session, binding):
    stream = session("COUNTER").stream()
    stream.run(X)
    saved = stream.save()
    changed = HandMade(**{**vars(COUNTER), "digest": "other"})
    foreign = Session.from_files(artefact(changed), binding=binding).stream().save()
    with pytest.raises(DataError, match="another network"):
        stream.restore(foreign)
    damaged = [saved[:-1], saved + b"0", saved[:-1] + bytes([saved[-1] ^ 1]), saved[:40], b""]
    for bad in damaged:
        with pytest.raises(DataError):
            stream.restore(bad)
    assert stream.save() == saved


def test_two_threads_in_one_stream_are_refused_or_take_turns(session):
    """Never both at once: what succeeded is counted, nothing else happened."""
    stream = session("COUNTER").stream()
    done, refused = [], []

    def work():
        y = np.empty((1, 1), np.float32)
        for _ in range(2000):
            try:
                stream.run_into(X, y)
            except DataError as error:
                refused.append(str(error))
            else:
                done.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stream.get("steps") == len(done)
    assert all("own session.stream()" in why for why in refused)


def test_stream_of_a_stateless_network_is_just_calls(session):
    stream = session("LINEAR").stream()
    assert stream.names == ()
    assert stream.run(X).item() == -4.5
    stream.reset()
    stream.restore(stream.save())
    assert stream.run(X).item() == -4.5
