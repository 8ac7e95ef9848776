"""Look into a fit: what its rounds did, why a row has its label, and which rows to label next.

The estimator does not keep its training rows. Functions that need them take them again, as they were given to ``fit``,
and notice if they are others or in another order. Rows are numbered as in ``transduction_``: those of ``X``, then those
of ``X_unlabeled``.
"""

from skdmlpl.inspection._history import history_frame
from skdmlpl.inspection._labels import LabelReport, explain_labels
from skdmlpl.inspection._suggestions import SuggestedRows, suggest_rows

__all__ = ["LabelReport", "SuggestedRows", "explain_labels", "history_frame", "suggest_rows"]
