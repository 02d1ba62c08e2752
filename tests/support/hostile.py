"""Names as a hostile file may give them to networks, tensors and nodes."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOKEN = "GANGLION_INJECTED"
CODE = f"int {TOKEN} = 1;"

NAMES = {
    "spliced end of comment": f"w*\\\n/\n{CODE}\n/*",
    "carriage return": f"w*\\\r/\r{CODE}\r/*",
    "carriage return and newline": f"w*\\\r\n/\n{CODE}\n/*",
    "trigraph": f"w*??/\n/\n{CODE}\n/*",
    "trigraph and carriage return": f"w*??/\r/\r{CODE}\r/*",
    "backslash, blank, newline": f"w*\\ \n/\n{CODE}\n/*",
    "end of comment": f"w*/ {CODE} /*",
    "beginning of comment": f"w /* {CODE}",
    "line comment": f"w //\n{CODE}",
    "newline": f"w\n{CODE}\n",
    "vertical tab": f"w\v{CODE}\v",
    "form feed": f"w\f{CODE}\f",
    "next line": f"w\x85{CODE}\x85",
    "line separator": f"w\u2028{CODE}\u2029",
    "end of string": f'w"; {CODE} char w[] = "',
    "end of string after a backslash": f'w\\"; {CODE} //',
    "single quote": f"w'; {CODE} '",
    "null": f"w\0*/ {CODE} /*",
    "percent": f"%s%n%99999d {CODE}",
    "directive": f"w\n#pragma GCC poison memcpy\n#define v1f {CODE}\n",
    "pragma operator": f'w*/ _Pragma("GCC poison memcpy") {CODE} /*',
    "universal character": f"w*\\u002f {CODE} \\x2a/ \\052/",
    "digraphs": f"w*/\n%:define A <: :> <% %>\n{CODE}\n/*",
    "template": f"<< 7 * 7 >><% for x in y %><# {CODE} #>{{{{ 7 * 7 }}}}",
    "format": f"{{}}{{0.__class__}}{{plan}} {CODE}",
    "very long": f"{'w' * 70_000}*\\\n/\n{CODE}\n/*",
    "directions of writing": f"w\u202e*/ {CODE} /*\u2066",
    "escape sequence": f"w\x1b]0;owned\x07\x1b[2J\x1b[31m*/ {CODE} /*",
    "eight-bit escape": f"w\x9b31m\x9d0;owned\x9c {CODE}",
    "delete and backspace": f"w\x7f\b\b\b\b{CODE}",
    "raw string": f'R"(w)" {CODE} R"x(',
    "html": f"<script>{TOKEN}()</script><img src=x onerror={TOKEN}()>&amp;\"'>",
    "markup": f"[red]w[/red][link=https://example.org]{TOKEN}[/link][/]\\[",
    "path": f"../../{TOKEN}/../x",
    "absolute path": f"/{TOKEN}",
    "windows path": f"..\\..\\{TOKEN}\\CON",
    "shell": f"w; $(touch {TOKEN}) `touch {TOKEN}` | touch {TOKEN}",
    "not ascii": f"網絡 ﹡／ {CODE} é\u0301",
}
"""What it tries → the name. Each would, where it is taken as text, make the token a part of a
program, a page or a terminal's orders."""

SIZE = 3


def network(names: list[str], title: str = "hostile") -> onnx.ModelProto:
    """y = x + w0 + w1 + …, whose tensors and nodes are called by `names`: an input, an output, a
    node and a weight for each of them."""
    initializers, nodes, at = [], [], f"in {names[0]}"
    for k, name in enumerate(names):
        weight = np.arange(k, k + SIZE, dtype=np.float32).reshape(1, SIZE)
        initializers.append(numpy_helper.from_array(weight, f"{name} weight"))
        made = f"{name} made"
        nodes.append(helper.make_node("Add", [at, f"{name} weight"], [made], f"{name} node",
                                      doc_string=name))
        if k % 2:
            nodes.append(helper.make_node("Softmax", [made], [f"{made} soft"], f"{name} softmax"))
        at = f"{made} soft" if k % 2 else made
    outputs = [nodes[k].output[0] for k in {0, len(nodes) - 1}]
    graph = helper.make_graph(
        nodes, title, [helper.make_tensor_value_info(f"in {names[0]}", TensorProto.FLOAT,
                                                     [1, SIZE])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, [1, SIZE]) for o in outputs],
        initializers, doc_string=names[-1])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)],
                             producer_name=names[-1])
