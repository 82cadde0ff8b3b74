"""Accounts, customers and transactions, as the data names them; each row has its equal document in MongoDB."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from finance import validators
from sync.core.humanize import counted
from sync.mapping.documents import INT32
from sync.mapping.reading import exact
from sync.models import (
    DocumentField,
    Mirror,
    MirroredManager,
    MirroredModel,
    MirroredQuerySet,
    NewObjectId,
    ObjectIdField,
    TextDefault,
)

VIEW_OWN = "finance.view_own"
VIEW_ALL = "finance.view_all"
VIEW_TOTALS = "finance.view_totals"
EDIT_RECORDS = "finance.edit_records"


class ExactManager(MirroredManager):
    """Reads rows exactly: one column that cannot be read stops neither its row nor the others. See sync/mapping."""

    def get_queryset(self) -> Any:
        return exact(super().get_queryset())


class RecordQuerySet(MirroredQuerySet):
    """Records, and who may see which of them. Their pages read them through `visible_to` alone."""

    def visible_to(self, user: Any) -> Any:
        """All for staff roles; for a customer those that belong to them; else none."""
        return self.all() if user.has_perm(VIEW_ALL) else self.belonging_to(user)

    def belonging_to(self, user: Any) -> Any:
        """The records of the customer who is logged in as `user`. None, until a model says which these are."""
        return self.none()


class Record(MirroredModel):
    """What all record types have in common: `_id` as in MongoDB, and a place for fields that the model does not have.

    What may be left out here may be left out by other programs too: each such column has a default in the database.
    """

    id = ObjectIdField(primary_key=True, db_column="_id", editable=False, db_default=NewObjectId())
    extra = DocumentField(
        default=dict,
        db_default=TextDefault("{}"),
        blank=True,
        editable=False,
        help_text=_("Fields that came with the document."),
    )

    objects: ClassVar[Any] = ExactManager.from_queryset(RecordQuerySet)()

    class Meta(MirroredModel.Meta):
        abstract = True

    def get_absolute_url(self) -> str:
        try:
            return reverse(f"finance:{self._meta.model_name}_detail", args=[self.pk])
        except NoReverseMatch:  # SQL has given it a key that is no ObjectId
            return reverse(f"finance:{self._meta.model_name}_list")


def customer_of(user: Any) -> Customer | None:
    """The customer record that staff linked to `user`. Asked for once per user object, whoever needs it."""
    return getattr(user, "customer", None)


class OfAccounts(RecordQuerySet):
    """Records that belong to an account, and by its number to customers."""

    def belonging_to(self, user: Any) -> OfAccounts:
        """Those of the account numbers in the customer record that staff linked to `user`."""
        customer = customer_of(user)
        return self.filter(account_id__in=customer.account_numbers) if customer else self.none()


class CustomerQuerySet(RecordQuerySet):
    def belonging_to(self, user: Any) -> CustomerQuerySet:
        """The one record that staff linked to `user`."""
        return self.filter(user_id=user.pk) if user.is_authenticated else self.none()


class Account(Record):
    """An account and the products held in it. `account_id` is no key: the data has one that occurs twice."""

    account_id = models.IntegerField(_("account number"), db_index=True)
    limit = models.IntegerField(_("limit"), db_index=True)
    products = DocumentField(
        _("products"), default=list, db_default=TextDefault("[]"), blank=True, validators=[validators.array_of_names],
        help_text=_("An array of names."),
    )  # fmt: skip

    mirror = Mirror("accounts", extra="extra")
    objects: ClassVar[Any] = ExactManager.from_queryset(OfAccounts)()

    class Meta(Record.Meta):
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        # Those of the portal's pages, which are about all record types; the admin has Django's own for each.
        permissions = [
            ("view_own", "Can see the records linked to them"),
            ("view_all", "Can see the records of all customers"),
            ("view_totals", "Can see totals over all customers"),
            ("edit_records", "Can edit records in the portal"),
        ]

    def __str__(self) -> str:
        return f"Account {self.account_id}"

    @property
    def product_names(self) -> list[Any]:
        """The products, where they are a list as they should be."""
        return self.products if isinstance(self.products, list) else []


class Customer(Record):
    """A customer, the numbers of their accounts, and their tiers with benefits, keyed by the tier's id."""

    username = models.CharField(_("username"), max_length=150, db_index=True)
    name = models.CharField(_("name"), max_length=200, db_index=True)
    address = models.TextField(_("address"), blank=True, default="", db_default=TextDefault(""))
    birthdate = models.DateTimeField(_("birthdate"))
    email = models.CharField(_("email"), max_length=254, blank=True, default="", db_default="", db_index=True)
    active = models.BooleanField(_("active"), null=True, blank=True)
    accounts = DocumentField(
        _("account numbers"), default=list, db_default=TextDefault("[]"), blank=True,
        validators=[validators.array_of_account_numbers], help_text=_("An array of account numbers."),
    )  # fmt: skip
    tier_and_details = DocumentField(
        _("tiers"), default=dict, db_default=TextDefault("{}"), blank=True, validators=[validators.tiers],
        help_text=_("Tiers by id: tier, benefits, active."),
    )  # fmt: skip
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), null=True, blank=True, on_delete=models.SET_NULL,
        related_name="customer",
        help_text=_("Who may see this record as their own. Set by staff only; never guessed from an email."),
    )  # fmt: skip

    mirror = Mirror("customers", exclude=("user",), extra="extra")
    objects: ClassVar[Any] = ExactManager.from_queryset(CustomerQuerySet)()

    class Meta(Record.Meta):
        verbose_name = _("customer")
        verbose_name_plural = _("customers")

    def __str__(self) -> str:
        return self.name

    @property
    def account_numbers(self) -> list[int]:
        """The account numbers that can be looked for, without whatever else SQL has put among them."""
        listed = self.accounts if isinstance(self.accounts, list) else []
        # As int itself: a range looks through all its numbers for one of another type, such as an Int64.
        numbers = [int(number) for number in listed if isinstance(number, int) and not isinstance(number, bool)]
        return [number for number in numbers if number in INT32]


class Transaction(Record):
    """A bucket of trades of one account. Prices and totals are text: they have up to 50 digits."""

    account_id = models.IntegerField(_("account number"))
    transaction_count = models.IntegerField(_("trades"))
    bucket_start_date = models.DateTimeField(_("from"), db_index=True)
    bucket_end_date = models.DateTimeField(_("until"), db_index=True)
    transactions = DocumentField(
        _("list of trades"), default=list, db_default=TextDefault("[]"), blank=True, validators=[validators.trades],
        help_text=_("An array of trades: date, amount, transaction_code, symbol, price, total."),
    )  # fmt: skip

    mirror = Mirror("transactions", extra="extra")
    objects: ClassVar[Any] = ExactManager.from_queryset(OfAccounts)()

    class Meta(Record.Meta):
        verbose_name = _("transactions")
        verbose_name_plural = _("transactions")
        # An account's newest buckets; and, by its first column, those of an account.
        indexes = [models.Index(fields=["account_id", "bucket_end_date"], name="finance_transaction_newest")]

    def __str__(self) -> str:
        count = self.transaction_count
        trades = counted(count, "trade", "trades") if isinstance(count, int) else f"{count} trades"
        return f"Transactions of account {self.account_id}, {trades}"


class ExactReports(models.Manager):
    def get_queryset(self) -> Any:
        return exact(super().get_queryset())


class CachedReport(models.Model):
    """What MongoDB has computed, as it was the last time: pages show this, whether or not MongoDB is there.

    finance.report_cache says who computes them and when.
    """

    key = models.CharField(primary_key=True, max_length=40)
    data = models.JSONField(null=True)
    as_of = models.DateTimeField(null=True, help_text="When the data was read.")
    due_at = models.DateTimeField(help_text="Nobody computes them before: fresh, a lease, or a pause after a failure.")
    claim = models.CharField(max_length=24, blank=True, help_text="Who is computing them.")
    error = models.CharField(max_length=255, blank=True, help_text="Why the last try failed.")
    asked_at = models.DateTimeField(help_text="Those that nobody asks for any more are removed.")

    objects: ClassVar[Any] = ExactReports()

    class Meta:
        verbose_name = _("figures")
        verbose_name_plural = _("figures")

    def __str__(self) -> str:
        return self.key
