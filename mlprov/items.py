"""Values as canonical JSON, with every tensor by digest (docs/format.md section 4, "Batch leaf").

The JCS text is written directly, in one walk over the value; everything that is hashed leaves a
gap, and one call of the core fills all gaps.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from mlprov import _core
from mlprov.composites import Composite, Row, hash_tensors
from mlprov.digests import is_torch_tensor
from mlprov.errors import ConfigError, UnsupportedTensorError

__all__ = ["MAX_LEAF", "Items", "class_name", "encode_text", "float_text", "tensor_tail"]

MAX_LEAF: Final = 16 * 1024 * 1024  # bytes, as a reader allows (docs/format.md section 1)
_SAFE_INTEGER: Final = 2**53 - 1
_MAX_LEVELS: Final = 56  # of 64: the leaf around them, a composite tensor within
_MAX_PIECES: Final = 4_000_000  # of text, before they are joined

encode_text = json.JSONEncoder(ensure_ascii=False).encode
"""A text without surrogates as RFC 8785 section 3.2.2.2 writes it: json escapes just the same."""


def float_text(value: float) -> str:
    """A finite float in the number form of RFC 8785 section 3.2.2.3 (ECMAScript's).

    >>> [float_text(v) for v in (1.0, 0.5, 1e-7, 1e-5, 1e16, 1e21, -0.0)]
    ['1', '0.5', '1e-7', '0.00001', '10000000000000000', '1e+21', '0']
    """
    if value == 0.0:
        return "0"
    text = float.__repr__(value)  # the same shortest digits as ECMAScript's, laid out otherwise
    if text.endswith(".0"):
        return text[:-2]
    mantissa, mark, exponent_text = text.partition("e")
    if not mark:
        return text
    exponent = int(exponent_text)
    sign = "-" if mantissa[0] == "-" else ""
    digits = mantissa.lstrip("-").replace(".", "")
    if 0 < exponent < 21:
        return sign + digits.ljust(exponent + 1, "0")
    if -7 < exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return f"{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


@functools.lru_cache(maxsize=1024)
def tensor_tail(row: tuple[str, tuple[int, ...], int]) -> str:
    """What follows the digest; the batches of a run have few shapes."""
    dtype, shape, length = row
    return f'","dtype":"{dtype}","len":{length},"shape":[{",".join(map(str, shape))}]}}}}'


class Items:
    """One walk over a value: the pieces of its JCS text, with a gap for each thing that is hashed.

    Attributes:
        pieces: the text in order; "" at each gap.
        gaps: positions of the gaps in ``pieces``.
        kinds: for each gap ``"$tensor"``, ``"$bytes"``, or the tail of an ``$image``.
        sources: for each gap what is hashed.
        opaque: classes that are recorded by name alone.
        changed: places of the tensors that changed under capture.
    """

    __slots__ = ("changed", "gaps", "kinds", "opaque", "pieces", "root", "sources")

    def __init__(self, value: object, depth: int = 2) -> None:
        self.root = value
        self.pieces: list[str] = []
        self.gaps: list[int] = []
        self.kinds: list[str] = []
        self.sources: list[object] = []
        self.opaque: dict[str, None] = {}
        self.changed: list[str] = []
        write = _WRITERS.get(type(value)) or _writer_of(value)
        write(self, value, depth)

    def hash(self, algorithm: str) -> list[Row | Composite]:
        """Fill every gap; returns the rows of what was hashed.

        Raises:
            UnsupportedTensorError: a tensor without values, named by its place.
        """
        if not self.sources:
            return []
        rows: list[Row | Composite]
        try:
            rows = _core.tensor_digests(self.sources, algorithm)  # type: ignore[assignment]
        except UnsupportedTensorError:
            self._set_objects_apart()
            rows = hash_tensors(self.sources, algorithm, self._describe)
        self.fill(algorithm, rows)
        return rows

    def hash_beside(self, algorithm: str) -> _core.Ticket | None:
        """Begin to hash; :meth:`fill` takes the rows. None: only :meth:`hash` can do it."""
        if not self.sources:
            return None
        try:
            return _core.Ticket(self.sources, algorithm)
        except UnsupportedTensorError:  # composites, arrays of objects
            return None

    def fill(self, algorithm: str, rows: Sequence[Row | Composite | None]) -> None:
        """Fill every gap; None is the row of a tensor that changed under capture."""
        pieces = self.pieces
        head = '":{"digest":"' + algorithm + ":"
        for index, (gap, kind, row) in enumerate(zip(self.gaps, self.kinds, rows, strict=True)):
            if row is None:
                pieces[gap] = '{"$changed":' + encode_text(class_name(self.sources[index])) + "}"
                self.changed.append(self._describe(index))
            elif isinstance(row, Composite):
                pieces[gap] = '{"$tensor":' + row.text().decode() + "}"
            elif kind == "$tensor":
                pieces[gap] = '{"$tensor' + head + row[0].hex() + tensor_tail(row[1:])
            elif kind == "$bytes":
                pieces[gap] = f'{{"$bytes{head}{row[0].hex()}","len":{row[3]}}}}}'
            else:
                pieces[gap] = f'{{"$image{head}{row[0].hex()}","len":{row[3]},{kind}}}}}'

    def text(self) -> str:
        """The JCS text, once the gaps are filled.

        Raises:
            ConfigError: the text is longer than a leaf may be.
        """
        text = "".join(self.pieces)
        if len(text) > MAX_LEAF:
            raise ConfigError(
                f"cannot write a leaf of {len(text)} characters: it may have {MAX_LEAF} bytes",
                "hand over tensors, which are recorded by digest, instead of lists of numbers",
            )
        return text

    def gap(self, source: object, kind: str) -> None:
        """Leave a gap for the digest of ``source``."""
        self.gaps.append(len(self.pieces))
        self.kinds.append(kind)
        self.sources.append(source)
        self.pieces.append("")

    def _set_objects_apart(self) -> None:
        """Turn NumPy arrays without plain values (of objects, of structures) into ``$opaque``."""
        kept: list[tuple[int, str, object]] = []
        for gap, kind, source in zip(self.gaps, self.kinds, self.sources, strict=True):
            dtype = getattr(source, "dtype", None)
            if kind == "$tensor" and (
                getattr(dtype, "hasobject", False) or getattr(dtype, "names", None)
            ):
                name = class_name(source)
                self.opaque[name] = None
                self.pieces[gap] = '{"$opaque":' + encode_text(name) + "}"
            else:
                kept.append((gap, kind, source))
        self.gaps = [gap for gap, _, _ in kept]
        self.kinds = [kind for _, kind, _ in kept]
        self.sources = [source for _, _, source in kept]

    def _describe(self, index: int) -> str:
        place = next(_places(self.root, self.sources[index], "", 0), "")
        return f"the tensor at items{place}"


_Writer: TypeAlias = Callable[[Items, Any, int], None]


def class_name(value: object) -> str:
    """``module.Class`` of a value, as ``$opaque`` and module leaves write it."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return name.encode("utf-8", "replace").decode("utf-8")


def _write_constant(items: Items, value: bool | None, _depth: int) -> None:
    items.pieces.append("null" if value is None else "true" if value else "false")


def _write_integer(items: Items, value: int, _depth: int) -> None:
    if -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
        items.pieces.append(int.__repr__(value))
        return
    try:
        items.pieces.append('{"$int":"' + int.__repr__(value) + '"}')
    except ValueError as error:  # more digits than sys.get_int_max_str_digits()
        raise ConfigError(f"cannot write an integer of {value.bit_length()} bits") from error


def _write_float(items: Items, value: float, _depth: int) -> None:
    if value - value != 0.0:  # neither a number nor finite
        name = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        items.pieces.append('{"$float":"' + name + '"}')
    elif _SAFE_INTEGER < abs(value) < 1e21:  # would be digits only, an integer that readers refuse
        items.pieces.append('{"$float":"' + float_text(value) + '"}')
    else:
        items.pieces.append(float_text(value))


def _is_text(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write_text(items: Items, value: str, _depth: int) -> None:
    if _is_text(value):
        items.pieces.append(encode_text(str.__str__(value)))
    else:
        items.gap(value.encode("utf-8", "surrogatepass"), "$bytes")


def _write_bytes(items: Items, value: bytes | bytearray | memoryview, _depth: int) -> None:
    items.gap(bytes(value), "$bytes")


def _write_tensor(items: Items, value: object, _depth: int) -> None:
    items.gap(value, "$tensor")


def _write_opaque(items: Items, value: object, _depth: int) -> None:
    name = class_name(value)
    items.opaque[name] = None
    items.pieces.append('{"$opaque":' + encode_text(name) + "}")


def _write_image(items: Items, value: Any, _depth: int) -> None:
    pixels = value.tobytes()
    if value.mode in ("P", "PA"):
        pixels += bytes(value.getpalette() or ())
    width, height = value.size
    tail = f'"mode":{encode_text(str(value.mode))},"size":[{int(width)},{int(height)}]'
    items.gap(pixels, tail)


def _check_room(items: Items, depth: int) -> None:
    if depth > _MAX_LEVELS + 1:
        raise ConfigError(_too_deep(items.root))
    if len(items.pieces) > _MAX_PIECES:
        raise ConfigError(
            f"cannot record a value of more than {_MAX_PIECES // 2} items",
            "hand over tensors, which are recorded by digest",
        )


def _too_deep(root: object) -> str:
    """Why the nesting is too deep: a container that contains itself, or honest depth."""
    above: set[int] = set()  # containers on the way to the present one
    done: set[int] = set()
    todo: list[tuple[object, bool]] = [(root, False)]
    while todo and len(done) < _MAX_PIECES:
        value, left = todo.pop()
        if left:
            above.discard(id(value))
            done.add(id(value))
        elif id(value) in above:
            return f"cannot record a value that contains itself (a {class_name(value)})"
        elif id(value) not in done:
            children = [child for _, child in _children(value)]
            if children:
                above.add(id(value))
                todo.append((value, True))
                todo.extend((child, False) for child in children)
    return f"cannot record a value that is nested more than {_MAX_LEVELS} levels deep"


def _write_list(items: Items, value: Sequence[Any], depth: int) -> None:
    _check_room(items, depth)
    pieces = items.pieces
    mark = "["
    for item in value:
        pieces.append(mark)
        write = _WRITERS.get(type(item)) or _writer_of(item)
        write(items, item, depth + 1)
        mark = ","
    pieces.append("]" if mark == "," else "[]")


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")


def _write_object(items: Items, members: Mapping[str, Any], depth: int) -> None:
    """Keys are text without U+0000 and surrogates; in JCS order (RFC 8785 section 3.2.3)."""
    _check_room(items, depth)
    names = {("$" + key if key.startswith("$") else key): key for key in members}
    order = sorted(names) if all(map(str.isascii, names)) else sorted(names, key=_utf16)
    pieces = items.pieces
    mark = "{"
    for name in order:
        pieces.append(mark + encode_text(name) + ":")
        item = members[names[name]]
        write = _WRITERS.get(type(item)) or _writer_of(item)
        write(items, item, depth + 1)
        mark = ","
    pieces.append("}" if mark == "," else "{}")


def _write_mapping(items: Items, value: Mapping[Any, Any], depth: int) -> None:
    members: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str) or "\0" in key or not _is_text(key):
            return _write_pairs(items, value, depth)
        members[str.__str__(key)] = item
    return _write_object(items, members, depth)


def _write_pairs(items: Items, value: Mapping[Any, Any], depth: int) -> None:
    items.pieces.append('{"$pairs":')
    _write_list(items, list(value.items()), depth + 1)
    items.pieces.append("}")


def _dataclass_members(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _write_dataclass(items: Items, value: Any, depth: int) -> None:
    _write_object(items, _dataclass_members(value), depth)


def _write_named_tuple(items: Items, value: Any, depth: int) -> None:
    _write_object(items, dict(zip(value._fields, value, strict=True)), depth)


_WRITERS: Final[dict[type, _Writer]] = {
    type(None): _write_constant,
    bool: _write_constant,
    int: _write_integer,
    float: _write_float,
    str: _write_text,
    bytes: _write_bytes,
    bytearray: _write_bytes,
    memoryview: _write_bytes,
    list: _write_list,
    tuple: _write_list,
    dict: _write_mapping,
}
# Types of these packages are few and live as long as the process, so their writers are remembered.
_REMEMBERED: Final = ("torch", "numpy")


def _is_array(value: object) -> bool:
    """Whether a value is a tensor or an array, or a NumPy scalar (an array of no dimensions)."""
    if is_torch_tensor(value):
        return True
    numpy = sys.modules.get("numpy")
    generic = getattr(numpy, "generic", None)
    if numpy is not None and generic is not None and isinstance(value, (numpy.ndarray, generic)):
        return not isinstance(value, numpy.ma.MaskedArray)  # its values are not its bytes alone
    kind = type(value)
    return hasattr(kind, "__dlpack__") or f"{kind.__module__}.{kind.__qualname__}" == "array.array"


def _is_image(value: object) -> bool:
    image = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return image is not None and isinstance(value, image)


def _writer_of(value: object) -> _Writer:
    kind = type(value)
    writer = _classify(value)
    if kind.__module__.partition(".")[0] in _REMEMBERED and kind.__module__ in sys.modules:
        _WRITERS[kind] = writer
    return writer


def _classify(value: Any) -> _Writer:
    if _is_array(value):
        return _write_tensor
    for kind, writer in _SUBCLASSES:
        if isinstance(value, kind):
            return writer
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None)
        named = isinstance(fields, tuple) and all(isinstance(name, str) for name in fields)
        return _write_named_tuple if named and len(fields or ()) == len(value) else _write_list
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _write_dataclass
    return _write_image if _is_image(value) else _write_opaque


_SUBCLASSES: Final[tuple[tuple[type, _Writer], ...]] = (
    (int, _write_integer),
    (float, _write_float),
    (str, _write_text),
    (bytes, _write_bytes),
    (bytearray, _write_bytes),
    (Mapping, _write_mapping),
    (list, _write_list),
)


def _children(value: Any) -> Iterable[tuple[str, Any]]:
    """What a container holds, with the way to it in Python's words."""
    write = _WRITERS.get(type(value)) or _classify(value)
    if write is _write_list:
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    if write is _write_mapping:
        return [(f"[{key!r}]", item) for key, item in value.items()]
    if write is _write_named_tuple:
        return [(f".{name}", getattr(value, name)) for name in value._fields]
    if write is _write_dataclass:
        return [(f".{name}", item) for name, item in _dataclass_members(value).items()]
    return ()


def _places(value: object, wanted: object, place: str, depth: int) -> Iterator[str]:
    if value is wanted:
        yield place
    elif depth <= _MAX_LEVELS:
        for step, child in _children(value):
            yield from _places(child, wanted, place + step, depth + 1)
