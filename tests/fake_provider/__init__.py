"""A provider in the OpenAI dialect that tests tell how to behave.

It runs on a test's own loop (`FakeProvider` and `serve`) or as a process of
its own (`python -m tests.fake_provider --port 0`), steered over HTTP:

- `POST /_behaviour` `{"mode": ..., "prompt"?: ..., more fields of Behaviour}`
- `GET /_calls` `{"prompts": {prompt: n}, "calls": [...]}` in the order of arrival
- `GET /_held?n=1`, `GET /_aborted?n=1`: answers once n calls stand at the
  barrier, or have been cut by their client; 408 after `timeout` seconds (10)
- `POST /_release` `{"prompt"?: ...}`: lets what stands at the barrier go on
- `POST /_reset`: forgets everything
"""

from tests.fake_provider.behaviour import Behaviour
from tests.fake_provider.provider import Call, FakeProvider
from tests.fake_provider.server import serve

__all__ = ["Behaviour", "Call", "FakeProvider", "serve"]
