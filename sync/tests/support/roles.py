"""MongoDB's roles as the documentation has them."""

import json
import re
from typing import Any

from django.conf import settings

ROLE = re.compile(r"```js\ndb\.adminCommand\((.*?)\)\n```", re.DOTALL)


def documented() -> dict[str, dict[str, Any]]:
    """The roles in the documentation's code blocks by name, as arguments of createRole."""
    pages = [
        settings.BASE_DIR / name for name in ("docs/how-to/production.md", "docs/how-to/copy.md", "docs/how-to/pull.md")
    ]
    found = [json.loads(block) for page in pages for block in ROLE.findall(page.read_text())]
    return {role["createRole"]: role for role in found}
