"""Helpers for the tests of users and logins."""

from __future__ import annotations

import re
import time
from typing import Any

from allauth.mfa import app_settings
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.test import Client


def code_of(secret: str) -> str:
    """The authenticator's code. The portal accepts it for another period of 30 seconds (MFA_TOTP_TOLERANCE)."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // app_settings.TOTP_PERIOD))


INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*(\ssrc=|application/json))", re.I)


PHISHING = "You won 1000 pounds: www.evil.example"


def register(address: str, username: str = "evil.example_prize", requested_role: str = "", **more: Any) -> None:
    Client(HTTP_USER_AGENT=PHISHING).post(
        "/register/",
        {"first_name": PHISHING, "last_name": PHISHING, "username": username, "email": address,
         "requested_role": requested_role, "password1": "another-horse-8", "password2": "another-horse-8"},
        **more,
    )  # fmt: skip
