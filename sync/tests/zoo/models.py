"""Models for the engine's tests: relations, inheritance, keys and types that the portal's own models do not have."""

from typing import Any

from django.db import models

from sync.mapping.embeds import Ids, Many, One
from sync.mapping.fields import DocumentField, ObjectIdField, UnsignedBigIntegerField
from sync.outbox.mirrored import Embedded, Mirror, MirroredModel
from sync.replication.pulled import PulledModel, Source


class Keeper(MirroredModel):
    id = ObjectIdField(primary_key=True)
    name = models.CharField(max_length=50)

    mirror = Mirror("zoo_keepers")


class Tag(MirroredModel):
    """The database generates its key."""

    name = models.CharField(max_length=50, db_default="new")

    mirror = Mirror("zoo_tags")


class Animal(MirroredModel):
    """Has a cascading, a nullable and a many-to-many relation."""

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
    """One column of each type."""

    id = models.UUIDField(primary_key=True)
    text = models.TextField(blank=True)
    small = models.SmallIntegerField(null=True)
    integer = models.IntegerField(null=True)
    big = models.BigIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    positive_big = models.PositiveBigIntegerField(null=True)
    unsigned = UnsignedBigIntegerField(null=True)
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
    """Pulled from MongoDB, with a numeric key and a unique badge."""

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


def _of_type(kind: type[models.Field], mysql: str, mariadb: str = "", **options: Any) -> Any:
    """A nullable field on a MySQL column type that Django would not choose; SQLite gets the default type."""

    def db_type(self: Any, connection: Any) -> Any:
        if connection.vendor != "mysql":
            return kind.db_type(self, connection)
        return mariadb or mysql if connection.mysql_is_mariadb else mysql

    made = type(kind.__name__, (kind,), {"db_type": db_type, "deconstruct": kind.deconstruct})
    return made(null=True, **options)


class Legacy(MirroredModel):
    """Columns as other programs create them, with the fields that `inspectdb` or a developer would choose."""

    id = ObjectIdField(primary_key=True)
    tiny = _of_type(models.IntegerField, "tinyint")
    tiny_unsigned = _of_type(models.PositiveSmallIntegerField, "tinyint unsigned")
    flag = _of_type(models.BooleanField, "tinyint(1)")
    flag_bit = _of_type(models.BooleanField, "bit(1)")
    small = _of_type(models.SmallIntegerField, "smallint")
    medium = _of_type(models.IntegerField, "mediumint")
    whole = _of_type(models.IntegerField, "int")
    whole_unsigned = _of_type(models.PositiveIntegerField, "int unsigned")
    narrow = _of_type(models.IntegerField, "bigint")  # a column that has outgrown its field
    big = _of_type(models.BigIntegerField, "bigint")
    big_unsigned = _of_type(models.PositiveBigIntegerField, "bigint unsigned")
    exact = _of_type(models.DecimalField, "decimal(65,30)", max_digits=34, decimal_places=30)
    price = _of_type(models.DecimalField, "decimal(12,4)", max_digits=12, decimal_places=4)
    price_double = _of_type(models.DecimalField, "double", max_digits=12, decimal_places=4)
    single = _of_type(models.FloatField, "float")
    double = _of_type(models.FloatField, "double")
    bits = _of_type(models.TextField, "bit(8)")
    day = _of_type(models.DateField, "date")
    day_of_moment = _of_type(models.DateField, "datetime(6)")
    moment = _of_type(models.DateTimeField, "datetime(6)")
    moment_whole = _of_type(models.DateTimeField, "datetime")
    moment_of_day = _of_type(models.DateTimeField, "date")
    stamp = _of_type(models.DateTimeField, "timestamp(6)")
    clock = _of_type(models.TimeField, "time(6)")
    span = _of_type(models.DurationField, "bigint")
    year = _of_type(models.IntegerField, "year")
    fixed = _of_type(models.CharField, "char(10)", max_length=10)
    latin = _of_type(models.CharField, "varchar(50) character set latin1", max_length=50)
    text = _of_type(models.TextField, "mediumtext")
    text_binary = _of_type(models.TextField, "blob")
    choice = _of_type(models.CharField, "enum('a','b')", max_length=1)
    several = _of_type(models.CharField, "set('a','b','c')", max_length=5)
    text_of_number = _of_type(models.CharField, "int", max_length=11)
    raw = _of_type(models.BinaryField, "varbinary(20)")
    raw_fixed = _of_type(models.BinaryField, "binary(4)")
    code = _of_type(models.UUIDField, "char(36)", "char(36)")
    native = _of_type(models.UUIDField, "char(32)", "uuid")
    address = _of_type(models.GenericIPAddressField, "char(39)", "inet6")
    data = _of_type(models.JSONField, "json", "longtext")
    data_text = _of_type(models.JSONField, "longtext")
    document = _of_type(DocumentField, "longtext")

    mirror = Mirror("zoo_legacy")


class Order(MirroredModel):
    """A model with a new field whose value documents had in `extra` before."""

    id = ObjectIdField(primary_key=True)
    currency = models.CharField(max_length=3, default="USD")
    total = models.IntegerField(null=True)
    opens = models.TimeField(null=True)
    notes = models.JSONField(null=True)
    extra = DocumentField(default=dict, blank=True)

    mirror = Mirror("zoo_orders", extra="extra")


class Town(Embedded):
    name = models.CharField(max_length=50)
    people = models.IntegerField(default=0)


class Badge(Embedded):
    name = models.CharField(max_length=50)


class Shelter(MirroredModel):
    """Its documents are composed of several tables."""

    id = ObjectIdField(primary_key=True)
    name = models.CharField(max_length=50)
    town = models.ForeignKey(Town, null=True, on_delete=models.SET_NULL)
    badges = models.ManyToManyField(Badge)

    mirror = Mirror(
        "zoo_shelters",
        embed=(
            Many(
                "pen_set",
                "pens",
                fields=("pk", "name", "built"),
                order_by=("name",),
                limit=10,
                embed=(
                    Many("guest_set", "guests", fields=("name",), order_by=("-arrived",), limit=2, truncate=True),
                    One("plan", "plan", fields=("text",)),
                ),
            ),
            One("town", "town", fields=("name",)),
            Many("badges", "badges", fields=("name",), order_by=("-name",)),
            Ids("badges", "badge_ids"),
        ),
    )


class Pen(Embedded):
    shelter = models.ForeignKey(Shelter, on_delete=models.CASCADE)
    name = models.CharField(max_length=50)
    built = models.DateTimeField(null=True)


class Plan(Embedded):
    pen = models.OneToOneField(Pen, on_delete=models.CASCADE)
    text = models.TextField()


class Guest(Embedded):
    pen = models.ForeignKey(Pen, null=True, on_delete=models.SET_NULL)
    name = models.CharField(max_length=50)
    arrived = models.IntegerField(default=0)


class Vet(Embedded):
    name = models.CharField(max_length=50)


class Clinic(MirroredModel):
    """It embeds a many-to-many relation whose table is a model of its own."""

    id = ObjectIdField(primary_key=True)
    name = models.CharField(max_length=50)
    vets = models.ManyToManyField(Vet, through="Shift")

    mirror = Mirror(
        "zoo_clinics",
        targets=("", "zoo_clinic_pages"),
        embed=(Many("vets", "vets", fields=("name",), order_by=("name",)), Ids("vets", "vet_ids")),
        embed_in=("zoo_clinic_pages",),
    )


class Shift(Embedded):
    clinic = models.ForeignKey(Clinic, on_delete=models.CASCADE)
    vet = models.ForeignKey(Vet, on_delete=models.CASCADE)
    hours = models.IntegerField(default=1)
