"""What `revoker serve` counts, in a registry of its own. No label holds anything that a client can choose."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.process_collector import ProcessCollector


class Answered:
    """Answers of `/check`, ready to count: looking a label up would cost more than the answer."""

    def __init__(self, answers: Counter) -> None:
        self.live: Final = answers.labels("live")
        self.anonymous: Final = answers.labels("anonymous")
        self.refused: Final = {
            401: answers.labels("ended"),
            403: answers.labels("held"),
            503: answers.labels("unknown"),
        }


class ApiMetrics:
    """All of one process."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.answered: Final = Answered(
            Counter(
                "revoker_check_total",
                "Answers of /check: live, anonymous, ended (401, also for tokens that do not hold), held, unknown.",
                ("answer",),
                registry=self.registry,
            )
        )
        self.streams: Final = Gauge("revoker_streams", "Readers of /v1/notifications.", registry=self.registry)
        self.cut: Final = Counter(
            "revoker_streams_cut_total", "Readers that were too slow, and cut.", registry=self.registry
        )
        self.receipts: Final = Counter("revoker_receipts_total", "Receipts taken over HTTP.", registry=self.registry)
        self.presented_lost: Final = Counter(
            "revoker_presented_lost_total", "Uses of sessions that were not published.", registry=self.registry
        )
        self.published: Final = Counter(
            "revoker_published_total",
            "Events over HTTP: by whom (events, or a format of [[hooks]]), and accepted, ignored or rejected.",
            ("by", "outcome"),
            registry=self.registry,
        )
        self.watching: Final = Gauge(
            "revoker_people_watching", "Pages that wait to be told that their session is over.", registry=self.registry
        )
