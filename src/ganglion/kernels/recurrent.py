"""LSTM, GRU and simple recurrent layers over a sequence, forward and through time; float32."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RecurrentSpec:
    """ONNX LSTM-22, GRU-22, RNN-22 (layout 0). `cell`: "lstm", "gru", "rnn".

    x: [steps, batch, inputs]; w: [D, G·hidden, inputs]; r: [D, G·hidden, hidden]; b: [D, 2·G·hidden];
    h0, c0: [D, batch, hidden]; y: [steps, D, batch, hidden]; h: [D, batch, hidden]; c likewise.
    D = 2 for direction "bidirectional". Gate order as ONNX's: iofc, zrh. `activations`: names per
    direction, ONNX's ("Sigmoid", "Tanh", "Relu", "HardSigmoid", ...); `linear_before_reset` as
    in ONNX (Keras's reset_after). Operands: x, w, r, [b], [h0], [c0 (lstm)], y, h, [c (lstm)];
    with `trace` (training) also gates [D, steps, batch, G·hidden] after activation and, lstm only,
    cells [D, steps, batch, hidden], gru with linear_before_reset only: hidden_part
    [D, steps, batch, hidden] (R_h·h + b before the reset gate).
    """

    cell: str
    steps: int
    batch: int
    inputs: int
    hidden: int
    direction: str = "forward"
    bias: bool = True
    h0: bool = False
    c0: bool = False
    linear_before_reset: bool = False
    activations: tuple[str, ...] = ()
    trace: bool = False
    w_const: bool = True
