"""From what was measured to what is told: medians, ratios, goals, one table. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from benchmarks.patience import QUIET_CORES

_HEAD: Final = ("", "product", "against", "ratio", "(min..max)", "goal", "")


@dataclass(frozen=True, slots=True)
class Goal:
    """What the ratio must reach. `wanted` is what it should."""

    least: float
    wanted: float | None = None

    def __str__(self) -> str:
        return f">= {self.least:g}" + (f" ({self.wanted:g} wanted)" if self.wanted else "")

    def verdict(self, ratio: float) -> str:
        """In a word or two."""
        if ratio < self.least:
            return "NOT MET"
        return "met" if self.wanted is None or ratio >= self.wanted else "met, not as wanted"


@dataclass(frozen=True, slots=True)
class Row:
    """One goal and what was measured for it: a rate of each side in each round."""

    name: str
    against: str
    unit: str
    product: Sequence[float]
    other: Sequence[float]
    goal: Goal
    disturbance: Sequence[float] = ()
    """How many cores of the machine others kept busy meanwhile."""

    @property
    def ratios(self) -> list[float]:
        """Of the same round each: what disturbed one side most likely disturbed the other."""
        return [mine / its for mine, its in zip(self.product, self.other, strict=True)]

    @property
    def ratio(self) -> float:
        """The one that counts."""
        return median(self.ratios)

    @property
    def is_met(self) -> bool:
        """Whether the goal is."""
        return self.ratio >= self.goal.least

    @property
    def is_disturbed(self) -> bool:
        """Whether the machine was not left alone, so that the ratio means little."""
        return bool(self.disturbance) and median(self.disturbance) >= QUIET_CORES

    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        spread = f"({shown(min(self.ratios))}..{shown(max(self.ratios))})"
        rates = f"{shown(median(self.product))} {self.unit}", f"{shown(median(self.other))} {self.unit}"
        return self.name, *rates, shown(self.ratio), spread, str(self.goal), self.goal.verdict(self.ratio)

    def tree(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {
            "ratios": self.ratios,
            "ratio": {"median": self.ratio, "min": min(self.ratios), "max": max(self.ratios)},
            "is_met": self.is_met,
            "is_disturbed": self.is_disturbed,
        }


@dataclass(frozen=True, slots=True)
class Note:
    """Something measured that has no goal, and makes the rows understood."""

    name: str
    text: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """All of a run. `profile` is text for people, empty where none was asked for."""

    machine: Mapping[str, Any]
    plan: Mapping[str, Any]
    rows: Sequence[Row]
    notes: Sequence[Note]
    profile: str = ""

    def as_json(self) -> str:
        """For programs."""
        tree = {
            "machine": self.machine,
            "plan": self.plan,
            "rows": [row.tree() for row in self.rows],
            "notes": [asdict(note) for note in self.notes],
            "profile": self.profile,
        }
        return json.dumps(tree, indent=2)

    def as_text(self) -> str:
        """For people."""
        lines = ["", ", ".join(f"{name} {value}" for name, value in self.machine.items()), ""]
        if self.rows:
            lines += [*_table([_HEAD, *(row.cells() for row in self.rows)]), ""]
            lines += [f"  {row.name}: against {row.against}" for row in self.rows] + [""]
        lines += _table([(note.name, note.text) for note in self.notes])
        missed = [row.name for row in self.rows if not row.is_met]
        if missed:
            lines += ["", f"NOT MET: {'; '.join(missed)}"]
        disturbed = [(row.name, median(row.disturbance)) for row in self.rows if row.is_disturbed]
        lines += [
            f"DISTURBED: {name}: others kept {shown(cores)} cores busy; measure again" for name, cores in disturbed
        ]
        return "\n".join([*lines, *(["", self.profile] if self.profile else [])])


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of `values` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


def shown(value: float) -> str:
    """Three digits that count, or a whole number with its thousands apart."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _table(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
