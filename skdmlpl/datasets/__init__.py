"""Data sets of the published long-tailed protocols, and long-tailed splits of any labelled data.

Nothing is downloaded. A loader reads the files of a data set as their makers distribute them; where some are missing,
the error names them and says where to get them. Images are uint8 throughout, in memory or memory-mapped.
"""

from skdmlpl.datasets._cifar import load_cifar_lt
from skdmlpl.datasets._image_folder import load_image_folder
from skdmlpl.datasets._imagenet127 import load_imagenet127, load_small_imagenet127
from skdmlpl.datasets._long_tail import LongTailedSplit, long_tail_counts, make_long_tailed_split

__all__ = [
    "LongTailedSplit",
    "load_cifar_lt",
    "load_image_folder",
    "load_imagenet127",
    "load_small_imagenet127",
    "long_tail_counts",
    "make_long_tailed_split",
]
