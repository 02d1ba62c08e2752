"""Reading an ELF library before it is loaded.

A loader runs code of what it loads: constructors, destructors, resolvers of symbols, those of
every library that it needs; and it writes wherever relocations tell it to. What compilers make of
generated C has none of that (`toolchain.targets.ELF`). So the tables here say what is let through,
and a library with anything else is refused with nothing of it run or mapped.

Sources: System V ABI (gABI) 4.1, chapters 4 and 5, with its supplements for the processors; the GNU
hash table as in binutils' `elf_gnu_hash`; what glibc's and musl's loaders do with each entry.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ganglion import cpu
from ganglion.errors import TargetError
from ganglion.runtime.vetting import Exports, refuse, require, unpack


@dataclass(frozen=True)
class Machine:
    """A processor as ELF calls it: bits of an address, `e_machine`, and the relocations that fill
    in an address: of a symbol, or of a place in the library itself."""

    bits: int
    number: int
    relocations: frozenset[int]


MACHINES: Mapping[str, Machine] = {
    "x86_64": Machine(64, 62, frozenset({1, 6, 7, 8})),
    "aarch64": Machine(64, 183, frozenset({257, 1025, 1026, 1027})),
    "riscv64": Machine(64, 243, frozenset({2, 3, 5})),
    "armv7l": Machine(32, 40, frozenset({2, 21, 22, 23})),
    "armv6l": Machine(32, 40, frozenset({2, 21, 22, 23})),
    "i686": Machine(32, 3, frozenset({1, 6, 7, 8})),
}
"""By the names of `cpu.machine`."""


@dataclass(frozen=True)
class Layout:
    """How the file's records lie, for one width of addresses. In bytes: `dynamic`, ..."""

    header: struct.Struct
    segment: struct.Struct
    dynamic: struct.Struct
    symbol: struct.Struct
    rel: struct.Struct
    rela: struct.Struct
    word: int
    symbol_shift: int


LAYOUTS: Mapping[int, Layout] = {
    64: Layout(struct.Struct("<16xHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ"),
               struct.Struct("<qQ"), struct.Struct("<IBBHQQ"), struct.Struct("<QQ"),
               struct.Struct("<QQq"), 8, 32),
    32: Layout(struct.Struct("<16xHHIIIIIHHHHHH"), struct.Struct("<IIIIIIII"),
               struct.Struct("<iI"), struct.Struct("<IIIBBH"), struct.Struct("<II"),
               struct.Struct("<IIi"), 4, 8),
}

LOAD, DYNAMIC, STACK, RELRO = 1, 2, 0x6474e551, 0x6474e552
SEGMENTS = frozenset({LOAD, DYNAMIC, STACK, RELRO, 4, 6, 0x6474e550, 0x6474e553, 0x70000001,
                      0x70000003})
"""Besides those named: notes, the table itself, unwinding, properties, and what Arm and RISC-V say
about the processor. No thread-local storage."""
EXECUTE, WRITE = 1, 2

(HASH, STRTAB, SYMTAB, RELA, RELASZ, RELAENT, STRSZ, SYMENT, REL, RELSZ, RELENT, PLTREL, JMPREL,
 PLTRELSZ, PLTGOT, FLAGS) = (4, 5, 6, 7, 8, 9, 10, 11, 17, 18, 19, 20, 23, 2, 3, 30)
GNU_HASH, FLAGS_1, RELACOUNT, RELCOUNT = 0x6ffffef5, 0x6ffffffb, 0x6ffffff9, 0x6ffffffa
TAGS = frozenset({HASH, STRTAB, SYMTAB, RELA, RELASZ, RELAENT, STRSZ, SYMENT, REL, RELSZ, RELENT,
                  PLTREL, JMPREL, PLTRELSZ, PLTGOT, FLAGS, 24, GNU_HASH, FLAGS_1, RELACOUNT,
                  RELCOUNT, 0x70000001, 0x70000003, 0x70000005})
"""No needed libraries, no constructors or destructors, no name under which others would find it, no
versions, no text relocations. 24: bind now; 0x7000000x: hints for Arm's and RISC-V's linkage."""
NAMED_TAGS = {1: "asks for another library", 12: "has a constructor", 13: "has a destructor",
              14: "has a name of its own", 22: "changes its own code", 25: "has constructors",
              26: "has destructors", 32: "has constructors"}
BIND_NOW, NOW = 8, 1

LOCAL, GLOBAL, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNCTION, SECTION, RESOLVER = 0, 1, 2, 3, 10
IMPORTS = frozenset({"memcpy", "memset", "memmove", "memcmp"})
"""What compilers call where C says it by itself; Arm's have `__aeabi_` helpers besides."""

PAGE = 4096
MOST_ALIGNMENT = 1 << 21
MOST_ENTRIES = 4096
"""Of any table of symbols, of relocations, of dynamic entries: builds have tens."""


def exports(data: bytes, where: str) -> Exports:
    """What the library exports, and where in the file it lies.

    Raises TargetError for another machine's library, TrustError for one that would do more, when
    loaded, than lie in memory, or that is damaged."""
    return _Library(data, where).exports()


@dataclass(frozen=True)
class _Segment:
    address: int
    end: int
    offset: int
    file_bytes: int
    flags: int


class _Library:
    """One file, read step by step; every step raises TrustError."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where = data, where
        machine = MACHINES.get(cpu.machine())
        if machine is None:
            raise TargetError(f"{where}: libraries of this machine ({cpu.machine()}) can't be "
                              f"read before they are loaded; known: {', '.join(MACHINES)}")
        self._machine, self._layout = machine, LAYOUTS[machine.bits]
        self._dynamic_range = (0, 0)
        self._segments = self._read_segments(*self._read_header())
        self._tags = self._read_dynamic()
        self._strings = self._table(STRTAB, STRSZ)

    def exports(self) -> Exports:
        count = self._count_symbols()
        found = self._read_symbols(count)
        self._check_relocations(count)
        return found

    def _read_header(self) -> tuple[int, int]:
        """Where the table of segments is, and how many there are."""
        require(self._data[:4] == b"\x7fELF", self._where, "is no ELF file")
        ident = self._data[4:7]
        wanted = (self._machine.bits // 32, 1, 1)
        kind, number, _, _, at, _, _, _, size, count, *_ = unpack(
            self._layout.header, self._data, 0, self._where)
        if tuple(ident) != wanted or number != self._machine.number:
            raise TargetError(f"{self._where}: this machine ({cpu.machine()}) can't load the "
                              f"library, which is for another: compile it for 'host' here")
        require(kind == 3, self._where, f"is an ELF file of type {kind}, not a shared library")
        require(size == self._layout.segment.size and count <= 16, self._where,
                f"has {count} segments described in {size} bytes each")
        return at, count

    def _read_segments(self, at: int, count: int) -> tuple[_Segment, ...]:
        """What is mapped where: in order, apart by pages, never writable and executable at once."""
        rows = [self._segment(at + k * self._layout.segment.size) for k in range(count)]
        loads: list[_Segment] = []
        end = 0
        for kind, segment, align in rows:
            require(kind in SEGMENTS, self._where, f"has a segment of type {kind:#x}")
            if kind != LOAD:
                continue
            require(PAGE <= align <= MOST_ALIGNMENT and not align & (align - 1)
                    and (segment.address - segment.offset) % align == 0
                    and segment.address // align * align >= end
                    and segment.end < 2 * len(self._data) + 16 * MOST_ALIGNMENT
                    and segment.offset + segment.file_bytes <= len(self._data)
                    and 0 <= segment.end - segment.address - segment.file_bytes <= MOST_ALIGNMENT,
                    self._where, "has segments that overlap or lie outside of the file")
            require(segment.flags & (EXECUTE | WRITE) != EXECUTE | WRITE, self._where,
                    "has memory that is writable and executable")
            require(bool(segment.flags & WRITE)
                    or segment.end == segment.address + segment.file_bytes,
                    self._where, "has constants that are not in the file")
            loads.append(segment)
            end = -(-segment.end // align) * align
        self._check_others(rows, loads)
        return tuple(loads)

    def _segment(self, at: int) -> tuple[int, _Segment, int]:
        row = unpack(self._layout.segment, self._data, at, self._where)
        if self._machine.bits == 64:
            kind, flags, offset, address, _, file_bytes, nbytes, align = row
        else:
            kind, offset, address, _, file_bytes, nbytes, flags, align = row
        return kind, _Segment(address, address + nbytes, offset, file_bytes, flags), align

    def _check_others(self, rows: list[tuple[int, _Segment, int]],
                      loads: list[_Segment]) -> None:
        """Every other segment lies inside of what is mapped; the stack stays without code."""
        kinds = [kind for kind, _, _ in rows]
        require(kinds.count(DYNAMIC) == 1 and kinds.count(STACK) == 1 and kinds.count(RELRO) < 2,
                self._where, "has not exactly one dynamic section and one word on the stack")
        for kind, segment, _ in rows:
            if kind == STACK:
                require(not segment.flags & EXECUTE, self._where, "makes the stack executable")
            elif kind != LOAD:
                inside = [s for s in loads if s.address <= segment.address
                          and segment.end <= (s.end if kind == RELRO else s.address + s.file_bytes)]
                require(bool(inside), self._where, f"has a segment {kind:#x} outside of the others")
                require(kind != RELRO or bool(inside[0].flags & WRITE), self._where,
                        "protects memory that is not its own data")
                if kind == DYNAMIC:
                    self._dynamic_range = segment.address, segment.end

    def _at(self, address: int, nbytes: int, what: str, *, flags: int = 0) -> int:
        """The place in the file of memory that cannot change and has these flags."""
        for segment in self._segments:
            if (segment.address <= address
                    and address + nbytes <= segment.address + segment.file_bytes
                    and segment.flags & (EXECUTE | WRITE) == flags):
                return segment.offset + address - segment.address
        raise refuse(self._where, f"has {what} outside of its constants")

    def _read_dynamic(self) -> Mapping[int, int]:
        """The entries for the loader, each known and there once."""
        start, end = self._dynamic_range
        home = next(s for s in self._segments if s.address <= start and end <= s.end)
        at, size = home.offset + start - home.address, self._layout.dynamic.size
        found: dict[int, int] = {}
        for k in range(min((end - start) // size, MOST_ENTRIES)):
            tag, value = unpack(self._layout.dynamic, self._data, at + k * size, self._where)
            if tag == 0:
                return self._checked_tags(found)
            require(tag in TAGS, self._where,
                    NAMED_TAGS.get(tag, f"asks the loader for {tag:#x}"))
            require(tag not in found, self._where, f"has the dynamic entry {tag:#x} twice")
            found[tag] = value
        raise refuse(self._where, "has a dynamic section without end")

    def _checked_tags(self, tags: Mapping[int, int]) -> Mapping[int, int]:
        sizes = {SYMENT: self._layout.symbol.size, RELAENT: self._layout.rela.size,
                 RELENT: self._layout.rel.size}
        for tag, size in sizes.items():
            require(tags.get(tag, size) == size, self._where, f"has records of {tags.get(tag)} "
                    f"bytes, not {size}")
        require({STRTAB, STRSZ, SYMTAB} <= set(tags), self._where, "lacks its table of symbols")
        require(not tags.get(FLAGS, 0) & ~BIND_NOW and not tags.get(FLAGS_1, 0) & ~NOW,
                self._where, "asks the loader for more than to bind at once")
        return tags

    def _table(self, place: int, size: int) -> bytes:
        """The bytes of a table: the values of two dynamic entries say where, and how many."""
        nbytes = self._tags[size]
        at = self._at(self._tags[place], nbytes, "a table")
        return self._data[at:at + nbytes]

    def _words(self, address: int, count: int) -> tuple[int, ...]:
        at = self._at(address, 4 * count, "a hash table")
        return struct.unpack_from(f"<{count}I", self._data, at)

    def _count_symbols(self) -> int:
        """How many symbols there are: the hash tables say so, and nowhere else is it said.

        Both are walked to their ends, as a loader would that looks for a name."""
        counts = set()
        if HASH in self._tags:
            counts.add(self._walk_hash(self._tags[HASH]))
        if GNU_HASH in self._tags:
            counts.add(self._walk_gnu_hash(self._tags[GNU_HASH]))
        require(len(counts) == 1, self._where, "has no hash table of its symbols, or two that "
                "differ")
        return counts.pop()

    def _walk_hash(self, at: int) -> int:
        buckets, count = self._words(at, 2)
        require(0 < buckets <= MOST_ENTRIES and count <= MOST_ENTRIES, self._where,
                "has an endless hash table")
        first = self._words(at + 8, buckets)
        following = self._words(at + 8 + 4 * buckets, count)
        left = count
        for k in first:
            while k:
                require(k < count and left > 0, self._where, "has a hash table without end")
                k, left = following[k], left - 1
        return count

    def _walk_gnu_hash(self, at: int) -> int:
        buckets, start, blooms, shift = self._words(at, 4)
        require(0 < buckets <= MOST_ENTRIES and 0 < blooms <= MOST_ENTRIES
                and not blooms & (blooms - 1) and start <= MOST_ENTRIES and shift < 32,
                self._where, "has a damaged hash table")
        at += 16
        self._at(at, blooms * self._layout.word, "a hash table")
        at += blooms * self._layout.word
        last = 0
        for k in self._words(at, buckets):
            require(k == 0 or start <= k <= MOST_ENTRIES, self._where, "has a damaged hash table")
            last = max(last, k)
        if last == 0:
            return start
        # Chains lie one behind another, so the one that starts last ends the table.
        while not self._words(at + 4 * (buckets + last - start), 1)[0] & 1:
            last += 1
            require(last <= MOST_ENTRIES, self._where, "has a hash table without end")
        return last + 1

    def _read_symbols(self, count: int) -> Exports:
        record = self._layout.symbol
        at = self._at(self._tags[SYMTAB], count * record.size, "the table of symbols")
        functions: dict[str, int] = {}
        objects: dict[str, int] = {}
        for k in range(1, count):
            row = record.unpack_from(self._data, at + k * record.size)
            name_at, info, _, section, value, size = (
                row if self._machine.bits == 64 else (row[0], *row[3:], row[1], row[2]))
            bind, kind = info >> 4, info & 15
            name = self._name(name_at)
            require(kind != RESOLVER, self._where, f"has a symbol {name!r} that code chooses when "
                    f"it is loaded")
            if bind == LOCAL and kind in (NOTYPE, SECTION) and section < 0xff00:
                continue
            require(bind in (GLOBAL, WEAK), self._where, f"has a symbol {name!r} for the whole "
                    f"process")
            if section == 0:
                require(kind in (NOTYPE, FUNCTION)
                        and (name in IMPORTS or name.startswith("__aeabi_")), self._where,
                        f"asks the process for {name!r}")
                continue
            require(kind in (OBJECT, FUNCTION) and section < 0xff00 and name not in functions
                    and name not in objects, self._where, f"has an odd symbol {name!r}")
            if kind == FUNCTION:
                functions[name] = self._at(value & ~1, max(size, 1), name, flags=EXECUTE)
            else:
                objects[name] = self._at(value, max(size, 1), name)
        return Exports(functions, objects)

    def _name(self, at: int) -> str:
        end = self._strings.find(b"\0", at)
        require(at < len(self._strings) and end >= 0, self._where, "has a symbol without a name")
        return self._strings[at:end].decode("ascii", "backslashreplace")

    def _check_relocations(self, symbols: int) -> None:
        """What the loader writes goes into the library's own data, and not into what it reads."""
        machine, word = self._machine, self._layout.word
        if PLTGOT in self._tags:
            self._require_data(self._tags[PLTGOT], 3 * word)
        for offset, info in self._relocations():
            symbol = info >> self._layout.symbol_shift
            kind = info & ((1 << self._layout.symbol_shift) - 1)
            require(kind in machine.relocations and symbol < symbols, self._where,
                    f"has a relocation of type {kind}, which code of this kind does not need")
            self._require_data(offset, word)

    def _relocations(self) -> Iterator[tuple[int, int]]:
        """(address, info) of every one."""
        plt = {RELA: self._layout.rela, REL: self._layout.rel}.get(
            self._tags.get(PLTREL, RELA))
        require(plt is not None, self._where, "has damaged relocations")
        tables = ((RELA, RELASZ, self._layout.rela), (REL, RELSZ, self._layout.rel),
                  (JMPREL, PLTRELSZ, plt))
        for place, size, record in tables:
            require((place in self._tags) == (size in self._tags), self._where,
                    "has damaged relocations")
            if place not in self._tags or record is None:
                continue
            raw = self._table(place, size)
            require(len(raw) % record.size == 0 and len(raw) <= MOST_ENTRIES * record.size,
                    self._where, "has damaged relocations")
            counted = self._tags.get({RELA: RELACOUNT, REL: RELCOUNT}.get(place, 0), 0)
            require(counted <= len(raw) // record.size, self._where, "has damaged relocations")
            for row in record.iter_unpack(raw):
                yield row[0], row[1]

    def _require_data(self, address: int, nbytes: int) -> None:
        start, end = self._dynamic_range
        inside = any(s.flags & WRITE and s.address <= address and address + nbytes <= s.end
                     for s in self._segments)
        require(inside and (address + nbytes <= start or end <= address), self._where,
                "has the loader write outside of its own data")
