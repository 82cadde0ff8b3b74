"""Processes: what pages and `sync status` list. A relay has a worker for each of its servers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from sync.monitoring.queries import WorkerStatus, rate
from sync.workers.heartbeat import Kind


@dataclasses.dataclass
class ProcessStatus:
    """A process and its workers."""

    kind: str
    host: str
    pid: int
    workers: list[WorkerStatus]

    @property
    def title(self) -> str:
        """The kind as shown on a page, not yet translated."""
        return Kind(self.kind).label if self.kind in set(Kind) else self.kind

    @property
    def alive(self) -> bool:
        return any(worker.alive for worker in self.workers)

    @property
    def stuck(self) -> bool:
        """Whether one of its workers is stuck."""
        return any(worker.stuck for worker in self.workers)

    @property
    def heartbeat_age(self) -> float:
        """Seconds since its last heartbeat."""
        return min(worker.heartbeat_age for worker in self.workers)

    @property
    def rate(self) -> float | None:
        """Keys per second; None if unknown."""
        return rate([worker for worker in self.workers if worker.rate is not None])

    @property
    def delivered(self) -> int:
        """Keys, since it started."""
        return sum(worker.delivered for worker in self.workers)

    @property
    def note(self) -> str:
        """What its workers wait for, each reason once, with the server it is about."""
        notes = (
            f"{worker.queue}: {worker.note}" if worker.queue else worker.note for worker in self.workers if worker.note
        )
        return "; ".join(dict.fromkeys(notes))


def processes(workers: Iterable[WorkerStatus]) -> list[ProcessStatus]:
    """Return the processes in the order of their first workers."""
    found: dict[tuple[str, str, int], list[WorkerStatus]] = {}
    for worker in workers:
        found.setdefault(worker.process, []).append(worker)
    return [ProcessStatus(*process, _current(of_it)) for process, of_it in found.items()]


def _current(workers: list[WorkerStatus]) -> list[WorkerStatus]:
    """Without the workers of a dead process whose id another one has now, as after the restart of a container."""
    return [worker for worker in workers if worker.alive] or workers
