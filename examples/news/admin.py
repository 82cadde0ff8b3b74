"""Stories in the admin: a list with filters and search."""

from __future__ import annotations

import datetime

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from audit.admin import Audited
from examples.news.models import Story
from sync.web.admin import ReadsExactly


@admin.register(Story)
class StoryAdmin(ReadsExactly, Audited):
    list_display = ("title", "status", "media", "diggs", "comments", "submitted_at")
    list_filter = ("status", "media")
    search_fields = ("title", "description", "=story_id", "=key")
    readonly_fields = ("key",)
    ordering = ("-submit_date",)
    list_per_page = 50
    show_full_result_count = False

    @admin.display(description=_("submitted"), ordering="submit_date")
    def submitted_at(self, story: Story) -> datetime.datetime | None:
        return story.submitted_at
