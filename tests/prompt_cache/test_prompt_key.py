"""Prompt hashes: equal for equal prompts, different for different ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.prompt_cache.entry.prompt_key import Parameters, PromptKey, is_prompt_hash
from app.storage.storage_key import Project
from tests.prompt_cache.strategies import KEYS, PARAMETERS

SHOP = Project("acme", "shop")
LIGHTHOUSE = Parameters("a lighthouse in a storm")

# Pinned: a hash that changes makes every picture that was paid for a stranger.
GOLDEN = [
    (
        LIGHTHOUSE,
        "7adf40744e3e1e0447d1f2ab6d023aeeb2113f2eacd8d965610ded83ba5cf696",
    ),
    (
        Parameters("a lighthouse in a storm", seed=0),
        "7c7900a363cef5cb99e3c4c0645880ecb9ce786395b7107fbbc4302e102565e8",
    ),
    (
        Parameters('Zürich & 100% "snow" + 雪', aspect_ratio="16:9"),
        "793743d0df26f3bdc39fa6867a4a0c12e3b395dfb69c85152bc40f41dcd4e26e",
    ),
    (
        Parameters(
            "a red fox",
            model="slow",
            width=512,
            height=768,
            seed=4294967295,
            variant=15,
            references=("0b9cbb3c-57a5-4b0c-8c2f-3c9b8d3f4f10",),
            reference_digests=("0b9cbb3c-57a5-4b0c-8c2f-3c9b8d3f4f10",),
        ),
        "3ccdd111a8a6c4a2e47efe2757c9c7ac08eb713ed5ab6b82234f11d453067675",
    ),
    (
        Parameters(
            "a red fox",
            quality="high",
            background="transparent",
            moderation="low",
            style="natural",
            negative_prompt="text",
            mask="0b9cbb3c-57a5-4b0c-8c2f-3c9b8d3f4f10",
            mask_digest="f" * 64,
        ),
        "51ec00cd923e8c4ca199179a24fe39a0cf04e7cbb558c9f4b153bc4d3fb142aa",
    ),
]


@pytest.mark.parametrize(("parameters", "prompt_hash"), GOLDEN)
def test_hashes_never_change(parameters: Parameters, prompt_hash: str) -> None:
    """Golden hashes of older versions are the same."""
    assert PromptKey(SHOP, parameters).hash == prompt_hash


@given(KEYS, KEYS)
def test_hashes_are_equal_where_prompts_are(one: PromptKey, other: PromptKey) -> None:
    """Hashes are equal exactly if project and parameters are."""
    assert (one.hash == other.hash) == (one == other)
    assert PromptKey(one.project, Parameters(*one.parameters)).hash == one.hash
    assert is_prompt_hash(one.hash)


@given(PARAMETERS, st.data())
def test_every_parameter_counts(parameters: Parameters, data: st.DataObject) -> None:
    """A difference in one parameter changes the hash."""
    name = data.draw(st.sampled_from(parameters._fields))
    other = parameters._replace(**{name: getattr(data.draw(PARAMETERS), name)})

    is_equal = PromptKey(SHOP, parameters).hash == PromptKey(SHOP, other).hash
    # The ids name where references and masks are read, and not what they show.
    same = parameters._replace(references=other.references, mask=other.mask) == other
    assert is_equal == same


@given(PARAMETERS)
def test_parameters_survive_json(parameters: Parameters) -> None:
    """Parameters are the same after a round trip through JSON."""
    assert Parameters.from_json(parameters.as_json()) == parameters


@given(PARAMETERS)
def test_parameters_survive_as_a_list(parameters: Parameters) -> None:
    """Parameters are the same after a round trip through a list."""
    assert Parameters.from_list(parameters.as_list()) == parameters
    assert Parameters("a red fox").as_list() == ["a red fox"]


def test_the_project_is_no_part_of_the_prompt() -> None:
    """A prompt can't be spelled to get another project's hash."""
    neighbours = [
        Project("acme", "shop"),
        Project("acme-shop", "shop"),
        Project("a", "b"),
    ]

    assert len({PromptKey(project, LIGHTHOUSE).hash for project in neighbours}) == 3


@pytest.mark.parametrize(
    "text",
    ["", "11" * 31, "11" * 33, "AA" * 32, "gg" * 32, "11" * 32 + "\n", "\uff11" * 64],
)
def test_what_is_no_prompt_hash(text: str) -> None:
    """Only 64 lower-case hex digits are a prompt hash."""
    assert not is_prompt_hash(text)
