"""PanelLayout: places of rows of equally wide panels, with colour bars below them."""

from __future__ import annotations

from dataclasses import dataclass

PANEL_INCHES, PAGE_INCHES = 2.2, 8.5  # largest width of a panel, largest sum of heights
LEFT, LINE, BARS, GAP = 0.3, 0.17, 0.65, 0.06  # inches beside, above, below, between the panels


@dataclass(frozen=True)
class PanelLayout:
    """Places of panels and colour bars, all in inches until matplotlib takes fractions.

    Parameters
    ----------
    aspects
        Height over width of every row's panels.
    num_columns
        Panels side by side.
    title_lines
        Lines of text above the first row.
    """

    aspects: tuple[float, ...]
    num_columns: int
    title_lines: int = 1

    @property
    def width(self) -> float:
        """Width of a panel: the figure stays below a page's height."""
        return min(PANEL_INCHES, PAGE_INCHES / sum(self.aspects))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        columns = self.num_columns * (self.width + GAP) - GAP
        rows = sum(self.width * aspect + GAP for aspect in self.aspects)
        return LEFT + columns + GAP, self._titles + rows + BARS

    def panel(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of a panel, as fractions of the figure."""
        above = sum(self.width * aspect + GAP for aspect in self.aspects[: row + 1]) - GAP
        left = LEFT + column * (self.width + GAP)
        height = self.width * self.aspects[row]
        return self._fractions(left, self.size[1] - self._titles - above, self.width, height)

    def bar(self, first: int, stop: int) -> tuple[float, float, float, float]:
        """Return the place of a colour bar below the columns `first` … `stop` - 1."""
        span = (stop - first) * (self.width + GAP) - GAP
        length = min(span, 1.5 * PANEL_INCHES) * 0.8
        left = LEFT + first * (self.width + GAP) + (span - length) / 2
        return self._fractions(left, BARS - 0.2, length, 0.09)

    @property
    def _titles(self) -> float:
        return 0.15 + LINE * self.title_lines

    def _fractions(
        self, left: float, bottom: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        across, up = self.size
        return left / across, bottom / up, width / across, height / up
