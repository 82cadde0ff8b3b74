from django.apps import AppConfig
from django.core import checks
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class SyncConfig(AppConfig):
    name = "sync"
    verbose_name = "Mirror"

    def ready(self) -> None:
        from sync.checks.composed import check_composed_models
        from sync.checks.mirrored import check_database, check_models, check_settings
        from sync.checks.pulled import check_pulled_models, check_pulled_tables
        from sync.checks.routers import check_routers
        from sync.core.mysql import require_tls
        from sync.outbox.mapping_changes import plan_for_changed_mappings

        post_migrate.connect(plan_for_changed_mappings, sender=self)
        connection_created.connect(require_tls)
        checks.register(check_settings)
        checks.register(check_models, checks.Tags.models)
        checks.register(check_composed_models, checks.Tags.models)
        checks.register(check_pulled_models, checks.Tags.models)
        checks.register(check_routers, checks.Tags.models)
        checks.register(check_database, checks.Tags.database)
        checks.register(check_pulled_tables, checks.Tags.database)
