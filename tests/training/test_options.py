"""Law: the options of training are one bundle, told alike to a type checker, to `help` and to the
code that runs."""

import inspect
from dataclasses import fields
from typing import get_type_hints

import numpy as np
import pytest

import ganglion as gg
from ganglion import layers
from ganglion.training.options import FitOptions, Options, SharedOptions


def test_the_keywords_are_the_fields_in_name_and_type() -> None:
    assert get_type_hints(FitOptions) == get_type_hints(Options)


@pytest.mark.parametrize(("function", "bundle"), [(gg.fit, FitOptions),
                                                  (gg.distill, SharedOptions)])
def test_the_signature_names_each_option_with_its_default(function: object, bundle: type) -> None:
    parameters = inspect.signature(function).parameters  # type: ignore[arg-type]
    defaults = {f.name: f.default for f in fields(Options)}
    for name in bundle.__annotations__:
        assert parameters[name].default == defaults[name]
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def test_a_keyword_of_another_name_is_refused_by_name() -> None:
    net = layers.Sequential([layers.Input((3,)), layers.Dense(2, "softmax")])
    x, y = np.zeros((4, 3), np.float32), np.zeros(4, np.int32)
    with pytest.raises(TypeError, match=r"fit\(\) has no argument 'epoch'.*epochs"):
        gg.fit(net, x, y, loss="mse", epoch=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"distill\(\) has no argument 'augment'"):
        gg.distill(net, net, x, y, augment=())  # type: ignore[call-arg]
