from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        from accounts import checks, middleware, pictures  # noqa: F401  (registers the checks, connects the receivers)
