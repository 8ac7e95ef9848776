"""Figures whose text fits: what the displays share, and nothing of what they show.

How much room there is for text is known once a layout engine has placed what was drawn before. That takes as long as
drawing, so it is measured in as few places as will do. matplotlib is imported inside the functions: it is an extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

__all__ = [
    "DIGIT_WIDTH",
    "LINE_HEIGHT",
    "SMALLEST_TEXT",
    "add_grid",
    "figure_size",
    "import_pyplot",
    "label_classes",
    "label_columns",
    "legend_beside",
    "legend_on_top",
    "make_room",
    "sizes_in_points",
    "text_size",
    "three_panels",
    "with_own_look",
    "without_aliases",
]

SMALLEST_TEXT = 7  # points; smaller print is not legible
LINE_HEIGHT = 1.2  # in the size of the text
DIGIT_WIDTH = 0.64  # in the size of the text


def import_pyplot(caller: str):
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f'{caller} needs matplotlib. Install it with: pip install "skdmlpl[plot]"') from error
    return plt


def figure_size(plt, n_classes: int, width: float | None = None) -> tuple[float, float]:
    """Return width and height in inches: the usual ones, or higher by the number of classes, within reason."""
    usual_width, usual_height = plt.rcParams["figure.figsize"]
    return width or usual_width, np.clip(1 + 0.2 * n_classes, usual_height, 2 * usual_height)


def three_panels(plt, ax, n_classes: int) -> np.ndarray:
    """Return three axes: those given, or a large one and two small ones in place of one, or in a new figure."""
    if ax is None:
        figure = plt.figure(figsize=figure_size(plt, n_classes, width=8), layout="constrained")
        place = figure.add_gridspec(1, 1)[0]
    elif hasattr(ax, "get_subplotspec"):
        figure, place = ax.figure, ax.get_subplotspec()
        if place is None:
            raise ValueError("ax must be a subplot, which can be divided, or three axes. Got axes outside of any grid.")
        ax.set_axis_off()
    else:
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) != 3:
            raise ValueError(f"ax must be one subplot or three axes. Got {len(axes)} axes instead.")
        return axes
    # A layout engine makes room for labels; without one, it has to be left.
    space = {"wspace": 0.4, "hspace": 0.5} if figure.get_layout_engine() is None else {}
    grid = place.subgridspec(2, 2, **space)
    return np.array([figure.add_subplot(part) for part in (grid[:, 0], grid[0, 1], grid[1, 1])], dtype=object)


def sizes_in_points(*axes: Axes) -> np.ndarray:
    """Return width and height of each of the axes of a figure, which depend on the labels they have by now."""
    figure = axes[0].figure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure.figure)
    return np.array([ax.get_window_extent().size for ax in axes]) * 72 / figure.dpi


def text_size(setting: str) -> float:
    """Return the text size of a matplotlib setting, in points."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    return FontProperties(size=rcParams[setting]).get_size_in_points()


def label_classes(ax: Axes, names: Sequence[str], height: float) -> None:
    """Write the names of the classes beside their places 0, 1, ...: smaller, and then fewer, if there is no room."""
    step = max(1, int(np.ceil(len(names) * SMALLEST_TEXT * LINE_HEIGHT / height)))
    size = np.clip(height / np.ceil(len(names) / step) / LINE_HEIGHT, SMALLEST_TEXT, text_size("ytick.labelsize"))
    ax.set_yticks(range(0, len(names), step), names[::step], fontsize=size)


def label_columns(ax: Axes, names: Sequence, width: float) -> None:
    """Write the names of rounds below their places 0, 1, ...: fewer if there is no room."""
    longest = (max(len(str(name)) for name in names) + 1) * DIGIT_WIDTH * text_size("xtick.labelsize")
    step = max(1, int(np.ceil(len(names) * longest / width)))
    ax.set_xticks(range(0, len(names), step), names[::step])


def legend_beside(ax: Axes, handles: list[Line2D]) -> Legend:
    """Draw a legend to the right: in smaller print, and then in more columns, if it were higher than the axes."""
    from matplotlib import rcParams

    height = sizes_in_points(ax)[0][1]
    line = 1 + rcParams["legend.labelspacing"]  # in the size of the text
    n_columns = max(1, int(np.ceil(len(handles) * SMALLEST_TEXT * line / height)))
    size = np.clip(height / np.ceil(len(handles) / n_columns) / line, SMALLEST_TEXT, text_size("legend.fontsize"))
    legend = ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        borderaxespad=0,
        borderpad=0,
        frameon=False,
        fontsize=size,
        ncols=n_columns,
    )
    for handle, text in zip(handles, legend.get_texts(), strict=True):
        if handle.get_marker() == "None":  # a heading
            text.set_fontweight("bold")
    return legend


def legend_on_top(ax: Axes) -> Legend:
    """Draw a legend in the upper left: in fewer columns, and then in smaller print, if it were wider than the axes."""
    room = ax.get_window_extent().width
    for n_columns in range(len(ax.lines), 0, -1):
        legend = ax.legend(loc="upper left", ncols=n_columns)
        if legend.get_window_extent().width <= room:
            break
    else:
        legend = ax.legend(loc="upper left", fontsize=SMALLEST_TEXT)
    legend.set_in_layout(False)  # the axes are not to shrink for what lies inside them
    return legend


def make_room(ax: Axes) -> None:
    """Narrow the axes by what sticks out to the right, as colour bars do, where no layout engine does so."""
    if ax.figure.get_layout_engine() is None:
        place = ax.get_position()
        excess = (ax.get_tightbbox().x1 - ax.get_window_extent().x1) / ax.figure.bbox.width
        ax.set_position([place.x0, place.y0, max(place.width - excess, 0.2 * place.width), place.height])


def add_grid(ax: Axes) -> None:
    ax.grid(alpha=0.3)
    ax.set_axisbelow(True)


def without_aliases(line_kwargs: Mapping | None) -> dict:
    """Return the keywords of a line under their full names, so that they replace ours."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return normalize_kwargs(line_kwargs, Line2D)


def with_own_look(look: Mapping, scatter_kwargs: Mapping | None) -> dict:
    """Return the keywords of a scatter plot, where the caller's replace ours under whatever name."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.collections import Collection

    ours, own = normalize_kwargs(look, Collection), normalize_kwargs(scatter_kwargs, Collection)
    replaced = {"c": {"facecolor"}, "color": {"facecolor", "edgecolor"}}
    hidden = set().union(*(names for key, names in replaced.items() if key in own))
    return {key: value for key, value in ours.items() if key not in hidden} | own
