"""Matrix products: every variant, every transposition, tails of every kind."""

import pytest
from tests.support.kernel_law import CODE_WAYS, WAYS, assert_law

from ganglion.kernels.matmul import MATMUL, Epilogue, MatMulSpec, Requant

RELU = (("input", 0), ("const", 0.0), ("max", 0, 1))
ADD_RELU = (("input", 0), ("input", 1), ("add", 0, 1), ("const", 0.0), ("max", 2, 3))
CODES = Requant(x_zero_point=-7, zero_point=5, lo=-128, hi=127)
UNSIGNED = Requant(x_zero_point=128, zero_point=3, lo=3, hi=200)
TO_UNSIGNED = Requant(-7, 0, 0, 190, y_dtype="uint8", below_one=True)
TO_SIGNED = Requant(128, -5, -128, 127, y_dtype="int8", below_one=True)

FLOAT = [
    MatMulSpec("float32", 1, 1, 1, 1),
    MatMulSpec("float32", 1, 1, 17, 33, bias=True, epilogue=Epilogue(RELU)),
    MatMulSpec("float32", 1, 1, 64, 40, bias=True),
    MatMulSpec("float32", 1, 1, 5, 7, trans_b=True),
    MatMulSpec("float32", 1, 7, 33, 5, bias=True),
    MatMulSpec("float32", 1, 13, 16, 64, bias=True, epilogue=Epilogue(ADD_RELU, 1)),
    MatMulSpec("float32", 1, 30, 70, 9, trans_b=True),
    MatMulSpec("float32", 1, 12, 32, 16),
    MatMulSpec("float32", 3, 5, 18, 6, a_batch=30, b_batch=108, b_const=False),
    MatMulSpec("float32", 1, 9, 20, 11, trans_a=True, b_const=False, bias=True),
    MatMulSpec("float32", 1, 9, 20, 11, trans_b=True, b_const=False),
    MatMulSpec("float32", 1, 1, 20, 11, trans_b=True, b_const=False),
    MatMulSpec("float32", 1, 1, 20, 11, b_const=False),
    MatMulSpec("float32", 1, 21, 1, 40, b_const=False),
    MatMulSpec("float32", 2, 4, 3, 35, trans_a=True, trans_b=True, a_batch=140, b_batch=105,
               b_const=False, epilogue=Epilogue(RELU)),
    MatMulSpec("float32", 2, 6, 17, 4, a_batch=24, b_const=False),
    MatMulSpec("float32", 2, 6, 17, 4, b_batch=68, b_const=False, bias=True),
]
EXACT = [
    MatMulSpec("int8", 1, 1, 1, 1, requant=CODES),
    MatMulSpec("int8", 1, 1, 17, 33, bias=True, requant=CODES),
    MatMulSpec("int8", 1, 7, 33, 5, bias=True, requant=CODES),
    MatMulSpec("int8", 1, 13, 16, 64, trans_b=True, bias=True, requant=CODES),
    MatMulSpec("uint8", 1, 13, 50, 66, bias=True, requant=UNSIGNED),
    MatMulSpec("uint8", 1, 1, 32, 128, requant=UNSIGNED),
    MatMulSpec("int8", 3, 5, 18, 6, a_batch=30, b_batch=108, b_const=False, requant=CODES),
    MatMulSpec("int8", 2, 5, 18, 6, trans_a=True, a_batch=30, requant=CODES),
    MatMulSpec("int8", 2, 5, 18, 7, trans_b=True, b_batch=126, b_const=False, bias=True,
               requant=CODES),
    MatMulSpec("int8", 1, 1, 40, 200, bias=True, requant=TO_UNSIGNED),
    MatMulSpec("uint8", 1, 13, 16, 64, bias=True, requant=TO_SIGNED),
    MatMulSpec("int8", 1, 9, 30, 192, bias=True, requant=TO_UNSIGNED),
]


@pytest.mark.parametrize("way", WAYS)
def test_every_variant_multiplies_matrices(way: str) -> None:
    assert_law(MATMUL, FLOAT, way, lambda spec: 3e-6 * spec.k ** 0.5)


@pytest.mark.parametrize("way", CODE_WAYS)
def test_8_bit_products_are_exact_on_every_instruction_set(way: str) -> None:
    assert_law(MATMUL, EXACT, way)
