"""Pictures of a fit: its pseudo-labels round by round, its embedding, and the recall of each class.

The displays work as scikit-learn's do: `from_estimator` or `from_predictions` computes and draws, the constructor takes
computed values, `plot` draws them, again if need be. They need matplotlib (``pip install "skdmlpl[plot]"``), which is
imported by the first of these calls. Everywhere, classes run from the most frequent among the given labels to the
rarest.

Text gets as much room as it needs in a figure with ``layout="constrained"``. The displays make such a figure where they
are given no axes; ``plt.subplots(layout="constrained")`` makes one for several displays.
"""

from skdmlpl.plotting._embedding_display import EmbeddingDisplay
from skdmlpl.plotting._pseudo_label_display import PseudoLabelDisplay
from skdmlpl.plotting._recall_display import RecallDisplay

__all__ = ["EmbeddingDisplay", "PseudoLabelDisplay", "RecallDisplay"]
