"""A Keras 3 network's configuration as symbolic tensors; nested networks are laid open."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.formats.keras.layers import (
    MAX_DEPTH,
    Json,
    check_origin,
    items,
    mapping_of,
    objects,
    read_layer,
    shape_of,
    short,
    text,
)
from ganglion.formats.limits import DEFAULT, Limits
from ganglion.layers.attention import MultiHeadAttention
from ganglion.layers.base import Layer, Tensor, WeightSource, snake_case
from ganglion.layers.network import Functional, Input, InputLayer
from ganglion.ops import marks
from ganglion.ops.marks import UNTRAINABLE
from ganglion.ops.shapes import Shapes

NETWORKS = ("Sequential", "Functional", "Model")
MAX_LAYERS = 100_000
"""Layers and calls of one network."""

Node = tuple[str, int]
"""A call of a layer: its name and the number of the call."""


@dataclass(frozen=True)
class Origin:
    """Where a layer stands: names from the outermost network inwards, and the place of its
    weights in an archive."""

    names: tuple[str, ...]
    path: tuple[str, ...]


@dataclass(frozen=True)
class Net:
    """A network of the configuration: its members by name, in the file's order."""

    name: str
    config: Json
    members: dict[str, "Layer | Net"] = field(default_factory=dict)
    entries: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What is gathered while a configuration is read. `shapes`: sizes of the network's inputs, the
    batch in front, that take the place of open ones."""

    shapes: Shapes = field(default_factory=dict)
    origins: dict[Layer, Origin] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def net(self, config: Json, names: tuple[str, ...] = (), path: tuple[str, ...] = (),
            trainable: bool = True) -> Net:
        """Reads the layers of one network, and of the networks inside it."""
        name = text(config, "name", "the network")
        where = f"network {name!r}"
        if len(names) > MAX_DEPTH:
            raise ModelError(f"{where} is nested more than {MAX_DEPTH} deep")
        trainable = trainable and config.get("trainable", True) is not False
        net = Net(name, config)
        counts: dict[str, int] = {}
        for entry in objects(config, "layers", where):
            kind = text(entry, "class_name", f"{where}: a layer")
            inner = mapping_of(entry, "config", f"{where}: layer {kind}")
            own = text(inner, "name", f"{where}: layer {kind}")
            if own in net.members:
                raise ModelError(f"{where}: two layers are called {own!r}")
            base = snake_case(kind)
            stored = f"{base}_{counts[base]}" if base in counts else base
            counts[base] = counts.get(base, 0) + 1
            member: Layer | Net
            place = (*path, "layers", stored)
            if kind in NETWORKS:
                check_origin(entry, kind, f"{where}: {own!r}")
                member = self.net(inner, (*names, own), place, trainable)
            else:
                member = self._layer(entry, inner, Origin((*names, own), place), trainable)
            net.members[own], net.entries[own] = member, entry
            if len(self.origins) > MAX_LAYERS:
                raise ModelError(f"{where} has more than {MAX_LAYERS} layers")
        return net

    def _layer(self, entry: Json, config: Json, origin: Origin, trainable: bool) -> Layer:
        name = ".".join(origin.names)
        read = read_layer({**entry, "config": {**config, "name": name}}, trainable=trainable)
        layer = _sized(read.layer, self.shapes.get(name))
        self.origins[layer] = origin
        if read.notes:
            self.notes[name] = read.notes[0]
        return layer


def _sized(layer: Layer, given: Sequence[int | None] | None) -> Layer:
    """An InputLayer with the given sizes where it has none; any other layer as it is."""
    if given is None or not isinstance(layer, InputLayer) or len(given) != len(layer.shape) + 1:
        return layer
    sizes = tuple(size if own is None else own
                  for own, size in zip((layer.batch_size, *layer.shape), given))
    return replace(layer, batch_size=sizes[0], shape=sizes[1:])


def build(reading: Reading, net: Net, weights: WeightSource, limits: Limits = DEFAULT) -> ir.Model:
    """The Model of a network that was read, with its weights. ModelError beyond `limits`."""
    limits.check_nodes(_calls(net), f"network {net.name!r}, its inner networks laid open,")
    starts, ends = apply(net, None)
    model = Functional(starts, ends, name=net.name, weights=weights)
    for node in model.graph:
        note = reading.notes.get(node.metadata_props.get(marks.LAYER, ""))
        if note is not None:
            node.metadata_props[UNTRAINABLE] = note
    return model


def _calls(net: Net) -> int:
    """Calls of layers in one use of a network, each use of an inner network counted whole."""
    total = 0
    for name, member in net.members.items():
        own = _calls(member) if isinstance(member, Net) else 1
        uses = net.entries[name].get("inbound_nodes")
        listed = "input_layers" in net.config and isinstance(uses, list | tuple)
        total += own * (max(1, len(uses)) if listed else 1)  # type: ignore[arg-type]
    return total


def apply(net: Net, inputs: Sequence[Tensor] | None) -> tuple[list[Tensor], list[Tensor]]:
    """(inputs, outputs) of one use of a network; its own inputs where none are given."""
    if "input_layers" in net.config:
        return _apply_functional(net, inputs)
    return _apply_sequential(net, inputs)


def _apply_sequential(net: Net, inputs: Sequence[Tensor] | None
                      ) -> tuple[list[Tensor], list[Tensor]]:
    members = list(net.members.values())
    start: Tensor | None = None
    if members and isinstance(members[0], InputLayer):
        start = members.pop(0).call([])[0]  # type: ignore[union-attr]
    elif net.config.get("build_input_shape") is not None:
        shape = shape_of(net.config, "build_input_shape", f"network {net.name!r}")
        start = Input(shape[1:], batch_size=shape[0])
    if inputs is not None:
        if len(inputs) != 1:
            raise ModelError(f"network {net.name!r} takes one input, found {len(inputs)}")
        start = inputs[0]
    if start is None:
        raise ModelError(f"network {net.name!r} does not say the shape of its input; start it "
                         "with keras.Input(...) or call it once before saving")
    x = start
    for member in members:
        made = apply(member, [x])[1] if isinstance(member, Net) else member.call([x])
        if len(made) != 1:
            raise ModelError(f"network {net.name!r}: a layer in the middle gives {len(made)} "
                             "tensors, expected one")
        x = made[0]
    return [start], [x]


def _apply_functional(net: Net, inputs: Sequence[Tensor] | None
                      ) -> tuple[list[Tensor], list[Tensor]]:
    where = f"network {net.name!r}"
    starts = list(_references(net.config.get("input_layers"), where))
    ends = list(_references(net.config.get("output_layers"), where))
    made: dict[Node, Sequence[Tensor]] = {}
    if inputs is not None and len(inputs) != len(starts):
        raise ModelError(f"{where} takes {len(starts)} inputs, found {len(inputs)}")
    for i, (name, index, _) in enumerate(starts):
        layer = net.members.get(name)
        if not isinstance(layer, InputLayer):
            raise ModelError(f"{where}: its input {name!r} is no InputLayer")
        made[name, index] = layer.call([]) if inputs is None else [inputs[i]]
    _run_nodes(net, made, where)
    outputs = [_look_up(made, (name, index - _first_call(net.members.get(name)), i), where)
               for name, index, i in ends]
    return [made[name, index][0] for name, index, _ in starts], outputs


def _first_call(member: Layer | Net | None) -> int:
    """Among the outputs, and only there, Keras counts the calls of a Functional from 1."""
    return 1 if isinstance(member, Net) and "input_layers" in member.config else 0


def _run_nodes(net: Net, made: dict[Node, Sequence[Tensor]], where: str) -> None:
    """Makes every call whose inputs exist, in an order that has them ready."""
    waiting: dict[Node, set[Node]] = {}
    readers: dict[Node, list[Node]] = {}
    specs: dict[Node, Json] = {}
    for name, entry in net.entries.items():
        for i, spec in enumerate(objects(entry, "inbound_nodes", f"{where}: {name!r}")):
            specs[name, i] = spec
            sources = {(r[0], r[1]) for r in _tensors(spec, where)} - set(made)
            waiting[name, i] = sources
            for source in sources:
                readers.setdefault(source, []).append((name, i))
    ready = [node for node, sources in waiting.items() if not sources]
    if len(specs) > MAX_LAYERS:
        raise ModelError(f"{where} has more than {MAX_LAYERS} calls")
    while ready:
        node = ready.pop()
        made[node] = _run_node(net.members[node[0]], specs[node], made, f"{where}: {node[0]!r}")
        for reader in readers.get(node, ()):
            waiting[reader].discard(node)
            if not waiting[reader]:
                ready.append(reader)


def _run_node(member: Layer | Net, spec: Json, made: Mapping[Node, Sequence[Tensor]],
              where: str) -> Sequence[Tensor]:
    args = items(spec, "args", where)
    kwargs = mapping_of(spec, "kwargs", where)
    if any(not _has_tensor(a) and a is not None for a in args):
        raise UnsupportedOp(f"{where} is called with constants; give it tensors only")
    inputs = [_look_up(made, r, where) for r in _tensors(args, where)]
    options = {}
    given = dict(kwargs)
    for key in ("inputs", "sequences", "query", "value", "key", "initial_state"):
        if _has_tensor(given.get(key)):
            inputs += [_look_up(made, r, where) for r in _tensors(given.pop(key), where)]
    if isinstance(member, MultiHeadAttention):
        if len(inputs) == 2:
            inputs.append(inputs[1])
        if len(inputs) != 3 or ("key" in kwargs and "value" not in kwargs and len(args) != 2):
            raise ModelError(f"{where}: attention takes query, value and key, "
                             f"found {len(inputs)} tensors")
        options["use_causal_mask"] = given.pop("use_causal_mask", False) is True
    for key, value in given.items():
        if not _says_nothing(value):
            raise UnsupportedOp(f"{where} is called with {key}={short(value)}, which has no "
                                "counterpart here")
    if isinstance(member, Net):
        return apply(member, inputs)[1]
    return member.call(inputs, **options)


def _look_up(made: Mapping[Node, Sequence[Tensor]], ref: tuple[str, int, int], where: str
             ) -> Tensor:
    name, node, index = ref
    if (name, node) not in made or not 0 <= index < len(made[name, node]):
        raise ModelError(f"{where} reads output {index} of call {node} of {name!r}, "
                         "which does not exist or depends on itself")
    return made[name, node][index]


def _references(value: object, where: str, depth: int = 0) -> Iterator[tuple[str, int, int]]:
    """Every `[name, call, output]` in a structure of lists and mappings, in Keras's order."""
    if depth > MAX_DEPTH:
        raise ModelError(f"{where}: its inputs or outputs are nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _references(value[key], where, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) == 3 and isinstance(value[0], str):
            name, node, index = value
            if not isinstance(node, int) or not isinstance(index, int):
                raise ModelError(f"{where}: {value!r} must be [layer, call, output]")
            yield name, node, index
        else:
            for item in value:
                yield from _references(item, where, depth + 1)
    elif value is not None:
        raise ModelError(f"{where}: {short(value)} must be [layer, call, output]")


def _tensors(value: object, where: str, depth: int = 0) -> Iterator[tuple[str, int, int]]:
    """The references of every `__keras_tensor__` in the arguments of a call."""
    if depth > MAX_DEPTH:
        raise ModelError(f"{where}: a call is nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            history = items(mapping_of(value, "config", where), "keras_history", where)
            found = list(_references(history, where))
            if len(found) != 1:
                raise ModelError(f"{where}: keras_history {short(history)} must be "
                                 "[layer, call, output]")
            yield found[0]
            return
        for key in sorted(value, key=str):
            yield from _tensors(value[key], where, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _tensors(item, where, depth + 1)


def _says_nothing(value: object) -> bool:
    """None and False, as Keras writes what was not given; also one for each of several inputs."""
    if isinstance(value, Mapping):
        return all(map(_says_nothing, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_says_nothing, value))
    return value is None or value is False


def _has_tensor(value: object) -> bool:
    return next(_tensors(value, "a call"), None) is not None

