"""Addresses of the financial pages. A record's is its `_id`."""

from django.urls import path, register_converter

from finance.models import Account, Customer, Transaction
from finance.views import customers, editing, management, records


class ObjectIdConverter:
    regex = "[0-9a-f]{24}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(ObjectIdConverter, "objectid")

app_name = "finance"
urlpatterns = [
    path("dashboard/customer/", customers.customer_dashboard, name="customer_dashboard"),
    path("dashboard/management/", management.totals_dashboard, name="totals_dashboard"),
    path("dashboard/management/<slug:chart>.csv", management.totals_chart, name="totals_chart"),
    path("finance/customers/<objectid:pk>/trades.csv", customers.customer_trades, name="customer_trades"),
    path("finance/customers/<objectid:pk>/<slug:chart>.csv", customers.customer_chart, name="customer_chart"),
    path("finance/accounts/", records.account_list, name="account_list"),
    path("finance/accounts/export.csv", records.account_export, name="account_export"),
    path("finance/accounts/add/", editing.create, {"model": Account}, name="account_create"),
    path("finance/accounts/<objectid:pk>/", records.account_detail, name="account_detail"),
    path("finance/accounts/<objectid:pk>/edit/", editing.edit, {"model": Account}, name="account_edit"),
    path("finance/accounts/<objectid:pk>/delete/", editing.delete, {"model": Account}, name="account_delete"),
    path("finance/customers/", records.customer_list, name="customer_list"),
    path("finance/customers/export.csv", records.customer_export, name="customer_export"),
    path("finance/customers/add/", editing.create, {"model": Customer}, name="customer_create"),
    path("finance/customers/<objectid:pk>/", records.customer_detail, name="customer_detail"),
    path("finance/customers/<objectid:pk>/edit/", editing.edit, {"model": Customer}, name="customer_edit"),
    path("finance/customers/<objectid:pk>/delete/", editing.delete, {"model": Customer}, name="customer_delete"),
    path("finance/transactions/", records.transaction_list, name="transaction_list"),
    path("finance/transactions/export.csv", records.transaction_export, name="transaction_export"),
    path("finance/transactions/add/", editing.create, {"model": Transaction}, name="transaction_create"),
    path("finance/transactions/<objectid:pk>/", records.transaction_detail, name="transaction_detail"),
    path("finance/transactions/<objectid:pk>/edit/", editing.edit, {"model": Transaction}, name="transaction_edit"),
    path(
        "finance/transactions/<objectid:pk>/delete/", editing.delete, {"model": Transaction}, name="transaction_delete"
    ),
]
