"""Secrets are removed before anything is hashed: a hash of a secret is guessable.

Three rules, each enough by itself: the *name* says that it is a secret, the *shape* is that of a
known credential, or the *entropy* of a long token is that of random characters. What is removed is
replaced by :data:`REDACTED` and its place is reported, so that a record says what it left out.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter

from mlprov.records import Json, json_text

__all__ = ["REDACTED", "redact", "redact_arguments", "redact_text", "strip_credentials"]

REDACTED = "[redacted]"

_MAX_TEXT = (
    2**16
)  # characters; a longer text is no setting, and searching it would hold training up

# ---- names ----

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SECRET_WORDS = _set(
    "accesskey apikey auth authorization bearer cookie cookies credential credentials creds dsn"
    " oauth passphrase passphrases passwd password passwords privatekey pw pwd secret secretkey"
    " secrets sessionid signingkey"
)
_SECRET_ENDINGS = tuple(
    _set("accesskey accesstoken apikey authtoken passphrase passwd password secretkey")
)
_SECRET_PAIRS = frozenset(
    {
        ("account", "key"), ("api", "key"), ("api", "keys"), ("access", "key"), ("conn", "str"),
        ("connection", "string"), ("encryption", "key"), ("license", "key"), ("private", "key"),
        ("secret", "key"), ("session", "id"), ("session", "key"), ("signing", "key"),
        ("ssh", "key"),
    }
)  # fmt: skip
# "pass" and "token" are words of this field as well: forward_pass, pad_token, stop_token.
_PASSES = _set(
    "all and backward band double each first forward full high low multi n num one per second"
    " single two"
)
_TOKENS = _set(
    "add begin bos class cls content control decoder default end eos eot fill first forced image"
    " input last mask max min modality n new next num output pad per placeholder prefix sep"
    " separator space special start stop suffix text trigger unk vision word"
)
_TOKENS_OF_ACCESS = _set("access api auth bearer refresh secret session")
# Names under which a long random-looking value is what the user wants recorded.
_DIGEST_WORDS = _set(
    "blake checkpoint checksum cid ckpt commit dataset digest dir directory etag experiment file"
    " filename fingerprint folder guid hash id ids job md model name parent path ref rev revision"
    " root run sha snapshot tag tags uuid version"
)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _is_secret_name(words: list[str]) -> bool:
    if any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words):
        return True
    if not _SECRET_PAIRS.isdisjoint(itertools.pairwise(words)):
        return True
    return words[-1:] == ["pass"] and (len(words) == 1 or words[-2] not in _PASSES)


def _is_token_name(words: list[str]) -> bool:
    """Whether it names a token of access, not one of a text; a number under it is a count."""
    before = words[-2] if len(words) > 1 else ""
    if words[-1:] == ["token"]:
        return before not in _TOKENS
    return words[-1:] == ["tokens"] and before in _TOKENS_OF_ACCESS


# ---- shapes ----

_SECRET_SHAPE = re.compile(
    r"""(?x)
    -----BEGIN[ A-Z]*PRIVATE\ KEY-----
    | \b(?:gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,})   # GitHub
    | \bglpat-[A-Za-z0-9_-]{16,}                                        # GitLab
    | \bhf_[A-Za-z0-9]{20,}                                             # Hugging Face
    | \bsk-[A-Za-z0-9_-]{16,}                                           # OpenAI, Anthropic
    | \b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}                            # Stripe
    | \bxox[abposr]-[A-Za-z0-9-]{10,}                                   # Slack
    | \bA(?:KIA|SIA)[A-Z0-9]{16}\b                                      # AWS
    | \bAIza[A-Za-z0-9_-]{30,}                                          # Google
    | \bnpm_[A-Za-z0-9]{30,} | \bpypi-[A-Za-z0-9_-]{30,}
    | \bdckr_pat_[A-Za-z0-9_-]{20,}                                     # Docker
    | \bhvs\.[A-Za-z0-9_-]{20,}                                         # Vault
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*         # JSON Web Token
    | \b(?i:bearer|basic)[ ]+[A-Za-z0-9._~+/=-]{8,}                     # an Authorization header
    """
)
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s]*@")
_URL_PARAMETER = re.compile(r"(?<=[?&])([^=&#\s]{1,64})=([^&#\s]+)")
_URL_SECRETS = frozenset({"key", "sig", "signature"})
# password=…; "token": "…"; a colon without quotes needs white space behind it: http://auth:8080 is
# a host.
_ASSIGNMENT = re.compile(
    r"""(?x)
    (?<![\w-]) (?P<quote>["']?) (?P<name>[A-Za-z][\w-]{0,63}) (?P=quote)
    (?P<sign> [ ]*=[ ]* | \s*:\s+ | (?<=["'])\s*: )
    (?P<value> \[redacted\] | "[^"\n]*" | '[^'\n]*' | (?<=:)[^\n;,"'}\]]+ | (?<=:\s)[^\n;,"'}\]]+ |
    [^\s;&,"'}\]]+ )
    """
)


def _is_url_secret(name: str) -> bool:
    words = _words(name)
    return (
        _is_secret_name(words)
        or _is_token_name(words)
        or (bool(words) and words[-1] in _URL_SECRETS)
    )


def _clean_parameter(match: re.Match[str]) -> str:
    name, value = match.groups()
    return f"{name}={REDACTED if _is_url_secret(name) else value}"


def strip_credentials(text: str) -> str:
    """Remove ``user:password@`` and the values of secret query parameters from every URL in a text.

    >>> strip_credentials("https://me:p@w@example.com/x.git")
    'https://example.com/x.git'
    >>> strip_credentials("https://example.com/x?page=2&access_token=abc")
    'https://example.com/x?page=2&access_token=[redacted]'
    """
    if "://" not in text:
        return text
    return _URL_PARAMETER.sub(_clean_parameter, _URL_CREDENTIALS.sub("", text))


def _clean_assignment(match: re.Match[str]) -> str:
    words = _words(match["name"])
    value = match["value"].strip("\"' \t")
    if not value or value == REDACTED or value.lower() in ("true", "false", "none", "null"):
        return match[0]
    if _is_secret_name(words) or (_is_token_name(words) and not value.isdigit()):
        return match[0][: match.start("value") - match.start()] + REDACTED
    return match[0]


# ---- entropy ----

_TOKEN = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-fA-F]+")
_SEPARATORS = re.compile(r"[/_-]")
_ENTROPY_BITS = 3.3  # per character; what random characters have at this length, words have as well
_TURNS = (
    0.2  # of neighbours: in random base64 0.45, base36 0.4, base32 0.3; in names of any kind below
)
_TURNS_OF_ONE_CASE = 0.12


def _entropy(token: str) -> float:
    counts = Counter(token)
    return -sum(n / len(token) * math.log2(n / len(token)) for n in counts.values())


def _turns(token: str) -> float:
    """How often neighbours differ in kind: digit and letter, or a capital after a small letter."""
    kinds = [
        "d" if c.isdigit() else "u" if c.isupper() else "l" if c.islower() else "-" for c in token
    ]
    pairs = list(itertools.pairwise(kinds))
    return sum(1 for a, b in pairs if a != b and a + b != "ul" and "-" not in (a, b)) / max(
        1, len(pairs)
    )


def _is_random(token: str) -> bool:
    if not any(c.isdigit() for c in token) or not any(c.isalpha() for c in token):
        return False
    if _HEX.fullmatch(token):
        return len(token) >= 32 and _entropy(token) > 3.0
    # A long word of one case has few turns when it is a name, and fewer than two cases give when it
    # is random.
    single = len(token) >= 32 and (token.upper() == token or token.lower() == token)
    return _entropy(token) > _ENTROPY_BITS and _turns(token) >= (
        _TURNS_OF_ONE_CASE if single else _TURNS
    )


def _holds_random(text: str) -> bool:
    for token in _TOKEN.findall(_UUID.sub("", text)):
        parts = _SEPARATORS.split(token)
        if any(len(part) >= 20 and _is_random(part) for part in parts):
            return True
        # Base64 has separators of its own, few of them; names and paths have many.
        if len(token) >= 32 and len(parts) <= 4 and min(map(len, parts)) > 0 and _is_random(token):
            return True
    return False


# ---- all three ----


def redact_text(text: str, name: str = "") -> str:
    """A text without secrets: it is replaced, or the value of an assignment inside it.

    Args:
        text: of any length.
        name: what it is called; a random value under the name of a digest, a path or a version
            stays.

    >>> redact_text("host=db password=hunter2"), redact_text("Bearer abcdefgh")
    ('host=db password=[redacted]', '[redacted]')
    """
    if _SECRET_SHAPE.search(text):
        return REDACTED
    text = _ASSIGNMENT.sub(_clean_assignment, strip_credentials(text))
    if _DIGEST_WORDS.isdisjoint(_words(name)) and _holds_random(text):
        return REDACTED
    return text


def redact(value: Json, *, where: str = "", found: list[str] | None = None) -> Json:
    """A copy of a JSON value without secrets.

    Args:
        value: what is about to be recorded.
        where: dotted path of the value; its last part is its name.
        found: receives the paths of what was removed.

    >>> found = []
    >>> redact({"lr": 0.1, "api_key": "x", "url": "http://a:b@h/"}, where="config", found=found)
    {'lr': 0.1, 'api_key': '[redacted]', 'url': 'http://h/'}
    >>> found
    ['config.api_key', 'config.url']
    """
    return _redact(
        value, where.rsplit(".", 1)[-1], where, [] if found is None else found, inside=False
    )


def _redact(value: Json, name: str, where: str, found: list[str], *, inside: bool) -> Json:
    """``inside``: whether a list or object around it has a secret's name."""
    words = _words(name)
    secret = inside or _is_secret_name(words)
    if isinstance(value, dict):
        return _redact_members(value, where, found, inside=secret)
    if isinstance(value, list):
        return [_redact(item, name, where, found, inside=secret) for item in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    cleaned: Json = value
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        cleaned = f"[left out: a text of {len(value)} characters]"
    elif secret or (isinstance(value, str) and _is_token_name(words)):
        cleaned = REDACTED
    elif isinstance(value, str):
        cleaned = redact_text(value, name)
    if cleaned != value:
        found.append(where)
    return cleaned


def _redact_members(value: dict[str, Json], where: str, found: list[str], *, inside: bool) -> Json:
    members: dict[str, Json] = {}
    for key, item in value.items():
        shown = key
        if redact_text(key, "name") != key:
            shown = REDACTED
            while shown in members or (shown in value and shown != key):
                shown += "'"
            found.append(f"{where}.{shown}")
        members[shown] = _redact(item, key, f"{where}.{shown}", found, inside=inside)
    return members


_OPTION = re.compile(r"([-+~]*)([A-Za-z_][\w.@/-]{0,63})")


def redact_arguments(arguments: list[str], *, found: list[str] | None = None) -> list[Json]:
    """Arguments without secrets, by ``--name=value``, ``name=value`` and ``--name value``.

    >>> redact_arguments(["train.py", "--token", "abc", "--lr=0.1", "password=x"])
    ['train.py', '--token', '[redacted]', '--lr=0.1', 'password=[redacted]']
    """
    cleaned: list[Json] = []
    found = [] if found is None else found
    pending = ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        match = _OPTION.fullmatch(option)
        named = match is not None and redact_text(option, "name") == option
        if match is not None and named and equals:
            kept = redact(value, where=f"argv.{match[2]}", found=found)
            cleaned.append(json_text(f"{option}={kept}"))
        elif match is not None and named and argument.startswith("--"):
            cleaned.append(json_text(argument))
        else:
            kept = redact(argument, where=f"argv.{pending}", found=found)
            cleaned.append(json_text(str(kept)))
        pending = match[2] if match is not None and named and match[1] and not equals else ""
    return cleaned
