"""The models file: its keys, and how its problems are reported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from app.generation.config.models_file import (
    InvalidModelsFile,
    load_models,
)
from app.generation.model_config import ModelConfig

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-a-secret-of-the-operator"
ENVIRON = {"OPENAI_API_KEY": KEY}

FULL = """
[models.default]
provider = "openai"
model = "gpt-image-2"
base_url = "https://images.example.com/v1/"
api_key_env = "OPENAI_API_KEY"
price = 0.04
concurrency = 4
queue = 0
deadline_seconds = 90
fallbacks = ["slow"]

[models.default.options]
quality = "high"

[models.slow]
provider = "placeholder"
[models.slow.options]
delay_seconds = 2.0
failure = "none"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a test's models file."""
    return tmp_path / "models.toml"


def problems_of(
    file: Path, text: str, environ: dict[str, str] | None = None
) -> list[str]:
    """Write *text*; return the problems of the file."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidModelsFile) as caught:
        load_models(file, ENVIRON if environ is None else environ)
    assert str(caught.value) == "\n".join(caught.value.problems)
    where = f"PROVIDERS_FILE: {file}: "
    assert all(problem.startswith(where) for problem in caught.value.problems)
    return [problem.removeprefix(where) for problem in caught.value.problems]


def test_without_a_file_the_placeholder_is_the_default() -> None:
    """Without a models file the only model is the placeholder as `default`."""
    assert load_models(None, {}) == {
        "default": ModelConfig(alias="default", provider="placeholder")
    }


def test_every_key_is_read(file: Path) -> None:
    """Every key of a table is read into the model's configuration."""
    file.write_text(FULL, encoding="utf-8")

    assert load_models(file, ENVIRON) == {
        "default": ModelConfig(
            alias="default",
            provider="openai",
            model="gpt-image-2",
            base_url="https://images.example.com/v1",
            api_key=KEY,
            price=0.04,
            concurrency=4,
            queue=0,
            deadline_seconds=90.0,
            fallbacks=("slow",),
            options={"quality": "high"},
        ),
        "slow": ModelConfig(
            alias="slow",
            provider="placeholder",
            options={"delay_seconds": 2.0, "failure": "none"},
        ),
    }


def test_a_table_may_leave_its_terms_out(file: Path) -> None:
    """A table without optional keys has the documented defaults."""
    file.write_text('[models.m]\nprovider = "openai"\nmodel = "x"', encoding="utf-8")

    assert load_models(file, ENVIRON)["m"] == ModelConfig(
        alias="m",
        provider="openai",
        model="x",
        base_url="https://api.openai.com/v1",
        api_key=KEY,
        price=0.0,
        concurrency=8,
        queue=64,
        deadline_seconds=300.0,
        fallbacks=(),
        options={},
    )


@pytest.mark.parametrize(
    ("provider", "seconds"),
    [
        ("openai", 300),
        ("gemini", 180),
        ("replicate", 120),
        ("fal", 120),
        ("a1111", 120),
        ("placeholder", 120),
    ],
)
def test_a_deadline_is_the_vendors_own(
    file: Path, provider: str, seconds: float
) -> None:
    """The default deadline depends on the vendor."""
    file.write_text(
        f'[models.m]\nprovider = "{provider}"\nmodel = "x"\napi_key_env = ""',
        encoding="utf-8",
    )

    assert load_models(file, {})["m"].deadline_seconds == seconds


def test_a_server_may_want_no_key(file: Path) -> None:
    """An empty `api_key_env` sends no key, even if the vendor's variable is set."""
    file.write_text(
        '[models.m]\nprovider = "openai"\nmodel = "x"\napi_key_env = ""\n'
        'base_url = "http://127.0.0.1:1234/v1"',
        encoding="utf-8",
    )

    assert load_models(file, {})["m"].api_key is None
    assert load_models(file, ENVIRON)["m"].api_key is None


def test_a_key_is_not_shown(file: Path) -> None:
    """The repr of a configuration does not contain the key."""
    file.write_text(FULL, encoding="utf-8")

    assert KEY not in repr(load_models(file, ENVIRON))


def test_no_model_needs_to_be_the_default(file: Path) -> None:
    """A file without a model `default` is valid."""
    file.write_text('[models.slow]\nprovider = "placeholder"', encoding="utf-8")

    assert list(load_models(file, {})) == ["slow"]


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    """An unreadable path is a problem that names the setting."""
    for path in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(InvalidModelsFile) as caught:
            load_models(path, {})

        (problem,) = caught.value.problems
        assert problem.startswith(f"PROVIDERS_FILE: {path}: can't be read: ")


def test_a_syntax_error_names_its_line(file: Path) -> None:
    """A TOML syntax error is a problem that names its line."""
    (problem,) = problems_of(file, '[models.default]\nprovider = "openai\n')

    assert problem.startswith("is no TOML: ")
    assert "line 2" in problem


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe", b"x = " + b"9" * 5000, b"x = " + b"[" * 5000, b"\x00"],
    ids=["no text", "a huge number", "deep nesting", "a zero byte"],
)
def test_bytes_that_are_no_toml_are_a_problem(file: Path, data: bytes) -> None:
    """A file that is not TOML is a problem and no traceback."""
    file.write_bytes(data)

    with pytest.raises(InvalidModelsFile, match="is no"):
        load_models(file, {})


@pytest.mark.parametrize("text", ["", "models = 1", "[models]", "[[models]]"])
def test_a_file_without_models_is_a_problem(file: Path, text: str) -> None:
    """A file without models is a problem."""
    (problem,) = problems_of(file, text)

    assert problem.startswith("models: ")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("price = -0.01", "price"),
        ("price = nan", "price"),
        ("price = inf", "price"),
        ("price = true", "price"),
        ('price = "0.04"', "price"),
        (f"price = 1{'0' * 400}", "price"),
        ("concurrency = 0", "concurrency"),
        ("concurrency = 1.0", "concurrency"),
        ("concurrency = true", "concurrency"),
        ("concurrency = 1001", "concurrency"),
        ("queue = -1", "queue"),
        ("queue = false", "queue"),
        ("queue = inf", "queue"),
        ("deadline_seconds = 0", "deadline_seconds"),
        ("deadline_seconds = nan", "deadline_seconds"),
        ("deadline_seconds = inf", "deadline_seconds"),
        ("deadline_seconds = 1e9", "deadline_seconds"),
        ("deadline_seconds = true", "deadline_seconds"),
        ("deadline_seconds = 2020-01-01", "deadline_seconds"),
        ('fallbacks = "slow"', "fallbacks"),
        ("fallbacks = [1]", "fallbacks.0"),
        ('options = "quality"', "options"),
        ("model = 2", "model"),
        ('base_url = ""', "base_url"),
        ('base_url = "images.example.com"', "base_url"),
        ('base_url = "ftp://images.example.com"', "base_url"),
        ('base_url = "https://user:pass@images.example.com"', "base_url"),
        ('base_url = "https://images.example.com/?v=1"', "base_url"),
        ('base_url = "https://images.example.com:99999"', "base_url"),
        ('base_url = "https://images.example.com/a b"', "base_url"),
        ('base_url = "https://[::1"', "base_url"),
        ("api_key_env = 1", "api_key_env"),
        ('api_key_env = "MY KEY"', "api_key_env"),
        ('accept = ["size"]', "accept.0"),
        ('also = ["two words"]', "also.0"),
        ('also = [""]', "also.0"),
        ("also = [7]", "also.0"),
        ("cost = 0.04", "cost"),
        ('"two words" = 1', '"two words"'),
    ],
)
def test_a_bad_value_is_named_by_its_key(file: Path, line: str, key: str) -> None:
    """A wrong value is a problem that begins with its key."""
    text = f'[models.m]\nprovider = "placeholder"\n{line}'

    (problem,) = problems_of(file, text)

    assert problem.startswith(f"models.m.{key}: ")


@pytest.mark.parametrize("line", ["", 'model = ""', 'model = "  "'])
def test_a_vendor_needs_a_model(file: Path, line: str) -> None:
    """Every provider but the placeholder needs `model`."""
    (problem,) = problems_of(file, f'[models.m]\nprovider = "openai"\n{line}')

    assert problem.startswith("models.m.model: is missing")


@pytest.mark.parametrize("line", ["", "provider = 1", 'provider = "dall-e"'])
def test_a_provider_must_be_known(file: Path, line: str) -> None:
    """An unknown provider is a problem."""
    (problem,) = problems_of(file, f"[models.m]\n{line}")

    assert problem.startswith("models.m.provider: ")


def test_a_table_must_be_a_table(file: Path) -> None:
    """An alias with a plain value is a problem."""
    assert problems_of(file, "[models]\nfast = true") == [
        "models.fast: must be a table"
    ]


@pytest.mark.parametrize(
    ("provider", "variable", "base_url"),
    [
        (
            "gemini",
            "GEMINI_API_KEY",
            "https://generativelanguage.googleapis.com/v1beta",
        ),
        ("replicate", "REPLICATE_API_TOKEN", "https://api.replicate.com/v1"),
        ("fal", "FAL_KEY", "https://queue.fal.run"),
        ("a1111", "", "http://127.0.0.1:7860"),
    ],
)
def test_each_vendor_has_its_own_key_and_address(
    file: Path, provider: str, variable: str, base_url: str
) -> None:
    """Each vendor has a default address and key variable; A1111 has no key."""
    file.write_text(f'[models.m]\nprovider = "{provider}"\nmodel = "x"')

    config = load_models(file, {variable: KEY} if variable else {})["m"]

    assert config.base_url == base_url
    assert config.api_key == (KEY if variable else None)


def test_a1111s_key_is_a_user_and_a_password(file: Path) -> None:
    """A1111's key must be `user:password`, and a wrong one is not shown."""
    text = '[models.m]\nprovider = "a1111"\napi_key_env = "WEBUI"'

    (problem,) = problems_of(file, text, {"WEBUI": KEY})
    assert problem.startswith("models.m.api_key_env: ")
    assert "user:password" in problem
    assert KEY not in problem
    file.write_text(text)
    assert load_models(file, {"WEBUI": "me:secret"})["m"].api_key == "me:secret"


def test_result_hosts_are_names_or_origins(file: Path) -> None:
    """`result_hosts` takes host names and origins, and no IP addresses."""
    table = '[models.m]\nprovider = "fal"\nmodel = "x"\nresult_hosts = '
    file.write_text(f'{table}["*.example.com", "http://127.0.0.1:9000"]')
    hosts = load_models(file, {"FAL_KEY": KEY})["m"].result_hosts
    assert hosts == ("*.example.com", "http://127.0.0.1:9000")

    problems = problems_of(file, f'{table}["10.0.0.1", "http://x/y"]', {"FAL_KEY": KEY})
    assert [problem.split(": ")[0] for problem in problems] == [
        "models.m.result_hosts.0",
        "models.m.result_hosts.1",
    ]


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}])
@pytest.mark.parametrize("base_url", ["", 'base_url = "http://127.0.0.1:1234/v1"'])
def test_a_missing_key_is_a_problem(
    file: Path, environ: dict[str, str], base_url: str
) -> None:
    """An unset key variable is a problem that names it and the way to do without."""
    text = f'[models.m]\nprovider = "openai"\nmodel = "x"\n{base_url}'

    (problem,) = problems_of(file, text, environ)

    assert problem.startswith("models.m.api_key_env: ")
    assert "OPENAI_API_KEY is not set" in problem
    assert 'api_key_env = ""' in problem


def test_a_key_with_a_line_end_is_a_problem(file: Path) -> None:
    """A key that no header can carry is a problem, and is not shown."""
    text = '[models.m]\nprovider = "openai"\nmodel = "x"'

    (problem,) = problems_of(file, text, {"OPENAI_API_KEY": f"{KEY}\n"})

    assert problem.startswith("models.m.api_key_env: ")
    assert KEY not in problem


@pytest.mark.parametrize("pasted", [KEY, "r8_aVeryLongTokenOfReplicate"])
def test_a_key_in_place_of_its_variable_is_not_shown(file: Path, pasted: str) -> None:
    """A key pasted as `api_key_env` is not shown in the problem."""
    text = f'[models.m]\nprovider = "openai"\nmodel = "x"\napi_key_env = "{pasted}"'

    (problem,) = problems_of(file, text)

    assert pasted not in problem


@pytest.mark.parametrize(
    ("alias", "shown"),
    [
        ('"two words"', '"two words"'),
        ('""', '""'),
        ('"../x"', '"../x"'),
        ('"' + "a" * 64 + '"', "a" * 64),
        ('"-x"', "-x"),
        ('"naïve"', '"na\\u00efve"'),
    ],
)
def test_an_alias_must_be_a_plain_name(file: Path, alias: str, shown: str) -> None:
    """An alias with characters other than plain ones is a problem."""
    (problem,) = problems_of(file, f'[models.{alias}]\nprovider = "placeholder"')

    assert problem.startswith(f"models.{shown}: an alias has ")


def models_with_fallbacks(**fallbacks: list[str]) -> str:
    """Return a file of placeholders with these fall-backs."""
    return "\n".join(
        f'[models.{alias}]\nprovider = "placeholder"\nfallbacks = {names}'
        for alias, names in fallbacks.items()
    )


@pytest.mark.parametrize(
    ("also", "problems"),
    [
        ({"a": ["dall-e-3", "openai/gpt-image-1"]}, []),
        ({"a": ["b"], "b": []}, ["models.a.also: b is an alias of this file"]),
        ({"a": ["a"]}, ["models.a.also: a is an alias of this file"]),
        ({"a": ["x", "x"]}, ["models.a.also: x is a name of a already"]),
        ({"a": ["x"], "b": ["x"]}, ["models.b.also: x is a name of a already"]),
    ],
)
def test_further_names_mean_one_model(
    file: Path, also: dict[str, list[str]], problems: list[str]
) -> None:
    """A further name that repeats an alias or a name is a problem."""
    tables = [
        f'[models.{alias}]\nprovider = "placeholder"\nalso = {json.dumps(names)}'
        for alias, names in also.items()
    ]
    if problems:
        assert problems_of(file, "\n".join(tables)) == problems
    else:
        file.write_text("\n".join(tables), encoding="utf-8")
        assert load_models(file, {})["a"].also == tuple(also["a"])


@pytest.mark.parametrize(
    ("fallbacks", "problems"),
    [
        ({"a": ["a"]}, ["models.a.fallbacks: names itself"]),
        ({"a": ["b"]}, ["models.a.fallbacks: no model b is in this file"]),
        ({"a": ["b", "b"], "b": []}, ["models.a.fallbacks: names a model twice"]),
        (
            {"a": ["b"], "b": ["a"]},
            [
                "models.a.fallbacks: circular: a -> b -> a",
                "models.b.fallbacks: circular: b -> a -> b",
            ],
        ),
        (
            {"a": ["b"], "b": ["c"], "c": ["d", "b"], "d": []},
            [
                "models.b.fallbacks: circular: b -> c -> b",
                "models.c.fallbacks: circular: c -> b -> c",
            ],
        ),
    ],
)
def test_fallbacks_must_lead_somewhere(
    file: Path, fallbacks: dict[str, list[str]], problems: list[str]
) -> None:
    """Fall-backs that are unknown, repeated or circular are problems."""
    assert problems_of(file, models_with_fallbacks(**fallbacks)) == problems


def test_fallbacks_may_meet_again(file: Path) -> None:
    """Two paths to the same fall-back are valid."""
    text = models_with_fallbacks(a=["b", "c"], b=["d"], c=["d"], d=[])
    file.write_text(text, encoding="utf-8")

    assert load_models(file, {})["a"].fallbacks == ("b", "c")


@pytest.mark.parametrize(
    ("provider", "option"),
    [
        ("placeholder", "delay_seconds = -1"),
        ("placeholder", 'failure = "explode"'),
        ("placeholder", 'quality = "high"'),
        ("openai", 'size_policy = "guess"'),
        ("openai", 'result_hosts = ["fal.media"]'),
        ("gemini", 'image_size = "8K"'),
        ("replicate", "reference_list = 1"),
        ("fal", 'shape = "round"'),
        ("a1111", 'prompt = "a fox"'),
    ],
)
def test_options_are_checked_by_their_provider(
    file: Path, provider: str, option: str
) -> None:
    """A wrong option is a problem that begins with its full key."""
    table = f'[models.m]\nprovider = "{provider}"\nmodel = "x"'
    text = f"{table}\n[models.m.options]\n{option}"

    keys = dict.fromkeys(
        ("OPENAI_API_KEY", "GEMINI_API_KEY", "REPLICATE_API_TOKEN", "FAL_KEY"), KEY
    )
    (problem,) = problems_of(file, text, keys)

    assert problem.startswith(f"models.m.options.{option.partition(' ')[0]}: ")


def test_all_problems_are_reported_at_once(file: Path) -> None:
    """All problems of a file are reported together."""
    problems = problems_of(
        file,
        """
[model]
[models.default]
provider = "openai"
concurrency = "many"
price = -1
fallbacks = ["unknown"]
colour = "red"
[models.default.options]
size_policy = "guess"

[models.slow]
provider = "placeholder"
fallbacks = ["slow"]
[models.slow.options]
delay_seconds = 1e9

[models.later]
provider = "fal"
""",
        {},
    )

    keys = sorted(problem.split(": ")[0] for problem in problems)
    assert keys == [
        "model",
        "models.default.api_key_env",
        "models.default.colour",
        "models.default.concurrency",
        "models.default.fallbacks",
        "models.default.model",
        "models.default.options.size_policy",
        "models.default.price",
        "models.later.api_key_env",
        "models.later.model",
        "models.slow.fallbacks",
        "models.slow.options.delay_seconds",
    ]


def test_what_a_known_model_has_not_is_not_accepted(file: Path) -> None:
    """`accept` may only list options that a known model has."""
    text = FULL.replace("price = 0.04", 'accept = ["quality", "style"]')

    (problem,) = problems_of(file, text)

    assert problem == (
        "models.default.accept: gpt-image-2 has no style; it has quality, "
        "background, moderation"
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ('references = "two"', "references: "),
        ('ratios = ["wide"]', 'ratios.0: must be a ratio like "16:9"'),
        ("ratios = []", "ratios: "),
        ("size_range = [64, 64]", "size_range: must be the least width"),
        ("size_range = [64, 64, 32, 32]", "size_range: must be the least width"),
        ("max_seed = -1", "max_seed: "),
        ('shape = "round"', "shape: "),
        ('references = "none"\nmask_field = "mask"', "mask_field is of no use"),
    ],
)
def test_problems_of_options_are_sentences(
    file: Path, options: str, problem: str
) -> None:
    """A wrong capability option is a problem that names key and expectation."""
    text = FULL.replace('quality = "high"', options)

    (reported,) = problems_of(file, text)

    assert reported.startswith("models.default.options")
    assert problem in reported


def test_what_gemini_has_no_field_for_is_no_option(file: Path) -> None:
    """`mask_field` is no option of gemini."""
    text = """
[models.default]
provider = "gemini"
model = "gemini-3.1-flash-image"
api_key_env = ""
[models.default.options]
mask_field = "mask"
"""
    assert problems_of(file, text) == [
        "models.default.options.mask_field: is no option of this provider"
    ]
