"""The portal's record types, in the order of their tabs. docs/contributing.md explains how to add one."""

from finance.record_types.accounts import ACCOUNTS
from finance.record_types.base import RecordType
from finance.record_types.customers import CUSTOMERS
from finance.record_types.transactions import TRANSACTIONS

RECORD_TYPES: tuple[RecordType, ...] = (ACCOUNTS, CUSTOMERS, TRANSACTIONS)
