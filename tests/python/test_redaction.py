"""Secrets are found by name, by shape and by entropy; what only looks like one stays."""

from __future__ import annotations

import base64
import random
import string
import uuid
from typing import Any

import pytest

from mlprov.redaction import REDACTED, redact, redact_arguments, redact_text, strip_credentials

# ---- by name ----


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "db_password", "dbPassword", "DB-PASSWD", "pwd", "passphrase",
        "pass", "smtp_pass",
        "secret", "client_secret", "clientSecret", "api_key", "apikey", "api-key", "APIKey",
        "OPENAI_API_KEY",
        "wandb_api_key", "access_key", "aws_secret_access_key", "private_key", "token", "hf_token",
        "HF_TOKEN",
        "accessToken", "auth_token", "refresh_tokens", "auth", "authorization", "credentials",
        "cookie",
        "session_id", "bearer", "sentry_dsn", "connection_string", "connStr", "account_key",
        "signing_key",
    ],
)  # fmt: skip
def test_a_value_under_the_name_of_a_secret_goes(name: str) -> None:
    found: list[str] = []
    value: dict[str, Any] = {name: "hunter2"}
    assert redact(value, where="config", found=found) == {name: REDACTED}
    assert found == [f"config.{name}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 1e-3), ("learning_rate", "0.00012345678901234567890"), ("max_tokens", 4096),
        ("num_tokens", 10**9),
        ("tokens", "a b c"), ("max_token", 128), ("token", 5), ("pad_token", "<pad>"), ("eos_token",
        "</s>"),
        ("bos_token_id", 1), ("mask_token", "[MASK]"), ("tokenizer", "bert-base-uncased"),
        ("forward_pass", "fp16"),
        ("n_pass", "two"), ("bypass", "yes"), ("compass", "north"), ("author", "Jane Doe"),
        ("authors", ["A", "B"]),
        ("secretary", "Ada"), ("signature", "x: float32 -> y"), ("monkey", "banana"), ("key",
        "loss"),
        ("sort_key", "length"), ("keys", ["a"]), ("optimizer", "AdamW"), ("session", "morning"),
        ("password", None),
        ("auth", False), ("token", ""), ("passes", "3"), ("stop_tokens", ["\n"]), ("image_token",
        "<image>"),
    ],
)  # fmt: skip
def test_a_name_that_only_resembles_a_secret_keeps_its_value(name: str, value: Any) -> None:
    found: list[str] = []
    assert redact({name: value}, where="config", found=found) == {name: value}
    assert found == []


def test_everything_inside_a_secret_goes() -> None:
    value: Any = {"credentials": {"user": "ada", "parts": ["a", 12, None, True]}, "lr": 0.1}
    found: list[str] = []
    assert redact(value, where="config", found=found) == {
        "credentials": {"user": REDACTED, "parts": [REDACTED, REDACTED, None, True]}, "lr": 0.1
    }  # fmt: skip
    assert found == [
        "config.credentials.user",
        "config.credentials.parts",
        "config.credentials.parts",
    ]


def test_a_number_is_a_secret_where_the_name_says_so() -> None:
    assert redact({"password": 1234, "pin": 1234}) == {"password": REDACTED, "pin": 1234}


# ---- by shape ----

SHAPES = [
    "ghp_" + "a1B2" * 9, "github_pat_" + "A1b2_" * 8, "glpat-" + "x" * 20, "hf_" + "abcdefghij" * 3,
    "sk-proj-" + "abc123" * 5, "sk-ant-api03-" + "Ab1_" * 8, "sk_live_" + "0aB" * 8,
    "xoxb-123456789012-abcdef",
    "AKIAIOSFODNN7EXAMPLE", "AIza" + "Sy0-" * 9, "npm_" + "aB3" * 12,
    "pypi-AgEIcHlwaS5vcmc" + "xY2" * 10,
    "-----BEGIN PRIVATE KEY-----\nMC4CAQ", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
    "hvs.CAESI" + "abc123" * 4,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
    "Authorization: Bearer abcdefgh", "bearer ABCDEF-12.3", "Basic dXNlcjpwYXNz",
    "dckr_pat_" + "a-B_" * 8,
]  # fmt: skip


@pytest.mark.parametrize("secret", SHAPES)
def test_a_credential_is_known_by_its_shape_wherever_it_stands(secret: str) -> None:
    assert redact(secret, where="config.note") == REDACTED
    assert redact({"model": [f"see {secret} there"]}) == {"model": [REDACTED]}
    assert secret not in str(
        redact_arguments(["train.py", secret, f"--note={secret}", f"{secret}=1", f"-{secret}"])
    )


def test_a_secret_as_a_key_goes_and_is_not_reported_in_full() -> None:
    found: list[str] = []
    one, two = SHAPES[0], SHAPES[8]
    cleaned = redact(
        {one: 1, two: {"lr": 2, "password": "x"}, "[redacted]": 3}, where="config", found=found
    )
    assert isinstance(cleaned, dict)
    assert sorted(str(item) for item in cleaned.values()) == [
        "1",
        "3",
        "{'lr': 2, 'password': '[redacted]'}",
    ]
    assert one not in str(cleaned) + str(found)
    assert two not in str(cleaned) + str(found)


# ---- inside texts ----


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("https://ada:pw@host/x", "https://host/x"),
        ("https://ada:p@w@host/x", "https://host/x"),
        ("https://token@github.com/a/b.git", "https://github.com/a/b.git"),
        ("postgres://u:p@h/db?sslmode=require", "postgres://h/db?sslmode=require"),
        ("see http://a:b@h/ and ssh://c@i/", "see http://h/ and ssh://i/"),
        (
            "https://h/x?page=2&sig=abc&token=def",
            "https://h/x?page=2&sig=[redacted]&token=[redacted]",
        ),
        ("https://h/?X-Amz-Signature=ab&v=1#a@b", "https://h/?X-Amz-Signature=[redacted]&v=1#a@b"),
        ("https://h/a@b", "https://h/a@b"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("mail ada@example.org", "mail ada@example.org"),
    ],
)
def test_urls_lose_their_credentials(text: str, cleaned: str) -> None:
    assert strip_credentials(text) == cleaned
    assert redact(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("host=db user=ada password=hunter2 port=1", "host=db user=ada password=[redacted] port=1"),
        ("Server=s;Password=hunter2;Timeout=3", "Server=s;Password=[redacted];Timeout=3"),
        ('{"api_key": "hunter2", "lr": 0.1}', '{"api_key": [redacted], "lr": 0.1}'),
        ("{'api_key':'hunter2'}", "{'api_key':[redacted]}"),
        ("password: hunter two\nlr: 0.1", "password: [redacted]\nlr: 0.1"),
        ("X-Api-Key: hunter2", "X-Api-Key: [redacted]"),
        ("Authorization: Token hunter2", "Authorization: [redacted]"),
        ("token=hunter2", "token=[redacted]"),
    ],
)
def test_assignments_inside_a_text_lose_their_value(text: str, cleaned: str) -> None:
    assert redact_text(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "lr=0.1 wd=0.01", "max_token=128", "auth=none", "http://auth:8080/x", "pad_token=<pad>",
        "use_auth: false",
        "we split tokens: by words", "secret sauce", "a token a day", "key=loss",
    ],
)  # fmt: skip
def test_harmless_texts_stay(text: str) -> None:
    assert redact_text(text) == text


# ---- by entropy ----


def _random_token(alphabet: str, length: int, source: random.Random) -> str:
    while True:
        token = "".join(source.choice(alphabet) for _ in range(length))
        if any(c.isdigit() for c in token) and any(c.isalpha() for c in token):
            return token


@pytest.mark.parametrize(
    ("alphabet", "length"),
    [
        (string.ascii_letters + string.digits, 24),
        (string.ascii_letters + string.digits, 40),
        (string.ascii_lowercase + string.digits, 32),
        ("0123456789abcdef", 32),
        ("0123456789abcdef", 40),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 52),
    ],
)
def test_random_characters_are_taken_for_a_secret(alphabet: str, length: int) -> None:
    source = random.Random(length)
    tokens = [_random_token(alphabet, length, source) for _ in range(200)]
    missed = [token for token in tokens if redact(token, where="config.value") != REDACTED]
    assert len(missed) <= 6, missed  # a rule of thumb: names and shapes are the first two


def test_random_base64_is_taken_for_a_secret() -> None:
    source = random.Random(1)
    for length in (32, 48, 64):
        tokens = [base64.b64encode(source.randbytes(length)).decode() for _ in range(100)]
        assert sum(redact(f"x {token} y") == REDACTED for token in tokens) >= 95
    assert redact("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY") == REDACTED


@pytest.mark.parametrize(
    "text",
    [
        "0.00012345678901234567890", "1e-05", "3.141592653589793238462643",
        "2026-11-21T09:30:00.000Z",
        "20261121-093000", "20261121093000123456789012345678",
        "bert-base-uncased", "sentence-transformers/all-MiniLM-L6-v2",
        "meta-llama/Llama-3.2-11B-Vision-Instruct",
        "resnet50-imagenet1k-v2-20231105", "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "google/flan-t5-xxl-sharded-fp16",
        "Qwen2.5-Coder-32B-Instruct-GPTQ-Int4", "openai/clip-vit-large-patch14-336",
        "facebook/wav2vec2-large-960h-lv60",
        "torch.optim.lr_scheduler.CosineAnnealingWarmRestarts",
        "DistilBertForSequenceClassificationV2",
        "exp001_lr3e4_bs64_wd1e2_seed42", "ablation-no_dropout-lr0.001-bs256-seed1-run12",
        "/home/ada/projects/thesis2026/experiments/run_0042/checkpoints/epoch10.pt",
        "s3://bucket/datasets/imagenet2012/train/shard-000123.tar",
        "../data/2026-11-21/part-00000-of-00128.parquet",
        "C:\\Users\\ada\\runs\\exp12\\model_final_v3.safetensors",
        "the quick brown fox jumps over 13 lazy dogs",
        "12345678901234567890123456789012", "aaaaaaaaaaaaaaaaaaaaaaaa1",
        "v1.2.3-rc4+build.20261121",
        "https://download.pytorch.org/models/resnet50-0676ba61.pth", "CUDA_VISIBLE_DEVICES=0,1,2,3",
        "--nproc_per_node=8", "transformer.h.0.attn.c_attn.weight", "layer1.0.conv1.weight",
    ],
)  # fmt: skip
def test_numbers_names_paths_and_dates_are_no_secrets(text: str) -> None:
    assert redact(text, where="config.value") == text
    assert redact_arguments([text]) == [text]


@pytest.mark.parametrize("where", ["config.run_id", "config.value", "argv."])
def test_uuids_stay_under_any_name(where: str) -> None:
    text = str(uuid.UUID("7f3a9c1e-5b2d-4e8f-a6c4-9d1b0e7f2a35"))
    assert redact(text, where=where) == text
    assert redact(f"runs/{text}/model.pt", where=where) == f"runs/{text}/model.pt"


@pytest.mark.parametrize(
    "name",
    [
        "commit", "git_commit", "base_sha", "sha256", "model_sha256", "digest", "hash",
        "dataset_hash", "revision",
        "rev", "checksum", "md5", "blake3", "root", "cid", "uuid", "path", "model_path", "data_dir",
        "filename",
        "cache_dir", "model", "model_name_or_path", "checkpoint", "run_id", "parent", "version",
        "etag",
    ],
)  # fmt: skip
def test_digests_stay_under_the_name_of_one(name: str) -> None:
    commit = "7f3a9c1e5b2d4e8fa6c49d1b0e7f2a357f3a9c1e"
    assert redact({name: commit}) == {name: commit}
    assert redact_arguments([f"--{name}={commit}", f"--{name}", commit]) == [
        f"--{name}={commit}",
        f"--{name}",
        commit,
    ]
    assert redact({name: SHAPES[0]}) == {name: REDACTED}


# ---- command lines ----


@pytest.mark.parametrize(
    ("arguments", "cleaned"),
    [
        (["--token", "abc"], ["--token", REDACTED]),
        (["--token=abc"], [f"--token={REDACTED}"]),
        (["-token", "abc"], ["-token", REDACTED]),
        (["token=abc"], [f"token={REDACTED}"]),
        (["+db.password=abc", "model.lr=0.1"], [f"+db.password={REDACTED}", "model.lr=0.1"]),
        (["--auth", "--lr", "0.1"], ["--auth", "--lr", "0.1"]),
        (["--lr", "0.1", "--seed=3"], ["--lr", "0.1", "--seed=3"]),
        (["postgres://u:p@h/db?sslmode=require"], ["postgres://h/db?sslmode=require"]),
        (["git+https://u:p@h/x?y=z"], ["git+https://h/x?y=z"]),
        (["--url=https://u:p@h/"], ["--url=https://h/"]),
        (["-H", "Authorization: Bearer abcdefgh"], ["-H", REDACTED]),
        (["--config", '{"api_key": "x"}'], ["--config", '{"api_key": [redacted]}']),
        (["password=a=b"], [f"password={REDACTED}"]),
        (["=x", "", "-", "--", "-="], ["=x", "", "-", "--", "-="]),
        (["b\udcff"], [{"bytes": "Yv8="}]),
    ],
)
def test_command_lines_are_cleaned(arguments: list[str], cleaned: list[object]) -> None:
    assert redact_arguments(arguments) == cleaned


def test_what_was_removed_from_a_command_line_is_reported_by_name() -> None:
    found: list[str] = []
    redact_arguments(["train.py", "--api-key", "hunter2", "--lr=1", "https://a:b@h/"], found=found)
    assert found == ["argv.api-key", "argv."]


def test_redaction_takes_linear_time() -> None:
    import time

    for text in (
        "a" * 400_000,
        "://" * 100_000,
        "a=" * 100_000,
        'a"' * 100_000,
        "A1b2C3/" * 60_000,
        "x?&" * 100_000,
    ):
        started = time.perf_counter()
        redact_text(text)
        assert time.perf_counter() - started < 10, text[:10]


def test_nothing_is_changed_in_place() -> None:
    value: Any = {"a": [{"password": "x"}]}
    redact(value)
    assert value == {"a": [{"password": "x"}]}


def test_a_text_too_long_to_search_is_left_out_and_said() -> None:
    found: list[str] = []
    longest = "a" * 65_536
    assert redact({"a": longest, "b": longest + "x"}, where="config", found=found) == {
        "a": longest,
        "b": "[left out: a text of 65537 characters]",
    }
