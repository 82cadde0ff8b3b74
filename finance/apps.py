from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class FinanceConfig(AppConfig):
    name = "finance"
    verbose_name = _("Finance")

    def ready(self) -> None:
        from finance.models import Customer
        from finance.searching import keep_words
        from sync.signals import rows_changed

        rows_changed.connect(keep_words, sender=Customer, dispatch_uid="finance.searching")
