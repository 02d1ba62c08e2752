"""A live Keras 3 model as `fit` sees it."""

from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir

from ganglion.formats.keras.live import KerasModel, from_keras
from ganglion.formats.keras.weights import to_keras
from ganglion.ops.graph import require_model
from ganglion.training.keras.settings import Settings, read_settings
from ganglion.training.options import FitOptions


class CompiledKeras(KerasModel, Protocol):
    """What is asked of a live model that is to be trained."""

    def get_compile_config(self) -> dict[str, object]: ...

    @property
    def output_names(self) -> list[str]: ...


@dataclass(frozen=True)
class Live:
    """A compiled Keras model, read."""

    keras: CompiledKeras
    model: ir.Model
    settings: Settings

    def options(self, given: FitOptions) -> FitOptions:
        """`given`, and what the model was compiled with where that says nothing."""
        made = given.copy()
        if made.get("loss") is None:
            made["loss"] = self.settings.losses
        if made.get("optimizer") is None:
            made["optimizer"] = self.settings.optimizer
        if made.get("metrics") is None:
            made["metrics"] = self.settings.metrics
        return made

    def put_back(self, trained: ir.Model) -> None:
        """The trained weights into the Keras model."""
        to_keras(trained, self.keras)


def read_live(model: CompiledKeras) -> Live:
    """Reads network, weights and what the model was compiled with.

    Raises ModelError for what is no Keras model, and what `from_keras` and `read_settings` raise.
    """
    if not hasattr(model, "get_compile_config"):
        require_model(model, "fit")
    return Live(model, from_keras(model),
                read_settings(model.get_compile_config(), model.output_names))
