from django.apps import AppConfig, apps
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

# Sections of the admin whose own names say "Accounts", which here are a customer's, or "MFA".
PARTS = {"account": _("email addresses"), "auth": _("groups"), "mfa": _("second factors")}


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Users and logins")

    def ready(self) -> None:
        # Registers the checks and connects the receivers.
        from accounts import addresses, checks, middleware, passkeys, pictures, uniqueness  # noqa: F401

        for label, part in PARTS.items():
            apps.get_app_config(label).verbose_name = format_lazy("{}: {}", self.verbose_name, part)
