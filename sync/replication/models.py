"""How far the rows of pulled models follow their collections."""

from __future__ import annotations

from django.db import models

from sync.core.clock import DatabaseNow
from sync.mapping.fields import DocumentField


class PullState(models.Model):
    """How far the rows of one pulled model follow their collection, and who pulls them. See replicator.py."""

    model = models.CharField(primary_key=True, max_length=100)
    phase = models.CharField(max_length=10, default="documents")
    token = DocumentField(null=True, help_text="Of the change stream; kept in one transaction with the rows.")
    after = models.BinaryField(null=True, help_text="In a full pass: the last key written, as BSON.")
    dropped = models.BooleanField(default=False)
    history = DocumentField(
        null=True, help_text="Of which server and collection the token is; sync.mongodb.change_stream.History."
    )
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
