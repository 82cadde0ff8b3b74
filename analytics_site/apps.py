"""The portal's wiring: the audit log records what operators do in sync, and staff hear of registrations."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.http import HttpRequest


class PortalConfig(AppConfig):
    name = "analytics_site"

    def ready(self) -> None:
        from allauth.account.signals import user_signed_up

        from analytics_site import arrivals, linking, telemetry
        from audit.models import register_acts
        from sync.signals import ACTS, operator_acted

        telemetry.report_errors()
        register_acts(ACTS)
        register_acts(linking.ACTS)
        operator_acted.connect(keep_act)
        user_signed_up.connect(arrivals.announce)


def keep_act(
    sender: Any, request: HttpRequest, act: str, model: str, key: str = "", text: str = "",
    before: dict[str, Any] | None = None, after: dict[str, Any] | None = None, **_: Any,
) -> None:  # fmt: skip
    from audit.log import Object, record

    record(request, act, Object(model, key, text), before, after)
