"""The parameters of live generation: their defaults, bounds and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unicodedata import normalize
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.parameters import (
    ASPECT_RATIOS,
    JSON_PARAMETERS,
    QUERY_PARAMETERS,
    from_json,
    from_query,
)
from app.errors import InvalidParameter
from app.generation.config.model_names import ModelNames
from app.generation.model_config import ModelConfig
from app.prompt_cache.entry.prompt_key import OPTIONS, Parameters, PromptKey
from app.storage.storage_key import Project
from tests.fakes import model_names

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = model_names("default", "slow")
OPEN = model_names("default", accept=OPTIONS)
FOX = {"prompt": "a red fox"}
SHOP = Project("acme", "shop")
IDS = [str(UUID(int=number)) for number in range(1, 18)]

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=5,
)


def refused(given: dict[str, Any], *, is_json: bool) -> str:
    """Return the parameter that an error names."""
    with pytest.raises(InvalidParameter) as error:
        (from_json if is_json else from_query)(given, MODELS)
    return error.value.parameter


def named_in_refusal(read: Callable[[], object]) -> str | None:
    """Return the parameter that a refusal names, None if all is accepted."""
    try:
        read()
    except InvalidParameter as refusal:
        return refusal.parameter
    return None


def test_a_prompt_alone_has_defaults() -> None:
    """A prompt alone uses the default model, variant 0 and no seed."""
    expected = Parameters("a red fox")

    assert from_query(FOX, MODELS) == from_json(FOX, MODELS) == expected
    assert (expected.model, expected.variant, expected.seed) == ("default", 0, None)


def test_every_parameter_is_read() -> None:
    """Every parameter is read alike from a query and from JSON."""
    query = {
        **FOX,
        "model": "slow",
        "width": "512",
        "height": "768",
        "seed": "0",
        "variant": "15",
    }
    document = {**query, "width": 512, "height": 768, "seed": 0, "variant": 15}

    expected = Parameters(
        "a red fox", model="slow", width=512, height=768, seed=0, variant=15
    )
    assert from_query(query, MODELS) == from_json(document, MODELS) == expected
    named = from_json({**FOX, "references": IDS[:16]}, MODELS)
    assert named.references == tuple(IDS[:16])


@pytest.mark.parametrize("ratio", sorted(ASPECT_RATIOS))
def test_every_aspect_ratio_of_the_contract(ratio: str) -> None:
    """All seventeen aspect ratios are accepted."""
    assert len(ASPECT_RATIOS) == 17
    assert from_query({**FOX, "aspect_ratio": ratio}, MODELS).aspect_ratio == ratio


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("  a red fox\n", "a red fox"),
        ("a\r\nred\r\nfox", "a\nred\nfox"),
        ("a\tred\nfox", "a\tred\nfox"),
        ("Zu\u0308rich", "Z\u00fcrich"),
        ("\u212b", "\u00c5"),
        ("\ufb01", "\ufb01"),
        ("A Red Fox", "A Red Fox"),
        ("a  red  fox", "a  red  fox"),
        ("\u3000雪\u2029", "雪"),
        ("🦊", "🦊"),
        ("a\u200bred\u202efox", "a\u200bred\u202efox"),
        ("x" * 4000, "x" * 4000),
        (" " * 9 + "🦊" * 4000, "🦊" * 4000),
        ("u\u0308" * 4000, "\u00fc" * 4000),
    ],
)
def test_a_prompt_is_normalised(text: str, prompt: str) -> None:
    """Line ends, outer white space and normal form do not change a prompt."""
    assert from_query({"prompt": text}, MODELS).prompt == prompt
    assert from_json({"prompt": text}, MODELS).prompt == prompt


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "\t\n", "\r\n", "\u3000", "x" * 32_001, "🦊" * 32_001),
        *(f"a{chr(code)}b" for code in range(32) if chr(code) not in "\t\n"),
        *(f"a{chr(code)}b" for code in range(127, 160)),
        *("a\rb", "\0", "fox\x85", "\r", "a\n\rb", "\x1ffox"),
    ],
)
@pytest.mark.parametrize("is_json", [True, False])
def test_what_is_no_prompt(text: str, *, is_json: bool) -> None:
    """An empty or too long prompt and control characters are refused."""
    assert refused({"prompt": text}, is_json=is_json) == "prompt"


REFUSED = [
    ({}, "prompt"),
    ({**FOX, "model": "unknown"}, "model"),
    ({**FOX, "model": "Default"}, "model"),
    ({**FOX, "model": " "}, "model"),
    ({**FOX, "aspect_ratio": "16:10"}, "aspect_ratio"),
    ({**FOX, "aspect_ratio": "16/9"}, "aspect_ratio"),
    ({**FOX, "aspect_ratio": " 1:1"}, "aspect_ratio"),
    ({**FOX, "seed": "4294967296"}, "seed"),
    ({**FOX, "seed": "-1"}, "seed"),
    ({**FOX, "seed": "01"}, "seed"),
    ({**FOX, "variant": "16"}, "variant"),
    ({**FOX, "variant": "-1"}, "variant"),
    ({**FOX, "width": "512"}, "height"),
    ({**FOX, "height": "512"}, "width"),
    ({**FOX, "width": "63", "height": "512"}, "width"),
    ({**FOX, "width": "512", "height": "63"}, "height"),
    ({**FOX, "width": "4097", "height": "64"}, "width"),
    ({**FOX, "width": "64", "height": "4097"}, "height"),
    ({**FOX, "width": "4001", "height": "4000"}, "width"),
    (
        {**FOX, "width": "64", "height": "64", "aspect_ratio": "1:1"},
        "aspect_ratio",
    ),
    ({**FOX, "width": "64", "aspect_ratio": "1:1"}, "aspect_ratio"),
]


def numbers(given: dict[str, str]) -> dict[str, Any]:
    """Return the parameters with their numbers as JSON has them."""
    return {
        name: int(value) if value.lstrip("-").isdigit() and value[0] != "0" else value
        for name, value in given.items()
    }


@pytest.mark.parametrize(("given", "parameter"), REFUSED)
def test_what_is_refused_in_a_query(given: dict[str, str], parameter: str) -> None:
    """A parameter out of its bounds in a query is refused by name."""
    assert refused(given, is_json=False) == parameter


@pytest.mark.parametrize(("given", "parameter"), REFUSED)
def test_what_is_refused_in_a_query_is_refused_in_json(
    given: dict[str, str], parameter: str
) -> None:
    """A parameter out of its bounds is refused in JSON as in a query."""
    assert refused(numbers(given), is_json=True) == parameter


@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (4096, 64), (4000, 4000), (3906, 4096)]
)
def test_sizes_up_to_the_bounds(width: int, height: int) -> None:
    """The smallest and the largest sizes are accepted."""
    given = {**FOX, "width": width, "height": height}
    parameters = from_json(given, MODELS)

    assert (parameters.width, parameters.height) == (width, height)


@pytest.mark.parametrize("name", ["width", "height", "seed", "variant"])
@pytest.mark.parametrize(
    "value", ["64", "", None, 64.0, 64.5, True, False, [64], {}, 1e400, -1, 10**40]
)
def test_an_integer_in_json_is_an_integer(name: str, value: object) -> None:
    """A text, 1.0, true, null or a list is refused where JSON needs an integer."""
    given: dict[str, Any] = {**FOX, "width": 64, "height": 64, name: value}

    assert refused(given, is_json=True) == name


@pytest.mark.parametrize("name", ["prompt", "model", "aspect_ratio"])
@pytest.mark.parametrize("value", ["", None, 1, True, ["fox"], {}, "\ud800", "a\udfff"])
def test_a_text_in_json_is_a_text(name: str, value: object) -> None:
    """A number, null, a list or a lone surrogate is refused where JSON needs a text."""
    assert refused({**FOX, name: value}, is_json=True) == name


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", [], IDS[0], {}, 1, [1], [None], [""], ["not an id"], IDS[:17]),
        *([IDS[0].upper().replace("0", "A")], [f"{{{IDS[0]}}}"], [IDS[0] + "\n"]),
        [IDS[0].replace("-", "")],
    ],
)
def test_what_is_no_list_of_references(value: object) -> None:
    """References must be one to sixteen ids in canonical form."""
    assert refused({**FOX, "references": value}, is_json=True) == "references"


def test_what_references_show_counts_and_their_order() -> None:
    """Content and order of the references decide the prompt, not their ids."""
    one = from_json({**FOX, "references": IDS[:2]}, MODELS)
    other = from_json({**FOX, "references": IDS[2:4]}, MODELS)
    shown = ("a", "b")

    key = PromptKey(SHOP, one._replace(reference_digests=shown))
    same = PromptKey(SHOP, other._replace(reference_digests=shown))
    assert same.hash == key.hash
    swapped = one._replace(reference_digests=("b", "a"))
    assert PromptKey(SHOP, swapped).hash != key.hash


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("size", "size"),
        ("Prompt", "Prompt"),
        ("project", "project"),
        ("", "body"),
        ("<script>", "body"),
        ("größe", "body"),
        ("\ud800", "body"),
        ("x" * 64, "x" * 64),
        ("x" * 900, "body"),
    ],
)
def test_an_unknown_name_in_json(name: str, parameter: str) -> None:
    """An unknown field is named in the error if its name is harmless."""
    assert refused({**FOX, name: 1}, is_json=True) == parameter


def test_without_a_default_the_model_must_be_named() -> None:
    """Without a default model a request must name one."""
    with pytest.raises(InvalidParameter) as error:
        from_query(FOX, model_names("slow"))

    assert error.value.parameter == "model"
    assert from_query({**FOX, "model": "slow"}, model_names("slow")).model == "slow"


def test_seed_zero_is_a_seed() -> None:
    """Seed 0 differs from no seed; variant 0 is the default."""
    none, zero = from_query(FOX, MODELS), from_query({**FOX, "seed": "0"}, MODELS)
    default = from_query({**FOX, "variant": "0", "model": "default"}, MODELS)

    assert PromptKey(SHOP, none).hash != PromptKey(SHOP, zero).hash
    assert PromptKey(SHOP, none).hash == PromptKey(SHOP, default).hash


@given(st.text())
def test_a_prompt_in_either_normal_form_is_the_same(text: str) -> None:
    """A prompt gives the same key in each Unicode normal form."""
    try:
        prompt = from_query({"prompt": text}, MODELS).prompt
    except InvalidParameter:
        return
    for form in ("NFC", "NFD"):
        again = from_query({"prompt": normalize(form, text)}, MODELS).prompt
        assert again == prompt
    assert from_query({"prompt": f"  {prompt}\r\n"}, MODELS).prompt == prompt
    assert 1 <= len(prompt) <= 4000


@given(st.dictionaries(st.sampled_from(sorted(QUERY_PARAMETERS)), st.text()))
def test_no_query_is_anything_but_read_or_refused(given: dict[str, str]) -> None:
    """Any query is read, or refused with the name of a parameter."""
    named = named_in_refusal(lambda: from_query(given, MODELS))

    assert named is None or named in QUERY_PARAMETERS


@given(
    st.dictionaries(st.sampled_from(sorted(JSON_PARAMETERS)) | st.text(), ANYTHING),
    st.booleans(),
)
def test_no_json_is_anything_but_read_or_refused(
    given: dict[str, Any],
    has_prompt: bool,  # noqa: FBT001 - hypothesis passes by position
) -> None:
    """Any JSON is read, or refused with a short ASCII name."""
    whole = {**given, **FOX} if has_prompt else given
    named = named_in_refusal(lambda: from_json(whole, MODELS))

    assert named is None or (named.isascii() and 0 < len(named) <= 64)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_is_chosen_where_the_model_accepts_it(name: str) -> None:
    """An option in the model's `accept` is part of the prompt, any other is 400."""
    chosen = {**FOX, name: "high"}

    assert getattr(from_query(chosen, OPEN), name) == "high"
    assert from_json(chosen, OPEN) == from_query(chosen, OPEN)
    assert refused(chosen, is_json=False) == refused(chosen, is_json=True) == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "auto") for name in OPTIONS),
        ("quality", "standard"),
        ("style", "vivid"),
    ],
)
def test_an_option_that_chooses_nothing_is_absent(name: str, value: str) -> None:
    """An option with its default value does not change the prompt."""
    assert from_json({**FOX, name: value}, MODELS) == from_json(FOX, MODELS)
    assert from_query({**FOX, name: value}, OPEN) == from_query(FOX, OPEN)


def test_options_have_bounds() -> None:
    """An option that is too long, not a text or has control characters is refused."""

    def named(**given: Any) -> str | None:
        return named_in_refusal(lambda: from_json({**FOX, **given}, OPEN))

    assert named(quality="x" * 64, negative_prompt="x" * 4000) is None
    assert named(quality="x" * 65) == "quality"
    assert named(negative_prompt="x" * 4001) == "negative_prompt"
    assert named(style="a\x00b") == "style"
    assert named(moderation="  ") == "moderation"
    assert named(background=7) == "background"


def test_a_body_takes_longer_prompts_than_a_url() -> None:
    """A prompt may have 32,000 code points in a body and 4,000 in a URL."""
    longest = {"prompt": "ü" * 32_000}

    assert from_json(longest, MODELS).prompt == longest["prompt"]
    assert refused({"prompt": "ü" * 32_001}, is_json=True) == "prompt"
    assert from_query({"prompt": "x" * 4000}, MODELS).prompt
    assert refused({"prompt": "x" * 4001}, is_json=False) == "prompt"


def test_a_further_name_means_its_alias() -> None:
    """A further name of a model gives the same prompt as its alias."""
    names = ModelNames({"fast": ModelConfig("fast", "openai", also=("dall-e-3",))})

    by_name = from_query({**FOX, "model": "dall-e-3"}, names)
    assert by_name == from_query({**FOX, "model": "fast"}, names)
    assert names.all == ("fast", "dall-e-3")
