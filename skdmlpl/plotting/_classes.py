"""How the displays order, name, colour and mark the classes."""

import numpy as np
from sklearn.preprocessing import LabelEncoder

__all__ = ["COLORS", "GREY", "MARKERS", "class_codes", "class_names", "frequent_first"]

# Ten colours chosen to be told apart with any kind of colour vision: Petroff, "Accessible Color Sequences for Data
# Visualization", 2021, https://arxiv.org/abs/2107.02270.
COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
# A second cue beside the colour.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
GREY = "0.6"
_MAX_NAME = 24  # characters; a longer name would take the room of the data


def frequent_first(counts) -> np.ndarray:
    """Return the classes by falling count; equal ones keep their order."""
    return np.argsort(-np.asarray(counts), kind="stable")


def class_codes(labels, classes: np.ndarray) -> np.ndarray:
    """Return the index of each label among the classes.

    Raises
    ------
    ValueError
        If a label is none of them.
    """
    labels = np.asarray(labels)
    codes = LabelEncoder().fit(classes).transform(labels)
    # It makes labels of the classes' type first, which cuts long strings, and numbers to whole ones.
    unknown = labels[classes[codes] != labels]
    if len(unknown):
        raise ValueError(f"y contains previously unseen labels: {np.unique(unknown).tolist()}")
    return codes


def class_names(display_labels, n_classes: int) -> list[str]:
    """Return a string for each class, none so long that the data are left without room."""
    labels = range(n_classes) if display_labels is None else display_labels
    if len(labels) != n_classes:
        raise ValueError(f"display_labels must be one name for each of the {n_classes} classes. Got {len(labels)}.")
    names = [str(label) for label in labels]
    for half in range(_MAX_NAME // 2, max(map(len, names))):
        # The middle is left out: names of one family tell themselves apart at the start or at the end.
        short = [name if len(name) <= 2 * half else f"{name[: half - 1]}…{name[-half:]}" for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return names
