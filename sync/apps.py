from django.apps import AppConfig
from django.core import checks
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class SyncConfig(AppConfig):
    name = "sync"
    verbose_name = "Mirror"

    def ready(self) -> None:
        from sync.checks import check_database, check_models, check_settings
        from sync.evolution import plan_for_changed_mappings
        from sync.mysql import require_tls
        from sync.pulled_checks import check_pulled_models, check_pulled_tables

        post_migrate.connect(plan_for_changed_mappings, sender=self)
        connection_created.connect(require_tls)
        checks.register(check_settings)
        checks.register(check_models, checks.Tags.models)
        checks.register(check_pulled_models, checks.Tags.models)
        checks.register(check_database, checks.Tags.database)
        checks.register(check_pulled_tables, checks.Tags.database)
