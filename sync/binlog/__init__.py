"""The binary log follower: records changes for rows that were written without the ORM.

Raw SQL, other programs, a person with a client: MySQL writes all of their changes into its binary log. The follower
reads the log as a replica does. For every row of a mirrored table whose transaction recorded no change, it records one:

1. Before the first start, and whenever the log has a gap, the position is saved *first* and a backfill planned after.
2. `log` reads transactions. Which of their rows the application has recorded itself is in the same transaction: the
inserts into `sync_change`.
3. The changes, and the position after the transactions they come from, commit in one MySQL transaction. A follower that
is killed continues from there, so no change is missed or recorded twice.
4. The relay delivers, as for every other change.

A server may send a transaction to replicas before its own clients can see it, and a relay that read the row that early
would deliver the old state. This cannot happen: MySQL and MariaDB commit in the order of the binary log, and what the
follower records comes later in the same log. A relay that sees the change also sees the row.
"""
