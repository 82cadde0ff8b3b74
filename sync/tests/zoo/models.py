"""Models for the engine's tests: relations, inheritance, keys and types that the portal's own models do not have."""

from django.db import models

from sync.fields import DocumentField, ObjectIdField
from sync.models import Mirror, MirroredModel
from sync.pulled import PulledModel, Source


class Keeper(MirroredModel):
    id = ObjectIdField(primary_key=True)
    name = models.CharField(max_length=50)

    mirror = Mirror("zoo_keepers")


class Tag(MirroredModel):
    """A key that the database makes."""

    name = models.CharField(max_length=50, db_default="new")

    mirror = Mirror("zoo_tags")


class Animal(MirroredModel):
    """Deleted with its keeper; loses its vet; tagged."""

    id = ObjectIdField(primary_key=True)
    name = models.CharField(max_length=50, unique=True)
    keeper = models.ForeignKey(Keeper, on_delete=models.CASCADE)
    vet = models.ForeignKey(Keeper, null=True, on_delete=models.SET_NULL, related_name="patients")
    tags = models.ManyToManyField(Tag)

    mirror = Mirror("zoo_animals")


class Bird(Animal):
    """Multi-table inheritance: two rows, two documents."""

    span = models.IntegerField(default=0)

    mirror = Mirror("zoo_birds")


class HeadKeeper(Keeper):
    class Meta:
        proxy = True


class Typed(MirroredModel):
    """One column of each kind."""

    id = models.UUIDField(primary_key=True)
    text = models.TextField(blank=True)
    small = models.SmallIntegerField(null=True)
    integer = models.IntegerField(null=True)
    big = models.BigIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    positive_big = models.PositiveBigIntegerField(null=True)
    flag = models.BooleanField(null=True)
    number = models.FloatField(null=True)
    amount = models.DecimalField(null=True, max_digits=34, decimal_places=17)
    moment = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    time = models.TimeField(null=True)
    duration = models.DurationField(null=True)
    uuid = models.UUIDField(null=True)
    binary = models.BinaryField(null=True)
    address = models.GenericIPAddressField(null=True)
    json = models.JSONField(null=True)
    document = DocumentField(null=True)

    mirror = Mirror("zoo_typed")


class Visit(PulledModel):
    """Pulled from MongoDB; a number that is a key, and a badge that no two visits share."""

    id = models.BigIntegerField(primary_key=True)
    badge = models.CharField(max_length=20, unique=True)
    minutes = models.IntegerField(null=True)
    notes = DocumentField(null=True)
    ticket_kind = models.CharField(max_length=10, db_default="day")
    extra = DocumentField(default=dict, blank=True)

    source = Source("zoo_visits", exclude=("ticket_kind",), extra="extra")


class Ticket(models.Model):
    """An ordinary row that points to a pulled one."""

    visit = models.ForeignKey(Visit, on_delete=models.PROTECT)
