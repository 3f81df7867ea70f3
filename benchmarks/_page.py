"""The page that the programs which break things write into: everything between two markers, and nothing else."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"


def write_section(begin: str, end: str, text: str) -> None:
    """Put ``text`` between two markers of docs/reliability.md."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{PAGE.name} needs the two lines {begin!r} and {end!r} for the text to go between")
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
