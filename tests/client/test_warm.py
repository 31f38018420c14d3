"""`python -m app warm` against a real replica, run as a command."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from app.client import Paintonce, Picture
from app.commands.failed import Failed
from app.commands.prompt_file import PromptFile
from app.commands.warm import warm
from tests.access.service import running
from tests.client.scripted_service import cut, refusal, scripted
from tests.replica import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.scripted_service import Step
    from tests.replica import Replica

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Ended:
    """The status and output of a finished run."""

    status: int
    out: str
    error: str

    @property
    def summary(self) -> dict[str, Any]:
        """The one line on standard output."""
        (line,) = self.out.splitlines()
        summary: dict[str, Any] = json.loads(line)
        assert summary.pop("seconds") > 0
        return summary


async def started(file: Path, url: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start `warm` of *file*."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "warm", str(file), "--url", url, *arguments),
        cwd=file.parent,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """Wait for the end of the process."""
    async with asyncio.timeout(60):
        out, error = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), error.decode())


def not_painted(fault: Step) -> Step:
    """Return a step that has no painted prompt and answers all else with *fault*."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD" and fault is not cut:
            return web.Response(status=404, headers={"X-Cache-Status": "MISS"})
        return await fault(request)

    return answer


async def within(
    capsys: pytest.CaptureFixture[str],
    file: Path,
    url: str,
    project: str | None = None,
    concurrency: int = 4,
) -> Ended:
    """Run `warm` in this process, to its end."""
    status = await warm(file, project, url, concurrency)
    said = capsys.readouterr()
    return Ended(status, said.out, said.err)


async def test_a_second_run_finds_what_the_first_one_painted(
    service: Replica, project: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run of the same file finds only hits and pays nothing."""
    file = tmp_path / "prompts.txt"
    file.write_text(
        "a red fox\n"
        "\n"
        '{"prompt": "a red fox", "seed": 0}\r\n'
        "  Zürich & 雪 \n"
        '{"prompt": "an oyster", "model": "dear", "width": 320, "height": 200}'
    )

    first = await within(capsys, file, service.url, project)
    second = await within(capsys, file, service.url, project, concurrency=1)

    assert first.status == 0, first.error
    assert first.summary == {"hits": 0, "misses": 4, "failures": 0, "spend": 2.8}
    assert "warm: 100%" in first.error
    assert (second.status, second.summary) == (
        0,
        {"hits": 4, "misses": 0, "failures": 0, "spend": 0.0},
    )
    async with Paintonce(service.url, project=project) as client:
        assert {entry["prompt"] async for entry in client.entries()} == {
            *("a red fox", "Zürich & 雪", "an oyster")
        }


async def test_the_spend_is_this_runs_own(
    service: Replica,
    paintonce: Paintonce,
    project: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run's spend leaves out what others paint in the project meanwhile."""
    file = tmp_path / "prompts.txt"
    prompts = [f"owl {number}" for number in range(12)]
    file.write_text("\n".join(prompts))

    async def others() -> int:
        outcomes = [o async for o in paintonce.generate_many(reversed(prompts))]
        assert all(isinstance(outcome, Picture) for outcome in outcomes)
        return sum(o.status == "MISS" for o in outcomes if isinstance(o, Picture))

    ours, theirs = await asyncio.gather(
        within(capsys, file, service.url, project), others()
    )

    summary = ours.summary
    assert summary["misses"] + theirs == len(prompts)
    assert summary["hits"] == theirs
    assert summary["spend"] == pytest.approx(0.1 * summary["misses"], abs=1e-12)


async def test_bad_lines_are_named_and_the_others_painted(
    service: Replica, project: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad lines are printed with number and code, and good ones are painted."""
    file = tmp_path / "prompts.txt"
    file.write_bytes(
        b"\xef\xbb\xbfa hare\n"
        b'{"prompt": "a hare", "seed": -1}\n'
        b'{"prompt": "a hare"\n'
        b'{"aspect_ratio": "16:9"}\n'
        b'{"prompt": "a hare", "colour": "blue"}\n'
        b"z\xfcrich\n"
        b"a bell \x07\n"
        b'{"prompt": "a hare", "variant": 1}\n'
    )

    run = await within(capsys, file, service.url, project)

    assert run.status == 1
    assert run.summary == {"hits": 0, "misses": 2, "failures": 6, "spend": 0.2}
    assert re.findall("line ([0-9]): ([a-z_]+): ", run.error) == [
        ("2", "invalid_parameter"),
        ("3", "malformed_request"),
        ("4", "invalid_parameter"),
        ("5", "invalid_parameter"),
        ("6", "invalid_parameter"),
        ("7", "invalid_parameter"),
    ]


async def test_a_pipe_is_read_as_it_comes(
    service: Replica, project: str, tmp_path: Path
) -> None:
    """A line of a pipe is painted before the next one is written."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = await started(pipe, service.url, "--project", project)
    writer = await asyncio.to_thread(pipe.open, "w")
    with writer:
        for number in range(2):
            print(f"a swift {number}", file=writer, flush=True)
            async with Paintonce(service.url, project=project) as client:
                while not await client.is_painted(f"a swift {number}"):  # noqa: ASYNC110 - another process's doing
                    await asyncio.sleep(0.05)

    run = await ended(process)

    assert (run.status, run.summary["misses"]) == (0, 2)


async def test_a_file_of_any_length_takes_little_memory(tmp_path: Path) -> None:
    """A file is read line by line and never held whole in memory."""
    file = tmp_path / "prompts.txt"
    text = "".join(f"a fox in a forest, number {n}" + "\n" for n in range(30_000))
    file.write_text(text)
    prompts, read = PromptFile(file), 0

    tracemalloc.start()
    try:
        assert prompts.count() == 30_000
        async for _ in prompts.lines():
            read += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == 30_000
    assert peak < len(text) / 2


async def test_a_line_that_fails_is_named_and_the_others_are_painted(
    service: Replica, project: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused line is printed, the others are painted, and the status is 1."""
    file = tmp_path / "prompts.txt"
    file.write_text(
        '{"prompt": "a storm", "model": "refuses"}\n'
        "a calm\n"
        '{"prompt": "a storm", "model": "unknown", "on_error": "image"}\n'
    )

    run = await within(capsys, file, service.url, project)

    assert run.status == 1
    assert run.summary == {"hits": 0, "misses": 1, "failures": 2, "spend": 0.1}
    assert "line 1: prompt_rejected: " in run.error
    assert "line 3: invalid_parameter: " in run.error


async def test_ctrl_c_prints_what_was_done(
    service: Replica, project: str, tmp_path: Path
) -> None:
    """Ctrl-C ends the run with status 130 and the summary so far."""
    file = tmp_path / "prompts.txt"
    file.write_text('a finch\n{"prompt": "a snail", "model": "slower"}\na heron\n')
    process = await started(
        file, service.url, "--project", project, "--concurrency", "1"
    )
    assert process.stderr is not None
    # The first picture is counted at once, and the time goes on with the second.
    goes_on = re.compile(r"1/3 \[00:0[1-9]<")
    async with asyncio.timeout(30):
        seen = ""
        while not goes_on.search(seen):
            more = await process.stderr.read(1024)
            assert more, seen
            seen += more.decode()
    process.send_signal(signal.SIGINT)

    run = await ended(process)

    assert run.status == 130
    assert run.summary == {"hits": 0, "misses": 1, "failures": 0, "spend": 0.1}
    assert "Traceback" not in run.error


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (cut, "unreachable"),
        (refusal(401, "unauthenticated"), "unauthenticated"),
        (refusal(403, "forbidden"), "forbidden"),
        (refusal(503, "generation_disabled", Retry_After="60"), "generation_disabled"),
        (refusal(429, "budget_exhausted", Retry_After="60"), "budget_exhausted"),
    ],
)
async def test_an_error_that_concerns_every_line_ends_the_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: Step,
    code: str,
) -> None:
    """A failure that would hit every line ends the run at once."""
    monkeypatch.setattr("app.client.FIRST_PAUSE_SECONDS", 0.001)
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(f"fox {number}" for number in range(100)))

    async with scripted(not_painted(fault)) as service, asyncio.timeout(30):
        run = await within(capsys, file, service.url, concurrency=2)

    assert run.status == 1
    assert run.summary == {"hits": 0, "misses": 0, "failures": 2, "spend": 0.0}
    assert f"line 1: {code}" in run.error
    assert "98 lines were not tried" in run.error
    assert [asked for asked in service.asked if "POST" in asked] == []


async def test_the_key_is_taken_from_the_environment(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run sends `PAINTONCE_API_KEY` and the project."""
    monkeypatch.setenv("PAINTONCE_API_KEY", "a-key")
    file = tmp_path / "prompts.txt"
    file.write_text("a red fox")

    async with scripted(refusal(401)) as service:
        await within(capsys, file, service.url, "acme/shop")

    assert service.headers[0]["X-API-Key"] == "a-key"
    assert service.headers[0]["X-Project"] == "acme/shop"


@pytest.mark.parametrize(
    ("file", "project", "url", "said"),
    [
        ("missing.txt", None, "http://127.0.0.1:1", "missing.txt: No such file"),
        ("prompts.txt", "Shop", "http://127.0.0.1:1", "org/project"),
        ("prompts.txt", None, "pictures.example", "--url"),
    ],
)
async def test_a_wrong_command_is_one_sentence(
    tmp_path: Path, file: str, project: str | None, url: str, said: str
) -> None:
    """A wrong argument ends the run with one sentence and no request."""
    (tmp_path / "prompts.txt").write_text("a red fox")

    with pytest.raises(Failed, match=said):
        await warm(tmp_path / file, project, url, 4)


@pytest.mark.parametrize(
    ("project", "code"), [(None, "unauthenticated"), ("acme/other", "forbidden")]
)
async def test_a_refused_key_is_named_by_its_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    project: str | None,
    code: str,
) -> None:
    """A wrong key, or one of another project, ends the run with the code of it."""
    file = tmp_path / "prompts.txt"
    file.write_text("a red fox\na barn owl")

    async with running() as service:
        own = (await service.key(role="project"))["key"]
        monkeypatch.setenv("PAINTONCE_API_KEY", own if project else "wrong")
        url = f"http://127.0.0.1:{service.port}"
        run = await within(capsys, file, url, project, concurrency=1)

    assert run.status == 1
    assert f"line 1: {code}: " in run.error
    assert "1 lines were not tried" in run.error
