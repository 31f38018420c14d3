"""A provider that speaks five vendors' dialects and behaves as tests set it.

It runs on a test's own loop (`FakeProvider` and `serve`) or as a process of
its own (`python -m tests.fake_provider --port 0`), steered over HTTP:

- `POST /_behaviour` `{"mode": ..., "prompt"?, "dialect"?, more of Behaviour}`
- `GET /_calls` `{"prompts": {prompt: n}, "calls": [...]}` in the order of arrival
- `GET /_jobs`: the jobs of vendors that paint in the background
- `GET /_held?n=1`, `/_aborted?n=1`, `/_cancelled?n=1`: answers once n calls or
  jobs wait at the barrier, or have been cut by their client, or cancelled; 408
  after `timeout` seconds (10)
- `POST /_release` `{"prompt"?: ...}`: releases what waits at the barrier
- `POST /_reset`: forgets everything

A model whose id has a mode in it (`fake/moderation`) is answered in that mode.
"""

from tests.fake_provider.behaviour import Behaviour
from tests.fake_provider.provider import FakeProvider
from tests.fake_provider.records import Call, Job
from tests.fake_provider.server import serve

__all__ = ["Behaviour", "Call", "FakeProvider", "Job", "serve"]
