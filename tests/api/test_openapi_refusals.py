"""Values that the service refuses are invalid by its OpenAPI document too."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

import app.web
from app.api.openai.fields import FIELDS, Fields, read_fields
from app.api.parameters import from_json, from_query
from app.errors import InvalidParameter, ModelNotFound
from app.generation.config.model_table import _FURTHER_NAME
from tests.api.test_openapi import operations, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENT = json.loads((Path(app.web.__file__).parent / "openapi.json").read_text())
LIVE = ("GET", "/api/v1/live/generate")
UUID = "081e7a85-213f-4299-a3c0-267416281cf2"


class AnyModel:
    """A models file with every possible name, whose models accept every option."""

    def alias_of(self, name: str) -> str | None:
        """Return *name* if a models file may use it."""
        return name if _FURTHER_NAME.fullmatch(name) else None

    def accepts(self, alias: str, option: str) -> bool:
        """Return True."""
        return True


def schema_of(method: str, path: str, name: str) -> dict[str, Any]:
    """Return the schema of a parameter."""
    for m, p, operation in operations(DOCUMENT):
        if (m, p) == (method, path):
            (found,) = [one for one in operation["parameters"] if one["name"] == name]
            return dict(found["schema"])
    raise AssertionError(f"There is no {method} {path}.")


def body_of(path: str, media_type: str = "application/json") -> dict[str, Any]:
    """Return the schema of the JSON body of *path*."""
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    return resolve(DOCUMENT, content[media_type]["schema"])


def allows(schema: Mapping[str, Any], value: object) -> bool:
    """Return whether *schema* allows *value*."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return bool(Draft202012Validator(whole).is_valid(value))


EDIT_FORM = body_of("/v1/images/edits", "multipart/form-data")

REFUSED: list[tuple[str, Any]] = [
    *(("prompt", text) for text in ("", "   ", "\n\t", "a\x00b", "\x7f", "a" * 4001)),
    *(("model", text) for text in ("", " ", "a b", "-default", "x" * 129)),
    *(("aspect_ratio", text) for text in ("", "16:10", "16x9", "1:1 ")),
    *(("width", number) for number in (0, 63, 4097, -1)),
    *(("seed", number) for number in (-1, 4294967296)),
    *(("variant", number) for number in (-1, 16)),
    *(("quality", text) for text in ("", "x" * 65)),
    *(("negative_prompt", text) for text in ("", "a\x00", "a" * 4001)),
    *(("on_error", text) for text in ("", "png", "IMAGE")),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=repr)
def test_what_a_query_may_not_say_is_not_allowed(name: str, value: Any) -> None:
    """Query values that the service refuses are invalid by the document."""
    given = {"prompt": "a fox", name: str(value)}
    if name == "width":
        given["height"] = "64"
    with pytest.raises(InvalidParameter):
        from_query(given, AnyModel())

    assert not allows(schema_of(*LIVE, name), value)


def test_a_prompt_has_the_characters_of_the_document() -> None:
    """The document allows a character for a prompt where the service does."""
    pattern = re.compile(schema_of(*LIVE, "prompt")["pattern"])

    # Surrogates are no characters, and no plane but the first has white space.
    for number in [*range(0xD800), *range(0xE000, 0x10000)]:
        text = chr(number)
        try:
            from_query({"prompt": text}, AnyModel())
        except InvalidParameter:
            assert not pattern.search(text), hex(number)
        else:
            assert pattern.search(text), hex(number)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": ""},
        {"prompt": " \n"},
        {"prompt": None},
        {"prompt": 7},
        {"prompt": "a\x00b"},
        {"prompt": "a" * 32_001},
        {"prompt": "a fox", "model": ""},
        {"prompt": "a fox", "model": None},
        {"prompt": "a fox", "seed": "7"},
        {"prompt": "a fox", "seed": 1.5},
        {"prompt": "a fox", "seed": True},
        {"prompt": "a fox", "width": 64.5, "height": 64},
        {"prompt": "a fox", "variant": 16},
        {"prompt": "a fox", "references": []},
        {"prompt": "a fox", "references": [UUID] * 17},
        {"prompt": "a fox", "references": UUID},
        {"prompt": "a fox", "references": [7]},
        {"prompt": "a fox", "colour": "red"},
    ],
    ids=lambda body: repr(body)[:60],
)
def test_what_a_body_may_not_say_is_not_allowed(body: dict[str, Any]) -> None:
    """JSON bodies that the service refuses are invalid by the document."""
    with pytest.raises(InvalidParameter):
        from_json(dict(body), AnyModel())

    assert not allows(body_of("/api/v1/live/generate"), body)


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (schema_of(*LIVE, "q"), [-10, 5, 110, 85]),
        (schema_of(*LIVE, "w"), [0, -1, 8193]),
        (schema_of(*LIVE, "format"), ["", "gif", "PNG", "svg"]),
        (schema_of(*LIVE, "exp"), ["", "-1", "01", "1.0", "soon", "1" * 13]),
        (schema_of(*LIVE, "kid"), ["", "a b", "k" * 65, "ä"]),
        (schema_of(*LIVE, "sig"), ["", "x" * 42, "x" * 44, "x" * 42 + "="]),
        (
            schema_of("GET", "/api/v1/generations/{generation_id}", "generation_id"),
            ["", "nope", UUID.upper(), f"{{{UUID}}}", UUID[:-1]],
        ),
        (
            schema_of("GET", "/api/v1/images/{image_id}", "image_id"),
            ["", UUID.upper(), f"{UUID}.png"],
        ),
        (
            schema_of(
                "GET",
                "/api/v1/images/{org}/{project}/{category}/{filename}",
                "filename",
            ),
            ["", UUID, f"{UUID}.svg", f"{UUID.upper()}.png", "a.png"],
        ),
        (
            schema_of("GET", "/api/images/{id}", "id"),
            ["", f"{UUID}.svg", f"{UUID}.PNG", UUID[1:]],
        ),
        (body_of("/api/images", "multipart/form-data"), [{}, {"file": ["a", "b"]}]),
        (
            body_of("/api/images", "multipart/form-data"),
            [{"file": ""}, {"file": "a", "note": "b"}, {"picture": "a"}],
        ),
        (body_of("/api/v1/sign"), [{}, {"prompt": "a", "kid": "K"}]),
        (body_of("/api/v1/sign"), [{"prompt": "a", "expires_in": 0}]),
        (body_of("/api/v1/sign"), [{"prompt": "a", "w": 256, "widths": [256]}]),
        (
            schema_of("GET", "/api/v1/project/spend", "day"),
            ["", "x", "2026-1-1", "2026-13-01", "2026-12-32"],
        ),
        (
            body_of("/v1/images/edits"),
            [{"prompt": "a", "images": [{"image_url": ""}]}],
        ),
        (body_of("/api/v1/live/purge"), [{}, {"all": False}, {"all": True, "x": 1}]),
        (
            body_of("/api/v1/keys"),
            [{}, {"project": "Shop"}, {"project": "a/b", "x": 1}],
        ),
    ],
    ids=lambda value: None,
)
def test_what_else_is_refused_is_not_allowed(
    schema: dict[str, Any], values: list[Any]
) -> None:
    """Bad ids, signatures and other bodies are invalid by the document."""
    assert [value for value in values if allows(schema, value)] == []


REFUSED_BY_THE_FRONT = [
    *({"prompt": text} for text in ("", " \n", "a\x00b", "a" * 32_001)),
    *({"model": text} for text in ("", " ", "a b", "x" * 129)),
    *({"size": text} for text in ("", "63x64", "64x4097", "5000x64", "64x", "64X64")),
    *({"negative_prompt": text} for text in ("", " ", "a\x00")),
    {"quality": ""},
    {"n": "2"},
    {"output_format": "svg"},
    {"colour": "red"},
]
FRONT_PATHS = ["/v1/images/generations", "/v1/images/edits"]


def read_json(fields: dict[str, Any]) -> None:
    """Read *fields* as the service reads a JSON body of the OpenAI front."""
    asked = Fields(fields)
    asked.require_known()
    read_fields(asked, AnyModel())


def allowed_by_the_front(path: str, fields: dict[str, Any]) -> bool:
    """Return whether the document allows *fields* as a body of *path*."""
    pictures = {"images": [{"image_url": "data:image/png;base64,"}]}
    return allows(body_of(path), fields | (pictures if "edits" in path else {}))


@pytest.mark.parametrize("path", FRONT_PATHS)
@pytest.mark.parametrize(
    "fields", REFUSED_BY_THE_FRONT, ids=lambda value: repr(value)[:60]
)
def test_what_the_front_refuses_in_json_is_not_allowed(
    fields: dict[str, Any], path: str
) -> None:
    """A field that the OpenAI front refuses in JSON is invalid by the document."""
    with pytest.raises((InvalidParameter, ModelNotFound)):
        read_json({"prompt": "a fox", **fields})

    assert not allowed_by_the_front(path, {"prompt": "a fox", **fields})


@pytest.mark.parametrize("path", FRONT_PATHS)
def test_what_the_front_takes_in_json_is_allowed(path: str) -> None:
    """A body that the OpenAI front takes is valid by the document."""
    given = {
        "prompt": " a fox\r\nin 雪 ",
        "model": "gpt-image-2",
        "size": "64x4096",
        "negative_prompt": "rain",
        "n": None,
    }
    read_json(given)

    assert allowed_by_the_front(path, given)


REFUSED_IN_A_FORM = [
    {},
    {"prompt": ""},
    {"prompt": " "},
    *({"model": text} for text in ("a b", "x" * 129)),
    *({"size": text} for text in ("63x64", "64x4097")),
    {"negative_prompt": "a\x00"},
    {"prompt": "a" * 32_001},
    *({"n": text} for text in ("0", "11", "01", "1.0", "two", " 1")),
    *({"size": text} for text in ("AUTO", "5x5", "64x", "064x64", "64 x 64")),
    *({"output_compression": text} for text in ("-1", "101", "090")),
    *({"output_format": text} for text in ("gif", "PNG", "svg")),
    {"response_format": "json"},
    *({"stream": text} for text in ("1", "yes", " true")),
    *({"partial_images": text} for text in ("4", "-1")),
    *({"seed": text} for text in ("-1", "1e3", "12345678901")),
    *({"variant": text} for text in ("16", "00")),
    {"aspect_ratio": "16:10"},
    {"quality": "x" * 65},
    {"negative_prompt": "a" * 4001},
    {"images": "a"},
]
ALLOWED_IN_A_FORM = [
    {name: "" for name in FIELDS if name != "prompt"},
    {"n": "10", "variant": "0", "size": "64x4096", "stream": "True", "seed": "0"},
    {"output_format": "webp", "output_compression": "100", "partial_images": "3"},
    {"aspect_ratio": "16:9", "quality": "high", "response_format": "url"},
]


def read_form(fields: dict[str, str]) -> None:
    """Read *fields* as the service reads those of an edit's form."""
    form = Fields(fields, is_form=True)
    form.require_known()
    read_fields(form, AnyModel())


@pytest.mark.parametrize(
    "fields", REFUSED_IN_A_FORM, ids=lambda value: repr(value)[:60]
)
def test_what_a_form_may_not_say_is_not_allowed(fields: dict[str, str]) -> None:
    """A field that the service refuses in a form is invalid by the document."""
    given = {"prompt": "a fox", **fields} if fields else fields
    with pytest.raises((InvalidParameter, ModelNotFound)):
        read_form(given)

    assert not allows(EDIT_FORM, {**given, "image": "a"})


@pytest.mark.parametrize("fields", ALLOWED_IN_A_FORM)
def test_what_a_form_may_say_is_allowed(fields: dict[str, str]) -> None:
    """A field that the service takes in a form is valid by the document."""
    given = {"prompt": "a fox", **fields}
    read_form(given)

    assert allows(EDIT_FORM, {**given, "image": "a"})
    assert not allows(EDIT_FORM, given)


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": " a fox\r\nin the rain "},
        {"prompt": "雪", "model": "gpt-image-2", "seed": 0, "variant": 15},
        {"prompt": "a", "width": 64, "height": 4096, "on_error": "image"},
        {"prompt": "a", "references": [UUID], "format": "webp", "q": 80},
    ],
)
def test_what_the_service_takes_is_allowed(body: dict[str, Any]) -> None:
    """Bodies that the service accepts are valid by the document."""
    from_json(dict(body), AnyModel())

    assert allows(body_of("/api/v1/live/generate"), body)
