"""A passkey in the database, for tests of its pages."""

import json
from typing import Any

from allauth.mfa.models import Authenticator

from tests.servers import ROOT


def passkey_of(user: Any) -> Authenticator:
    """A passkey named Laptop, as a browser made it. Its device is gone, so nobody can sign in with it."""
    data = json.loads((ROOT / "tests" / "passkey.json").read_text())
    return Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data=data)
