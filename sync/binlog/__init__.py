"""The binary log follower: records changes for rows that were written behind the ORM's back.

Raw SQL, other programs, a person with a client: MySQL writes them all into its binary log. The follower reads it as
a replica does, and for every row of a mirrored table whose transaction recorded no change, it records one:

1. Before the first start, and whenever the log has a gap, the position is taken *first* and a backfill planned after.
2. `log` reads transactions. Which of their rows the application has recorded itself is in the same transaction:
   the inserts into `sync_change`.
3. The changes, and the position after the transactions that they come from, commit in one transaction of MySQL's. A
   follower that is killed goes on from there, so nothing is missed and nothing recorded twice.
4. Delivery is the relay's, as for every other change.

A server may send a transaction to replicas before its own clients can see it. A relay that reads the row that early
would deliver the old state. It cannot: MySQL and MariaDB commit in the order of the binary log, and what the follower
records comes later in the same log, so whoever sees the change sees the row as it was written.
"""
