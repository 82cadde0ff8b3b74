from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        # Registers the checks and connects the receivers.
        from accounts import addresses, checks, middleware, pictures, uniqueness  # noqa: F401
