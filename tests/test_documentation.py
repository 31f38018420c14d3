"""The documentation agrees with the code, compared both ways."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from pydantic import BaseModel, BeforeValidator

from app.generation.config.model_table import ModelTable
from app.generation.config.models_file import load_models
from app.generation.config.vendors import VENDORS
from app.generation.providers.placeholder.options import PlaceholderOptions
from app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
CONFIGURATION = ROOT / "docs" / "reference" / "configuration.md"


def _table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below *heading*, by their first cell."""
    text = CONFIGURATION.read_text()
    below = text.split(f"\n{heading}\n", 1)[1]
    rows: dict[str, list[str]] = {}
    for line in below.splitlines():
        if line.startswith("#") and rows:
            break
        if name := re.match(r"\| `(\w+)` \|", line):
            cells = line.strip().strip("|").split("|")
            rows[name[1]] = [cell.strip() for cell in cells[1:]]
    return rows


def _shown(default: object) -> str:
    """Return a default in the form of the tables."""
    if default is None:
        return "none"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_every_setting_is_documented_with_its_default() -> None:
    """The table of settings has exactly the settings of the code and their defaults."""
    documented = {name: row[0] for name, row in _table("## Settings").items()}

    expected = {
        name.upper(): _shown(field.default)
        for name, field in Settings.model_fields.items()
    }

    assert documented == expected


def test_every_setting_has_a_unit_and_a_meaning() -> None:
    """A setting in _SECONDS or _BYTES has that unit, and every row has a meaning."""
    for name, (_, unit, meaning) in _table("## Settings").items():
        if suffix := re.search(r"_(SECONDS|BYTES)$", name):
            assert unit == suffix[1].lower()
        assert meaning.endswith(".")


def test_every_key_of_a_model_is_documented_with_its_default() -> None:
    """The table of a model's keys has exactly the keys of the code."""
    documented = {name: row[0] for name, row in _table("## Models file").items()}

    expected = {}
    for name, field in ModelTable.model_fields.items():
        default = f"`{field.default}`"
        if field.is_required():
            default = "must be there"
        elif field.default is None:
            default = "the provider's own"
        elif isinstance(field.default, bool):
            default = default.lower()
        expected[name] = default.replace("``", '`""`')

    assert documented == expected


def test_every_provider_is_documented() -> None:
    """The row of `provider` lists all providers in the order of the code."""
    meaning = _table("## Models file")["provider"][1]

    assert re.findall(r"`(\w+)`", meaning) == list(VENDORS)


@pytest.mark.parametrize("provider", VENDORS)
def test_every_option_of_a_provider_is_documented(provider: str) -> None:
    """Each provider's table has exactly its options with their defaults."""
    heading = "replicate` and `fal" if provider in {"replicate", "fal"} else provider
    documented = {
        name: row[0] for name, row in _table(f"### Options of `{heading}`").items()
    }

    expected = {}
    for name, field in VENDORS[provider].options.model_fields.items():
        # Fields that come from the request are no options.
        if any(isinstance(item, BeforeValidator) for item in field.metadata):
            continue
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = default.model_dump(exclude_defaults=True)
        text = "none" if default is None else json.dumps(default)
        expected[field.alias or name] = text if text == "none" else f"`{text}`"

    assert documented == expected


def test_every_failure_of_the_placeholder_is_documented() -> None:
    """The row of `failure` lists all failures in the order of the code."""
    meaning = _table("### Options of `placeholder`")["failure"][1]
    failures = PlaceholderOptions.model_fields["failure"].annotation

    assert tuple(re.findall(r"`(\w+)`", meaning)) == get_args(failures)


@pytest.mark.parametrize(
    "page",
    [CONFIGURATION, *sorted((ROOT / "docs" / "how-to" / "providers").glob("*.md"))],
    ids=lambda page: page.stem,
)
def test_every_example_of_a_models_file_is_accepted(page: Path, tmp_path: Path) -> None:
    """Every example of a models file is valid."""
    examples = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    file = tmp_path / "models.toml"
    keys = {vendor.key_variable: "a:lighthouse" for vendor in VENDORS.values()}

    assert len(examples) == (page.stem != "try")
    for example in examples:
        file.write_text(example)
        models = load_models(file, keys)
        assert set(models) == set(tomllib.loads(example)["models"])


def test_every_provider_has_a_page_of_its_own() -> None:
    """Each provider has a page about key, price, limits and references."""
    pages = (ROOT / "docs" / "how-to" / "providers").glob("*.md")
    text = {page.stem: page.read_text() for page in pages}

    assert set(text) - {"try"} == set(VENDORS) - {"placeholder"}
    for provider in set(VENDORS) - {"placeholder"}:
        assert f'provider = "{provider}"' in text[provider]
        for subject in ("Key", "Price", "Limits", "References"):
            assert f"**{subject}" in text[provider]


_BLOCKS = re.DOTALL | re.MULTILINE


def _links(page: Path) -> set[Path]:
    """Return the files of this repository that *page* links to."""
    # Text that looks like a link within an example is none.
    text = re.sub(r"^( *)```.*?^\1```|`[^`\n]+`", "", page.read_text(), flags=_BLOCKS)
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    return {(page.parent / target).resolve() for target in targets}


def test_every_link_leads_somewhere() -> None:
    """Every link within the repository leads to a file."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]

    broken = {page.name: {t for t in _links(page) if not t.exists()} for page in pages}

    assert not any(broken.values()), broken


def _methods() -> set[str]:
    """Return every method as `Class.method`."""
    found = set()
    for file in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                owned = [one for one in node.body if isinstance(one, _FUNCTIONS)]
                found |= {f"{node.name}.{one.name}" for one in owned}
    return found


def _named(page: Path) -> Iterator[str]:
    """Yield the methods and modules that *page* names."""
    text = page.read_text()
    for name in re.findall(r"`([A-Z]\w+\.[a-z]\w+)`", text):
        if not name.endswith((".md", ".py")):
            yield name
    yield from re.findall(r"`((?:[\w.-]+/)+[\w-]+\.py)`", text)


def test_what_a_page_names_is_in_the_code() -> None:
    """Every method and module that a page names exists."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in _named(page)}

    paths = {name for name in named if name.endswith(".py")}
    missing = {
        p for p in paths if not any((ROOT / b / p).exists() for b in ("", "app"))
    }
    assert (named - paths) - _methods() == set()
    assert missing == set()


ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"


def test_the_drawn_import_order_is_the_one_that_is_checked() -> None:
    """The architecture page has the layers of the import contract, in order."""
    drawn = ARCHITECTURE.read_text().split("## Import order\n\n```\n")[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]

    assert re.split(r"[\s→|]+", drawn.split("```")[0].strip()) == [
        name for layer in layers for name in layer.split(" | ")
    ]


def test_every_folder_has_a_row() -> None:
    """The table of rooms has a row for each folder of the service."""
    rows = re.findall(r"^\| `(\w+)/` \|", ARCHITECTURE.read_text(), re.MULTILINE)

    folders = [path.parent.name for path in (ROOT / "app").glob("*/__init__.py")]

    assert sorted(rows) == sorted(folders)


def test_every_page_is_listed() -> None:
    """The first page of the documentation links to all others."""
    index = ROOT / "docs" / "README.md"

    pages = set((ROOT / "docs").rglob("*.md"))

    assert pages - {index} == {p for p in _links(index) if p.suffix == ".md"}


def test_every_decision_is_at_most_a_page() -> None:
    """Decisions are numbered without a gap, listed by title, and have three parts."""
    index = (ROOT / "docs" / "README.md").read_text()
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    numbers = [int(decision.name[:4]) for decision in decisions]
    assert numbers == list(range(1, len(decisions) + 1))
    for decision in decisions:
        text = decision.read_text()
        title = text.splitlines()[0].removeprefix("# ")
        number, _, words = title.partition(". ")
        assert number == str(int(decision.name[:4]))
        assert f"{number}. [{words}](decisions/{decision.name})" in index
        assert len(text.splitlines()) <= 60
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"]


_UNCLEAR_STARTS = re.compile(
    r'"""(Say|Tell|Let|What|Whatever|Who|Whoever|Whose|Which|How|However|Where)\b'
    r'|"""(Return|Yield|Give|Read) (what|who|whose|until when)\b'
)
_UNCLEAR_WORDS = re.compile(
    r"\b(whoever|somebody|nobody|anybody|at hand|beside the way|is told|are told)\b"
    r"|\b(unless said|unheard|befalls?|is no news|(for|in) so long)\b"
    r"|\b(taken in as|pictures? to go by|goes by [0-9])\b",
    re.IGNORECASE,
)
# In the service alone: a test's sentence may be about what a caller was told.
_UNCLEAR_IN_THE_SERVICE = re.compile(r"\b(said|told)\b")
_UNCLEAR_CONSTANTS = re.compile(r"\b_?(MOST|LEAST)_[A-Z]")


def _sources() -> Iterator[Path]:
    """Yield the code, its tests and benchmarks, and the pages about it."""
    for folder in ("app", "tests", "benchmarks"):
        yield from (ROOT / folder).rglob("*.py")
    yield from (ROOT / "docs").rglob("*.md")
    yield from ROOT.glob("*.md")


def _is_unclear(line: str, path: Path) -> bool:
    """Return whether a docstring begins badly, or a word or a name is on the list."""
    # An underscore separates the words of a name.
    words = line.replace("_", " ")
    is_of_the_service = path.is_relative_to(ROOT / "app")
    return bool(
        _UNCLEAR_STARTS.search(line)
        or (is_of_the_service and _UNCLEAR_IN_THE_SERVICE.search(words))
        or _UNCLEAR_CONSTANTS.search(line)
        or _UNCLEAR_WORDS.search(words)
    )


def test_code_and_pages_are_written_in_plain_words() -> None:
    """No line of code or of a page has a listed word or a docstring without a verb."""
    unclear = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in _sources()
        if path != Path(__file__)  # It has the list.
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if _is_unclear(line, path)
    ]

    assert not unclear, "\n".join(unclear)
