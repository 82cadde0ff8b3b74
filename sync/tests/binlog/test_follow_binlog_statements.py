"""Harmless and harmful statements of the binary log are told apart in every spelling."""

import os
import random
import re
from typing import Any

import pytest
from django.db import connection, models
from django.test.utils import isolate_apps

from finance.models import Account
from sync.binlog.statements import ANSI_QUOTES, NO_BACKSLASH_ESCAPES, Statement, Statements
from sync.tests.support.spelling import HARMLESS, LOGGED_AS_STATEMENTS, MARIADB_REWRITING, MIRRORED, REWRITING, Speller

DATABASE = "shop"
STATEMENTS = Statements(DATABASE, [MIRRORED, "finance_account", "Größe"])
ALL = {MIRRORED, "finance_account", "größe"}


def rewritten(text: str, schema: str = DATABASE, **more: Any) -> set[str]:
    return set(STATEMENTS.rewritten(Statement(text, schema, **more)))


@pytest.mark.parametrize(
    "text",
    [
        "rename /* swap-tool */ table finance_account to a_old, b to finance_account",
        "RENAME TABLES finance_account TO a",
        "-- nightly\nTRUNCATE finance_account",
        "# nightly\r\nTRUNCATE/**/`finance_account`",
        "/*!50100 TRUNCATE finance_account */",
        "/*!50100TRUNCATE finance_account */",
        "/*M!100100 TRUNCATE finance_account */",
        "/*!999999 no server is that new */ TRUNCATE finance_account",
        "TRUNCATE /*!50100 TABLE*/ Finance_ACCOUNT",
        "TRUNCATE /*!50100finance_account*/",
        "TRUNCATE/*!080000TABLE*/finance_account",
        "RENAME TABLE a TO b, c TO/*M!100100finance_account*/",
        "RENAME TABLE a TO b /*M! ' */ /*!50100 , c TO finance_account */ /*M! ' */",  # MySQL: /*M! */ is a comment
        "TRUNCATE finance_account\0",
        "TRUNCATE shop . finance_account",
        "TRUNCATE .finance_account",
        "TRUNCATE a, shop.finance_account",
        "DROP TABLE IF EXISTS a, `b`, finance_account CASCADE",
        "CREATE OR REPLACE TABLE finance_account (id int)",
        "CREATE TABLE .finance_account (id int)",
        "CREATE TABLE IF NOT EXISTS finance_account LIKE a",
        "CREATE TABLE finance_account SELECT 1",
        "ALTER TABLE a RENAME finance_account",
        "ALTER TABLE a RENAME = finance_account",
        "ALTER ONLINE TABLE finance_account ADD COLUMN a int",
        "ALTER IGNORE TABLE finance_account ADD UNIQUE (a)",
        "ALTER TABLE finance_account ADD INDEX (a), DROP COLUMN b",
        "ALTER TABLE finance_account ADD CONSTRAINT PRIMARY KEY (a)",
        "ALTER TABLE finance_account DISCARD TABLESPACE",
        "ALTER TABLE finance_account IMPORT TABLESPACE",
        "ALTER TABLE finance_account ENGINE=BLACKHOLE",
        "ALTER TABLE finance_account COMMENT='a' ENGINE=BLACKHOLE",
        "ALTER TABLE a EXCHANGE PARTITION p WITH TABLE finance_account",
        "ALTER TABLE finance_account DROP PARTITION p",
        "ALTER TABLE finance_account DROP SYSTEM VERSIONING",
        "ALTER TABLE finance_account WAIT 5 ADD COLUMN a int",
        "ALTER TABLE finance_account ADD `index` int",
        "REPAIR TABLE finance_account",
        "ALTER VIEW finance_account AS SELECT 1",
        "CREATE OR REPLACE ALGORITHM=MERGE DEFINER=`a`@`%` SQL SECURITY INVOKER VIEW finance_account AS SELECT 1",
        "SET STATEMENT max_statement_time=1, sql_mode='' FOR TRUNCATE finance_account",
    ],
)  # fmt: skip
def test_a_statement_that_may_have_changed_rows_is_detected(text: str) -> None:
    assert "finance_account" in rewritten(text)
    assert "größe" in rewritten(re.sub("finance_account", "Größe", text, flags=re.IGNORECASE))


@pytest.mark.parametrize(
    "text",
    [
        "DROP DATABASE shop",
        "DROP SCHEMA IF EXISTS `Shop`",
        "CREATE OR REPLACE DATABASE shop",
        "/*!40000 DROP DATABASE IF EXISTS `shop`*/",
        "SET STATEMENT max_statement_time=1 FOR DROP DATABASE shop",
        "SET STATEMENT sql_mode='NO_BACKSLASH_ESCAPES' FOR ALTER TABLE a COMMENT '\\', RENAME b",
        "INSERT INTO a VALUES (1)",  # a trigger may write anywhere
        "WITH a AS (SELECT 1) UPDATE b SET c = 1",
        "CALL anything()",
        "SELECT `shop`.`f`()",
        "DO f()",
        "LOAD DATA INFILE 'a' INTO TABLE b",
        "ANALYZE FORMAT=JSON UPDATE b SET c = 1",
        "CREATE TABLE a SELECT f()",
        "BEGIN NOT ATOMIC TRUNCATE finance_account; END",
        "TRUNCATE finance_account\0",  # a client in C may send this; servers accept it and log it unchanged
        "DROP TABLE a\0",
        "TRUNCATE `finance_account",  # invalid: the quote is not closed
        "TRUNCATE 'finance_account",
        "FROBNICATE the.database",
        "IMPORT TABLE FROM 'a.sdi'",
        "CREATE THING a",
        "/*!99TRUNCATE finance_account */",
        "# Dummy event replacing event type 30 that slave cannot handle.",
        "",
    ],
)
def test_a_statement_that_cannot_be_parsed_may_have_changed_every_table(text: str) -> None:
    assert rewritten(text) == ALL


@pytest.mark.parametrize(
    "text",
    [
        "SAVEPOINT `a`",
        "ROLLBACK TO `a`",
        "START TRANSACTION",
        "XA END X'78',X'',1",
        "CREATE USER finance_account IDENTIFIED BY 'x'",
        "ALTER USER 'a'@'%' ACCOUNT LOCK",
        "RENAME USER a TO b",
        "SET PASSWORD FOR 'a'@'%' = 'x'",
        "GRANT SELECT ON shop.finance_account TO a",
        "FLUSH TABLES finance_account",
        "CREATE DATABASE shop",
        "ALTER DATABASE shop CHARACTER SET utf8mb4",
        "DROP DATABASE another",
        "CREATE TABLE a (b int, FOREIGN KEY (b) REFERENCES finance_account (_id), c int COMMENT 'finance_account')",
        "CREATE TABLE a LIKE finance_account",
        "ALTER TABLE a ADD CONSTRAINT b FOREIGN KEY (c) REFERENCES finance_account (_id)",
        "ALTER TABLE a MODIFY b int",
        "ALTER TABLE finance_account ADD INDEX a (b), ALGORITHM=INPLACE, LOCK=NONE",
        "/*!40000 ALTER TABLE `finance_account` DISABLE KEYS */",
        "ALTER TABLE finance_account AUTO_INCREMENT = 5",
        "CREATE DEFINER=`a`@`%` TRIGGER b BEFORE INSERT ON finance_account FOR EACH ROW SET NEW.c = 1",
        "CREATE DEFINER=a EVENT b ON SCHEDULE EVERY 1 DAY DO TRUNCATE finance_account",
        "CREATE DEFINER = CURRENT_USER() FUNCTION f() RETURNS int RETURN (SELECT 1 FROM finance_account)",
        "DROP FUNCTION f",
        "CREATE SEQUENCE a",
        "CREATE ALGORITHM=UNDEFINED DEFINER=`a`@`%` SQL SECURITY DEFINER VIEW `b` AS SELECT 1 FROM `finance_account`",
        "DROP TEMPORARY TABLE IF EXISTS finance_account",
        "DROP TABLE another.finance_account",
        "SET STATEMENT max_statement_time=1 FOR ANALYZE TABLE finance_account",
        "TRUNCATE finance_account_old",
        "TRUNCATE `finance_account `",
    ],
)
def test_a_harmless_statement_plans_no_rescan(text: str) -> None:
    assert rewritten(text) == set()


def test_a_qualified_table_is_found_when_another_database_is_in_use() -> None:
    assert rewritten("TRUNCATE shop.finance_account", "other") == {"finance_account"}
    assert rewritten("RENAME TABLE a TO `SHOP`.`finance_account`", "other") == {"finance_account"}
    assert rewritten("TRUNCATE finance_account", "other") == set()
    assert rewritten("REPLACE INTO heartbeat VALUES (1)", "percona") == set()
    assert rewritten("REPLACE INTO checksums SELECT COUNT(*) FROM shop.finance_account", "percona") == ALL
    assert rewritten("INSERT INTO a VALUES (f())", "other", updated=frozenset({"other", "shop"})) == ALL


def test_quotes_are_parsed_by_sql_mode() -> None:
    assert rewritten('TRUNCATE "finance_account"', sql_mode=ANSI_QUOTES) == {"finance_account"}
    assert rewritten('RENAME TABLE "a\\" TO "b", "c" TO "finance_account"', sql_mode=ANSI_QUOTES) == {"finance_account"}
    text = "ALTER TABLE a COMMENT '\\', RENAME finance_account"
    assert rewritten(text, sql_mode=NO_BACKSLASH_ESCAPES) == {"finance_account"}
    assert rewritten(text) == ALL, "the string is not terminated"


def test_text_in_another_character_set_may_have_changed_every_table() -> None:
    assert rewritten("ALTER TABLE a COMMENT '\u0095\\'", is_utf8=False) == ALL
    assert rewritten("CREATE TABLE a (b int)", is_utf8=False) == set()


@isolate_apps("finance")
def test_migrations_of_other_tables_plan_no_rescan(django_db_blocker: Any) -> None:
    class Author(models.Model):
        name = models.CharField(max_length=20, unique=True)

        class Meta:
            app_label = "finance"

    class Note(models.Model):
        text = models.TextField(default="")
        account = models.ForeignKey(Account, models.CASCADE)
        author = models.ForeignKey(Author, models.CASCADE, null=True)
        count = models.PositiveIntegerField(default=1)

        class Meta:
            app_label = "finance"
            indexes = [models.Index(fields=["count"], name="count_index")]
            constraints = [models.UniqueConstraint(fields=["account", "author"], name="once")]

    field = models.CharField(max_length=10, default="finance_account", db_index=True)
    field.set_attributes_from_name("title")
    with django_db_blocker.unblock(), connection.schema_editor(collect_sql=True) as editor:
        editor.create_model(Author)
        editor.create_model(Note)
        editor.add_field(Note, field)
        editor.delete_model(Note)
        statements = [str(statement) for statement in editor.collected_sql]
    assert len(statements) > 4
    assert [text for text in statements if not text.startswith("--") and rewritten(text)] == []


def test_no_spelling_hides_a_harmful_statement() -> None:
    speller, count = _speller(), 0
    for _ in range(2000):
        sample = speller.chance.choice([*REWRITING, *MARIADB_REWRITING, *LOGGED_AS_STATEMENTS])
        speller.ansi = speller.chance.random() < 0.3
        for template in sample:
            if "zoo_typed" in template and not template.startswith(("CREATE TABLE <zt_parts>", "DROP INDEX")):
                text = speller.spell(template)
                if not any(harmless in template for harmless in ("COMMENT", "DROP KEY", "PARTITION BY")):
                    assert MIRRORED in rewritten(text, sql_mode=speller.ansi * ANSI_QUOTES), text
                    count += 1
    assert count > 2000


def test_no_spelling_makes_a_harmless_statement_harmful() -> None:
    speller = _speller()
    for _ in range(2000):
        speller.ansi = speller.chance.random() < 0.3
        text = speller.spell(speller.chance.choice(HARMLESS), executes_comments=False)
        assert rewritten(text, sql_mode=speller.ansi * ANSI_QUOTES) == set(), text


def _speller() -> Speller:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    return Speller(random.Random(seed), DATABASE, is_mariadb=True)
