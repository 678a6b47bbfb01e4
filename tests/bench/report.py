"""How figures are printed: medians, and ratios pair by pair, because the speed of a machine drifts."""

from __future__ import annotations

from statistics import median, quantiles


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


def beyond(took: dict[str, list[float]], ours: str, parts: tuple[str, ...], what: str, budget: str = "") -> None:
    """One row: the median of what `ours` takes more than its parts together, round by round, and the quartiles."""
    more = [whole - sum(rest) for whole, *rest in zip(took[ours], *(took[part] for part in parts))]
    lower, middle, upper = quantiles(more, n=4)
    print(
        f"  {what}: {middle:+.1f} ms  (half of the rounds: {lower:+.1f} … {upper:+.1f})"
        + (f"  (budget: {budget})" if budget else "")
    )
