"""Accounts, customers and transactions, named as in the data. Each row is mirrored to MongoDB."""

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
    """Reads rows exactly: a column that cannot be read affects neither its row nor other rows. See sync/mapping."""

    def get_queryset(self) -> Any:
        return exact(super().get_queryset())


class RecordQuerySet(MirroredQuerySet):
    """Records, and who may see which of them. Pages read records through `visible_to` only."""

    def visible_to(self, user: Any) -> Any:
        """All records for staff roles, the customer's own for a customer, and none for anyone else."""
        return self.all() if user.has_perm(VIEW_ALL) else self.belonging_to(user)

    def belonging_to(self, user: Any) -> Any:
        """The records of the customer who is logged in as `user`. None, unless a model overrides it."""
        return self.none()


class Record(MirroredModel):
    """What all record types share: `_id` as in MongoDB, and a field for what the model does not have.

    Every column that Django can fill in also has a database default, so that other programs can omit it.
    """

    id = ObjectIdField(primary_key=True, db_column="_id", editable=False, db_default=NewObjectId())
    extra = DocumentField(
        default=dict,
        db_default=TextDefault("{}"),
        blank=True,
        editable=False,
        help_text=_("Further fields of the document."),
    )

    objects: ClassVar[Any] = ExactManager.from_queryset(RecordQuerySet)()

    class Meta(MirroredModel.Meta):
        abstract = True

    def get_absolute_url(self) -> str:
        try:
            return reverse(f"finance:{self._meta.model_name}_detail", args=[self.pk])
        except NoReverseMatch:  # SQL has given it a key that is not an ObjectId
            return reverse(f"finance:{self._meta.model_name}_list")


def customer_of(user: Any) -> Customer | None:
    """The customer record that staff linked to `user`. Queried once per user object."""
    return getattr(user, "customer", None)


class OfAccounts(RecordQuerySet):
    """Records that belong to an account, and by its number to customers."""

    def belonging_to(self, user: Any) -> OfAccounts:
        """Those with an account number of the customer record that staff linked to `user`."""
        customer = customer_of(user)
        return self.filter(account_id__in=customer.account_numbers) if customer else self.none()


class CustomerQuerySet(RecordQuerySet):
    def belonging_to(self, user: Any) -> CustomerQuerySet:
        """The one record that staff linked to `user`."""
        return self.filter(user_id=user.pk) if user.is_authenticated else self.none()


class Account(Record):
    """An account and the products held in it. `account_id` is not a key: the data has one that occurs twice."""

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
        # For the portal's pages, which cover all record types; the admin has Django's own for each model.
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
        """The products, if they are a list as they should be."""
        return self.products if isinstance(self.products, list) else []


class Customer(Record):
    """A customer, their account numbers, and their tiers with benefits by tier id."""

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
        help_text=_("The user who sees this record as their own. Set by staff, never guessed from an email."),
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
        """The account numbers that can be searched for, without other values that SQL may have stored among them."""
        listed = self.accounts if isinstance(self.accounts, list) else []
        # Plain int: `in range` searches linearly for a number of another type, such as Int64.
        numbers = [int(number) for number in listed if isinstance(number, int) and not isinstance(number, bool)]
        return [number for number in numbers if number in INT32]


class CustomerWord(models.Model):
    """A word by which a customer is found. finance.searching writes and reads these rows.

    Other programs may delete customers, so no constraint keeps them from it: words without a customer find nothing.
    """

    customer = models.ForeignKey(Customer, on_delete=models.DO_NOTHING, db_constraint=False, related_name="words")
    word = models.CharField(max_length=64)

    class Meta:
        verbose_name = _("search word")
        verbose_name_plural = _("search words")
        indexes = [models.Index(fields=["word", "customer"], name="finance_customerword_word")]

    def __str__(self) -> str:
        return self.word


class Transaction(Record):
    """A bucket of trades of one account. Prices and totals are text, because they have up to 50 digits."""

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
        # An account's newest buckets; its first column also serves all buckets of an account.
        indexes = [models.Index(fields=["account_id", "bucket_end_date"], name="finance_transaction_newest")]

    def __str__(self) -> str:
        count = self.transaction_count
        trades = counted(count, "trade", "trades") if isinstance(count, int) else f"{count} trades"
        return f"Transactions of account {self.account_id}, {trades}"


class ExactReports(models.Manager):
    def get_queryset(self) -> Any:
        return exact(super().get_queryset())


class CachedReport(models.Model):
    """The last result of an aggregation in MongoDB, which pages show even while MongoDB is unreachable.

    finance.report_cache describes who computes it and when.
    """

    key = models.CharField(primary_key=True, max_length=40)
    data = models.JSONField(null=True)
    as_of = models.DateTimeField(null=True, help_text="When the data was read.")
    due_at = models.DateTimeField(help_text="Not computed before: fresh, claimed, or paused after a failure.")
    claim = models.CharField(max_length=24, blank=True, help_text="The process that is computing it.")
    error = models.CharField(max_length=255, blank=True, help_text="Why the last attempt failed.")
    asked_at = models.DateTimeField(help_text="Reports that are not requested for a week are removed.")

    objects: ClassVar[Any] = ExactReports()

    class Meta:
        verbose_name = _("figures")
        verbose_name_plural = _("figures")

    def __str__(self) -> str:
        return self.key


class SavedView(models.Model):
    """A question to senior management's dashboard that a user has given a name."""

    MOST = 20  # of one user
    LONGEST = 600  # characters of a query

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views")
    name = models.CharField(_("name"), max_length=60)
    query = models.CharField(max_length=LONGEST, help_text="The query string of the page.")

    class Meta:
        verbose_name = _("saved view")
        verbose_name_plural = _("saved views")
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="finance_savedview_name")]

    def __str__(self) -> str:
        return self.name
