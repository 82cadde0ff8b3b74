"""A database without a binary log."""

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

pytestmark = pytest.mark.quick


@pytest.mark.django_db
@pytest.mark.engine
def test_sqlite_has_no_binary_log() -> None:
    if connection.vendor == "mysql":
        pytest.skip("it has one")
    with pytest.raises(CommandError, match="Only MySQL and MariaDB have a binary log") as refused:
        call_command("sync", "follow-binlog")
    assert refused.value.returncode == 2
