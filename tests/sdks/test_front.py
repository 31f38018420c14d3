"""Clients of OpenAI's API work with the service, over two replicas."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.deploy.reverse_proxy import SHIPPED, reverse_proxy
from tests.fake_provider import FakeProvider
from tests.models_of_replicas import replicas_over
from tests.sdks import environments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.replica import Replica
    from tests.servers import S3Server

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

TERMS = """
price = 0.04
deadline_seconds = 4
also = ["gpt-image-1", "dall-e-3"]
"""
REQUESTS = 25


class Stage(NamedTuple):
    """Two replicas over one provider."""

    provider: FakeProvider
    replicas: tuple[Replica, Replica]
    python: str

    @property
    def origins(self) -> tuple[str, str]:
        """The addresses of the replicas."""
        return self.replicas[0].url, self.replicas[1].url

    def digests(self, prompt: str) -> list[str]:
        """Return the SHA-256 of each picture that was painted for *prompt*."""
        return [
            hashlib.sha256(call.picture).hexdigest()
            for call in self.provider.calls
            if call.prompt == prompt and call.picture
        ]

    async def talk(self, what: str, *arguments: str) -> Any:
        """Return the results of the Python client."""
        return json.loads(
            await environments.run(self.python, "front_talk.py", what, *arguments)
        )


@pytest.fixture
async def stage(
    redis_url: str, s3_server: S3Server, tmp_path: Path
) -> AsyncIterator[Stage]:
    """Run two replicas whose model is the fake provider in OpenAI's dialect."""
    provider = FakeProvider()
    async with replicas_over(
        provider,
        2,
        folder=tmp_path,
        redis_url=redis_url,
        store=s3_server,
        terms=TERMS,
        # So that pictures are identified by the bytes that the provider painted.
        MARK_AI_GENERATED="off",
    ) as (first, second):
        yield Stage(provider, (first, second), await environments.python())


# Each client's errors for a refusal, an unknown model and a size out of bounds.
ERRORS = [
    ["BadRequestError", 400, "moderation_blocked", "prompt"],
    ["NotFoundError", 404, "model_not_found", "model"],
    ["BadRequestError", 400, "invalid_parameter", "size"],
]
PROMPT = "a lighthouse in a storm"


async def test_the_python_client_is_at_home(stage: Stage) -> None:
    """openai-python generates, edits, streams, lists models and raises its errors."""
    stage.provider.behave("moderation", prompt="refused")

    said = await stage.talk("talk", *stage.origins)

    painted, *variants = stage.digests(PROMPT)
    edited, edited_of_two = stage.digests("with a hat")
    assert said == {
        "generate": painted,
        "usage": 9,
        "again": [painted, "HIT"],
        "n": 3,
        "edit": edited,
        "edit_of_two": edited_of_two,
        "stream": ["image_generation.completed", stage.digests("a fox")[0]],
        "models": ["default", "gpt-image-1", "dall-e-3"],
        "model": "gpt-image-1",
        "errors": ERRORS,
    }
    assert len(variants) == 2
    files = [len(call.files) for call in stage.provider.calls if call.files]
    assert files == [1, 2]


async def test_the_javascript_clients_are_at_home(stage: Stage) -> None:
    """openai-node, the AI SDK and LangChain generate and edit the same pictures."""
    folder = await environments.node()
    stage.provider.behave("moderation", prompt="refused")

    said = json.loads(
        await environments.run("node", "talk.mjs", *stage.origins, cwd=folder)
    )

    painted = stage.digests(PROMPT)[0]
    edited, edited_of_two = stage.digests("with a hat")
    assert said["openai"] == {
        "generate": painted,
        "usage": 9,
        "edit": edited,
        "edit_of_two": edited_of_two,
        "stream": ["image_generation.completed", stage.digests("a fox")[0]],
        "models": ["default", "gpt-image-1", "dall-e-3"],
        "errors": [[*error, True] for error in ERRORS],
    }
    assert said["ai_sdk"] == {
        "openai": painted,
        "openai_n": 2,
        "compatible": painted,
        "openai_edit": edited,
        "compatible_edit": edited,
    }
    assert said["langchain"] == {"url": painted}


async def test_a_herd_of_clients_is_one_payment(stage: Stage) -> None:
    """Fifty equal requests of four kinds over two replicas are one call."""
    folder = await environments.node()
    stage.provider.behave("ok", prompt="a herd", delay_seconds=3.0)
    arguments = (*stage.origins, "a herd", str(REQUESTS))

    of_python, of_node = await asyncio.gather(
        stage.talk("herd", *arguments),
        environments.run("node", "herd.mjs", *arguments, cwd=folder),
    )

    seen = [*of_python, *json.loads(of_node)]
    assert len(seen) == 2 * REQUESTS
    assert set(seen) == set(stage.digests("a herd"))
    assert stage.provider.count("a herd") == 1


@pytest.mark.parametrize(
    ("behaviour", "calls", "said"),
    [
        # Certain: nothing was billed, so that a repetition may pay.
        ({"mode": "server_error", "times": 1}, 2, None),
        # Ambiguous: it may have been billed, and is not paid for again.
        ({"mode": "never"}, 1, ["InternalServerError", 504, "generation_timed_out"]),
        (
            {"mode": "reset_in_body"},
            *(1, ["InternalServerError", 502, "provider_failed"]),
        ),
        # Refused: it would be refused again.
        ({"mode": "moderation"}, 1, ["BadRequestError", 400, "moderation_blocked"]),
        # Billed: an answer without a picture is not asked for within seconds.
        ({"mode": "quota"}, 3, ["InternalServerError", 502, "provider_failed"]),
    ],
    ids=["fails once", "hangs", "is cut", "refuses", "has no quota"],
)
async def test_retries_pay_as_often_as_the_end_allows(
    stage: Stage, behaviour: dict[str, Any], calls: int, said: list[Any] | None
) -> None:
    """The SDK's default retries repeat only what was certainly not billed."""
    stage.provider.behave(prompt="asked again", **behaviour)

    printed = await stage.talk("retry", stage.origins[0], "asked again")

    assert stage.provider.count("asked again") == calls
    if said is None:
        assert printed == {"painted": stage.digests("asked again")[0]}
    else:
        assert printed == {"error": said}


async def test_a_client_that_was_killed_finds_its_picture(stage: Stage) -> None:
    """The painting of a killed client goes on, and the next request is a HIT."""
    stage.provider.behave("hold", prompt="left alone")
    process = await asyncio.create_subprocess_exec(
        *(stage.python, "front_talk.py", "retry", stage.origins[0], "left alone"),
        cwd=environments.HERE,
    )
    await stage.provider.until_held()
    process.kill()
    await process.wait()
    stage.provider.release()

    said = await stage.talk("retry", stage.origins[1], "left alone")

    assert said == {"painted": stage.digests("left alone")[0]}
    assert stage.provider.count("left alone") == 1


async def test_a_stream_passes_a_proxy_that_cuts_silence(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stream passes an nginx that cuts connections after 3 s without a byte."""
    impatient = tmp_path / "nginx.conf"
    text = re.sub(
        r"proxy_read_timeout \d+s", "proxy_read_timeout 3s", SHIPPED.read_text()
    )
    impatient.write_text(text)
    monkeypatch.setattr("tests.deploy.reverse_proxy.SHIPPED", impatient)
    # Within the model's deadline of 4 s, beyond the proxy's 3 s.
    stage.provider.behave("ok", prompt="a slow one", delay_seconds=3.7)
    ports = [one.port for one in stage.replicas]

    async with reverse_proxy(*ports) as proxy:
        said = await stage.talk("stream", proxy.url, "a slow one")

    assert said == {
        "painted": ["image_generation.completed", stage.digests("a slow one")[0]]
    }
