"""Every path of the service, once: routes, locations and copied addresses.

Templates are aiohttp's; the functions fill them.
"""

from __future__ import annotations

LIVE = "/api/v1/live/generate"
STATISTICS = "/api/v1/live/stats"
HISTORY = f"{STATISTICS}/history"
PURGE = "/api/v1/live/purge"
ENTRIES = "/api/v1/live/entries"
ENTRY = f"{ENTRIES}/{{prompt_hash}}"
REFRESH = f"{ENTRY}/refresh"
SCOPES = "/api/v1/live/scopes"
SCOPE = f"{SCOPES}/{{scope}}"
SCOPE_LIVE = "/live/{org}/{project}/{scope}"

GENERATION = "/api/v1/generations/{generation_id}"
GENERATION_EVENTS = f"{GENERATION}/events"

MODELS = "/api/v1/models"

IMAGES = "/api/v1/images"
IMAGE = f"{IMAGES}/{{image_id}}"
PERMALINK = f"{IMAGES}/{{org}}/{{project}}/{{category}}/{{filename}}"
NO_PERMALINK = f"{IMAGES}/{{storage_key:.*}}"

TRANSIENT_IMAGES = "/api/images"
TRANSIENT_DELETE = f"{TRANSIENT_IMAGES}/delete"
TRANSIENT = f"{TRANSIENT_IMAGES}/{{id}}"

OPENAI = "/v1"
OPENAI_GENERATIONS = f"{OPENAI}/images/generations"
OPENAI_EDITS = f"{OPENAI}/images/edits"
OPENAI_MODELS = f"{OPENAI}/models"
OPENAI_MODEL = f"{OPENAI_MODELS}/{{model}}"

KEYS = "/api/v1/keys"
KEY = f"{KEYS}/{{key_id}}"
SIGN = "/api/v1/sign"
PROJECT = "/api/v1/project"
SPEND = f"{PROJECT}/spend"

# Pictures, for scripts on pages of other origins.
READ_ACROSS_ORIGINS = frozenset({LIVE, SCOPE_LIVE, IMAGE, PERMALINK, TRANSIENT})

HEALTH = "/healthz"
READY = "/readyz"
METRICS = "/metrics"
OPENAPI = "/openapi.json"
DOCS = "/docs"
WEB_FILE = "/web/{file}"
PAGE = "/"


def is_live(path: str) -> bool:
    """Return whether *path* is one under which prompts become pictures."""
    return path == LIVE or path.startswith("/live/")


def is_openai(path: str) -> bool:
    """Return whether *path* is answered as OpenAI's API would be."""
    return path == OPENAI or path.startswith(f"{OPENAI}/")


def permalink(storage_key: object) -> str:
    """Return where the picture of a storage key is served."""
    return f"{IMAGES}/{storage_key}"


def generation(generation_id: str) -> str:
    """Return the path of a generation's record."""
    return f"/api/v1/generations/{generation_id}"


def transient(name: str) -> str:
    """Return where a transient image, with or without its extension, is served."""
    return f"{TRANSIENT_IMAGES}/{name}"
