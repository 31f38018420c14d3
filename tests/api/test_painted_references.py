"""A request may name the project's own painted pictures as references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.storage.storage_key import Project
from tests.access.service import running
from tests.fakes import a_picture

if TYPE_CHECKING:
    from app.generation.provider import PaintRequest, ProviderPicture
    from tests.access.service import Answer, Paintonce

GENERATE = "/api/v1/live/generate"
MAIN = Project("default", "main")


def noting(paintonce: Paintonce) -> list[PaintRequest]:
    """Return the list that collects the provider's requests."""
    requests: list[PaintRequest] = []
    provider = paintonce.world.provider
    paint = provider.paint

    async def note(request: PaintRequest, job: Any) -> ProviderPicture:
        requests.append(request)
        return await paint(request, job)

    provider.paint = note  # type: ignore[method-assign]
    return requests


async def painted(paintonce: Paintonce, prompt: str, *references: str) -> Answer:
    """Paint *prompt* with *references*."""
    named = {"references": list(references)} if references else {}
    return await paintonce.ask("POST", GENERATE, json={"prompt": prompt, **named})


async def lent(paintonce: Paintonce, data: bytes) -> str:
    """Upload a picture; return its id."""
    answer = await paintonce.ask(
        "POST", "/api/images", {"Content-Type": "image/png"}, data=data
    )
    return str(answer.json["id"])


async def test_a_chain_of_edits_is_cached_link_by_link() -> None:
    """Each step of a chain of edits is cached; a second run paints nothing."""
    async with running(requires_keys=False) as paintonce:
        requests = noting(paintonce)
        statuses = []
        for _ in range(2):
            first = await painted(paintonce, "a fox")
            second = await painted(paintonce, "with a hat", first.headers["X-Image-Id"])
            third = await painted(
                paintonce, "in the snow", second.headers["X-Image-Id"]
            )
            links = (first, second, third)
            statuses.append([link.headers["X-Cache-Status"] for link in links])

        assert statuses == [["MISS"] * 3, ["HIT"] * 3]
        assert [len(request.references) for request in requests] == [0, 1, 1]
        assert requests[1].references[0].data == first.body
        assert requests[2].references[0].data == second.body


async def test_painted_and_lent_pictures_are_mixed_in_order() -> None:
    """A painted and a lent picture with the same bytes make the same prompt."""
    async with running(requires_keys=False) as paintonce:
        requests = noting(paintonce)
        fox = await painted(paintonce, "a fox")
        hat = await lent(paintonce, a_picture(101))
        copy = await lent(paintonce, fox.body)

        one = await painted(paintonce, "both", hat, fox.headers["X-Image-Id"], hat)
        same = await painted(paintonce, "both", hat, copy, hat)
        other = await painted(paintonce, "both", fox.headers["X-Image-Id"], hat, hat)

        assert [answer.headers["X-Cache-Status"] for answer in (one, same, other)] == [
            "MISS",
            "HIT",
            "MISS",
        ]
        sent = [reference.data for reference in requests[1].references]
        assert sent == [a_picture(101), fox.body, a_picture(101)]


async def test_a_purged_or_foreign_picture_is_no_reference() -> None:
    """A purged or foreign picture as a reference is 400."""
    async with running(requires_keys=False) as paintonce:
        fox = await painted(paintonce, "a fox")
        image = fox.headers["X-Image-Id"]
        foreign = await paintonce.ask(
            "POST",
            GENERATE,
            {"X-Project": "acme/shop"},
            json={"prompt": "a fox with a hat", "references": [image]},
        )
        prompt_hash = fox.headers["X-Prompt-Hash"]
        await paintonce.ask("DELETE", f"/api/v1/live/entries/{prompt_hash}")
        purged = await painted(paintonce, "a fox with a hat", image)

        for answer in (foreign, purged):
            assert (answer.status, answer.json["parameter"]) == (400, "references")
