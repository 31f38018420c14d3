"""Log records and metrics for operators, in the words of the domain.

No label and no field ever holds a prompt, a key, a signature or picture bytes.
"""

from app.telemetry.log_lines import REQUEST_ID
from app.telemetry.logs import configure_logging
from app.telemetry.metrics import Metrics

__all__ = ["REQUEST_ID", "Metrics", "configure_logging"]
