"""Builds the images of the virtual machines that the cache lacks."""

from __future__ import annotations

from tests.vm.image import SUITES, image


def main() -> None:
    """One after the other."""
    for suite in SUITES:
        image(suite)


if __name__ == "__main__":
    main()
