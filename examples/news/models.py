"""Stories, as MongoDB's sample data has them, published to Kafka and consumed into three replicas."""

from __future__ import annotations

import datetime
from typing import Any, Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from sync.models import DocumentField, Mirror, MirroredModel, NewObjectId, ObjectIdField, TextDefault

REPLICAS = ("stories_1", "stories_2", "stories_3")


class Story(MirroredModel):
    """A story, who submitted it and how it was received. `_id` is ours; `id` is its number at the site it came from."""

    key = ObjectIdField(primary_key=True, db_column="_id", editable=False, db_default=NewObjectId())
    href = models.URLField(max_length=500)
    title = models.CharField(max_length=500)
    comments = models.IntegerField(default=0, db_default=0)
    container = DocumentField(default=dict, db_default=TextDefault("{}"), blank=True)
    submit_date = models.IntegerField(_("submitted"), help_text=_("Seconds since 1970, UTC."))
    topic = DocumentField(default=dict, db_default=TextDefault("{}"), blank=True)
    promote_date = models.IntegerField(_("promoted"), null=True, blank=True, help_text=_("Seconds since 1970, UTC."))
    # Django keeps the name `id` for keys, so the document's `id` has another one here.
    story_id = models.CharField(_("id"), max_length=20, db_column="id", db_index=True)
    media = models.CharField(max_length=20, db_index=True)
    diggs = models.IntegerField(default=0, db_default=0)
    description = models.TextField(blank=True, default="", db_default=TextDefault(""))
    link = models.URLField(max_length=1000)
    user = DocumentField(default=dict, db_default=TextDefault("{}"), blank=True)
    status = models.CharField(max_length=20, db_index=True)
    shorturl = DocumentField(default=list, db_default=TextDefault("[]"), blank=True)

    mirror = Mirror("stories", targets=("", "kafka:story-events"))

    class Meta(MirroredModel.Meta):
        verbose_name = _("story")
        verbose_name_plural = _("stories")

    def __str__(self) -> str:
        return self.title

    @property
    def submitted_at(self) -> datetime.datetime | None:
        """The moment of its submission, in UTC; None where the number is no such moment."""
        try:
            return datetime.datetime.fromtimestamp(self.submit_date, datetime.UTC)
        except (TypeError, ValueError, OverflowError, OSError):
            return None

    def to_document(self) -> dict[str, Any]:
        return {"id" if name == "story_id" else name: value for name, value in super().to_document().items()}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        return super().from_document({"story_id" if name == "id" else name: document[name] for name in document})
