"""Gridgate for notebooks and scripts: `connect` gives frames, `charts` draws them.

    from gridgate import charts, connect

    grid = connect("https://gridgate.example", key="gg_...", zone="Europe/Berlin")

The programs have folders of their own (`ingest`, `jobs`, `serving`, ...), which are not for import elsewhere.
"""

from typing import TYPE_CHECKING

from schemas.programs.version import VERSION

if TYPE_CHECKING:
    from analysis import charts, connect

__all__ = ["charts", "connect"]
__version__ = VERSION


def __getattr__(name: str) -> object:
    """Import lazily: the command `gridgate` needs neither Matplotlib nor Polars."""
    if name == "connect":
        from analysis import connect  # noqa: PLC0415 - see above

        return connect
    if name == "charts":
        from analysis import charts  # noqa: PLC0415

        return charts
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}; it has connect, charts, __version__"
    )
