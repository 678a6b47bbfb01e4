"""How figures are printed: medians, and ratios pair by pair, because the speed of a machine drifts."""

from __future__ import annotations

from statistics import median


def heading(text: str) -> None:
    """A title line."""
    print(f"\n{text}")


def compare(took: dict[str, list[float]], ours: str, peer: str, what: str, budget: str = "") -> None:
    """One row: medians of both, the median of the pairwise ratios and of the pairwise differences, the budget."""
    pairs = list(zip(took[ours], took[peer]))
    ratio = median(mine / theirs for mine, theirs in pairs)
    difference = median(mine - theirs for mine, theirs in pairs)
    print(
        f"  {what}: {median(took[ours]):.1f} / {median(took[peer]):.1f} ms = {ratio:.2f} x, {difference:+.1f} ms"
        + (f"  (budget: {budget})" if budget else "")
    )
