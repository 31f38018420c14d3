"""Random clients, and the history of their requests.

The choices come from a seed. Their interleaving does not, so a seed repeats the kind of
run, not the run.
"""

from __future__ import annotations

import asyncio
import csv
import time
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

import aiohttp

from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.storage.storage_key import Project
from tests.fake_provider.pictures import mark_of
from tests.faults.clients import LIVE, RudeClient
from tests.faults.history import Asked, History, Op
from tests.faults.place import PROJECT
from tests.replica import ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from random import Random

    from tests.faults.place import Place
    from tests.replica import Replica

ENTRIES = "/api/v1/live/entries"
PROMPTS = ROOT / "tests/data/prompts.tsv"
RECENT = 12
PAINTING_SECONDS = 0.8


def prompts() -> Iterator[str]:
    """Yield new prompts in realistic words."""
    with PROMPTS.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        words = [row[0] for row in rows if row and not row[0].startswith("#")][1:]
    take = 0
    while True:
        take += 1
        yield from (f"{text[:3900]} (take {take})" for text in words)


@dataclass
class Turmoil:
    """Clients of the live replicas; events are recorded in *history*."""

    place: Place
    history: History
    # Numbered for ever: a replica that is started again is another one.
    alive: dict[int, Replica] = field(default_factory=dict)
    _unpainted: Iterator[str] = field(default_factory=prompts)
    _kept: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))
    _replaced: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))
    _welcomed: list[Replica] = field(default_factory=list)

    def welcome(self, replica: Replica) -> None:
        """Send clients to *replica* as well."""
        self._welcomed.append(replica)
        self.alive[len(self._welcomed)] = replica

    def pick(self, random: Random) -> int:
        """Return the number of a live replica."""
        return random.choice(sorted(self.alive))

    async def client(self, random: Random, stops_at: float) -> None:
        """Send random requests until a moment of the monotonic clock."""
        acts: list[tuple[int, Callable[[Random], Awaitable[None]]]] = [
            (20, self._herd),
            (50, self._get),
            (8, self._head),
            (6, self._reset),
            (4, self._refresh),
            (4, self._purge),
        ]
        weights, does = zip(*acts, strict=True)
        while time.monotonic() < stops_at:
            await random.choices(does, weights)[0](random)
            await asyncio.sleep(random.uniform(0.0, 0.1))

    async def ask(
        self, op: Op, prompt: str, number: int, *, method: str = "GET", path: str = ""
    ) -> None:
        """Send one request to a replica, and record its result."""
        # It may have been killed since it was picked: then the connection fails.
        url = self._welcomed[number - 1].url + (path or LIVE)
        query = {} if path else {"prompt": prompt, "model": model_of(prompt)}
        began = time.time()
        status, code, digest, flaw = None, "", "", ""
        try:
            async with self.place.clients.session.request(
                method, url, params=query
            ) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError) as error:
            code = type(error).__name__
        else:
            if op is Op.GET and status == 200:
                digest = sha256(body).hexdigest()
                flaw = _flaw_of(prompt, answer, body, digest)
            elif status >= 400 and body:
                code = (await answer.json())["code"]
                if status == 500:
                    flaw = "an internal error"
        self.history.asked.append(
            Asked(
                op=op,
                prompt=prompt,
                replica=number,
                began=began,
                ended=time.time(),
                status=status,
                code=code,
                digest=digest,
                flaw=flaw,
            )
        )

    def _prompt(self, random: Random) -> str:
        """Pick a new or a recent prompt; a third of them may be replaced."""
        share = random.choice((self._kept, self._kept, self._replaced))
        if not share or random.random() < 0.25:
            share.append(next(self._unpainted))
            return share[-1]
        return random.choice(share)

    async def _get(self, random: Random) -> None:
        await self.ask(Op.GET, self._prompt(random), self.pick(random))

    async def _herd(self, random: Random) -> None:
        prompt = self._prompt(random)
        herd = [self.pick(random) for _ in range(random.randint(4, 10))]
        await asyncio.gather(*(self.ask(Op.GET, prompt, number) for number in herd))

    async def _head(self, random: Random) -> None:
        await self.ask(Op.HEAD, self._prompt(random), self.pick(random), method="HEAD")

    async def _refresh(self, random: Random) -> None:
        await self._replace(random, Op.REFRESH, "POST", "/refresh")

    async def _purge(self, random: Random) -> None:
        await self._replace(random, Op.PURGE, "DELETE", "")

    async def _replace(self, random: Random, op: Op, method: str, suffix: str) -> None:
        if self._replaced:
            prompt = random.choice(self._replaced)
            await self.ask(
                op,
                prompt,
                self.pick(random),
                method=method,
                path=f"{ENTRIES}/{hash_of(prompt)}{suffix}",
            )

    async def _reset(self, random: Random) -> None:
        prompt, number = self._prompt(random), self.pick(random)
        began = time.time()
        try:
            client = await RudeClient.ask(
                prompt, self.alive[number], model=model_of(prompt)
            )
        except OSError:
            return
        await asyncio.sleep(random.uniform(0.0, PAINTING_SECONDS))
        client.reset()
        self.history.asked.append(
            Asked(
                op=Op.RESET,
                prompt=prompt,
                replica=number,
                began=began,
                ended=time.time(),
                status=None,
            )
        )


def hash_of(prompt: str) -> str:
    """Return the hash of a prompt."""
    org, _, name = PROJECT.partition("/")
    return PromptKey(Project(org, name), Parameters(prompt, model_of(prompt))).hash


def model_of(prompt: str) -> str:
    """Return the alias that paints a prompt: one with jobs, or one without."""
    return ("default", "jobs")[sha256(prompt.encode()).digest()[0] % 2]


def _flaw_of(
    prompt: str, answer: aiohttp.ClientResponse, body: bytes, digest: str
) -> str:
    """Return the defect of a 200 itself, or "" if it has none."""
    if answer.headers.get("Content-Length") != str(len(body)):
        return "not of the length that was said"
    if answer.headers.get("ETag") != f'"{digest}"':
        return "not of the digest that was said"
    if mark_of(body)[1] != sha256(prompt.encode()).hexdigest():
        return "another prompt's picture"
    return ""
