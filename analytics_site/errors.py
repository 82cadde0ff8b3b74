"""What error reports (the page with details, an email to ADMINS) omit: secrets, whatever their names."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

PASSWORD = re.compile(r"(?<=://)([^/@\s]*):[^/\s]*@")  # of an address: user:password@host
SECRET = re.compile("API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|WEBHOOK|HTTP_COOKIE|^code$", re.IGNORECASE)


class SecretsFilter(SafeExceptionReporterFilter):
    """Django's filter, which goes by names such as PASSWORD; also hides passwords in addresses and in posted forms.

    Django trusts views to declare which of their fields are secret, and shows all of them while DEBUG is on.
    """

    hidden_settings = SECRET

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        return PASSWORD.sub(r"\1:***@", cleansed) if isinstance(cleansed, str) else cleansed

    def get_post_parameters(self, request: HttpRequest | None) -> Any:
        return self._without_secrets(super().get_post_parameters(request))

    def get_cleansed_multivaluedict(self, request: HttpRequest, multivaluedict: Any) -> Any:
        return self._without_secrets(super().get_cleansed_multivaluedict(request, multivaluedict))

    def _without_secrets(self, posted: Any) -> Any:
        secret = [name for name in posted if isinstance(name, str) and SECRET.search(name)]
        if not secret:
            return posted
        posted = posted.copy()
        for name in secret:
            posted[name] = self.cleansed_substitute
        return posted
