"""Labels: which rows have one, and what the classes are."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import DataConversionWarning

from skdmlpl._labels import decode_labels, encode_labels

Y = np.arange(30) % 3
HALF = np.where(np.arange(30) % 2, 0.5, 1.0)
BAD_LABELS = {
    "None": (None, ValueError, ["requires y to be passed", "None"]),
    "scalar": (1, ValueError, ["y should be a 1d array", "()"]),
    "too short": (Y[:-1], ValueError, ["y must have one label for each row of X, 30", "Got 29"]),
    "too long": ([*Y, 0], ValueError, ["y must have one label for each row of X, 30", "Got 31"]),
    "two columns": (np.c_[Y, Y], ValueError, ["y should be a 1d array", "(30, 2)", "argmax", "MultiOutputClassifier"]),
    "continuous": (np.linspace(0, 1, 30), ValueError, ["Unknown label type", "continuous"]),
    "halves": (HALF, ValueError, ["Unknown label type", "continuous"]),
    "infinity": (np.where(Y == 2, np.inf, Y), ValueError, ["y contains infinity"]),
    "infinity among objects": ([np.inf, *Y[1:]], ValueError, ["infinity"]),
    "complex": (Y + 1j, ValueError, ["Complex data not supported"]),
    "numbers and strings": ([1, "a", "b"] * 10, TypeError, ["y must be of one kind", "int", "str"]),
    "floats and strings": (["a", "b", -1.0] * 10, TypeError, ["y must be of one kind", "float", "str"]),
    "tuples": ([(1, 2), (3, 4), (5, 6)] * 10, ValueError, ["y should be a 1d array", "(30, 2)"]),
    "one class": (np.zeros(30, int), ValueError, ["y must label at least two classes", "one class only: 0"]),
    "one class of strings": (["a"] * 30, ValueError, ["at least two classes", "one class only: 'a'"]),
    "one class and unlabelled": (np.where(Y > 0, -1, 0), ValueError, ["at least two classes", "one class only: 0"]),
    "nothing labelled": (np.full(30, -1), ValueError, ["at least two classes", "no labelled row"]),
    "only None": ([None] * 30, ValueError, ["at least two classes", "no labelled row"]),
    "only NaN": ([np.nan] * 30, ValueError, ["at least two classes", "no labelled row"]),
    "-1 made a string": (np.array(["a", "b", -1])[Y], ValueError, ["string '-1'", "None"]),
    "NaN made a string": (np.array(["a", "b", np.nan])[Y], ValueError, ["string 'nan'", "None"]),
    "-1.0 made a string": (np.array([1.0, 2.0, -1.0])[Y].astype(str), ValueError, ["string '-1.0'", "None"]),
    "NA made a string": (np.array(["1", "2", str(pd.NA)])[Y], ValueError, ["string '<NA>'", "None"]),
    "a string for -1 among objects": (["a", "b", "-1"] * 10, ValueError, ["string '-1'", "None"]),
    "bytes": (np.array([b"a", b"b"] * 15), TypeError, ["bytes", "string"]),
}


@pytest.mark.parametrize(("y", "error", "words"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels(y, error, words):
    with pytest.raises(error) as info:
        encode_labels(y, 30)
    for word in words:
        assert word in str(info.value)


def test_a_column_of_labels_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        encoded = encode_labels(Y[:, None], 30)
    np.testing.assert_array_equal(encoded.codes, Y)


def test_a_column_of_labels_with_missing_ones_keeps_its_whole_numbers():
    large = 2**60 + 1  # as a float it would be another number
    with pytest.warns(DataConversionWarning, match="column-vector"):
        encoded = encode_labels(pd.DataFrame({"y": pd.array([3, None, large], dtype="Int64")}), 3)
    assert encoded.classes.tolist() == [3, large]
    assert encoded.codes.tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    "classes", [[0, 1, 2], [-5, 3], ["b", "c"], ["-1", "1"], ["-1.0", "1.0"], [False, True], [0.0, 7.0]], ids=str
)
def test_encode_and_decode_are_inverse(classes):
    given = [classes[i % len(classes)] for i in (0, 1, 1, 0, len(classes) - 1)]
    encoded = encode_labels([None, *given, None], 7)
    assert encoded.classes.tolist() == classes
    assert encoded.codes.tolist() == [-1, *(classes.index(label) for label in given), -1]
    missing = -1 if isinstance(classes[0], int | float) and classes[0] is not False else None
    assert decode_labels(encoded.classes, encoded.codes).tolist() == [missing, *given, missing]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int8, np.float32])
def test_decoding_keeps_the_dtype_where_it_can_hold_the_mark(dtype):
    classes = np.array([3, 4], dtype=dtype)
    assert decode_labels(classes, np.array([0, 1])).dtype == dtype
    marked = decode_labels(classes, np.array([0, -1]))
    assert marked.tolist() == [3, -1]
    assert marked.dtype == (np.int64 if np.dtype(dtype).kind == "u" else dtype)


def test_decoding_marks_by_nan_where_minus_one_is_a_class():
    classes = np.array([-1, 1])
    assert decode_labels(classes, np.array([0, 1])).tolist() == [-1, 1]
    np.testing.assert_array_equal(decode_labels(classes, np.array([0, -1, 1])), [-1, np.nan, 1])


def test_decoding_keeps_numbers_beyond_int64():
    classes = np.array([3, 2**63 + 1], dtype=np.uint64)
    assert decode_labels(classes, np.array([1, -1, 0])).tolist() == [2**63 + 1, -1, 3]


@pytest.mark.parametrize("values", [[7, 5, 7, 6], ["b", "a", "b", "c"]], ids=["numbers", "strings"])
def test_what_a_masked_array_hides_is_no_label(values):
    encoded = encode_labels(np.ma.masked_array(values, mask=[False, True, False, False]), 4)
    assert encoded.classes.tolist() == sorted({values[0], values[3]})
    assert np.flatnonzero(encoded.codes < 0).tolist() == [1]


def test_missing_dates_are_no_class():
    encoded = encode_labels(np.array(["2020-01-01", "NaT", "2020-01-02"], "M8[D]"), 3)
    assert encoded.codes.tolist() == [0, -1, 1]


def test_encoding_leaves_the_labels_alone():
    y = np.array(["a", None, "b", -1], dtype=object)
    encode_labels(y, 4)
    assert y.tolist() == ["a", None, "b", -1]


def test_a_class_named_none_is_warned_of():
    with pytest.warns(UserWarning, match=r"'None' as a label, which is taken for a class.*np\.where"):
        encoded = encode_labels(np.array(["a", None, "b"]).astype(str), 3)
    assert encoded.classes.tolist() == ["None", "a", "b"]
