"""What an application uses to mirror its models, and sync's own tables for Django."""

from sync.binlog.models import Sweep
from sync.jobs.models import Job
from sync.kafka.models import KafkaPosition
from sync.mapping.embeds import Ids, Many, One
from sync.mapping.fields import DocumentField, NewObjectId, ObjectIdField, TextDefault, UnsignedBigIntegerField
from sync.monitoring.models import Incident, Notification, Sample, SampleSummary
from sync.outbox.capture import MirroredManager, MirroredQuerySet
from sync.outbox.mirrored import Embedded, Mirror, MirroredModel
from sync.outbox.models import Change
from sync.replication.models import DeadLetter
from sync.replication.pulled import PulledModel, Source
from sync.verification.models import Mismatch, Verification
from sync.workers.models import Checkpoint, ModelState, Worker

PUBLIC = (
    Mirror, MirroredModel, MirroredManager, MirroredQuerySet, Embedded, Many, One, Ids, PulledModel, Source,
    DocumentField, NewObjectId, ObjectIdField, TextDefault, UnsignedBigIntegerField,
)  # fmt: skip
TABLES = (
    Change, Checkpoint, Mismatch, Job, Incident, KafkaPosition, ModelState, Notification, DeadLetter, Sample,
    SampleSummary, Sweep, Verification, Worker,
)  # fmt: skip
