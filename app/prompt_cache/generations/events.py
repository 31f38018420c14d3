"""Events of a generation: its state whenever it changes, on any replica.

What is heard is that a record was written; the record is read anew, so that an
event that was lost costs a moment and no state.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import CacheUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from app.prompt_cache.generations.generations import Generations
    from app.prompt_cache.generations.record import GenerationRecord
    from app.storage.ports.prompt_index import Completion, CompletionEvents
    from app.storage.storage_key import Project

# Where an event is lost.
LOOK_EVERY_SECONDS = 2.0
COMMENT_EVERY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class GenerationEvents:
    """Follows generations that any replica leads."""

    generations: Generations
    completions: CompletionEvents

    async def follow(
        self,
        project: Project,
        generation_id: str,
        *,
        seen: str | None,
        until: asyncio.Event,
    ) -> AsyncGenerator[GenerationRecord | None]:
        """Yield the record as it changes, until it has ended or is not there.

        *seen* is the `event_id` that the caller had last; None is yielded where
        nothing has happened for a while. When *until* is set the record is
        yielded once more, and that is all: it goes on elsewhere.
        """
        clock = asyncio.get_running_loop().time
        silent_since = clock()
        with self.completions.expect(generation_id) as completion:
            while True:
                record: GenerationRecord | None = None
                with suppress(CacheUnavailable):
                    record = await self.generations.find(project, generation_id)
                    if record is None:
                        return
                is_last = until.is_set()
                if record is not None and (record.event_id != seen or is_last):
                    seen, silent_since = record.event_id, clock()
                    yield record
                elif clock() - silent_since >= COMMENT_EVERY_SECONDS:
                    silent_since = clock()
                    yield None
                if is_last or (record is not None and record.has_ended):
                    return
                await _either(completion, until)


async def _either(completion: Completion, until: asyncio.Event) -> None:
    waiting = [
        asyncio.create_task(completion.wait(LOOK_EVERY_SECONDS)),
        asyncio.create_task(until.wait()),
    ]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
