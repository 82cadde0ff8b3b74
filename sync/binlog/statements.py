"""Decides which mirrored tables a logged statement may have changed without logging their rows.

The log contains the rows of ordinary writes, and statements for everything else. A statement is harmless only if it is
known to be. Any other counts as rewriting the mirrored tables that it mentions, or all of them if it cannot be parsed:
an unnecessary rescan costs time, a missing one loses a change.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import TokenError
from sqlglot.tokens import TokenType

# Bits of sql_mode that change how a statement is parsed.
ANSI_QUOTES = 0x4
NO_BACKSLASH_ESCAPES = 0x100000

# A statement that starts with one of these changes no row that is not logged.
HARMLESS = {
    ("START", "TRANSACTION"), ("COMMIT",), ("ROLLBACK",), ("SAVEPOINT",), ("RELEASE",), ("XA",), ("GRANT",),
    ("REVOKE",), ("SET", "PASSWORD"), ("SET", "DEFAULT", "ROLE"), ("FLUSH",), ("OPTIMIZE",), ("ANALYZE", "TABLE"),
    ("ANALYZE", "TABLES"), ("ANALYZE", "LOCAL"), ("ANALYZE", "NO_WRITE_TO_BINLOG"),
}  # fmt: skip
WHOLE = (["BEGIN"], ["BEGIN", "WORK"])  # harmless only as a whole statement: MariaDB has BEGIN NOT ATOMIC
# Objects that can be created, altered, dropped or renamed without changing a row of a table.
HARMLESS_OBJECTS = {
    "EVENT", "FUNCTION", "INDEX", "PACKAGE", "PROCEDURE", "ROLE", "SERVER", "TABLESPACE", "TRIGGER", "USER",
}  # fmt: skip
OBJECTS = HARMLESS_OBJECTS | {"DATABASE", "SCHEMA", "SEQUENCE", "TABLE", "TABLES", "VIEW"}
# Words between the verb and the object. `DEFINER = user` is skipped, too.
MODIFIERS = {
    "AGGREGATE", "ALGORITHM", "DEFINER", "FULLTEXT", "IGNORE", "MERGE", "OFFLINE", "ONLINE", "OR", "REPLACE",
    "SECURITY", "SPATIAL", "SQL", "TEMPORARY", "TEMPTABLE", "UNDEFINED", "UNIQUE", "VECTOR", "INVOKER", "=",
}  # fmt: skip
# How clauses of ALTER TABLE start that change no row. Changes of columns, primary keys, partitions, engines and names
# are not harmless.
HARMLESS_ALTERATIONS = {
    ("ADD", "INDEX"), ("ADD", "KEY"), ("ADD", "UNIQUE"), ("ADD", "FULLTEXT"), ("ADD", "SPATIAL"), ("ADD", "CONSTRAINT"),
    ("ADD", "FOREIGN"), ("ADD", "CHECK"), ("DROP", "INDEX"), ("DROP", "KEY"), ("DROP", "CONSTRAINT"),
    ("DROP", "FOREIGN"), ("DROP", "CHECK"), ("RENAME", "INDEX"), ("RENAME", "KEY"), ("ALTER", "INDEX"),
    ("DISABLE", "KEYS"), ("ENABLE", "KEYS"),
}  # fmt: skip
HARMLESS_OPTIONS = {"ALGORITHM", "AUTO_INCREMENT", "COMMENT", "LOCK"}  # if alone in their clause
# Words that are harmful anywhere in ALTER TABLE: they may remove duplicates, change primary keys or move rows.
HARMFUL = {"IGNORE", "PRIMARY", "PARTITION", "PARTITIONING", "PARTITIONS"}
# Writes, logged by a session that logs statements instead of rows. Through triggers, foreign keys, views and routines
# they may change any table of the database.
WRITES = {
    "ANALYZE", "CALL", "DELETE", "DO", "EXECUTE", "HANDLER", "INSERT", "LOAD", "REPLACE", "SELECT", "TABLE", "UPDATE",
    "VALUES", "WITH",
}  # fmt: skip


class Token(NamedTuple):
    """A token of a statement.

    word: in upper case; "" if it is quoted, and so not a keyword.
    name: in lower case, to compare it with table names; "" for a string literal.
    """

    word: str
    name: str


class Statement(NamedTuple):
    """A logged statement. schema: the database in use. updated: the databases that it wrote to, as MySQL logs them."""

    text: str
    schema: str
    sql_mode: int = 0
    is_utf8: bool = True
    updated: frozenset[str] = frozenset()


class Statements:
    """Decides which of the mirrored tables of one database a statement may have changed."""

    def __init__(self, database: str, tables: Iterable[str]) -> None:
        self.database = database.lower()
        self.tables = frozenset(name.lower() for name in tables)

    def rewritten(self, statement: Statement) -> frozenset[str]:
        """Returns the names, in lower case, of the tables that the statement may have changed."""
        if not statement.is_utf8 and not statement.text.isascii():
            return self.tables  # the second byte of a character may look like a quote or a backslash
        if "\0" in statement.text:
            return self.tables  # a server ends the statement at a zero byte, the tokenizer does not
        try:
            readings = [_tokens(statement, EXECUTED_COMMENTS)]
            if "/*!" in statement.text or "/*M!" in statement.text:
                # Whether these comments are executed depends on the server and its version.
                readings += [_tokens(statement, ("/*!",)), _tokens(statement, ())]
        except TokenError:
            return self.tables
        if not any(readings):
            return self.tables  # only a comment, which may stand for an omitted statement
        return frozenset().union(*(self._decide(tokens, statement) for tokens in readings if tokens))

    def _decide(self, tokens: list[Token], statement: Statement) -> frozenset[str]:
        words = [token.word for token in tokens]
        first = words[0]
        if words in WHOLE or any(tuple(words[: len(begin)]) == begin for begin in HARMLESS):
            return frozenset()
        if words[:2] == ["SET", "STATEMENT"]:  # MariaDB: variables for one statement
            at = _at_top(words, "FOR")
            # With another sql_mode, the statement may parse differently.
            is_clear = at + 1 < len(words) and "SQL_MODE" not in words[:at]
            return self._decide(tokens[at + 1 :], statement) if is_clear else self.tables
        if first in ("CREATE", "ALTER", "DROP", "RENAME"):
            return self._definition(tokens, words, statement)
        if first in ("TRUNCATE", "REPAIR"):
            return self._mentioned(tokens, statement)
        if first in WRITES and not self._concerns_us(tokens, statement):
            return frozenset()
        return self.tables

    def _definition(self, tokens: list[Token], words: list[str], statement: Statement) -> frozenset[str]:
        at = _object(words)
        if at is None:
            return self.tables
        verb, modifiers, kind = words[0], words[1:at], words[at]
        if kind in HARMLESS_OBJECTS:
            return frozenset()
        if kind in ("DATABASE", "SCHEMA"):
            is_emptied = verb == "DROP" or "REPLACE" in modifiers
            return self.tables if is_emptied and self._names_us(tokens) else frozenset()
        if kind == "VIEW":
            return self._mentioned(tokens[: _at_top(words, "AS")], statement)
        if kind in ("TABLE", "SEQUENCE") and verb == "CREATE":
            if "SELECT" in words:  # a session that logs statements does not log the rows
                return self.tables
            return self._mentioned(tokens[: _after_name(words, at)], statement)
        if verb == "DROP" and "TEMPORARY" in modifiers:
            return frozenset()
        if verb == "ALTER" and not modifiers and _alters_no_row(words[_after_name(words, at) :]):
            return frozenset()
        return self._mentioned(tokens, statement)

    def _names_us(self, tokens: list[Token]) -> bool:
        return any(token.name == self.database for token in tokens)

    def _concerns_us(self, tokens: list[Token], statement: Statement) -> bool:
        """Returns whether the statement may write to this database: it is in use, named, or logged as updated."""
        is_here = statement.schema.lower() == self.database
        return is_here or self._names_us(tokens) or self.database in {name.lower() for name in statement.updated}

    def _mentioned(self, tokens: list[Token], statement: Statement) -> frozenset[str]:
        """Returns the mirrored tables that it names, except names qualified with another database."""
        is_here = statement.schema.lower() == self.database
        found = set()
        for at, token in enumerate(tokens):
            if token.name not in self.tables:
                continue
            qualifier = _qualifier(tokens, at)
            if qualifier == self.database or (not qualifier and is_here):
                found.add(token.name)
        return frozenset(found)


def _qualifier(tokens: list[Token], at: int) -> str:
    """Returns the database before the dot, "" if there is none. `.name` is a table of the database in use."""
    if at < 2 or tokens[at - 1].word != ".":
        return ""
    before = tokens[at - 2]
    is_name = not before.word or before.word[0].isalnum() or before.word[0] in "_$"
    return before.name if is_name and before.word not in BEFORE_A_NAME else ""


BEFORE_A_NAME = {"TABLE", "TABLES", "TRUNCATE", "EXISTS", "TO", "AS", "INTO", "LIKE", "RENAME"}


def _object(words: list[str]) -> int | None:
    """Returns the index of the kind of object that is created, altered, dropped or renamed; None if unknown."""
    at = 1
    while at < len(words) and words[at] in MODIFIERS:
        if words[at : at + 2] == ["DEFINER", "="]:  # user, = 'user'@'host', = CURRENT_USER()
            at += 3
            at += 2 if words[at : at + 1] == ["@"] else 0
            at += 2 if words[at : at + 2] == ["(", ")"] else 0
        else:
            at += 1
    return at if at < len(words) and words[at] in OBJECTS else None


def _after_name(words: list[str], at: int) -> int:
    """Returns the index after the table's name. at: the index of the word TABLE."""
    at += 1
    while words[at : at + 1] in (["IF"], ["NOT"], ["EXISTS"], ["."]):  # .name: a table of the database in use
        at += 1
    at += 1
    return at + 2 if words[at : at + 1] == ["."] else at


def _at_top(words: list[str], wanted: str) -> int:
    """Returns the index of this word outside parentheses; the number of words if it does not occur."""
    depth = 0
    for at, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if word == wanted and not depth:
            return at
    return len(words)


def _alters_no_row(words: list[str]) -> bool:
    """Returns whether every clause of an ALTER TABLE is known to change no row."""
    if HARMFUL & set(words):
        return False
    return all(
        tuple(clause[:2]) in HARMLESS_ALTERATIONS or (clause[:1] and clause[0] in HARMLESS_OPTIONS and len(clause) <= 3)
        for clause in _clauses(words)
    )


def _clauses(words: list[str]) -> Iterator[list[str]]:
    depth = 0
    clause: list[str] = []
    for word in words:
        depth += (word == "(") - (word == ")")
        if word == "," and not depth:
            yield clause
            clause = []
        else:
            clause.append(word)
    yield clause


def _tokens(statement: Statement, executed: tuple[str, ...]) -> list[Token]:
    """Tokenizes a statement. Raises TokenError. executed: the starts of comments that count as executed."""
    ansi_quotes, no_backslash = statement.sql_mode & ANSI_QUOTES, statement.sql_mode & NO_BACKSLASH_ESCAPES
    read = _tokenizer(bool(ansi_quotes), bool(no_backslash), executed)
    # Some clients send the zero byte that ends their strings, and servers ignore it.
    text = statement.text.replace("\0", " ")
    found = read(dialect="mysql").tokenize(text)
    tokens = []
    skip = -1
    for at, token in enumerate(found):
        if at <= skip:
            continue
        is_next = at + 1 < len(found) and found[at + 1].start == token.end + 1
        if token.token_type == EXECUTED:
            # The version number, which may be followed by a word without a space: /*!50100name
            if is_next and (version := VERSION.match(found[at + 1].text)):
                skip = at + 1
                if rest := found[at + 1].text[version.end() :]:
                    tokens.append(Token(rest.upper(), rest.lower()))
        elif executed and token.text == "*" and is_next and found[at + 1].text == "/":
            skip = at + 1  # the end of the comment
        else:
            # Text in double quotes may be a name, regardless of the logged sql_mode.
            is_text = token.token_type in TEXTS and text[token.start] != '"'
            is_quoted = is_text or token.token_type in (TokenType.IDENTIFIER, TokenType.STRING)
            tokens.append(Token("" if is_quoted else token.text.upper(), "" if is_text else token.text.lower()))
    if tokens and tokens[-1].word == ";":
        tokens.pop()
    return tokens


EXECUTED = TokenType.HINT
EXECUTED_COMMENTS = ("/*!", "/*M!")
VERSION = re.compile(r"\d{5,6}|\d+$")
TEXTS = {TokenType.STRING, TokenType.NATIONAL_STRING, TokenType.HEX_STRING, TokenType.BIT_STRING}


@functools.cache
def _tokenizer(ansi_quotes: bool, no_backslash_escapes: bool, executed: tuple[str, ...]) -> Any:
    """Returns sqlglot's tokenizer for MySQL with this sql_mode, without keywords: only the words' text matters."""
    base = MySQL.Tokenizer
    made: Any = type(
        "Tokenizer",
        (base,),
        {
            "QUOTES": ["'"] if ansi_quotes else ["'", '"'],
            "IDENTIFIERS": ["`", '"'] if ansi_quotes else ["`"],
            "STRING_ESCAPES": ["'", '"'] if no_backslash_escapes else ["'", '"', "\\"],
            "KEYWORDS": dict.fromkeys(executed, EXECUTED),
            "COMMANDS": set(),
        },
    )
    del made._COMMENTS["{#"]  # Jinja's
    return made
