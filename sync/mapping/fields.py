"""Model fields for data that also lives in MongoDB."""

from typing import Any

from bson import ObjectId
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.expressions import Col, Func
from django.utils.deconstruct import deconstructible

from sync.mapping.extended_json import ExtendedJSONDecoder, ExtendedJSONEncoder, restore, to_extended_json
from sync.mapping.forms import DocumentFormField
from sync.mapping.limits import REFUSALS, check


def new_object_id() -> str:
    """A new ObjectId as 24 hex digits."""
    return str(ObjectId())


@deconstructible(path="sync.models.NewObjectId")
class NewObjectId(Func):
    """A new ObjectId made by the database, for `db_default`: seconds since 1970, then 64 bits of a UUID's digest.

    RANDOM_BYTES would be simpler, but MariaDB has it only since 10.10. On SQLite all 96 bits are random.
    """

    template = "LOWER(CONCAT(LPAD(HEX(UNIX_TIMESTAMP()), 8, '0'), LEFT(SHA2(UUID(), 256), 16)))"
    arity = 0
    output_field = models.CharField(max_length=24)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="LOWER(HEX(RANDOMBLOB(12)))", **context)


@deconstructible(path="sync.models.TextDefault")
class TextDefault(Func):
    """A constant text as the `db_default` of a text or document column: TextDefault("[]").

    A function call, because MySQL's ALTER TABLE refuses a plain constant for such columns (error 1101), even in
    parentheses.
    """

    function = "TRIM"
    output_field = models.TextField()

    def __init__(self, text: str) -> None:
        super().__init__(models.Value(text))


def class_name(field: models.Field) -> tuple[str, str]:
    """The name of the field's class in a fingerprint of a mapping: (module, name).

    The fields below keep the name of their first module. Another name would be another fingerprint, and every table
    would be delivered again after an upgrade.
    """
    kind = type(field)
    return "sync.fields" if kind.__module__ == __name__ else kind.__module__, kind.__qualname__


def _public(path: str) -> str:
    """A field's path in an application's migrations: `sync.models`, wherever the class is within sync."""
    return path.replace("sync.mapping.fields.", "sync.models.")


class ObjectIdField(models.CharField):
    """An ObjectId in MongoDB, its 24 lowercase hex digits in SQL. Made in Python, so it is known before the INSERT.

    With `db_default=NewObjectId()` other programs can omit it from their INSERT.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("default", new_object_id)
        kwargs["max_length"] = 24
        super().__init__(*args, **kwargs)
        self.validators = [*self.validators, RegexValidator(r"\A[0-9a-f]{24}\Z", "Enter 24 hexadecimal digits.")]

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_length"]
        if kwargs.get("default") is new_object_id:
            del kwargs["default"]
        return name, _public(path), args, kwargs

    def to_python(self, value: Any) -> Any:
        return None if value is None else str(value).lower()

    def get_prep_value(self, value: Any) -> Any:
        return self.to_python(super().get_prep_value(value))


class UnsignedBigIntegerField(models.PositiveBigIntegerField):
    """A whole number from 0 to 2**64 - 1, which a document holds as Decimal128: BSON's integers end at 2**63 - 1.

    A PositiveBigIntegerField is an int64 in documents, and rows with larger numbers become dead letters.
    """

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        return name, _public(path), args, kwargs


_ENCODER, _DECODER = ExtendedJSONEncoder(), ExtendedJSONDecoder()  # Django creates one for every value


class DocumentField(models.JSONField):
    """A BSON value (array, embedded document, ...) in one column, as Extended JSON.

    The column is text on every database, because MySQL's own JSON type sorts keys and would lose the document's order.
    Django's JSON lookups still work on it.

    If other programs insert rows without naming it, give it `db_default=TextDefault("{}")` beside its `default`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["encoder"] = ExtendedJSONEncoder
        kwargs["decoder"] = ExtendedJSONDecoder
        super().__init__(*args, **kwargs)

    @property
    def db_returning(self) -> bool:
        # Django reads each column with a `db_default` back after an INSERT. This one can be megabytes long, and
        # its INSERT already sends the Python default.
        return super().db_returning and not self.has_default()

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["encoder"], kwargs["decoder"]
        return name, _public(path), args, kwargs

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is None or hasattr(value, "as_sql"):
            return super().get_db_prep_value(value, connection, prepared)
        return _ENCODER.encode(value)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if isinstance(value, str) and isinstance(expression, Col):
            return _DECODER.decode(value)
        return super().from_db_value(value, expression, connection)

    def formfield(self, **kwargs: Any) -> Any:
        field = super().formfield(**({"form_class": DocumentFormField} | kwargs))
        if isinstance(field, DocumentFormField):
            field.empty_value = self.get_default()
        return field

    def value_to_string(self, obj: models.Model) -> Any:
        # Serializers put this into fixtures as data: dates and int64 must be restored with their types.
        return to_extended_json(self.value_from_object(obj))

    def to_python(self, value: Any) -> Any:
        return restore(value)

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        """Refuses what cannot be stored, with the reason."""
        models.Field.validate(self, value, model_instance)
        try:
            check(value, type(model_instance) if model_instance else None)
        except REFUSALS as error:
            raise ValidationError(str(error) or type(error).__name__) from error

    def db_type(self, connection: Any) -> str:
        return "longtext" if connection.vendor == "mysql" else "text"
