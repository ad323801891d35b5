"""Secrets are removed before anything is hashed: a hash of a secret is guessable.

Three rules, each enough by itself: the *name* says that it is a secret, the *shape* is that of a known
credential, or the *entropy* of a long token is that of random characters. What is removed is replaced by
:data:`REDACTED` and its place is reported, so that a record says what it left out.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from mlprov.records import Json

__all__ = ["REDACTED", "redact", "redact_arguments", "strip_credentials"]

REDACTED = "[redacted]"

_SECRET_NAME = re.compile(
    r"(?i)(pass(word|wd|phrase)?$|pwd|secret|token$|auth|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|credential|cookie|session[_-]?id|bearer|signature|(^|[_-])dsn$|conn(ection)?[_-]?str)"
)
# Names under which a long random-looking value is what the user wants recorded.
_DIGEST_NAME = re.compile(
    r"(?i)(digest|hash|sha\d*|md5|blake\d|commit|revision|checksum|root|cid|uuid|version|path|file|dir)"
)
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
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*         # JSON Web Token
    """
)
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_TOKEN = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_UUID = re.compile(r"(?i)^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$")
_ENTROPY_BITS = 3.7  # per character; English words and paths stay below, random base64 and hex of 20+ above


def strip_credentials(text: str) -> str:
    """Remove ``user:password@`` from every URL in a text.

    >>> strip_credentials("https://me:pw@example.com/x.git")
    'https://example.com/x.git'
    """
    return _URL_CREDENTIALS.sub("", text)


def _entropy(token: str) -> float:
    counts = Counter(token)
    return -sum(n / len(token) * math.log2(n / len(token)) for n in counts.values())


def _looks_random(token: str) -> bool:
    if _UUID.match(token) or not any(c.isdigit() for c in token):
        return False
    if re.fullmatch(r"[0-9a-fA-F]{20,}", token):
        return len(token) >= 32 and _entropy(token) > 3.0
    return any(c.isalpha() for c in token) and _entropy(token) > _ENTROPY_BITS


def _redact_text(text: str, name: str) -> str:
    if _SECRET_SHAPE.search(text):
        return REDACTED
    text = strip_credentials(text)
    if not _DIGEST_NAME.search(name) and any(
        _looks_random(part) for token in _TOKEN.findall(text) for part in token.split("/")
        if len(part) >= 20
    ):
        return REDACTED
    return text


def redact(value: Json, *, where: str = "", found: list[str] | None = None) -> Json:
    """A copy of a JSON value without secrets.

    Args:
        value: what is about to be recorded.
        where: dotted path of the value, used for the name rule and the report.
        found: receives the paths of what was removed.

    >>> found = []
    >>> redact({"lr": 0.1, "api_key": "x", "url": "http://a:b@h/"}, where="config", found=found)
    {'lr': 0.1, 'api_key': '[redacted]', 'url': 'http://h/'}
    >>> found
    ['config.api_key', 'config.url']
    """
    name = where.rsplit(".", 1)[-1]
    if isinstance(value, dict):
        return {
            str(_redact_text(key, "")): redact(item, where=f"{where}.{key}", found=found)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redact(item, where=where, found=found) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_NAME.search(name) and not (isinstance(value, (int, float)) and abs(value) < 10**6):
        cleaned: Json = REDACTED
    elif isinstance(value, str):
        cleaned = _redact_text(value, name)
    else:
        return value
    if cleaned != value and found is not None:
        found.append(where)
    return cleaned


def redact_arguments(arguments: list[str], *, found: list[str] | None = None) -> list[Json]:
    """Command-line arguments without secrets, by ``--name=value``, ``name=value`` and ``--name value``.

    >>> redact_arguments(["train.py", "--token", "abc", "--lr=0.1", "password=x"])
    ['train.py', '--token', '[redacted]', '--lr=0.1', 'password=[redacted]']
    """
    cleaned: list[Json] = []
    pending = ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        name = option.lstrip("-")
        if equals and not option.startswith(("http:", "https:")) and len(name) <= 64:
            kept = redact(value, where=f"argv.{name}", found=found)
            cleaned.append(f"{option}={kept}")
        else:
            cleaned.append(redact(argument, where=f"argv.{pending}", found=found))
        pending = name if argument.startswith("-") and not equals else ""
    return cleaned
