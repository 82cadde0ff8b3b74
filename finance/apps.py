from django.apps import AppConfig


class FinanceConfig(AppConfig):
    name = "finance"
    verbose_name = "Financial data"

    def ready(self) -> None:
        from finance.models import Customer
        from finance.searching import keep_words
        from sync.signals import rows_changed

        rows_changed.connect(keep_words, sender=Customer, dispatch_uid="finance.searching")
