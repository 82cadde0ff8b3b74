"""The portal's wiring: operators' actions, which sync reports, are recorded in the audit log."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.http import HttpRequest


class PortalConfig(AppConfig):
    name = "analytics_site"

    def ready(self) -> None:
        from audit.models import register_acts
        from sync.signals import ACTS, operator_acted

        register_acts(ACTS)
        operator_acted.connect(keep_act)


def keep_act(
    sender: Any, request: HttpRequest, act: str, model: str, key: str = "", text: str = "",
    before: dict[str, Any] | None = None, after: dict[str, Any] | None = None, **_: Any,
) -> None:  # fmt: skip
    from audit.log import Object, record

    record(request, act, Object(model, key, text), before, after)
