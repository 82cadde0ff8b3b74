"""URLs of the financial pages. A record's URL has its `_id`."""

from collections.abc import Callable

from django.http import HttpResponseBase
from django.urls import path, register_converter

from finance.record_types import RECORD_TYPES
from finance.views import customers, editing, management, records, saved_views, trades


class ObjectIdConverter:
    regex = "[0-9a-f]{24}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(ObjectIdConverter, "objectid")

# For each record type: a page's URL below that of the list, and its view.
PAGES: dict[str, tuple[str, Callable[..., HttpResponseBase]]] = {
    "list": ("", records.record_list),
    "export": ("export.csv", records.record_export),
    "create": ("add/", editing.create),
    "detail": ("<objectid:pk>/", records.record_detail),
    "edit": ("<objectid:pk>/edit/", editing.edit),
    "delete": ("<objectid:pk>/delete/", editing.delete),
}

app_name = "finance"
urlpatterns = [
    path("dashboard/customer/", customers.customer_dashboard, name="customer_dashboard"),
    path("dashboard/management/", management.totals_dashboard, name="totals_dashboard"),
    path("dashboard/management/trades/", management.totals_trades, name="totals_trades"),
    path("dashboard/management/trades/export.csv", management.totals_trades_export, name="totals_trades_export"),
    path("dashboard/management/views/save/", saved_views.save, name="save_view"),
    path("dashboard/management/views/<int:pk>/remove/", saved_views.remove, name="remove_view"),
    path("dashboard/management/<slug:chart>.csv", management.totals_chart, name="totals_chart"),
    path("finance/trades/", trades.own_trades, name="own_trades"),
    path("finance/customers/<objectid:pk>/trades.csv", trades.customer_trades, name="customer_trades"),
    path("finance/customers/<objectid:pk>/<slug:chart>.csv", customers.customer_chart, name="customer_chart"),
    *(
        path(f"finance/{kind.slug}/{address}", view, {"kind": kind}, name=f"{kind.name}_{page}")
        for kind in RECORD_TYPES
        for page, (address, view) in PAGES.items()
    ),
]
