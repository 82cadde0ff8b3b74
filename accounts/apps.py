from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        from accounts import addresses, middleware, pictures  # noqa: F401  (connects their receivers)
