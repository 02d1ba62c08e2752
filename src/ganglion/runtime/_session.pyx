# cython: language_level=3, boundscheck=False, wraparound=False
# distutils: define_macros=NPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION
"""The Cython binding: see `_session.pyi` for the contract and `_ctypes.py` for the same in Python.

The generated C runs without the interpreter's lock. Until then the lock guards the free arenas.
"""

cimport cython
cimport numpy as cnp
from libc.stdint cimport uintptr_t

import numpy as np

from ganglion.runtime.arrays import aligned_block, busy, overlap, refusal, refused, wrong_count

cnp.import_array()

cdef extern from "_pool.h" nogil:
    struct gg_pool:
        pass
    struct ganglion_pool:
        pass
    gg_pool *gg_pool_new() noexcept
    bint gg_pool_here(const gg_pool *) noexcept
    int gg_pool_take(gg_pool *, int) noexcept
    ganglion_pool gg_pool_handed(gg_pool *, int) noexcept
    void gg_pool_leave(gg_pool *) noexcept
    void gg_pool_end(gg_pool *) noexcept

ctypedef int (*run_t)(const void *const *, void *const *, void *, void *) noexcept nogil
ctypedef int (*run_with_t)(const void *const *, void *const *, void *, void *,
                           const ganglion_pool *) noexcept nogil


cdef class _Check:
    """What one port wants, in the words of NumPy's C interface."""

    cdef object port
    cdef bint output
    cdef int typenum, ndim
    cdef cnp.npy_intp dims[32]

    def __cinit__(self, port, bint output):
        self.port = port
        self.output = output
        self.typenum = port.dtype.num
        self.ndim = len(port.shape)
        for k, size in enumerate(port.shape):
            self.dims[k] = size

    cdef inline bint accepts(self, object value) noexcept:
        cdef cnp.ndarray array
        cdef int k
        if not cnp.PyArray_Check(value) or (
                not cnp.PyArray_CheckExact(value) and isinstance(value, np.ma.MaskedArray)):
            return False
        array = <cnp.ndarray>value
        if cnp.PyArray_NDIM(array) != self.ndim:
            return False
        if cnp.PyArray_TYPE(array) != self.typenum and not cnp.PyArray_EquivTypenums(
                cnp.PyArray_TYPE(array), self.typenum):
            return False
        for k in range(self.ndim):
            if cnp.PyArray_DIM(array, k) != self.dims[k]:
                return False
        if self.output:
            return cnp.PyArray_ISCARRAY(array)
        return cnp.PyArray_ISCARRAY_RO(array)

    cdef inline object new(self):
        return cnp.PyArray_EMPTY(self.ndim, self.dims, self.typenum, 0)


cdef class _Slot:
    """The memory of one call: an arena and the tables of array addresses."""

    cdef object block, table
    cdef size_t nbytes
    cdef void *arena
    cdef char **inputs
    cdef char **outputs

    def __cinit__(self, size_t arena_bytes, Py_ssize_t inputs, Py_ssize_t outputs):
        self.block = aligned_block(arena_bytes)
        self.nbytes = arena_bytes
        self.table = np.zeros(inputs + outputs + 1, np.uintp)
        self.arena = cnp.PyArray_DATA(<cnp.ndarray>self.block)
        self.inputs = <char **>cnp.PyArray_DATA(<cnp.ndarray>self.table)
        self.outputs = self.inputs + inputs


cdef inline bint _overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef char *first = cnp.PyArray_BYTES(a)
    cdef char *second = cnp.PyArray_BYTES(b)
    return first < second + cnp.PyArray_NBYTES(b) and second < first + cnp.PyArray_NBYTES(a)


@cython.no_gc_clear  # the library stays open until the pool's threads have ended
cdef class Core:
    cdef run_t function
    cdef run_with_t function_with
    cdef gg_pool *pool
    cdef size_t arena_bytes, worker_bytes
    cdef object state_block, owner
    cdef void *state
    cdef bint running
    cdef tuple in_checks, out_checks
    cdef list free

    def __init__(self, uintptr_t run, size_t arena_bytes, state, tuple inputs, tuple outputs,
                 uintptr_t run_with=0, size_t worker_bytes=0, owner=None):
        self.owner = owner
        self.function = <run_t>run
        self.function_with = <run_with_t>run_with
        self.worker_bytes = worker_bytes
        self.arena_bytes = arena_bytes
        self.state_block = state
        self.state = NULL if state is None else cnp.PyArray_DATA(<cnp.ndarray?>state)
        self.running = False
        self.in_checks = tuple([_Check(port, False) for port in inputs])
        self.out_checks = tuple([_Check(port, True) for port in outputs])
        self.free = []

    def __dealloc__(self):
        with nogil:
            gg_pool_end(self.pool)

    def run_into(self, inputs, outputs, int threads=1):
        cdef tuple ins = _listed(inputs)
        cdef tuple outs = _listed(outputs)
        self.check("input", self.in_checks, ins)
        self.check("output", self.out_checks, outs)
        self.check_apart(ins, outs)
        self.call(ins, outs, threads)

    def run_exact(self, tuple inputs, int threads=1):
        cdef Py_ssize_t k
        if len(inputs) != len(self.in_checks):
            return None
        for k in range(len(inputs)):
            if not (<_Check>self.in_checks[k]).accepts(inputs[k]):
                return None
        cdef tuple outputs = tuple([(<_Check>check).new() for check in self.out_checks])
        self.call(inputs, outputs, threads)
        return outputs

    cdef inline int call(self, tuple ins, tuple outs, int threads) except -1:
        cdef int workers = 1
        if threads > 1 and self.function_with != NULL:
            workers = self.take_pool(threads)
        cdef _Slot slot
        cdef int code
        try:
            slot = self.take(workers)
            _fill(slot.inputs, ins)
            _fill(slot.outputs, outs)
            with nogil:
                code = self.enter(slot, workers)
        finally:
            if workers > 1:
                gg_pool_leave(self.pool)
        self.running = False
        self.free.append(slot)
        if code:
            raise refused(code)
        return 0

    cdef inline int enter(self, _Slot slot, int workers) noexcept nogil:
        cdef ganglion_pool handed
        if workers == 1:
            return self.function(<const void *const *>slot.inputs, <void *const *>slot.outputs,
                                 self.state, slot.arena)
        handed = gg_pool_handed(self.pool, workers)
        return self.function_with(<const void *const *>slot.inputs, <void *const *>slot.outputs,
                                  self.state, slot.arena, &handed)

    cdef int take_pool(self, int threads) except -1:
        """The pool's workers for one call, 1 where it has another."""
        if self.pool == NULL or not gg_pool_here(self.pool):
            self.pool = gg_pool_new()
            if self.pool == NULL:
                raise MemoryError()
        return gg_pool_take(self.pool, threads)

    def run_rows(self, tuple inputs, tuple outputs, Py_ssize_t start, Py_ssize_t stop):
        cdef _Slot slot = self.take(1)
        cdef Py_ssize_t n_in = len(inputs), n_out = len(outputs), row, k
        cdef int code = 0
        cdef cnp.ndarray strides = np.array([a.strides[0] for a in inputs + outputs], np.intp)
        cdef cnp.npy_intp *steps = <cnp.npy_intp *>cnp.PyArray_DATA(strides)
        _fill(slot.inputs, inputs)
        _fill(slot.outputs, outputs)
        for k in range(n_in + n_out):
            slot.inputs[k] += start * steps[k]
        with nogil:
            for row in range(start, stop):
                code |= self.function(<const void *const *>slot.inputs,
                                      <void *const *>slot.outputs, self.state, slot.arena)
                for k in range(n_in + n_out):
                    slot.inputs[k] += steps[k]
        self.running = False
        self.free.append(slot)
        if code:
            raise refused(code)

    cdef inline _Slot take(self, int workers):
        cdef _Slot slot
        cdef size_t nbytes = self.arena_bytes + (workers * self.worker_bytes if workers > 1 else 0)
        if self.free:
            slot = <_Slot>self.free.pop()
            if slot.nbytes < nbytes:
                slot = _Slot(nbytes, len(self.in_checks), len(self.out_checks))
        else:
            slot = _Slot(nbytes, len(self.in_checks), len(self.out_checks))
        if self.state != NULL and self.running:
            self.free.append(slot)
            raise busy()
        self.running = True
        return slot

    cdef inline int check(self, str what, tuple checks, tuple arrays) except -1:
        cdef Py_ssize_t k
        if len(arrays) != len(checks):
            raise wrong_count(what, [(<_Check>c).port for c in checks], len(arrays))
        for k in range(len(checks)):
            if not (<_Check>checks[k]).accepts(arrays[k]):
                raise refusal(what, (<_Check>checks[k]).port, arrays[k])
        return 0

    cdef inline int check_apart(self, tuple ins, tuple outs) except -1:
        cdef Py_ssize_t k, j
        for k in range(len(outs)):
            for j in range(len(ins)):
                if _overlap(<cnp.ndarray>outs[k], <cnp.ndarray>ins[j]):
                    raise overlap((<_Check>self.out_checks[k]).port)
            for j in range(k):
                if _overlap(<cnp.ndarray>outs[k], <cnp.ndarray>outs[j]):
                    raise overlap((<_Check>self.out_checks[k]).port)
        return 0


cdef inline tuple _listed(given):
    if isinstance(given, (tuple, list)):
        return tuple(given)
    return (given,)


cdef inline void _fill(char **table, tuple arrays) noexcept:
    cdef Py_ssize_t k
    for k in range(len(arrays)):
        table[k] = cnp.PyArray_BYTES(<cnp.ndarray>arrays[k])
