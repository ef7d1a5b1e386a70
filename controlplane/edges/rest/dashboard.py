"""The page for people: pools, replicas and Envoys at a glance, in a browser and from the API alone.

It is one file of HTML that loads nothing from anywhere else. It asks the API every two seconds,
with the token that whoever looks at it gives, which stays in that tab.
"""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).with_name("dashboard.html").read_text(encoding="utf-8")

_SCRIPT: Final = PAGE.partition("<script>")[2].partition("</script>")[0]

POLICY: Final = (
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none';"
    " base-uri 'none'; form-action 'none';"
    f" script-src 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'"
)
"""For the header ``Content-Security-Policy``: no script runs but the one that is in the page."""
