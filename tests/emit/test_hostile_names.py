"""Nothing of a file becomes C: names that try to, everywhere where a network has names."""

import ast
import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.hostile import CODE, NAMES, SIZE, TOKEN, network
from tests.support.networks import NETWORKS

import ganglion as gg
from ganglion.emit.c import _templates, emit
from ganglion.errors import GanglionError, ModelError
from ganglion.kernels.base import require_words
from ganglion.kernels.ctext import code, joined, phrase, word
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.join import join
from ganglion.plan.names import HEADERS, LONGEST, c_name, own_name
from ganglion.plan.planner import plan

SOURCE = Path(gg.__file__).parent
ZIG = [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined"]
WARNED = ["-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fno-strict-aliasing"]
GCC = pytest.mark.gcc
COMPILERS = {
    "zig": [*ZIG, "-std=c11", *WARNED],
    "zig with trigraphs": [*ZIG, "-std=gnu17", "-trigraphs", *WARNED, "-Wno-trigraphs"],
    "gcc": ["gcc", "-std=c11", *WARNED],
    "gcc of today": ["gcc", *WARNED],
    "gcc with trigraphs": ["gcc", "-std=gnu17", "-trigraphs", *WARNED],
}
CXX = {
    "zig": [sys.executable, "-m", "ziglang", "c++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic",
            "-Werror"],
    "gcc": ["g++", "-std=c++11", "-trigraphs", "-Wall", "-Wextra", "-Wpedantic", "-Werror"],
}


def marked(table):
    return [pytest.param(name, marks=GCC) if name.startswith("gcc") else name for name in table]


def without_strings(text: str) -> str:
    """C without the contents of its string literals."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', text)


def loaded(tmp_path: Path, proto: onnx.ModelProto) -> ir.Model:
    onnx.save(proto, tmp_path / "net.onnx")
    return gg.load(tmp_path / "net.onnx")


def assert_nothing_came_through(files: dict[str, str]) -> None:
    """Only our own words stand in the files: printable ASCII, no line spliced but in our guards."""
    for name, text in files.items():
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*\.[ch]", name), name
        assert text.replace("\n", "").isprintable(), name
        assert text.isascii(), name
        assert "??" not in text
        bare = without_strings(text)
        assert not re.search(rf"\b{TOKEN}\b", bare), name
        spliced = [line for line in bare.splitlines() if "\\" in line]
        assert all(re.match(r"(#if|    \|\|)", line) for line in spliced), spliced


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> tuple[ir.Model, dict[str, str]]:
    """A network that bears all the names at once, and its C."""
    model = loaded(tmp_path_factory.mktemp("hostile"), network(list(NAMES.values())))
    return model, emit(plan(ready_to_plan(model), name="net"))


@pytest.mark.parametrize("what", NAMES)
def test_a_hostile_name_of_a_network_and_its_parts_leaves_no_trace(tmp_path, what):
    model = loaded(tmp_path, network([NAMES[what]], NAMES[what]))
    made = gg.compile(model, target="generic", check=False)
    given = gg.compile(model, target="generic", check=False, name=NAMES[what])
    for artifact in (made, given):
        files = {n: data.decode() for n, data in artifact.files.items() if n != "manifest.json"}
        assert len(files) == 2
        assert_nothing_came_through(files)


@pytest.mark.parametrize("what", NAMES)
def test_no_text_of_a_plan_reaches_c_as_it_is(what):
    """State, functions and constants too: every string of a plan, whatever made it."""
    trained = plan(ready_to_plan(NETWORKS["lstm"]()), ("avx2", "scalar"), name="net")
    kept = dataclasses.replace(trained, state=trained.state or (_state(NAMES[what]),))
    both = join(kept, "predict", kept)
    assert_nothing_came_through(emit(_renamed(both, NAMES[what])))
    with pytest.raises(ModelError, match="cannot be a name in C"):
        emit(dataclasses.replace(both, name=NAMES[what]))
    entry = dataclasses.replace(both.entries[0], name=NAMES[what])
    with pytest.raises(ModelError, match="cannot be a name in C"):
        emit(dataclasses.replace(both, entries=(entry,)))


def _state(name):
    from ganglion.plan.types import StateTensor
    return StateTensor(name, "float32", (2, 2), (1, 0), 0, b"\1\2\3\4" * 4, True)


def _renamed(found, name):
    """`found` with every name of it replaced; kernels, places and types stay."""
    renamed = {}
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if field.name in ("node", "digest") or (
                field.name == "name" and type(found).__name__ not in ("Plan", "Entry")):
            renamed[field.name] = name
        elif field.name in ("inputs", "outputs", "state", "constants", "steps", "entries"):
            renamed[field.name] = tuple(_renamed(each, name) for each in value)
    return dataclasses.replace(found, **renamed)


@pytest.mark.parametrize("compiler", marked(COMPILERS))
def test_compilers_find_no_injected_symbol(tmp_path, everything, compiler):
    _, files = everything
    for name, text in files.items():
        (tmp_path / name).write_text(text, newline="")
    command = COMPILERS[compiler]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run([*command, "-c", "net.c", "-o", "net.o"], cwd=tmp_path, check=True)
    assert TOKEN not in seen(tmp_path / "net.c", command)
    assert TOKEN not in seen(tmp_path / "net.c", [*command[:1 if "gcc" in compiler else 5],
                                                   "-x", "c++"], must=False)


@pytest.mark.parametrize("compiler", marked(CXX))
def test_the_header_is_cxx_without_injected_symbols(tmp_path, everything, compiler):
    command = CXX[compiler]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    (tmp_path / "net.h").write_text(everything[1]["net.h"], newline="")
    (tmp_path / "use.cpp").write_text('#include "net.h"\nint use(void *const *p);\n'
                                      'int use(void *const *p) { return net_run(p, p, 0, 0); }\n')
    subprocess.run([*command, "-c", "use.cpp", "-o", "use.o"], cwd=tmp_path, check=True)
    assert TOKEN not in seen(tmp_path / "use.cpp", command)


def seen(path: Path, command: list[str], must: bool = True) -> str:
    """What a compiler sees of a file after comments and splices, string literals left out."""
    run = subprocess.run([*command, "-E", "-P", path.name], cwd=path.parent, text=True,
                         capture_output=True, check=must)
    assert run.stdout
    return without_strings(run.stdout)


@pytest.mark.parametrize("compiler", marked(COMPILERS))
def test_the_compilers_would_find_a_symbol_in_an_open_comment(tmp_path, compiler):
    """The search above is sharp: names pasted into a comment, as once they were, are found."""
    command = COMPILERS[compiler]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    found = set()
    for what in ("spliced end of comment", "carriage return", "trigraph"):
        comment = NAMES[what].replace("*/", "* /")
        (tmp_path / "open.c").write_text(f"/* {comment} */\nint other;\n", newline="")
        if TOKEN in seen(tmp_path / "open.c", [w for w in command if w != "-Werror"]):
            found.add(what)
    assert "spliced end of comment" in found
    assert ("trigraph" in found) == ("trigraphs" in compiler or "-std=c11" in command)


def test_a_network_with_hostile_names_is_built_and_keeps_them(everything):
    model, _ = everything
    session = gg.compile(model).session()
    assert [p.name for p in session.inputs] == [v.name for v in model.graph.inputs]
    assert [p.name for p in session.outputs] == [v.name for v in model.graph.outputs]


@pytest.mark.parametrize(("operator", "attribute"), [
    ("LSTM", "direction"), ("LSTM", "activations"), ("Conv", "auto_pad"), ("Pad", "mode"),
    ("Resize", "mode"), ("Resize", "nearest_mode"), ("Gelu", "approximate"),
    ("DepthToSpace", "mode"), ("ScatterElements", "reduction")])
def test_a_hostile_attribute_is_refused_or_leaves_no_trace(tmp_path, operator, attribute):
    for name in (NAMES["spliced end of comment"], f"tanh(1)); {CODE} (("):
        try:
            model = loaded(tmp_path, _attributed(operator, attribute, name))
            made = gg.compile(model, target="generic", check=False)
        except GanglionError:
            continue
        assert_nothing_came_through({n: data.decode() for n, data in made.files.items()
                                     if n != "manifest.json"})


def _attributed(operator, attribute, text):
    shapes = {"LSTM": [(1, 1, 2), (1, 8, 2), (1, 8, 2)], "Conv": [(1, 1, 4, 4), (1, 1, 3, 3)],
              "Pad": [(1, 1, 4, 4)], "Resize": [(1, 1, 4, 4)], "DepthToSpace": [(1, 4, 4, 4)],
              "ScatterElements": [(1, 4), (1, 4), (1, 4)]}.get(operator, [(1, 4)])
    helper = onnx.helper
    names = [f"i{k}" for k in range(len(shapes))]
    constants = []
    if operator == "Pad":
        names.append("pads")
        constants.append(helper.make_tensor("pads", onnx.TensorProto.INT64, [8], [0, 0, 1, 1] * 2))
    if operator == "Resize":
        names += ["", "scales"]
        constants.append(helper.make_tensor("scales", onnx.TensorProto.FLOAT, [4], [1, 1, 2, 2]))
    more = {"LSTM": {"hidden_size": 2}, "DepthToSpace": {"blocksize": 2}}.get(operator, {})
    value = [text.encode()] * 3 if attribute == "activations" else text.encode()
    node = helper.make_node(operator, names, ["y"], "n", **more, **{attribute: value})
    types = [onnx.TensorProto.INT64 if operator == "ScatterElements" and k == 1
             else onnx.TensorProto.FLOAT for k in range(len(shapes))]
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(n, t, s)
                      for n, t, s in zip(names, types, shapes)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


@given(st.text())
def test_a_word_is_letters_digits_and_underscores(text):
    assert re.fullmatch("[A-Za-z0-9_]*", word(text))
    assert word(word(text)) == word(text)
    assert re.fullmatch("[A-Za-z0-9_+]*", phrase(text))


def test_what_is_no_c_is_refused_where_c_is_put_together():
    for wrong in ("plain", None, b"bytes", ["list"]):
        with pytest.raises(TypeError, match="is no C"):
            code("{}", wrong)
        with pytest.raises(TypeError, match="is no C"):
            joined(", ", [wrong])
        with pytest.raises(TypeError, match="is no C"):
            _templates().from_string("<< value >>").render(value=wrong)


@pytest.mark.parametrize("spec", ["a b", ("relu", ("x/y",)), {"k": "*/"}, [b"x"], object()])
def test_a_kernel_is_given_numbers_and_words_alone(spec):
    with pytest.raises(ModelError, match="is given"):
        require_words(spec, "pool")


MAKERS = {"kernels/ctext.py", "kernels/base.py", "kernels/source.py", "emit/literals.py"}
"""Files that make C of what is no literal: the one function, and those that render templates which
are given C, numbers and checked specs."""


def test_c_is_made_of_literals_but_in_few_places():
    for path in SOURCE.rglob("*.py"):
        if str(path.relative_to(SOURCE)) in MAKERS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("C", "code"):
                assert all(isinstance(part, ast.Constant)
                           for part in _literals(node.args[0])), f"{path}: {ast.unparse(node)}"


def _literals(node):
    return [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]


def test_templates_of_whole_files_take_no_way_around():
    """A macro's result would be plain text, `safe` and its like would let it pass."""
    for path in (SOURCE / "emit").glob("*.j2"):
        assert not re.search(r"<% *macro|\| *(safe|c\b)|autoescape", path.read_text()), path


KEYWORDS = ["int", "while", "return", "class", "namespace", "printf", "main", "memcpy", "memset",
            "exit", "NULL", "EOF", "stdin", "linux", "unix", "true", "_Bool", "__LINE__", "I"]


@pytest.mark.parametrize("name", [*KEYWORDS, *HEADERS.split()[::9], "CON", "nul", "com1", "2", "_",
                                  "__", "", "k0", "v1f", "gg", "é", "x" * 300, "a__b", "_x", "x_"])
def test_any_name_gives_a_name_that_c_and_file_systems_take(name):
    found = c_name(name)
    assert re.fullmatch("[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", found)
    assert len(found) <= LONGEST
    assert found.lower() not in {*HEADERS.split(), "con", "nul", "com1"}


@given(st.lists(st.text(max_size=12), min_size=2, max_size=2, unique=True))
def test_two_names_stay_two_names(names):
    first, second = map(c_name, names)
    assert first != second
    assert c_name(first) == first


def test_two_names_that_differ_in_signs_alone_stay_two_names():
    names = ["a-b", "a_b", "a b", "a/b", "a.b", "a+b", "網絡", "网络", "a" * 60, "a" * 61]
    assert len({c_name(n) for n in names}) == len(names)


def test_networks_without_a_name_get_one_of_their_own():
    first, second = (gg.Sequential([gg.Input((2,)), gg.layers.Dense(1)], seed=s) for s in (0, 1))
    names = [gg.compile(net, "generic", check=False).name for net in (first, second, first)]
    assert names[0] == names[2] != names[1]
    assert names[0].startswith("sequential_")
    assert gg.compile(first, "generic", check=False, name="sequential").name == "sequential"
    trainers = [gg.compile_training(net, target="generic", loss="mse", check=False).name
                for net in (first, second)]
    assert trainers[0] != trainers[1]


@pytest.mark.parametrize("name", ["", "model_3", "main_graph", "torch-jit-export", "functional_1"])
def test_names_that_tools_give_are_none(name):
    assert own_name(name, "0" * 64).endswith("_00000000")
    assert own_name("mine", "0" * 64) == "mine"


def test_two_networks_without_a_name_are_linked_into_one_program(tmp_path):
    lines, calls = [], []
    for seed in (0, 1):
        net = gg.Sequential([gg.Input((2,)), gg.layers.Dense(1)], seed=seed)
        made = gg.compile(net, "generic", check=False)
        made.save(tmp_path / str(seed))
        lines.append(f'#include "{seed}/{made.name}.h"')
        calls.append(f"{made.name}_state_bytes")
    (tmp_path / "main.c").write_text("\n".join(lines) + "\nint main(void) { return (int)("
                                     + " + ".join(calls) + "); }\n")
    sources = [str(p) for p in tmp_path.rglob("*.c")]
    assert len(sources) == 3
    subprocess.run([*ZIG, *sources, "-o", str(tmp_path / "program")], check=True)
    subprocess.run([str(tmp_path / "program")], check=True)


@pytest.mark.parametrize("name", ["run", "reset", "description", "a b", "", "1", NAMES["trigraph"],
                                  "x" * 100])
def test_a_function_s_name_that_is_taken_or_no_identifier_is_refused(name):
    net = NETWORKS["linear"]()
    with pytest.raises(ModelError, match="cannot be called"):
        gg.compile(net, "generic", check=False, entries={name: net})


def test_a_network_called_like_a_word_of_c_is_built_and_runs():
    net = gg.Sequential([gg.Input((SIZE,), name="while"), gg.layers.Dense(2, name="memcpy")],
                        name="printf")
    made = gg.compile(net)
    assert made.name == "printf"
    assert made.session().run([[1.0, 2.0, 3.0]]).shape == (1, 2)
