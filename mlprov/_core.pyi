"""The C core. Only mlprov's own modules import it; everything here may change with any release.

Conventions: digests, roots and hashes are raw ``bytes`` (32 long unless the algorithm says
otherwise); notes and leaves are ``bytes``; every error is an exception of :mod:`mlprov.errors`
(classes are handed to the core by that module at import), with ``.status`` (the core's name of the
status, such as ``"MISMATCH"``), ``.retryable`` and ``.remedy``. The GIL is released around hashing,
disk and cryptography above about 2 KiB of work. Arguments of a wrong type are TypeError; wrong
lengths, signs and names are ValueError or IndexError, but EvidenceError where they can only come
from evidence (``merkle_verify_*``, ``slice_verify``). A file of the caller's that cannot be opened
or read is the OSError that ``open`` raises.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Self, TypeAlias, final

from typing_extensions import Buffer

_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# Servers: URL, headers, file of certificates, milliseconds for one request.
_Service: TypeAlias = tuple[str, tuple[str, ...], str | None, int]
# A program's own way to sign: (intent, account, digest) -> r and s (64 or 65 bytes), or the whole
# transaction; or (whether trying later may do, why not). Must not raise.
_Signer: TypeAlias = "Callable[[_Intent, str, bytes], bytes | tuple[bool, str]]"
# What an anchor that pays needs: chain id (decimal), contract's address, account, contract's name
# (AnchorStore, MLProvenance), who signs, and limits: highest fee and least tip (wei for a unit of
# gas), most gas, milliseconds until a transaction is replaced, replacements, confirmations.
_Account: TypeAlias = tuple[
    str, str, str, str, "EthereumKey | _Service | _Signer", tuple[int, int, int, int, int, int]
]
# Kind, then as _Service; an account for the kinds that have one.
_Endpoint: TypeAlias = (
    tuple[str, str, tuple[str, ...], str | None, int]
    | tuple[str, str, tuple[str, ...], str | None, int, _Account]
)

# (digest, dtype name, shape, length in bytes)
_TensorRow: TypeAlias = tuple[bytes, str, tuple[int, ...], int]

def set_exceptions(classes: dict[str, type[Exception]], /) -> None:
    """Tell the core which class answers each name of base/status.h's table.

    MemoryError, ValueError and IndexError are the builtins; RuntimeError stands in for the
    others before this call.
    """

def openssl_version() -> str: ...
def sqlite_version() -> str: ...

# ---- hash ----
MOST_ALGORITHMS: Final[int]
"""How many one call may hash by."""

def hash_kernels() -> list[tuple[str, bool]]:
    """(name, usable) in order of preference."""

def hash_kernel() -> str: ...
def hash_kernel_reason() -> str:
    """Why that kernel is in use: a phrase for people."""

def set_hash_kernel(name: str, /) -> None:
    """Force a kernel. Raises ConfigError (unknown, not supported here, failed its self-test)."""

def hash_threads() -> int:
    """How many threads hash at once unless a call says otherwise: MLPROV_THREADS, else the
    processors that this process may use, at most 64.
    """

def set_hash_threads(threads: int, /) -> None:
    """Set it. Raises ConfigError below 1 and above 1024, as ``threads=`` of every call does."""

def hash_bytes(
    data: Buffer, /, algorithm: str = "blake3", *, threads: int | None = None
) -> bytes: ...
def hash_many(
    items: Sequence[Buffer], /, algorithm: str = "blake3", *, threads: int | None = None
) -> list[bytes]: ...
def hash_many_by(
    items: Sequence[Buffer], /, algorithms: Sequence[str], *, threads: int | None = None
) -> list[list[bytes]]:
    """A list of digests for each algorithm; with two threads one hashes with SHA-256 while the
    other hashes with BLAKE3.
    """

def hash_file(
    path: _Path,
    /,
    algorithms: Sequence[str],
    *,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[list[bytes], int]:
    """Digests of a file, pipe or device in one read, and its length; 1 to 8 algorithms. Links
    are followed. A regular file's BLAKE3 is computed by several threads that each read their own
    parts; of several algorithms each has a thread.

    ``progress`` is called with (0, bytes done) on this thread, about 20 times a second; what it
    raises ends the call, as Ctrl-C does. EvidenceError (CHANGED) if the file is written to,
    truncated or replaced while it is read; OSError, as ``open`` raises it, if it cannot be read.
    """

def hash_files(
    paths: Sequence[_Path],
    /,
    algorithm: str = "blake3",
    *,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[list[bytes | Exception | None], list[int]]:
    """What came of each regular file, and their lengths: the digest; the exception that
    ``hash_file`` would raise; or None: it is large, so that it is left to ``hash_file`` and all
    threads. Pipes and devices are refused (ConfigError) without waiting for them.

    ``progress`` is called with (files, bytes done), as ``hash_file`` does.
    """

def hash_file_ranges(
    path: _Path,
    ranges: Sequence[tuple[int, int]],
    /,
    algorithm: str,
    whole: Sequence[str],
    *,
    threads: int | None = None,
) -> tuple[list[bytes], list[bytes], int]:
    """(digest by ``algorithm`` of each [begin, end), digests of the whole file by those of
    ``whole``, length): one read. ``whole`` may be empty: then the ranges alone are hashed.

    Ranges are sorted and do not overlap (ValueError); IndexError where the last ends beyond the
    file. Regular files only (ConfigError).
    """

def blake3_subtree(data: Buffer, chunk_offset: int, /, key: bytes | None = None) -> bytes:
    """Chaining value of a complete subtree that is not the root; ValueError where it is empty or
    not aligned.
    """

def blake3_parent(
    left: bytes, right: bytes, /, *, root: bool = False, key: bytes | None = None
) -> bytes: ...

@final
class Hasher:
    """hashlib's shape. ``key`` (32 bytes) and ``context`` (derive-key) are for blake3 alone.

    ``length`` and ``seek`` ask for BLAKE3's extendable output; ValueError for the other
    algorithms. May be used from several threads: one call at a time is made, the others wait. A
    piece of half a MiB and more is hashed by as many threads as ``hash_threads`` says (blake3).
    """

    def __new__(
        cls,
        data: Buffer = b"",
        /,
        *,
        algorithm: str = "blake3",
        key: bytes | None = None,
        context: str | None = None,
    ) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def digest_size(self) -> int: ...
    @property
    def block_size(self) -> int: ...
    def update(self, data: Buffer, /) -> None: ...
    def digest(self, length: int | None = None, *, seek: int = 0) -> bytes: ...
    def hexdigest(self, length: int | None = None, *, seek: int = 0) -> str: ...
    def copy(self) -> Hasher: ...

# ---- merkle ----
def merkle_leaf_hash(leaf: Buffer, /) -> bytes: ...
def merkle_root(leaves: Iterable[Buffer], /) -> bytes: ...
def merkle_verify_inclusion(
    root: bytes, leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], /
) -> None:
    """Returns None when it holds; VerificationError when it does not; EvidenceError when
    malformed.
    """

def merkle_verify_consistency(
    old_root: bytes, old_size: int, new_root: bytes, new_size: int, path: Sequence[bytes], /
) -> None: ...
def blake3_groups(data: object, /, *, threads: int | None = None) -> tuple[bytes, bytes, int]:
    """(digest, chaining values of the groups of 16 KiB, 32 bytes each, length) in one pass; no
    groups of an input of at most 16 KiB.

    UnsupportedTensorError where the canonical bytes do not lie in host memory in one piece.
    """

def slice_prove(
    source: object | Callable[[int, int], Buffer],
    size: int,
    start: int,
    length: int,
    groups: Buffer,
    /,
) -> tuple[bytes, list[bytes], bytes]:
    """(head, path, tail) of a slice's proof (docs/format.md section 13).

    ``source`` is the input, or gives the bytes of it: ``source(offset, length)``, at most
    8 KiB a call. IndexError: the slice reaches beyond the end. ValueError: groups or size of
    another input.
    """

def slice_verify(
    digest: bytes,
    size: int,
    start: int,
    data: Buffer,
    head: Buffer,
    path: Sequence[bytes],
    tail: Buffer,
    /,
) -> None: ...

@final
class MerkleTree:
    """Keeps every leaf hash (32 bytes each) so that it can prove. May be used from several
    threads.

    A size above ``len()`` or an index that is not below it is IndexError. ``extend`` adds all
    leaves or none.
    """

    def __new__(cls, leaves: Iterable[Buffer] = (), /) -> Self: ...
    def __len__(self) -> int: ...
    def append(self, leaf: Buffer, /) -> int: ...
    def append_hash(self, leaf_hash: bytes, /) -> int: ...
    def extend(self, leaves: Iterable[Buffer], /) -> None: ...
    def root(self, size: int | None = None) -> bytes: ...
    def prove_inclusion(self, index: int, size: int | None = None) -> list[bytes]: ...
    def prove_consistency(self, old_size: int, new_size: int | None = None) -> list[bytes]: ...

# ---- codec ----
def json_decode(text: Buffer, /, max_length: int = 16777216, max_depth: int = 64) -> Any:
    """Strict profile of docs/format.md section 1 (without the JCS-order rule). EvidenceError
    says line, column, rule.
    """

def encode_leaves(leaves: Iterable[Buffer], /) -> bytes: ...
def decode_leaves(data: Buffer, /) -> list[bytes]:
    """Strict reading of a leaves file; EvidenceError names the offset."""

# ---- ipfs ----
# How a file is cut: (chunk size, width, raw leaves, version of CIDs).
_Unixfs: TypeAlias = tuple[int, int, bool, int]

def cid_of_block(data: Buffer, codec: str = "raw", /) -> bytes:
    """The 36 bytes of a CIDv1; codecs are raw, dag-pb and dag-cbor (ValueError)."""

def cid_text(cid: Buffer, base: str = "b", /) -> str:
    """In base "b", "f", "k" or "z"; "Q": version 0, of dag-pb alone (ValueError)."""

def cid_from_text(text: str, /) -> bytes:
    """Strict reading, of version 0 too; EvidenceError where it is no CID of a SHA-256."""

def cid_from_bytes(data: Buffer, /) -> bytes: ...
def cid_of_file(
    path: _Path,
    unixfs: _Unixfs,
    /,
    *,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[bytes, int, int]:
    """(CID, length of the file, length of all blocks). Files, errors and ``progress`` as
    ``hash_file`` has them; regular files alone (ConfigError).
    """

def dag_cbor_encode(value: object, cid_type: type, /) -> bytes:
    """A value of None, bool, int (64 bits), float (finite), str, bytes, list, tuple, dict (keys
    str) and ``cid_type`` (its ``binary`` is a CID). TypeError: another; ValueError: a number
    that does not fit, or deeper than 128.
    """

def dag_cbor_check(data: Buffer, /) -> None:
    """EvidenceError where bytes are not exactly one value in its one encoding."""

def car_write(
    path: _Path,
    fd: int,
    name: _Path,
    unixfs: _Unixfs,
    /,
    *,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[bytes, int]:
    """Write a file as a CAR of version 1 to a descriptor, ``name`` naming that in errors.
    (CID, bytes written). The file is read twice.
    """

def car_read(
    path: _Path, /, *, progress: Callable[[int, int], object] | None = None
) -> tuple[list[bytes], int, int]:
    """(roots, how many blocks, their length), every block having been hashed.

    EvidenceError: no CAR of version 1, a root that is missing; VerificationError: a block is not
    what its CID names.
    """

def car_extract(
    path: _Path,
    fd: int,
    name: _Path,
    /,
    *,
    cid: bytes | None = None,
    max_size: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[bytes, int]:
    """Write the file that ``cid``, or the only root, names. (CID, length). IndexError: longer than
    ``max_size``, by default the length of all blocks.
    """

# ---- tensor ----
def tensor_digests(
    tensors: Sequence[object], /, algorithm: str = "blake3", *, threads: int | None = None
) -> list[_TensorRow]:
    """Digests of strided tensors and arrays, in place. UnsupportedTensorError carries
    ``.index``.

    All tensors are held first, then hashed with the GIL released. Composite torch tensors
    (sparse, quantised, nested) are split before they come here; here they are
    UnsupportedTensorError.
    """

def digest_values(
    objects: Sequence[object], algorithms: Sequence[str], /, *, threads: int | None = None
) -> list[list[bytes]]:
    """Digests alone of what tensor_digests takes: a list for each of 1 to 8 algorithms."""

def tensor_tree(
    names: Sequence[str],
    tensors: Sequence[object],
    /,
    algorithm: str = "blake3",
    *,
    threads: int | None = None,
    ready: Sequence[tuple[str, bytes]] = (),
) -> tuple[bytes, tuple[bytes, ...], tuple[tuple[str, ...], ...]]:
    """(root, leaves in order of name, alias groups) of named tensors in any order, hashed in place
    and each alias once; ``ready`` are (name, leaf) of what else is in the tree.

    ConfigError: two entries of one name. ValueError: a name that is not valid Unicode or contains
    U+0000. UnsupportedTensorError carries ``.index``.
    """

def tensors_without_view(tensors: Sequence[object], /) -> list[int]:
    """Positions of those that the other functions refuse (without values, or with parts).
    TypeError: something is no tensor at all.
    """

def tensor_identities(
    tensors: Sequence[object], /
) -> list[tuple[int, int, str, tuple[int, ...], tuple[int, ...]] | None]:
    """(storage, byte offset, dtype, shape, byte strides) of each; None for empty tensors.

    Equal for aliases, and for no others. The storage is the address where it begins.

    What is pending on the values (conjugation, negation, byte order) follows the dtype: ``"C64
    conj"``.
    """

def tensor_leaf(name: str, row: _TensorRow, /, algorithm: str = "blake3") -> bytes: ...
def tensor_digest_staged(tensor: object, /, algorithm: str = "blake3") -> _TensorRow:
    """The path that copies device tensors piece by piece, forced (torch only); for tests and
    doctor.
    """

@final
class ModuleTree:
    """The structure of an ordinary torch module: keys and types, never modules or tensors. Made by
    ``module_tree``.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters and persistent buffers, without the wrappers' parts, in no order."""
    @property
    def buffer_names(self) -> tuple[str, ...]:
        """Of the other buffers."""
    def tensors(self) -> tuple[list[Any], list[Any]] | None:
        """(tensors, buffers) as they are now, in the order of the names. None where the model has
        other keys or types than it had, or is gone.
        """

def module_tree(root: object, kinds: Mapping[type, str | None], /) -> ModuleTree | None:
    """The structure of a module; None where ``kinds`` says None of a type that is met or does not
    know it, where a container is no dict, where something was put into an object in place of its
    method, and of a module within itself.

    ``kinds`` says of a type: None: not ordinary; "": ordinary; or the key of what a wrapper wraps.
    """

def dtypes() -> list[tuple[str, int, str | None, str | None]]:
    """(name, bits, torch's name, NumPy's) of every element type; None where it has none."""

def torch_bridge() -> str | None:
    """The torch release that the bridge in use was built for; None while torch is not loaded or
    the bridge stepped aside.
    """

def describe_torch_bridge() -> str:
    """One line for doctor: in use, not needed, or stepped aside and why."""

@final
class AnchorWorkers:
    """Threads that deliver what is in a store's outbox, one for each endpoint.

    In a forked child every call does nothing. ``wait`` and ``stop`` must not run at once.
    """

    def __new__(
        cls,
        store_path: _Path,
        endpoints: Sequence[_Endpoint],
        /,
        *,
        every_ms: int = 0,
    ) -> Self:
        """every_ms: at least so long between two checkpoints that are anchored.

        ValueError: an unknown kind, none or too many endpoints, a limit out of range.
        """
    def hand_over(self, at_once: object, /) -> None:
        """There is something new in the store; returns at once. at_once: every_ms counts not."""
    def wait(self, milliseconds: int, /) -> bool:
        """Wait until nobody has anything to do now; whether that is so."""
    def stop(self, milliseconds: int, /) -> bool:
        """End all, and what they ask; whether they have ended. What is left stays."""

@final
class StepGate:
    """The hooks around optimizer steps: no Python code runs for a step that is only counted.

    ``before`` and ``after`` of the constructor are called as torch calls hooks, where the hooks of
    these names do not do.
    """

    busy: bool
    """Whether steps have to be told of before they write; at first they have."""

    def __new__(
        cls,
        before: Callable[[Any, Any, Any], object],
        after: Callable[[Any, Any, Any], object],
    ) -> Self: ...
    def before(self, optimizer: Any, arguments: Any, keywords: Any, /) -> Any: ...
    def after(self, optimizer: Any, arguments: Any, keywords: Any, /) -> Any: ...
    def arm(self, optimizer: Any, quiet: int, may_skip: bool, note: object, /) -> bool:
        """Count the next ``quiet`` steps of this optimizer and no more than that; it is not kept.
        False, and nothing was done, until what was counted before is taken.

        With ``may_skip`` a step for which it has a ``found_inf`` is told of.
        """

    def take(self) -> tuple[Any, int, Any] | None:
        """Count no more: the optimizer (None: it is gone), its steps, the note; None: not armed."""

@final
class Ticket:
    """Tensors that workers hash in place while the caller goes on; rows as of tensor_digests.

    torch tensors in host memory are hashed beside the caller. What has no version counter, or
    memory that cannot be kept while others may resize it, is hashed before the Ticket is there:
    arrays, inference tensors, tensors on a device or in pinned memory. So is everything where
    there is one processor, little to hash, or no room (``ticket_load``). Tensors, storages and
    their memory are kept until there is an answer, and dropped on a Python thread.

    ``recheck`` hashes again before the answer. ``threads`` is how many workers hash while nobody
    waits, ``hash_threads_beside`` by default.

    Raises UnsupportedTensorError with ``.index``, as tensor_digests does; in a forked child
    StoreError (FORKED) from every method.
    """

    def __new__(
        cls,
        tensors: Sequence[object],
        /,
        algorithm: str = "blake3",
        *,
        recheck: bool = False,
        threads: int | None = None,
    ) -> Self: ...
    @property
    def beside(self) -> int:
        """How many tensors are hashed beside the caller; 0: all were hashed at once."""

    @property
    def bytes(self) -> int:
        """How many bytes those have."""

    @property
    def changed(self) -> tuple[int, ...]:
        """Indices of tensors that changed under capture; waits.

        Those of another version counter or address than at the start, with ``recheck`` also those
        of another digest.
        """

    def wait(self, timeout: float | None = None) -> bool:
        """The barrier: take part until every digest is there. False when ``timeout`` seconds are
        over. Ctrl-C ends the wait and not the Ticket.
        """

    def poll(self) -> bool:
        """Whether every digest is there; waits for nobody."""

    def result(self) -> list[_TensorRow | None]:
        """Wait; a row for each tensor, None for one that changed under capture."""

    def cancel(self) -> None:
        """Give up what is not done yet; ``wait`` and ``result`` then raise StoreError (CLOSED)."""

def ticket_load() -> tuple[int, int]:
    """(bytes that Tickets which are hashing keep beside the tensors, of 64 MiB; how many found no
    room since the process began and were hashed at once).
    """

def hash_threads_beside() -> int:
    """How many workers hash while nobody waits: an eighth of the processors, at least one, at most
    ``hash_threads``; 0 where there is one processor.
    """

def safetensors_entries(
    path: _Path, /
) -> tuple[list[tuple[str, str, tuple[int, ...], int, int]], dict[str, str], int]:
    """([(name, dtype, shape, begin, end) sorted by name, offsets from the file's start],
    metadata, file length).

    Reads the header alone. EvidenceError: malformed or changed; OSError, as ``open`` raises
    it: cannot be read; ConfigError: not a regular file.
    """

def save_safetensors(
    fd: int,
    what: str,
    names: Sequence[str],
    tensors: Sequence[object],
    /,
    algorithm: str = "blake3",
    *,
    metadata: Sequence[tuple[str, str]] | None = None,
    threads: int | None = None,
) -> tuple[list[tuple[str, str, tuple[int, ...], int, int, bytes]], bytes, bytes, int]:
    """Writes a safetensors file at the descriptor's position: ([(name, dtype, shape, begin, end,
    digest) in the order of the file], BLAKE3 and SHA-256 of all bytes, their number).

    Each tensor's memory is read once; strided ones are gathered block by block, views that overlap
    are each written whole. ``what`` names the file in errors. Nothing is synced.

    UnsupportedTensorError, ConfigError: a tensor that has no values, or of a type that the format
    lacks, with its ``index``. StoreError: the file cannot be written.
    """

def load_safetensors(
    path: _Path,
    allocate: Callable[
        [list[tuple[str, str, tuple[int, ...], int, int]], dict[str, str]], Sequence[object]
    ],
    /,
    algorithm: str = "blake3",
    *,
    whole: str | None = None,
    threads: int | None = None,
) -> tuple[list[bytes], bytes | None, int]:
    """Reads a safetensors file into tensors: (digest of each, that of the file by ``whole``, its
    length).

    ``allocate`` is given what safetensors_entries answers and returns, in that order, a dense
    tensor or array for each entry, as long as it and writable, that nobody else has. They are
    written, and hashed from there.

    EvidenceError: malformed, or changed while it was read; OSError: cannot be read.
    """

# ---- sign ----
def verify_note(note: Buffer, vkey: str, /) -> str:
    """The text of a note signed by that key.

    VerificationError: the signature does not verify, or there is none by that key.
    EvidenceError: malformed.
    """

def note_text(note: Buffer, /) -> str:
    """The unverified text of a well-formed note."""

def parse_checkpoint(text: str, /) -> tuple[str, int, bytes]:
    """(origin, size, root) of a checkpoint's text; EvidenceError when malformed or with
    extension lines.
    """

def format_checkpoint(origin: str, size: int, root: bytes, /) -> str:
    """The text that parse_checkpoint reads."""

def parse_vkey(vkey: str, /) -> tuple[str, bytes]:
    """(name, 32-byte public key); EvidenceError when malformed."""

def format_vkey(name: str | None, public_key: bytes, /) -> str:
    """The text of a verifier key. name None: ``mlprov/owner/<16 hex>`` of the key."""

def ed25519_verify(public_key: bytes, signature: Buffer, message: Buffer, /) -> bool:
    """Whether a bare Ed25519 signature (RFC 8032) holds."""

@final
class SigningKey:
    """An Ed25519 private key that never leaves the core's locked memory, under a C2SP key name.

    Made by ``create`` and ``load`` alone.
    """

    @classmethod
    def create(
        cls, path: _Path, name: str | None, /, passphrase: bytes | None = None
    ) -> SigningKey:
        """New key file (0600, O_EXCL, O_NOFOLLOW). name None: ``mlprov/owner/<16 hex>`` of the key.

        ConfigError: the path exists. StoreError: it cannot be written.
        """
    @classmethod
    def load(cls, path: _Path, name: str | None, /, passphrase: bytes | None = None) -> SigningKey:
        """ConfigError: missing, not readable, group-readable, not owned, link, other key type,
        wrong passphrase.
        """
    @property
    def name(self) -> str: ...
    @property
    def vkey(self) -> str: ...
    @property
    def public_key(self) -> bytes: ...
    def sign_note(self, text: str, /) -> bytes:
        """A signed note over text (must end in a newline)."""

# ---- Ethereum ----
# What needs a signature opens libsecp256k1 at its first call; where that is missing, Error says
# what to install.

# (chain id, nonce, highest priority fee, highest fee, gas limit, receiver or None, value, data);
# fees and value in wei. Numbers above 2^64 - 1 are not taken; a value that is read may be larger.
_Intent: TypeAlias = tuple[int, int, int, int, int, str | None, int, bytes]

def keccak256(data: Buffer, /) -> bytes:
    """Ethereum's hash; SHA3-256 pads differently."""

def ethereum_address(text: str, /) -> str:
    """The address in the case of EIP-55. ValueError: it is none, or its checksum does not hold."""

def ethereum_transaction(raw: Buffer, /) -> tuple[_Intent, str, bytes]:
    """(intent, sender, hash) of a signed transaction of type 2 (EIP-1559).

    EvidenceError: malformed, or of another type. VerificationError: no key makes its signature.
    """

def ethereum_check_transaction(raw: Buffer, sender: str, intent: _Intent, /) -> None:
    """Whether raw is the intent, signed by sender; VerificationError names what differs."""

def ethereum_prove(
    block: Buffer,
    receipts: Buffer,
    transaction: Buffer,
    digest: Buffer,
    /,
    *,
    header: Buffer | None = None,
) -> bytes:
    """Evidence (docs/format.md section 14) of the anchor that a transaction made.

    block, receipts: the JSON of a node's results for eth_getBlockByHash with whole transactions
    and for the receipts of all of them; header: its RLP where the node gave it.
    VerificationError: the answers do not make the block's hash and roots, or the transaction is
    no anchor of digest.
    """

def ethereum_verify(evidence: Buffer, digest: Buffer, /) -> dict[str, Any]:
    """What evidence shows about digest, relative to its block's hash: chain_id, contract, sender,
    transaction, block, number, time, index, log, event.

    VerificationError: it does not hold. EvidenceError: it cannot be read.
    """

def ethereum_header(raw: Buffer, /) -> tuple[bytes, int, int]:
    """(hash, number, time in seconds since 1970) of a block's header, given as its RLP.

    EvidenceError: it is none.
    """

def ethereum_deployment(
    endpoint: _Endpoint, bytecode: Buffer, /
) -> tuple[bytes, bytes, str, int, int]:
    """(transaction as it is sent, its hash, the contract's address, gas, wei for a unit) at most.

    Priced by the node, checked against the account's limits, chain and balance, signed, compared
    with what was to be signed. Sends nothing. AnchorError: says what to do.
    """

def ipfs_block(
    url: str,
    cid: str,
    most: int,
    /,
    *,
    headers: Sequence[str] = (),
    ca_file: str | None = None,
    timeout_ms: int = 10000,
) -> bytes:
    """A block of at most so many bytes (4 MiB) as an IPFS node gives it; not held against its name.

    url: of Kubo's RPC interface. AnchorError: the node could not be asked, or does not give it.
    EvidenceError: no CID of a SHA-256. ConfigError: no libcurl.
    """

def json_rpc(
    url: str,
    method: str,
    parameters: str,
    /,
    *,
    headers: Sequence[str] = (),
    ca_file: str | None = None,
    timeout_ms: int = 10000,
) -> bytes:
    """The whole answer of a JSON-RPC server as it came: an object with ``result`` or ``error``.

    parameters: a JSON array. Opens libcurl at the first call. AnchorError: the server could not be
    asked (also with MLPROV_OFFLINE), or what it answers is no answer. ConfigError: no libcurl.
    """

@final
class EthereumKey:
    """An Ethereum account's key that never leaves the core's locked memory, except into a file.

    Made by its class methods alone.
    """

    @classmethod
    def generate(cls) -> EthereumKey: ...
    @classmethod
    def from_secret(cls, secret: Buffer, /) -> EthereumKey:
        """ConfigError: zero, or not below the group's order."""
    @classmethod
    def create(cls, path: _Path, passphrase: Buffer, /) -> EthereumKey:
        """New key file (0600, O_EXCL, O_NOFOLLOW): Web3 secret storage, version 3, scrypt.

        ConfigError: the path exists. StoreError: it cannot be written.
        """
    @classmethod
    def load(cls, path: _Path, passphrase: Buffer, /) -> EthereumKey:
        """ConfigError: missing, not readable, group-readable, not owned, link, no such file, wrong
        passphrase.
        """
    @property
    def address(self) -> str: ...
    def sign_transaction(self, intent: _Intent, /) -> tuple[bytes, bytes]:
        """(transaction as it is sent, its hash); the same each time."""

# ---- store ----
@final
class Store:
    """One open store directory: store.db, log/, trees/, keys/ (docs/format.md section 11).

    Thread-safe; not usable in a forked child (StoreError FORKED).
    """

    def __new__(cls, path: _Path, /, *, create: bool = False, read_only: bool = False) -> Self:
        """create: make directory, database, store id and store-log key where missing.

        A store of a newer version opens read-only. StoreError: not found, not writable, corrupt,
        full. ConfigError: the directory is another user's, or holds other things.
        """
    @property
    def path(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def newer(self) -> bool:
        """Whether a newer version of mlprov wrote it (it is read-only then)."""
    @property
    def log_origin(self) -> str: ...
    @property
    def log_vkey(self) -> str: ...
    def plan_file(
        self, kind: str, origin: str, size: int, digest: bytes, payload: Buffer, /
    ) -> bool:
        """Put a file that is to be published into the outbox: of a kind that takes files, with the
        digest in its CID; ``payload`` is for that kind to read. False: it was there. Durable when
        it returns.
        """

    def plan_anchor(
        self, kind: str, chain: str = "", target: str = "", account: str = "", /
    ) -> None:
        """Put an anchor of the log's last checkpoint into the outbox; nothing where it is there.

        chain, target and account are those of the endpoint, for kinds that have them.

        ValueError: no such kind. StoreError: not writable, full.
        """
    def resume_anchors(self) -> int:
        """Let every anchor that waits go on now; how many waited for somebody.

        StoreError: not writable, full.
        """
    def set_patience(self, milliseconds: int, /) -> None:
        """How long to wait for another process, at most: for the database in each transaction
        and for the store log's lock. 30,000 until it is set; 0 does not wait.

        ValueError: negative.
        """
    def query(
        self, sql: str, parameters: Sequence[int | float | str | bytes | None] = (), /
    ) -> list[tuple[Any, ...]]:
        """Rows of one read-only statement (schema: csrc/store/schema.c). ValueError: anything
        that could write, bad SQL.
        """
    def create_run(self, run_id: str, name: str, project: str | None, /) -> RunLog:
        """A new run with a new run key. Nothing is in the database before the first commit."""
    def open_run(self, run_id: str, /) -> RunLog:
        """An unfinished run, to continue its log (key file must still be there)."""
    def put_leaves(self, leaves: Sequence[Buffer], /) -> bytes:
        """Write trees/<root>.leaves (temporary name, fsync, rename; kept if it is there).
        Returns the root.
        """
    def get_leaves(self, root: bytes, /) -> list[bytes]:
        """Leaves of a kept tree, root checked. StoreError NOT_FOUND or CORRUPT."""
    def has_leaves(self, root: bytes, /) -> bool: ...
    def open_stream(self, run_id: str, stream: str, /) -> LeafStream: ...
    def put_import(
        self,
        run_id: str,
        name: str,
        project: str | None,
        status: str,
        created: str,
        records: Sequence[tuple[str, str, bytes]],
        heads: Sequence[tuple[int, bytes, bytes]],
        bundle_path: str,
        /,
    ) -> None:
        """Enter an imported run in one transaction: records (type, time, bytes), heads (size,
        root, note).
        """
    def integrate(self) -> int:
        """Enter every pending head of every run into the store log; sign and publish the
        checkpoint. Returns the size.
        """
    def checkpoint(self) -> bytes | None:
        """The last signed store-log checkpoint."""
    def log_proof(self, index: int, size: int, /) -> list[bytes]:
        """Inclusion path of entry index in the log's first size entries."""
    def close(self) -> None: ...
    def __enter__(self) -> Store: ...
    def __exit__(self, *exception: object) -> None: ...

@final
class RunLog:
    """The append-only log of one run (docs/format.md section 5), made by Store. Calls from
    several threads wait.

    After ``close`` the properties stay, everything else is StoreError CLOSED; in a forked child
    StoreError FORKED.
    """

    @property
    def run_id(self) -> str: ...
    @property
    def vkey(self) -> str: ...
    @property
    def size(self) -> int:
        """Records appended, acknowledged or not."""
    @property
    def last_time(self) -> str | None:
        """Time of the last of them, None before the first."""
    @property
    def head(self) -> tuple[int, bytes]:
        """(size, root) of the last signed and committed head: what is acknowledged."""
    def append(self, record: Buffer, /, *, seq: int, type: str, time: str) -> None:  # noqa: A002
        """Add one record's exact bytes to the pending ones; StoreError BUSY where its seq is not
        the log's size, because another call came in between."""
    def rollback(self) -> int:
        """Drop pending records (after a failed commit); returns the size."""
    def commit(self, status: str | None = None, /) -> bytes:
        """Write pending records and a signed head in one transaction; returns the head note.

        status: the run's new status; None leaves it.
        """
    def destroy_key(self) -> None:
        """Delete the run key (after the last head is in the store log)."""
    def close(self) -> None: ...

@final
class LeafStream:
    """An open leaves file, made by Store. Calls from several threads wait; StoreError FORKED in
    a forked child.
    """

    def append(self, leaf: Buffer, /) -> int: ...
    def append_batch(self, batch: object, algorithm: str, most: int, /) -> tuple[int, int] | None:
        """Hash a plain batch and append its leaf, numbered by its place: (samples, bytes).

        A batch of up to 64 KiB may be copied and wait: some are hashed together, with what comes
        next where that is another leaf, ``root``, ``sync`` or ``close``, after five seconds at the
        next batch. ``size`` counts them.

        None where the batch is not plain, and where its tensors have more than ``most`` bytes:
        nothing was hashed then. Plain are lists, tuples and dicts with ASCII keys, of torch
        tensors, NumPy arrays (once one was hashed), text, integers within ±(2^53 - 1), bool and
        None, of these very types; there is a tensor, and all agree in their first dimension.
        """

    def append_indices(self, indices: object, /) -> bool:
        """Append the index leaf of a list, numbered by its place. False, and nothing was done,
        where its items are other than integers within ±(2^53 - 1), text, and lists of them.
        """

    def sync(self) -> None: ...
    def sync_older(self, ms: int, /) -> None:
        """Sync, if something was appended ``ms`` milliseconds ago or earlier, and not synced."""
    @property
    def size(self) -> int: ...
    @property
    def root(self) -> bytes: ...
    def close(self) -> bytes:
        """Fsync and rename to trees/<root>.leaves; returns the root."""
    def abandon(self) -> None:
        """Close and delete without keeping."""
