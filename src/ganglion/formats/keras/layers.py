"""One layer of a Keras 3 configuration as a layer of this project.

A configuration is a mapping such as `{"module": "keras.layers", "class_name": "Dense", "config":
{"units": 10, ...}}`. It may come from a stranger's file: every key is either understood, known to
change nothing, or refused.
"""

import dataclasses
import reprlib
from collections.abc import Callable, Mapping, Sequence

from ganglion import layers as L
from ganglion.errors import ModelError, TrustError, UnsupportedOp
from ganglion.layers.base import Layer, UnaryLayer
from ganglion.layers.network import InputLayer

Json = Mapping[str, object]

MAX_DEPTH = 16
"""Layers inside layers, networks inside networks."""

CLASSES: Mapping[str, type[Layer]] = {c.__name__: c for c in (
    L.Activation, L.Add, L.Average, L.AveragePooling1D, L.AveragePooling2D, L.BatchNormalization,
    L.Bidirectional, L.Concatenate, L.Conv1D, L.Conv2D, L.Conv2DTranspose, L.Cropping1D,
    L.Cropping2D, L.Dense, L.DepthwiseConv2D, L.Dot, L.Dropout, L.ELU, L.Embedding, L.Flatten,
    L.GRU, L.GlobalAveragePooling1D, L.GlobalAveragePooling2D, L.GlobalMaxPooling1D,
    L.GlobalMaxPooling2D, L.LSTM, L.LayerNormalization, L.LeakyReLU, L.MaxPooling1D,
    L.MaxPooling2D, L.Maximum, L.Minimum, L.MultiHeadAttention, L.Multiply, L.Permute, L.ReLU,
    L.RepeatVector, L.Reshape, L.SeparableConv2D, L.SimpleRNN, L.Softmax, L.Subtract,
    L.TimeDistributed, L.UpSampling1D, L.UpSampling2D, L.ZeroPadding1D, L.ZeroPadding2D)}

_HARMLESS = frozenset({
    "name", "dtype", "trainable", "seed", "implementation", "unroll", "zero_output_for_mask",
    "use_cudnn", "synchronized", "flash_attention", "autocast", "input_length", "renorm_momentum",
    "optional", "data_format", "axis"})
"""Keys that change no result where the layer does not have them as arguments."""

_MUST_BE: Mapping[str, tuple[object, ...]] = {
    "stateful": (False,), "mask_zero": (False,), "noise_shape": (None,), "renorm": (False,),
    "renorm_clipping": (None,), "quantization_config": (None,), "sparse": (False,),
    "ragged": (False,), "use_gate": (False,), "sliding_window": (None,), "rms_scaling": (False,),
    "attention_axes": (None, (1,), [1], 1), "weights": (None,), "lora_rank": (None,),
    "lora_alpha": (None,), "quantization_mode": (None,), "time_major": (False,)}
"""Keys without a counterpart here, with the values at which they change nothing."""

_ADVICE = {"stateful": "; for a network run step by step use session.stream() instead",
           "mask_zero": "; masks do not exist here, cut or pad the sequences outside"}


@dataclasses.dataclass(frozen=True)
class ReadLayer:
    """A layer, and why training it would not do what its configuration asks for."""

    layer: Layer
    notes: tuple[str, ...] = ()


def read_layer(entry: Json, depth: int = 0, trainable: bool = True) -> ReadLayer:
    """The layer of a configuration, called as the file calls it.

    Raises TrustError for code in the file, UnsupportedOp for what has no counterpart here,
    ModelError for a malformed entry.
    """
    kind = text(entry, "class_name", "a layer")
    config = mapping_of(entry, "config", f"layer {kind}")
    name = text(config, "name", f"layer {kind}")
    where = f"layer {kind} {name!r}"
    if depth > MAX_DEPTH:
        raise ModelError(f"{where} is nested more than {MAX_DEPTH} deep")
    check_origin(entry, kind, where)
    if kind == "InputLayer":
        return ReadLayer(_input(config, name, where))
    check_precision(config, where)
    if kind not in CLASSES:
        raise UnsupportedOp(f"{where}: there is no such layer here; known are "
                            f"{', '.join(sorted(CLASSES))}. Replace it in Keras by these")
    cls = CLASSES[kind]
    fields = {f.name for f in dataclasses.fields(cls)}
    arguments: dict[str, object] = {"name": name}
    notes: list[str] = []
    for key, value in config.items():
        if key.endswith("_initializer"):
            continue  # the weights themselves are read
        if key in fields and key not in ("name", "trainable"):
            arguments[key] = _argument(kind, key, value, where, depth)
        elif key.endswith("_constraint") or key == "activity_regularizer":
            if value is not None:
                notes.append(f"{where} has the {key} {_kind(value)}, which training here does "
                             "not know; remove it in Keras to train")
        elif key in _MUST_BE:
            if value not in _MUST_BE[key]:
                raise UnsupportedOp(f"{where}: {key}={short(value)} has no counterpart here; "
                                    f"expected {_MUST_BE[key][0]!r}{_ADVICE.get(key, '')}")
        elif key not in _HARMLESS and value is not None:
            raise UnsupportedOp(f"{where}: the argument {key}={short(value)} is not known here; "
                                "save the network without it")
    arguments["trainable"] = trainable and config.get("trainable", True) is not False
    missing = {f.name for f in dataclasses.fields(cls) if f.init
               and f.default is dataclasses.MISSING} - set(arguments)
    if missing:
        raise ModelError(f"{where}: its configuration lacks {', '.join(sorted(missing))}")
    make: Callable[..., Layer] = cls
    return ReadLayer(make(**arguments), tuple(notes))


def text(mapping: Json, key: str, where: str) -> str:
    """`mapping[key]`, which must be a string; ModelError otherwise."""
    value = mapping.get(key) if isinstance(mapping, Mapping) else None
    if not isinstance(value, str):
        raise _malformed(where, key, "a string", value)
    return value


def items(mapping: Json, key: str, where: str) -> Sequence[object]:
    """`mapping[key]`, which must be a list; ModelError otherwise."""
    value = mapping.get(key)
    if not isinstance(value, list | tuple):
        raise _malformed(where, key, "a list", value)
    return value


def mapping_of(mapping: Json, key: str, where: str) -> Json:
    """`mapping[key]`, which must be a mapping; ModelError otherwise."""
    value = mapping.get(key)
    if not isinstance(value, Mapping):
        raise _malformed(where, key, "an object", value)
    return value


def objects(mapping: Json, key: str, where: str) -> list[Json]:
    """`mapping[key]`, which must be a list of mappings; ModelError otherwise."""
    found = []
    for value in items(mapping, key, where):
        if not isinstance(value, Mapping):
            raise _malformed(where, key, "a list of objects", value)
        found.append(value)
    return found


def shape_of(mapping: Json, key: str, where: str) -> list[int | None]:
    """`mapping[key]`, which must be a shape with its batch; ModelError otherwise."""
    found: list[int | None] = []
    for value in items(mapping, key, where):
        if value is not None and not isinstance(value, int):
            raise _malformed(where, key, "a list of integers and null", value)
        found.append(value)
    if not found:
        raise _malformed(where, key, "a shape with its batch", found)
    return found


def _malformed(where: str, key: str, want: str, value: object) -> ModelError:
    return ModelError(f"{where}: {key!r} in its configuration must be {want}, found "
                      f"{short(value)}; the file is damaged or not of Keras 3")


def check_origin(entry: Json, kind: str, where: str) -> None:
    """Refuses code (TrustError) and classes that are not Keras's own (UnsupportedOp)."""
    if kind == "Lambda":
        raise TrustError(f"{where} holds Python code, which is never run; write it with "
                         "built-in layers in Keras and save again")
    module, registered = entry.get("module"), entry.get("registered_name")
    own = isinstance(module, str) and (module == "keras" or module.startswith("keras."))
    if not own or registered not in (None, kind):
        raise UnsupportedOp(f"{where} is a custom object of {module or registered!r}; only "
                            "Keras's own layers can be read, write it with those")
    if isinstance(module, str) and ".ops" in module:
        raise UnsupportedOp(f"{where} is an operation on tensors, not a layer; use the layer "
                            "instead (Add, Multiply, Concatenate, Reshape ...)")


def check_precision(config: Json, where: str) -> None:
    """UnsupportedOp unless the layer computes in float32."""
    policy = config.get("dtype")
    if isinstance(policy, Mapping):
        policy = mapping_of(policy, "config", where).get("name")
    if policy not in (None, "float32"):
        raise UnsupportedOp(f"{where} computes with the policy {short(policy)}; expected "
                            "'float32': set keras.config.set_dtype_policy('float32') and save "
                            "again (ganglion quantizes by itself)")


def _input(config: Json, name: str, where: str) -> InputLayer:
    shape = shape_of(config, "batch_shape", where)
    dtype = config.get("dtype", "float32")
    if not isinstance(dtype, str):
        raise ModelError(f"{where}: dtype must be a name, found {short(dtype)}")
    if config.get("sparse") or config.get("ragged"):
        raise UnsupportedOp(f"{where}: sparse and ragged inputs have no counterpart here")
    return InputLayer(tuple(shape[1:]), shape[0], dtype, name=name)


def _argument(kind: str, key: str, value: object, where: str, depth: int) -> object:
    """The value of one argument; the layer itself checks its type."""
    if key.endswith("_regularizer"):
        return _regularizer(value, f"{where}: {key}")
    if key in ("activation", "recurrent_activation"):
        return _activation(value, f"{where}: {key}", depth)
    if key in ("layer", "backward_layer") and value is not None:
        if not isinstance(value, Mapping):
            raise ModelError(f"{where}: {key} must be a layer's configuration")
        if value.get("class_name") in ("Sequential", "Functional"):
            raise UnsupportedOp(f"{where} wraps a whole network; wrap each of its layers instead")
        inner = read_layer(value, depth + 1)
        if inner.notes:
            raise UnsupportedOp(inner.notes[0])
        return inner.layer
    if key == "seed":
        return value if isinstance(value, int) else None
    single = (kind, key) in (("BatchNormalization", "axis"), ("Softmax", "axis"),
                             ("MultiHeadAttention", "output_shape"))
    if single and isinstance(value, list | tuple) and len(value) == 1:
        return value[0]
    return value


def _activation(value: object, where: str, depth: int) -> object:
    if not isinstance(value, Mapping):
        return value
    kind = value.get("class_name")
    if kind in CLASSES:
        inner = read_layer(value, depth + 1).layer
        if isinstance(inner, UnaryLayer):
            return inner
    if kind == "__lambda__":
        raise TrustError(f"{where} holds Python code, which is never run; use a named activation")
    raise UnsupportedOp(f"{where} is the custom function {short(value.get('config'))}; use one of "
                        "Keras's named activations")


def _regularizer(value: object, where: str) -> L.L1L2 | None:
    if value is None:
        return None
    kind = _kind(value)
    config = value.get("config") if isinstance(value, Mapping) else None
    if kind not in ("L1", "L2", "L1L2") or not isinstance(config, Mapping):
        raise UnsupportedOp(f"{where} is {kind}; known are L1, L2 and L1L2")
    factors = {}
    for name in ("l1", "l2"):
        factor = config.get(name, 0.0)
        if factor is None:
            factor = 0.0
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise ModelError(f"{where}: {name} must be a number, found {factor!r}")
        factors[name] = factor
    return L.L1L2(**factors)


def _kind(value: object) -> str:
    """The class of a configured object, for messages."""
    return str(value.get("class_name")) if isinstance(value, Mapping) else short(value)


def short(value: object) -> str:
    """A value of a stranger's file, cut to a readable length and depth."""
    return reprlib.repr(value)
