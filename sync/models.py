"""What an application uses: `MirroredModel`, the base class of whatever shall be equal in MongoDB."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from sync import capture, mapping, reading
from sync.clock import DatabaseNow
from sync.compare import FieldDifference
from sync.fields import DocumentField, NewObjectId, new_object_id


@dataclass(frozen=True)
class Mirror:
    """Where and how a model is mirrored.

    collection: its name in the database that MONGODB_URI names.
    targets: where rows are delivered to; empty for that collection, "other" for another in the same database,
        "alias:other" for one in a database of SYNC_TARGETS, "kafka:" or "kafka:topic" to be published. Each is
        delivered on its own; the mirror's own collection inline, the others by relays.
    exclude: names of fields that stay in SQL only.
    extra: name of a DocumentField that holds what a document has beyond the model's own fields.
    version: raise it when an own `to_document` makes other documents than before: all are then written anew.
    capture: False where the application records nothing, and `sync follow-binlog` everything.
    """

    collection: str
    targets: tuple[str, ...] = ("",)
    exclude: tuple[str, ...] = ()
    extra: str | None = None
    version: int = 1
    capture: bool = field(default=True, repr=False)  # no part of the mapping, whose fingerprint is the others' repr


class MirroredModel(models.Model):
    """A model whose every committed row has an equal document in MongoDB.

    Declare `mirror = Mirror("collection")` and inherit `Meta`. Saving and deleting record, in the row's own
    transaction, that the key has to be delivered; delivery follows the commit.
    """

    mirror: ClassVar[Mirror]
    objects: ClassVar[Any] = capture.MirroredManager()
    # What sync.reading found: by field name why a column cannot be read, and fields that hold JSON's null.
    unreadable: Mapping[str, str] = reading.NOTHING
    json_nulls: Collection[str] = ()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def _save_table(
        self, raw: bool = False, cls: Any = None, force_insert: Any = False, force_update: bool = False,
        using: Any = None, update_fields: Any = None,
    ) -> bool:  # fmt: skip
        # save(), create() and loaddata (which passes by save()) all come through here, once for each table.
        unread = reading.unreadable(self) if self.unreadable else {}
        if still := [name for name in unread if update_fields is None or name in update_fields]:
            raise ValueError(f"{', '.join(still)} could not be read; set a value before saving this row.")
        with transaction.atomic(using, savepoint=False):
            saved = super()._save_table(raw, cls, force_insert, force_update, using, update_fields)  # type: ignore[misc]
            # In multi-table inheritance a parent's row is saved before the child knows its key.
            table = cls or type(self)
            capture.record(table, [getattr(self, table._meta.pk.attname)], using)
        return saved

    def to_document(self) -> dict[str, Any]:
        """This row's document. Override it together with `from_document` for another shape."""
        return mapping.to_document(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The unsaved row for a document; raises mapping.MappingError with the reason when there is none."""
        return mapping.from_document(cls, document)  # type: ignore[return-value]


def in_hand() -> models.Q:
    """Changes that somebody holds: a relay delivers them, or they were written inline and are to be confirmed."""
    return ~models.Q(claim="") & models.Q(due_at__gt=DatabaseNow())


class ChangeQuerySet(models.QuerySet):
    def undelivered(self) -> ChangeQuerySet:
        """Those whose documents MongoDB does not have yet, as far as this is known: settling deletes it has."""
        return self.filter(settling=False).exclude(in_hand(), failed=False)


class Change(models.Model):
    """A key that has to be looked at again: no payload, whoever delivers it reads the row as it is then.

    A change without a write is harmless; a write without a change is the bug. It is removed when delivered: what
    is here is what MongoDB may not have yet.
    """

    # Made by the client, so that the ids of a bulk are known on MySQL too. Never a cursor: ids become visible
    # out of order. A program that inserts a change by SQL names `model` and `key` only.
    id = models.CharField(primary_key=True, max_length=24, default=new_object_id, db_default=NewObjectId())
    model = models.CharField(max_length=200, help_text="Its label, and target: finance.account@eu:accounts.")
    lane = models.CharField(
        max_length=50, blank=True, default="", db_default="", help_text="The alias of the target's server."
    )
    key = models.CharField(max_length=255, help_text="The row's primary key, as text.")
    until = models.CharField(
        max_length=255,
        blank=True,
        db_default="",
        help_text="Backfill: all rows after `key` up to this one, instead of one row.",
    )
    recorded_at = models.DateTimeField(default=DatabaseNow, db_default=DatabaseNow())
    due_at = models.DateTimeField(
        db_default=DatabaseNow(), help_text="Nobody else claims it before: a lease, a retry's delay, a settling time."
    )
    claim = models.CharField(max_length=24, blank=True, default="", db_default="", help_text="Who holds the lease.")
    # What most changes have is the table's default: recording them is a part of every save.
    settling = models.BooleanField(db_default=False, help_text="A delete, to be delivered once more.")
    attempts = models.PositiveSmallIntegerField(db_default=0)
    error = models.TextField(blank=True, db_default="", help_text="Why the last try failed.")
    failed = models.BooleanField(db_default=False, help_text="Parked: no further try until somebody asks for it.")

    objects = ChangeQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["lane", "failed", "due_at"], name="sync_change_due"),
            models.Index(fields=["model", "key"], name="sync_change_key"),
        ]
        permissions = [
            ("view_console", "Can see the state of the mirror"),
            ("view_record", "Can see a row beside its document"),
            ("operate", "Can retry, discard, pause, verify, repair and backfill"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.key}"


class ModelState(models.Model):
    """What is known of one target: the mapping its documents were written with, and whether it is paused."""

    model = models.CharField(primary_key=True, max_length=200)
    mapping = models.CharField(max_length=64, blank=True, help_text="Fingerprint of the mapping last backfilled.")
    paused = models.BooleanField(default=False)
    delivered_at = models.DateTimeField(null=True, help_text="When a heartbeat has last told of a delivery.")

    def __str__(self) -> str:
        return self.model


class Worker(models.Model):
    """A process that delivers: a relay, or a web process with inline delivery. Gone when its heartbeat stops."""

    id = models.CharField(primary_key=True, max_length=24, default=new_object_id)
    kind = models.CharField(max_length=20)
    host = models.CharField(max_length=100)
    pid = models.PositiveIntegerField()
    lane = models.CharField(max_length=50, blank=True, help_text="The alias of the server that it delivers to.")
    started_at = models.DateTimeField(default=DatabaseNow)
    heartbeat_at = models.DateTimeField(db_index=True)
    delivered = models.BigIntegerField(default=0, help_text="Keys, since it started.")
    rate = models.FloatField(default=0, help_text="Keys a second, over the last interval.")
    lags = models.JSONField(default=dict, help_text="From commit to delivery, as stats.Lags counts them.")
    note = models.CharField(max_length=255, blank=True, help_text="What it is waiting for.")

    def __str__(self) -> str:
        return f"{self.kind} {self.pid} on {self.host}"


class Verification(models.Model):
    """One run of verify over one model, kept for the status page; unfinished ones can be resumed."""

    model = models.CharField(max_length=200, db_index=True)
    mode = models.CharField(max_length=10, choices=[("full", "full"), ("sampled", "sampled"), ("strict", "strict")])
    started_at = models.DateTimeField(default=DatabaseNow)
    finished_at = models.DateTimeField(null=True)
    position = models.TextField(blank=True, help_text="Where to go on after an interruption; empty: at the start.")
    error = models.TextField(blank=True, db_default="", help_text="Why it ended before it was finished.")
    compared = models.BigIntegerField(default=0)
    pending = models.BigIntegerField(default=0)
    found = models.BigIntegerField(default=0, help_text="Differences, without those that it has repaired.")

    def __str__(self) -> str:
        return f"{self.model}, {self.mode}, {self.started_at:%Y-%m-%d %H:%M}"

    def found_differences(self) -> models.QuerySet[Difference]:
        """What this run has found and not repaired, in order of the key, as long as no later run knows better."""
        found = Difference.objects.using(self._state.db).filter(model=self.model, last_seen__gte=self.started_at)
        return found.order_by("key")

    @property
    def differences(self) -> list[Difference]:
        """All of them, in memory."""
        return list(self.found_differences())


class Difference(models.Model):
    """A key whose document was not equal to its row when verify last looked; removed when it is found equal."""

    model = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    kind = models.CharField(max_length=20)
    fields = models.JSONField(default=list, help_text="What differs, as compare.FieldDifference has it: no values.")
    first_seen = models.DateTimeField(default=DatabaseNow)
    last_seen = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "key"], name="sync_difference_key")]

    def __str__(self) -> str:
        fields = ", ".join(str(FieldDifference(**data)) for data in self.fields)
        return f"{self.model} {self.key}: {self.kind}" + (f" ({fields})" if fields else "")


class BinlogPosition(models.Model):
    """How far `sync follow-binlog` has come. One row, written in the transactions that record what it has read."""

    name = models.CharField(primary_key=True, max_length=20)
    server = models.CharField(max_length=100, help_text="Whose log `file` is of.")
    file = models.CharField(max_length=255)
    offset = models.BigIntegerField()
    gtids = models.TextField(blank=True, help_text="The transactions read; empty where the server has no GTIDs.")
    part = models.JSONField(default=list, help_text="Of the next transaction, the last [model, key] recorded.")
    followed = models.JSONField(default=list, help_text="The models followed up to here.")
    unplanned = models.JSONField(
        default=dict, help_text="Models that need a backfill; true: and a look at the documents whose rows are gone."
    )
    prepared = models.JSONField(default=dict, help_text="By XA transaction prepared and not yet committed: its keys.")
    event_at = models.DateTimeField(null=True, help_text="When the last transaction read was committed.")
    saved_at = models.DateTimeField(default=DatabaseNow)

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


class KafkaPosition(models.Model):
    """How far `sync consume --format debezium` has come in one partition, and of which topic of which cluster.

    Written in the transactions that record what was read.
    """

    group = models.CharField(max_length=255, help_text="The consumer group.")
    topic = models.CharField(max_length=249)
    partition = models.PositiveIntegerField()
    cluster = models.CharField(max_length=100, help_text="The cluster's id.")
    topic_id = models.CharField(max_length=50, help_text="Another topic of the same name has another one.")
    offset = models.BigIntegerField(help_text="The next message to read.")
    read_at = models.DateTimeField(null=True, help_text="When all there was had last been read, or reading began.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "topic", "partition"], name="sync_kafka_position")]

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition} at {self.offset}"


class Sweep(models.Model):
    """A look to be taken at the documents of a model, for those whose rows went without a word (TRUNCATE)."""

    model = models.CharField(max_length=200)
    due_at = models.DateTimeField()
    after = models.TextField(blank=True, help_text="The last _id looked at, in Extended JSON.")

    def __str__(self) -> str:
        return f"{self.model} after {self.after or 'nothing'}"


class PullState(models.Model):
    """How far the rows of one pulled model follow their collection, and who pulls them. See sync/following.py."""

    model = models.CharField(primary_key=True, max_length=100)
    phase = models.CharField(max_length=10, default="documents")
    token = DocumentField(null=True, help_text="Of the change stream; kept in one transaction with the rows.")
    after = models.BinaryField(null=True, help_text="In a full pass: the last key written, as BSON.")
    dropped = models.BooleanField(default=False)
    history = DocumentField(null=True, help_text="Of which server and collection the token is; sync.feed.History.")
    mapping = models.CharField(max_length=64, blank=True, help_text="Fingerprint of the mapping of the rows.")
    owner = models.CharField(max_length=24, blank=True, help_text="The puller that holds the lease.")
    owner_name = models.CharField(max_length=120, blank=True, help_text="What a person calls it.")
    leased_until = models.DateTimeField(default=DatabaseNow)
    equal_at = models.DateTimeField(null=True, help_text="When the rows last had all that had changed until then.")

    def __str__(self) -> str:
        return self.model


class ParkedDocument(models.Model):
    """A document that its model cannot hold, as it is now. Its row stays as it was, if there is one.

    Gone when the document changes to something that fits, or is deleted; tried again from time to time.
    """

    id = models.CharField(primary_key=True, max_length=64, help_text="SHA-256 of model and _id.")
    model = models.CharField(max_length=100, db_index=True)
    key = models.CharField(max_length=255, help_text="The document's _id, in words.")
    document_key = models.BinaryField(help_text='BSON of {"_id": ...}.')
    reason = models.TextField()
    parked_at = models.DateTimeField(default=DatabaseNow)
    tried_at = models.DateTimeField(default=DatabaseNow, db_index=True)

    def __str__(self) -> str:
        return f"{self.model} {self.key}: {self.reason}"


class Errand(models.Model):
    """Long work that somebody has asked for on a page; a relay's process does it, and tells how far it is."""

    class Kind(models.TextChoices):
        VERIFY = "verify", _("Verify")
        REPAIR = "repair", _("Repair")
        BACKFILL = "backfill", _("Backfill")

    model = models.CharField(max_length=200, db_index=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    prune = models.BooleanField(default=False, help_text="Repair: delete documents that have no row.")
    unfinished = models.CharField(  # noqa: DJ001 (NULL is not unique, which is the point)
        max_length=200, null=True, unique=True, help_text="Its model, until it ends: one errand at a time."
    )
    asked_by = models.CharField(max_length=150)
    asked_at = models.DateTimeField(default=DatabaseNow)
    due_at = models.DateTimeField(default=DatabaseNow, help_text="Nobody takes it before: a lease, or a delay.")
    claim = models.CharField(max_length=24, blank=True, help_text="Who holds the lease.")
    steps = models.BigIntegerField(null=True, help_text="Rows and documents, or ranges, about; null: not begun.")
    done = models.BigIntegerField(default=0, help_text="Of the steps.")
    found = models.BigIntegerField(default=0, help_text="Differences that are left.")
    repaired = models.BigIntegerField(default=0)
    note = models.CharField(max_length=255, blank=True, help_text="What it waits for, or why it ended.")
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.kind} {self.model}"


class Sample(models.Model):
    """The mirror's figures at one moment, for charts. Taken by relays, one for each slot of time."""

    slot = models.BigIntegerField(primary_key=True, help_text="Seconds since 1970 by samples.EVERY.")
    pending = models.BigIntegerField(null=True)
    oldest_age = models.FloatField(null=True, help_text="Seconds; null: nothing is pending.")
    rate = models.FloatField(null=True, help_text="Keys a second; null: nobody lives.")
    p50 = models.FloatField(null=True, help_text="Seconds from commit to delivery; null: nothing was delivered.")
    p99 = models.FloatField(null=True)

    def __str__(self) -> str:
        return str(self.slot)
