"""Where follow-binlog and pull go on becomes the state of a checkpoint. Safe to run again after an interruption."""

from typing import Any

from bson import Binary
from django.db import migrations

PHASES = {"documents": "snapshot", "extras": "prune", "following": "streaming"}


def move(apps: Any, schema_editor: Any) -> None:
    using = schema_editor.connection.alias
    checkpoints = apps.get_model("sync", "Checkpoint").objects.using(using)
    for row in apps.get_model("sync", "BinlogPosition").objects.using(using).filter(name="binlog"):
        names = ("file", "offset", "gtids", "server", "part", "followed", "unplanned", "prepared")
        state = {name: getattr(row, name) for name in names}
        checkpoints.get_or_create(name="follow-binlog", defaults={"state": state, "seen_at": row.saved_at})
    for row in apps.get_model("sync", "PullState").objects.using(using):
        state = {
            "phase": PHASES[row.phase], "token": row.token, "dropped": row.dropped, "history": row.history,
            "after": Binary(bytes(row.after)) if row.after else None, "mapping": row.mapping,
        }  # fmt: skip
        seen = {"in_sync_at": row.equal_at, "seen_at": row.equal_at}
        checkpoints.get_or_create(name=f"pull:{row.model}", defaults={"state": state, **seen})


class Migration(migrations.Migration):

    dependencies = [
        ('sync', '0006_checkpoint'),
    ]

    operations = [
        migrations.RunPython(move, migrations.RunPython.noop),
    ]
