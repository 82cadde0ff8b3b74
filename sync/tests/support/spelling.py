"""Statements for the tests of the binary log follower, in the spellings that people and tools use.

The tokens of a template are separated by single spaces. `<name>` is a table. Words in capitals can have any case.
"""

import random
import re

MIRRORED, SPARE, OLD = "zoo_typed", "zt_spare", "zt_old"

# Each group runs in order. These statements change, or can change, rows that the log does not contain.
REWRITING = [
    ["TRUNCATE <zoo_typed>"],
    ["TRUNCATE TABLE <zoo_typed>"],
    ["RENAME TABLE <zoo_typed> TO <zt_old> , <zt_spare> TO <zoo_typed> , <zt_old> TO <zt_spare>"],
    ["RENAME TABLES <zoo_typed> TO <zt_old> , <zt_spare> TO <zoo_typed>", "RENAME TABLE <zt_old> TO <zt_spare>"],
    ["RENAME TABLE <zoo_typed> TO <zt_old>", "RENAME TABLES <zt_spare> TO <zoo_typed> , <zt_old> TO <zt_spare>"],
    [
        "ALTER TABLE <zoo_typed> RENAME TO <zt_old>",
        "ALTER TABLE <zt_spare> RENAME AS <zoo_typed>",
        "ALTER TABLE <zt_old> RENAME <zt_spare>",
    ],
    ["DROP TABLE <zoo_typed> RESTRICT", "CREATE TABLE <zoo_typed> LIKE <zt_shape>"],
    ["DROP TABLES IF EXISTS <zt_none> , <zoo_typed>", "CREATE TABLE IF NOT EXISTS <zoo_typed> LIKE <zt_shape>"],
    ["DROP TABLE <zoo_typed> , <zt_spare>", "ALTER TABLE <zt_shape> COMMENT 'zoo_typed'", *[
        f"CREATE TABLE <{name}> LIKE <zt_shape>" for name in (SPARE, MIRRORED)
    ]],
    ["ALTER TABLE <zoo_typed> MODIFY `integer` TINYINT", "ALTER TABLE <zoo_typed> MODIFY COLUMN `integer` INT"],
    [
        "ALTER TABLE <zoo_typed> CHANGE `integer` `integer` TINYINT UNSIGNED",
        "ALTER TABLE <zoo_typed> ADD INDEX zt_i ( big ) , CHANGE COLUMN `integer` `integer` INT",
        "DROP INDEX zt_i ON <zoo_typed>",
    ],
    ["ALTER TABLE <zoo_typed> DROP COLUMN `integer` , ADD COLUMN `integer` INT NULL DEFAULT 7"],
    ["ALTER TABLE <zoo_typed> DROP `integer`", "ALTER TABLE <zoo_typed> ADD `integer` INT NULL"],
    ["ALTER TABLE <zoo_typed> RENAME COLUMN `integer` TO big , RENAME COLUMN big TO `integer`"],
    ["ALTER TABLE <zoo_typed> CONVERT TO CHARACTER SET latin1", "ALTER TABLE <zoo_typed> CONVERT TO CHARSET utf8mb4"],
    [
        "ALTER TABLE <zoo_typed> PARTITION BY KEY ( id ) PARTITIONS 2",
        "ALTER TABLE <zoo_typed> TRUNCATE PARTITION p0 , p1",
        "ALTER TABLE <zoo_typed> REMOVE PARTITIONING",
    ],
    [
        "CREATE TABLE <zt_parts> LIKE <zoo_typed>",
        "ALTER TABLE <zt_parts> PARTITION BY KEY ( id ) PARTITIONS 1",
        "ALTER TABLE <zt_parts> EXCHANGE PARTITION p0 WITH TABLE <zoo_typed>",
        "DROP TABLE <zt_parts>",
    ],
]  # fmt: skip
MARIADB_REWRITING = [
    ["CREATE OR REPLACE TABLE <zoo_typed> LIKE <zt_shape>"],
    ["CREATE OR REPLACE TABLE <zoo_typed> ( PRIMARY KEY ( id ) ) SELECT * FROM <zt_spare>"],
    ["ALTER IGNORE TABLE <zoo_typed> ADD UNIQUE zt_u ( small )", "ALTER TABLE <zoo_typed> DROP KEY zt_u"],
    ["ALTER IGNORE TABLE <zoo_typed> ADD CONSTRAINT zt_u UNIQUE ( small )", "ALTER TABLE <zoo_typed> DROP KEY zt_u"],
    ["RENAME TABLE IF EXISTS <zoo_typed> WAIT 1 TO <zt_old>",
     "RENAME TABLE <zt_spare> TO <zoo_typed> , <zt_old> TO <zt_spare>"],
    ["SET STATEMENT max_statement_time = 100 FOR TRUNCATE TABLE <zoo_typed>"],
    ["SET STATEMENT max_statement_time = 100 , sort_buffer_size = 100000 FOR DROP TABLE <zoo_typed>",
     "CREATE TABLE <zoo_typed> LIKE <zt_shape>"],
    ["SET STATEMENT sql_mode = '' FOR ALTER TABLE <zoo_typed> MODIFY `integer` TINYINT",
     "ALTER TABLE <zoo_typed> MODIFY `integer` INT"],
    ["ALTER TABLE IF EXISTS <zoo_typed> MODIFY COLUMN IF EXISTS `integer` TINYINT",
     "ALTER TABLE <zoo_typed> MODIFY `integer` INT"],
]  # fmt: skip
# For a session with binlog_format=STATEMENT. The last ones change the mirrored table by a trigger, a view and routines.
LOGGED_AS_STATEMENTS = [
    ["UPDATE <zoo_typed> SET `integer` = `integer` + 1"],
    ["UPDATE <zt_spare> s , <zoo_typed> t SET t . `integer` = t . `integer` + 2"],
    ["DELETE FROM <zoo_typed> WHERE small = 1"],
    ["DELETE t FROM <zoo_typed> t WHERE t . small = 1"],
    ["REPLACE INTO <zoo_typed> ( id , text , small ) SELECT id , 'replaced' , 3 FROM <zt_spare>"],
    ["INSERT IGNORE INTO <zoo_typed> ( id , text , small ) SELECT id , 'inserted' , 4 FROM <zt_spare>"],
    ["ANALYZE UPDATE <zoo_typed> SET `integer` = `integer` + 4"],
    ["SET STATEMENT max_statement_time = 100 FOR UPDATE <zoo_typed> SET `integer` = `integer` + 5"],
    ["INSERT INTO <zt_trigger> VALUES ( 1 )"],
    ["UPDATE <zt_view> SET `integer` = `integer` + 6"],
    ["CALL zt_procedure ( )"],
    ["DO zt_function ( )"],
    ["SELECT zt_function ( )"],
]
# Common statements that change no row of the mirrored table: they must not start a backfill.
HARMLESS = [
    "CREATE INDEX zt_h ON <zoo_typed> ( `integer` )",
    "DROP INDEX zt_h ON <zoo_typed>",
    "ALTER TABLE <zoo_typed> ADD INDEX zt_h ( `integer` , small ) , ADD UNIQUE KEY zt_v ( id , small )",
    "ALTER TABLE <zoo_typed> DROP INDEX zt_h , DROP KEY zt_v , COMMENT = 'DROP COLUMN x, TRUNCATE'",
    "ALTER TABLE <zoo_typed> DISABLE KEYS",
    "ANALYZE TABLE <zoo_typed>",
    "OPTIMIZE TABLE <zoo_typed>",
    "CREATE TABLE <zt_other> ( id INT PRIMARY KEY , zoo_typed INT , note VARCHAR ( 20 ) DEFAULT 'zoo_typed' )",
    "ALTER TABLE <zt_other> ADD COLUMN more INT NULL , MODIFY note VARCHAR ( 30 )",
    "RENAME TABLE <zt_other> TO <zt_another>",
    "TRUNCATE <zt_another>",
    "DROP TABLE IF EXISTS <zt_another> , <zt_other>",
    "CREATE VIEW zt_seen AS SELECT * FROM <zoo_typed>",
    "DROP VIEW zt_seen",
    "CREATE PROCEDURE zt_done ( ) BEGIN TRUNCATE zoo_typed ; UPDATE zoo_typed SET small = 1 ; END",
    "DROP PROCEDURE zt_done",
]

GAPS = [
    "\n",
    "\t",
    "  ",
    "\r\n",
    "/**/",
    "/* it's */",
    "-- it's\n",
    "--\t`\n",
    '#"\n',
    "/* ; zt_x \n */",
    "/* /* -- */",
    "\v",
]


class Speller:
    """Writes statements in random spellings. ansi: double quotes can quote names."""

    def __init__(self, chance: random.Random, database: str, is_mariadb: bool, ansi: bool = False) -> None:
        self.chance = chance
        self.database = database
        self.is_mariadb = is_mariadb
        self.ansi = ansi

    def spell(self, template: str, executes_comments: bool = True) -> str:
        """Return a spelling of the template. executes_comments: parts can be in /*! */."""
        self.is_plain = self.chance.random() < 0.2
        wrapped = executes_comments and self.chance.random() < 0.1
        self.can_comment = not wrapped
        self.can_execute = executes_comments and not wrapped
        text = "".join(self._gap(at, piece) + self._piece(piece) for at, piece in self._pieces(template))
        if wrapped:
            return f"{self._opening()} {text} */"
        return (
            self.chance.choice(["", *GAPS])
            + text
            + self.chance.choice(["", "", " ", "\n", " /* end */", " -- end", " # end"])
        )

    def _pieces(self, template: str) -> list[tuple[str, str]]:
        """Return each piece with the piece before it."""
        pieces = re.findall(r"'[^']*'|\S+", template)
        return list(zip(["", *pieces], pieces, strict=False))

    def _gap(self, before: str, piece: str) -> str:
        if not before:
            return ""
        may_touch = before in ",().=" or piece in ",()." or (piece == "=" and before[-1] in "`>")
        # No gap between a function's name and its parenthesis.
        if piece == "(" and before.startswith("zt_"):
            return ""
        if may_touch and self.chance.random() < 0.5:
            return ""
        gaps = GAPS if self.can_comment else [gap for gap in GAPS if gap.isspace()]
        return " " if self.is_plain or self.chance.random() < 0.5 else self.chance.choice(gaps)

    def _piece(self, piece: str) -> str:
        if piece.startswith("<"):
            return self._table(piece[1:-1])
        if not (piece.isalpha() and piece.isupper()):
            return piece
        word = piece if self.is_plain else self.chance.choice([piece, piece.lower(), piece.title(), piece.swapcase()])
        if self.can_execute and not self.is_plain and self.chance.random() < 0.03:
            return f"{self._opening()} {word} */"
        return word

    def _opening(self) -> str:
        return self.chance.choice(["/*!", "/*!50100", "/*!40000", *(["/*M!", "/*M!100100"] if self.is_mariadb else [])])

    def _table(self, name: str) -> str:
        if self.chance.random() < 0.3:
            dot = self.chance.choice([".", " . ", ". ", " ."])
            return self._quoted(self.database) + dot + self._quoted(name)
        return self._quoted(name)

    def _quoted(self, name: str) -> str:
        return self.chance.choice([name, f"`{name}`", f'"{name}"' if self.ansi else f"`{name}`"])
