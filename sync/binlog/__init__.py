"""The binary log follower: captures changes of rows that were written without the ORM.

MySQL writes raw SQL, the writes of other programs and those of a person with a client to its binary log. The follower
reads the log as a replica does, and delivers each row of a mirrored table whose transaction recorded no change:

1. On the first start, and after a gap in the log, the follower saves the position *first* and then plans a backfill.
2. `log` reads transactions. The inserts into `sync_change` in the same transaction tell which rows the application has
   already captured.
3. `direct` delivers the rows. What it cannot deliver it records, and a relay delivers these changes like all others.
4. The follower saves the position after their transactions, together with what it records. A follower that was killed
   continues from there, so it misses no row, and delivers some of them again.

A server may send a transaction to replicas before its own clients can see it. A follower that read the row that early
would deliver the old state. This cannot happen: MySQL and MariaDB commit in the order of the binary log, and the
follower commits the previous position before it reads the rows.
"""
