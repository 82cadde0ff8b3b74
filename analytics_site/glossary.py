"""The terms of the pages, for Help. docs/glossary.md lists the same; a test compares them."""

from django.utils.translation import gettext_lazy as _

# By section: term, and its meaning in one or two sentences.
GLOSSARY = {
    _("Data"): {
        _("Record"): _("A row in MySQL together with the document that mirrors it in MongoDB."),
        _("Account"): _("A customer's account with its number, limit and products."),
        _("Customer"): _("A person or company with accounts and a tier. A customer record can be linked to a login."),
        _("Transaction bucket"): _("The trades of one account between two days, stored as one record."),
        _("Limit"): _("The number that the data stores with each account. The data does not say what it limits."),
        _("Tier"): _("A level of service with its benefits. An inactive tier is listed but gives no benefits."),
        _("Audit log"): _("The list of who changed or exported what, and when."),
    },
    _("Mirror"): {
        _("Mirror"): _("The copy of a model's rows in a MongoDB collection, and the code that keeps it in sync."),
        _("Target"): _("A place that a model is mirrored to: a MongoDB collection, a Kafka topic or a file."),
        _("Change"): _(
            "The note, stored in the same transaction as the row, that a key has to be delivered to a target."
        ),
        _("Outbox"): _("The table of changes that are not yet delivered and confirmed."),
        _("Capture"): _("Recording a change when a row is saved, updated or deleted."),
        _("Delivery"): _(
            "Reading the row of a changed key and writing its document, or deleting the document if there is no row."
        ),
        _("Inline delivery"): _("Delivery by the web process right after the commit, before it responds."),
        _("Relay"): _("The worker that delivers and confirms what inline delivery did not."),
        _("Confirm"): _(
            "To check that a majority of the MongoDB replica set has a delivered document, and then remove its change."
        ),
        _("Backfill"): _(
            "Delivering every row of a model once, for example after the model is mirrored for the first time."
        ),
        _("Dead letter"): _(
            "A change that failed repeatedly and waits for a person. Nothing is lost: fix the cause, then retry it."
        ),
        _("Retry"): _("To deliver a failed change again."),
        _("Discard"): _(
            "To remove a failed change without delivering it. MySQL and MongoDB may then differ until the next repair."
        ),
        _("Pause, resume"): _(
            "To stop a target or route from delivering, and to let it continue. Changes wait meanwhile."
        ),
        _("Settling"): _(
            "The minute after a deletion. Then the document is deleted once more, in case a slow writer restored it."
        ),
    },
    _("States"): {
        _("In sync"): _("MongoDB has every committed change."),
        _("Pending"): _("Committed in MySQL and not yet in MongoDB."),
        _("In flight"): _("Delivered inline and not confirmed yet, or claimed by a repair."),
        _("Failed"): _("A dead letter. The page shows the reason."),
        _("Unknown"): _("MongoDB does not respond, so the state cannot be determined. Unknown does not mean zero."),
        _("Mismatch"): _("A row and its document have different values. The page names the fields."),
        _("Missing"): _("A row without a document."),
        _("Orphan"): _("A document without a row."),
    },
    _("Workers and routes"): {
        _("Worker"): _(
            "A process that moves data: the relay, the follower, a pull, a copy, a publisher or a consumer."
        ),
        _("Queue"): _("The changes of one target that a relay processes together."),
        _("Job"): _("A verification, repair or backfill that an operator started from a page. A relay runs it."),
        _("Periodic task"): _("Housekeeping that a relay repeats at an interval."),
        _("Lease"): _(
            "The right of one worker to a route or a job for a few seconds. It expires when the worker dies."
        ),
        _("Claim"): _("The right of one relay to a batch of changes for a few seconds."),
        _("Checkpoint"): _("The saved position from which a worker continues after a restart."),
        _("Resume token"): _("MongoDB's position in a change stream."),
        _("Lag"): _("The time from a commit in the source until the change is visible in the target."),
        _("Throughput"): _("Changes delivered per second."),
        _("Follower"): _("The worker that captures changes from MySQL's binary log, for writes that bypass Django."),
        _("Pull"): _("The route from a MongoDB collection to a MySQL table."),
        _("Copy"): _("The route from one MongoDB deployment to another."),
        _("Publish, consume"): _("The routes to and from Kafka topics."),
        _("Snapshot, streaming"): _(
            "The two phases of a pull or a copy: read everything once, then apply changes as they happen."
        ),
        _("Prune"): _("To delete from the target what the source no longer has."),
    },
    _("Proof"): {
        _("Verify"): _("To compare every row with its document, independently of the outbox."),
        _("Recheck"): _("To compare a differing key again after in-flight changes had time to arrive."),
        _("Repair"): _("To deliver the rows of mismatched and missing documents again, and remove orphans."),
        _("Strict verification"): _("Verification that also reports changes that are still pending or in flight."),
    },
}
